//! HTTP/1.1 as bytes: a request is sent exactly as the test has written it.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::wire::{DEADLINE, Wire};

/// A request, with exactly these headers in this order.
#[derive(Clone)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header fields with names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The body, unchunked.
    pub body: Vec<u8>,
    /// Fields after a chunked body.
    pub trailers: Vec<(String, String)>,
    /// `true` if the complete answer has arrived.
    pub whole: bool,
}

/// The headers that clients of RIG can rely on.
const SHOWN: [&str; 13] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "allow",
    "cache-control",
    "connection",
    "content-type",
    "location",
    "sec-websocket-accept",
    "set-cookie",
    "upgrade",
    "www-authenticate",
];

impl Request {
    /// A request without headers and body.
    pub fn new(method: &str, target: impl Into<String>) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: None }
    }

    /// A `GET`.
    pub fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    /// A `POST` of JSON.
    pub fn post_json(target: impl Into<String>, body: impl AsRef<[u8]>) -> Self {
        Self::new("POST", target).header("Content-Type", "application/json").body(body)
    }

    /// A `PUT` of JSON.
    pub fn put_json(target: impl Into<String>, body: impl AsRef<[u8]>) -> Self {
        Self::new("PUT", target).header("Content-Type", "application/json").body(body)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a token in the `Authorization` header.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// Sets the body, and with it the `Content-Length`.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    /// Returns the bytes on the wire.
    pub fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {address}\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").expect("writing to a String succeeds");
        }
        if let Some(body) = &self.body {
            write!(head, "Content-Length: {}\r\n", body.len()).expect("writing to a String succeeds");
        }
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend(self.body.iter().flatten());
        bytes
    }

    /// Sends the request on a new connection.
    pub fn start(&self, address: SocketAddr) -> Wire {
        let mut wire = Wire::connect(address);
        wire.send(self.bytes(address));
        wire
    }

    /// Sends the request on a new connection and returns the status of the answer; `None` if the
    /// peer closes the connection, as one does that has too many of them.
    pub fn status(&self, address: SocketAddr) -> Option<u16> {
        Response::read_head(&mut self.start(address)).map(|response| response.status)
    }

    /// Sends the request on a new connection and returns the status of the answer; `None` if there
    /// is none, for instance because the process is being killed.
    pub fn status_if_any(&self, address: SocketAddr) -> Option<u16> {
        let mut socket = TcpStream::connect(address).ok()?;
        socket.set_read_timeout(Some(DEADLINE)).ok()?;
        socket.write_all(&self.bytes(address)).ok()?;
        let mut begin = [0; "HTTP/1.1 201".len()];
        socket.read_exact(&mut begin).ok()?;
        std::str::from_utf8(begin.last_chunk::<3>()?).ok()?.parse().ok()
    }

    /// Sends the request on a new connection and reads the complete answer.
    pub fn send(&self, address: SocketAddr) -> Response {
        Response::read(&mut self.start(address), self.method == "HEAD")
    }
}

impl Response {
    /// Reads one answer.
    ///
    /// # Panics
    /// Panics if the received bytes are not an answer.
    pub fn read(wire: &mut Wire, to_head: bool) -> Self {
        let mut response = Self::read_head(wire).expect("an answer, not a closed connection");
        if to_head || response.status == 204 || response.status / 100 == 1 {
            return response;
        }
        response.body = match response.header("content-length") {
            Some(length) => {
                let length = length.parse().expect("content-length is a number");
                wire.exactly(length).expect("a whole body")
            }
            None if response.header("transfer-encoding") == Some("chunked") => {
                let body = std::iter::from_fn(|| chunk(wire)).flatten().collect();
                match trailers(wire) {
                    Some(trailers) => response.trailers = trailers,
                    None => response.whole = false,
                }
                body
            }
            None => wire.rest(),
        };
        response
    }

    /// Reads a head only; `None` if the peer has closed.
    ///
    /// # Panics
    /// Panics if the received bytes are not a head.
    pub fn read_head(wire: &mut Wire) -> Option<Self> {
        let head = String::from_utf8(wire.until(b"\r\n\r\n")?).expect("a head is ASCII");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers = lines
            .map(|line| line.split_once(": ").expect("a header has a colon"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Some(Self {
            status: status.expect("a status line"),
            headers,
            body: Vec::new(),
            trailers: Vec::new(),
            whole: true,
        })
    }

    /// Returns the value of a header, if it was received.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the body as JSON.
    ///
    /// # Panics
    /// Panics if it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// Returns the answer in one line: status, the headers that clients can rely on in alphabetical
    /// order, body.
    ///
    /// Omits `cache-control` with the value of every answer that must not be reused, `connection`
    /// unless it announces an upgrade, and the cookie of the position, which RIG does not have.
    pub fn shown(&self) -> String {
        let mut headers: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, value)| {
                SHOWN.contains(&name.as_str())
                    && value != "max-age=0, private, must-revalidate"
                    && !(name == "set-cookie" && value.starts_with("position"))
                    && (name != "connection" || value.to_ascii_lowercase().contains("upgrade"))
            })
            .collect();
        headers.sort_by_key(|(name, _)| name);
        let mut shown = self.status.to_string();
        for (name, value) in headers {
            write!(shown, " | {name}: {value}").expect("writing to a String succeeds");
        }
        if !self.body.is_empty() {
            write!(shown, " | {}", self.text()).expect("writing to a String succeeds");
        }
        shown
    }
}

/// Returns the next chunk of a chunked body (RFC 9112, section 7.1); `None` at its end, after which
/// [`trailers`] follow, or if the stream is cut off.
pub(crate) fn chunk(wire: &mut Wire) -> Option<Vec<u8>> {
    let size = wire.until(b"\r\n")?;
    let size = std::str::from_utf8(&size).expect("a chunk size").trim();
    let size = usize::from_str_radix(size, 16).expect("a chunk size");
    if size == 0 {
        return None;
    }
    let mut data = wire.exactly(size + 2)?;
    data.truncate(size);
    Some(data)
}

/// Reads the fields after the last chunk and the empty line after them. Names are in lower case.
/// Returns `None` if the stream is cut off.
pub(crate) fn trailers(wire: &mut Wire) -> Option<Vec<(String, String)>> {
    let mut trailers = Vec::new();
    loop {
        let line = String::from_utf8(wire.until(b"\r\n")?).expect("a trailer is ASCII");
        match line.trim_end().split_once(": ") {
            Some((name, value)) => trailers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => return Some(trailers),
        }
    }
}
