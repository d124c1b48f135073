//! The revocation log in its store: reads, and the transaction of a commit.

use redb::{Database, ReadableDatabase, ReadableTable, Table, WriteTransaction};
use session::{Appended, Entry, Mode, NodeName, Position, Receipt, Record, Revocation, RevocationId, Seq};

use crate::audit::ChainHead;
use crate::clock::Stamp;
use crate::codec::{
    self, EXPIRIES, IDS, NEVER, NUMBERS, RECEIPTS, RECEIPTS_1, REVOCATIONS, ReceiptRow, Row, RowError, TEXTS,
};

/// The format that this program writes, and the newest it reads.
pub(crate) const FORMAT: u64 = 2;

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
    write.open_table(NUMBERS)?.insert("format", FORMAT)?;
    write.commit()?;
    Ok(())
}

/// Returns the format of a store; 0 if it has none.
pub(crate) fn format(store: &Database) -> Result<u64, RedbError> {
    Ok(store.begin_read()?.open_table(NUMBERS)?.get("format")?.map_or(0, |format| format.value()))
}

/// Upgrades a store of format 1 to this one: its receipts become those of `node`.
pub(crate) fn upgrade(store: &Database, node: &NodeName) -> Result<(), RedbError> {
    let write = store.begin_write()?;
    {
        let mut receipts = write.open_table(RECEIPTS)?;
        for row in write.open_table(RECEIPTS_1)?.iter()? {
            let (seq, receipt) = row?;
            receipts.insert((seq.value(), node.as_str()), receipt.value())?;
        }
        write.open_table(NUMBERS)?.insert("format", FORMAT)?;
    }
    write.delete_table(RECEIPTS_1)?;
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
    let position = read.open_table(NUMBERS)?.get("position")?;
    Ok(Position(position.map_or(0, |position| position.value())))
}

/// Returns a revocation by its id.
pub(crate) fn find(store: &Database, id: &RevocationId, now: u64) -> Result<Option<Record>, RedbError> {
    let read = store.begin_read()?;
    let Some(seq) = read.open_table(IDS)?.get(id.as_str())? else { return Ok(None) };
    record_of(&read.open_table(REVOCATIONS)?, &read.open_table(RECEIPTS)?, seq.value(), now)
}

/// Returns revocations, the youngest first.
pub(crate) fn page(
    store: &Database,
    before: Option<Seq>,
    limit: usize,
    now: u64,
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
            page.push(with_receipts(codec::record(seq.value(), &row.value(), now)?, &receipts)?);
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
    now: u64,
    wall: u64,
}

impl Commit {
    pub(crate) fn begin(store: &Database) -> Result<Self, RedbError> {
        Ok(Self(store.begin_write()?))
    }

    pub(crate) fn tables(&self, now: u64, wall: u64) -> Result<Tables<'_>, RedbError> {
        Ok(Tables {
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

impl Tables<'_> {
    /// See [`session::Log::append`].
    pub(crate) fn append(&mut self, revocation: &Revocation) -> Result<Appended, RedbError> {
        let known = self.find(&revocation.id)?;
        if let Some(known) = &known {
            if !known.revocation.is_same(revocation) {
                return Ok(Appended::Conflict);
            }
            if !revocation.extends || self.outlasts(known, revocation) {
                return Ok(Appended::Known(Box::new(known.clone())));
            }
        }
        let (seq, replaces) = self.replace(known, revocation)?;
        Ok(Appended::New { seq, replaces })
    }

    /// Stores a revocation of another node; see [`session::Log::record`].
    pub(crate) fn adopt(&mut self, revocation: &Revocation) -> Result<Option<Entry>, RedbError> {
        let known = self.find(&revocation.id)?;
        if let Some(known) = &known
            && known.revocation.is_same(revocation)
            && self.outlasts(known, revocation)
        {
            return Ok(None);
        }
        let (seq, replaces) = self.replace(known, revocation)?;
        Ok(Some(Entry::Revoked { seq, revocation: revocation.clone(), replaces }))
    }

    fn outlasts(&self, known: &Record, revocation: &Revocation) -> bool {
        revocation.mode == Mode::Disconnect
            || self.expires(revocation) <= self.now.saturating_add(codec::millis(known.left))
    }

    /// Returns when a revocation that is accepted now expires, on the folder's clock.
    fn expires(&self, revocation: &Revocation) -> u64 {
        match codec::millis(revocation.kept_for()) {
            NEVER => NEVER,
            time => self.now.saturating_add(time),
        }
    }

    /// Stores a revocation, in place of `known`; returns their numbers.
    fn replace(
        &mut self,
        known: Option<Record>,
        revocation: &Revocation,
    ) -> Result<(Seq, Option<Seq>), RedbError> {
        let replaces = known.map(|known| known.seq);
        if let Some(replaces) = replaces {
            self.remove(replaces)?;
        }
        let expires = self.expires(revocation);
        let seq = self.number("seq")? + 1;
        self.numbers.insert("seq", seq)?;
        self.revocations.insert(seq, codec::row(revocation, expires, self.wall))?;
        self.ids.insert(revocation.id.as_str(), seq)?;
        if expires != NEVER {
            self.expiries.insert((expires, seq), ())?;
        }
        Ok((seq, replaces))
    }

    /// Stores the position of the last operation of another node. Never moves it back.
    pub(crate) fn advance(&mut self, position: Position) -> Result<(), RedbError> {
        if position.0 > self.number("position")? {
            self.numbers.insert("position", position.0)?;
        }
        Ok(())
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
        if self.revocations.get(seq)?.is_some() {
            self.receipts.insert((seq, node.as_str()), codec::receipt_row(receipt))?;
        }
        Ok(())
    }

    /// Removes up to `limit` expired revocations; returns how many.
    pub(crate) fn expire(&mut self, limit: usize) -> Result<usize, RedbError> {
        let mut over = Vec::new();
        for end in self.expiries.range(..(self.now.saturating_add(1), 0))?.take(limit) {
            over.push(end?.0.value().1);
        }
        for seq in &over {
            self.remove(*seq)?;
        }
        Ok(over.len())
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
        Ok(())
    }

    fn number(&self, name: &str) -> Result<u64, RedbError> {
        Ok(self.numbers.get(name)?.map_or(0, |number| number.value()))
    }
}
