//! Reads the log's records of revocations.

use std::time::Duration;

use session::{LogError, Record, RevocationId, Seq, SessionName};

use tokio::time::{sleep, timeout};

use crate::node::Node;
use crate::revoke::panicked;

/// How long to wait for a record of a revocation that is in force.
const RECORDED: Duration = Duration::from_secs(2);

/// How often to look for it.
const LOOK: Duration = Duration::from_millis(2);

impl Node {
    /// Returns the record of a revocation; `None` if no revocation has this id. If another node has
    /// accepted it, and it is in force here but not recorded yet, waits for that.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    pub async fn find(&self, id: RevocationId) -> Result<Option<Record>, LogError> {
        self.recorded(&id).await;
        self.blocking(move |sessions| sessions.log().find(&id)).await.map_err(panicked)?
    }

    /// Waits until a revocation that is in force is recorded, but not for long.
    pub(crate) async fn recorded(&self, id: &RevocationId) {
        let recorded = async {
            while self.sessions().is_unrecorded(id) {
                sleep(LOOK).await;
            }
        };
        // If the log fails, whoever asks is not told of the revocation.
        let _ = timeout(RECORDED, recorded).await;
    }

    /// Returns up to `limit` revocations whose numbers are below `before`, the newest first.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    pub async fn records(&self, before: Option<Seq>, limit: usize) -> Result<Vec<Record>, LogError> {
        self.blocking(move |sessions| sessions.log().page(before, limit)).await.map_err(panicked)?
    }

    /// Returns whether the session is revoked now, whatever its token.
    pub fn is_blacklisted(&self, name: &SessionName) -> bool {
        self.sessions().is_blacklisted(name)
    }
}
