//! Where revocations are stored: one port, implemented in memory here and on disk elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::clock::{Clock, Monotonic};
use crate::node_name::NodeName;
use crate::revocation::{Mode, Receipt, Record, Revocation, RevocationId, Seq};
use crate::selector::Selector;
use crate::sync::Mutex;

/// The log could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the revocation log failed: {0}")]
pub struct LogError(pub Box<dyn std::error::Error + Send + Sync>);

/// What the log did with a revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is stored.
    New {
        /// Its number.
        seq: Seq,
        /// The number of the revocation that it replaces, if it [extends](Revocation::extends) one.
        replaces: Option<Seq>,
    },
    /// An equal revocation with this id is stored already ([`Revocation::is_same`]).
    Known(Box<Record>),
    /// Another revocation with this id is stored already.
    Conflict,
}

/// One step of a log, which [`Sessions::apply`](crate::Sessions::apply) puts into effect.
///
/// The numbers are those of the node's own log: two nodes number the same revocation differently.
/// What nodes send each other is an [`Operation`], which names a revocation by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A revocation is in force.
    Revoked {
        /// Its number in the log.
        seq: Seq,
        /// The revocation, with its remaining validity.
        revocation: Revocation,
        /// The number of an earlier revocation of the same id, which it replaces.
        replaces: Option<Seq>,
    },
    /// A revocation was lifted: its tokens are legal again.
    Lifted {
        /// The number of the revocation.
        of: Seq,
        /// The tokens that it selected.
        selector: Selector,
    },
}

/// A change as nodes send it to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A revocation was accepted. Holds its remaining validity.
    Revoke(Revocation),
    /// A revocation was lifted.
    Lift {
        /// The id of the revocation.
        id: RevocationId,
        /// Who asked for it, if the caller said so.
        by: Option<String>,
    },
}

/// A position in the stream of operations that a node follows; 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

/// Stores revocations beyond the life of the process.
///
/// All methods but [`Log::load`] and [`Log::receipt`] are called by several threads at once,
/// outside every lock, and may block. `suite.rs` tests what every log must do.
pub trait Log: Send + Sync + 'static {
    /// Passes every revocation in force to `each`, and returns the position up to which the
    /// operations of other nodes are stored.
    ///
    /// # Errors
    /// Fails if the log cannot be read. No session can be checked then, and nothing may be
    /// registered.
    fn load(&self, each: &mut dyn FnMut(Entry)) -> Result<Position, LogError>;

    /// Stores a revocation; returns once it is stored.
    ///
    /// # Errors
    /// Fails if the revocation is not stored, or if that is not certain. It is in force all the
    /// same, until the process exits.
    fn append(&self, revocation: &Revocation) -> Result<Appended, LogError>;

    /// Removes a revocation before it expires, on behalf of `by`; returns its record once that is
    /// certain.
    ///
    /// # Errors
    /// Fails if it is not certain that the revocation is removed. It stays in force.
    fn lift(&self, id: &RevocationId, by: Option<&str>) -> Result<Option<Record>, LogError>;

    /// Stores an operation of another node, and `position` with it: either both are stored, or
    /// neither. The log of the other node has decided that the operation is valid, so a revocation
    /// replaces any other of its id, unless that one is the same and lasts at least as long.
    ///
    /// Returns what has changed; `None` if nothing has. Returns once it is stored.
    ///
    /// # Errors
    /// Fails if the operation is not stored, or if that is not certain.
    fn record(&self, operation: &Operation, position: Position) -> Result<Option<Entry>, LogError>;

    /// Stores what a revocation has done on `node`, asynchronously and best effort. Never blocks.
    fn receipt(&self, seq: Seq, node: &NodeName, receipt: Receipt);

    /// Returns a revocation by its id.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    fn find(&self, id: &RevocationId) -> Result<Option<Record>, LogError>;

    /// Returns up to `limit` revocations whose numbers are below `before`, the youngest first.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    fn page(&self, before: Option<Seq>, limit: usize) -> Result<Vec<Record>, LogError>;
}

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
    expiries: BTreeMap<(Instant, Seq), ()>,
    last: Seq,
    position: Position,
}

struct Stored {
    revocation: Revocation,
    accepted_at: SystemTime,
    /// `None` if it is beyond the range of the clock.
    expires: Option<Instant>,
    receipts: BTreeMap<NodeName, Receipt>,
}

/// How long the record of a revocation that only disconnects is kept.
pub const DISCONNECT_KEPT: Duration = Duration::from_secs(24 * 3600);

impl Revocation {
    /// Returns how long its record is kept.
    pub fn kept_for(&self) -> Duration {
        match self.mode {
            Mode::Revoke => self.validity,
            Mode::Disconnect => DISCONNECT_KEPT,
        }
    }

    /// Returns `true` if both select the same tokens in the same mode. Who asks, why, and for how
    /// long does not matter.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.selector, self.issued_up_to, self.mode) == (&other.selector, other.issued_up_to, other.mode)
    }
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
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new()
    }
}

impl Log for MemoryLog {
    fn load(&self, each: &mut dyn FnMut(Entry)) -> Result<Position, LogError> {
        let now = self.clock.now();
        let mut kept = self.kept.lock();
        kept.expire(now);
        let in_force = kept.records.iter().filter(|(_, stored)| stored.revocation.mode == Mode::Revoke);
        for (seq, stored) in in_force {
            let revocation = Revocation { validity: stored.left(now), ..stored.revocation.clone() };
            each(Entry::Revoked { seq: *seq, revocation, replaces: None });
        }
        Ok(kept.position)
    }

    fn append(&self, revocation: &Revocation) -> Result<Appended, LogError> {
        let now = self.clock.now();
        let mut kept = self.kept.lock();
        kept.expire(now);
        let known = kept.known(&revocation.id);
        if let Some((seq, known)) = known {
            if !known.revocation.is_same(revocation) {
                return Ok(Appended::Conflict);
            }
            if !revocation.extends || known.outlasts(revocation, now) {
                return Ok(Appended::Known(Box::new(known.record(seq, now))));
            }
        }
        let replaces = kept.remove_id(&revocation.id);
        Ok(Appended::New { seq: kept.insert(revocation, now, self.clock.wall()), replaces })
    }

    fn lift(&self, id: &RevocationId, _: Option<&str>) -> Result<Option<Record>, LogError> {
        let now = self.clock.now();
        let mut kept = self.kept.lock();
        kept.expire(now);
        let Some(seq) = kept.ids.get(id).copied() else { return Ok(None) };
        Ok(kept.remove(seq).map(|stored| stored.record(seq, now)))
    }

    fn record(&self, operation: &Operation, position: Position) -> Result<Option<Entry>, LogError> {
        let now = self.clock.now();
        let mut kept = self.kept.lock();
        kept.expire(now);
        kept.position = kept.position.max(position);
        Ok(match operation {
            Operation::Lift { id, .. } => kept.ids.get(id).copied().and_then(|of| {
                let selector = kept.remove(of)?.revocation.selector;
                Some(Entry::Lifted { of, selector })
            }),
            Operation::Revoke(revocation) => {
                let known = kept.known(&revocation.id);
                if known.is_some_and(|(_, known)| {
                    known.revocation.is_same(revocation) && known.outlasts(revocation, now)
                }) {
                    return Ok(None);
                }
                let replaces = kept.remove_id(&revocation.id);
                let seq = kept.insert(revocation, now, self.clock.wall());
                Some(Entry::Revoked { seq, revocation: revocation.clone(), replaces })
            }
        })
    }

    fn receipt(&self, seq: Seq, node: &NodeName, receipt: Receipt) {
        if let Some(stored) = self.kept.lock().records.get_mut(&seq) {
            stored.receipts.insert(node.clone(), receipt);
        }
    }

    fn find(&self, id: &RevocationId) -> Result<Option<Record>, LogError> {
        let now = self.clock.now();
        let mut kept = self.kept.lock();
        kept.expire(now);
        Ok(kept.known(id).map(|(seq, stored)| stored.record(seq, now)))
    }

    fn page(&self, before: Option<Seq>, limit: usize) -> Result<Vec<Record>, LogError> {
        let now = self.clock.now();
        let mut kept = self.kept.lock();
        kept.expire(now);
        let end = before.map_or(Bound::Unbounded, Bound::Excluded);
        let youngest = kept.records.range((Bound::Unbounded, end)).rev().take(limit);
        Ok(youngest.map(|(seq, stored)| stored.record(*seq, now)).collect())
    }
}

/// A log that several owners share: it outlives the sessions over it.
impl<L: Log> Log for Arc<L> {
    fn load(&self, each: &mut dyn FnMut(Entry)) -> Result<Position, LogError> {
        (**self).load(each)
    }

    fn append(&self, revocation: &Revocation) -> Result<Appended, LogError> {
        (**self).append(revocation)
    }

    fn lift(&self, id: &RevocationId, by: Option<&str>) -> Result<Option<Record>, LogError> {
        (**self).lift(id, by)
    }

    fn record(&self, operation: &Operation, position: Position) -> Result<Option<Entry>, LogError> {
        (**self).record(operation, position)
    }

    fn receipt(&self, seq: Seq, node: &NodeName, receipt: Receipt) {
        (**self).receipt(seq, node, receipt);
    }

    fn find(&self, id: &RevocationId) -> Result<Option<Record>, LogError> {
        (**self).find(id)
    }

    fn page(&self, before: Option<Seq>, limit: usize) -> Result<Vec<Record>, LogError> {
        (**self).page(before, limit)
    }
}

impl Kept {
    fn known(&self, id: &RevocationId) -> Option<(Seq, &Stored)> {
        let seq = *self.ids.get(id)?;
        Some((seq, &self.records[&seq]))
    }

    fn insert(&mut self, revocation: &Revocation, now: Instant, wall: SystemTime) -> Seq {
        self.last += 1;
        let seq = self.last;
        let expires = now.checked_add(revocation.kept_for());
        self.expiries.extend(expires.map(|expires| ((expires, seq), ())));
        self.ids.insert(revocation.id.clone(), seq);
        let revocation = revocation.clone();
        let stored = Stored { revocation, accepted_at: wall, expires, receipts: BTreeMap::new() };
        self.records.insert(seq, stored);
        seq
    }

    fn expire(&mut self, now: Instant) {
        while let Some(first) = self.expiries.first_entry()
            && first.key().0 <= now
        {
            let seq = first.key().1;
            self.remove(seq);
        }
    }

    /// Removes the revocation of this id, if there is one; returns its number.
    fn remove_id(&mut self, id: &RevocationId) -> Option<Seq> {
        let seq = self.ids.get(id).copied()?;
        self.remove(seq).map(|_| seq)
    }

    fn remove(&mut self, seq: Seq) -> Option<Stored> {
        let stored = self.records.remove(&seq)?;
        self.ids.remove(&stored.revocation.id);
        if let Some(expires) = stored.expires {
            self.expiries.remove(&(expires, seq));
        }
        Some(stored)
    }
}

impl Stored {
    /// Returns `true` if it lasts at least as long as `revocation` would, accepted now. A
    /// revocation that only disconnects has no duration.
    fn outlasts(&self, revocation: &Revocation, now: Instant) -> bool {
        let expires = now.checked_add(revocation.kept_for());
        revocation.mode == Mode::Disconnect
            || self.expires.is_none_or(|known| expires.is_some_and(|expires| expires <= known))
    }

    fn left(&self, now: Instant) -> Duration {
        self.expires.map_or(Duration::MAX, |expires| expires.saturating_duration_since(now))
    }

    fn record(&self, seq: Seq, now: Instant) -> Record {
        Record {
            seq,
            revocation: self.revocation.clone(),
            accepted_at: self.accepted_at,
            left: self.left(now),
            receipts: self.receipts.clone(),
        }
    }
}
