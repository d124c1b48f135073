//! Revokes and lifts: the only path from a decision to its effect, whoever makes it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use session::{
    Accepted, Kill, LogError, Mode, Receipt, Record, Revocation, RevocationId, RevokeError, Selector,
    Sessions,
};
use tokio::task::{JoinError, yield_now};
use tokio::time::{Instant, sleep, timeout_at};

use crate::bus::{IdTaken, NoQuorum};
use crate::node::Node;
use crate::order::new_id;
use crate::spread::{Reach, Spread};

/// The outcome of a revocation: its record and, in a cluster, how far it has got. `None` also if
/// another node has accepted it, or this one before it was restarted.
#[derive(Debug)]
pub enum Outcome {
    /// It is in force, and its effects are in the record's receipts.
    Done(Box<Record>, Option<Spread>),
    /// One that [extends](Revocation::extends) has changed nothing: the same is in force, for at
    /// least as long. Connections that were still open are terminated all the same; the receipt of
    /// this node says how many.
    Again(Box<Record>, Option<Spread>),
    /// It was accepted before.
    Before(Box<Record>, Option<Spread>),
}

/// The outcome of a lift.
#[derive(Debug)]
pub enum LiftOutcome {
    /// There is no such revocation.
    Unknown,
    /// It is lifted here and, in a cluster, this far at the other nodes.
    Done(Option<Spread>),
}

/// Why a revocation was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum NotRevoked {
    /// It was refused, or could not be recorded.
    #[error(transparent)]
    Refused(#[from] RevokeError),
    /// Too many revocations wait for the cluster: it is not in force.
    #[error("not in force: {} revocations wait for the cluster, which cannot be reached", Node::MOST_QUEUED)]
    QueueFull,
    /// The task panicked.
    #[error(transparent)]
    Panicked(#[from] JoinError),
}

/// Why a revocation was not lifted. It stays in force.
#[derive(Debug, thiserror::Error)]
pub enum NotLifted {
    /// The log may not have removed it.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The cluster has not stored the lift.
    #[error(transparent)]
    NoQuorum(#[from] NoQuorum),
}

/// How often to look whether a revocation that was announced before is complete.
const LOOK: Duration = Duration::from_millis(5);

/// Number of connections to terminate before the task yields: less than a millisecond of work.
const TERMINATED_AT_ONCE: usize = 256;

impl Node {
    /// Limit of revocations that wait for the cluster in the log.
    pub const MOST_QUEUED: u64 = 100_000;

    /// Records a revocation and terminates its connections. When this returns, nothing is written
    /// to any of them any more. In a cluster, waits until no other node sends them anything either,
    /// but no longer than the time `within`: the [`Spread`] says how far it has got. With `forced`,
    /// tokens of open connections may outlive it.
    ///
    /// Runs in a task of its own, so that it continues if the caller is cancelled.
    ///
    /// # Errors
    /// See [`NotRevoked`]. Nothing has happened then, except for [`RevokeError::Log`]: the
    /// revocation is in force until the process exits.
    pub async fn revoke(
        &self,
        revocation: Revocation,
        forced: bool,
        within: Duration,
    ) -> Result<Outcome, NotRevoked> {
        let node = self.clone();
        let whole = async move { node.revoke_whole(revocation, forced, within).await };
        let outcome = tokio::spawn(whole).await?;
        if let Err(NotRevoked::Refused(RevokeError::Log(error))) = &outcome {
            tracing::error!(%error, "revocation in force, but not recorded");
        }
        outcome
    }

    async fn revoke_whole(
        &self,
        revocation: Revocation,
        forced: bool,
        within: Duration,
    ) -> Result<Outcome, NotRevoked> {
        let asked_at = SystemTime::now();
        if self.is_queue_full() {
            return Err(NotRevoked::QueueFull);
        }
        // Without a lease, it may not know that another node has lifted what is repeated here.
        let is_certain = self.lease().is_none_or(|lease| lease.fence().is_open());
        let accept = move |sessions: &Sessions| {
            let accepted = sessions.accept(&revocation, forced);
            match &accepted {
                Ok(Accepted::Again(_, known)) if known.is_standing() && !is_certain => {
                    let unshared = sessions.log().unshare(&known.id);
                    (unshared.map_err(RevokeError::Log).and(accepted), revocation)
                }
                _ => (accepted, revocation),
            }
        };
        let (accepted, revocation) = self.blocking(accept).await?;
        let deadline = Instant::now() + within;
        // The other nodes hear of it at once, before connections are terminated here. It is also
        // sent to them if it could not be recorded here.
        let in_force = match &accepted {
            Ok(Accepted::Begun(_)) | Err(RevokeError::Log(_)) => Some(&revocation),
            Ok(Accepted::Extended(_, extended)) => Some(&**extended),
            // They have it, or it is on its way to them.
            Ok(Accepted::Again(_, known)) if known.is_standing() && is_certain => None,
            Ok(Accepted::Again(_, known)) => Some(&**known),
            Ok(Accepted::Before(_)) | Err(_) => None,
        };
        let announced = in_force.zip(self.bus()).map(|(in_force, bus)| bus.announce(in_force.clone()));
        let (kill, is_new) = match accepted? {
            Accepted::Begun(kill) | Accepted::Extended(kill, _) => (kill, true),
            Accepted::Again(kill, _) => (kill, false),
            Accepted::Before(record) => {
                let spread = self.spread(&revocation.id);
                return Ok(Outcome::Before(record, spread));
            }
        };
        let receipt = terminate(kill).await;
        let (mode, seconds) = (revocation.mode.as_str(), revocation.validity.as_secs());
        if is_new || receipt.connections > 0 {
            tracing::info!(mode, seconds, connections = receipt.connections, "sessions revoked");
        }
        let spread = match announced {
            Some(spreading) => Some(match timeout_at(deadline, spreading).await {
                Ok(spread) => spread.map_err(|IdTaken| RevokeError::Conflict)?,
                Err(_) => self.spread(&revocation.id).unwrap_or_else(Spread::queued),
            }),
            None => self.spread_until(&revocation.id, deadline).await,
        };
        let record_of = move |sessions: &Sessions| record_of(sessions, revocation, asked_at);
        let mut record = self.blocking(record_of).await?;
        record.receipts.insert(self.name().clone(), receipt);
        if let Some(spread) = &spread {
            spread.add_receipts(&mut record);
        }
        Ok(match is_new {
            true => Outcome::Done(Box::new(record), spread),
            false => Outcome::Again(Box::new(record), spread),
        })
    }

    /// Returns how far a revocation has got that was announced before, as soon as it is complete,
    /// or at the deadline; `None` as [`Node::spread`].
    async fn spread_until(&self, id: &RevocationId, deadline: Instant) -> Option<Spread> {
        loop {
            let spread = self.spread(id)?;
            if spread.reach == Reach::Complete || Instant::now() >= deadline {
                return Some(spread);
            }
            sleep(LOOK).await;
        }
    }

    /// Returns `true` if a connection of this node is open whose token this selects.
    pub fn has_connections_of(&self, selector: &Selector) -> bool {
        self.sessions().affected(selector, None).connections > 0
    }

    /// Terminates the connections of tokens with a [mark](session::Selected::Mark), at this node
    /// only: each node of a cluster learns by itself what the mark says. The tokens stay legal. The
    /// log has a record of it, and the audit log a line. Returns the record, with the receipt of
    /// this node.
    ///
    /// Runs in a task of its own, so that it continues if the caller is cancelled.
    ///
    /// # Errors
    /// Fails with [`RevokeError::Log`] if it could not be recorded. The connections are terminated
    /// all the same.
    pub async fn disconnect_here(
        &self,
        selector: Selector,
        by: Option<String>,
        reason: Option<String>,
    ) -> Result<Box<Record>, NotRevoked> {
        debug_assert!(selector.mark_kind().is_some(), "all nodes carry out what selects by claims");
        let node = self.clone();
        let disconnected = tokio::spawn(async move {
            let asked_at = SystemTime::now();
            let revocation = Revocation {
                id: new_id(),
                selector,
                issued_up_to: None,
                mode: Mode::Disconnect,
                validity: Duration::ZERO,
                by,
                reason,
                extends: false,
            };
            let accept = move |sessions: &Sessions| (sessions.accept(&revocation, true), revocation);
            let (accepted, revocation) = node.blocking(accept).await?;
            let receipt = match accepted? {
                Accepted::Begun(kill) | Accepted::Extended(kill, _) | Accepted::Again(kill, _) => {
                    Some(terminate(kill).await)
                }
                Accepted::Before(_) => None,
            };
            let record_of = move |sessions: &Sessions| record_of(sessions, revocation, asked_at);
            let mut record = node.blocking(record_of).await?;
            record.receipts.extend(receipt.map(|receipt| (node.name().clone(), receipt)));
            Ok(Box::new(record))
        });
        let disconnected = disconnected.await?;
        if let Err(NotRevoked::Refused(RevokeError::Log(error))) = &disconnected {
            tracing::error!(%error, "sessions disconnected, but that is not recorded");
        }
        disconnected
    }

    /// Returns how far the latest revocation or lift of this id has got in the cluster; `None`
    /// without a cluster, or if another node has accepted it, or this one before it was restarted.
    pub fn spread(&self, id: &RevocationId) -> Option<Spread> {
        self.bus()?.spread(id)
    }

    /// Lifts a revocation on behalf of `by`: its tokens are legal again, unless another revocation
    /// selects them. In a cluster, waits for the other nodes, but no longer than the time `within`.
    ///
    /// Runs in a task of its own, so that it continues if the caller is cancelled.
    ///
    /// # Errors
    /// See [`NotLifted`]. The revocation stays in force.
    pub async fn lift(
        &self,
        id: RevocationId,
        by: Option<String>,
        within: Duration,
    ) -> Result<LiftOutcome, NotLifted> {
        let node = self.clone();
        let lifted = tokio::spawn(async move {
            if let Some(bus) = node.bus() {
                // Another node may have accepted it just now.
                node.find(id.clone()).await?;
                let spread = bus.lift(id, by, within).await?;
                return Ok(spread.map_or(LiftOutcome::Unknown, |spread| {
                    tracing::info!(cluster = spread.reach.as_str(), "revocation lifted");
                    LiftOutcome::Done(Some(spread))
                }));
            }
            let lift = move |sessions: &Sessions| sessions.lift(&id, by.as_deref());
            let lifted = node.blocking(lift).await.map_err(panicked)??;
            Ok(lifted.map_or(LiftOutcome::Unknown, |record| {
                tracing::info!(mode = record.revocation.mode.as_str(), "revocation lifted");
                LiftOutcome::Done(None)
            }))
        });
        lifted.await.map_err(panicked)?
    }
}

impl Outcome {
    /// Returns how far the revocation has got; `None` without a cluster, or if that is not known.
    pub fn spread(&self) -> Option<&Spread> {
        let (Self::Done(_, spread) | Self::Again(_, spread) | Self::Before(_, spread)) = self;
        spread.as_ref()
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
            let receipts = BTreeMap::new();
            Record { seq: 0, revocation, accepted_at, left, receipts, revision: 0, in_stream: false }
        }
    }
}

#[cfg(test)]
mod tests;
