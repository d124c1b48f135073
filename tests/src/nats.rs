//! Real nats-servers, with JetStream.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::folder::Folder;
use crate::program::Program;
use crate::upstream::unused_address;
use crate::wire::{DEADLINE, eventually};

/// How a server is started.
#[derive(Clone, Copy, Default)]
pub struct NatsOptions<'a> {
    /// Further lines of its configuration.
    pub config: &'a str,
    /// Whether it syncs each message to its disk before it acknowledges it.
    pub sync_always: bool,
}

/// A nats-server; killed when it is dropped.
pub struct NatsServer {
    program: Option<Program>,
    address: SocketAddr,
    monitoring: SocketAddr,
    folder: Folder,
}

/// Three nats-servers that are one cluster.
pub struct NatsCluster {
    servers: Vec<NatsServer>,
}

/// The addresses of a server.
#[derive(Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) clients: SocketAddr,
    pub(crate) monitoring: SocketAddr,
    pub(crate) routes: SocketAddr,
}

impl Addresses {
    pub(crate) fn unused() -> Self {
        Self { clients: unused_address(), monitoring: unused_address(), routes: unused_address() }
    }
}

impl NatsServer {
    /// Starts one server on free ports, with its files in a temporary folder; `scripts/need
    /// nats-server` installs it.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start(options: NatsOptions<'_>) -> Self {
        // Another program may take a port between its choice and its use.
        let started = (0..5).find_map(|_| Self::try_start("one", Addresses::unused(), "", options));
        let server = started.expect("nats-server starts");
        server.wait();
        server
    }

    pub(crate) fn try_start(
        name: &str,
        addresses: Addresses,
        cluster: &str,
        options: NatsOptions<'_>,
    ) -> Option<Self> {
        let folder = Folder::new();
        let Addresses { clients, monitoring, .. } = addresses;
        let sync = if options.sync_always { "sync_interval: always" } else { "" };
        let store = folder.join("store");
        let config = format!(
            "server_name: {name}\nlisten: \"{clients}\"\nhttp: \"{monitoring}\"\n\
             jetstream {{\nstore_dir: \"{store}\"\n{sync}\n}}\n{cluster}\n{}\n",
            options.config
        );
        std::fs::write(folder.path().join("nats.conf"), config).expect("a file in a folder");
        let mut server = Self { program: None, address: clients, monitoring, folder };
        server.program = Some(server.run()?);
        Some(server)
    }

    fn run(&self) -> Option<Program> {
        let mut command = Command::new(installed());
        command.args(["-c", &self.folder.join("nats.conf"), "-l", &self.folder.join("log")]);
        Program::start(command.stderr(Stdio::null()), self.address)
    }

    /// Waits until JetStream works.
    ///
    /// # Panics
    /// Panics if it does not.
    pub fn wait(&self) {
        eventually("JetStream works", || {
            let works = self.get("/healthz").starts_with("HTTP/1.0 200");
            if !works {
                // An election takes seconds, and longer on a busy machine.
                std::thread::park_timeout(Duration::from_millis(20));
            }
            works.then_some(())
        });
    }

    /// Returns the answer of the monitoring port.
    pub fn get(&self, path: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(self.monitoring) {
            // A server that is just starting may close the connection; then the answer is empty.
            drop(stream.set_read_timeout(Some(Duration::from_secs(5))));
            drop(write!(stream, "GET {path} HTTP/1.0\r\n\r\n"));
            drop(stream.read_to_string(&mut answer));
        }
        answer
    }

    /// Stores a message in the stream of this subject.
    ///
    /// # Panics
    /// Panics if no stream acknowledges it.
    pub fn store(&self, subject: &str, payload: &str) {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time limit");
        let length = payload.len();
        let told = write!(stream, "CONNECT {{}}\r\nSUB a 1\r\nPUB {subject} a {length}\r\n{payload}\r\n");
        told.expect("it reads");
        let mut answer = String::new();
        let mut lines = BufReader::new(stream);
        while !answer.contains("\"seq\":") {
            answer.clear();
            let read = lines.read_line(&mut answer).expect("an acknowledgement");
            assert!(read > 0, "{subject} is not stored");
        }
    }

    /// Sends messages to a subject, as a client that is not the gateway's library; `headers` may be
    /// empty. Returns when the server has them.
    ///
    /// # Panics
    /// Panics if the server does not take them.
    pub fn publish(&self, subject: &str, headers: &[(&str, &str)], payloads: &[&str]) {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time limit");
        let mut text = r#"CONNECT {"verbose":false,"pedantic":false,"headers":true}"#.to_owned() + "\r\n";
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("NATS/1.0\r\n{lines}\r\n");
        for payload in payloads {
            if headers.is_empty() {
                text += &format!("PUB {subject} {}\r\n{payload}\r\n", payload.len());
            } else {
                let (head_size, size) = (head.len(), head.len() + payload.len());
                text += &format!("HPUB {subject} {head_size} {size}\r\n{head}{payload}\r\n");
            }
        }
        stream.write_all((text + "PING\r\n").as_bytes()).expect("it reads");
        let mut lines = BufReader::new(stream).lines().map(|line| line.expect("an answer"));
        let pong = lines.find(|line| !line.starts_with("INFO"));
        assert_eq!(pong.as_deref(), Some("PONG"));
    }

    /// Waits until this number of clients is subscribed to a subject.
    ///
    /// # Panics
    /// Panics if they are not.
    pub fn await_subscribers(&self, subject: &str, count: usize) {
        let subject = format!("\"subject\": \"{subject}\"");
        eventually("clients are subscribed", || {
            let found = self.get("/subsz?subs=1").matches(&subject).count();
            if found != count {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            (found == count).then_some(())
        });
    }

    /// Returns where it listens for clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns where it listens for clients, as a URL.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Returns the URL of its monitoring port.
    pub fn monitoring_url(&self) -> String {
        format!("http://{}", self.monitoring)
    }

    /// Returns its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns what it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// Starts it again, on the same ports and with the same files.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn restart(&mut self) {
        self.kill();
        self.program = Some(self.run().expect("the ports are still free"));
    }

    /// Limits the size that its files can reach, as a full disk does; `None` for no limit.
    ///
    /// # Panics
    /// Panics if it does not run, or there is no `prlimit`.
    pub fn limit_files(&self, bytes: Option<u64>) {
        self.program.as_ref().expect("it runs").limit_files(bytes);
    }

    /// Sends it a signal, such as `STOP`.
    ///
    /// # Panics
    /// Panics if it does not run.
    pub fn signal(&self, name: &str) {
        self.program.as_ref().expect("it runs").signal(name);
    }
}

impl NatsCluster {
    /// Starts three servers.
    ///
    /// # Panics
    /// Panics if they do not start, or do not find each other.
    pub fn start(options: NatsOptions<'_>) -> Self {
        let cluster = (0..5).find_map(|_| Self::try_start(options)).expect("three nats-servers start");
        cluster.servers.iter().for_each(NatsServer::wait);
        cluster
    }

    fn try_start(options: NatsOptions<'_>) -> Option<Self> {
        let addresses = [(); 3].map(|()| Addresses::unused());
        let routes: Vec<_> = addresses.iter().map(|one| format!("\"nats://{}\"", one.routes)).collect();
        let servers = addresses.iter().enumerate().map(|(number, one)| {
            let cluster = format!(
                "cluster {{ name: three, listen: \"{}\", routes: [{}] }}",
                one.routes,
                routes.join(", ")
            );
            NatsServer::try_start(&format!("n{number}"), *one, &cluster, options)
        });
        Some(Self { servers: servers.collect::<Option<_>>()? })
    }

    /// Returns the servers, named `n0` to `n2`.
    pub fn servers(&self) -> &[NatsServer] {
        &self.servers
    }

    /// Returns a server.
    pub fn server(&mut self, index: usize) -> &mut NatsServer {
        &mut self.servers[index]
    }

    /// Returns where the servers listen for clients.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(NatsServer::url).collect()
    }

    /// Waits until all of its servers work.
    pub fn wait(&self) {
        self.servers.iter().for_each(NatsServer::wait);
    }
}

fn installed() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace");
    let program = root.join("target/venv/bin/nats-server");
    assert!(program.exists(), "scripts/need nats-server installs it");
    program
}
