//! One event, encoded once for each transport and shared by all its receivers.

use std::hash::{BuildHasher, RandomState};
use std::iter;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use event::Event;
use memchr::memchr2;

/// How bytes reach the client of a streaming connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Server-Sent Events in HTTP/1.1 chunks (RFC 9112, section 7.1).
    SseChunked,
    /// Server-Sent Events as they are: HTTP/2 frames the body itself, HTTP/1.0 marks its end by
    /// closing.
    SsePlain,
    /// WebSocket text frames (RFC 6455, section 5.2).
    WebSocket,
}

/// An event on its way to many connections.
///
/// The first receiver of a transport pays for the encoding; the others share the bytes.
#[derive(Debug)]
pub struct Frame {
    event: Event,
    chunk: OnceLock<Bytes>,
    plain: OnceLock<Bytes>,
    websocket: OnceLock<Bytes>,
}

/// Room for the size line in front of a chunk: 16 hexadecimal digits, CR, LF.
const SIZE_LINE: usize = 18;

impl Frame {
    /// A frame for this event; nothing is encoded yet.
    pub fn new(event: Event) -> Self {
        Self { event, chunk: OnceLock::new(), plain: OnceLock::new(), websocket: OnceLock::new() }
    }

    /// The event inside.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The bytes for a connection of this encoding.
    pub(crate) fn bytes(&self, encoding: Encoding) -> &Bytes {
        match encoding {
            Encoding::SseChunked => self.chunk(),
            Encoding::SsePlain => self.plain.get_or_init(|| chunk_body(self.chunk())),
            Encoding::WebSocket => self.websocket.get_or_init(|| websocket_frame(TEXT, self.event.json())),
        }
    }

    fn chunk(&self) -> &Bytes {
        self.chunk.get_or_init(|| sse_chunk(self.event.event_type(), self.event.json()))
    }
}

/// One event of the stream (WHATWG HTML, section 9.2.5) inside one HTTP/1.1 chunk.
///
/// The JSON travels as it is: each of its lines becomes a `data` line. A line break inside the
/// event type would begin a field of its own and is replaced by a space.
fn sse_chunk(event_type: &str, json: &[u8]) -> Bytes {
    let mut chunk = Vec::with_capacity(SIZE_LINE + event_type.len() + json.len() + 64);
    chunk.resize(SIZE_LINE, 0);
    chunk.put_slice(b"event: ");
    let start = chunk.len();
    chunk.put_slice(event_type.as_bytes());
    for byte in chunk[start..].iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        *byte = b' ';
    }
    chunk.put_u8(b'\n');
    for line in lines(json) {
        chunk.put_slice(b"data: ");
        chunk.put_slice(line);
        chunk.put_u8(b'\n');
    }
    chunk.put_u8(b'\n');
    close_chunk(chunk)
}

/// Returns the length of what [`sse_chunk`] makes of an event. No other transport makes more of it.
fn sse_chunk_len(event_type: &str, json: &[u8]) -> usize {
    let data: usize = lines(json).map(|line| b"data: \n".len() + line.len()).sum();
    let body = b"event: \n\n".len() + event_type.len() + data;
    let digits = body.ilog2() as usize / 4 + 1;
    digits + b"\r\n\r\n".len() + body
}

/// Iterates over the lines of a JSON text, without their ends. A break at the end of the text
/// begins no further line.
fn lines(json: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(json);
    iter::from_fn(move || {
        let text = rest?;
        let Some(at) = memchr2(b'\r', b'\n', text) else {
            rest = None;
            return Some(text);
        };
        let end = if text[at..].starts_with(b"\r\n") { at + 2 } else { at + 1 };
        rest = Some(&text[end..]).filter(|rest| !rest.is_empty());
        Some(&text[..at])
    })
}

/// An event takes more room in an outbox than the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "event {index} of the request takes {size} bytes with its framing, at most {limit} are allowed (MAX_EVENT_BYTES)"
)]
pub struct TooLarge {
    /// The position of the event in its request, from 0.
    pub index: usize,
    /// The bytes it takes on the transport on which it takes most.
    pub size: usize,
    /// The bound in bytes.
    pub limit: usize,
}

impl TooLarge {
    /// Fails for the first event that takes more than `limit` bytes.
    pub fn check(events: &[Event], limit: usize) -> Result<(), Self> {
        let sizes = events.iter().map(|event| sse_chunk_len(event.event_type(), event.json()));
        let too_large = sizes.enumerate().find(|(_, size)| *size > limit);
        too_large.map_or(Ok(()), |(index, size)| Err(Self { index, size, limit }))
    }
}

/// Writes the size line into the room left for it, closes the chunk and cuts off what was not
/// needed.
fn close_chunk(mut chunk: Vec<u8>) -> Bytes {
    let (mut start, mut size) = (SIZE_LINE - 2, chunk.len() - SIZE_LINE);
    chunk[start..SIZE_LINE].copy_from_slice(b"\r\n");
    while size > 0 {
        start -= 1;
        chunk[start] = b"0123456789ABCDEF"[size % 16];
        size /= 16;
    }
    chunk.put_slice(b"\r\n");
    Bytes::from(chunk).slice(start..)
}

/// The payload of a chunk that [`close_chunk`] made.
fn chunk_body(chunk: &Bytes) -> Bytes {
    let start = chunk.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1);
    chunk.slice(start..chunk.len() - 2)
}

/// The comment that keeps a stream alive through proxies.
pub(crate) fn heartbeat(encoding: Encoding) -> Bytes {
    match encoding {
        Encoding::SseChunked => Bytes::from_static(b"D\r\n: heartbeat\n\n\r\n"),
        Encoding::SsePlain => Bytes::from_static(b": heartbeat\n\n"),
        Encoding::WebSocket => Bytes::from_static(&[0x89, 0x00]),
    }
}

/// What ends a stream in order: the last chunk, or nothing where closing is enough.
pub(crate) fn end_of_stream(encoding: Encoding) -> Bytes {
    match encoding {
        Encoding::SseChunked => Bytes::from_static(b"0\r\n\r\n"),
        Encoding::SsePlain | Encoding::WebSocket => Bytes::new(),
    }
}

/// Ends an SSE stream in order and asks its client to come back in a while, between one second and
/// `spread` later, so that not all come at once (WHATWG HTML, section 9.2.6: `retry`, in
/// milliseconds).
pub(crate) fn retry_later(encoding: Encoding, spread: Duration) -> Bytes {
    let spread = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    let wait = 1000 + RandomState::new().hash_one(0) % spread;
    let line = format!("retry: {wait}\n\n");
    match encoding {
        Encoding::SseChunked => format!("{:X}\r\n{line}\r\n0\r\n\r\n", line.len()).into(),
        Encoding::SsePlain => line.into(),
        Encoding::WebSocket => Bytes::new(),
    }
}

/// Opcodes of RFC 6455, section 5.2.
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;

/// A whole WebSocket message in one frame; frames from a server are not masked (RFC 6455, section
/// 5.1).
pub(crate) fn websocket_frame(opcode: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(payload.len() + 10);
    frame.put_u8(0x80 | opcode);
    match payload.len() {
        len @ 0..=125 => frame.put_u8(len as u8),
        len @ 126..=0xFFFF => {
            frame.put_u8(126);
            frame.put_u16(len as u16);
        }
        len => {
            frame.put_u8(127);
            frame.put_u64(len as u64);
        }
    }
    frame.put_slice(payload);
    frame.freeze()
}

/// A close frame; the reason is cut to the 123 bytes a control frame can carry (RFC 6455, section
/// 5.5).
pub(crate) fn close_frame(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = Vec::with_capacity(2 + end);
    payload.put_u16(code);
    payload.put_slice(&reason.as_bytes()[..end]);
    websocket_frame(CLOSE, &payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(json: &'static str) -> Frame {
        Frame::new(Event::from_json(Bytes::from_static(json.as_bytes())).expect("a valid event"))
    }

    #[test]
    fn a_chunk_is_what_rig_writes() {
        let frame = frame(
            r#"{"specversion": "0.2", "type": "greeting", "source": "/o", "id": "1", "data": {"name": "bob"}}"#,
        );
        assert_eq!(
            &frame.bytes(Encoding::SseChunked)[..],
            b"76\r\nevent: greeting\ndata: {\"specversion\": \"0.2\", \"type\": \"greeting\", \"source\": \"/o\", \"id\": \"1\", \"data\": {\"name\": \"bob\"}}\n\n\r\n"
        );
    }

    #[test]
    fn every_line_of_the_json_is_a_data_line() {
        let frame = frame("{\"specversion\":\"0.2\",\n \"type\":\"t\",\r\n\r\"id\":\"1\"}");
        assert_eq!(
            std::str::from_utf8(frame.bytes(Encoding::SsePlain)).unwrap(),
            "event: t\ndata: {\"specversion\":\"0.2\",\ndata:  \"type\":\"t\",\ndata: \ndata: \"id\":\"1\"}\n\n"
        );
    }

    proptest! {
        #[test]
        fn the_length_is_known_before_the_encoding(event_type in "[a-z\r\n]{1,300}", json in "[a\r\n]{1,600}") {
            let chunk = sse_chunk(&event_type, json.as_bytes());
            prop_assert_eq!(sse_chunk_len(&event_type, json.as_bytes()), chunk.len());
            prop_assert!(websocket_frame(TEXT, json.as_bytes()).len() < chunk.len());
        }
    }

    #[test]
    fn a_line_break_in_the_type_begins_no_field() {
        let chunk = sse_chunk("a\r\ndata: forged", b"{}");
        assert_eq!(&chunk_body(&chunk)[..], b"event: a  data: forged\ndata: {}\n\n");
    }

    #[test]
    fn a_websocket_frame_has_the_shortest_length() {
        assert_eq!(&websocket_frame(TEXT, &[b'x'; 125])[..2], [0x81, 125]);
        assert_eq!(&websocket_frame(TEXT, &[b'x'; 126])[..4], [0x81, 126, 0, 126]);
        assert_eq!(&websocket_frame(BINARY, &[b'x'; 65_536])[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn clients_are_asked_to_come_back_at_different_times() {
        let wait = |spread| -> u64 {
            let line = retry_later(Encoding::SsePlain, Duration::from_secs(spread));
            std::str::from_utf8(&line).unwrap().strip_prefix("retry: ").unwrap().trim_end().parse().unwrap()
        };
        let waits: Vec<_> = (0..200).map(|_| wait(10)).collect();
        assert!(waits.iter().all(|wait| (1000..=11_000).contains(wait)), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait < 4000) && waits.iter().any(|wait| *wait > 8000), "{waits:?}");
        assert_eq!(wait(0), 1000);
        let chunked = retry_later(Encoding::SseChunked, Duration::ZERO);
        assert_eq!(&chunked[..], b"D\r\nretry: 1000\n\n\r\n0\r\n\r\n");
    }

    #[test]
    fn a_close_reason_fits_a_control_frame() {
        let close = close_frame(1000, &"é".repeat(100));
        assert_eq!(close[1], 2 + 122);
        assert_eq!(&close[2..4], [0x03, 0xE8]);
    }
}
