//! The store of definitions that the nodes of a cluster share.

use std::fs::OpenOptions;
use std::future::Future;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::definitions::{DefinitionsError, DefinitionsStore, NodeDefinitions, SharedDefinitions};
use cluster::message::{RefusedDefinitions, ServedDefinitions};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
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
    copy: Arc<Copy>,
    /// What this node has stored before it was in a cluster.
    alone: PathBuf,
}

impl ClusterStore {
    pub(super) fn new(shared: Arc<DefinitionsStore>, folder: &Path) -> Self {
        Self { shared, copy: Arc::new(Copy::new(Self::file(folder))), alone: FileStore::file(folder) }
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
        let copy = kept(&self.copy.path);
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
                self.copy.keep(&found);
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
        self.copy.keep(&SharedDefinitions { bytes: Bytes::copy_from_slice(bytes), revision });
        Ok(Revision(revision))
    }

    fn changes(&self) -> Changes {
        let copy = self.copy.clone();
        Box::pin(self.shared.clone().changes().map(move |found| {
            copy.keep(&found);
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

/// The copy of the definitions on this node's disk.
struct Copy {
    path: PathBuf,
    /// The revision that was written last.
    written: Mutex<u64>,
}

impl Copy {
    fn new(path: PathBuf) -> Self {
        Self { path, written: Mutex::default() }
    }

    /// Writes it, best effort: the revision in eight bytes, then the definitions. A change that
    /// this node has made also comes back to it, so two may be written at once; an older one is
    /// not.
    fn keep(&self, SharedDefinitions { bytes, revision }: &SharedDefinitions) {
        let mut written = self.written.lock();
        if *revision < *written {
            return;
        }
        let new = self.path.with_extension("new");
        let copy = [&revision.to_be_bytes()[..], bytes].concat();
        match write_private(&new, &copy).and_then(|()| std::fs::rename(&new, &self.path)) {
            Ok(()) => *written = *revision,
            Err(error) => tracing::warn!(%error, "no copy of the definitions of the cluster is kept"),
        }
    }
}

/// Definitions may hold secrets for services.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(bytes)
}

fn kept(path: &Path) -> Option<SharedDefinitions> {
    let copy = Bytes::from(std::fs::read(path).ok()?);
    let revision = u64::from_be_bytes(*copy.first_chunk()?);
    Some(SharedDefinitions { bytes: copy.slice(8..), revision })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_older_copy_does_not_replace_a_later_one_and_others_cannot_read_it() {
        let folder = std::env::temp_dir().join(format!("rig-definitions-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let copy = Copy::new(ClusterStore::file(&folder));
        let definitions = |revision| SharedDefinitions { bytes: Bytes::from_static(b"[]"), revision };
        for (revision, written) in [(2, 2), (1, 2), (2, 2), (3, 3)] {
            copy.keep(&definitions(revision));
            assert_eq!(kept(&copy.path), Some(definitions(written)), "{revision}");
        }
        let mode = std::fs::metadata(&copy.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
