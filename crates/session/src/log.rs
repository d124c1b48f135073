//! Where revocations are kept: behind one trait, in memory here, on disk or in a cluster elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::clock::{Clock, Monotonic};
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
    /// It is kept, at this place.
    New {
        /// The place.
        seq: Seq,
        /// The place of the one it stands in for, where it [extends](Revocation::extends) one.
        replaces: Option<Seq>,
    },
    /// One with this id, and the same in all that matters, is kept already.
    Known(Box<Record>),
    /// One with this id is kept already, and it is another.
    Conflict,
}

/// A revocation in force, as the log hands it over at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its place in the log.
    pub seq: Seq,
    /// Whose tokens.
    pub selector: Selector,
    /// Only those issued up to this time, in seconds since 1970.
    pub issued_up_to: Option<u64>,
    /// What is left of its validity.
    pub left: Duration,
}

/// Keeps revocations beyond the life of the process.
///
/// All but [`Log::load`] and [`Log::receipt`] are called by several threads at once, outside every lock, and may block.
/// A log that is shared between nodes hands what it hears from the others to
/// [`Sessions::apply`](crate::Sessions::apply).
pub trait Log: Send + Sync + 'static {
    /// Hands over all revocations that may still be in force.
    ///
    /// # Errors
    /// The log cannot be read; then no session can be checked, and nothing may be registered.
    fn load(&self, each: &mut dyn FnMut(Standing)) -> Result<(), LogError>;

    /// Keeps a revocation; returns once it is kept.
    ///
    /// # Errors
    /// The revocation is not kept, or that is not certain. It is in force all the same, until the process ends.
    fn append(&self, revocation: &Revocation) -> Result<Appended, LogError>;

    /// Forgets a revocation before its time, on behalf of `by`; returns what was kept of it once that is certain.
    ///
    /// # Errors
    /// It is not certain that it is forgotten. It stays in force.
    fn lift(&self, id: &RevocationId, by: Option<&str>) -> Result<Option<Record>, LogError>;

    /// Keeps what a revocation has done, when there is time for it. Never blocks; may be lost with the process.
    fn receipt(&self, seq: Seq, receipt: Receipt);

    /// A revocation by its id.
    ///
    /// # Errors
    /// The log cannot be read.
    fn find(&self, id: &RevocationId) -> Result<Option<Record>, LogError>;

    /// Up to `limit` revocations, the youngest first, older than `before`.
    ///
    /// # Errors
    /// The log cannot be read.
    fn page(&self, before: Option<Seq>, limit: usize) -> Result<Vec<Record>, LogError>;
}

/// Keeps revocations for as long as the process lives: a restart forgets them.
pub struct MemoryLog {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    records: BTreeMap<Seq, Entry>,
    ids: HashMap<RevocationId, Seq>,
    ends: BTreeMap<(Instant, Seq), ()>,
    last: Seq,
}

struct Entry {
    revocation: Revocation,
    accepted_at: SystemTime,
    /// `None`: longer than the clock can say.
    ends: Option<Instant>,
    receipt: Option<Receipt>,
}

/// How long a revocation that only disconnects can be asked for, and repeated without effect.
pub const DISCONNECT_KEPT: Duration = Duration::from_secs(24 * 3600);

impl Revocation {
    /// For how long its record is of use.
    pub fn kept_for(&self) -> Duration {
        match self.mode {
            Mode::Revoke => self.validity,
            Mode::Disconnect => DISCONNECT_KEPT,
        }
    }

    /// Whether both ask for the same. Who asks, and why, does not matter; nor how much of the time has passed.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.selector, self.issued_up_to, self.mode) == (&other.selector, other.issued_up_to, other.mode)
    }
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::with_clock(Monotonic)
    }

    /// An empty log on another clock.
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
    fn load(&self, _: &mut dyn FnMut(Standing)) -> Result<(), LogError> {
        Ok(())
    }

    fn append(&self, revocation: &Revocation) -> Result<Appended, LogError> {
        let now = self.clock.now();
        let ends = now.checked_add(revocation.kept_for());
        let mut kept = self.kept.lock();
        kept.expire(now);
        let known = kept.ids.get(&revocation.id).copied();
        if let Some(known) = known {
            let entry = &kept.records[&known];
            if !entry.revocation.is_same(revocation) {
                return Ok(Appended::Conflict);
            }
            // Nothing ends later than what never ends.
            if !revocation.extends || entry.ends.is_none_or(|known| ends.is_some_and(|ends| ends <= known)) {
                return Ok(Appended::Known(Box::new(entry.record(known, now))));
            }
            kept.remove(known);
        }
        kept.last += 1;
        let seq = kept.last;
        let entry =
            Entry { revocation: revocation.clone(), accepted_at: self.clock.wall(), ends, receipt: None };
        kept.ends.extend(ends.map(|ends| ((ends, seq), ())));
        kept.ids.insert(revocation.id.clone(), seq);
        kept.records.insert(seq, entry);
        Ok(Appended::New { seq, replaces: known })
    }

    fn lift(&self, id: &RevocationId, _: Option<&str>) -> Result<Option<Record>, LogError> {
        let now = self.clock.now();
        let mut kept = self.kept.lock();
        kept.expire(now);
        let Some(seq) = kept.ids.get(id).copied() else { return Ok(None) };
        Ok(kept.remove(seq).map(|entry| entry.record(seq, now)))
    }

    fn receipt(&self, seq: Seq, receipt: Receipt) {
        if let Some(entry) = self.kept.lock().records.get_mut(&seq) {
            entry.receipt = Some(receipt);
        }
    }

    fn find(&self, id: &RevocationId) -> Result<Option<Record>, LogError> {
        let now = self.clock.now();
        let mut kept = self.kept.lock();
        kept.expire(now);
        Ok(kept.ids.get(id).map(|seq| kept.records[seq].record(*seq, now)))
    }

    fn page(&self, before: Option<Seq>, limit: usize) -> Result<Vec<Record>, LogError> {
        let now = self.clock.now();
        let mut kept = self.kept.lock();
        kept.expire(now);
        let end = before.map_or(Bound::Unbounded, Bound::Excluded);
        let youngest = kept.records.range((Bound::Unbounded, end)).rev().take(limit);
        Ok(youngest.map(|(seq, entry)| entry.record(*seq, now)).collect())
    }
}

impl Kept {
    fn expire(&mut self, now: Instant) {
        while let Some(first) = self.ends.first_entry()
            && first.key().0 <= now
        {
            let seq = first.key().1;
            self.remove(seq);
        }
    }

    fn remove(&mut self, seq: Seq) -> Option<Entry> {
        let entry = self.records.remove(&seq)?;
        self.ids.remove(&entry.revocation.id);
        if let Some(ends) = entry.ends {
            self.ends.remove(&(ends, seq));
        }
        Some(entry)
    }
}

impl Entry {
    fn record(&self, seq: Seq, now: Instant) -> Record {
        let left = self.ends.map_or(Duration::MAX, |ends| ends.saturating_duration_since(now));
        Record {
            seq,
            revocation: self.revocation.clone(),
            accepted_at: self.accepted_at,
            left,
            receipt: self.receipt,
        }
    }
}
