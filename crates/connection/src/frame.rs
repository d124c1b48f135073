//! One event, encoded once for each framing and shared by all its receivers.

use std::sync::OnceLock;

use bytes::Bytes;
use event::Event;
use history::{EventPosition, Ids};

use crate::encoding::Encoding;
use crate::sse::frames::chunk_len;

/// An event on its way to many connections.
///
/// The first receiver of each [`Encoding`] pays for encoding it; the others share the bytes.
#[derive(Debug)]
pub struct Frame {
    event: Event,
    /// Its position; 0 if it has none.
    position: EventPosition,
    encoded: [OnceLock<Bytes>; Encoding::COUNT],
}

impl Frame {
    /// A frame for this event, without a position; nothing is encoded yet.
    pub fn new(event: Event) -> Self {
        Self::at(EventPosition::default(), event)
    }

    /// A frame for the event at this position; nothing is encoded yet.
    pub(crate) fn at(position: EventPosition, event: Event) -> Self {
        Self { event, position, encoded: [const { OnceLock::new() }; Encoding::COUNT] }
    }

    /// The event inside.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Its position; 0 if it has none.
    pub(crate) fn position(&self) -> EventPosition {
        self.position
    }

    /// The bytes for a connection of this encoding. With `ids`, they contain the id of the
    /// position, if there is one.
    pub(crate) fn bytes(&self, encoding: Encoding, ids: Option<&Ids>) -> &Bytes {
        self.encoded[encoding as usize].get_or_init(|| {
            let has_position = self.position != EventPosition::default();
            let id = ids.filter(|_| has_position).map(|ids| ids.text(self.position));
            let id = id.as_ref().map(|id| id.as_bytes());
            encoding.wire_format().encode(self.event.event_type(), self.event.json(), id)
        })
    }
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
        let sizes = events.iter().map(|event| chunk_len(event.event_type(), event.json()));
        let too_large = sizes.enumerate().find(|(_, size)| *size > limit);
        too_large.map_or(Ok(()), |(index, size)| Err(Self { index, size, limit }))
    }
}
