//! A real HAProxy, before the gateway or behind it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::folder::Folder;
use crate::wire::DEADLINE;

/// A running HAProxy; ends with its variable.
pub struct Haproxy {
    child: Child,
    address: SocketAddr,
    _folder: Folder,
}

impl Haproxy {
    /// Starts it with a configuration in which `ADDRESS` is where it listens; `scripts/need
    /// haproxy` installs it.
    ///
    /// # Panics
    /// Where it does not come up.
    pub fn start(config: &str) -> Self {
        let folder = Folder::new();
        // Another program may take the port between its choice and its use.
        for _ in 0..5 {
            if let Some((child, address)) = try_start(&folder, config) {
                return Self { child, address, _folder: folder };
            }
        }
        panic!(
            "HAProxy did not come up: {}",
            std::fs::read_to_string(folder.join("log")).unwrap_or_default()
        );
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn try_start(folder: &Folder, config: &str) -> Option<(Child, SocketAddr)> {
    let address =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let path = folder.join("haproxy.cfg");
    std::fs::write(&path, format!("{GLOBAL}{}", config.replace("ADDRESS", &address.to_string())))
        .expect("a file in a folder");
    let log = std::fs::File::create(folder.join("log")).expect("a file in a folder");
    let mut child = Command::new("haproxy")
        .env("PATH", std::env::var("PATH").unwrap_or_default() + ":/usr/sbin")
        .args(["-db", "-f", &path])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("HAProxy is installed: scripts/need haproxy");
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline && child.try_wait().expect("the child is ours").is_none() {
        if TcpStream::connect(address).is_ok() {
            return Some((child, address));
        }
        std::thread::yield_now();
    }
    drop(child.kill());
    drop(child.wait());
    None
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
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
