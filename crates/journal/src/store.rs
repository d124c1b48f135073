//! The revocation log in its store: reading it, and the transaction that one commit is.

use redb::{Database, ReadableDatabase, ReadableTable, Table, WriteTransaction};
use session::{Appended, Receipt, Record, Revocation, RevocationId, Seq, Standing};

use crate::audit::Head;
use crate::clock::Stamp;
use crate::codec::{self, ENDS, IDS, NEVER, NUMBERS, RECEIPTS, REVOCATIONS, RowError, TEXTS};

/// The format that this program writes, and the newest it reads.
pub(crate) const FORMAT: u64 = 1;

/// Reading or writing failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{0}")]
    Store(#[from] redb::Error),
    #[error("{0}")]
    Row(#[from] RowError),
}

/// Each of the store's many error types is one to us.
macro_rules! from_store {
    ($($error:ident)+) => {$(
        impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                Self::Store(error.into())
            }
        }
    )+};
}
from_store! { StorageError TableError TransactionError CommitError DatabaseError SetDurabilityError }

/// Makes the tables of a new store.
pub(crate) fn fill(store: &Database) -> Result<(), redb::Error> {
    let write = store.begin_write()?;
    write.open_table(REVOCATIONS)?;
    write.open_table(RECEIPTS)?;
    write.open_table(IDS)?;
    write.open_table(ENDS)?;
    write.open_table(TEXTS)?;
    write.open_table(NUMBERS)?.insert("format", FORMAT)?;
    write.commit()?;
    Ok(())
}

/// The format of a store; 0 where it has none.
pub(crate) fn format(store: &Database) -> Result<u64, StoreError> {
    Ok(store.begin_read()?.open_table(NUMBERS)?.get("format")?.map_or(0, |format| format.value()))
}

/// Where the folder's clock stood at the last commit.
pub(crate) fn stamp(store: &Database) -> Result<Option<Stamp>, StoreError> {
    let read = store.begin_read()?;
    let (texts, numbers) = (read.open_table(TEXTS)?, read.open_table(NUMBERS)?);
    let Some(boot) = texts.get("boot")? else { return Ok(None) };
    let number = |name| Ok::<_, StoreError>(numbers.get(name)?.map_or(0, |number| number.value()));
    Ok(Some(Stamp { boot: boot.value().to_owned(), uptime: number("uptime")?, folder: number("folder")? }))
}

/// The last line of the audit log that was written before the last commit.
pub(crate) fn audit_head(store: &impl ReadableDatabase) -> Result<Head, StoreError> {
    let read = store.begin_read()?;
    let seq = read.open_table(NUMBERS)?.get("audit")?.map_or(0, |seq| seq.value());
    let hash = read.open_table(TEXTS)?.get("audit")?.map(|hash| hash.value().to_owned());
    Ok(hash.map_or_else(Head::default, |hash| Head { seq, hash }))
}

/// All revocations in force.
pub(crate) fn load(store: &Database, now: u64, each: &mut dyn FnMut(Standing)) -> Result<(), StoreError> {
    for row in store.begin_read()?.open_table(REVOCATIONS)?.iter()? {
        let (seq, row) = row?;
        if let Some(standing) = codec::standing(seq.value(), &row.value(), now)? {
            each(standing);
        }
    }
    Ok(())
}

/// A revocation by its id.
pub(crate) fn find(store: &Database, id: &RevocationId, now: u64) -> Result<Option<Record>, StoreError> {
    let read = store.begin_read()?;
    let Some(seq) = read.open_table(IDS)?.get(id.as_str())? else { return Ok(None) };
    record_of(&read.open_table(REVOCATIONS)?, &read.open_table(RECEIPTS)?, seq.value(), now)
}

/// Revocations, the youngest first.
pub(crate) fn page(
    store: &Database,
    before: Option<Seq>,
    limit: usize,
    now: u64,
) -> Result<Vec<Record>, StoreError> {
    let read = store.begin_read()?;
    let (revocations, receipts) = (read.open_table(REVOCATIONS)?, read.open_table(RECEIPTS)?);
    let mut page = Vec::new();
    for row in revocations.range(..before.unwrap_or(Seq::MAX))?.rev() {
        if page.len() >= limit {
            break;
        }
        let (seq, row) = row?;
        if codec::ends_of(&row.value()) > now {
            let receipt = receipts.get(seq.value())?.map(|receipt| receipt.value());
            page.push(codec::record(seq.value(), &row.value(), receipt, now)?);
        }
    }
    Ok(page)
}

fn record_of(
    revocations: &impl ReadableTable<Seq, codec::Row>,
    receipts: &impl ReadableTable<Seq, codec::ReceiptRow>,
    seq: Seq,
    now: u64,
) -> Result<Option<Record>, StoreError> {
    let Some(row) = revocations.get(seq)? else { return Ok(None) };
    if codec::ends_of(&row.value()) <= now {
        return Ok(None);
    }
    let receipt = receipts.get(seq)?.map(|receipt| receipt.value());
    Ok(Some(codec::record(seq, &row.value(), receipt, now)?))
}

/// One commit: what it changes is on disk together, or not at all.
pub(crate) struct Commit(WriteTransaction);

/// The tables of a commit while it is being made.
pub(crate) struct Tables<'c> {
    revocations: Table<'c, Seq, codec::Row>,
    receipts: Table<'c, Seq, codec::ReceiptRow>,
    ids: Table<'c, &'static str, Seq>,
    ends: Table<'c, (u64, Seq), ()>,
    numbers: Table<'c, &'static str, u64>,
    texts: Table<'c, &'static str, &'static str>,
    now: u64,
    wall: u64,
}

impl Commit {
    pub(crate) fn begin(store: &Database) -> Result<Self, StoreError> {
        Ok(Self(store.begin_write()?))
    }

    pub(crate) fn tables(&self, now: u64, wall: u64) -> Result<Tables<'_>, StoreError> {
        Ok(Tables {
            revocations: self.0.open_table(REVOCATIONS)?,
            receipts: self.0.open_table(RECEIPTS)?,
            ids: self.0.open_table(IDS)?,
            ends: self.0.open_table(ENDS)?,
            numbers: self.0.open_table(NUMBERS)?,
            texts: self.0.open_table(TEXTS)?,
            now,
            wall,
        })
    }

    /// Returns once it is on disk.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        Ok(self.0.commit()?)
    }
}

impl Tables<'_> {
    /// See [`session::Log::append`].
    pub(crate) fn append(&mut self, revocation: &Revocation) -> Result<Appended, StoreError> {
        let ends = match codec::millis(revocation.kept_for()) {
            NEVER => NEVER,
            time => self.now.saturating_add(time),
        };
        let mut replaces = None;
        if let Some(known) = self.find(&revocation.id)? {
            if !known.revocation.is_same(revocation) {
                return Ok(Appended::Conflict);
            }
            if !revocation.extends || ends <= self.now.saturating_add(codec::millis(known.left)) {
                return Ok(Appended::Known(Box::new(known)));
            }
            replaces = Some(known.seq);
            self.remove(known.seq)?;
        }
        let seq = self.number("seq")? + 1;
        self.numbers.insert("seq", seq)?;
        self.revocations.insert(seq, codec::row(revocation, ends, self.wall))?;
        self.ids.insert(revocation.id.as_str(), seq)?;
        if ends != NEVER {
            self.ends.insert((ends, seq), ())?;
        }
        Ok(Appended::New { seq, replaces })
    }

    /// See [`session::Log::lift`].
    pub(crate) fn lift(&mut self, id: &RevocationId) -> Result<Option<Record>, StoreError> {
        let known = self.find(id)?;
        if let Some(known) = &known {
            self.remove(known.seq)?;
        }
        Ok(known)
    }

    /// Keeps a receipt, unless its revocation is gone.
    pub(crate) fn receipt(&mut self, seq: Seq, receipt: &Receipt) -> Result<(), StoreError> {
        if self.revocations.get(seq)?.is_some() {
            self.receipts.insert(seq, codec::receipt_row(receipt))?;
        }
        Ok(())
    }

    /// Forgets up to `most` revocations that are over; returns how many those were.
    pub(crate) fn expire(&mut self, most: usize) -> Result<usize, StoreError> {
        let mut over = Vec::new();
        for end in self.ends.range(..(self.now.saturating_add(1), 0))?.take(most) {
            over.push(end?.0.value().1);
        }
        for seq in &over {
            self.remove(*seq)?;
        }
        Ok(over.len())
    }

    /// Notes where the clock and the audit log stand.
    pub(crate) fn note(&mut self, stamp: &Stamp, audit: &Head) -> Result<(), StoreError> {
        self.texts.insert("boot", stamp.boot.as_str())?;
        self.numbers.insert("uptime", stamp.uptime)?;
        self.numbers.insert("folder", stamp.folder)?;
        self.numbers.insert("audit", audit.seq)?;
        self.texts.insert("audit", audit.hash.as_str())?;
        Ok(())
    }

    fn find(&self, id: &RevocationId) -> Result<Option<Record>, StoreError> {
        let Some(seq) = self.ids.get(id.as_str())?.map(|seq| seq.value()) else { return Ok(None) };
        record_of(&self.revocations, &self.receipts, seq, self.now)
    }

    fn remove(&mut self, seq: Seq) -> Result<(), StoreError> {
        let Some(row) = self.revocations.remove(seq)? else { return Ok(()) };
        let row = row.value();
        self.ends.remove((codec::ends_of(&row), seq))?;
        // A later revocation may have taken the id, since this one was over.
        let id = codec::id_of(&row);
        if self.ids.get(id)?.is_some_and(|named| named.value() == seq) {
            self.ids.remove(id)?;
        }
        self.receipts.remove(seq)?;
        Ok(())
    }

    fn number(&self, name: &str) -> Result<u64, StoreError> {
        Ok(self.numbers.get(name)?.map_or(0, |number| number.value()))
    }
}
