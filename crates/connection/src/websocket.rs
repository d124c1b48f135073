//! WebSocket (RFC 6455): the handshake, the protocol without I/O, and what a client may send.

pub(crate) mod frames;
mod handshake;

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tungstenite::error::CapacityError;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message};

use crate::connection::Connection;
use crate::outbox::Kind;
use crate::socket::Socket;
use crate::stream;
use crate::transport::CloseReason;

use frames::{NORMAL, PROTOCOL_ERROR};
pub use frames::{binary_frame, close_frame, text_frame};
pub use handshake::{Accept, HandshakeError, refuse};

/// The reason in the close frame for a client that sends data (RIG).
const ONE_WAY: &str = "This WebSocket endpoint cannot be used for two-way communication.";

/// The limit of bytes of a message from a client. A larger one breaks the protocol; a smaller one
/// is refused as [`ONE_WAY`].
const CLIENT_MESSAGE: usize = 64 << 10;

/// Bytes read from a client at once. Few: clients send next to nothing, and every connection has
/// such a buffer.
const READ_BUFFER: usize = 32;

/// A message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A whole text message.
    Text(String),
    /// A whole binary message.
    Binary(Bytes),
    /// A close frame, with the code of the answer, if it has one. The answer is in
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

/// The stream of tungstenite: two buffers.
#[derive(Default)]
struct Pipe {
    input: BytesMut,
    output: Vec<u8>,
}

impl Protocol {
    /// Returns a protocol in its open state, which takes messages of up to `max_message` bytes.
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

    /// Returns the next message; `None` if more bytes are needed. Answers pings on the way.
    ///
    /// # Errors
    /// Fails if the client broke the protocol.
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
                        close.map(
                            |close| if close.code.is_allowed() { close.code.into() } else { PROTOCOL_ERROR },
                        );
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

    /// Takes the bytes to send: pongs, and the answer to a close frame.
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

impl Connection {
    /// Owns a WebSocket connection until it is closed; `read` is what the client has sent already.
    pub fn run_websocket(self: Arc<Self>, socket: Socket, read: Bytes) -> impl Future<Output = ()> + Send {
        self.attach(socket);
        let mut protocol = Protocol::new(CLIENT_MESSAGE, READ_BUFFER);
        if !read.is_empty() {
            self.receive(&mut protocol, &read);
        }
        stream::run(self, move |connection, bytes| connection.receive(&mut protocol, bytes))
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
                self.drain_with(CloseReason::Protocol, close_frame(NORMAL, ONE_WAY));
            }
            Err(error) => {
                self.terminate_with(CloseReason::Protocol, close_frame(error.code, &error.reason));
            }
        }
    }
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
}
