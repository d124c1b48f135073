//! The queues of a node without a folder, and the log that fills them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use session::{
    Appended, Clock, Entry, Log, LogError, NodeName, Operation, Place, Position, Receipt, Record, Revocation,
    RevocationId, Seq, StateCursor, StatePage,
};
use tokio::sync::Notify;

use super::{Change, ChangeKind, LIMIT, Outbox, OutboxCounts, Outlet, data, first_sequence, lost, random_id};
use crate::pseudonyms::Shown;

/// The system's monotonic clock.
struct Monotonic;

impl Clock for Monotonic {
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// A queue in memory. A restart loses it.
pub struct MemoryOutbox {
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
    added: Notify,
}

#[derive(Default)]
struct Queue {
    changes: VecDeque<(Instant, Change)>,
    /// Changes that were lost between the one that was sent last and the oldest.
    lost: u64,
    /// Changes that were dropped since the youngest was queued.
    dropped: u64,
    counts: OutboxCounts,
}

impl MemoryOutbox {
    /// Returns an empty queue on this clock.
    pub fn with_clock(clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), queue: Mutex::default(), added: Notify::new() }
    }

    /// Queues a change. Its `age` and `dropped` do not matter.
    pub fn add(&self, change: Change) {
        let mut queue = self.queue.lock();
        if queue.changes.len() as u64 >= LIMIT {
            queue.dropped += 1;
            queue.counts.full += 1;
        } else {
            let dropped = std::mem::take(&mut queue.dropped);
            queue.changes.push_back((self.clock.now(), Change { dropped, ..change }));
        }
        drop(queue);
        self.added.notify_one();
    }
}

impl Outbox for MemoryOutbox {
    fn oldest(&self, limit: usize) -> Result<Vec<Change>, LogError> {
        let now = self.clock.now();
        let queue = self.queue.lock();
        let aged = |(at, change): &(Instant, Change)| Change {
            age: now.saturating_duration_since(*at),
            ..change.clone()
        };
        let mut changes: Vec<_> = queue.changes.iter().take(limit).map(aged).collect();
        if let Some(first) = changes.first_mut() {
            first.dropped += queue.lost;
        }
        Ok(changes)
    }

    fn sent(&self, change: &Change) {
        let mut queue = self.queue.lock();
        queue.remove(change.sequence);
        queue.lost = 0;
    }

    fn give_up(&self, changes: &[Change]) {
        let Some(last) = changes.last() else { return };
        let mut queue = self.queue.lock();
        queue.remove(last.sequence);
        queue.lost = lost(changes);
    }

    fn counts(&self) -> OutboxCounts {
        let queue = self.queue.lock();
        OutboxCounts { queued: queue.changes.len() as u64, ..queue.counts }
    }

    fn added(&self) -> &Notify {
        &self.added
    }
}

impl Queue {
    fn remove(&mut self, up_to: u64) {
        while self.changes.front().is_some_and(|(_, change)| change.sequence <= up_to) {
            self.changes.pop_front();
        }
    }
}

/// A log in memory whose changes are reported. For a node that is alone: a node of a cluster has a
/// folder.
pub struct ReportingLog<L> {
    log: L,
    shown: Shown,
    outboxes: Vec<(Outlet, Arc<MemoryOutbox>)>,
    reports: Mutex<Reports>,
}

#[derive(Default)]
struct Reports {
    /// The number of the last change.
    sequence: u64,
    /// What is reported of the revocations that are being carried out.
    accepted: HashMap<Seq, String>,
}

impl<L: Log> ReportingLog<L> {
    /// Returns a log that also reports to these outlets. With `audit_key`, names of sessions and
    /// values of claims are replaced as in the audit log.
    pub fn new(log: L, outlets: &[Outlet], audit_key: Option<&str>) -> Self {
        let outbox = |outlet: &Outlet| (*outlet, Arc::new(MemoryOutbox::with_clock(Monotonic)));
        let sequence = first_sequence(0, SystemTime::now());
        Self {
            log,
            shown: Shown::new(audit_key),
            outboxes: outlets.iter().map(outbox).collect(),
            reports: Mutex::new(Reports { sequence, ..Reports::default() }),
        }
    }

    /// Returns the queue of an outlet; `None` if nothing is reported to it.
    pub fn outbox(&self, outlet: Outlet) -> Option<Arc<dyn Outbox>> {
        let found = self.outboxes.iter().find(|(of, _)| *of == outlet);
        found.map(|(_, outbox)| -> Arc<dyn Outbox> { outbox.clone() })
    }
}

impl<L> ReportingLog<L> {
    fn add(&self, reports: &mut Reports, kind: ChangeKind, data: &str) {
        reports.sequence += 1;
        let (sequence, id, at) = (reports.sequence, random_id(), SystemTime::now());
        for (_, outbox) in &self.outboxes {
            let data = data.to_owned();
            outbox.add(Change { sequence, id, kind, at, age: Duration::ZERO, dropped: 0, data });
        }
    }
}

impl<L: Log> Log for ReportingLog<L> {
    fn append(&self, revocation: &Revocation) -> Result<Appended, LogError> {
        // Locked meanwhile, so that a receipt of the revocation finds it.
        let mut reports = self.reports.lock();
        let appended = self.log.append(revocation)?;
        let (seq, stored) = match &appended {
            Appended::New { seq } => (*seq, revocation),
            Appended::Extended { seq, revocation, .. } => (*seq, &**revocation),
            Appended::Known(_) | Appended::Conflict => return Ok(appended),
        };
        let data = data::accepted(stored, &self.shown, SystemTime::now());
        self.add(&mut reports, ChangeKind::Accepted, &data);
        reports.accepted.insert(seq, data);
        Ok(appended)
    }

    fn lift(&self, id: &RevocationId, by: Option<&str>) -> Result<Option<Record>, LogError> {
        let mut reports = self.reports.lock();
        let lifted = self.log.lift(id, by)?;
        if let Some(record) = &lifted {
            reports.accepted.remove(&record.seq);
            let data = data::lifted(&record.revocation, by, &self.shown);
            self.add(&mut reports, ChangeKind::Lifted, &data);
        }
        Ok(lifted)
    }

    fn receipt(&self, seq: Seq, node: &NodeName, receipt: Receipt) {
        self.log.receipt(seq, node, receipt);
        let mut reports = self.reports.lock();
        if let Some(accepted) = reports.accepted.remove(&seq) {
            let data = data::applied(&accepted, Some(&receipt), SystemTime::now());
            self.add(&mut reports, ChangeKind::Applied, &data);
        }
    }

    fn load(&self, each: &mut dyn FnMut(Entry)) -> Result<Position, LogError> {
        self.log.load(each)
    }

    fn record(&self, operations: &[(Operation, Place)]) -> Result<Vec<Option<Entry>>, LogError> {
        self.log.record(operations)
    }

    fn advance(&self, position: Position) {
        self.log.advance(position);
    }

    fn unshared(&self, after: Seq, limit: usize) -> Result<Vec<Record>, LogError> {
        self.log.unshared(after, limit)
    }

    fn unshared_count(&self) -> u64 {
        self.log.unshared_count()
    }

    fn states(&self, after: Option<&StateCursor>, limit: usize) -> Result<StatePage, LogError> {
        self.log.states(after, limit)
    }

    fn unshare(&self, id: &RevocationId) -> Result<(), LogError> {
        self.log.unshare(id)
    }

    fn lifted(&self, id: &RevocationId) -> Result<Option<u32>, LogError> {
        self.log.lifted(id)
    }

    fn find(&self, id: &RevocationId) -> Result<Option<Record>, LogError> {
        self.log.find(id)
    }

    fn page(&self, before: Option<Seq>, limit: usize) -> Result<Vec<Record>, LogError> {
        self.log.page(before, limit)
    }
}
