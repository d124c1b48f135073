//! Frames of WebSocket (RFC 6455, section 5) from a server, which does not mask them (section 5.1).

use bytes::{BufMut, Bytes};

use crate::transport::Transport;
use crate::wire_format::WireFormat;

/// A stream of text messages, one for each event.
pub(crate) static MESSAGES: WireFormat = WireFormat {
    transport: Transport::WebSocket,
    append: |bytes, _, json, _| append_message(bytes, TEXT, &[json]),
    heartbeat: |_| Bytes::from_static(PING),
    farewell: |farewell, _| {
        let (code, reason) = farewell.close;
        close_frame(code, reason)
    },
    going_away: |_| close_frame(GOING_AWAY, "Going away."),
};

/// The same with ids: a message begins with the id of its event and a line break, if the event has
/// one. Heartbeats are messages of an id alone, after a ping: pages do not see pings.
pub(crate) static MESSAGES_WITH_IDS: WireFormat = WireFormat {
    transport: Transport::WebSocket,
    append: |bytes, _, json, id| match id {
        Some(id) => append_message(bytes, TEXT, &[b"id: ", id, b"\n", json]),
        None => append_message(bytes, TEXT, &[json]),
    },
    heartbeat: |id| match id {
        Some(id) => [PING, &message(TEXT, &[b"id: ", id, b"\n"])].concat().into(),
        None => Bytes::from_static(PING),
    },
    farewell: MESSAGES.farewell,
    going_away: MESSAGES.going_away,
};

/// A ping without payload.
const PING: &[u8] = &[0x89, 0x00];

/// Opcodes of RFC 6455, section 5.2.
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;

/// Close codes of RFC 6455, section 7.4.1.
pub(crate) const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
pub(crate) const PROTOCOL_ERROR: u16 = 1002;
/// Registered at IANA for RFC 6455.
pub(crate) const TRY_AGAIN_LATER: u16 = 1013;

/// Encodes a whole message, given in parts, in one frame.
pub(crate) fn message(opcode: u8, parts: &[&[u8]]) -> Bytes {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut frame = Vec::with_capacity(length + 10);
    append_message(&mut frame, opcode, parts);
    frame.into()
}

/// Appends a whole message, given in parts, in one frame.
fn append_message(frame: &mut Vec<u8>, opcode: u8, parts: &[&[u8]]) {
    frame.put_u8(0x80 | opcode);
    match parts.iter().map(|part| part.len()).sum() {
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
    parts.iter().for_each(|part| frame.put_slice(part));
}

/// Encodes a text message.
pub fn text_frame(text: &str) -> Bytes {
    message(TEXT, &[text.as_bytes()])
}

/// Encodes a binary message.
pub fn binary_frame(bytes: &[u8]) -> Bytes {
    message(BINARY, &[bytes])
}

/// Encodes a close frame; the reason is cut to the 123 bytes that a control frame can carry (RFC
/// 6455, section 5.5).
pub fn close_frame(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = Vec::with_capacity(2 + end);
    payload.put_u16(code);
    payload.put_slice(&reason.as_bytes()[..end]);
    message(CLOSE, &[&payload])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_frame_has_the_shortest_length() {
        assert_eq!(&message(TEXT, &[&[b'x'; 125]])[..2], [0x81, 125]);
        assert_eq!(&message(TEXT, &[&[b'x'; 126]])[..4], [0x81, 126, 0, 126]);
        assert_eq!(&message(BINARY, &[&[b'x'; 65_536]])[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_close_reason_fits_a_control_frame() {
        let close = close_frame(NORMAL, &"é".repeat(100));
        assert_eq!(close[1], 2 + 122);
        assert_eq!(&close[2..4], [0x03, 0xE8]);
    }
}
