//! A ring as a file has it.

use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Bounds, Ring};
use crate::dropped::{Missing, Why};
use crate::id::EventPosition;
use crate::keys::{EventKeys, Fingerprint, SECRET, TypeKey};
use crate::lineage::Lineage;

/// What is stored of a ring beside its tables and its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) lineage: Lineage,
    pub(crate) last: EventPosition,
    pub(crate) complete_since: EventPosition,
    /// The latest loss that may concern every type.
    pub(crate) any_lost: EventPosition,
    pub(crate) secret: [u8; SECRET],
}

/// An event as it is stored.
pub(crate) struct Stored<'r> {
    pub(crate) event_type: &'r Arc<str>,
    pub(crate) json: &'r Bytes,
    pub(crate) position: EventPosition,
    pub(crate) age: Duration,
}

impl Ring {
    pub(crate) fn summary(&self) -> Summary {
        Summary {
            lineage: self.lineage.clone(),
            last: self.last,
            complete_since: self.complete_since,
            any_lost: self.dropped.any(),
            secret: self.keys.secret(),
        }
    }

    /// Returns the latest event of each type that was not kept.
    pub(crate) fn missing(&self) -> impl ExactSizeIterator<Item = (Fingerprint, Missing)> {
        self.dropped.all().into_iter()
    }

    /// Returns the number of types that were absent.
    #[cfg(test)]
    pub(crate) fn absent_types(&self) -> usize {
        self.dropped.absent()
    }

    /// Returns key, position and age of each revocation, the oldest first.
    pub(crate) fn revocations(&self) -> impl ExactSizeIterator<Item = ([u8; 16], EventPosition, Duration)> {
        let of_revocation = |revocation: &crate::revoked::Revocation| {
            (revocation.key, revocation.position, self.clock.age(revocation.at))
        };
        self.revocations.iter().map(of_revocation)
    }

    /// Returns all events, the oldest first.
    pub(crate) fn stored(&self) -> impl Iterator<Item = Stored<'_>> {
        (0..self.entries.len()).filter_map(|at| {
            let entry = self.entries.nth(at)?;
            let event_type = self.type_of(entry)?;
            let age = self.clock.age(entry.at);
            Some(Stored { event_type, json: &entry.json, position: entry.position, age })
        })
    }

    /// Creates a ring that continues another one, without its events.
    pub(crate) fn continuing(summary: Summary, bounds: Bounds, now: Instant) -> Self {
        let keys = EventKeys::with_secret(summary.secret, &bounds.excluded);
        let mut ring = Self::of_lineage(summary.lineage.continued(summary.last), keys, bounds, now);
        ring.last = summary.last;
        ring.complete_since = summary.complete_since;
        ring.dropped.record_any(summary.any_lost);
        ring
    }

    /// Adds what [`Ring::missing`] returned.
    pub(crate) fn restore_missing(&mut self, event_type: Fingerprint, missing: Missing) {
        self.dropped.restore(TypeKey(event_type), missing);
    }

    /// Adds what [`Ring::revocations`] returned, in the same order.
    pub(crate) fn restore_revocation(&mut self, key: [u8; 16], position: EventPosition, age: Duration) {
        match self.clock.ago(age) {
            Some(at) => {
                let removed = self.revocations.add(u128::from_be_bytes(key), position, at);
                removed.into_iter().for_each(|removed| self.expire_before(removed));
            }
            None => self.expire_before(position),
        }
    }

    /// Adds an event as it was stored, with the values that extractors find now. In the order of
    /// positions.
    pub(crate) fn restore_event<V: Hash>(
        &mut self,
        (event_type, json): (&str, &[u8]),
        values: &[Option<V>],
        position: EventPosition,
        age: Duration,
    ) {
        let keys = self.keys.clone();
        let event = keys.keyed(event_type, json, values);
        match self.clock.ago(age) {
            // Excluded since, or larger than the bound is now.
            _ if !self.can_keep(&event) => self.restore_none(event_type, position),
            Some(at) => self.keep(event, position, at),
            None => self.expire_before(position),
        }
    }

    /// Adds an event that cannot be kept any more.
    pub(crate) fn restore_none(&mut self, event_type: &str, position: EventPosition) {
        let type_key = self.keys.of_type(event_type);
        self.dropped.record(type_key, Missing { position, why: Why::NotKept });
    }
}
