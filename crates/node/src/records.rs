//! Reads the log's records of revocations.

use std::time::Duration;

use session::{LogError, Record, RevocationId, Seq, SessionName, Sessions};

use tokio::time::{Instant, sleep};

use crate::node::Node;
use crate::revoke::panicked;

/// How long to wait for a record of a revocation that is in force.
const RECORDED: Duration = Duration::from_secs(2);

/// How often to look for it.
const LOOK: Duration = Duration::from_millis(2);

/// The records that are read at once to find those of an issuer.
const CHUNK: usize = 1000;

/// Limit of the times that this happens for one page.
const CHUNKS: usize = 20;

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

    /// Returns up to `limit` revocations of tokens of this issuer only, whose numbers are below
    /// `before`, the newest first. Also returns the number below which to look for more, if there
    /// may be more. The page may be shorter then: the number of records that are looked at is
    /// limited.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    pub async fn records_of(
        &self,
        issuer: String,
        mut before: Option<Seq>,
        limit: usize,
    ) -> Result<(Vec<Record>, Option<Seq>), LogError> {
        let read = move |sessions: &Sessions| {
            let mut found = Vec::new();
            for _ in 0..CHUNKS {
                let chunk = sessions.log().page(before, CHUNK)?;
                let is_last = chunk.len() < CHUNK;
                before = chunk.last().map(|last| last.seq);
                let of_issuer =
                    |record: &Record| record.revocation.selector.issuer.as_deref() == Some(&*issuer);
                found.extend(chunk.into_iter().filter(of_issuer));
                if found.len() > limit {
                    found.truncate(limit);
                    return Ok((found.last().map(|last| last.seq), found));
                }
                if is_last {
                    return Ok((None, found));
                }
            }
            Ok((before, found))
        };
        let (next, found) = self.blocking(read).await.map_err(panicked)??;
        Ok((found, next))
    }

    /// Returns whether the session is revoked now, whatever its token.
    pub fn is_blacklisted(&self, name: &SessionName) -> bool {
        self.sessions().is_blacklisted(name)
    }
}
