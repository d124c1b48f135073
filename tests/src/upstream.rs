//! Services behind the proxy: one that returns what it was asked, and one that misbehaves as the
//! test demands.

mod echo;
mod raw;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

pub use raw::{RawUpstream, Script};

use crate::client::{chunk, trailers};
use crate::wire::{DEADLINE, Wire};

/// A service that answers each request with the request as it has received it, as JSON.
///
/// The last part of a path selects another answer: `/status/NNN` for a status, `/redirect` for a
/// `Location`, `/empty` for a 204, `/async` for a 202, `/chunked` for chunks and a trailer,
/// `/bytes/N` for this many bytes, `/endless` for a word every 20 ms, `/slow` for no answer at all,
/// and `/upgrade` for a 101 after which all bytes are sent back.
pub struct Upstream {
    address: SocketAddr,
    received: Receiver<Received>,
}

/// A request as a service has received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The target of the request line, unchanged.
    pub target: String,
    /// Header fields as they were written, in their order.
    pub headers: Vec<(String, String)>,
    /// The body, unchunked.
    pub body: Vec<u8>,
    /// The fields after a chunked body.
    pub trailers: Vec<(String, String)>,
}

/// Returns an address on which no server listens. Its port is below those that the system gives to
/// connections, which come and go at any time.
///
/// # Panics
/// Panics if there is no free port.
pub fn unused_address() -> SocketAddr {
    let free = (0..100).find_map(|_| {
        let drawn = RandomState::new().build_hasher().finish();
        let port = 10_000 + (drawn % 20_000) as u16;
        TcpListener::bind(("127.0.0.1", port)).ok()?.local_addr().ok()
    });
    free.expect("a free port")
}

/// Returns an API definition in RIG's format, for a service on this port.
pub fn api(id: &str, port: u16, endpoints: &Value) -> Value {
    json!({
        "id": id,
        "name": id,
        "auth_type": "jwt",
        "auth": {"use_header": true, "header_name": "Authorization", "use_query": false, "query_name": ""},
        "versioned": false,
        "version_data": {"default": {"endpoints": endpoints}},
        "proxy": {"use_env": false, "target_url": "127.0.0.1", "port": port},
    })
}

impl Upstream {
    /// Listens on a free port until the test ends.
    ///
    /// # Panics
    /// Panics if there is no free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (sender, received) = channel();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let sender = sender.clone();
                std::thread::spawn(move || echo::serve(&mut Wire::patient(stream), &sender));
            }
        });
        Self { address, received }
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns an API with these endpoints of the service.
    pub fn api(&self, id: &str, endpoints: &Value) -> Value {
        api(id, self.address.port(), endpoints)
    }

    /// Returns the next request.
    ///
    /// # Panics
    /// Panics if none arrives.
    pub fn next(&self) -> Received {
        self.received.recv_timeout(DEADLINE).expect("the gateway forwards the request")
    }

    /// Returns all requests that have arrived and have not been returned yet.
    pub fn waiting(&self) -> Vec<Received> {
        self.received.try_iter().collect()
    }
}

impl Received {
    /// Reads one request; `None` if the connection is closed before, or if the bytes are not a
    /// request.
    pub fn read(wire: &mut Wire) -> Option<Self> {
        let mut received = Self::read_head(wire)?;
        if received.header("expect").is_some() {
            wire.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
        received.read_body(wire)?;
        Some(received)
    }

    /// Reads the head of a request.
    pub fn read_head(wire: &mut Wire) -> Option<Self> {
        // Each character stands for one byte.
        let head: String = wire.until(b"\r\n\r\n")?.into_iter().map(char::from).collect();
        let mut lines = head.trim_end().split("\r\n");
        let mut line = lines.next()?.split(' ');
        let (method, target) = (line.next()?.to_owned(), line.next()?.to_owned());
        let headers = lines.map(field).collect::<Option<_>>()?;
        Some(Self { method, target, headers, body: Vec::new(), trailers: Vec::new() })
    }

    /// Reads the body that the head announces; `None` if its length is ambiguous (RFC 9112, section
    /// 6.3).
    pub fn read_body(&mut self, wire: &mut Wire) -> Option<()> {
        if self.all("transfer-encoding").chain(self.all("content-length")).nth(1).is_some() {
            return None;
        }
        if let Some(coding) = self.header("transfer-encoding") {
            (coding == "chunked").then_some(())?;
            self.body = std::iter::from_fn(|| chunk(wire)).flatten().collect();
            self.trailers = trailers(wire)?;
        } else if let Some(length) = self.header("content-length") {
            self.body = wire.exactly(length.parse().ok()?)?;
        }
        Some(())
    }

    /// Returns the value of a header, if it was sent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Returns all values of a header, in their order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Formats the request like the service that RIG was recorded with: JSON indented by one space,
    /// the body byte by byte.
    pub fn to_json(&self) -> Vec<u8> {
        let text = |text: &str| Value::from(text).to_string();
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| format!("  [\n   {},\n   {}\n  ]", text(name), text(value)))
            .collect();
        let headers = headers.join(",\n");
        let body: String = self.body.iter().map(|byte| char::from(*byte)).collect();
        let mut json = Vec::new();
        write!(
            json,
            "{{\n \"method\": {},\n \"path\": {},\n \"headers\": [\n{headers}\n ],\n \"body\": {}\n}}",
            text(&self.method),
            text(&self.target),
            text(&body),
        )
        .expect("writing to a Vec succeeds");
        json
    }
}

fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_owned(), value.trim().to_owned()))
}
