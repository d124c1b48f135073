//! Where definitions are kept: bytes, whatever they say.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use tokio::sync::watch;

use super::stored::FORMAT;

/// Keeps bytes over a restart. Several nodes, or several [`Apis`](super::Apis) of one process, may
/// share a store.
pub trait Store: Send + Sync {
    /// Returns what was saved last; `None` if nothing ever was. May wait for a disk or a network.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    fn load(&self) -> Result<Option<Saved>, StoreError>;

    /// Saves these bytes in place of those of the revision `over`, and returns the revision of the
    /// new ones. On success they survive the end of the process. On an error those before do, or
    /// these, and never a part of them. May wait for a disk or a network.
    ///
    /// # Errors
    /// Fails with [`StoreError::Conflict`] if another revision than `over` was saved last, and with
    /// another error if the bytes may not be kept.
    fn save(&self, bytes: &[u8], over: Revision) -> Result<Revision, StoreError>;

    /// Returns what others save from now on. Of several changes, those in between may be missing;
    /// what this store saves itself may be among them. The stream never ends as long as the store
    /// lives.
    fn changes(&self) -> Changes;

    /// Names the store in errors: the path of a file.
    fn name(&self) -> String;
}

/// What [`Store::changes`] returns.
pub type Changes = Pin<Box<dyn Stream<Item = Saved> + Send>>;

/// What a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The bytes, as they were saved.
    pub bytes: Bytes,
    /// Which of all that were ever saved these are.
    pub revision: Revision,
}

/// Numbers what a store saves: a later revision is greater. The default is that of a store in which
/// nothing was saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// Why definitions cannot be loaded or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk says no.
    #[error("{name}: {error}")]
    Io {
        /// The file.
        name: String,
        /// Why.
        error: std::io::Error,
    },
    /// Another revision was saved meanwhile.
    #[error("{name} was changed meanwhile")]
    Conflict {
        /// The store.
        name: String,
    },
    /// What was saved meanwhile cannot be served by this node.
    #[error("{name} was changed meanwhile, to what this node cannot serve: {reason}")]
    Unusable {
        /// The store.
        name: String,
        /// Why not.
        reason: String,
    },
    /// What is there was not written by a gateway, or was damaged.
    #[error(
        "{name} is damaged: {reason}; restore it from a copy, or move it away to begin with PROXY_CONFIG_FILE only"
    )]
    Damaged {
        /// The file.
        name: String,
        /// What was found.
        reason: String,
    },
    /// It was written by a newer gateway.
    #[error("{name} has format {format}, which is newer than this gateway reads ({FORMAT})")]
    Newer {
        /// The file.
        name: String,
        /// Its format.
        format: u64,
    },
}

/// Keeps definitions as long as the process runs. Its clones are one store.
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
