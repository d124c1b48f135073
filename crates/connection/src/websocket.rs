//! WebSocket (RFC 6455): the handshake, the protocol without I/O, and the task that owns a
//! connection's socket.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tungstenite::error::CapacityError;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message};

use crate::connection::Connection;
use crate::frame::{BINARY, TEXT, close_frame, websocket_frame};
use crate::outbox::Kind;
use crate::socket::Socket;
use crate::sse;
use crate::transport::CloseReason;
use crate::writer::Writer;

/// What the gateway says to a client that sends data (RIG).
const ONE_WAY: &str = "This WebSocket endpoint cannot be used for two-way communication.";

/// The subprotocol that is spoken: each message is an event in JSON (CloudEvents, WebSockets
/// protocol binding, section 1.3). A client that names none gets the same.
const SUBPROTOCOL: &str = "cloudevents.json";

/// The largest message a client of the gateway may send before it learns that it may send none, in
/// bytes.
const CLIENT_MESSAGE: usize = 64 << 10;

/// Bytes read from a client at once; it has nothing to say, and every connection has such a buffer.
const READ_BUFFER: usize = 32;

/// A handshake that can be accepted.
#[derive(Clone, Debug)]
pub struct Accept {
    head: Bytes,
}

/// The request does not open a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// It does not ask for an upgrade to `websocket` (RFC 6455, section 4.2.1).
    #[error("expected the headers connection: upgrade and upgrade: websocket")]
    NoUpgrade,
    /// Another version than 13 (RFC 6455, section 4.4).
    #[error("expected the header sec-websocket-version: 13")]
    Version,
    /// The key is missing or not 16 bytes in base64 (RFC 6455, section 4.2.1).
    #[error("expected a header sec-websocket-key of 16 bytes in base64")]
    Key,
    /// No subprotocol that it offers is spoken here. Browsers fail a handshake that chooses none of
    /// what they offer.
    #[error(
        "none of the subprotocols in sec-websocket-protocol is known here; known: {SUBPROTOCOL}, or no header at all"
    )]
    Subprotocol,
}

impl HandshakeError {
    /// The status to answer with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Key | Self::Subprotocol => StatusCode::BAD_REQUEST,
        }
    }
}

impl Accept {
    /// Checks the headers of a GET request over HTTP/1.1.
    ///
    /// # Errors
    /// Says which header is wrong.
    pub fn new(headers: &HeaderMap) -> Result<Self, HandshakeError> {
        let has_token =
            |name, token: &str| elements(headers, name).any(|one| one.eq_ignore_ascii_case(token.as_bytes()));
        if !has_token(CONNECTION, "upgrade") || !has_token(UPGRADE, "websocket") {
            return Err(HandshakeError::NoUpgrade);
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).ok_or(HandshakeError::Key)?.as_bytes();
        if key.len() != 24 || !key.ends_with(b"==") {
            return Err(HandshakeError::Key);
        }
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(HandshakeError::Version);
        }
        let mut offered = elements(headers, SEC_WEBSOCKET_PROTOCOL).peekable();
        let chosen = offered.peek().is_some();
        if chosen && !offered.any(|protocol| protocol == SUBPROTOCOL.as_bytes()) {
            return Err(HandshakeError::Subprotocol);
        }
        let accept = derive_accept_key(key);
        let mut head = Vec::with_capacity(sse::HEAD);
        head.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nsec-websocket-accept: ",
        );
        head.extend_from_slice(accept.as_bytes());
        head.extend_from_slice(b"\r\nupgrade: websocket\r\n");
        if chosen {
            head.extend_from_slice(format!("sec-websocket-protocol: {SUBPROTOCOL}\r\n").as_bytes());
        }
        sse::write_headers(&mut head, &HeaderMap::new());
        head.extend_from_slice(b"\r\n");
        Ok(Self { head: head.into() })
    }

    /// The answer to the handshake.
    pub fn head(&self) -> Bytes {
        self.head.clone()
    }
}

/// Iterates over the elements of a header that is a list, in all of its fields. Empty ones do not
/// count (RFC 9110, section 5.6.1.2).
fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    let elements = values.flat_map(|value| value.split(|byte| *byte == b','));
    elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// What a client said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A whole text message.
    Text(String),
    /// A whole binary message.
    Binary(Bytes),
    /// The closing handshake, with the code of the answer if there is one; the answer is in
    /// [`Protocol::take_output`] too.
    Closed(Option<u16>),
}

/// The client broke the protocol; the connection must be closed with this code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ProtocolError {
    /// The close code (RFC 6455, section 7.4.1).
    pub code: u16,
    /// What was wrong.
    pub reason: String,
}

/// The server's side of the protocol without I/O: bytes in, messages out, and bytes to send.
pub struct Protocol {
    inner: tungstenite::WebSocket<Pipe>,
}

/// Stands where tungstenite wants a stream.
#[derive(Default)]
struct Pipe {
    input: BytesMut,
    output: Vec<u8>,
}

impl Protocol {
    /// A protocol in its open state, which takes messages of up to `max_message` bytes.
    pub fn new(max_message: usize, read_buffer: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(read_buffer)
            .write_buffer_size(0)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        Self { inner: tungstenite::WebSocket::from_raw_socket(Pipe::default(), Role::Server, Some(config)) }
    }

    /// Takes bytes from the client.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.inner.get_mut().input.extend_from_slice(bytes);
    }

    /// The next message of what was fed; `None` where more bytes are needed. Pings are answered on
    /// the way.
    ///
    /// # Errors
    /// The client broke the protocol.
    pub fn receive(&mut self) -> Result<Option<Incoming>, ProtocolError> {
        let incoming = loop {
            match self.inner.read() {
                Ok(Message::Text(text)) => break Ok(Some(Incoming::Text(text.as_str().to_owned()))),
                Ok(Message::Binary(bytes)) => break Ok(Some(Incoming::Binary(bytes))),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Ok(Message::Close(close)) => {
                    // A code that may not be sent is answered as what it is, an error (RFC 6455,
                    // section 7.4).
                    let code =
                        close.map(|close| if close.code.is_allowed() { close.code.into() } else { 1002 });
                    break Ok(Some(Incoming::Closed(code)));
                }
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                    break Ok(Some(Incoming::Closed(None)));
                }
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break Ok(None),
                Err(error) => break Err(ProtocolError::from(error)),
            }
        };
        // Queues pongs and the answer to a close into the pipe, which never fails; a finished close
        // is no error here.
        let _ = self.inner.flush();
        incoming
    }

    /// Bytes that the protocol wants sent: pongs, and the answer to a close.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.inner.get_mut().output)
    }
}

impl From<Error> for ProtocolError {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Utf8(_) => 1007,
            Error::Capacity(CapacityError::MessageTooLong { .. }) => 1009,
            _ => 1002,
        };
        Self { code, reason: error.to_string() }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            // An idle connection keeps no buffer of its own here.
            self.input = BytesMut::new();
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = buffer.len().min(self.input.len());
        self.input.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A text message as one frame from a server.
pub fn text_frame(text: &str) -> Bytes {
    websocket_frame(TEXT, text.as_bytes())
}

/// A binary message as one frame from a server.
pub fn binary_frame(bytes: &[u8]) -> Bytes {
    websocket_frame(BINARY, bytes)
}

/// A close frame from a server.
pub fn closing_frame(code: u16, reason: &str) -> Bytes {
    close_frame(code, reason)
}

impl Connection {
    /// Owns a WebSocket connection until it is closed; `read` is what the client has sent already.
    pub fn run_websocket(self: Arc<Self>, socket: Socket, read: Bytes) -> impl Future<Output = ()> + Send {
        self.attach(socket);
        let mut protocol = Protocol::new(CLIENT_MESSAGE, READ_BUFFER);
        if !read.is_empty() {
            self.receive(&mut protocol, &read);
        }
        sse::run(self, move |connection, bytes| connection.receive(&mut protocol, bytes))
    }

    fn receive(&self, protocol: &mut Protocol, bytes: &[u8]) {
        protocol.feed(bytes);
        match protocol.receive() {
            Ok(None) => {
                let output = protocol.take_output();
                if !output.is_empty() {
                    self.push(&[Bytes::from(output)], Kind::Control);
                }
            }
            // RIG repeats the code and keeps the reason to itself.
            Ok(Some(Incoming::Closed(code))) => {
                let answer = code.map_or(Bytes::from_static(&[0x88, 0]), |code| close_frame(code, ""));
                self.drain_with(CloseReason::Client, answer);
            }
            Ok(Some(Incoming::Text(_) | Incoming::Binary(_))) => {
                self.drain_with(CloseReason::Protocol, close_frame(1000, ONE_WAY));
            }
            Err(error) => {
                self.terminate_with(CloseReason::Protocol, close_frame(error.code, &error.reason));
            }
        }
    }
}

/// Accepts a handshake only to tell the client, in the close frame, why there is no connection for
/// it (RIG).
pub async fn refuse(socket: Socket, accept: Accept, reason: &str) {
    let mut writer = Writer::new(accept.head());
    writer.drain(CloseReason::Protocol, close_frame(1000, reason));
    sse::say_farewell(&socket, |_| writer.flush(&socket)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame as a client sends it (RFC 6455, section 5.3); the mask is zero.
    fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        assert!(payload.len() < 126);
        [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
    }

    fn protocol() -> Protocol {
        Protocol::new(1024, READ_BUFFER)
    }

    fn code_of(bytes: &[u8]) -> u16 {
        let mut protocol = protocol();
        protocol.feed(bytes);
        protocol.receive().expect_err("a protocol error").code
    }

    #[test]
    fn d22_a_ping_with_payload_is_answered_with_it() {
        let mut protocol = protocol();
        protocol.feed(&client_frame(0x89, b"abc"));
        assert_eq!(protocol.receive(), Ok(None));
        assert_eq!(protocol.take_output(), [&[0x8A, 3], &b"abc"[..]].concat());
        protocol.feed(&client_frame(0x81, b"still here"));
        assert_eq!(protocol.receive(), Ok(Some(Incoming::Text("still here".into()))));
    }

    #[test]
    fn a_message_may_come_byte_by_byte() {
        let mut protocol = protocol();
        let frame = client_frame(0x81, b"hello");
        for byte in &frame[..frame.len() - 1] {
            protocol.feed(&[*byte]);
            assert_eq!(protocol.receive(), Ok(None));
        }
        protocol.feed(&frame[frame.len() - 1..]);
        assert_eq!(protocol.receive(), Ok(Some(Incoming::Text("hello".into()))));
    }

    #[test]
    fn a_close_is_answered_with_its_code() {
        let mut protocol = protocol();
        protocol.feed(&client_frame(0x88, &[0x03, 0xE8]));
        assert_eq!(protocol.receive(), Ok(Some(Incoming::Closed(Some(1000)))));
        assert_eq!(protocol.take_output(), [0x88, 2, 0x03, 0xE8]);
    }

    #[test]
    fn what_breaks_the_protocol_has_its_code() {
        assert_eq!(code_of(&[0x81, 0x01, b'x']), 1002, "not masked");
        assert_eq!(code_of(&client_frame(0x83, b"")), 1002, "reserved opcode");
        assert_eq!(code_of(&client_frame(0xC1, b"")), 1002, "reserved bit");
        assert_eq!(code_of(&client_frame(0x09, b"")), 1002, "fragmented control frame");
        assert_eq!(code_of(&client_frame(0x81, &[0xFF])), 1007, "not UTF-8");
        assert_eq!(code_of(&[0x82, 0xFE, 0xFF, 0xFF, 0, 0, 0, 0]), 1009, "larger than allowed");
    }

    #[test]
    fn a_handshake_names_the_header_that_is_wrong() {
        let mut headers = HeaderMap::new();
        let status =
            |headers: &HeaderMap| Accept::new(headers).map(|_| ()).map_err(|e| (e, e.status().as_u16()));
        assert_eq!(status(&headers), Err((HandshakeError::NoUpgrade, 426)));
        headers.insert(CONNECTION, "keep-alive, Upgrade".parse().unwrap());
        headers.insert(UPGRADE, "WebSocket".parse().unwrap());
        assert_eq!(status(&headers), Err((HandshakeError::Key, 400)));
        headers.insert(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
        assert_eq!(status(&headers), Err((HandshakeError::Version, 426)));
        headers.insert(SEC_WEBSOCKET_VERSION, "13".parse().unwrap());
        let head = Accept::new(&headers).unwrap().head();
        // The example of RFC 6455, section 1.3.
        assert!(
            std::str::from_utf8(&head)
                .unwrap()
                .contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n")
        );
    }
}
