//! HTTP/2 as frames that a test writes itself, and the reactions of the other side.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use crate::wire::Wire;

/// The first bytes of a client (RFC 9113, section 3.4), without its SETTINGS.
pub const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The payload of the PING that marks the end of a case.
const LAST: &[u8; 8] = b"the last";

/// Types of frames (RFC 9113, section 6).
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames (RFC 9113, section 6).
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub mod flag {
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Error codes (RFC 9113, section 7), by their numbers.
pub const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// One frame of the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// The state of a connection at the end of a case.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The code of the GOAWAY, if one was received.
    pub goaway: Option<&'static str>,
    /// Streams that were reset, and the codes.
    pub resets: Vec<(u32, &'static str)>,
    /// Streams that were answered completely.
    pub answered: Vec<u32>,
    /// Bytes of DATA.
    pub data: usize,
    /// `true` if the connection still works: it has answered the PING that follows the case.
    pub alive: bool,
}

/// A connection whose frames a test writes itself.
pub struct RawHttp2 {
    wire: Wire,
    frames: Vec<RawFrame>,
    /// Bytes of DATA that were sent within windows, by stream; 0 holds the total.
    sent: BTreeMap<u32, i64>,
}

fn frame_head(length: usize, kind: u8, flags: u8, stream: u32) -> Vec<u8> {
    let length = u32::try_from(length).expect("a length of 24 bits").to_be_bytes();
    let mut head = length[1..].to_vec();
    head.extend([kind, flags]);
    head.extend(stream.to_be_bytes());
    head
}

/// Returns a frame as it is sent.
///
/// # Panics
/// Panics if the payload is longer than a frame can be.
pub fn encoded(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [&frame_head(payload.len(), kind, flags, stream)[..], payload].concat()
}

impl RawHttp2 {
    /// Connects, and sends nothing.
    pub fn connect(address: SocketAddr) -> Self {
        Self { wire: Wire::connect(address), frames: Vec::new(), sent: BTreeMap::new() }
    }

    /// Connects and exchanges SETTINGS.
    pub fn greeted(address: SocketAddr) -> Self {
        Self::greeted_with(address, &[])
    }

    /// Connects and exchanges SETTINGS, with these values.
    pub fn greeted_with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        Self::over(Wire::connect(address), settings)
    }

    /// Exchanges SETTINGS, with these values, over this connection.
    pub fn over(wire: Wire, settings: &[(u16, u32)]) -> Self {
        let mut connection = Self { wire, frames: Vec::new(), sent: BTreeMap::new() };
        connection.bytes(PREFACE);
        connection.settings(settings);
        connection
    }

    /// Acts as the server of a connection: reads the preface, and sends these SETTINGS.
    ///
    /// # Panics
    /// Panics if the client does not send the preface of HTTP/2.
    pub fn accepted(mut wire: Wire, settings: &[(u16, u32)]) -> Self {
        let preface = wire.exactly(PREFACE.len()).expect("a preface");
        assert_eq!(preface, PREFACE.as_bytes());
        let mut connection = Self { wire, frames: Vec::new(), sent: BTreeMap::new() };
        connection.settings(settings);
        connection
    }

    /// Returns the stream of the next request once its head has arrived; `None` at the end of the
    /// connection.
    pub fn request(&mut self) -> Option<u32> {
        self.until(|frame| frame.kind == kind::HEADERS).map(|head| head.stream)
    }

    /// Answers with a status of 200 and this body, or with the head alone if there is none.
    pub fn answer(&mut self, stream: u32, body: Option<&str>) {
        self.frame(kind::HEADERS, flag::END_HEADERS, stream, [0x88]);
        if let Some(body) = body {
            self.frame(kind::DATA, flag::END_STREAM, stream, body);
        }
    }

    /// Sends GOAWAY: no stream beyond this one is processed.
    pub fn go_away(&mut self, last_stream: u32, code: u32) {
        self.frame(kind::GOAWAY, 0, 0, [last_stream.to_be_bytes(), code.to_be_bytes()].concat());
    }

    /// Sends bytes as they are.
    pub fn bytes(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes);
    }

    /// Sends a frame.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) {
        self.wire.send(encoded(kind, flags, stream, payload));
    }

    /// Sends DATA as soon as the windows of the other side allow it (RFC 9113, section 5.2).
    ///
    /// # Panics
    /// Panics if the connection is closed before they do.
    pub fn data(&mut self, stream: u32, payload: &[u8]) {
        let length = i64::try_from(payload.len()).expect("a small frame");
        while self.window_of(0).min(self.window_of(stream)) < length {
            self.read().expect("a larger window");
        }
        self.frame(kind::DATA, 0, stream, payload);
        for window in [0, stream] {
            *self.sent.entry(window).or_default() += length;
        }
    }

    /// Returns how many bytes the other side accepts on a stream, or on the connection (0).
    fn window_of(&self, stream: u32) -> i64 {
        const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
        let mut window = 65_535 - self.sent.get(&stream).copied().unwrap_or(0);
        for frame in &self.frames {
            let number = |bytes: &[u8]| i64::from(u32::from_be_bytes(bytes.try_into().expect("four bytes")));
            match frame.kind {
                kind::WINDOW_UPDATE if frame.stream == stream => window += number(&frame.payload),
                kind::SETTINGS if stream != 0 => {
                    let initial = frame.payload.chunks(6).filter(|pair| pair[..2] == INITIAL_WINDOW_SIZE);
                    window += initial.map(|pair| number(&pair[2..]) - 65_535).sum::<i64>();
                }
                _ => {}
            }
        }
        window
    }

    /// Sends the head of a frame that announces this length.
    pub fn head(&mut self, length: usize, kind: u8, flags: u8, stream: u32) {
        self.wire.send(frame_head(length, kind, flags, stream));
    }

    /// Sends SETTINGS.
    pub fn settings(&mut self, settings: &[(u16, u32)]) {
        let pairs = settings.iter().flat_map(|(id, value)| {
            id.to_be_bytes().into_iter().chain(value.to_be_bytes()).collect::<Vec<_>>()
        });
        self.frame(kind::SETTINGS, 0, 0, pairs.collect::<Vec<_>>());
    }

    /// Sends WINDOW_UPDATE.
    pub fn window(&mut self, stream: u32, increment: u32) {
        self.frame(kind::WINDOW_UPDATE, 0, stream, increment.to_be_bytes());
    }

    /// Sends a complete request without a body.
    pub fn get(&mut self, stream: u32, path: &str) {
        self.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, get(path));
    }

    /// Returns the next frame; `None` at the end of the connection. Acknowledges SETTINGS.
    pub fn read(&mut self) -> Option<RawFrame> {
        let head = self.wire.exactly(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let payload = self.wire.exactly(usize::try_from(length).expect("24 bits"))?;
        let stream = u32::from_be_bytes(head[5..].try_into().expect("four bytes")) & (u32::MAX >> 1);
        let frame = RawFrame { kind: head[3], flags: head[4], stream, payload };
        if frame.kind == kind::SETTINGS && frame.flags & flag::ACK == 0 {
            self.frame(kind::SETTINGS, flag::ACK, 0, []);
        }
        self.frames.push(frame.clone());
        Some(frame)
    }

    /// Reads frames until a wanted one and returns it; `None` if the connection is closed before.
    pub fn until(&mut self, mut wanted: impl FnMut(&RawFrame) -> bool) -> Option<RawFrame> {
        loop {
            let frame = self.read()?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// Returns all frames that have been received.
    pub fn frames(&self) -> &[RawFrame] {
        &self.frames
    }

    /// Requires that all further frames arrive before this moment.
    #[must_use]
    pub fn ends_by(self, end: Instant) -> Self {
        Self { wire: self.wire.ends_by(end), ..self }
    }

    /// Returns the outcome of the case. Sends a PING, and reads until it is answered and these
    /// streams are answered or reset, or until the connection is closed.
    pub fn outcome(mut self, streams: &[u32]) -> Outcome {
        self.frame(kind::PING, 0, 0, LAST);
        loop {
            let outcome = self.so_far();
            let over = |stream: &u32| {
                outcome.answered.contains(stream) || outcome.resets.iter().any(|(reset, _)| reset == stream)
            };
            // After a GOAWAY the system may reset the connection, because bytes were left unread.
            if outcome.goaway.is_some() || outcome.alive && streams.iter().all(over) {
                return outcome;
            }
            if self.read().is_none() {
                return self.so_far();
            }
        }
    }

    fn so_far(&self) -> Outcome {
        let mut outcome = Outcome::default();
        for RawFrame { kind, flags, stream, payload } in &self.frames {
            let ends = flags & flag::END_STREAM != 0;
            match *kind {
                kind::GOAWAY => outcome.goaway = Some(code(&payload[4..])),
                kind::RST_STREAM => outcome.resets.push((*stream, code(payload))),
                kind::PING if flags & flag::ACK != 0 && payload == LAST => outcome.alive = true,
                kind::HEADERS if ends => outcome.answered.push(*stream),
                kind::DATA => {
                    outcome.data += payload.len();
                    if ends {
                        outcome.answered.push(*stream);
                    }
                }
                _ => {}
            }
        }
        outcome
    }
}

fn code(payload: &[u8]) -> &'static str {
    let code = payload.get(..4).map(|code| u32::from_be_bytes(code.try_into().expect("four bytes")));
    code.and_then(|code| CODES.get(usize::try_from(code).ok()?).copied()).unwrap_or("unknown")
}

/// Returns the header block of a GET: indexed fields if the static table has them (RFC 7541,
/// appendix A), no Huffman code.
pub fn get(path: &str) -> Vec<u8> {
    request(&[0x82, 0x86], path)
}

/// Returns the header block of a POST.
pub fn post(path: &str) -> Vec<u8> {
    request(&[0x83, 0x86], path)
}

/// Returns these fields, followed by the path and an authority.
pub fn request(fields: &[u8], path: &str) -> Vec<u8> {
    let mut block = fields.to_vec();
    block.push(0x04);
    text(&mut block, path);
    block.push(0x01);
    text(&mut block, "x");
    block
}

/// Returns the field `authorization` with a value that is longer than 127 bytes (RFC 7541, sections
/// 5.1 and 6.2.2).
///
/// # Panics
/// Panics if the value is shorter.
pub fn authorization(value: &str) -> Vec<u8> {
    let mut block = vec![0x0f, 0x08];
    long(&mut block, value);
    block
}

/// Returns the field `cookie` with a value that is longer than 127 bytes.
///
/// # Panics
/// Panics if the value is shorter.
pub fn cookie(value: &str) -> Vec<u8> {
    let mut block = vec![0x0f, 0x11];
    long(&mut block, value);
    block
}

/// Appends a string that is longer than 127 bytes.
fn long(block: &mut Vec<u8>, text: &str) {
    block.push(0x7f);
    let mut left = text.len().checked_sub(0x7f).expect("a long text");
    while left >= 0x80 {
        block.push((left % 0x80) as u8 | 0x80);
        left /= 0x80;
    }
    block.push(left as u8);
    block.extend_from_slice(text.as_bytes());
}

/// Returns the header block of a GET of a path that is longer than 127 bytes.
///
/// # Panics
/// Panics if the path is shorter.
pub fn get_long(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x01, 1, b'x', 0x04];
    long(&mut block, path);
    block
}

/// Returns a literal field without indexing (RFC 7541, section 6.2.2).
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    text(&mut field, name);
    text(&mut field, value);
    field
}

fn text(block: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short text");
    block.push(length);
    block.extend(text.bytes());
}
