//! The program under test as a child process.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;

use crate::client::{Request, Response};
use crate::program::signal;
use crate::sse::Sse;
use crate::token::{KEY, token_of};
use crate::wire::{DEADLINE, eventually};

/// A running gateway on free ports of the loopback address; stopped when it is dropped.
pub struct Gateway {
    child: Child,
    ports: Arc<Mutex<HashMap<String, SocketAddr>>>,
    log: Arc<Mutex<Vec<String>>>,
    /// Reads the log until its end.
    reader: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Returns the binary: `RIG_BIN`, or the one that cargo has built two folders above the test.
    ///
    /// # Panics
    /// Panics if the test is not where cargo puts tests.
    pub fn binary() -> PathBuf {
        if let Some(path) = std::env::var_os("RIG_BIN") {
            return path.into();
        }
        let test = std::env::current_exe().expect("a test has a path");
        test.ancestors().nth(2).expect("a test is in target/debug/deps").join("rig")
    }

    /// Starts a gateway with these settings, and [`KEY`] as its secret unless they name another.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let mut all = vec![("JWT_SECRET_KEY", KEY)];
        all.extend_from_slice(settings);
        Self::start_bare(&all)
    }

    /// Starts a gateway with these settings only.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start_bare(settings: &[(&str, &str)]) -> Self {
        Self::start_command(Command::new(Self::binary()), settings)
    }

    /// Starts a gateway that may open at most this number of files and sockets, with [`KEY`] as its
    /// secret.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start_with_descriptors(limit: usize, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(format!("ulimit -n {limit} && exec \"$0\"")).arg(Self::binary());
        Self::start_command(command, &[&[("JWT_SECRET_KEY", KEY)], settings].concat())
    }

    /// Starts a gateway through another program, whose arguments are followed by the gateway's
    /// path. Its secret is [`KEY`].
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start_by(program: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).arg(Self::binary());
        Self::start_command(command, &[&[("JWT_SECRET_KEY", KEY)], settings].concat())
    }

    fn start_command(command: Command, settings: &[(&str, &str)]) -> Self {
        let mut gateway = Self::launch_command(command, settings);
        let tls = settings.iter().any(|(name, _)| *name == "HTTPS_CERTFILE");
        gateway.await_ports(if tls { 4 } else { 2 });
        gateway
    }

    /// Starts a gateway through a shell that runs `prepare` first, and does not wait until it
    /// listens. Its secret is [`KEY`].
    ///
    /// # Panics
    /// Panics if there is no shell or no binary.
    pub fn launch(prepare: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(format!("{prepare}; exec \"$0\"")).arg(Self::binary());
        Self::launch_command(command, &[&[("JWT_SECRET_KEY", KEY)], settings].concat())
    }

    fn launch_command(mut command: Command, settings: &[(&str, &str)]) -> Self {
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let ports = ["INBOUND_PORT", "INBOUND_HTTPS_PORT", "API_HTTP_PORT", "API_HTTPS_PORT"];
        command.envs(ports.map(|port| (port, "0")));
        command.envs([
            ("INBOUND_BIND", "127.0.0.1"),
            ("LOG_FMT", "json"),
            ("LOG_LEVEL", "info"),
            ("DATA_DIR", "memory"),
        ]);
        command.envs(settings.iter().copied());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{}: {error}", Self::binary().display()));
        let log = Arc::new(Mutex::new(Vec::new()));
        let ports = Arc::new(Mutex::new(HashMap::new()));
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let reader = std::thread::spawn({
            let (log, ports) = (log.clone(), ports.clone());
            move || {
                for line in stderr.lines().map_while(Result::ok) {
                    let port = listening_port(&line);
                    // Stored before the port, since whoever sees the port may look for the line.
                    log.lock().push(line);
                    ports.lock().extend(port);
                }
            }
        });
        Self { child, ports, log, reader: Some(reader) }
    }

    /// Waits until this number of ports is open.
    ///
    /// # Panics
    /// Panics if it exits before, or at the deadline.
    pub fn await_ports(&mut self, count: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.ports.lock().len() < count {
            let exited = self.child.try_wait().expect("the child is ours");
            if exited.is_some() || Instant::now() > deadline {
                drop(self.child.kill());
                self.reader.take().expect("it ends once").join().expect("the reader does not panic");
                panic!("the gateway did not start: {exited:?}\n{}", self.log());
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Returns the inbound port, for frontends.
    pub fn inbound(&self) -> SocketAddr {
        self.port("inbound")
    }

    /// Returns the internal port.
    pub fn internal(&self) -> SocketAddr {
        self.port("internal")
    }

    /// Returns a port by the name under which it is announced in the log: `inbound`, `internal`,
    /// `inbound_tls`, `internal_tls`.
    ///
    /// # Panics
    /// Panics if it is not open.
    pub fn port(&self, name: &str) -> SocketAddr {
        self.open_port(name).unwrap_or_else(|| panic!("the port {name} is not open: {}", self.log()))
    }

    /// Returns a port by its name; `None` if it is not open yet.
    pub fn open_port(&self, name: &str) -> Option<SocketAddr> {
        self.ports.lock().get(name).copied()
    }

    /// Returns the id of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns everything that it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().join("\n")
    }

    /// Stops it and returns everything that it has logged.
    ///
    /// # Panics
    /// Panics if it does not exit.
    pub fn end(mut self) -> String {
        self.terminate();
        self.exit_status();
        self.reader.take().expect("it ends once").join().expect("the reader does not panic");
        self.log()
    }

    /// Kills it.
    pub fn kill(mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Returns `true` if it has exited.
    ///
    /// # Panics
    /// Panics if the system does not say.
    pub fn has_exited(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_some()
    }

    /// Sends a request to the inbound port.
    pub fn ask(&self, request: &Request) -> Response {
        request.send(self.inbound())
    }

    /// Sends a request to the internal port.
    pub fn ask_internal(&self, request: &Request) -> Response {
        request.send(self.internal())
    }

    /// Returns the status of the answer to a new connection of this session; 200 if it is let in.
    pub fn status_of(&self, session: &str) -> u16 {
        let request = Request::get(format!("/_rig/v1/connection/sse?jwt={}", token_of(session)));
        Sse::open(self.inbound(), &request).map_or_else(|refusal| refusal.status, |_| 200)
    }

    /// Publishes an event at the inbound port.
    ///
    /// # Panics
    /// Panics if it is not accepted.
    pub fn publish(&self, event: &str) {
        let response = self.ask(&Request::post_json("/_rig/v1/events", event));
        assert_eq!(response.status, 202, "{}", response.text());
    }

    /// Blacklists a session for ten minutes.
    ///
    /// # Panics
    /// Panics if this is not acknowledged.
    pub fn blacklist(&self, session: &str) {
        let body = serde_json::json!({ "sessionId": session, "validityInSeconds": 600 }).to_string();
        let response = self.ask_internal(&Request::post_json("/v3/session-blacklist", body));
        assert_eq!(response.status, 201, "{}", response.text());
    }

    /// Returns the value of one line of the metrics; 0 if it is missing.
    ///
    /// # Panics
    /// Panics if there are no metrics.
    pub fn metric(&self, name_and_labels: &str) -> f64 {
        let response = self.ask_internal(&Request::get("/metrics"));
        assert_eq!(response.status, 200, "{}", response.text());
        response
            .text()
            .lines()
            .filter_map(|line| line.rsplit_once(' '))
            .find(|(name, _)| *name == name_and_labels)
            .map_or(0.0, |(_, value)| value.parse().expect("a metric is a number"))
    }

    /// Returns the sum of all lines of a metric that have these labels.
    ///
    /// # Panics
    /// Panics if there are no metrics.
    pub fn metric_sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let response = self.ask_internal(&Request::get("/metrics"));
        assert_eq!(response.status, 200, "{}", response.text());
        let has = |line: &str| {
            let label = |(name, value): &(&str, &str)| line.contains(&format!(r#"{name}="{value}""#));
            line.split(['{', ' ']).next() == Some(name) && labels.iter().all(label)
        };
        let text = response.text();
        let values = text.lines().filter(|line| has(line)).filter_map(|line| line.rsplit_once(' '));
        let values = values.map(|(_, value)| value.parse::<f64>().expect("a metric is a number"));
        values.fold(0.0, |sum, value| sum + value)
    }

    /// Returns the resident memory of the process and its peak so far, in bytes.
    ///
    /// # Panics
    /// Panics if the system does not report them.
    pub fn memory(&self) -> (u64, u64) {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a process of ours");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says so");
            line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// Waits until a metric has this value.
    pub fn await_metric(&self, name_and_labels: &str, value: f64) {
        eventually(name_and_labels, || (self.metric(name_and_labels) == value).then_some(()));
    }

    /// Sends it SIGTERM.
    ///
    /// # Panics
    /// Panics if there is no `kill`.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal, given by its name without SIG.
    ///
    /// # Panics
    /// Panics if there is no `kill`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits until it exits.
    pub fn exit_status(&mut self) -> ExitStatus {
        eventually("the end of the gateway", || self.child.try_wait().expect("the child is ours"))
    }

    /// Returns `true` if it is still running and answers.
    pub fn is_healthy(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
            && self.ask(&Request::get("/_rig/health")).text() == "OK"
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.log());
        }
    }
}

/// Returns the port that a log line announces.
fn listening_port(line: &str) -> Option<(String, SocketAddr)> {
    let line: Value = serde_json::from_str(line).ok()?;
    if line["message"] != "listening" {
        return None;
    }
    let mut address: SocketAddr = line["address"].as_str()?.parse().ok()?;
    if address.ip().is_unspecified() {
        address.set_ip([127, 0, 0, 1].into());
    }
    Some((line["port_name"].as_str()?.to_owned(), address))
}
