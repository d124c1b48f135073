//! The thread that writes. Everything that is queued when it begins a commit goes into that commit.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, RwLock};
use redb::Database;
use session::{
    Appended, Entry, LogError, NodeName, Operation, Place, Position, Receipt, Record, Revocation,
    RevocationId, Seq,
};

use crate::audit::{Action, Audit};
use crate::clock::FolderClock;
use crate::codec;
use crate::folder::JournalError;
use crate::outbox::Reports;
use crate::store::{Commit, Recorded, RedbError, Tables};

/// A request to the writer.
pub(crate) enum Task {
    Append(Revocation, SyncSender<Result<Appended, LogError>>),
    Unshare(RevocationId, SyncSender<Result<(), LogError>>),
    Lift(RevocationId, Option<String>, SyncSender<Result<Option<Record>, LogError>>),
    Record(Vec<(Operation, Place)>, SyncSender<Result<Vec<Option<Entry>>, LogError>>),
}

/// Opens the store again.
pub(crate) type Reopen = Box<dyn Fn() -> Result<Database, JournalError> + Send>;

/// The store, as readers see it; `None` while it cannot be reopened after an error.
pub(crate) type SharedStore = Arc<RwLock<Option<Database>>>;

/// What is not in the store yet, and is stored with the next commit.
#[derive(Default)]
pub(crate) struct Unstored {
    pub(crate) receipts: HashMap<(Seq, NodeName), Receipt>,
    /// A position of the stream. Causes no commit.
    pub(crate) position: Option<Position>,
    /// The position follows one of another stream that was never stored.
    pub(crate) changes_stream: bool,
    /// How many commits have moved receipts from here to the store.
    pub(crate) commits: u64,
}

pub(crate) type SharedUnstored = Arc<Mutex<Unstored>>;

pub(crate) struct Committer {
    pub(crate) store: SharedStore,
    pub(crate) unstored: SharedUnstored,
    pub(crate) reopen: Reopen,
    pub(crate) audit: Audit,
    pub(crate) clock: Arc<FolderClock>,
    /// The limit of tasks in one commit.
    pub(crate) at_once: usize,
    /// Whether the node is in a cluster.
    pub(crate) clustered: bool,
    /// How many records are not in the stream yet.
    pub(crate) unshared: Arc<AtomicU64>,
    /// The queues of what is reported; `None` if nothing is.
    pub(crate) reports: Option<Arc<Reports>>,
}

/// How long receipts wait for another commit before they cause one of their own.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the clock is stored and expired revocations are removed if there is nothing to write.
const IDLE: Duration = Duration::from_secs(60);

/// An extension by less is no decision: each way through the stream makes the end a little later.
const AUDITED: Duration = Duration::from_secs(1);

/// Limit of revocations that one commit removes, so that it stays short.
const FORGOTTEN_AT_ONCE: usize = 1000;

/// The commit failed, for all tasks in it.
#[derive(Debug, thiserror::Error)]
enum CommitFailed {
    #[error("{0}")]
    Store(#[from] RedbError),
    #[error("audit.log: {0}")]
    Audit(#[from] std::io::Error),
    #[error("the store panicked")]
    Panic,
    #[error("the log cannot be opened again: {0}")]
    Reopen(#[from] JournalError),
}

/// The answer to a task, which is sent when the task is on disk.
enum CommitAnswer {
    Appended(Appended),
    Unshared,
    Lifted(Option<Record>),
    Recorded(Vec<Option<Entry>>),
}

impl Committer {
    /// Writes until every sender is dropped.
    pub(crate) fn run(mut self, tasks: &Receiver<Task>) {
        let mut behind = false;
        let mut last = Instant::now();
        loop {
            // Expired revocations are removed in many short commits, with new tasks between them.
            let wait = if behind { Duration::ZERO } else { PATIENCE };
            let mut batch = Vec::new();
            match tasks.recv_timeout(wait) {
                Ok(first) => batch.push(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            batch.extend(tasks.try_iter().take(self.at_once.saturating_sub(batch.len())));
            let idle = batch.is_empty() && !behind && self.unstored.lock().receipts.is_empty();
            let idle = idle && !self.reports.as_ref().is_some_and(|reports| reports.are_behind());
            let idle = idle && self.store.read().is_some();
            if !idle || last.elapsed() >= IDLE {
                behind = self.commit(batch);
                last = Instant::now();
            }
        }
        self.commit(Vec::new());
    }

    /// Writes a batch and answers its tasks; returns `true` if more expired revocations are left to
    /// remove.
    fn commit(&mut self, batch: Vec<Task>) -> bool {
        // The store may panic if its file changes under it. The panic is handled like any other
        // error, so that this thread continues.
        let committed = catch_unwind(AssertUnwindSafe(|| self.try_commit(&batch)));
        match committed.unwrap_or(Err(CommitFailed::Panic)) {
            Ok((answers, forgotten)) => {
                for (task, answer) in batch.into_iter().zip(answers) {
                    task.answer(answer);
                }
                forgotten == FORGOTTEN_AT_ONCE
            }
            Err(error) => {
                tracing::error!(%error, tasks = batch.len(), "the revocation log cannot be written");
                self.audit.rewind();
                // The store is unusable after an error; it is reopened for the next batch.
                *self.store.write() = None;
                let error = error.to_string();
                batch.into_iter().for_each(|task| task.fail(&error));
                false
            }
        }
    }

    fn try_commit(&mut self, batch: &[Task]) -> Result<(Vec<CommitAnswer>, usize), CommitFailed> {
        if self.store.read().is_none() {
            *self.store.write() = Some((self.reopen)()?);
        }
        let store = self.store.read();
        let store = store.as_ref().expect("only this thread removes it");
        let commit = Commit::begin(store)?;
        let wall = codec::since_1970(SystemTime::now());
        let mut tables = commit.tables(self.clock.now(), wall, self.clustered, self.reports.as_ref())?;
        let (position, changes_stream) = {
            let unstored = self.unstored.lock();
            (unstored.position, unstored.changes_stream)
        };
        if let Some(position) = position {
            tables.advance(position, changes_stream)?;
        }
        // Before the tasks: one may lift the revocation of a receipt.
        let receipts = self.unstored.lock().receipts.clone();
        for ((seq, node), receipt) in &receipts {
            tables.receipt(*seq, node, receipt)?;
        }
        let mut answers = Vec::with_capacity(batch.len());
        for task in batch {
            answers.push(task.carry_out(&mut tables, &mut self.audit, wall)?);
        }
        let forgotten = tables.expire(FORGOTTEN_AT_ONCE)?;
        self.audit.sync()?;
        tables.note(&self.clock.stamp(), self.audit.head())?;
        let unshared = tables.unshared_count()?;
        let reported = tables.outbox().map(|outbox| outbox.done());
        drop(tables);
        commit.finish()?;
        if let Some((reports, reported)) = self.reports.as_ref().zip(reported) {
            reports.committed(reported);
        }
        self.unshared.store(unshared, Ordering::Relaxed);
        let mut unstored = self.unstored.lock();
        unstored.position = unstored.position.filter(|later| Some(*later) != position);
        unstored.changes_stream = false;
        if !receipts.is_empty() {
            unstored.receipts.retain(|key, _| !receipts.contains_key(key));
            unstored.commits += 1;
        }
        Ok((answers, forgotten))
    }
}

impl Task {
    fn carry_out(
        &self,
        tables: &mut Tables<'_>,
        audit: &mut Audit,
        wall: u64,
    ) -> Result<CommitAnswer, RedbError> {
        Ok(match self {
            Self::Append(revocation, _) => {
                let appended = tables.append(revocation)?;
                let changed = match &appended {
                    Appended::New { seq } => Some((*seq, revocation)),
                    Appended::Extended { seq, revocation: extended, .. } => Some((*seq, &**extended)),
                    Appended::Known(_) | Appended::Conflict => None,
                };
                if let Some((_, revocation)) = changed {
                    audit.add(wall, &audit.entry(Action::Revoke, revocation, revocation.by.as_deref()));
                }
                if let Some(outbox) = tables.outbox()
                    && let Some((seq, revocation)) = changed
                {
                    outbox.accepted(seq, revocation)?;
                }
                CommitAnswer::Appended(appended)
            }
            Self::Unshare(id, _) => {
                tables.unshare(id)?;
                CommitAnswer::Unshared
            }
            Self::Lift(id, by, _) => {
                let lifted = tables.lift(id)?;
                if let Some(record) = &lifted {
                    audit.add(wall, &audit.entry(Action::Lift, &record.revocation, by.as_deref()));
                    if let Some(outbox) = tables.outbox() {
                        outbox.lifted(record, by.as_deref())?;
                    }
                }
                CommitAnswer::Lifted(lifted)
            }
            Self::Record(operations, _) => {
                if let Some((_, last)) = operations.last() {
                    tables.advance(last.position, false)?;
                }
                let mut entries = Vec::with_capacity(operations.len());
                for (operation, place) in operations {
                    let recorded = tables.record(operation, *place)?;
                    if let (Recorded::Lifted(record), Operation::Lift { by, .. }) = (&recorded, operation)
                        && let Some(outbox) = tables.outbox()
                    {
                        outbox.lifted(record, by.as_deref())?;
                    }
                    entries.push(recorded.audited(operation, audit, wall));
                }
                CommitAnswer::Recorded(entries)
            }
        })
    }

    /// Sends the answer. Fails only if the caller no longer waits, which is ignored.
    fn answer(self, answer: CommitAnswer) {
        match (self, answer) {
            (Self::Append(_, caller), CommitAnswer::Appended(appended)) => drop(caller.send(Ok(appended))),
            (Self::Unshare(_, caller), CommitAnswer::Unshared) => drop(caller.send(Ok(()))),
            (Self::Lift(_, _, caller), CommitAnswer::Lifted(record)) => drop(caller.send(Ok(record))),
            (Self::Record(_, caller), CommitAnswer::Recorded(entries)) => drop(caller.send(Ok(entries))),
            _ => unreachable!("each task has its own kind of answer"),
        }
    }

    fn fail(self, error: &str) {
        match self {
            Self::Append(_, caller) => drop(caller.send(Err(LogError(error.into())))),
            Self::Unshare(_, caller) => drop(caller.send(Err(LogError(error.into())))),
            Self::Lift(_, _, caller) => drop(caller.send(Err(LogError(error.into())))),
            Self::Record(_, caller) => drop(caller.send(Err(LogError(error.into())))),
        }
    }
}

impl Recorded {
    /// Adds a line to the audit log for what has changed, and returns the entry to put into effect.
    fn audited(self, operation: &Operation, audit: &mut Audit, wall: u64) -> Option<Entry> {
        let by = match operation {
            Operation::Revoke(revocation) => revocation.by.as_deref(),
            Operation::Lift { by, .. } => by.as_deref(),
        };
        match (self, operation) {
            (Self::Revoked(entry), Operation::Revoke(revocation)) => {
                audit.add(wall, &audit.entry(Action::Revoke, revocation, by));
                Some(entry)
            }
            (Self::Extended { entry, longer, moves_bound }, _) => {
                if (longer >= AUDITED || moves_bound)
                    && let Entry::Revoked { revocation, .. } = &entry
                {
                    audit.add(wall, &audit.entry(Action::Revoke, revocation, by));
                }
                Some(entry)
            }
            (Self::Lifted(record), _) => {
                audit.add(wall, &audit.entry(Action::Lift, &record.revocation, by));
                Some(Entry::Lifted { of: record.seq, selector: record.revocation.selector })
            }
            _ => None,
        }
    }
}
