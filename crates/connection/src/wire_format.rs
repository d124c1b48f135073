//! What a streaming transport is made of.

use std::time::Duration;

use bytes::Bytes;
use history::EventId;

use crate::farewell::Farewell;
use crate::resume::Missed;
use crate::transport::Transport;

/// How a streaming transport turns into bytes whatever a client receives. Everything else about
/// streams (queues, limits, termination) is the same for all of them.
pub(crate) struct WireFormat {
    /// Its name.
    pub(crate) transport: Transport,
    /// Appends an event: its type, its JSON, and the id of its position.
    pub(crate) append: Append,
    /// Encodes what keeps an idle stream alive through proxies. With an id, the client learns how
    /// far it has got.
    pub(crate) heartbeat: fn(Option<&[u8]>) -> Bytes,
    /// Encodes the last bytes of a stream that is terminated. With an id, which is empty, the
    /// client forgets how far it has got.
    pub(crate) farewell: fn(&Farewell, Option<&[u8]>) -> Bytes,
    /// Encodes the last bytes of a stream that is drained. Where the transport can, they ask the
    /// client to reconnect after this time.
    pub(crate) going_away: fn(Duration) -> Bytes,
}

/// Appends an event to bytes: its type, its JSON, and the id of its position.
type Append = fn(&mut Vec<u8>, &str, &[u8], Option<&[u8]>);

/// Room for what surrounds the type and the JSON of most events: those of few lines.
const FRAMING: usize = 96;

impl WireFormat {
    /// Encodes an event: its type, its JSON, and the id of its position.
    pub(crate) fn encode(&self, event_type: &str, json: &[u8], id: Option<&[u8]>) -> Bytes {
        let mut bytes = Vec::with_capacity(event_type.len() + json.len() + FRAMING);
        (self.append)(&mut bytes, event_type, json, id);
        bytes.into()
    }

    /// Encodes events that were missed, each as a frame of its own, in one piece of memory.
    pub(crate) fn encode_missed(&self, events: &[Missed]) -> Vec<Bytes> {
        let size = |missed: &Missed| missed.kept.event_type.len() + missed.kept.json.len() + FRAMING;
        let mut bytes = Vec::with_capacity(events.iter().map(size).sum());
        let append = |Missed { id, kept, .. }: &Missed| {
            (self.append)(&mut bytes, &kept.event_type, &kept.json, id.as_ref().map(EventId::as_bytes));
            bytes.len()
        };
        let ends: Vec<_> = events.iter().map(append).collect();
        let (bytes, mut start) = (Bytes::from(bytes), 0);
        ends.into_iter().map(|end| bytes.slice(std::mem::replace(&mut start, end)..end)).collect()
    }
}
