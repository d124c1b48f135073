//! Finds where a client can leave the order of one node and go on in that of another.

use std::collections::{HashMap, HashSet};

use seal::Incarnation;

use crate::bus::Stamp;

/// The events of a selection in the order of the node that is asked, after the client's cursor.
pub(super) struct Theirs<'o> {
    /// Their stamps; `None` if that is not known any more.
    pub(super) events: &'o [Option<Stamp>],
    /// What that node has reached after the last one, in all buckets of the selection.
    pub(super) reached: &'o [Stamp],
}

/// The events of the selection in the order of the node that asks, from a moment on that was before
/// it asked. The other node has reached everything that this one had reached then, and nothing was
/// lost here since.
pub(super) struct Ours<'o> {
    pub(super) events: &'o [Stamp],
    /// What this node has reached after the last one; at least what the other one has.
    pub(super) reached: &'o [Stamp],
}

/// How many events of each order come before the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) theirs: usize,
    pub(super) ours: usize,
}

/// Returns the last cut: before it, both orders have the same events of the selection, together
/// with what comes before what is given of them. `None` if there is none.
pub(super) fn find(theirs: &Theirs<'_>, ours: &Ours<'_>) -> Option<Cut> {
    let (their_last, our_last) = (last_numbers(theirs.reached), last_numbers(ours.reached));
    let at_theirs: HashMap<Stamp, usize> =
        theirs.events.iter().enumerate().filter_map(|(at, stamp)| Some(((*stamp)?, at))).collect();
    let known_here: HashSet<Stamp> = ours.events.iter().copied().collect();

    let mut least_theirs = 0;
    for (at, stamp) in theirs.events.iter().enumerate() {
        if stamp.is_none_or(|stamp| !known_here.contains(&stamp)) {
            // This node had it before, or does not deliver it: it must come from there. What it has
            // not reached could be both.
            if stamp.is_some_and(|stamp| !is_reached(&our_last, &stamp)) {
                return None;
            }
            least_theirs = at + 1;
        }
    }

    // For each of ours, the number of theirs before the cut up to which it must come after the cut.
    let (mut least_ours, mut most_ours) = (0, ours.events.len());
    let mut pairs = Vec::with_capacity(ours.events.len());
    for (at, stamp) in ours.events.iter().enumerate() {
        match at_theirs.get(stamp) {
            Some(there) => pairs.push((*there, at)),
            // The client has got it there, or it is one of theirs without a stamp.
            None if is_reached(&their_last, stamp) => least_ours = at + 1,
            None => most_ours = most_ours.min(at),
        }
    }
    pairs.sort_unstable();
    // The bounds of our side if the pairs from `next` on come after the cut.
    let mut bounds = vec![most_ours; pairs.len() + 1];
    for next in (0..pairs.len()).rev() {
        bounds[next] = bounds[next + 1].min(pairs[next].1);
    }
    let mut before = vec![least_ours; pairs.len() + 1];
    for next in 0..pairs.len() {
        before[next + 1] = before[next].max(pairs[next].1 + 1);
    }
    for next in (0..=pairs.len()).rev() {
        // As far as the pairs allow: up to the first one after the cut.
        let most_theirs = pairs.get(next).map_or(theirs.events.len(), |pair| pair.0);
        if before[next] <= bounds[next] && most_theirs >= least_theirs {
            return Some(Cut { theirs: most_theirs, ours: bounds[next] });
        }
    }
    None
}

/// Returns which of these stamps are not reached.
pub(super) fn not_reached(stamps: &[Stamp], reached: &[Stamp]) -> Vec<Stamp> {
    let last = last_numbers(reached);
    stamps.iter().filter(|stamp| !is_reached(&last, stamp)).copied().collect()
}

type LastNumbers = HashMap<(Incarnation, u16), u64>;

fn last_numbers(reached: &[Stamp]) -> LastNumbers {
    reached.iter().map(|stamp| ((stamp.life, stamp.bucket), stamp.number)).collect()
}

fn is_reached(last: &LastNumbers, stamp: &Stamp) -> bool {
    last.get(&(stamp.life, stamp.bucket)).is_some_and(|last| stamp.number <= *last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(publisher: u8, numbers: &[u64]) -> Vec<Stamp> {
        let life = Incarnation::from_bytes([publisher; Incarnation::BYTES]);
        numbers.iter().map(|number| Stamp { life, bucket: 1, number: *number }).collect()
    }

    fn find_in(
        theirs: &[Option<Stamp>],
        theirs_to: &[Stamp],
        ours: &[Stamp],
        ours_to: &[Stamp],
    ) -> Option<Cut> {
        find(&Theirs { events: theirs, reached: theirs_to }, &Ours { events: ours, reached: ours_to })
    }

    #[test]
    fn one_publisher_can_be_cut_anywhere() {
        let theirs: Vec<_> = stamps(1, &[4, 5, 6]).into_iter().map(Some).collect();
        let cut = find_in(&theirs, &stamps(1, &[6]), &stamps(1, &[6, 7, 8]), &stamps(1, &[8]));
        assert_eq!(cut, Some(Cut { theirs: 3, ours: 1 }));
        let cut = find_in(&[], &stamps(1, &[6]), &stamps(1, &[6, 7]), &stamps(1, &[7]));
        assert_eq!(cut, Some(Cut { theirs: 0, ours: 1 }), "6 was before the cursor");
        let cut = find_in(&theirs, &stamps(1, &[6]), &[], &stamps(1, &[6]));
        assert_eq!(cut, Some(Cut { theirs: 3, ours: 0 }), "this node had all before");
    }

    #[test]
    fn two_publishers_in_opposite_order_are_not_cut_between() {
        let (one, two) = (stamps(1, &[1, 2]), stamps(2, &[1, 2]));
        let reached = [one[1], two[1]];
        let theirs = [one[0], two[0], one[1], two[1]].map(Some);
        let cut = find_in(&theirs, &reached, &[two[0], one[0], one[1], two[1]], &reached);
        assert_eq!(cut, Some(Cut { theirs: 4, ours: 4 }));
        // Two's second event has not come there, and came here before one's first.
        let cut = find_in(&theirs[..3], &[one[1], two[0]], &[two[0], two[1], one[0], one[1]], &reached);
        assert_eq!(cut, Some(Cut { theirs: 0, ours: 0 }), "all from here");
        let cut = find_in(&theirs[1..3], &[one[1], two[0]], &[two[0], two[1], one[0], one[1]], &reached);
        assert_eq!(cut, None, "the client has one's first event");
        let cut = find_in(&theirs[..3], &[one[1], two[0]], &[two[0], one[0], two[1], one[1]], &reached);
        assert_eq!(cut, Some(Cut { theirs: 2, ours: 2 }), "before it");
    }

    #[test]
    fn what_this_node_had_before_must_come_from_there() {
        let theirs = stamps(1, &[4, 5, 6]);
        let theirs = [None, Some(theirs[1]), Some(theirs[2])];
        let cut = find_in(&theirs, &stamps(1, &[6]), &stamps(1, &[6, 7]), &stamps(1, &[7]));
        assert_eq!(cut, Some(Cut { theirs: 3, ours: 1 }));
        let cut = find_in(
            &theirs,
            &stamps(1, &[6]),
            &stamps(2, &[1]),
            &[stamps(1, &[5]), stamps(2, &[1])].concat(),
        );
        assert_eq!(cut, None, "this node has not reached 6");
    }
}
