//! Revokes and lifts: the only path from a decision to its effect, whoever makes it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use session::{
    Accepted, Kill, LogError, Operation, Receipt, Record, Revocation, RevocationId, RevokeError, Sessions,
};
use tokio::task::{JoinError, yield_now};

use crate::node::Node;

/// The outcome of a revocation.
#[derive(Debug)]
pub enum Outcome {
    /// It is in force, and its effects are in the record's receipts.
    Done(Box<Record>),
    /// It was accepted before.
    Before(Box<Record>),
}

/// Why a revocation or a lift was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum NotRevoked {
    /// It was refused, or could not be recorded.
    #[error(transparent)]
    Refused(#[from] RevokeError),
    /// The task panicked.
    #[error(transparent)]
    Panicked(#[from] JoinError),
}

/// Number of connections to terminate before the task yields: less than a millisecond of work.
const TERMINATED_AT_ONCE: usize = 256;

impl Node {
    /// Records a revocation and terminates its connections. When this returns, nothing is written
    /// to any of them any more, and the other nodes have applied it as far as the bus waits for
    /// them. With `forced`, tokens of open connections may outlive it.
    ///
    /// Runs in a task of its own, so that it continues if the caller is cancelled.
    ///
    /// # Errors
    /// See [`NotRevoked`]. Nothing has happened then, except for [`RevokeError::Log`]: the
    /// revocation is in force until the process exits.
    pub async fn revoke(&self, revocation: Revocation, forced: bool) -> Result<Outcome, NotRevoked> {
        let node = self.clone();
        let outcome = tokio::spawn(async move { node.revoke_whole(revocation, forced).await }).await?;
        if let Err(NotRevoked::Refused(RevokeError::Log(error))) = &outcome {
            tracing::error!(%error, "revocation in force, but not recorded");
        }
        outcome
    }

    async fn revoke_whole(&self, revocation: Revocation, forced: bool) -> Result<Outcome, NotRevoked> {
        let asked_at = SystemTime::now();
        let accept = move |sessions: &Sessions| (sessions.accept(&revocation, forced), revocation);
        let (accepted, revocation) = self.blocking(accept).await?;
        let kill = match accepted? {
            Accepted::Begun(kill) => kill,
            Accepted::Before(record) => return Ok(Outcome::Before(record)),
        };
        let receipt = terminate(kill).await;
        let (mode, seconds) = (revocation.mode.as_str(), revocation.validity.as_secs());
        tracing::info!(mode, seconds, connections = receipt.connections, "sessions revoked");
        if let Some(bus) = self.bus() {
            bus.announce(Operation::Revoke(revocation.clone())).await;
        }
        let record_of = move |sessions: &Sessions| record_of(sessions, revocation, asked_at);
        let mut record = self.blocking(record_of).await?;
        record.receipts.insert(self.name().clone(), receipt);
        Ok(Outcome::Done(Box::new(record)))
    }

    /// Lifts a revocation on behalf of `by`: its tokens are legal again, unless another revocation
    /// selects them. Returns its record; `None` if there is no such revocation.
    ///
    /// # Errors
    /// Fails if the log may not have removed it. The revocation stays in force.
    pub async fn lift(&self, id: RevocationId, by: Option<String>) -> Result<Option<Record>, LogError> {
        let node = self.clone();
        let lifted = tokio::spawn(async move {
            let operation = Operation::Lift { id: id.clone(), by: by.clone() };
            let lift = move |sessions: &Sessions| sessions.lift(&id, by.as_deref());
            let lifted = node.blocking(lift).await.map_err(panicked)??;
            if let Some(record) = &lifted {
                tracing::info!(mode = record.revocation.mode.as_str(), "revocation lifted");
                if let Some(bus) = node.bus() {
                    bus.announce(operation).await;
                }
            }
            Ok(lifted)
        });
        lifted.await.map_err(panicked)?
    }
}

pub(crate) fn panicked(error: JoinError) -> LogError {
    LogError(error.into())
}

/// Terminates the connections of a revocation that is in force. When this returns, nothing but the
/// farewell is written to any of them. Yields regularly. If the caller is cancelled, the rest is
/// terminated without yielding.
pub(crate) async fn terminate(mut kill: Kill) -> Receipt {
    while kill.step(TERMINATED_AT_ONCE) {
        yield_now().await;
    }
    kill.finish()
}

/// Returns the record of a revocation that was just carried out. If the log has none, because it
/// was lifted or has expired meanwhile, builds one from the request.
fn record_of(sessions: &Sessions, revocation: Revocation, accepted_at: SystemTime) -> Record {
    match sessions.log().find(&revocation.id) {
        Ok(Some(record)) => record,
        found => {
            if let Err(error) = found {
                tracing::warn!(%error, "the record of a revocation cannot be read");
            }
            let left = revocation.validity;
            Record { seq: 0, revocation, accepted_at, left, receipts: BTreeMap::new() }
        }
    }
}

#[cfg(test)]
mod tests;
