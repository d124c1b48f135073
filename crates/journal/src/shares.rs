//! What a node in a cluster also stores: where the stream has each revocation, which revocations
//! are not in it yet, and which were lifted. The log of a node without a cluster has none of this.

use std::collections::HashSet;
use std::time::Duration;

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table,
    WriteTransaction,
};
use session::{
    Epoch, LIFT_KEPT, Operation, Place, Position, Record, RevocationId, Seq, SharedState, StateCursor,
    StatePage,
};

use crate::codec::{
    self, LIFT_EXPIRIES, LIFTS, LiftRow, NEVER, NUMBERS, PLACES, PlaceRow, REVOCATIONS, UNSHARED,
};
use crate::store::RedbError;

/// Prepares a store for a node that is in a cluster, or is not.
///
/// If the node has come into a cluster, the stream lacks what it had revoked alone, so that becomes
/// unshared. Revocations that only disconnected are left out: they have had their effect. The
/// position goes back to the beginning of the stream, as the node has lifted and extended without
/// it.
pub(crate) fn join(store: &Database, clustered: bool) -> Result<(), RedbError> {
    let flag = u64::from(clustered);
    let known = store.begin_read()?.open_table(NUMBERS)?.get("clustered")?.map_or(0, |known| known.value());
    if known == flag {
        return Ok(());
    }
    let write = store.begin_write()?;
    {
        let mut numbers = write.open_table(NUMBERS)?;
        numbers.insert("clustered", flag)?;
        if clustered {
            numbers.insert("position", 0)?;
            let revocations = write.open_table(REVOCATIONS)?;
            let (mut places, mut unshared) = (write.open_table(PLACES)?, write.open_table(UNSHARED)?);
            // Left by removals while the node was in no cluster.
            let known =
                revocations.iter()?.map(|row| Ok(row?.0.value())).collect::<Result<_, RedbError>>()?;
            let known: HashSet<Seq> = known;
            places.retain(|seq, _| known.contains(&seq))?;
            unshared.retain(|seq, ()| known.contains(&seq))?;
            for row in revocations.iter()? {
                let (seq, row) = row?;
                if !codec::disconnects(&row.value()) && places.get(seq.value())?.is_none() {
                    unshared.insert(seq.value(), ())?;
                }
            }
        }
    }
    Ok(write.commit()?)
}

/// Returns how many records are not in the stream yet.
pub(crate) fn unshared_count(store: &Database) -> Result<u64, RedbError> {
    Ok(store.begin_read()?.open_table(UNSHARED)?.len()?)
}

/// Returns records that are not in the stream yet, the oldest first.
pub(crate) fn unshared(
    store: &Database,
    after: Seq,
    limit: usize,
    now: u64,
) -> Result<Vec<Record>, RedbError> {
    let read = store.begin_read()?;
    let (revocations, unshared) = (read.open_table(REVOCATIONS)?, read.open_table(UNSHARED)?);
    let mut records = Vec::new();
    for row in unshared.range(after.saturating_add(1)..)? {
        if records.len() >= limit {
            break;
        }
        let seq = row?.0.value();
        if let Some(row) = revocations.get(seq)?
            && codec::expires_of(&row.value()) > now
        {
            let mut record = codec::record(seq, &row.value(), now)?;
            read_place(&read, &mut record)?;
            records.push(record);
        }
    }
    Ok(records)
}

/// Adds to a record where the stream has it.
pub(crate) fn read_place(read: &ReadTransaction, record: &mut Record) -> Result<(), RedbError> {
    add_place(record, &read.open_table(PLACES)?, &read.open_table(UNSHARED)?)
}

fn add_place(
    record: &mut Record,
    places: &impl ReadableTable<Seq, PlaceRow>,
    unshared: &impl ReadableTable<Seq, ()>,
) -> Result<(), RedbError> {
    if let Some(place) = places.get(record.seq)? {
        record.revision = place.value().0;
        record.in_stream = unshared.get(record.seq)?.is_none();
    }
    Ok(())
}

/// Returns a page of the states of all revocations, and of all lifts after them.
pub(crate) fn states(
    store: &Database,
    after: Option<&StateCursor>,
    limit: usize,
    now: u64,
) -> Result<StatePage, RedbError> {
    let read = store.begin_read()?;
    let mut page = StatePage::default();
    let (places, unshared) = (read.open_table(PLACES)?, read.open_table(UNSHARED)?);
    let first = match after {
        None => Some(0),
        Some(StateCursor::Revocation(seq)) => Some(seq.saturating_add(1)),
        Some(StateCursor::Lift(_)) => None,
    };
    if let Some(first) = first {
        for row in read.open_table(REVOCATIONS)?.range(first..)? {
            if page.states.len() >= limit {
                return Ok(page);
            }
            let (seq, row) = row?;
            let mut record = codec::record(seq.value(), &row.value(), now)?;
            if codec::expires_of(&row.value()) > now && !record.revocation.is_local() {
                add_place(&mut record, &places, &unshared)?;
                page.next = Some(StateCursor::Revocation(record.seq));
                page.states.push(record.into());
            }
        }
    }
    let first = match after {
        Some(StateCursor::Lift(id)) => (id.as_str(), true),
        _ => ("", false),
    };
    for row in read.open_table(LIFTS)?.range(first.0..)? {
        if page.states.len() >= limit {
            return Ok(page);
        }
        let (id, row) = row?;
        let (revision, _, _, expires) = row.value();
        if expires > now && !(first.1 && id.value() == first.0) {
            let id = RevocationId::new(id.value()).map_err(codec::RowError::from)?;
            page.next = Some(StateCursor::Lift(id.clone()));
            let left = codec::left(expires, now);
            page.states.push(SharedState { operation: Operation::Lift { id, by: None }, revision, left });
        }
    }
    page.next = None;
    Ok(page)
}

/// Returns the revision of the lift of an id.
pub(crate) fn lifted(store: &Database, id: &RevocationId, now: u64) -> Result<Option<u32>, RedbError> {
    let row = store.begin_read()?.open_table(LIFTS)?.get(id.as_str())?.map(|row| row.value());
    Ok(row.filter(|row| row.3 > now).map(|row| row.0))
}

/// The tables of a commit.
pub(crate) struct Shares<'c> {
    places: Table<'c, Seq, PlaceRow>,
    unshared: Table<'c, Seq, ()>,
    lifts: Table<'c, &'static str, LiftRow>,
    lift_expiries: Table<'c, (u64, &'static str), ()>,
}

impl<'c> Shares<'c> {
    pub(crate) fn open(write: &'c WriteTransaction) -> Result<Self, RedbError> {
        Ok(Self {
            places: write.open_table(PLACES)?,
            unshared: write.open_table(UNSHARED)?,
            lifts: write.open_table(LIFTS)?,
            lift_expiries: write.open_table(LIFT_EXPIRIES)?,
        })
    }

    pub(crate) fn count(&self) -> Result<u64, RedbError> {
        Ok(self.unshared.len()?)
    }

    /// Adds to a record where the stream has it; returns that place.
    pub(crate) fn place(&self, record: &mut Record) -> Result<Place, RedbError> {
        add_place(record, &self.places, &self.unshared)?;
        Ok(self.places.get(record.seq)?.map_or_else(Place::default, |row| place(row.value())))
    }

    /// Returns the place of the tombstone of an id.
    pub(crate) fn lifted(&self, id: &RevocationId, now: u64) -> Result<Option<Place>, RedbError> {
        let row = self.lifts.get(id.as_str())?.map(|row| row.value()).filter(|row| row.3 > now);
        Ok(row.map(|(revision, epoch, sequence, _)| place((revision, epoch, sequence))))
    }

    /// Stores where the stream has a record. If it is not `in_stream`, that is the place of its
    /// predecessor.
    pub(crate) fn set(&mut self, seq: Seq, place: Place, in_stream: bool) -> Result<(), RedbError> {
        if place != Place::default() {
            let Position { epoch, sequence } = place.position;
            self.places.insert(seq, (place.revision, epoch.0, sequence))?;
        }
        match in_stream {
            true => self.unshared.remove(seq)?,
            false => self.unshared.insert(seq, ())?,
        };
        Ok(())
    }

    pub(crate) fn remove(&mut self, seq: Seq) -> Result<(), RedbError> {
        self.places.remove(seq)?;
        self.unshared.remove(seq)?;
        Ok(())
    }

    /// Moves the place of a tombstone.
    pub(crate) fn move_lift(&mut self, id: &RevocationId, place: Place) -> Result<(), RedbError> {
        let Some(expires) = self.lifts.get(id.as_str())?.map(|row| row.value().3) else { return Ok(()) };
        self.insert_lift(id, place, expires)
    }

    /// Leaves a tombstone for what was left of a revocation and [`LIFT_KEPT`]. It never expires
    /// earlier than the one that it replaces.
    pub(crate) fn bury(
        &mut self,
        id: &RevocationId,
        place: Place,
        left: Duration,
        now: u64,
    ) -> Result<(), RedbError> {
        let known = self.unbury(id)?.unwrap_or(0);
        let expires = match codec::millis(left.saturating_add(LIFT_KEPT)) {
            NEVER => NEVER,
            kept => now.saturating_add(kept),
        };
        let expires = expires.max(known);
        if expires != NEVER {
            self.lift_expiries.insert((expires, id.as_str()), ())?;
        }
        self.insert_lift(id, place, expires)
    }

    fn insert_lift(&mut self, id: &RevocationId, place: Place, expires: u64) -> Result<(), RedbError> {
        let Position { epoch, sequence } = place.position;
        self.lifts.insert(id.as_str(), (place.revision, epoch.0, sequence, expires))?;
        Ok(())
    }

    /// Removes a tombstone; returns when it would have expired.
    pub(crate) fn unbury(&mut self, id: &RevocationId) -> Result<Option<u64>, RedbError> {
        let expires = self.lifts.remove(id.as_str())?.map(|row| row.value().3);
        if let Some(expires) = expires {
            self.lift_expiries.remove((expires, id.as_str()))?;
        }
        Ok(expires)
    }

    /// Removes up to `limit` expired tombstones; returns how many.
    pub(crate) fn expire(&mut self, limit: usize, now: u64) -> Result<usize, RedbError> {
        let mut expired = Vec::new();
        for row in self.lift_expiries.range(..(now.saturating_add(1), ""))?.take(limit) {
            let (expires, id) = row.map(|row| (row.0.value().0, row.0.value().1.to_owned()))?;
            expired.push((expires, id));
        }
        for (expires, id) in &expired {
            self.lift_expiries.remove((*expires, id.as_str()))?;
            self.lifts.remove(id.as_str())?;
        }
        Ok(expired.len())
    }
}

fn place((revision, epoch, sequence): PlaceRow) -> Place {
    Place { position: Position { epoch: Epoch(epoch), sequence }, revision }
}
