//! The one way from a request to a revocation: recorded, in force, and every connection told, before the answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use connection::Hub;
use session::{Accepted, Record, Revocation, RevokeError, Sessions};
use tokio::task::JoinError;

/// What became of a revocation.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is in force, and has done what the record's receipt says.
    Done(Box<Record>),
    /// It was accepted before.
    Before(Box<Record>),
}

/// Why a revocation was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It was refused, or is not recorded.
    #[error(transparent)]
    Revoke(#[from] RevokeError),
    /// The task panicked.
    #[error(transparent)]
    Task(#[from] JoinError),
}

/// Records a revocation and terminates its connections; `forced`: also where tokens outlive it.
///
/// Once called, a caller that stops waiting changes nothing.
///
/// # Errors
/// See [`Failure`]; nothing has happened, but for [`RevokeError::Log`], where it is in force until the process ends.
pub(crate) async fn carry_out(
    hub: &Arc<Hub>,
    revocation: Revocation,
    forced: bool,
) -> Result<Outcome, Failure> {
    let hub = hub.clone();
    // A task of its own: this call is dropped where the caller hangs up.
    let done = tokio::spawn(async move { carry_out_whole(&hub, revocation, forced).await }).await?;
    if let Err(Failure::Revoke(RevokeError::Log(error))) = &done {
        tracing::error!(%error, "revocation in force, but not recorded");
    }
    done
}

async fn carry_out_whole(hub: &Hub, revocation: Revocation, forced: bool) -> Result<Outcome, Failure> {
    let asked_at = SystemTime::now();
    let sessions = hub.sessions().clone();
    // Recording may wait for a disk.
    let (accepted, revocation) =
        tokio::task::spawn_blocking(move || (sessions.accept(&revocation, forced), revocation)).await?;
    let kill = match accepted? {
        Accepted::Begun(kill) => kill,
        Accepted::Before(record) => return Ok(Outcome::Before(record)),
    };
    let receipt = hub.carry_out(kill).await;
    let (mode, seconds) = (revocation.mode.as_str(), revocation.validity.as_secs());
    tracing::info!(mode, seconds, connections = receipt.connections, "sessions ended");
    let sessions = hub.sessions().clone();
    let record = tokio::task::spawn_blocking(move || record_of(&sessions, revocation, asked_at)).await?;
    let here = hub.sessions().config().node().clone();
    let receipts = [(here, receipt)].into();
    Ok(Outcome::Done(Box::new(Record { receipts, ..record })))
}

/// What is kept of a revocation that was just carried out. Where that is nothing (it was lifted, or has expired), what
/// was asked for.
fn record_of(sessions: &Sessions, revocation: Revocation, accepted_at: SystemTime) -> Record {
    match sessions.log().find(&revocation.id) {
        Ok(Some(record)) => record,
        kept => {
            if let Err(error) = kept {
                tracing::warn!(%error, "the record of a revocation cannot be read");
            }
            let left = revocation.validity;
            Record { seq: 0, revocation, accepted_at, left, receipts: BTreeMap::new() }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use parking_lot::Mutex;
    use session::{
        Appended, Config, Entry, Log, LogError, MemoryLog, NodeName, Operation, Position, Receipt,
        RevocationId, Seq,
    };
    use tokio::time::timeout;

    use super::*;

    /// Keeps nothing before it is told to.
    struct SlowLog {
        go: Mutex<Receiver<()>>,
        kept: MemoryLog,
    }

    impl Log for SlowLog {
        fn load(&self, each: &mut dyn FnMut(Entry)) -> Result<Position, LogError> {
            self.kept.load(each)
        }

        fn append(&self, revocation: &Revocation) -> Result<Appended, LogError> {
            self.go.lock().recv().map_err(|error| LogError(error.into()))?;
            self.kept.append(revocation)
        }

        fn lift(&self, id: &RevocationId, by: Option<&str>) -> Result<Option<Record>, LogError> {
            self.kept.lift(id, by)
        }

        fn record(&self, operation: &Operation, position: Position) -> Result<Option<Entry>, LogError> {
            self.kept.record(operation, position)
        }

        fn receipt(&self, seq: Seq, node: &NodeName, receipt: Receipt) {
            self.kept.receipt(seq, node, receipt);
        }

        fn find(&self, id: &RevocationId) -> Result<Option<Record>, LogError> {
            self.kept.find(id)
        }

        fn page(&self, before: Option<Seq>, limit: usize) -> Result<Vec<Record>, LogError> {
            self.kept.page(before, limit)
        }
    }

    fn hub(log: impl Log) -> Arc<Hub> {
        let sessions = Sessions::new(Config::default(), log).unwrap();
        Hub::new(
            connection::Config::default(),
            sessions,
            Arc::default(),
            seal::Seal::new(None, seal::Purpose::Connection, seal::Incarnation::unnamed()),
            Arc::default(),
        )
    }

    fn revocation() -> Revocation {
        Revocation::blacklist(&"s".parse().unwrap(), Duration::from_secs(60))
    }

    #[tokio::test]
    async fn a_caller_that_stops_waiting_changes_nothing() {
        let (go, gate) = channel();
        let hub = hub(SlowLog { go: Mutex::new(gate), kept: MemoryLog::new() });
        // It is polled, has nothing to say yet, and is dropped.
        let stopped = timeout(Duration::ZERO, carry_out(&hub, revocation(), true)).await;
        assert!(stopped.is_err(), "{stopped:?}");
        go.send(()).unwrap();
        let find = || hub.sessions().log().find(&revocation().id).unwrap();
        let done = timeout(Duration::from_secs(20), async {
            while find().is_none_or(|record| record.receipts.is_empty()) {
                tokio::task::yield_now().await;
            }
        });
        done.await.expect("it is carried out");
        assert!(hub.sessions().is_blacklisted(&"s".parse().unwrap()));
    }

    #[tokio::test]
    async fn what_the_log_does_not_keep_is_in_force_and_says_so() {
        let (go, gate) = channel();
        drop(go);
        let hub = hub(SlowLog { go: Mutex::new(gate), kept: MemoryLog::new() });
        let failed = carry_out(&hub, revocation(), true).await.unwrap_err();
        assert!(matches!(failed, Failure::Revoke(RevokeError::Log(_))), "{failed}");
        assert!(hub.sessions().is_blacklisted(&"s".parse().unwrap()));
    }
}
