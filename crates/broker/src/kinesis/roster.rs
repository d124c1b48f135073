//! Which leases a worker has, and which it may take: the rules of the Kinesis Client Library,
//! without any table or clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::lease::{Change, Lease, Position, ShardId};

/// What a worker knows of all leases.
#[derive(Debug)]
pub(crate) struct Roster {
    worker: Arc<str>,
    /// How long a lease is valid after it was last renewed.
    duration: Duration,
    seen: BTreeMap<ShardId, Seen>,
    held: BTreeMap<ShardId, Held>,
}

#[derive(Debug)]
struct Seen {
    lease: Lease,
    /// When this counter was first seen.
    since: Instant,
}

/// A lease of this worker.
#[derive(Debug)]
struct Held {
    counter: u64,
    /// Another worker may take it from then on.
    until: Instant,
}

impl Roster {
    /// Returns the roster of a worker that knows no lease.
    pub(crate) fn new(worker: Arc<str>, duration: Duration) -> Self {
        Self { worker, duration, seen: BTreeMap::new(), held: BTreeMap::new() }
    }

    /// Returns the name of the worker.
    pub(crate) fn worker(&self) -> &Arc<str> {
        &self.worker
    }

    /// Notes all leases as they were read from the table, which was complete before `now`. Returns
    /// those that this worker has lost.
    pub(crate) fn observe(&mut self, leases: Vec<Lease>, now: Instant) -> Vec<ShardId> {
        let mut before = std::mem::take(&mut self.seen);
        for lease in leases {
            let since = match before.remove(&lease.shard) {
                Some(seen) if seen.lease.counter == lease.counter && seen.lease.owner == lease.owner => {
                    seen.since
                }
                _ => now,
            };
            self.seen.insert(lease.shard.clone(), Seen { lease, since });
        }
        let mut lost = Vec::new();
        self.held.retain(|shard, held| match self.seen.get(shard) {
            Some(Seen { lease, .. }) if lease.owner.as_ref() == Some(&self.worker) => {
                // It may have been renewed although the answer was lost.
                held.counter = lease.counter;
                true
            }
            _ => {
                lost.push(shard.clone());
                false
            }
        });
        lost
    }

    /// Returns the leases as they were last read.
    pub(crate) fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.seen.values().map(|seen| &seen.lease)
    }

    /// Returns whether a shard had a lease when the table was last read.
    pub(crate) fn knows(&self, shard: &ShardId) -> bool {
        self.seen.contains_key(shard)
    }

    /// Returns the leases that this worker has to renew.
    pub(crate) fn renewals(&self) -> Vec<(ShardId, Change)> {
        let renew = |held: &Held| Change::Renew { counter: held.counter };
        self.held.iter().map(|(shard, held)| (shard.clone(), renew(held))).collect()
    }

    /// Notes that the table has applied a renewal which was requested at `began`, or refused it.
    /// Returns until when the lease is valid; `None` if it is lost.
    pub(crate) fn renewed(&mut self, shard: &ShardId, began: Instant, is_applied: bool) -> Option<Instant> {
        if !is_applied {
            self.held.remove(shard);
            return None;
        }
        let held = self.held.get_mut(shard)?;
        held.counter = held.counter.wrapping_add(1);
        held.until = began + self.duration;
        if let Some(seen) = self.seen.get_mut(shard) {
            // So that its lease can be deleted, if the shard is gone.
            seen.lease.counter = held.counter;
        }
        Some(held.until)
    }

    /// Notes that the table has applied [`Change::Take`], which was requested at `began`. Returns
    /// until when the lease is valid.
    pub(crate) fn taken(&mut self, lease: &Lease, began: Instant) -> Instant {
        let until = began + self.duration;
        self.held.insert(lease.shard.clone(), Held { counter: lease.counter, until });
        until
    }

    /// Notes that this worker does not need a lease any more.
    pub(crate) fn dropped(&mut self, shard: &ShardId) {
        self.held.remove(shard);
    }

    /// Returns whether this worker may read a shard.
    #[cfg(test)]
    pub(crate) fn holds(&self, shard: &str, now: Instant) -> bool {
        self.held.get(shard).is_some_and(|held| now < held.until)
    }

    /// Returns the leases that this worker should take: as many as it lacks of an equal share. If
    /// none is free, one of the worker that has the most, if that has more than its share. Those of
    /// the shards in `busy`, which are still being read, are left out. `pick` returns an index
    /// below a number, at random.
    pub(crate) fn wanted(
        &self,
        now: Instant,
        busy: &BTreeSet<ShardId>,
        mut pick: impl FnMut(usize) -> usize,
    ) -> Vec<Lease> {
        let open: Vec<_> = self.seen.values().filter(|seen| self.is_open(&seen.lease)).collect();
        let mut owned: BTreeMap<&str, Vec<&Lease>> = BTreeMap::from([(&*self.worker, Vec::new())]);
        let mut free = Vec::new();
        for seen in &open {
            match &seen.lease.owner {
                Some(owner) if self.is_valid(seen, owner, now) => {
                    owned.entry(owner).or_default().push(&seen.lease);
                }
                _ => free.push(&seen.lease),
            }
        }
        let share = open.len().div_ceil(owned.len());
        let lacking = share.saturating_sub(owned[&*self.worker].len());
        if free.is_empty() {
            // With one missing, the other must have two more: otherwise it would go back and forth.
            let least = share + usize::from(lacking == 1);
            let others = owned.iter().filter(|(owner, _)| ***owner != *self.worker);
            let busiest = others.map(|(_, leases)| leases).max_by_key(|leases| leases.len());
            let busiest = busiest.filter(|leases| lacking > 0 && leases.len() >= least);
            free.extend(busiest.map(|leases| leases[pick(leases.len())]));
        }
        free.retain(|lease| !busy.contains(&lease.shard));
        let mut wanted = Vec::new();
        while wanted.len() < lacking && !free.is_empty() {
            wanted.push(free.swap_remove(pick(free.len())).clone());
        }
        wanted
    }

    /// Returns whether a shard may be read: it is not finished, but all of its parents are. One
    /// without a lease was finished long ago, or was never read.
    fn is_open(&self, lease: &Lease) -> bool {
        let is_finished = |shard: &ShardId| {
            self.seen.get(shard).is_none_or(|parent| parent.lease.position == Position::End)
        };
        lease.position != Position::End && lease.parents.iter().all(is_finished)
    }

    fn is_valid(&self, seen: &Seen, owner: &Arc<str>, now: Instant) -> bool {
        if *owner == self.worker {
            // One that this worker does not know to have, it has given up.
            return self.held.contains_key(&seen.lease.shard);
        }
        now < seen.since + self.duration
    }
}

#[cfg(test)]
mod tests;
