use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use connection::Hub;
use parking_lot::Mutex;
use seal::{Incarnation, Purpose, Seal};
use session::{
    Appended, Config, Entry, Log, MemoryLog, NodeName, Operation, Place, Position, Seq, StateCursor,
    StatePage,
};
use tokio::time::timeout;

use super::*;

/// A log that stores nothing until `go` allows it.
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

    fn unshare(&self, id: &RevocationId) -> Result<(), LogError> {
        self.kept.unshare(id)
    }

    fn lift(&self, id: &RevocationId, by: Option<&str>) -> Result<Option<Record>, LogError> {
        self.kept.lift(id, by)
    }

    fn record(&self, operations: &[(Operation, Place)]) -> Result<Vec<Option<Entry>>, LogError> {
        self.kept.record(operations)
    }

    fn advance(&self, position: Position) {
        self.kept.advance(position);
    }

    fn unshared(&self, after: Seq, limit: usize) -> Result<Vec<Record>, LogError> {
        self.kept.unshared(after, limit)
    }

    fn unshared_count(&self) -> u64 {
        self.kept.unshared_count()
    }

    fn states(&self, after: Option<&StateCursor>, limit: usize) -> Result<StatePage, LogError> {
        self.kept.states(after, limit)
    }

    fn lifted(&self, id: &RevocationId) -> Result<Option<u32>, LogError> {
        self.kept.lifted(id)
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

fn node(log: impl Log) -> Node {
    let sessions = Sessions::new(Config::default(), log).expect("the log is empty");
    let hub = Hub::new(
        connection::Config::default(),
        sessions.clone(),
        Arc::default(),
        Seal::new(None, Purpose::Connection, Incarnation::unnamed()),
        Arc::default(),
        Arc::default(),
    );
    Node::new(sessions, hub, None)
}

fn revocation() -> Revocation {
    Revocation::blacklist(&"s".parse().expect("it is a name"), Duration::from_secs(60))
}

#[tokio::test]
async fn a_caller_that_stops_waiting_changes_nothing() {
    let (go, gate) = channel();
    let node = node(SlowLog { go: Mutex::new(gate), kept: MemoryLog::new() });
    // Polled once, while it is pending, and then dropped.
    let stopped = timeout(Duration::ZERO, node.revoke(revocation(), true, Duration::ZERO)).await;
    assert!(stopped.is_err(), "{stopped:?}");
    go.send(()).unwrap();
    let find = || node.sessions().log().find(&revocation().id).unwrap();
    let done = timeout(Duration::from_secs(20), async {
        while find().is_none_or(|record| record.receipts.is_empty()) {
            yield_now().await;
        }
    });
    done.await.expect("it is carried out");
    assert!(node.is_blacklisted(&"s".parse().unwrap()));
}

#[tokio::test]
async fn what_the_log_does_not_keep_is_in_force_and_says_so() {
    let (go, gate) = channel();
    drop(go);
    let node = node(SlowLog { go: Mutex::new(gate), kept: MemoryLog::new() });
    let failed = node.revoke(revocation(), true, Duration::ZERO).await.unwrap_err();
    assert!(matches!(failed, NotRevoked::Refused(RevokeError::Log(_))), "{failed}");
    assert!(node.is_blacklisted(&"s".parse().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_what_is_in_force_waits_until_it_is_recorded() {
    let node = node(MemoryLog::new());
    let (revocation, id) = (revocation(), revocation().id);
    node.enforce(&revocation, 1).await;
    let mut finding = Box::pin(node.find(id.clone()));
    assert!(timeout(Duration::from_millis(100), &mut finding).await.is_err());
    let place = Place { position: Position::default(), revision: 1 };
    node.record(vec![(Operation::Revoke(revocation.clone()), place)]).await.expect("it is stored");
    assert!(finding.await.expect("the log is read").is_some());
    // A log that fails does not keep callers for long.
    let other = Revocation { id: RevocationId::new("other").expect("a short id"), ..revocation };
    node.enforce(&other, 1).await;
    assert!(node.find(other.id).await.expect("the log is read").is_none());
}
