//! The store of definitions that the nodes of a cluster share.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::definitions::{DefinitionsError, DefinitionsStore, NodeDefinitions, SharedDefinitions};
use cluster::message::{RefusedDefinitions, ServedDefinitions};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use proxy::{Changes, FileStore, Revision, Saved, ServedBy, Serving, Store, StoreError};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};

/// How long the stream may take to answer at the start.
const FIRST: Duration = Duration::from_secs(3);

/// How long to wait before the stream is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// The name of the copy.
const COPY: &str = "apis.cluster";

/// Definitions in the stream of a cluster, with a copy in the data folder for a start without NATS.
pub(super) struct ClusterStore {
    shared: Arc<DefinitionsStore>,
    copy: PathBuf,
    /// What this node has stored before it was in a cluster.
    alone: PathBuf,
}

impl ClusterStore {
    pub(super) fn new(shared: Arc<DefinitionsStore>, folder: &Path) -> Self {
        Self { shared, copy: Self::file(folder), alone: FileStore::file(folder) }
    }

    /// Returns the file of the copy.
    pub(super) fn file(folder: &Path) -> PathBuf {
        folder.join(COPY)
    }

    /// Returns what the stream holds, once it answers: a node that starts is not connected yet.
    async fn first(&self) -> Option<SharedDefinitions> {
        loop {
            match self.shared.load().await {
                Err(error) => tracing::debug!(%error, "the definitions of the cluster cannot be read yet"),
                Ok(found) => return found,
            }
            sleep(AGAIN).await;
        }
    }

    fn error(error: &DefinitionsError) -> StoreError {
        match error {
            DefinitionsError::Conflict => StoreError::Conflict { name: NAME.to_owned() },
            error @ DefinitionsError::NotJoined(_) => StoreError::NotReady { reason: error.to_string() },
            error => {
                StoreError::Io { name: NAME.to_owned(), error: std::io::Error::other(error.to_string()) }
            }
        }
    }
}

/// The name of the store in errors.
const NAME: &str = "the stream of the cluster";

impl Store for ClusterStore {
    fn load(&self) -> Result<Option<Saved>, StoreError> {
        let copy = kept(&self.copy);
        let has_copy = copy.is_some();
        if !has_copy && self.alone.exists() {
            tracing::warn!(
                file = %self.alone.display(),
                "definitions of APIs that were changed while this node was alone are not used in a cluster: export them at a node that is alone, and import them here"
            );
        }
        if let Some(copy) = &copy {
            self.shared.begin(copy.clone());
        }
        match wait_for(timeout(FIRST, self.first())) {
            Ok(found) => Ok(found.map(|found| {
                keep(&self.copy, &found);
                saved(found)
            })),
            Err(_) => {
                tracing::warn!(
                    has_copy,
                    "the definitions of the cluster cannot be read yet: this node begins with its copy"
                );
                Ok(copy.map(saved))
            }
        }
    }

    fn save(&self, bytes: &[u8], over: Revision) -> Result<Revision, StoreError> {
        let saved = wait_for(self.shared.save(bytes, over.0));
        let revision = saved.map_err(|error| Self::error(&error))?;
        keep(&self.copy, &SharedDefinitions { bytes: Bytes::copy_from_slice(bytes), revision });
        Ok(Revision(revision))
    }

    fn changes(&self) -> Changes {
        let copy = self.copy.clone();
        Box::pin(self.shared.clone().changes().map(move |found| {
            keep(&copy, &found);
            saved(found)
        }))
    }

    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn node(&self) -> Option<String> {
        Some(self.shared.node().to_string())
    }

    fn serves(&self, Serving { revision, refused }: Serving) {
        let refused = refused.map(|(revision, reason)| RefusedDefinitions { revision: revision.0, reason });
        self.shared.serve(ServedDefinitions { revision: revision.0, refused });
    }

    fn served_by(&self, revision: Revision, within: Duration) -> BoxFuture<'_, Option<Vec<ServedBy>>> {
        async move {
            let nodes = self.shared.spread(revision.0, within).await;
            Some(nodes.into_iter().map(served_by).collect())
        }
        .boxed()
    }
}

fn served_by(NodeDefinitions { node, served }: NodeDefinitions) -> ServedBy {
    let refused = served.refused.map(|refused| (Revision(refused.revision), refused.reason));
    ServedBy { node: node.to_string(), serving: Serving { revision: Revision(served.revision), refused } }
}

fn saved(SharedDefinitions { bytes, revision }: SharedDefinitions) -> Saved {
    Saved { bytes, revision: Revision(revision) }
}

/// Waits on a thread that may block.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    block_in_place(|| Handle::current().block_on(future))
}

/// Keeps a copy, best effort: the revision in eight bytes, then the definitions.
fn keep(path: &Path, SharedDefinitions { bytes, revision }: &SharedDefinitions) {
    let new = path.with_extension("new");
    let copy = [&revision.to_be_bytes()[..], bytes].concat();
    let written = std::fs::write(&new, copy).and_then(|()| std::fs::rename(&new, path));
    if let Err(error) = written {
        tracing::warn!(%error, "no copy of the definitions of the cluster is kept");
    }
}

fn kept(path: &Path) -> Option<SharedDefinitions> {
    let copy = Bytes::from(std::fs::read(path).ok()?);
    let revision = u64::from_be_bytes(*copy.first_chunk()?);
    Some(SharedDefinitions { bytes: copy.slice(8..), revision })
}
