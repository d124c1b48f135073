//! The definitions of APIs that were changed at run time: one message of the stream holds all of
//! them, compressed and sealed, since they may contain secrets. Its sequence is their revision.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use parking_lot::Mutex;
use seal::Incarnation;
use session::NodeName;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::codec::Codec;
use crate::core::Input;
use crate::driver::Shown;
use crate::message::{Beat, ServedDefinitions};
use crate::metrics::Metrics;
use crate::wire::{Names, Publication, PublishError, Wire, WireError};

/// Limit of definitions before compression, in bytes.
const LARGEST: u64 = 16 << 20;

/// How long to wait before definitions that cannot be read are read again.
const AGAIN: Duration = Duration::from_millis(500);

/// Limit of the characters of a reason for which definitions cannot be served: beats are small.
const LONGEST_REASON: usize = 300;

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
    node: NodeName,
    /// Knows which other lives may have a lease.
    shown: Arc<Shown>,
    driver: mpsc::UnboundedSender<Input>,
    metrics: Metrics,
    /// What this node serves.
    served: Mutex<ServedDefinitions>,
    /// What the last beat of each life said.
    heard: watch::Sender<HashMap<[u8; Incarnation::BYTES], ServedDefinitions>>,
}

/// What a node serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDefinitions {
    /// The node.
    pub node: NodeName,
    /// What it has said last.
    pub served: ServedDefinitions,
}

impl DefinitionsStore {
    pub(crate) fn new(
        (wire, names, codec): (Arc<dyn Wire>, Names, Arc<Codec>),
        (node, shown): (NodeName, Arc<Shown>),
        driver: mpsc::UnboundedSender<Input>,
        metrics: Metrics,
    ) -> Self {
        let (served, seen, heard) = (Mutex::default(), watch::Sender::new(0), watch::Sender::default());
        Self { wire, names, codec, seen, node, shown, driver, metrics, served, heard }
    }

    /// Returns the name of this node.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// Records what this node serves. The next beat tells the others.
    pub fn serve(&self, mut served: ServedDefinitions) {
        if let Some(refused) = &mut served.refused {
            refused.reason = refused.reason.chars().take(LONGEST_REASON).collect();
        }
        self.metrics.definitions_revision.set(served.revision.cast_signed());
        self.metrics.definitions_refused.set(served.refused.is_some().into());
        *self.served.lock() = served;
        // The driver has stopped if this fails.
        let _ = self.driver.send(Input::BeatDue);
    }

    /// Returns what this node serves.
    pub(crate) fn served(&self) -> ServedDefinitions {
        self.served.lock().clone()
    }

    /// Records what a beat says.
    pub(crate) fn hear(&self, beat: &Beat) {
        // Sent without a change too: those who wait look again which nodes are live.
        self.heard.send_modify(|heard| {
            let live = self.shown.live();
            let life = beat.life.to_bytes();
            heard.retain(|known, _| live.iter().any(|(_, live)| live.to_bytes() == *known));
            heard.insert(life, beat.definitions.clone());
        });
    }

    /// Waits until all nodes that may have a lease serve this revision or a later one, or cannot
    /// serve it, but not longer than `within`. Returns what each serves, by name.
    pub async fn spread(&self, revision: u64, within: Duration) -> Vec<NodeDefinitions> {
        let mut heard = self.heard.subscribe();
        let settled = async {
            loop {
                let nodes = self.nodes(&heard.borrow_and_update());
                if nodes.iter().all(|node| node.served.has_settled(revision))
                    || heard.changed().await.is_err()
                {
                    return nodes;
                }
            }
        };
        match timeout(within, settled).await {
            Ok(nodes) => nodes,
            Err(_) => self.nodes(&self.heard.borrow()),
        }
    }

    fn nodes(&self, heard: &HashMap<[u8; Incarnation::BYTES], ServedDefinitions>) -> Vec<NodeDefinitions> {
        let others = self.shown.live().into_iter().map(|(node, life)| {
            let served = heard.get(&life.to_bytes()).cloned().unwrap_or_default();
            NodeDefinitions { node, served }
        });
        let mut nodes: Vec<_> = others.collect();
        nodes.push(NodeDefinitions { node: self.node.clone(), served: self.served() });
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        nodes
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
