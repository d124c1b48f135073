//! A WebSocket client (RFC 6455) that can violate the protocol.

use std::net::SocketAddr;

use crate::client::{Request, Response};
use crate::scenarios::redacted;
use crate::wire::Wire;

/// The sample key of RFC 6455, section 1.3.
const SAMPLE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of RFC 6455, section 5.2")]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Reserved3 = 3,
    Close = 8,
    Ping = 9,
    Pong = 10,
    Reserved11 = 11,
}

/// A frame exactly as it is sent.
#[derive(Clone, Debug)]
pub struct Frame {
    opcode: Opcode,
    payload: Vec<u8>,
    last: bool,
    masked: bool,
    reserved: u8,
    announced: Option<u64>,
}

impl Frame {
    /// Returns a complete, masked frame.
    pub fn new(opcode: Opcode, payload: impl AsRef<[u8]>) -> Self {
        let payload = payload.as_ref().to_vec();
        Self { opcode, payload, last: true, masked: true, reserved: 0, announced: None }
    }

    /// Returns a close frame.
    pub fn close(code: u16, reason: impl AsRef<[u8]>) -> Self {
        Self::new(Opcode::Close, [&code.to_be_bytes(), reason.as_ref()].concat())
    }

    /// Clears FIN: more frames of the message follow.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.last = false;
        self
    }

    /// Omits the mask that clients must use.
    #[must_use]
    pub fn unmasked(mut self) -> Self {
        self.masked = false;
        self
    }

    /// Sets reserved bits; 4, 2 and 1 are RSV1 to RSV3.
    #[must_use]
    pub fn reserved(mut self, bits: u8) -> Self {
        self.reserved = bits;
        self
    }

    /// Announces this length, whatever is sent.
    #[must_use]
    pub fn announcing(mut self, length: u64) -> Self {
        self.announced = Some(length);
        self
    }

    /// Returns the bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.last) << 7 | self.reserved << 4 | self.opcode as u8];
        let mask_bit = u8::from(self.masked) << 7;
        let length = self.announced.unwrap_or(self.payload.len() as u64);
        match length {
            0..=125 => bytes.push(mask_bit | length as u8),
            126..=0xffff => {
                bytes.push(mask_bit | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask_bit | 127);
                bytes.extend(length.to_be_bytes());
            }
        }
        let mask = if self.masked { [0x37, 0xfa, 0x21, 0x3d] } else { [0; 4] };
        if self.masked {
            bytes.extend(mask);
        }
        bytes.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }
}

/// An open WebSocket.
pub struct WebSocket {
    wire: Wire,
    /// The answer to the handshake.
    pub head: Response,
}

impl WebSocket {
    /// Connects with this query, without its question mark.
    ///
    /// # Panics
    /// Panics if the handshake fails.
    pub fn connect(address: SocketAddr, query: &str) -> Self {
        Self::open(address, &Self::handshake(&format!("/_rig/v1/connection/ws?{query}")))
    }

    /// Returns the request of a handshake.
    pub fn handshake(target: &str) -> Request {
        Request::get(target)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Key", SAMPLE_KEY)
            .header("Sec-WebSocket-Version", "13")
    }

    /// Connects with this request.
    ///
    /// # Panics
    /// Panics if the handshake fails.
    pub fn open(address: SocketAddr, request: &Request) -> Self {
        Self::over(request.start(address))
    }

    /// Reads the answer to the handshake sent on `wire`.
    ///
    /// # Panics
    /// Panics if the handshake fails.
    pub fn over(mut wire: Wire) -> Self {
        let head = Response::read(&mut wire, false);
        assert_eq!(head.status, 101, "{}", head.shown());
        Self { wire, head }
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: &Frame) {
        self.wire.send(frame.bytes());
    }

    /// Returns the next frame as redacted text: `TEXT …`, `PING …`, `CLOSE 1000 …`; `END` if the
    /// socket is closed.
    ///
    /// # Panics
    /// Panics if a server must not send the frame (RFC 6455, section 5.1).
    pub fn receive(&mut self) -> String {
        let Some((opcode, payload)) = self.receive_raw() else { return "END".into() };
        let text = String::from_utf8_lossy(&payload);
        redacted(&match opcode {
            1 => format!("TEXT {text}"),
            2 => format!("BINARY {text}"),
            8 if payload.is_empty() => "CLOSE".into(),
            8 => {
                let (code, reason) = payload.split_at_checked(2).expect("a close frame carries a code");
                let code = u16::from_be_bytes([code[0], code[1]]);
                format!("CLOSE {code} {}", String::from_utf8_lossy(reason)).trim_end().to_owned()
            }
            9 => format!("PING {text}"),
            10 => format!("PONG {text}"),
            other => panic!("a frame with opcode {other}"),
        })
    }

    fn receive_raw(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = self.wire.exactly(2)?;
        assert_eq!(head[0] & 0xf0, 0x80, "a server sends whole frames without extensions here");
        assert_eq!(head[1] & 0x80, 0, "a server does not mask");
        let length = match head[1] {
            126 => u16::from_be_bytes(self.wire.exactly(2)?.try_into().expect("two bytes")).into(),
            127 => u64::from_be_bytes(self.wire.exactly(8)?.try_into().expect("eight bytes")) as usize,
            short => short.into(),
        };
        Some((head[0] & 0x0f, self.wire.exactly(length)?))
    }

    /// Returns the text of the next text frame; pings are skipped.
    ///
    /// # Panics
    /// Panics if another frame arrives.
    pub fn next_text(&mut self) -> String {
        loop {
            match self.receive_raw().expect("a frame, not the end of the socket") {
                (9, _) => {}
                (1, payload) => return String::from_utf8(payload).expect("text frames are UTF-8"),
                (other, payload) => panic!("opcode {other}: {}", String::from_utf8_lossy(&payload)),
            }
        }
    }

    /// Reads the first two events and returns the connection token.
    ///
    /// # Panics
    /// Panics if they are not the first two events of a connection.
    pub fn welcome(&mut self) -> String {
        let created: serde_json::Value = serde_json::from_str(&self.next_text()).expect("JSON");
        assert_eq!(created["type"], "rig.connection.create");
        assert!(self.next_text().contains(r#""type":"rig.subscriptions_set""#));
        created["data"]["connection_token"].as_str().expect("a connection token").to_owned()
    }

    /// Reads a close frame with this code and reason, answers it, and reads the end of the
    /// connection.
    ///
    /// # Panics
    /// Panics if anything else arrives.
    pub fn expect_close(&mut self, code: u16, reason: &str) {
        assert_eq!(self.receive(), format!("CLOSE {code} {reason}").trim_end());
        self.send(&Frame::close(code, ""));
        assert_eq!(self.receive(), "END");
    }

    /// Returns the underlying socket.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }
}
