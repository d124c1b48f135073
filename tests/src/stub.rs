//! A service that the gateway asks. It passes each request to the test and answers as the test
//! decides.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::wire::{DEADLINE, Wire};

/// A stub of the service of an external check.
pub struct Stub {
    address: SocketAddr,
    asked: Receiver<Asked>,
}

/// A request that waits for its answer.
pub struct Asked {
    /// Its head, names of headers in lower case.
    pub head: String,
    /// Its body.
    pub body: String,
    answer: Sender<u16>,
}

impl Stub {
    /// Listens on a free port until the test ends.
    ///
    /// # Panics
    /// Panics if there is no free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let sender = sender.clone();
                std::thread::spawn(move || serve(&mut Wire::from(stream), &sender));
            }
        });
        Self { address, asked }
    }

    /// Returns its URL.
    pub fn url(&self) -> String {
        format!("http://{}/check", self.address)
    }

    /// Returns the next request.
    ///
    /// # Panics
    /// Panics if none arrives.
    pub fn next(&self) -> Asked {
        self.asked.recv_timeout(DEADLINE).expect("the gateway asks")
    }
}

impl Asked {
    /// Answers with this status.
    pub fn answer(&self, status: u16) {
        self.answer.send(status).ok();
    }

    /// Returns the value of a header, if it was sent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

fn serve(wire: &mut Wire, sender: &Sender<Asked>) -> Option<()> {
    loop {
        let head = String::from_utf8(wire.until(b"\r\n\r\n")?).ok()?;
        let head: String = head
            .lines()
            .map(|line| match line.split_once(": ") {
                Some((name, value)) => format!("{}: {value}\n", name.to_ascii_lowercase()),
                None => format!("{line}\n"),
            })
            .collect();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let body = String::from_utf8(wire.exactly(length.unwrap_or(0))?).ok()?;
        let (answer, status) = channel();
        sender.send(Asked { head, body, answer }).ok()?;
        let status = status.recv().ok()?;
        wire.send(format!("HTTP/1.1 {status} Whatever\r\ncontent-length: 0\r\n\r\n"));
    }
}
