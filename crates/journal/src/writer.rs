//! The thread that writes. Everything that is queued when it begins a commit goes into that commit.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, RwLock};
use redb::Database;
use session::{
    Appended, Entry, LogError, NodeName, Operation, Position, Receipt, Record, Revocation, RevocationId, Seq,
};

use crate::audit::{Action, Audit};
use crate::clock::FolderClock;
use crate::codec;
use crate::folder::JournalError;
use crate::store::{Commit, RedbError, Tables};

/// A request to the writer.
pub(crate) enum Task {
    Append(Revocation, SyncSender<Result<Appended, LogError>>),
    Lift(RevocationId, Option<String>, SyncSender<Result<Option<Record>, LogError>>),
    Record(Operation, Position, SyncSender<Result<Option<Entry>, LogError>>),
}

/// Opens the store again.
pub(crate) type Reopen = Box<dyn Fn() -> Result<Database, JournalError> + Send>;

/// The store, as readers see it; `None` while it cannot be reopened after an error.
pub(crate) type SharedStore = Arc<RwLock<Option<Database>>>;

/// Receipts that are not in the store yet. The next commit stores them.
#[derive(Default)]
pub(crate) struct Unstored {
    pub(crate) receipts: HashMap<(Seq, NodeName), Receipt>,
    /// How many commits have moved receipts from here to the store.
    pub(crate) commits: u64,
}

pub(crate) type Receipts = Arc<Mutex<Unstored>>;

pub(crate) struct Committer {
    pub(crate) store: SharedStore,
    pub(crate) receipts: Receipts,
    pub(crate) reopen: Reopen,
    pub(crate) audit: Audit,
    pub(crate) clock: Arc<FolderClock>,
    /// The limit of tasks in one commit.
    pub(crate) at_once: usize,
}

/// How long receipts wait for another commit before they cause one of their own.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the clock is stored and expired revocations are removed if there is nothing to write.
const IDLE: Duration = Duration::from_secs(60);

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
    Lifted(Option<Record>),
    Recorded(Option<Entry>),
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
            let idle = batch.is_empty() && !behind && self.receipts.lock().receipts.is_empty();
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
        let mut tables = commit.tables(self.clock.now(), wall)?;
        let mut answers = Vec::with_capacity(batch.len());
        for task in batch {
            answers.push(task.carry_out(&mut tables, &mut self.audit, wall)?);
        }
        let receipts = self.receipts.lock().receipts.clone();
        for ((seq, node), receipt) in &receipts {
            tables.receipt(*seq, node, receipt)?;
        }
        let forgotten = tables.expire(FORGOTTEN_AT_ONCE)?;
        self.audit.sync()?;
        tables.note(&self.clock.stamp(), self.audit.head())?;
        drop(tables);
        commit.finish()?;
        if !receipts.is_empty() {
            let mut unstored = self.receipts.lock();
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
                if matches!(appended, Appended::New { .. }) {
                    audit.add(wall, &audit.entry(Action::Revoke, revocation, revocation.by.as_deref()));
                }
                CommitAnswer::Appended(appended)
            }
            Self::Lift(id, by, _) => {
                let lifted = tables.lift(id)?;
                if let Some(record) = &lifted {
                    audit.add(wall, &audit.entry(Action::Lift, &record.revocation, by.as_deref()));
                }
                CommitAnswer::Lifted(lifted)
            }
            Self::Record(operation, position, _) => {
                tables.advance(*position)?;
                CommitAnswer::Recorded(match operation {
                    Operation::Revoke(revocation) => {
                        let entry = tables.adopt(revocation)?;
                        if entry.is_some() {
                            audit.add(
                                wall,
                                &audit.entry(Action::Revoke, revocation, revocation.by.as_deref()),
                            );
                        }
                        entry
                    }
                    Operation::Lift { id, by } => tables.lift(id)?.map(|record| {
                        audit.add(wall, &audit.entry(Action::Lift, &record.revocation, by.as_deref()));
                        Entry::Lifted { of: record.seq, selector: record.revocation.selector }
                    }),
                })
            }
        })
    }

    /// Sends the answer. Fails only if the caller no longer waits, which is ignored.
    fn answer(self, answer: CommitAnswer) {
        match (self, answer) {
            (Self::Append(_, caller), CommitAnswer::Appended(appended)) => drop(caller.send(Ok(appended))),
            (Self::Lift(_, _, caller), CommitAnswer::Lifted(record)) => drop(caller.send(Ok(record))),
            (Self::Record(_, _, caller), CommitAnswer::Recorded(entry)) => drop(caller.send(Ok(entry))),
            _ => unreachable!("each task has its own kind of answer"),
        }
    }

    fn fail(self, error: &str) {
        match self {
            Self::Append(_, caller) => drop(caller.send(Err(LogError(error.into())))),
            Self::Lift(_, _, caller) => drop(caller.send(Err(LogError(error.into())))),
            Self::Record(_, _, caller) => drop(caller.send(Err(LogError(error.into())))),
        }
    }
}
