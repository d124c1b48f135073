//! A service behind the gateway: it answers what it was asked, and keeps a list of it.
//!
//! The JSON is that of the service behind the original when its answers were recorded: method, path, headers as they came,
//! body. What else it does is in the last parts of the path: `/status/404`, `/redirect/status/302`, `/empty`, `/chunked`,
//! `/trailers`, `/endless`. A WebSocket handshake gets its 101, and then all bytes come back.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{sleep, spawn};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

use crate::client::chunk;
use crate::wire::Wire;

/// A running service; its port is open until the test ends.
pub struct Upstream {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Received>>>,
}

/// A request as it came: one that is whole and well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The request line.
    pub line: String,
    /// The header fields, names as they came.
    pub headers: Vec<(String, String)>,
    /// The body, unchunked.
    pub body: Vec<u8>,
    /// The trailer fields.
    pub trailers: Vec<(String, String)>,
}

impl Upstream {
    /// Listens on a free port.
    ///
    /// # Panics
    /// Where there is none.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let asked = Arc::default();
        spawn({
            let asked = Arc::clone(&asked);
            move || {
                while let Ok((stream, _)) = listener.accept() {
                    let asked = Arc::clone(&asked);
                    spawn(move || serve(&mut Wire::from(stream), &asked));
                }
            }
        });
        Self { address, asked }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The whole requests since the last call, in the order in which they were complete.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.asked.lock())
    }
}

impl Received {
    /// Reads a request; nothing where the stream ends before it is whole, or where it is not exactly what RFC 9112 says.
    pub fn read(wire: &mut Wire) -> Option<Self> {
        let mut received = Self::read_head(wire)?;
        let named =
            |name: &str| received.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).count();
        match (named("content-length"), named("transfer-encoding")) {
            (0, 0) => {}
            (1, 0) => {
                let length = received.header("content-length")?;
                length.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
                received.expect(wire);
                received.body = wire.exactly(length.parse().ok()?)?;
            }
            (0, 1) if received.header("transfer-encoding")? == "chunked" => {
                received.expect(wire);
                let (body, trailers) = chunked(wire)?;
                (received.body, received.trailers) = (body, trailers);
            }
            _ => return None,
        }
        Some(received)
    }

    /// Reads a head alone.
    pub fn read_head(wire: &mut Wire) -> Option<Self> {
        // One character for each byte.
        let head: String = wire.until(b"\r\n\r\n")?.into_iter().map(char::from).collect();
        let mut lines = head.strip_suffix("\r\n\r\n")?.split("\r\n");
        let line = lines.next()?.to_owned();
        let headers = lines.map(field).collect::<Option<_>>()?;
        Some(Self { line, headers, body: Vec::new(), trailers: Vec::new() })
    }

    /// The value of a header, where it came.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The method.
    pub fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// The target.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    fn expect(&self, wire: &mut Wire) {
        if self.header("expect").is_some() {
            wire.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    /// The JSON of it.
    fn json(&self) -> String {
        // One character for each byte, as the original's service did.
        let body: String = self.body.iter().copied().map(char::from).collect();
        let headers = json!(self.headers);
        format!(
            r#"{{"method":"{}","path":{},"headers":{headers},"body":{}}}"#,
            self.method(),
            json!(self.target()),
            json!(body)
        )
    }
}

fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(": ")?;
    let of_names = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (!name.is_empty() && name.bytes().all(of_names)).then(|| (name.to_owned(), value.to_owned()))
}

type Chunked = (Vec<u8>, Vec<(String, String)>);

fn chunked(wire: &mut Wire) -> Option<Chunked> {
    let mut body = Vec::new();
    loop {
        let size = wire.until(b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(size.strip_suffix(b"\r\n")?).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        body.extend(wire.exactly(size)?);
        (wire.exactly(2)? == b"\r\n").then_some(())?;
    }
    let mut trailers = Vec::new();
    loop {
        let line = String::from_utf8(wire.until(b"\r\n")?).ok()?;
        match line.trim_end() {
            "" => return Some((body, trailers)),
            line => trailers.push(field(line)?),
        }
    }
}

fn serve(wire: &mut Wire, asked: &Mutex<Vec<Received>>) -> Option<()> {
    loop {
        let received = Received::read(wire)?;
        asked.lock().push(received.clone());
        let path = received.target().split('?').next().unwrap_or_default();
        let mut parts = path.rsplit('/');
        match parts.next().unwrap_or_default() {
            _ if received.header("upgrade") == Some("websocket") => return tunnel(wire, &received),
            "endless" => return endless(wire),
            "empty" => wire.send(format!("HTTP/1.1 204 No Content\r\n{FIELDS}\r\n")),
            "chunked" => {
                let head = format!("HTTP/1.1 200 OK\r\n{FIELDS}transfer-encoding: chunked\r\n\r\n");
                wire.send(head + "6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n");
            }
            "trailers" => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\n{FIELDS}trailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n"
                );
                wire.send(head + "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n");
            }
            last => {
                let status = if parts.next() == Some("status") { last } else { "200" };
                let location = if path.contains("/redirect/") { "location: /elsewhere\r\n" } else { "" };
                let body = received.json();
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} Whatever\r\n{FIELDS}{location}content-length: {length}\r\n\r\n"
                );
                wire.send(if received.method() == "HEAD" { head } else { head + &body });
            }
        }
    }
}

/// On every answer.
const FIELDS: &str = "content-type: application/json\r\nx-up: a\r\nset-cookie: b=2\r\nset-cookie: a=1\r\n";

/// A little now and then, until nobody reads it any more.
fn endless(wire: &mut Wire) -> Option<()> {
    wire.send("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n");
    while wire.send_whole("4\r\ntick\r\n") {
        sleep(Duration::from_millis(20));
    }
    None
}

fn tunnel(wire: &mut Wire, received: &Received) -> Option<()> {
    let key = received.header("sec-websocket-key").unwrap_or_default();
    wire.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nx-key: {key}\r\n\r\n"
    ));
    loop {
        let bytes = wire.some()?;
        wire.send(bytes);
    }
}

/// A service of which the test writes every byte: it is handed each connection.
pub struct RawUpstream {
    listener: TcpListener,
}

impl RawUpstream {
    /// Listens on a free port.
    ///
    /// # Panics
    /// Where there is none.
    pub fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").expect("a free port") }
    }

    /// Where it is.
    ///
    /// # Panics
    /// Never.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound socket has an address")
    }

    /// The next connection.
    ///
    /// # Panics
    /// Where none comes.
    pub fn accept(&self) -> Wire {
        self.listener.set_nonblocking(true).expect("a socket option");
        let stream = crate::eventually("a connection to the service", || match self.listener.accept() {
            Ok((stream, _)) => Some(stream),
            Err(_) => None,
        });
        stream.set_nonblocking(false).expect("a socket option");
        Wire::from(stream)
    }

    /// Whether nobody has connected since the last connection that was accepted.
    ///
    /// # Panics
    /// Where the socket refuses its options.
    pub fn is_unasked(&self) -> bool {
        self.listener.set_nonblocking(true).expect("a socket option");
        self.listener.accept().is_err()
    }
}

/// The bytes of an answer's body, as far as they come: chunks until the last, or until the stream is cut.
pub fn chunks(wire: &mut Wire) -> Vec<u8> {
    std::iter::from_fn(|| chunk(wire)).flatten().collect()
}
