//! Services in other languages, written as is usual there.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// A program that serves HTTP and prints its port as its first line; stopped when it is dropped.
pub struct ScriptServer {
    child: Child,
    address: SocketAddr,
}

impl ScriptServer {
    /// Starts `program` with a script as its argument: `python3 -c`, `node -e`.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start(program: &str, option: &str, script: &str) -> Self {
        let mut child = Command::new(program)
            .args([option, script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} is installed (scripts/need): {error}"));
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let port: u16 = line.trim().parse().expect("the first line is a port");
        Self { child, address: ([127, 0, 0, 1], port).into() }
    }

    /// Returns its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ScriptServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
