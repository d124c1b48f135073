//! Tells what has come before.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

/// The last values, up to a limit.
pub(crate) struct Once<T> {
    limit: usize,
    known: HashSet<T>,
    order: VecDeque<T>,
}

impl<T: Copy + Eq + Hash> Once<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, known: HashSet::new(), order: VecDeque::new() }
    }

    /// Returns whether a value has not come before, and remembers it.
    pub(crate) fn is_new(&mut self, value: T) -> bool {
        if !self.known.insert(value) {
            return false;
        }
        self.order.push_back(value);
        if self.order.len() > self.limit
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
    fn the_last_values_are_known_and_no_more_are_kept() {
        let limit = 4096;
        let mut once = Once::new(limit);
        let values: Vec<_> = (0..=limit).collect();
        assert!(values.iter().all(|value| once.is_new(*value)));
        assert!(!values[1..].iter().any(|value| once.is_new(*value)));
        assert!(once.is_new(values[0]));
        assert_eq!((once.known.len(), once.order.len()), (limit, limit));
    }
}
