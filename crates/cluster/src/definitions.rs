//! The definitions of APIs that were changed at run time: one message of the stream holds all of
//! them, with their revision, compressed and sealed, since they may contain secrets. Each node
//! keeps them, and puts them back into a stream that has lost them.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use futures_util::Stream;
use futures_util::stream::unfold;
use parking_lot::Mutex;
use seal::Incarnation;
use session::NodeName;
use telemetry::Told;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::codec::Codec;
use crate::core::{Input, WaitsFor};
use crate::driver::Shown;
use crate::message::{Beat, ServedDefinitions};
use crate::metrics::Metrics;
use crate::wire::{Names, Publication, PublishError, Wire, WireError};

/// Limit of definitions before compression, in bytes.
const LARGEST: u64 = 16 << 20;

/// How long to wait before definitions that cannot be read are read again.
const AGAIN: Duration = Duration::from_millis(500);

/// How long to wait before the stream is compared again with the definitions known here.
const RESTORE_AGAIN: Duration = Duration::from_secs(2);

/// Limit of the characters of a reason for which definitions cannot be served: beats are small.
const LONGEST_REASON: usize = 300;

/// What the seal is for.
const PURPOSE: &str = "definitions";

/// The definitions as the stream holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedDefinitions {
    /// The bytes as they were saved.
    pub bytes: Bytes,
    /// The number of their changes.
    pub revision: u64,
}

/// What the stream holds on the subject of the definitions.
enum InStream {
    Nothing,
    Definitions(Stored),
    /// A message with this sequence that was not written by a node with the same cookie.
    Forged(u64),
}

/// Definitions, and the sequence of their message.
#[derive(Clone, Debug)]
struct Stored {
    definitions: SharedDefinitions,
    sequence: u64,
    /// They are sealed under the older cookie.
    outdated: bool,
}

/// What this node knows.
#[derive(Default)]
struct Known {
    /// The latest definitions.
    definitions: Option<SharedDefinitions>,
    /// The sequence of the message that the next one has to replace, authentic or not; 0 if the
    /// stream holds none.
    sequence: u64,
    /// The sequence of the last message that was not authentic.
    forged: u64,
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
    /// The message in the stream is authentic, but not understood.
    #[error("the definitions in the stream cannot be read")]
    Unreadable,
    /// The node has not joined the cluster, so it may have another cookie.
    #[error("this node has not joined the cluster yet: {0}")]
    NotJoined(&'static str),
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
    latest: Mutex<Known>,
    node: NodeName,
    /// Knows which other lives may have a lease, and whether this one has had one.
    shown: Arc<Shown>,
    driver: mpsc::UnboundedSender<Input>,
    metrics: Metrics,
    /// What this node serves.
    served: Mutex<ServedDefinitions>,
    /// What the last beat of each life said.
    heard: watch::Sender<HashMap<[u8; Incarnation::BYTES], ServedDefinitions>>,
    told: Told,
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
        let (latest, told) = (Mutex::default(), Told::default());
        Self { wire, names, codec, seen, latest, node, shown, driver, metrics, served, heard, told }
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

    /// Begins with a copy that an earlier life of this node has kept.
    pub fn begin(&self, definitions: SharedDefinitions) {
        self.learn(definitions, 0);
    }

    /// Returns the present definitions; `None` if none were ever saved. While the stream lacks the
    /// ones that this node knows, or holds what is not authentic, those.
    ///
    /// # Errors
    /// Fails if the stream does not answer.
    pub async fn load(&self) -> Result<Option<SharedDefinitions>, DefinitionsError> {
        self.stored().await?;
        Ok(self.latest.lock().definitions.clone())
    }

    /// Saves definitions in place of the revision `over` (0: there are none), and returns theirs.
    ///
    /// # Errors
    /// Fails with [`DefinitionsError::NotJoined`] before the node has joined: with another cookie,
    /// it would store what no other node can read. Fails with [`DefinitionsError::Conflict`] if the
    /// present revision is another one. After another error they may be saved all the same.
    pub async fn save(&self, bytes: &[u8], over: u64) -> Result<u64, DefinitionsError> {
        if !self.shown.has_joined() {
            return Err(DefinitionsError::NotJoined(why_not(self.shown.waits_for())));
        }
        let (sequence, is_unchanged) = {
            let latest = self.latest.lock();
            let is_unchanged = match &latest.definitions {
                Some(known) if known.revision != over => return Err(DefinitionsError::Conflict),
                Some(known) => known.bytes == bytes,
                None => false,
            };
            (latest.sequence, is_unchanged)
        };
        // A change that changes nothing is none, if nothing else was changed meanwhile.
        if is_unchanged {
            match self.stored().await? {
                InStream::Definitions(stored) if stored.definitions.revision == over => return Ok(over),
                InStream::Definitions(_) => return Err(DefinitionsError::Conflict),
                InStream::Nothing | InStream::Forged(_) => {}
            }
        }
        let definitions = SharedDefinitions { bytes: Bytes::copy_from_slice(bytes), revision: over + 1 };
        self.publish(definitions, sequence).await?;
        Ok(over + 1)
    }

    /// Puts the definitions that this node knows into the stream if it has lost them, or holds what
    /// is not authentic. It may have got others meanwhile: then those with more changes count.
    pub(crate) async fn restore(&self) {
        while let Err(error) = self.try_restore().await {
            tracing::warn!(%error, "the definitions in the stream cannot be compared with those known here");
            sleep(RESTORE_AGAIN).await;
        }
    }

    async fn try_restore(&self) -> Result<(), DefinitionsError> {
        let stored = self.stored().await?;
        let Some(mut definitions) = self.latest.lock().definitions.clone() else {
            if let InStream::Forged(_) = stored
                && self.told.is_due("nothing to replace it with")
            {
                tracing::error!(
                    "definitions of APIs that are not authentic stay in the stream: this node knows none to replace them with, until an API is changed"
                );
            }
            return Ok(());
        };
        let sequence = match stored {
            InStream::Definitions(stored)
                if stored.definitions.revision > definitions.revision
                    || stored.definitions == definitions =>
            {
                if !stored.outdated {
                    return Ok(());
                }
                return self.publish(stored.definitions, stored.sequence).await;
            }
            InStream::Definitions(stored) => {
                // If both have as many changes, the stream had lost one and got the other.
                definitions.revision = definitions.revision.max(stored.definitions.revision + 1);
                stored.sequence
            }
            InStream::Forged(sequence) => sequence,
            InStream::Nothing => 0,
        };
        tracing::warn!(
            revision = definitions.revision,
            "the stream has lost definitions of APIs: stored again"
        );
        self.publish(definitions, sequence).await
    }

    /// Returns what the stream holds.
    async fn stored(&self) -> Result<InStream, DefinitionsError> {
        let found = self.wire.last(self.names.apis()).await.map_err(unreachable)?;
        let Some(message) = found else {
            self.latest.lock().sequence = 0;
            return Ok(InStream::Nothing);
        };
        let Ok(packed) = self.codec.read_relayed(PURPOSE, &message.payload) else {
            self.note_forged(message.sequence);
            return Ok(InStream::Forged(message.sequence));
        };
        let mut bytes = Bytes::from(inflated(&packed).ok_or(DefinitionsError::Unreadable)?);
        let revision =
            bytes.first_chunk().copied().map(u64::from_be_bytes).ok_or(DefinitionsError::Unreadable)?;
        bytes.advance(size_of::<u64>());
        let definitions = SharedDefinitions { bytes, revision };
        let outdated = !self.codec.is_current(PURPOSE, &message.payload);
        self.learn(definitions.clone(), message.sequence);
        Ok(InStream::Definitions(Stored { definitions, sequence: message.sequence, outdated }))
    }

    /// Records that the message with this sequence is not authentic: the next one replaces it.
    fn note_forged(&self, sequence: u64) {
        let mut latest = self.latest.lock();
        latest.sequence = sequence;
        if std::mem::replace(&mut latest.forged, sequence) == sequence {
            return;
        }
        drop(latest);
        self.metrics.forged.inc();
        if self.told.is_due("forged") {
            tracing::error!(
                "the definitions of APIs in the stream are not authentic, and are ignored: a node has another NODE_COOKIE, or somebody forges messages"
            );
        }
    }

    /// Records definitions, unless others of this revision or of a later one are known:
    /// [`DefinitionsStore::restore`] decides between them.
    fn learn(&self, definitions: SharedDefinitions, sequence: u64) {
        let mut latest = self.latest.lock();
        latest.sequence = sequence;
        if latest.definitions.as_ref().is_none_or(|known| known.revision < definitions.revision) {
            latest.definitions = Some(definitions);
        }
    }

    /// Returns whether these are the latest definitions that are known.
    fn knows(&self, definitions: &SharedDefinitions) -> bool {
        self.latest.lock().definitions.as_ref() == Some(definitions)
    }

    /// Stores the definitions in the stream again, if this is still the sequence of their message.
    pub(crate) async fn refresh(&self, sequence: u64) {
        let known = {
            let latest = self.latest.lock();
            latest.definitions.clone().filter(|_| latest.sequence == sequence)
        };
        let Some(known) = known else { return };
        if let Err(error) = self.publish(known, sequence).await {
            tracing::debug!(%error, "old definitions are not stored in the stream again");
        }
    }

    async fn publish(&self, definitions: SharedDefinitions, over: u64) -> Result<(), DefinitionsError> {
        let plain = [&definitions.revision.to_be_bytes()[..], &definitions.bytes].concat();
        let payload = self.codec.relayed(PURPOSE, &deflated(&plain));
        let limit = self.wire.max_payload();
        if payload.len() > limit {
            return Err(DefinitionsError::TooLarge(payload.len(), limit));
        }
        let publication = Publication {
            subject: self.names.apis(),
            payload: payload.into(),
            expected: Some(over),
            ttl: None,
        };
        match self.wire.publish(publication).await {
            Ok(sequence) => {
                self.learn(definitions, sequence);
                Ok(())
            }
            Err(PublishError::Conflict) => Err(DefinitionsError::Conflict),
            Err(error) => Err(DefinitionsError::Unreachable(error.to_string())),
        }
    }

    /// Records that the stream holds definitions with this sequence. A message that comes late or
    /// again changes nothing.
    pub(crate) fn seen(&self, sequence: u64) {
        self.seen.send_if_modified(|seen| {
            let is_new = sequence > *seen;
            *seen = sequence.max(*seen);
            is_new
        });
    }

    /// Forgets which sequence was seen: the stream is another one, or has gone back, and is read
    /// again.
    pub(crate) fn forget_seen(&self) {
        self.seen.send_if_modified(|seen| {
            *seen = 0;
            false
        });
    }

    /// Returns the definitions that come into the stream from now on, with those that it holds.
    pub fn changes(self: Arc<Self>) -> impl Stream<Item = SharedDefinitions> {
        let mut seen = self.seen.subscribe();
        if *seen.borrow() != 0 {
            seen.mark_changed();
        }
        unfold((self, seen), |(store, mut seen)| async move {
            loop {
                // The sender lives as long as the store.
                let _ = seen.changed().await;
                if let Some(definitions) = store.read_change(&mut seen).await {
                    return Some((definitions, (store, seen)));
                }
            }
        })
    }

    /// Returns what the stream holds once it is what this node has seen there, and nothing that
    /// this node has to replace. `None` if it is not authentic, and this node cannot replace it.
    async fn read_change(&self, seen: &mut watch::Receiver<u64>) -> Option<SharedDefinitions> {
        loop {
            let sequence = *seen.borrow_and_update();
            let mut again = AGAIN;
            match self.stored().await {
                Ok(InStream::Definitions(stored)) if stored.sequence >= sequence => {
                    if self.knows(&stored.definitions) {
                        return Some(stored.definitions);
                    }
                    // They have lost their place in the stream. What is stored for them comes.
                    self.restore().await;
                }
                // A node that has not joined may be the one with the wrong cookie.
                Ok(InStream::Forged(forged)) if forged >= sequence && self.shown.has_joined() => {
                    self.restore().await;
                    let knows_any = self.latest.lock().definitions.is_some();
                    if !knows_any {
                        return None;
                    }
                    // If two nodes have different cookies, neither gives way.
                    again = RESTORE_AGAIN;
                }
                // A server that lags behind has answered, or the stream has lost them.
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "changed definitions cannot be read"),
            }
            sleep(again).await;
        }
    }
}

/// Returns why a node has not joined.
fn why_not(waits_for: Option<WaitsFor>) -> &'static str {
    match waits_for {
        Some(WaitsFor::Cookie) => "it has another NODE_COOKIE than a node that is running",
        Some(WaitsFor::Adoption) => {
            "the stream is new, and no node that is running knows what was in the one before"
        }
        None => "it waits for NATS, or has not read the whole stream",
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
pub(crate) mod tests;
