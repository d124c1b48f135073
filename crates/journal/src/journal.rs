//! The journal: opens the folder, and implements [`session::Log`] with it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use parking_lot::RwLock;
use redb::Database;
use session::{
    Appended, Appending, Entry, Log, LogError, NodeName, Operation, Place, Position, Receipt, Record,
    Revocation, RevocationId, Seq, StateCursor, StatePage,
};

use crate::audit::Audit;
use crate::clock::{FolderClock, Here};
use crate::codec;
use crate::folder::{Config, Folder, JournalError, compacted, open_store, private_file};
use crate::outbox::{Outbox, Outlet, Reports};
use crate::shares;
use crate::store::{self, FORMAT, RedbError};
use crate::writer::{Committer, Reopen, SharedStore, SharedUnstored, Task};

/// Stores revocations in a folder.
pub struct Journal {
    store: SharedStore,
    unstored: SharedUnstored,
    clock: Arc<FolderClock>,
    /// Whether the node is in a cluster.
    clustered: bool,
    /// How many records are not in the stream yet.
    unshared: Arc<AtomicU64>,
    /// The queues of what is reported; `None` if nothing is.
    reports: Option<Arc<Reports>>,
    tasks: Option<SyncSender<Task>>,
    writer: Option<JoinHandle<()>>,
}

/// Limit of tasks that are queued for the writer. At the limit, callers block.
const WAITING: usize = 4096;

/// Limit of receipts that are queued for the writer. Further ones are lost.
const RECEIPTS: usize = 65_536;

/// Limit of tasks in one commit.
const AT_ONCE: usize = 4096;

/// How a journal commits.
pub(crate) struct Committing {
    /// The limit of tasks in one commit.
    pub(crate) at_once: usize,
    /// Whether the node is in a cluster.
    pub(crate) clustered: bool,
    /// How many records are not in the stream yet.
    pub(crate) unshared: u64,
    /// The queues of what is reported; `None` if nothing is.
    pub(crate) reports: Option<Arc<Reports>>,
}

impl Journal {
    /// Opens the folder; creates it if it is missing.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(config: &Config) -> Result<Self, JournalError> {
        Self::with_commits_of(config, AT_ONCE)
    }

    /// As [`Journal::open`], with a limit of tasks in one commit, to measure what committing
    /// several together gains.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn with_commits_of(config: &Config, at_once: usize) -> Result<Self, JournalError> {
        let folder = Folder::open(&config.folder)?;
        let path = folder.revocations();
        let opened = folder.store(store::fill)?;
        let audit = folder.audit();
        let file = private_file(&audit).map_err(JournalError::io(&audit))?;
        let damaged =
            |error: RedbError| JournalError::Damaged { path: path.clone(), reason: error.to_string() };
        match store::format(&opened).map_err(damaged)? {
            FORMAT => {}
            from @ 1..FORMAT => store::upgrade(&opened, from, &config.node).map_err(damaged)?,
            found => return Err(JournalError::Newer { path, found, known: FORMAT }),
        }
        shares::join(&opened, config.clustered).map_err(damaged)?;
        let opened = compacted(opened, &path)?;
        let head = store::audit_head(&opened).map_err(damaged)?;
        let mut log =
            Audit::open(file, head, config.audit_key.as_deref()).map_err(JournalError::io(&audit))?;
        log.add(codec::since_1970(SystemTime::now()), &Audit::opened());
        log.sync().map_err(JournalError::io(&audit))?;
        let clock = FolderClock::resume(store::stamp(&opened).map_err(damaged)?, Here);
        let unshared = shares::unshared_count(&opened).map_err(damaged)?;
        let reports = Reports::open(&opened, config, clock.now()).map_err(damaged)?;
        let reopen: Reopen = Box::new(move || open_store(&path));
        let committing = Committing { at_once, clustered: config.clustered, unshared, reports };
        Self::start(opened, reopen, log, clock, committing)
    }

    pub(crate) fn start(
        opened: Database,
        reopen: Reopen,
        audit: Audit,
        clock: FolderClock,
        committing: Committing,
    ) -> Result<Self, JournalError> {
        let clock = Arc::new(clock);
        let store: SharedStore = Arc::new(RwLock::new(Some(opened)));
        let unstored = SharedUnstored::default();
        let Committing { at_once, clustered, unshared, reports } = committing;
        let unshared = Arc::new(AtomicU64::new(if clustered { unshared } else { 0 }));
        let (tasks, queue) = sync_channel(WAITING);
        let writer = Committer {
            store: store.clone(),
            unstored: unstored.clone(),
            reopen,
            audit,
            clock: clock.clone(),
            at_once,
            clustered,
            unshared: unshared.clone(),
            reports: reports.clone(),
        };
        let writer = std::thread::Builder::new().name("journal".into()).spawn(move || writer.run(&queue));
        let writer = writer.map_err(JournalError::io("a thread".as_ref()))?;
        let (tasks, writer) = (Some(tasks), Some(writer));
        Ok(Self { store, unstored, clock, clustered, unshared, reports, tasks, writer })
    }

    /// Returns the queue of an outlet; `None` if nothing is reported to it.
    pub fn outbox(&self, outlet: Outlet) -> Option<Arc<dyn Outbox>> {
        self.reports.as_ref()?.outbox(outlet, &self.store, &self.clock)
    }

    /// Names the node whose receipts are reported: the one under whose name this process stores its
    /// own.
    pub fn set_node(&self, node: NodeName) {
        if let Some(reports) = &self.reports {
            reports.set_node(node);
        }
    }

    fn ask<T>(&self, task: impl FnOnce(SyncSender<Result<T, LogError>>) -> Task) -> Result<T, LogError> {
        let gone = || LogError("its writer has stopped".into());
        let (answer, answered) = sync_channel(1);
        let tasks = self.tasks.as_ref().ok_or_else(gone)?;
        tasks.send(task(answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }

    /// Reads records and adds the receipts that are not in the store yet.
    ///
    /// A commit writes receipts to the store before it removes them from memory. If one happened
    /// between reading the store and reading the memory, receipts may have been missed in both, so
    /// both are read again.
    fn read_records(
        &self,
        read: impl Fn(&Database, u64) -> Result<Vec<Record>, RedbError>,
    ) -> Result<Vec<Record>, LogError> {
        loop {
            let commits = self.unstored.lock().commits;
            let mut records = self.read(&read)?;
            let unstored = self.unstored.lock();
            if unstored.commits != commits {
                continue;
            }
            if !unstored.receipts.is_empty() {
                let by_seq: HashMap<Seq, usize> =
                    records.iter().enumerate().map(|(index, record)| (record.seq, index)).collect();
                for ((seq, node), receipt) in &unstored.receipts {
                    if let Some(index) = by_seq.get(seq) {
                        records[*index].receipts.insert(node.clone(), *receipt);
                    }
                }
            }
            return Ok(records);
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Database, u64) -> Result<T, RedbError>) -> Result<T, LogError> {
        let store = self.store.read();
        let store = store.as_ref().ok_or_else(|| LogError("it is closed after an error".into()))?;
        read(store, self.clock.now()).map_err(|error| LogError(error.into()))
    }
}

impl Log for Journal {
    fn load(&self, each: &mut dyn FnMut(Entry)) -> Result<Position, LogError> {
        self.read(|store, now| store::load(store, now, each))
    }

    fn append(&self, revocation: &Revocation) -> Result<Appended, LogError> {
        // Providers repeat their statements, as many times as they like: what changes nothing is
        // only read.
        if revocation.is_standing()
            && let Ok(Some(known)) = self.find(&revocation.id)
            && revocation.appending(&known.revocation, known.left) == Appending::Known
        {
            return Ok(Appended::Known(Box::new(known)));
        }
        Ok(match self.ask(|answer| Task::Append(revocation.clone(), answer))? {
            Appended::Known(record) if record.receipts.is_empty() => {
                let completed = self.find(&revocation.id)?.filter(|found| found.seq == record.seq);
                Appended::Known(completed.map_or(record, Box::new))
            }
            appended => appended,
        })
    }

    fn unshare(&self, id: &RevocationId) -> Result<(), LogError> {
        if !self.clustered {
            return Ok(());
        }
        self.ask(|answer| Task::Unshare(id.clone(), answer))
    }

    fn lift(&self, id: &RevocationId, by: Option<&str>) -> Result<Option<Record>, LogError> {
        self.ask(|answer| Task::Lift(id.clone(), by.map(str::to_owned), answer))
    }

    fn record(&self, operations: &[(Operation, Place)]) -> Result<Vec<Option<Entry>>, LogError> {
        if !self.clustered {
            return Err(LogError("it is not the log of a node in a cluster".into()));
        }
        self.ask(|answer| Task::Record(operations.to_vec(), answer))
    }

    fn advance(&self, position: Position) {
        let mut unstored = self.unstored.lock();
        if unstored.position.is_none_or(|pending| position.supersedes(pending)) {
            unstored.changes_stream |=
                unstored.position.is_some_and(|pending| pending.epoch != position.epoch);
            unstored.position = Some(position);
        }
    }

    fn unshared(&self, after: Seq, limit: usize) -> Result<Vec<Record>, LogError> {
        if !self.clustered {
            return Ok(Vec::new());
        }
        self.read(|store, now| shares::unshared(store, after, limit, now))
    }

    fn unshared_count(&self) -> u64 {
        self.unshared.load(Ordering::Relaxed)
    }

    fn states(&self, after: Option<&StateCursor>, limit: usize) -> Result<StatePage, LogError> {
        self.read(|store, now| shares::states(store, after, limit, now))
    }

    fn lifted(&self, id: &RevocationId) -> Result<Option<u32>, LogError> {
        if !self.clustered {
            return Ok(None);
        }
        self.read(|store, now| shares::lifted(store, id, now))
    }

    fn receipt(&self, seq: Seq, node: &NodeName, receipt: Receipt) {
        let receipts = &mut self.unstored.lock().receipts;
        // If the writer has fallen behind, storing revocations matters more than storing receipts.
        if receipts.len() < RECEIPTS {
            receipts.insert((seq, node.clone()), receipt);
        }
    }

    fn find(&self, id: &RevocationId) -> Result<Option<Record>, LogError> {
        let read = |store: &Database, now| {
            Ok(store::find(store, id, now, self.clustered)?.into_iter().collect::<Vec<_>>())
        };
        Ok(self.read_records(read)?.pop())
    }

    fn page(&self, before: Option<Seq>, limit: usize) -> Result<Vec<Record>, LogError> {
        self.read_records(|store, now| store::page(store, before, limit, now, self.clustered))
    }
}

impl Drop for Journal {
    /// Waits until the writer has written what is queued.
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(writer) = self.writer.take() {
            // If the writer has panicked, the panic hook has reported it.
            let _ = writer.join();
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}
