//! The streaming transports.

use crate::sse::frames::{CHUNKED, PLAIN};
use crate::websocket::frames::{MESSAGES, MESSAGES_WITH_IDS};
use crate::wire_format::WireFormat;

/// The framing of a stream, in one byte: every connection keeps one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Server-Sent Events in HTTP/1.1 chunks (RFC 9112, section 7.1).
    SseChunked,
    /// Server-Sent Events without chunks: HTTP/2 frames the body itself, HTTP/1.0 marks its end by
    /// closing.
    SsePlain,
    /// WebSocket text frames (RFC 6455, section 5.2).
    WebSocket,
    /// The same with the id of each event (subprotocol `rig.ids`).
    WebSocketIds,
}

impl Encoding {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::WebSocketIds as usize + 1;

    pub(crate) const fn wire_format(self) -> &'static WireFormat {
        match self {
            Self::SseChunked => &CHUNKED,
            Self::SsePlain => &PLAIN,
            Self::WebSocket => &MESSAGES,
            Self::WebSocketIds => &MESSAGES_WITH_IDS,
        }
    }
}
