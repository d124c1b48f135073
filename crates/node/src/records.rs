//! Reads the log's records of revocations.

use session::{LogError, Record, RevocationId, Seq, SessionName};

use crate::node::Node;
use crate::revoke::panicked;

impl Node {
    /// Returns the record of a revocation; `None` if no revocation has this id.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    pub async fn find(&self, id: RevocationId) -> Result<Option<Record>, LogError> {
        self.blocking(move |sessions| sessions.log().find(&id)).await.map_err(panicked)?
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
