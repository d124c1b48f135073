//! The queues of a node with a folder: tables beside those of the revocations, filled by the same
//! commits.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, TableDefinition,
    WriteTransaction,
};
use session::{LogError, NodeName, Receipt, Record, Revocation, Seq};
use tokio::sync::Notify;

use super::{Change, ChangeKind, LIMIT, Outbox, OutboxCounts, Outlet, data, first_sequence, lost, random_id};
use crate::clock::FolderClock;
use crate::codec;
use crate::folder::Config;
use crate::pseudonyms::Shown;
use crate::store::RedbError;
use crate::writer::SharedStore;

/// The columns of a change: id, kind, when it happened in milliseconds since 1970, when it was
/// queued in milliseconds on the folder's clock, how many changes before it were dropped, data.
type ChangeRow = (u128, u8, u64, u64, u64, &'static str);

/// What is reported of revocations whose receipt is not known yet, by their numbers in the log.
const UNAPPLIED: TableDefinition<'_, Seq, &str> = TableDefinition::new("outbox_unapplied");
/// The numbers of the revocations that this node has accepted. Only of a node in a cluster.
const OWN: TableDefinition<'_, Seq, ()> = TableDefinition::new("outbox_own");
/// The number of the last change, and for each queue how many changes were lost where.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("outbox_numbers");

/// The name of the number of the last change.
const SEQUENCE: &str = "sequence";

const OUTLETS: [Outlet; 2] = [Outlet::Hook, Outlet::Topic];

impl Outlet {
    fn table(self) -> TableDefinition<'static, u64, ChangeRow> {
        TableDefinition::new(match self {
            Self::Hook => "outbox_hook",
            Self::Topic => "outbox_topic",
        })
    }

    /// Returns the name of the number of changes that were lost before the oldest one.
    fn lost(self) -> &'static str {
        match self {
            Self::Hook => "hook_lost",
            Self::Topic => "topic_lost",
        }
    }

    /// Returns the name of the number of changes that were dropped behind the youngest one.
    fn dropped(self) -> &'static str {
        match self {
            Self::Hook => "hook_dropped",
            Self::Topic => "topic_dropped",
        }
    }
}

impl ChangeKind {
    const fn number(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::Applied => 1,
            Self::Lifted => 2,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        [Self::Accepted, Self::Applied, Self::Lifted].into_iter().find(|kind| kind.number() == number)
    }
}

/// What the queues of a folder have in memory.
pub(crate) struct Reports {
    lines: Vec<Arc<Line>>,
    shown: Shown,
    clustered: bool,
    /// The name under which the receipts of this node are stored.
    node: OnceLock<NodeName>,
}

/// What one queue has in memory.
struct Line {
    outlet: Outlet,
    cursor: Mutex<Cursor>,
    /// How many changes are queued. Below zero while some are removed that are not counted yet.
    queued: AtomicI64,
    /// How many were dropped since the queue is full.
    full: AtomicU64,
    added: Notify,
}

/// Up to where changes have left the queue. The store follows with the next commit.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cursor {
    /// The number of the last one.
    up_to: u64,
    /// How many were lost between the one that was sent last and the oldest.
    lost: u64,
    is_stored: bool,
}

/// The tables of the queues while a commit is being made.
pub(crate) struct OutboxTables<'c> {
    queues: Vec<QueueTable<'c>>,
    numbers: Table<'c, &'static str, u64>,
    unapplied: Table<'c, Seq, &'static str>,
    /// Only of a node in a cluster.
    own: Option<Table<'c, Seq, ()>>,
    /// Own revocations that this commit removes.
    removed: Vec<Seq>,
    reports: Arc<Reports>,
    now: u64,
    wall: u64,
}

struct QueueTable<'c> {
    rows: Table<'c, u64, ChangeRow>,
    line: Arc<Line>,
    done: LineDone,
}

/// What a commit has done to a queue.
#[derive(Clone, Copy)]
struct LineDone {
    cursor: Cursor,
    added: u64,
    full: u64,
}

/// What a commit has done to the queues; see [`Reports::committed`].
pub(crate) struct Done(Vec<LineDone>);

impl Reports {
    /// Prepares a store for the outlets of the configuration, and returns its queues; `None` if
    /// nothing is reported. What is queued for an outlet that is configured no more is dropped.
    ///
    /// Revocations whose receipt was not stored before the process exited are reported as applied:
    /// their connections were closed with the process.
    pub(crate) fn open(store: &Database, config: &Config, now: u64) -> Result<Option<Arc<Self>>, RedbError> {
        let write = store.begin_write()?;
        let mut has_changed = false;
        for outlet in OUTLETS.into_iter().filter(|outlet| !config.outlets.contains(outlet)) {
            has_changed |= drop_queue(&write, outlet)?;
        }
        let is_off = config.outlets.is_empty();
        if is_off || !config.clustered {
            has_changed |= write.delete_table(OWN)?;
        }
        if is_off {
            has_changed |= write.delete_table(UNAPPLIED)? | write.delete_table(NUMBERS)?;
            if has_changed {
                write.commit()?;
            } else {
                write.abort()?;
            }
            return Ok(None);
        }
        let line = |outlet: &Outlet| {
            let cursor = Cursor { up_to: 0, lost: 0, is_stored: true };
            let (queued, full, added) = (AtomicI64::new(0), AtomicU64::new(0), Notify::new());
            Arc::new(Line { outlet: *outlet, cursor: Mutex::new(cursor), queued, full, added })
        };
        let reports = Arc::new(Self {
            lines: config.outlets.iter().map(line).collect(),
            shown: Shown::new(config.audit_key.as_deref()),
            clustered: config.clustered,
            node: OnceLock::new(),
        });
        let wall = SystemTime::now();
        let mut tables = OutboxTables::open(&write, &reports, now, codec::since_1970(wall))?;
        let last = tables.number(SEQUENCE)?;
        tables.numbers.insert(SEQUENCE, first_sequence(last, wall))?;
        tables.report_unapplied()?;
        for queue in &tables.queues {
            let (line, lost) = (&queue.line, tables.number(queue.line.outlet.lost())?);
            line.cursor.lock().lost = lost;
            line.queued.store(queue.rows.len()?.cast_signed(), Ordering::Relaxed);
        }
        drop(tables);
        write.commit()?;
        Ok(Some(reports))
    }

    /// Names the node whose receipts are reported.
    pub(crate) fn set_node(&self, node: NodeName) {
        // It has one name.
        let _ = self.node.set(node);
    }

    /// Returns the queue of an outlet; `None` if nothing is reported to it.
    pub(crate) fn outbox(
        &self,
        outlet: Outlet,
        store: &SharedStore,
        clock: &Arc<FolderClock>,
    ) -> Option<Arc<dyn Outbox>> {
        let line = self.lines.iter().find(|line| line.outlet == outlet)?.clone();
        Some(Arc::new(DiskOutbox { line, store: store.clone(), clock: clock.clone() }))
    }

    /// Returns whether changes have left the queues that the store still has.
    pub(crate) fn are_behind(&self) -> bool {
        self.lines.iter().any(|line| !line.cursor.lock().is_stored)
    }

    /// The commit is on disk.
    pub(crate) fn committed(&self, done: Done) {
        for (line, done) in self.lines.iter().zip(done.0) {
            let mut cursor = line.cursor.lock();
            if (cursor.up_to, cursor.lost) == (done.cursor.up_to, done.cursor.lost) {
                cursor.is_stored = true;
            }
            drop(cursor);
            line.queued.fetch_add(done.added.cast_signed(), Ordering::Relaxed);
            line.full.fetch_add(done.full, Ordering::Relaxed);
            if done.added + done.full > 0 {
                line.added.notify_one();
            }
        }
    }
}

/// Removes the queue of an outlet that is configured no more; returns whether there was one.
fn drop_queue(write: &WriteTransaction, outlet: Outlet) -> Result<bool, RedbError> {
    let queued = write.open_table(outlet.table())?.len()?;
    if queued > 0 {
        tracing::warn!(
            ?outlet,
            queued,
            "revocations were still to be reported to what is configured no more: they are not"
        );
    }
    write.delete_table(outlet.table())?;
    Ok(queued > 0)
}

impl<'c> OutboxTables<'c> {
    /// Opens the tables, and removes what has left the queues.
    pub(crate) fn open(
        write: &'c WriteTransaction,
        reports: &Arc<Reports>,
        now: u64,
        wall: u64,
    ) -> Result<Self, RedbError> {
        let mut numbers = write.open_table(NUMBERS)?;
        let mut queues = Vec::with_capacity(reports.lines.len());
        for line in &reports.lines {
            let mut rows = write.open_table(line.outlet.table())?;
            let cursor = *line.cursor.lock();
            if !cursor.is_stored {
                rows.retain_in(..=cursor.up_to, |_, _| false)?;
                numbers.insert(line.outlet.lost(), cursor.lost)?;
            }
            queues.push(QueueTable {
                rows,
                line: line.clone(),
                done: LineDone { cursor, added: 0, full: 0 },
            });
        }
        let own = if reports.clustered { Some(write.open_table(OWN)?) } else { None };
        let (unapplied, reports) = (write.open_table(UNAPPLIED)?, reports.clone());
        Ok(Self { queues, numbers, unapplied, own, removed: Vec::new(), reports, now, wall })
    }

    /// Reports that this node has accepted or extended a revocation.
    pub(crate) fn accepted(&mut self, seq: Seq, revocation: &Revocation) -> Result<(), RedbError> {
        let data = data::accepted(revocation, &self.reports.shown, self.time());
        self.add(ChangeKind::Accepted, &data)?;
        self.unapplied.insert(seq, data.as_str())?;
        if let Some(own) = &mut self.own {
            own.insert(seq, ())?;
        }
        Ok(())
    }

    /// Reports what a revocation has done on `node`, if that is this node and has accepted it.
    pub(crate) fn applied(&mut self, seq: Seq, node: &NodeName, receipt: &Receipt) -> Result<(), RedbError> {
        if self.reports.node.get() != Some(node) {
            return Ok(());
        }
        let Some(accepted) = self.unapplied.remove(seq)?.map(|row| row.value().to_owned()) else {
            return Ok(());
        };
        self.add(ChangeKind::Applied, &data::applied(&accepted, Some(receipt), self.time()))
    }

    /// Reports that a revocation was lifted, if this node has accepted it. Nothing follows: if it
    /// is not known yet what it has done, that is not reported.
    pub(crate) fn lifted(&mut self, record: &Record, by: Option<&str>) -> Result<(), RedbError> {
        if self.own.is_some() && !self.removed.contains(&record.seq) {
            return Ok(());
        }
        self.unapplied.remove(record.seq)?;
        self.add(ChangeKind::Lifted, &data::lifted(&record.revocation, by, &self.reports.shown))
    }

    /// A revocation was removed from the log.
    pub(crate) fn removed(&mut self, seq: Seq) -> Result<(), RedbError> {
        if let Some(own) = &mut self.own
            && own.remove(seq)?.is_some()
        {
            self.removed.push(seq);
        }
        Ok(())
    }

    /// Returns what was done.
    pub(crate) fn done(&self) -> Done {
        Done(self.queues.iter().map(|queue| queue.done).collect())
    }

    fn report_unapplied(&mut self) -> Result<(), RedbError> {
        loop {
            let accepted = self.unapplied.pop_first()?.map(|(_, accepted)| accepted.value().to_owned());
            let Some(accepted) = accepted else { return Ok(()) };
            self.add(ChangeKind::Applied, &data::applied(&accepted, None, self.time()))?;
        }
    }

    fn add(&mut self, kind: ChangeKind, data: &str) -> Result<(), RedbError> {
        let (sequence, id) = (self.number(SEQUENCE)? + 1, random_id());
        self.numbers.insert(SEQUENCE, sequence)?;
        for QueueTable { rows, line, done } in &mut self.queues {
            let name = line.outlet.dropped();
            let dropped = self.numbers.get(name)?.map_or(0, |number| number.value());
            if rows.len()? >= LIMIT {
                self.numbers.insert(name, dropped + 1)?;
                done.full += 1;
                continue;
            }
            if dropped > 0 {
                self.numbers.insert(name, 0)?;
            }
            rows.insert(sequence, (id, kind.number(), self.wall, self.now, dropped, data))?;
            done.added += 1;
        }
        Ok(())
    }

    fn number(&self, name: &'static str) -> Result<u64, RedbError> {
        Ok(self.numbers.get(name)?.map_or(0, |number| number.value()))
    }

    fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.wall)
    }
}

/// The queue of one outlet, on disk.
struct DiskOutbox {
    line: Arc<Line>,
    store: SharedStore,
    clock: Arc<FolderClock>,
}

impl DiskOutbox {
    fn read(&self, store: &Database, limit: usize) -> Result<Vec<Change>, RedbError> {
        let (now, cursor) = (self.clock.now(), *self.line.cursor.lock());
        let rows = store.begin_read()?.open_table(self.line.outlet.table())?;
        let mut changes = Vec::new();
        for row in rows.range(cursor.up_to + 1..)?.take(limit) {
            let (sequence, row) = row?;
            let (id, kind, wall, queued, dropped, data) = row.value();
            changes.push(Change {
                sequence: sequence.value(),
                id,
                kind: ChangeKind::from_number(kind).ok_or(codec::RowError::Change)?,
                at: UNIX_EPOCH + Duration::from_millis(wall),
                age: Duration::from_millis(now.saturating_sub(queued)),
                dropped,
                data: data.to_owned(),
            });
        }
        if let Some(first) = changes.first_mut() {
            first.dropped += cursor.lost;
        }
        Ok(changes)
    }

    fn remove(&self, changes: &[Change], lost: u64) {
        let Some(last) = changes.last() else { return };
        *self.line.cursor.lock() = Cursor { up_to: last.sequence, lost, is_stored: false };
        self.line.queued.fetch_sub(changes.len() as i64, Ordering::Relaxed);
    }
}

impl Outbox for DiskOutbox {
    fn oldest(&self, limit: usize) -> Result<Vec<Change>, LogError> {
        let store = self.store.read();
        let store = store.as_ref().ok_or_else(|| LogError("it is closed after an error".into()))?;
        self.read(store, limit).map_err(|error| LogError(error.into()))
    }

    fn sent(&self, change: &Change) {
        self.remove(std::slice::from_ref(change), 0);
    }

    fn give_up(&self, changes: &[Change]) {
        self.remove(changes, lost(changes));
    }

    fn counts(&self) -> OutboxCounts {
        let queued = self.line.queued.load(Ordering::Relaxed).max(0).cast_unsigned();
        OutboxCounts { queued, full: self.line.full.load(Ordering::Relaxed) }
    }

    fn added(&self) -> &Notify {
        &self.line.added
    }
}
