//! Reads the log's records of revocations.

use std::time::Duration;

use session::{LogError, Record, RevocationId, Seq, SessionName};

use tokio::time::{Instant, sleep};

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
        let deadline = Instant::now() + RECORDED;
        loop {
            // Asked before: it may be recorded in between.
            let is_unrecorded = self.sessions().is_unrecorded(&id);
            let of = id.clone();
            let found = self.blocking(move |sessions| sessions.log().find(&of)).await.map_err(panicked)??;
            // If the log fails, whoever asks is not told of the revocation.
            if found.is_some() || !is_unrecorded || Instant::now() >= deadline {
                return Ok(found);
            }
            sleep(LOOK).await;
        }
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
