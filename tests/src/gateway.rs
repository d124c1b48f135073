//! The program under test as a child process.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::Value;

use crate::client::{Request, Response};
use crate::token::KEY;
use crate::wire::{DEADLINE, eventually};

/// A running gateway on free ports of the loopback address; ends with its variable.
pub struct Gateway {
    child: Child,
    ports: HashMap<String, SocketAddr>,
    log: Arc<Mutex<Vec<String>>>,
    /// Reads the log until its end.
    reader: Option<JoinHandle<()>>,
}

impl Gateway {
    /// The binary: `RIG_BIN`, or the one that cargo has put two folders above the test.
    ///
    /// # Panics
    /// Where a test is not where cargo puts tests.
    pub fn binary() -> PathBuf {
        if let Some(path) = std::env::var_os("RIG_BIN") {
            return path.into();
        }
        let test = std::env::current_exe().expect("a test has a path");
        test.ancestors().nth(2).expect("a test is in target/debug/deps").join("rig")
    }

    /// Starts a gateway with these settings, and [`KEY`] as its secret where they name no other.
    ///
    /// # Panics
    /// Where it does not come up.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let mut all = vec![("JWT_SECRET_KEY", KEY)];
        all.extend_from_slice(settings);
        Self::start_bare(&all)
    }

    /// Starts a gateway with these settings only.
    ///
    /// # Panics
    /// Where it does not come up.
    pub fn start_bare(settings: &[(&str, &str)]) -> Self {
        Self::start_command(Command::new(Self::binary()), settings)
    }

    /// Starts a gateway that may open no more than this number of files and sockets, with [`KEY`]
    /// as its secret.
    ///
    /// # Panics
    /// Where it does not come up.
    pub fn start_with_descriptors(most: usize, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(format!("ulimit -n {most} && exec \"$0\"")).arg(Self::binary());
        Self::start_command(command, &[&[("JWT_SECRET_KEY", KEY)], settings].concat())
    }

    /// Starts a gateway by another program: its arguments, to which the gateway's path is added.
    /// With [`KEY`] as its secret.
    ///
    /// # Panics
    /// Where it does not come up.
    pub fn start_by(program: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).arg(Self::binary());
        Self::start_command(command, &[&[("JWT_SECRET_KEY", KEY)], settings].concat())
    }

    fn start_command(mut command: Command, settings: &[(&str, &str)]) -> Self {
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
        let (sender, listening) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let reader = std::thread::spawn({
            let log = log.clone();
            move || {
                for line in stderr.lines().map_while(Result::ok) {
                    let port = listening_port(&line);
                    // Before anybody hears of the port: whoever does may look for the line.
                    log.lock().push(line);
                    if let Some(port) = port {
                        drop(sender.send(port));
                    }
                }
            }
        });
        let tls = settings.iter().any(|(name, _)| *name == "HTTPS_CERTFILE");
        let mut gateway = Self { child, ports: HashMap::new(), log, reader: Some(reader) };
        gateway.await_ports(&listening, if tls { 4 } else { 2 });
        gateway
    }

    fn await_ports(&mut self, listening: &Receiver<(String, SocketAddr)>, count: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.ports.len() < count {
            match listening.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((name, address)) => drop(self.ports.insert(name, address)),
                Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => {
                    panic!("the gateway did not come up: {:?}\n{}", self.child.try_wait(), self.log())
                }
            }
        }
    }

    /// The port of frontends.
    pub fn inbound(&self) -> SocketAddr {
        self.ports["inbound"]
    }

    /// The internal port.
    pub fn internal(&self) -> SocketAddr {
        self.ports["internal"]
    }

    /// A port by the name under which it is announced: `inbound`, `internal`, `inbound_tls`,
    /// `internal_tls`.
    ///
    /// # Panics
    /// Where it is not open.
    pub fn port(&self, name: &str) -> SocketAddr {
        self.ports[name]
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().join("\n")
    }

    /// Stops it, and returns all it has ever logged.
    ///
    /// # Panics
    /// Where it does not end.
    pub fn end(mut self) -> String {
        self.terminate();
        self.exit_status();
        self.reader.take().expect("it ends once").join().expect("the reader does not panic");
        self.log()
    }

    /// Asks the port of frontends.
    pub fn ask(&self, request: &Request) -> Response {
        request.send(self.inbound())
    }

    /// Asks the internal port.
    pub fn ask_internal(&self, request: &Request) -> Response {
        request.send(self.internal())
    }

    /// Publishes an event at the port of frontends.
    ///
    /// # Panics
    /// Where it is not accepted.
    pub fn publish(&self, event: &str) {
        let response = self.ask(&Request::post_json("/_rig/v1/events", event));
        assert_eq!(response.status, 202, "{}", response.text());
    }

    /// Makes a session illegal to use for ten minutes.
    ///
    /// # Panics
    /// Where that is not acknowledged.
    pub fn blacklist(&self, session: &str) {
        let body = serde_json::json!({ "sessionId": session, "validityInSeconds": 600 }).to_string();
        let response = self.ask_internal(&Request::post_json("/v3/session-blacklist", body));
        assert_eq!(response.status, 201, "{}", response.text());
    }

    /// The value of one line of the metrics, 0 where it is not there.
    ///
    /// # Panics
    /// If there are no metrics.
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

    /// The sum over all lines of a metric that have these labels.
    ///
    /// # Panics
    /// If there are no metrics.
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

    /// What the process holds of the memory, and the most it has ever held, in bytes.
    ///
    /// # Panics
    /// Where the system does not say.
    pub fn memory(&self) -> (u64, u64) {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a process of ours");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says so");
            line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// Waits until a metric has that value.
    pub fn await_metric(&self, name_and_labels: &str, value: f64) {
        eventually(name_and_labels, || (self.metric(name_and_labels) == value).then_some(()));
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Panics
    /// If there is no `kill`.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal, by its name without SIG.
    ///
    /// # Panics
    /// If there is no `kill`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.expect("kill is installed").success());
    }

    /// Waits for its end.
    pub fn exit_status(&mut self) -> ExitStatus {
        eventually("the end of the gateway", || self.child.try_wait().expect("the child is ours"))
    }

    /// Whether it is still running and answers.
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

/// The port that a log line announces.
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
