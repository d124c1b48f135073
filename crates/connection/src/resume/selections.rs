//! What the subscriptions of a client select, and since when.

use std::collections::VecDeque;

use history::{EventPosition, Selection};

/// The limit of changes that are remembered. Each is needed only until the client has got what was
/// published before it.
const MOST: usize = 8;

/// What the subscriptions of a client have selected one after the other. What was published before
/// they were set is selected by those before.
#[derive(Clone, Default)]
pub(crate) struct Selections {
    /// Each with the position after which it counts, in this order.
    list: VecDeque<(EventPosition, Selection)>,
    /// It is not remembered what selects the events up to here.
    forgotten: EventPosition,
}

impl Selections {
    /// Events after this position are selected by these, until others are set.
    pub(crate) fn set(&mut self, from: EventPosition, all: Selection) {
        self.list.pop_back_if(|(last, _)| *last == from);
        self.list.push_back((from, all));
        if self.list.len() > MOST {
            self.list.pop_front();
            self.forgotten = self.next_from().unwrap_or(from);
        }
    }

    /// Forgets what selects events up to this position only. Returns `false` if it is not
    /// remembered what selects those after it.
    pub(crate) fn reach(&mut self, position: EventPosition) -> bool {
        while self.list.get(1).is_some_and(|(from, _)| *from <= position) {
            self.list.pop_front();
        }
        position >= self.forgotten
    }

    /// Returns the position after which the first of them counts.
    pub(super) fn next_from(&self) -> Option<EventPosition> {
        self.list.front().map(|(from, _)| *from)
    }

    /// Takes the first of them, with the position after which it counts.
    pub(super) fn take(&mut self) -> Option<(EventPosition, Selection)> {
        self.list.pop_front()
    }

    /// Returns `true` if something is not remembered.
    pub(super) fn has_forgotten(&self) -> bool {
        self.forgotten != EventPosition::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn froms(selections: &Selections) -> Vec<u64> {
        selections.list.iter().map(|(from, _)| from.0).collect()
    }

    #[test]
    fn what_is_reached_is_forgotten_but_for_what_counts() {
        let mut selections = Selections::default();
        assert!(selections.reach(EventPosition(5)));
        for from in [1, 4, 4, 7] {
            selections.set(EventPosition(from), Selection::default());
        }
        for (position, left) in [(0, vec![1, 4, 7]), (3, vec![1, 4, 7]), (4, vec![4, 7]), (9, vec![7])] {
            assert!(selections.reach(EventPosition(position)));
            assert_eq!(froms(&selections), left, "{position}");
        }
    }

    #[test]
    fn of_too_many_the_oldest_are_not_known_any_more() {
        let mut selections = Selections::default();
        for from in 1..=MOST as u64 {
            selections.set(EventPosition(from), Selection::default());
        }
        assert!(selections.reach(EventPosition(0)) && !selections.has_forgotten());
        selections.set(EventPosition(100), Selection::default());
        assert!(!selections.reach(EventPosition(1)) && selections.has_forgotten());
        assert!(selections.reach(EventPosition(2)));
        assert_eq!(froms(&selections).len(), MOST);
    }
}
