//! Where recent revocations were applied.

use std::collections::{HashMap, VecDeque};

use crate::id::EventPosition;
use crate::time::{Clock, Moment};

/// The position of each recent revocation, by the key of what it selects. A reader that a
/// revocation after its cursor selects must not get what lies between, even if its token is newer,
/// or the revocation was lifted.
pub(crate) struct Revocations {
    /// The limit of revocations. Beyond it, the oldest is removed, and with it the exactness of
    /// older cursors.
    limit: usize,
    latest: HashMap<u128, EventPosition>,
    in_order: VecDeque<Revocation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Revocation {
    pub(crate) key: [u8; 16],
    pub(crate) position: EventPosition,
    pub(crate) at: Moment,
}

impl Revocations {
    /// Bytes of a revocation in both collections.
    pub(crate) const BYTES: usize = 2 * size_of::<Revocation>() + 2 * size_of::<(u128, EventPosition)>();

    /// Creates an empty table with this limit, which is at least 1.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), latest: HashMap::new(), in_order: VecDeque::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.in_order.len()
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Revocation> {
        self.in_order.iter()
    }

    /// Adds a revocation, later than all others. Returns the position of an older one that had to
    /// be removed.
    pub(crate) fn add(&mut self, key: u128, position: EventPosition, at: Moment) -> Option<EventPosition> {
        let removed = if self.in_order.len() < self.limit { None } else { self.remove_oldest() };
        self.latest.insert(key, position);
        self.in_order.push_back(Revocation { key: key.to_be_bytes(), position, at });
        removed
    }

    /// Removes the oldest revocation if it is too old to be kept. Returns its position.
    pub(crate) fn expire(&mut self, clock: &Clock) -> Option<EventPosition> {
        let is_past = self.in_order.front().is_some_and(|oldest| clock.is_past(oldest.at));
        is_past.then(|| self.remove_oldest()).flatten()
    }

    /// Returns `true` if one of these keys was revoked after the cursor.
    pub(crate) fn any_since(&self, cursor: EventPosition, keys: &[u128]) -> bool {
        keys.iter().any(|key| self.latest.get(key).is_some_and(|position| *position > cursor))
    }

    fn remove_oldest(&mut self) -> Option<EventPosition> {
        let oldest = self.in_order.pop_front()?;
        let key = u128::from_be_bytes(oldest.key);
        if self.latest.get(&key) == Some(&oldest.position) {
            self.latest.remove(&key);
        }
        Some(oldest.position)
    }
}
