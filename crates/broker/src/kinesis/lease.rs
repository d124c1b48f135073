//! A lease on a shard, as a row of the table that the workers of a group share, and the changes to
//! it. The table is that of the Kinesis Client Library (KCL) 1, so that a group goes on where a
//! gateway with that library has stopped.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// The id of a shard, which is the key of its lease.
pub(crate) type ShardId = Arc<str>;

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) shard: ShardId,
    /// The worker that reads the shard, if any has taken the lease.
    pub(crate) owner: Option<Arc<str>>,
    /// Changes whenever the owner shows that it is alive, or is replaced.
    pub(crate) counter: u64,
    /// What was read.
    pub(crate) position: Position,
    /// How often it has gone from one worker to another since the position was last stored.
    pub(crate) switches: u64,
    /// The shards that were split or merged into this one.
    pub(crate) parents: Vec<ShardId>,
    /// The time from which a shard at [`Position::Latest`] is read, in milliseconds since 1970. KCL
    /// has no such column: there, a worker that takes over misses what came before.
    pub(crate) since: Option<i64>,
}

/// How far a shard was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// Not at all; it is to be read from the oldest record that is still there.
    TrimHorizon,
    /// Not at all; it is to be read from what comes after its lease is first taken.
    Latest,
    /// Up to this place.
    At(Place),
    /// Completely. It is closed.
    End,
}

/// A record of a shard, or a part of an aggregated one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The sequence number, a decimal number of up to 128 digits.
    pub(crate) sequence: Arc<str>,
    /// The index of the part; 0 for an ordinary record.
    pub(crate) part: u64,
}

/// What a worker does with a lease. It has an effect only if the condition holds, which the table
/// checks at the same moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Adds this lease, if there is none.
    Create(Lease),
    /// Shows that the owner is alive, if it is the owner and the counter is this one.
    Renew { counter: u64 },
    /// Makes the worker the owner, if the counter and the owner are those of this lease.
    Take { lease: Lease, now: i64 },
    /// Stores what was read, if the worker is the owner.
    Store(Position),
    /// Leaves the lease without an owner, if the worker is the owner.
    Release,
    /// Deletes the lease, if its counter is this one.
    Delete { counter: u64 },
}

impl Lease {
    /// Returns a lease that no worker has.
    pub(crate) fn new(shard: &str, position: Position, parents: Vec<ShardId>) -> Self {
        Self { shard: shard.into(), owner: None, counter: 0, position, switches: 0, parents, since: None }
    }

    /// Returns this lease after a worker has taken it.
    pub(crate) fn taken_by(&self, worker: &Arc<str>, now: i64) -> Self {
        let is_other = self.owner.as_ref().is_some_and(|owner| owner != worker);
        Self {
            owner: Some(worker.clone()),
            counter: self.counter.wrapping_add(1),
            switches: self.switches.saturating_add(is_other.into()),
            since: self.since.or((self.position == Position::Latest).then_some(now)),
            ..self.clone()
        }
    }
}

impl Position {
    const TRIM_HORIZON: &str = "TRIM_HORIZON";
    const LATEST: &str = "LATEST";
    pub(crate) const SHARD_END: &str = "SHARD_END";

    /// Returns the position of a row. What is neither a word of KCL nor a sequence number is read
    /// from the oldest record, so that nothing is lost.
    pub(crate) fn parse(checkpoint: &str, part: u64) -> Self {
        match checkpoint {
            Self::LATEST => Self::Latest,
            Self::SHARD_END => Self::End,
            sequence if !sequence.is_empty() && sequence.bytes().all(|byte| byte.is_ascii_digit()) => {
                Self::At(Place { sequence: sequence.into(), part })
            }
            _ => Self::TrimHorizon,
        }
    }

    /// Returns the columns of the row: the checkpoint, and its part.
    pub(crate) fn columns(&self) -> (&str, u64) {
        match self {
            Self::TrimHorizon => (Self::TRIM_HORIZON, 0),
            Self::Latest => (Self::LATEST, 0),
            Self::At(place) => (&place.sequence, place.part),
            Self::End => (Self::SHARD_END, 0),
        }
    }
}

/// A table in memory: that of a gateway which reads all shards by itself.
pub(crate) type Leases = BTreeMap<ShardId, Lease>;

/// Applies the change of a worker to the lease of a shard. Returns `false` without an effect if its
/// condition does not hold.
pub(crate) fn apply(leases: &mut Leases, worker: &Arc<str>, shard: &ShardId, change: &Change) -> bool {
    let mut entry = match (leases.entry(shard.clone()), change) {
        (Entry::Vacant(entry), Change::Create(lease)) => {
            entry.insert(lease.clone());
            return true;
        }
        (Entry::Vacant(_), _) => return false,
        (Entry::Occupied(entry), _) => entry,
    };
    let lease = entry.get_mut();
    let is_mine = lease.owner.as_ref() == Some(worker);
    match change {
        Change::Renew { counter } if is_mine && lease.counter == *counter => {
            lease.counter = counter.wrapping_add(1);
        }
        Change::Take { lease: seen, now } if seen.counter == lease.counter && seen.owner == lease.owner => {
            *lease = lease.taken_by(worker, *now);
        }
        Change::Store(position) if is_mine => {
            lease.position = position.clone();
            lease.switches = 0;
        }
        Change::Release if is_mine => {
            lease.owner = None;
            lease.counter = lease.counter.wrapping_add(1);
        }
        Change::Delete { counter } if lease.counter == *counter => drop(entry.remove()),
        _ => return false,
    }
    true
}
