//! A real HAProxy, in front of the gateway or behind it.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::folder::Folder;
use crate::program::Program;
use crate::upstream::unused_address;

/// A running HAProxy; stopped when it is dropped.
pub struct Haproxy {
    _program: Program,
    address: SocketAddr,
    _folder: Folder,
}

impl Haproxy {
    /// Starts it with a configuration in which `ADDRESS` stands for the address that it listens on;
    /// `scripts/need haproxy` installs it.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start(config: &str) -> Self {
        let folder = Folder::new();
        // Another program may take the port between its choice and its use.
        for _ in 0..5 {
            let address = unused_address();
            if let Some(program) = try_start(&folder, config, address) {
                return Self { _program: program, address, _folder: folder };
            }
        }
        panic!("HAProxy did not start: {}", std::fs::read_to_string(folder.join("log")).unwrap_or_default());
    }

    /// Returns its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn try_start(folder: &Folder, config: &str, address: SocketAddr) -> Option<Program> {
    let path = folder.join("haproxy.cfg");
    std::fs::write(&path, format!("{GLOBAL}{}", config.replace("ADDRESS", &address.to_string())))
        .expect("a file in a folder");
    let log = std::fs::File::create(folder.join("log")).expect("a file in a folder");
    Program::start(
        Command::new("haproxy").args(["-db", "-f", &path]).stdout(Stdio::null()).stderr(log),
        address,
    )
}

const GLOBAL: &str = "
global
    maxconn 1000
    expose-experimental-directives
defaults
    mode http
    timeout client 30s
    timeout server 30s
    timeout connect 5s
";
