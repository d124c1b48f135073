//! Which types have events that the ring does not have.

use std::collections::HashMap;

use crate::gap::Gap;
use crate::id::EventPosition;
use crate::keys::{Fingerprint, TypeKey};

/// The latest event of each type that was not kept. Bounded: whoever publishes or subscribes to
/// ever new types must not fill the memory.
#[derive(Default)]
pub(crate) struct Dropped {
    by_type: HashMap<Fingerprint, Missing>,
    /// The position up to which events of a type may have passed without one. Bounded by the types
    /// that are wanted, of which others are removed when there are many.
    absent: HashMap<Fingerprint, EventPosition>,
    /// How many of these were left when others were removed.
    left: usize,
    /// The latest loss that may concern every type.
    any: EventPosition,
    /// The position up to which nothing is exact any more when records were last removed.
    tidied: EventPosition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) position: EventPosition,
    pub(crate) why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    NotKept,
    Lost,
}

/// The limit of types, other than the excluded ones. About 40 bytes each.
pub(crate) const MAX_TYPES: usize = 4096;

/// The least number of absent types at which those that are not wanted are removed. Up to 57 bytes
/// each.
pub(crate) const MANY_ABSENT: usize = 4096;

/// Positions between two removals of old records, since each looks at all of them.
const TIDYING: u64 = 4096;

impl Dropped {
    /// Returns `true` if an event of the type at the next position can be recorded. `evicted` is
    /// the position before which nothing is exact anyway.
    pub(crate) fn has_room(&mut self, event_type: TypeKey, evicted: EventPosition) -> bool {
        if self.by_type.len() < MAX_TYPES || self.by_type.contains_key(&event_type.0) {
            return true;
        }
        if evicted.0 < self.tidied.0 + TIDYING {
            return false;
        }
        self.tidied = evicted;
        self.by_type.retain(|_, missing| missing.position > evicted);
        self.by_type.len() < MAX_TYPES
    }

    /// Records that events of a type up to a position may have passed without one.
    pub(crate) fn record_absent(&mut self, event_type: TypeKey, position: EventPosition) {
        let latest = self.absent.entry(event_type.0).or_default();
        *latest = position.max(*latest);
    }

    /// Returns `true` if there are many absent types, and those that are not wanted should be
    /// removed. The cost of that is amortized.
    pub(crate) fn has_many_absent(&self) -> bool {
        self.absent.len() >= MANY_ABSENT + 2 * self.left
    }

    /// Removes absent types that are not wanted.
    pub(crate) fn retain_absent(&mut self, is_wanted: impl Fn(TypeKey) -> bool) {
        self.absent.retain(|event_type, _| is_wanted(TypeKey(*event_type)));
        self.absent.shrink_to_fit();
        self.left = self.absent.len();
    }

    /// Records what a file has. Too many types are among the absent ones, which is as exact.
    pub(crate) fn restore(&mut self, event_type: TypeKey, missing: Missing) {
        let is_full = self.by_type.len() >= MAX_TYPES && !self.by_type.contains_key(&event_type.0);
        match missing {
            Missing { position, why: Why::NotKept } if is_full => self.record_absent(event_type, position),
            _ => self.record(event_type, missing),
        }
    }

    /// Records an event that is not in the ring, whether there is room or not.
    /// An earlier one than the latest changes nothing.
    pub(crate) fn record(&mut self, event_type: TypeKey, missing: Missing) {
        let latest = self.by_type.entry(event_type.0).or_insert(missing);
        if missing.position > latest.position {
            *latest = missing;
        }
    }

    /// Records a loss that may concern every type.
    pub(crate) fn record_any(&mut self, position: EventPosition) {
        self.any = self.any.max(position);
    }

    /// Returns the latest loss that may concern every type.
    pub(crate) const fn any(&self) -> EventPosition {
        self.any
    }

    /// Returns all records; two of a type that was absent and has had an event that was not kept.
    pub(crate) fn all(&self) -> Vec<(Fingerprint, Missing)> {
        let absent = |position: &EventPosition| Missing { position: *position, why: Why::NotKept };
        let absent = self.absent.iter().map(|(event_type, position)| (*event_type, absent(position)));
        self.by_type.iter().map(|(event_type, missing)| (*event_type, *missing)).chain(absent).collect()
    }

    /// Returns the number of absent types.
    #[cfg(test)]
    pub(crate) fn absent(&self) -> usize {
        self.absent.len()
    }

    /// Fails if an event of one of these types after the cursor is not in the ring.
    pub(crate) fn check(
        &self,
        cursor: EventPosition,
        mut types: impl Iterator<Item = TypeKey>,
    ) -> Result<(), Gap> {
        if self.any > cursor {
            return Err(Gap::Lost);
        }
        let gap = |event_type: TypeKey| match self.by_type.get(&event_type.0) {
            Some(Missing { position, why: Why::NotKept }) if *position > cursor => Some(Gap::Expired),
            Some(Missing { position, why: Why::Lost }) if *position > cursor => Some(Gap::Lost),
            _ => self.absent.get(&event_type.0).filter(|until| **until > cursor).map(|_| Gap::Expired),
        };
        types.find_map(gap).map_or(Ok(()), Err)
    }
}
