//! Tells messages that have come before, over another connection.

use std::collections::hash_map::RandomState;
use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;

/// Limit of messages that are remembered. To take one again does no harm.
const REMEMBERED: usize = 4096;

/// The last messages.
#[derive(Default)]
pub(super) struct Once {
    hasher: RandomState,
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Once {
    /// Returns whether a message has not come before, and remembers it.
    pub(super) fn is_new(&mut self, message: &[u8]) -> bool {
        let digest = self.hasher.hash_one(message);
        if !self.known.insert(digest) {
            return false;
        }
        self.order.push_back(digest);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_messages_are_known_and_no_more_are_kept() {
        let mut once = Once::default();
        let messages: Vec<_> = (0..=REMEMBERED).map(|number| number.to_be_bytes()).collect();
        assert!(messages.iter().all(|message| once.is_new(message)));
        assert!(!messages[1..].iter().any(|message| once.is_new(message)));
        assert!(once.is_new(&messages[0]));
        assert_eq!((once.known.len(), once.order.len()), (REMEMBERED, REMEMBERED));
    }
}
