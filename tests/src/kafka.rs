//! Kafka: a broker, a client that is not the gateway's, and a gate that adds TLS and SASL.

mod client;
mod gate;
mod sasl;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub use client::{KafkaClient, KafkaMember, KafkaMessage};
pub use gate::{Gate, GateOptions, GateTls};
pub use sasl::GateSasl;

use crate::folder::Folder;
use crate::program::Program;
use crate::upstream::unused_address;
use crate::wire::Wire;

/// A broker that speaks Kafka's protocol: noida-db, without TLS and SASL. It is killed when it is
/// dropped.
pub struct KafkaServer {
    program: Option<Program>,
    address: SocketAddr,
    folder: Folder,
}

impl KafkaServer {
    /// Starts it on a free port, with its data in a temporary folder; `scripts/need kafka` installs
    /// it.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start() -> Self {
        // Another program may take the port between its choice and its use.
        let started = (0..5).find_map(|_| Self::try_start(unused_address()));
        started.expect("noida-db starts")
    }

    /// Starts it on the port of `address` and another address of this machine.
    fn try_start_at(host: Ipv4Addr, address: SocketAddr) -> Option<Self> {
        Self::try_start((host, address.port()).into())
    }

    fn try_start(address: SocketAddr) -> Option<Self> {
        let mut server = Self { program: None, address, folder: Folder::new() };
        server.program = Some(server.run()?);
        Some(server)
    }

    fn run(&self) -> Option<Program> {
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let data = self.folder.join("data");
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log"));
        let log = log.expect("a file in a folder");
        let mut command = Command::new(installed("noida-db", "kafka"));
        command.args([
            "start",
            "--only",
            "kafka",
            "--kafka-port",
            &port,
            "--host",
            &host,
            "--data-dir",
            &data,
        ]);
        Program::start(command.stdout(Stdio::null()).stderr(log), self.address)
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts a client of it.
    ///
    /// # Panics
    /// Panics if the client is not installed.
    pub fn client(&self) -> KafkaClient {
        KafkaClient::start(self.address, &[])
    }

    /// Returns what it has written to its standard error output.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Kills it. It saves its data once a second, so that what is newer is lost, even if it was
    /// acknowledged.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// Stops it in order, with all of its data saved.
    ///
    /// # Panics
    /// Panics if it does not stop.
    pub fn stop(&mut self) {
        if let Some(program) = self.program.take() {
            program.terminate();
        }
    }

    /// Stops it in order if it runs, and starts it again, on the same port and with its saved data.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn restart(&mut self) {
        self.stop();
        self.program = Some(self.run().expect("the port is still free"));
    }

    /// Removes a member that was killed from its group. This broker does not do so by itself;
    /// others do after `session.timeout.ms` without a heartbeat.
    ///
    /// # Panics
    /// Panics if the broker cannot be reached.
    pub fn expire(&self, group: &str, member: &str) {
        // LeaveGroup, version 0, with the id of the client and the number of the request.
        let text = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
        let request = [&[0, 13, 0, 0, 0, 0, 0, 1][..], &text("test"), &text(group), &text(member)].concat();
        let mut wire = Wire::connect(self.address);
        wire.send([&(request.len() as u32).to_be_bytes()[..], &request].concat());
        let answer = wire.exactly(10).expect("an answer");
        assert_eq!(answer[8..], [0, 0], "no error");
    }

    /// Sends it a signal, such as `STOP` or `CONT`.
    ///
    /// # Panics
    /// Panics if it does not run.
    pub fn signal(&self, name: &str) {
        self.program.as_ref().expect("it runs").signal(name);
    }
}

/// Returns a program of `target/venv`.
fn installed(program: &str, need: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace");
    let path = root.join("target/venv/bin").join(program);
    assert!(path.exists(), "scripts/need {need} installs it");
    path
}
