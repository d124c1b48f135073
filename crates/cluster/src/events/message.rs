//! How a message is written and read.

use bytes::{BufMut, Bytes, BytesMut};
use node::Stamp;
use seal::Incarnation;

use super::note::{EVENTS, Note};
use super::{Events, HEAD};
use crate::keys::{EVENT_MAC, EventKey};

/// The version of events.
const VERSION: u8 = 1;
/// The version of notes. Nodes that do not know them refuse them.
const NOTES: u8 = 2;

/// Limit of publishers whose keys are kept. A key that was forgotten is derived again.
const PUBLISHERS: usize = 1 << 10;

/// A message that was received.
pub(super) struct Received {
    pub(super) stamp: Stamp,
    pub(super) content: Content,
}

/// What is in a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The JSON of an event.
    Event(Bytes),
    Note(Note),
}

impl Events {
    pub(super) fn encode(&self, bucket: u16, number: u64, json: &[u8]) -> Bytes {
        self.sealed(VERSION, bucket, number, json)
    }

    pub(super) fn encode_note(&self, bucket: u16, number: u64, note: Note) -> Bytes {
        self.sealed(NOTES, bucket, number, &note.to_bytes())
    }

    /// A number must be used once: see [`EventKey`]. That of an event which certainly was not sent
    /// is free.
    fn sealed(&self, version: u8, bucket: u16, number: u64, content: &[u8]) -> Bytes {
        let mut message = BytesMut::with_capacity(HEAD + content.len() + EVENT_MAC);
        message.put_u8(version);
        message.put_slice(&self.life.to_bytes());
        message.put_u64(number);
        message.put_slice(content);
        let code = self.key.mac(bucket, number, &message);
        message.put_slice(&code);
        message.freeze()
    }

    /// Returns `None` if the message is not authentic, or of another version.
    pub(super) fn decode(&self, bucket: u16, message: &Bytes) -> Option<Received> {
        let (event, code) = message.split_last_chunk::<EVENT_MAC>()?;
        let (version, rest) = event.split_first()?;
        let (life, rest) = rest.split_first_chunk::<{ Incarnation::BYTES }>()?;
        let (number, content) = rest.split_first_chunk()?;
        let (life, number) = (Incarnation::from_bytes(*life), u64::from_be_bytes(*number));
        if !self.is_authentic(life, |key| key.verify(bucket, number, event, *code)) {
            return None;
        }
        let content = match *version {
            VERSION => Content::Event(message.slice_ref(content)),
            NOTES => Content::Note(Note::from_bytes(content)?),
            _ => return None,
        };
        let is_head = matches!(content, Content::Note(Note::Head(_)));
        if is_head != (number >= EVENTS) {
            return None;
        }
        Some(Received { stamp: Stamp { life, bucket, number }, content })
    }

    /// Returns whether `verify` succeeds with the key of a publisher.
    fn is_authentic(&self, life: Incarnation, verify: impl Fn(&EventKey) -> bool) -> bool {
        let mut publishers = self.publishers.lock();
        if let Some(key) = publishers.get(&life) {
            return verify(key);
        }
        let Some(key) = self.keys.event_keys(&self.cluster, life).find(verify) else { return false };
        if publishers.len() >= PUBLISHERS {
            publishers.clear();
        }
        publishers.insert(life, key);
        true
    }
}
