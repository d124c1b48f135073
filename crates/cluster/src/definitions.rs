//! The definitions of APIs that were changed at run time: one message of the stream holds all of
//! them, compressed and sealed, since they may contain secrets. Its sequence is their revision.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::codec::Codec;
use crate::wire::{Names, Publication, PublishError, Wire, WireError};

/// Limit of definitions before compression, in bytes.
const LARGEST: u64 = 16 << 20;

/// How long to wait before definitions that cannot be read are read again.
const AGAIN: Duration = Duration::from_millis(500);

/// What the seal is for.
const PURPOSE: &str = "definitions";

/// The definitions as the stream holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedDefinitions {
    /// The bytes as they were saved.
    pub bytes: Bytes,
    /// The sequence of their message.
    pub revision: u64,
}

/// Why definitions were not loaded or saved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionsError {
    /// Another revision was saved meanwhile.
    #[error("another node has changed the definitions")]
    Conflict,
    /// The stream cannot be reached, or refuses the message.
    #[error("{0}")]
    Unreachable(String),
    /// The message in the stream was not written by a node of this cluster.
    #[error("the definitions in the stream were not written by a node of this cluster")]
    Forged,
    /// They are too large for a message.
    #[error("the definitions take {0} bytes compressed; a message of NATS holds {1}")]
    TooLarge(usize, usize),
}

/// Loads and saves the definitions of a cluster.
pub struct DefinitionsStore {
    wire: Arc<dyn Wire>,
    names: Names,
    codec: Arc<Codec>,
    /// The sequence of the last message of definitions that was seen in the stream.
    seen: watch::Sender<u64>,
}

impl DefinitionsStore {
    pub(crate) fn new(wire: Arc<dyn Wire>, names: Names, codec: Arc<Codec>) -> Self {
        Self { wire, names, codec, seen: watch::Sender::new(0) }
    }

    /// Returns the present definitions; `None` if none were ever saved.
    ///
    /// # Errors
    /// Fails if the stream does not answer.
    pub async fn load(&self) -> Result<Option<SharedDefinitions>, DefinitionsError> {
        let found = self.wire.last(self.names.apis()).await.map_err(unreachable)?;
        let Some(message) = found else { return Ok(None) };
        let packed = self.codec.read_relayed(PURPOSE, &message.payload);
        let packed = packed.map_err(|_| DefinitionsError::Forged)?;
        let bytes = inflated(&packed).ok_or(DefinitionsError::Forged)?;
        Ok(Some(SharedDefinitions { bytes: bytes.into(), revision: message.sequence }))
    }

    /// Saves definitions in place of the revision `over` (0: there are none), and returns theirs.
    ///
    /// # Errors
    /// Fails with [`DefinitionsError::Conflict`] if the present revision is another one. After
    /// another error they may be saved all the same.
    pub async fn save(&self, bytes: &[u8], over: u64) -> Result<u64, DefinitionsError> {
        let payload = self.codec.relayed(PURPOSE, &deflated(bytes));
        let limit = self.wire.max_payload();
        if payload.len() > limit {
            return Err(DefinitionsError::TooLarge(payload.len(), limit));
        }
        let publication = Publication {
            subject: self.names.apis(),
            payload: payload.into(),
            expected: Some(over),
            message_id: None,
            ttl: None,
        };
        self.wire.publish(publication).await.map_err(|error| match error {
            PublishError::Conflict => DefinitionsError::Conflict,
            error => DefinitionsError::Unreachable(error.to_string()),
        })
    }

    /// Records that the stream holds definitions with this sequence.
    pub(crate) fn seen(&self, sequence: u64) {
        self.seen.send_if_modified(|seen| {
            let is_new = sequence != *seen;
            *seen = sequence;
            is_new
        });
    }

    /// Waits until the stream holds other definitions than those of the revision `known`, and
    /// returns them.
    pub async fn changed(&self, known: u64) -> SharedDefinitions {
        let mut seen = self.seen.subscribe();
        loop {
            // The sender lives as long as this.
            let _ = seen.wait_for(|seen| *seen != 0 && *seen != known).await;
            match self.load().await {
                Ok(Some(definitions)) if definitions.revision != known => return definitions,
                // A server that lags behind has answered.
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "changed definitions cannot be read"),
            }
            sleep(AGAIN).await;
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreachable(error: WireError) -> DefinitionsError {
    DefinitionsError::Unreachable(error.to_string())
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

/// Returns `None` if the bytes are not compressed, or too many.
fn inflated(packed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = DeflateDecoder::new(packed).take(LARGEST + 1).read_to_end(&mut bytes).ok()?;
    (read as u64 <= LARGEST).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compressed_is_read_within_its_limit() {
        let bytes = br#"{"apis":[]}"#.repeat(1000);
        assert_eq!(inflated(&deflated(&bytes)), Some(bytes));
        assert_eq!(inflated(b"\xff\xff\xff"), None);
        assert_eq!(inflated(&deflated(&vec![0; LARGEST as usize + 1])), None, "a bomb");
    }
}
