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

    /// Removes the older half of the records. Returns the position before which nothing is exact
    /// any more.
    pub(crate) fn remove_older_half(&mut self) -> EventPosition {
        let mut positions: Vec<_> = self.by_type.values().map(|missing| missing.position).collect();
        positions.sort_unstable();
        let latest = positions.get(positions.len() / 2).copied().unwrap_or_default();
        self.by_type.retain(|_, missing| missing.position > latest);
        latest
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

    /// Returns all records.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (Fingerprint, Missing)> {
        self.by_type.iter().map(|(event_type, missing)| (*event_type, *missing))
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
        let missing =
            |event_type: TypeKey| self.by_type.get(&event_type.0).filter(|missing| missing.position > cursor);
        match types.find_map(missing) {
            None => Ok(()),
            Some(Missing { why: Why::NotKept, .. }) => Err(Gap::Expired),
            Some(Missing { why: Why::Lost, .. }) => Err(Gap::Lost),
        }
    }
}
