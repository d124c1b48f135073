//! The revocation log in its store: reads, and the transaction of a commit.

use std::sync::Arc;
use std::time::Duration;

use redb::{Database, ReadableDatabase, ReadableTable, Table, WriteTransaction};
use session::{
    Appended, Appending, Entry, Epoch, KnownState, NodeName, Operation, Place, Position, Receipt, Record,
    Replaced, Revocation, RevocationId, Seq, StateChange,
};

use crate::audit::ChainHead;
use crate::clock::Stamp;
use crate::codec::{
    self, EXPIRIES, IDS, LIFT_EXPIRIES, LIFTS, NEVER, NUMBERS, PLACES, RECEIPTS, RECEIPTS_1, REVOCATIONS,
    REVOCATIONS_3, ReceiptRow, Row, RowError, TEXTS, UNSHARED,
};
use crate::outbox::{OutboxTables, Reports};
use crate::shares::{self, Shares};

/// The format that this program writes, and the newest it reads.
pub(crate) const FORMAT: u64 = 4;

/// Reading or writing failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedbError {
    #[error("{0}")]
    Store(#[from] redb::Error),
    #[error("{0}")]
    Row(#[from] RowError),
}

/// Converts each of the store's error types into one.
macro_rules! from_store {
    ($($error:ident)+) => {$(
        impl From<redb::$error> for RedbError {
            fn from(error: redb::$error) -> Self {
                Self::Store(error.into())
            }
        }
    )+};
}
from_store! { StorageError TableError TransactionError CommitError DatabaseError SetDurabilityError }

/// Creates the tables of a new store.
pub(crate) fn fill(store: &Database) -> Result<(), redb::Error> {
    let write = store.begin_write()?;
    write.open_table(REVOCATIONS)?;
    write.open_table(RECEIPTS)?;
    write.open_table(IDS)?;
    write.open_table(EXPIRIES)?;
    write.open_table(TEXTS)?;
    fill_shares(&write)?;
    write.open_table(NUMBERS)?.insert("format", FORMAT)?;
    write.commit()?;
    Ok(())
}

/// Creates the tables that format 3 has added.
fn fill_shares(write: &WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(PLACES)?;
    write.open_table(UNSHARED)?;
    write.open_table(LIFTS)?;
    write.open_table(LIFT_EXPIRIES)?;
    Ok(())
}

/// Returns the format of a store; 0 if it has none.
pub(crate) fn format(store: &Database) -> Result<u64, RedbError> {
    Ok(store.begin_read()?.open_table(NUMBERS)?.get("format")?.map_or(0, |format| format.value()))
}

/// Upgrades a store of an older format to this one. The receipts of format 1 become those of
/// `node`. The position of format 2 had no epoch, so nothing is known of it. The revocations of
/// format 3 were of tokens of every issuer.
pub(crate) fn upgrade(store: &Database, from: u64, node: &NodeName) -> Result<(), RedbError> {
    let write = store.begin_write()?;
    if from < 2 {
        let mut receipts = write.open_table(RECEIPTS)?;
        for row in write.open_table(RECEIPTS_1)?.iter()? {
            let (seq, receipt) = row?;
            receipts.insert((seq.value(), node.as_str()), receipt.value())?;
        }
    }
    if from < 3 {
        write.delete_table(RECEIPTS_1)?;
        fill_shares(&write)?;
        write.open_table(NUMBERS)?.remove("position")?;
    }
    {
        let mut revocations = write.open_table(REVOCATIONS)?;
        for row in write.open_table(REVOCATIONS_3)?.iter()? {
            let (seq, row) = row?;
            revocations.insert(seq.value(), codec::row_of_format_3(row.value()))?;
        }
    }
    write.delete_table(REVOCATIONS_3)?;
    write.open_table(NUMBERS)?.insert("format", FORMAT)?;
    Ok(write.commit()?)
}

/// Returns the reading of the folder's clock at the last commit.
pub(crate) fn stamp(store: &Database) -> Result<Option<Stamp>, RedbError> {
    let read = store.begin_read()?;
    let (texts, numbers) = (read.open_table(TEXTS)?, read.open_table(NUMBERS)?);
    let Some(boot) = texts.get("boot")? else { return Ok(None) };
    let number = |name| Ok::<_, RedbError>(numbers.get(name)?.map_or(0, |number| number.value()));
    Ok(Some(Stamp { boot: boot.value().to_owned(), uptime: number("uptime")?, folder: number("folder")? }))
}

/// Returns the last line of the audit log that was written before the last commit.
pub(crate) fn audit_head(store: &impl ReadableDatabase) -> Result<ChainHead, RedbError> {
    let read = store.begin_read()?;
    let seq = read.open_table(NUMBERS)?.get("audit")?.map_or(0, |seq| seq.value());
    let hash = read.open_table(TEXTS)?.get("audit")?.map(|hash| hash.value().to_owned());
    Ok(hash.map_or_else(ChainHead::default, |hash| ChainHead { seq, hash }))
}

/// Passes all revocations in force to `each`; returns the position that was stored last.
pub(crate) fn load(store: &Database, now: u64, each: &mut dyn FnMut(Entry)) -> Result<Position, RedbError> {
    let read = store.begin_read()?;
    for row in read.open_table(REVOCATIONS)?.iter()? {
        let (seq, row) = row?;
        if let Some(entry) = codec::entry(seq.value(), &row.value(), now)? {
            each(entry);
        }
    }
    position(&read.open_table(NUMBERS)?)
}

fn position(numbers: &impl ReadableTable<&'static str, u64>) -> Result<Position, RedbError> {
    let number = |name| Ok::<_, RedbError>(numbers.get(name)?.map_or(0, |number| number.value()));
    let epoch = u128::from(number("epoch_high")?) << 64 | u128::from(number("epoch_low")?);
    Ok(Position { epoch: Epoch(epoch), sequence: number("position")? })
}

/// Returns a revocation by its id.
pub(crate) fn find(
    store: &Database,
    id: &RevocationId,
    now: u64,
    clustered: bool,
) -> Result<Option<Record>, RedbError> {
    let read = store.begin_read()?;
    let Some(seq) = read.open_table(IDS)?.get(id.as_str())? else { return Ok(None) };
    let found = record_of(&read.open_table(REVOCATIONS)?, &read.open_table(RECEIPTS)?, seq.value(), now)?;
    let Some(mut record) = found else { return Ok(None) };
    if clustered {
        shares::read_place(&read, &mut record)?;
    }
    Ok(Some(record))
}

/// Returns revocations, the youngest first.
pub(crate) fn page(
    store: &Database,
    before: Option<Seq>,
    limit: usize,
    now: u64,
    clustered: bool,
) -> Result<Vec<Record>, RedbError> {
    let read = store.begin_read()?;
    let (revocations, receipts) = (read.open_table(REVOCATIONS)?, read.open_table(RECEIPTS)?);
    let mut page = Vec::new();
    for row in revocations.range(..before.unwrap_or(Seq::MAX))?.rev() {
        if page.len() >= limit {
            break;
        }
        let (seq, row) = row?;
        if codec::expires_of(&row.value()) > now {
            let mut record = with_receipts(codec::record(seq.value(), &row.value(), now)?, &receipts)?;
            if clustered {
                shares::read_place(&read, &mut record)?;
            }
            page.push(record);
        }
    }
    Ok(page)
}

fn record_of(
    revocations: &impl ReadableTable<Seq, Row>,
    receipts: &impl ReadableTable<(Seq, &'static str), ReceiptRow>,
    seq: Seq,
    now: u64,
) -> Result<Option<Record>, RedbError> {
    let Some(row) = revocations.get(seq)? else { return Ok(None) };
    if codec::expires_of(&row.value()) <= now {
        return Ok(None);
    }
    Ok(Some(with_receipts(codec::record(seq, &row.value(), now)?, receipts)?))
}

fn with_receipts(
    mut record: Record,
    receipts: &impl ReadableTable<(Seq, &'static str), ReceiptRow>,
) -> Result<Record, RedbError> {
    for row in receipts.range((record.seq, "")..(record.seq + 1, ""))? {
        let (key, receipt) = row?;
        record.receipts.extend([codec::receipt(key.value().1, receipt.value())]);
    }
    Ok(record)
}

/// One commit: either all of its changes are on disk, or none.
pub(crate) struct Commit(WriteTransaction);

/// The tables of a commit while it is being made.
pub(crate) struct Tables<'c> {
    revocations: Table<'c, Seq, Row>,
    receipts: Table<'c, (Seq, &'static str), ReceiptRow>,
    ids: Table<'c, &'static str, Seq>,
    expiries: Table<'c, (u64, Seq), ()>,
    numbers: Table<'c, &'static str, u64>,
    texts: Table<'c, &'static str, &'static str>,
    /// Only of a node in a cluster.
    shares: Option<Shares<'c>>,
    /// Only of a node that reports revocations.
    outbox: Option<OutboxTables<'c>>,
    now: u64,
    wall: u64,
}

/// What an operation of the stream has changed.
pub(crate) enum Recorded {
    /// Nothing that is put into effect.
    Nothing,
    /// A revocation is stored.
    Revoked(Entry),
    /// The known revocation lasts longer, or has a later bound.
    Extended {
        /// What is in force now.
        entry: Entry,
        /// By how much longer it lasts.
        longer: Duration,
        /// Whether its bound is later.
        moves_bound: bool,
    },
    /// A revocation was removed.
    Lifted(Box<Record>),
}

impl Commit {
    pub(crate) fn begin(store: &Database) -> Result<Self, RedbError> {
        Ok(Self(store.begin_write()?))
    }

    pub(crate) fn tables(
        &self,
        now: u64,
        wall: u64,
        clustered: bool,
        reports: Option<&Arc<Reports>>,
    ) -> Result<Tables<'_>, RedbError> {
        let shares = if clustered { Some(Shares::open(&self.0)?) } else { None };
        let outbox = reports.map(|reports| OutboxTables::open(&self.0, reports, now, wall)).transpose()?;
        Ok(Tables {
            shares,
            outbox,
            revocations: self.0.open_table(REVOCATIONS)?,
            receipts: self.0.open_table(RECEIPTS)?,
            ids: self.0.open_table(IDS)?,
            expiries: self.0.open_table(EXPIRIES)?,
            numbers: self.0.open_table(NUMBERS)?,
            texts: self.0.open_table(TEXTS)?,
            now,
            wall,
        })
    }

    /// Commits, and returns once the changes are on disk.
    pub(crate) fn finish(self) -> Result<(), RedbError> {
        Ok(self.0.commit()?)
    }
}

impl<'c> Tables<'c> {
    /// Returns the queues of what is reported; `None` if nothing is.
    pub(crate) fn outbox(&mut self) -> Option<&mut OutboxTables<'c>> {
        self.outbox.as_mut()
    }

    /// See [`session::Log::append`].
    pub(crate) fn append(&mut self, revocation: &Revocation) -> Result<Appended, RedbError> {
        let Some(mut known) = self.find(&revocation.id)? else {
            let place = self.clear(&revocation.id, None)?;
            let seq = self.insert(revocation)?;
            if let Some(shares) = self.shares.as_mut().filter(|_| !revocation.is_local()) {
                shares.set(seq, place, false)?;
            }
            return Ok(Appended::New { seq });
        };
        match revocation.appending(&known.revocation, known.left) {
            Appending::Conflict => Ok(Appended::Conflict),
            Appending::Known => {
                // The other nodes may have lifted it, and do not know that it is wanted again.
                if revocation.extends && !revocation.is_standing() {
                    self.unshare_known(&mut known)?;
                }
                Ok(Appended::Known(Box::new(known)))
            }
            Appending::Extended(extended) => {
                let replaces = Replaced { seq: known.seq, selector: known.revocation.selector.clone() };
                let place = self.clear(&revocation.id, Some(known))?;
                let seq = self.insert(&extended)?;
                if let Some(shares) = &mut self.shares {
                    shares.set(seq, place, false)?;
                }
                Ok(Appended::Extended { seq, replaces, revocation: Box::new(extended) })
            }
        }
    }

    /// See [`session::Log::unshare`].
    pub(crate) fn unshare(&mut self, id: &RevocationId) -> Result<(), RedbError> {
        match self.find(id)? {
            Some(mut known) if !known.revocation.is_local() => self.unshare_known(&mut known),
            _ => Ok(()),
        }
    }

    fn unshare_known(&mut self, known: &mut Record) -> Result<(), RedbError> {
        let Some(shares) = &mut self.shares else { return Ok(()) };
        let place = shares.place(known)?;
        shares.set(known.seq, place, false)
    }

    /// Stores an operation of the stream; see [`session::Log::record`].
    ///
    /// # Panics
    /// Panics if the node is not in a cluster.
    pub(crate) fn record(&mut self, operation: &Operation, place: Place) -> Result<Recorded, RedbError> {
        let id = operation.id();
        let mut known = self.find(id)?;
        let shares = self.shares.as_mut().expect("only a node in a cluster records");
        let at = match &mut known {
            Some(record) => Some(shares.place(record)?),
            None => shares.lifted(id, self.now)?,
        };
        let change = match (at, &known) {
            (None, _) => StateChange::Taken,
            (Some(at), known) => {
                let revocation = known.as_ref().map(|record| (&record.revocation, record.left));
                let in_stream = known.as_ref().is_none_or(|record| record.in_stream);
                KnownState { revocation, place: at, in_stream }.change(operation, place)
            }
        };
        let noted = place.latest(at.unwrap_or_default());
        match (change, known) {
            (StateChange::Nothing, _) => {}
            (StateChange::Noted { in_stream }, Some(known)) => {
                if Some(noted) != at || in_stream != known.in_stream {
                    shares.set(known.seq, noted, in_stream)?;
                }
            }
            (StateChange::Noted { .. }, None) => shares.move_lift(id, noted)?,
            (StateChange::Extended { in_stream }, Some(known)) => {
                shares.set(known.seq, noted, in_stream)?;
                return self.extend(&known, operation);
            }
            (StateChange::Taken, known) => return self.take(operation, place, known),
            (StateChange::Extended { .. }, None) => unreachable!("only a known revocation is extended"),
        }
        Ok(Recorded::Nothing)
    }

    /// Has an operation replace whatever is known of its id.
    fn take(
        &mut self,
        operation: &Operation,
        place: Place,
        known: Option<Record>,
    ) -> Result<Recorded, RedbError> {
        match operation {
            Operation::Revoke(revocation) => {
                let replaces = known
                    .as_ref()
                    .map(|known| Replaced { seq: known.seq, selector: known.revocation.selector.clone() });
                self.clear(&revocation.id, known)?;
                let seq = self.insert(revocation)?;
                if let Some(shares) = &mut self.shares {
                    shares.set(seq, place, true)?;
                }
                Ok(Recorded::Revoked(Entry::Revoked { seq, revocation: revocation.clone(), replaces }))
            }
            Operation::Lift { id, .. } => {
                if let Some(known) = &known {
                    self.remove(known.seq)?;
                }
                if let Some(shares) = &mut self.shares {
                    let left = known.as_ref().map_or(Duration::ZERO, |known| known.left);
                    shares.bury(id, place, left, self.now)?;
                }
                Ok(known.map_or(Recorded::Nothing, |known| Recorded::Lifted(Box::new(known))))
            }
        }
    }

    /// Moves the end and the bound of the known revocation to those of the stream, as far as they
    /// are later.
    fn extend(&mut self, known: &Record, operation: &Operation) -> Result<Recorded, RedbError> {
        let Operation::Revoke(other) = operation else {
            unreachable!("only a revocation extends another one");
        };
        let seq = known.seq;
        let stored = known.revocation.extended_by(other);
        let in_force = Revocation { validity: known.left.max(other.validity), ..stored.clone() };
        let longer = in_force.validity.saturating_sub(known.left);
        let moves_bound = in_force.issued_up_to != known.revocation.issued_up_to;
        let (before, expires) = (self.now.saturating_add(codec::millis(known.left)), self.expires(&in_force));
        self.expiries.remove((before, seq))?;
        if expires != NEVER {
            self.expiries.insert((expires, seq), ())?;
        }
        let accepted_at = codec::since_1970(known.accepted_at);
        self.revocations.insert(seq, codec::row(&stored, expires, accepted_at))?;
        let entry = Entry::Revoked { seq, revocation: in_force, replaces: None };
        Ok(Recorded::Extended { entry, longer, moves_bound })
    }

    /// Returns when a revocation that is accepted now expires, on the folder's clock.
    fn expires(&self, revocation: &Revocation) -> u64 {
        match codec::millis(revocation.kept_for()) {
            NEVER => NEVER,
            time => self.now.saturating_add(time),
        }
    }

    /// Removes what is known of an id. Returns the place that the stream gave to the revocation, or
    /// to its tombstone.
    fn clear(&mut self, id: &RevocationId, known: Option<Record>) -> Result<Place, RedbError> {
        let mut place = Place::default();
        let replaces = known.as_ref().map(|known| known.seq);
        if let Some(shares) = &mut self.shares {
            place = match known {
                Some(mut known) => shares.place(&mut known)?,
                None => shares.lifted(id, self.now)?.unwrap_or_default(),
            };
            shares.unbury(id)?;
        }
        if let Some(replaces) = replaces {
            self.remove(replaces)?;
        }
        Ok(place)
    }

    /// Stores a revocation; returns its number.
    fn insert(&mut self, revocation: &Revocation) -> Result<Seq, RedbError> {
        let expires = self.expires(revocation);
        let seq = self.number("seq")? + 1;
        self.numbers.insert("seq", seq)?;
        self.revocations.insert(seq, codec::row(revocation, expires, self.wall))?;
        self.ids.insert(revocation.id.as_str(), seq)?;
        if expires != NEVER {
            self.expiries.insert((expires, seq), ())?;
        }
        Ok(seq)
    }

    /// Stores a position, unless it is before the stored one in the same stream. One that
    /// `changes_stream` is stored in any case.
    pub(crate) fn advance(&mut self, to: Position, changes_stream: bool) -> Result<(), RedbError> {
        if changes_stream || to.supersedes(position(&self.numbers)?) {
            self.numbers.insert("position", to.sequence)?;
            self.numbers.insert("epoch_high", (to.epoch.0 >> 64) as u64)?;
            self.numbers.insert("epoch_low", to.epoch.0 as u64)?;
        }
        Ok(())
    }

    /// Returns how many records are not in the stream yet.
    pub(crate) fn unshared_count(&self) -> Result<u64, RedbError> {
        self.shares.as_ref().map_or(Ok(0), Shares::count)
    }

    /// See [`session::Log::lift`].
    pub(crate) fn lift(&mut self, id: &RevocationId) -> Result<Option<Record>, RedbError> {
        let known = self.find(id)?;
        if let Some(known) = &known {
            self.remove(known.seq)?;
        }
        Ok(known)
    }

    /// Stores a receipt, unless its revocation has been removed.
    pub(crate) fn receipt(&mut self, seq: Seq, node: &NodeName, receipt: &Receipt) -> Result<(), RedbError> {
        if let Some(outbox) = &mut self.outbox {
            outbox.applied(seq, node, receipt)?;
        }
        if self.revocations.get(seq)?.is_some() {
            self.receipts.insert((seq, node.as_str()), codec::receipt_row(receipt))?;
        }
        Ok(())
    }

    /// Removes up to `limit` expired revocations and tombstones; returns how many.
    pub(crate) fn expire(&mut self, limit: usize) -> Result<usize, RedbError> {
        let mut over = Vec::new();
        for end in self.expiries.range(..(self.now.saturating_add(1), 0))?.take(limit) {
            over.push(end?.0.value().1);
        }
        for seq in &over {
            self.remove(*seq)?;
        }
        match &mut self.shares {
            Some(shares) => Ok(over.len() + shares.expire(limit - over.len(), self.now)?),
            None => Ok(over.len()),
        }
    }

    /// Stores the reading of the clock and the last line of the audit log.
    pub(crate) fn note(&mut self, stamp: &Stamp, audit: &ChainHead) -> Result<(), RedbError> {
        self.texts.insert("boot", stamp.boot.as_str())?;
        self.numbers.insert("uptime", stamp.uptime)?;
        self.numbers.insert("folder", stamp.folder)?;
        self.numbers.insert("audit", audit.seq)?;
        self.texts.insert("audit", audit.hash.as_str())?;
        Ok(())
    }

    fn find(&self, id: &RevocationId) -> Result<Option<Record>, RedbError> {
        let Some(seq) = self.ids.get(id.as_str())?.map(|seq| seq.value()) else { return Ok(None) };
        record_of(&self.revocations, &self.receipts, seq, self.now)
    }

    fn remove(&mut self, seq: Seq) -> Result<(), RedbError> {
        let Some(row) = self.revocations.remove(seq)? else { return Ok(()) };
        let row = row.value();
        self.expiries.remove((codec::expires_of(&row), seq))?;
        // A later revocation may use the id by now, since this one had expired.
        let id = codec::id_of(&row);
        if self.ids.get(id)?.is_some_and(|named| named.value() == seq) {
            self.ids.remove(id)?;
        }
        self.receipts.retain_in((seq, "")..(seq + 1, ""), |_, _| false)?;
        if let Some(outbox) = &mut self.outbox {
            outbox.removed(seq)?;
        }
        self.shares.as_mut().map_or(Ok(()), |shares| shares.remove(seq))
    }

    fn number(&self, name: &str) -> Result<u64, RedbError> {
        Ok(self.numbers.get(name)?.map_or(0, |number| number.value()))
    }
}
