//! The store of definitions: opaque bytes.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{Stream, unfold};
use tokio::sync::watch;

use super::stored::FORMAT;

/// Persists bytes. Several nodes, or several [`Apis`](super::Apis) of one process, may share a
/// store.
pub trait Store: Send + Sync {
    /// Returns the bytes saved last; `None` if nothing was ever saved. May block on a disk or a
    /// network.
    ///
    /// # Errors
    /// Fails if they cannot be read.
    fn load(&self) -> Result<Option<Saved>, StoreError>;

    /// Replaces the bytes of the revision `over` by these, and returns the new revision. On success
    /// they survive a crash of the process. On an error either the old or the new bytes are stored,
    /// never a part of them. May block on a disk or a network.
    ///
    /// # Errors
    /// Fails with [`StoreError::Conflict`] if the last saved revision is not `over`, and with
    /// another error if the bytes may not be durable.
    fn save(&self, bytes: &[u8], over: Revision) -> Result<Revision, StoreError>;

    /// Returns a stream of what others save from now on. It may skip intermediate revisions, and
    /// may include what this store saved itself. It never terminates while the store lives.
    fn changes(&self) -> Changes;

    /// Names the store in errors: the path of a file.
    fn name(&self) -> String;

    /// Returns the name of this node; `None` if no other node shares the store.
    fn node(&self) -> Option<String> {
        None
    }

    /// Records what this node serves, for the other nodes of the store. Does not block.
    fn serves(&self, _serving: Serving) {}

    /// Waits until all nodes of the store serve this revision or a later one, or cannot serve it,
    /// but not longer than `within`. Returns what each serves; `None` if no other node shares the
    /// store.
    fn served_by(&self, _revision: Revision, _within: Duration) -> BoxFuture<'_, Option<Vec<ServedBy>>> {
        ready(None).boxed()
    }
}

/// What a node serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// The revision of its definitions.
    pub revision: Revision,
    /// A later revision, which it cannot serve, and the reason.
    pub refused: Option<(Revision, String)>,
}

/// A node of a store that several share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedBy {
    /// Its name.
    pub node: String,
    /// What it serves, as far as this node knows.
    pub serving: Serving,
}

/// What [`Store::changes`] returns.
pub type Changes = Pin<Box<dyn Stream<Item = Saved> + Send>>;

/// The content of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The bytes as they were saved.
    pub bytes: Bytes,
    /// The revision of the bytes.
    pub revision: Revision,
}

/// A number for each save: later revisions are greater. The default is the revision of an empty
/// store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// Why definitions cannot be loaded or stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An I/O error.
    #[error("{name}: {error}")]
    Io {
        /// The file.
        name: String,
        /// The error.
        error: std::io::Error,
    },
    /// Another revision was saved meanwhile.
    #[error("{name} was changed meanwhile")]
    Conflict {
        /// The name of the store.
        name: String,
    },
    /// Nothing can be saved for now, and nothing was.
    #[error("{reason}")]
    NotReady {
        /// The reason, which may be shown to the caller.
        reason: String,
    },
    /// Another node saved something that this node cannot serve.
    #[error("{name} was changed meanwhile, to what this node cannot serve: {reason}")]
    Unusable {
        /// The name of the store.
        name: String,
        /// The reason.
        reason: String,
    },
    /// The file was not written by a gateway, or is damaged.
    #[error(
        "{name} is damaged: {reason}; restore it from a copy, or move it away to begin with PROXY_CONFIG_FILE only"
    )]
    Damaged {
        /// The file.
        name: String,
        /// The reason.
        reason: String,
    },
    /// The file was written by a newer gateway.
    #[error("{name} has format {format}, which is newer than this gateway reads ({FORMAT})")]
    Newer {
        /// The file.
        name: String,
        /// Its format.
        format: u64,
    },
}

/// Stores definitions in memory while the process runs. Clones share one store.
#[derive(Clone, Debug)]
pub struct MemoryStore(Arc<watch::Sender<Option<Saved>>>);

impl Default for MemoryStore {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Store for MemoryStore {
    fn load(&self) -> Result<Option<Saved>, StoreError> {
        Ok(self.0.borrow().clone())
    }

    fn save(&self, bytes: &[u8], over: Revision) -> Result<Revision, StoreError> {
        let revision = Revision(over.0 + 1);
        let saved = self.0.send_if_modified(|last| {
            let is_last = last.as_ref().map_or(Revision::default(), |last| last.revision) == over;
            if is_last {
                *last = Some(Saved { bytes: Bytes::copy_from_slice(bytes), revision });
            }
            is_last
        });
        if saved { Ok(revision) } else { Err(StoreError::Conflict { name: self.name() }) }
    }

    fn changes(&self) -> Changes {
        Box::pin(unfold(self.0.subscribe(), async |mut store| {
            store.changed().await.ok()?;
            let saved = store.borrow_and_update().clone()?;
            Some((saved, store))
        }))
    }

    fn name(&self) -> String {
        "memory".to_owned()
    }
}
