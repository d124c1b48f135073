//! The log in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::clock::{Clock, Monotonic};
use crate::log::{
    Appended, Appending, Entry, LIFT_KEPT, Log, LogError, Operation, Replaced, SharedState, StateCursor,
    StatePage,
};
use crate::node_name::NodeName;
use crate::place::{KnownState, Place, Position, StateChange};
use crate::revocation::{Mode, Receipt, Record, Revocation, RevocationId, Seq};
use crate::sync::Mutex;

/// Stores revocations in memory. A restart loses them; a log that is shared by [`Arc`] outlives its
/// sessions.
pub struct MemoryLog {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    records: BTreeMap<Seq, Stored>,
    ids: HashMap<RevocationId, Seq>,
    expiries: BTreeSet<(Instant, Seq)>,
    tombstones: BTreeMap<RevocationId, Tombstone>,
    tombstone_expiries: BTreeSet<(Instant, RevocationId)>,
    last: Seq,
    position: Position,
    unshared: u64,
}

struct Stored {
    revocation: Revocation,
    accepted_at: SystemTime,
    /// `None` if it is beyond the range of the clock.
    expires: Option<Instant>,
    receipts: BTreeMap<NodeName, Receipt>,
    place: Place,
    /// The stream has it, or never will: it is local.
    in_stream: bool,
}

/// What is left of a revocation that was lifted.
struct Tombstone {
    place: Place,
    /// `None` if it is beyond the range of the clock.
    expires: Option<Instant>,
}

impl MemoryLog {
    /// Returns an empty log.
    pub fn new() -> Self {
        Self::with_clock(Monotonic)
    }

    /// Returns an empty log on another clock.
    pub fn with_clock(clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), kept: Mutex::default() }
    }

    /// Runs `act` on what is live.
    fn live<T>(&self, act: impl FnOnce(&mut Kept, Instant) -> T) -> T {
        let now = self.clock.now();
        let mut kept = self.kept.lock();
        kept.expire(now);
        act(&mut kept, now)
    }
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new()
    }
}

impl Log for MemoryLog {
    fn load(&self, each: &mut dyn FnMut(Entry)) -> Result<Position, LogError> {
        self.live(|kept, now| {
            let in_force = kept.records.iter().filter(|(_, stored)| stored.revocation.mode == Mode::Revoke);
            for (seq, stored) in in_force {
                each(Entry::Revoked { seq: *seq, revocation: stored.remaining(now), replaces: None });
            }
            Ok(kept.position)
        })
    }

    fn append(&self, revocation: &Revocation) -> Result<Appended, LogError> {
        self.live(|kept, now| {
            let wall = self.clock.wall();
            let Some((seq, known)) = kept.known(&revocation.id) else {
                let place = kept.unbury(&revocation.id).map(|tombstone| tombstone.place);
                let is_local = revocation.is_local();
                let place = place.filter(|_| !is_local).unwrap_or_default();
                return Ok(Appended::New { seq: kept.insert(revocation, now, wall, place, is_local) });
            };
            match revocation.appending(&known.revocation, known.left(now)) {
                Appending::Conflict => Ok(Appended::Conflict),
                Appending::Known => {
                    let record = known.record(seq, now);
                    // The other nodes may have lifted it, and do not know that it is wanted again.
                    if revocation.extends && !revocation.is_standing() {
                        kept.unshare(seq);
                    }
                    Ok(Appended::Known(Box::new(record)))
                }
                Appending::Extended(extended) => {
                    let (replaces, place) = (known.replaced(seq), known.place);
                    kept.remove(seq);
                    let seq = kept.insert(&extended, now, wall, place, false);
                    Ok(Appended::Extended { seq, replaces, revocation: Box::new(extended) })
                }
            }
        })
    }

    fn unshare(&self, id: &RevocationId) -> Result<(), LogError> {
        self.live(|kept, _| {
            let seq = kept.known(id).filter(|(_, known)| !known.revocation.is_local()).map(|(seq, _)| seq);
            seq.into_iter().for_each(|seq| kept.unshare(seq));
            Ok(())
        })
    }

    fn lift(&self, id: &RevocationId, _: Option<&str>) -> Result<Option<Record>, LogError> {
        self.live(|kept, now| {
            let Some(seq) = kept.ids.get(id).copied() else { return Ok(None) };
            Ok(kept.remove(seq).map(|stored| stored.record(seq, now)))
        })
    }

    fn record(&self, operations: &[(Operation, Place)]) -> Result<Vec<Option<Entry>>, LogError> {
        let wall = self.clock.wall();
        self.live(|kept, now| {
            if let Some((_, last)) = operations.last() {
                kept.advance(last.position);
            }
            Ok(operations
                .iter()
                .map(|(operation, place)| kept.record(operation, *place, now, wall))
                .collect())
        })
    }

    fn advance(&self, position: Position) {
        self.kept.lock().advance(position);
    }

    fn unshared(&self, after: Seq, limit: usize) -> Result<Vec<Record>, LogError> {
        self.live(|kept, now| {
            let later = kept.records.range((Bound::Excluded(after), Bound::Unbounded));
            let unshared = later.filter(|(_, stored)| !stored.in_stream).take(limit);
            Ok(unshared.map(|(seq, stored)| stored.record(*seq, now)).collect())
        })
    }

    fn unshared_count(&self) -> u64 {
        self.kept.lock().unshared
    }

    fn states(&self, after: Option<&StateCursor>, limit: usize) -> Result<StatePage, LogError> {
        self.live(|kept, now| {
            let (seq, id) = match after {
                None => (Bound::Unbounded, Bound::Unbounded),
                Some(StateCursor::Revocation(seq)) => (Bound::Excluded(*seq), Bound::Unbounded),
                Some(StateCursor::Lift(id)) => (Bound::Excluded(Seq::MAX), Bound::Excluded(id.clone())),
            };
            let records = kept.records.range((seq, Bound::Unbounded));
            let records = records.filter(|(_, stored)| !stored.revocation.is_local());
            let records = records.map(|(seq, stored)| {
                let state = SharedState {
                    operation: Operation::Revoke(stored.remaining(now)),
                    revision: stored.place.revision + u32::from(!stored.in_stream),
                    left: stored.left(now),
                };
                (StateCursor::Revocation(*seq), state)
            });
            let lifts = kept.tombstones.range((id, Bound::Unbounded)).map(|(id, tombstone)| {
                let operation = Operation::Lift { id: id.clone(), by: None };
                let (revision, left) = (tombstone.place.revision, left(tombstone.expires, now));
                (StateCursor::Lift(id.clone()), SharedState { operation, revision, left })
            });
            let (cursors, states): (Vec<_>, Vec<_>) = records.chain(lifts).take(limit).unzip();
            let next = cursors.into_iter().nth(limit.saturating_sub(1));
            Ok(StatePage { states, next })
        })
    }

    fn lifted(&self, id: &RevocationId) -> Result<Option<u32>, LogError> {
        self.live(|kept, _| Ok(kept.tombstones.get(id).map(|tombstone| tombstone.place.revision)))
    }

    fn receipt(&self, seq: Seq, node: &NodeName, receipt: Receipt) {
        if let Some(stored) = self.kept.lock().records.get_mut(&seq) {
            stored.receipts.insert(node.clone(), receipt);
        }
    }

    fn find(&self, id: &RevocationId) -> Result<Option<Record>, LogError> {
        self.live(|kept, now| Ok(kept.known(id).map(|(seq, stored)| stored.record(seq, now))))
    }

    fn page(&self, before: Option<Seq>, limit: usize) -> Result<Vec<Record>, LogError> {
        self.live(|kept, now| {
            let end = before.map_or(Bound::Unbounded, Bound::Excluded);
            let youngest = kept.records.range((Bound::Unbounded, end)).rev().take(limit);
            Ok(youngest.map(|(seq, stored)| stored.record(*seq, now)).collect())
        })
    }
}

impl Kept {
    fn known(&self, id: &RevocationId) -> Option<(Seq, &Stored)> {
        let seq = *self.ids.get(id)?;
        Some((seq, &self.records[&seq]))
    }

    /// See [`Log::record`].
    fn record(
        &mut self,
        operation: &Operation,
        place: Place,
        now: Instant,
        wall: SystemTime,
    ) -> Option<Entry> {
        let id = operation.id();
        match self.change(operation, place, now) {
            StateChange::Nothing => None,
            StateChange::Noted { in_stream } => {
                if let Some(seq) = self.ids.get(id).copied() {
                    self.note(seq, place, in_stream);
                } else if let Some(tombstone) = self.tombstones.get_mut(id) {
                    tombstone.place = place.latest(tombstone.place);
                }
                None
            }
            StateChange::Extended { in_stream } => {
                let seq = self.ids.get(id).copied()?;
                self.note(seq, place, in_stream);
                self.extend(seq, operation, now)
            }
            StateChange::Taken => match operation {
                Operation::Revoke(revocation) => {
                    let replaces = self.known(id).map(|(seq, stored)| stored.replaced(seq));
                    match &replaces {
                        Some(replaced) => drop(self.remove(replaced.seq)),
                        None => drop(self.unbury(id)),
                    }
                    let seq = self.insert(revocation, now, wall, place, true);
                    Some(Entry::Revoked { seq, revocation: revocation.clone(), replaces })
                }
                Operation::Lift { .. } => {
                    let of = self.ids.get(id).copied();
                    let lifted = of.and_then(|of| self.remove(of));
                    let left = lifted.as_ref().map_or(Duration::ZERO, |lifted| lifted.left(now));
                    self.bury(id, place, now.checked_add(left.saturating_add(LIFT_KEPT)));
                    Some(Entry::Lifted { of: of?, selector: lifted?.revocation.selector })
                }
            },
        }
    }

    fn change(&self, operation: &Operation, place: Place, now: Instant) -> StateChange {
        let id = operation.id();
        let known = match (self.known(id), self.tombstones.get(id)) {
            (Some((_, stored)), _) => KnownState {
                revocation: Some((&stored.revocation, stored.left(now))),
                place: stored.place,
                in_stream: stored.in_stream,
            },
            (None, Some(tombstone)) => {
                KnownState { revocation: None, place: tombstone.place, in_stream: true }
            }
            (None, None) => return StateChange::Taken,
        };
        known.change(operation, place)
    }

    fn note(&mut self, seq: Seq, place: Place, in_stream: bool) {
        let Some(stored) = self.records.get_mut(&seq) else { return };
        stored.place = place.latest(stored.place);
        self.unshared -= u64::from(in_stream && !stored.in_stream);
        stored.in_stream |= in_stream;
    }

    fn unshare(&mut self, seq: Seq) {
        let Some(stored) = self.records.get_mut(&seq) else { return };
        self.unshared += u64::from(stored.in_stream);
        stored.in_stream = false;
    }

    fn extend(&mut self, seq: Seq, operation: &Operation, now: Instant) -> Option<Entry> {
        let (Operation::Revoke(other), Some(stored)) = (operation, self.records.get_mut(&seq)) else {
            return None;
        };
        if let Some(known) = stored.expires {
            self.expiries.remove(&(known, seq));
        }
        stored.expires = now.checked_add(stored.left(now).max(other.validity));
        self.expiries.extend(stored.expires.map(|expires| (expires, seq)));
        stored.revocation = stored.revocation.extended_by(other);
        Some(Entry::Revoked { seq, revocation: stored.remaining(now), replaces: None })
    }

    fn insert(
        &mut self,
        revocation: &Revocation,
        now: Instant,
        wall: SystemTime,
        place: Place,
        in_stream: bool,
    ) -> Seq {
        self.last += 1;
        let seq = self.last;
        let expires = now.checked_add(revocation.kept_for());
        self.expiries.extend(expires.map(|expires| (expires, seq)));
        self.ids.insert(revocation.id.clone(), seq);
        self.unshared += u64::from(!in_stream);
        let stored = Stored {
            revocation: revocation.clone(),
            accepted_at: wall,
            expires,
            receipts: BTreeMap::new(),
            place,
            in_stream,
        };
        self.records.insert(seq, stored);
        seq
    }

    /// Leaves a tombstone. It never expires earlier than the one that it replaces.
    fn bury(&mut self, id: &RevocationId, place: Place, mut expires: Option<Instant>) {
        if let Some(known) = self.unbury(id) {
            expires = expires.and_then(|expires| known.expires.map(|known| known.max(expires)));
        }
        self.tombstone_expiries.extend(expires.map(|expires| (expires, id.clone())));
        self.tombstones.insert(id.clone(), Tombstone { place, expires });
    }

    fn unbury(&mut self, id: &RevocationId) -> Option<Tombstone> {
        let tombstone = self.tombstones.remove(id)?;
        if let Some(expires) = tombstone.expires {
            self.tombstone_expiries.remove(&(expires, id.clone()));
        }
        Some(tombstone)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((expires, seq)) = self.expiries.first().copied()
            && expires <= now
        {
            self.expiries.remove(&(expires, seq));
            self.remove(seq);
        }
        while self.tombstone_expiries.first().is_some_and(|(expires, _)| *expires <= now)
            && let Some((_, id)) = self.tombstone_expiries.pop_first()
        {
            self.tombstones.remove(&id);
        }
    }

    fn advance(&mut self, position: Position) {
        if position.supersedes(self.position) {
            self.position = position;
        }
    }

    fn remove(&mut self, seq: Seq) -> Option<Stored> {
        let stored = self.records.remove(&seq)?;
        self.ids.remove(&stored.revocation.id);
        if let Some(expires) = stored.expires {
            self.expiries.remove(&(expires, seq));
        }
        self.unshared -= u64::from(!stored.in_stream);
        Some(stored)
    }
}

fn left(expires: Option<Instant>, now: Instant) -> Duration {
    expires.map_or(Duration::MAX, |expires| expires.saturating_duration_since(now))
}

impl Stored {
    fn replaced(&self, seq: Seq) -> Replaced {
        Replaced { seq, selector: self.revocation.selector.clone() }
    }

    fn left(&self, now: Instant) -> Duration {
        left(self.expires, now)
    }

    /// Returns the revocation with its remaining validity.
    fn remaining(&self, now: Instant) -> Revocation {
        Revocation { validity: self.left(now), ..self.revocation.clone() }
    }

    fn record(&self, seq: Seq, now: Instant) -> Record {
        Record {
            seq,
            revocation: self.revocation.clone(),
            accepted_at: self.accepted_at,
            left: self.left(now),
            receipts: self.receipts.clone(),
            revision: self.place.revision,
            in_stream: self.in_stream && !self.revocation.is_local(),
        }
    }
}
