//! Which numbers were received.

use std::collections::{HashMap, HashSet};

use seal::Incarnation;

/// Limit of publishers and buckets whose numbers are kept.
pub(super) const NUMBERS: usize = 1 << 18;

/// The last number of each publisher and bucket.
#[derive(Default)]
pub(super) struct Numbers(HashMap<(Incarnation, u16), u64>);

impl Numbers {
    /// Forgets the numbers of buckets that are not received any more.
    pub(super) fn forget(&mut self, buckets: &[u16]) {
        let buckets: HashSet<&u16> = buckets.iter().collect();
        self.0.retain(|(_, bucket), _| !buckets.contains(bucket));
    }

    /// Returns how many events were lost before this one, and whether all other numbers had to be
    /// forgotten, so that the next loss of each is not noticed. `None` if it was received before.
    pub(super) fn check(&mut self, of: (Incarnation, u16), number: u64) -> Option<(u64, bool)> {
        let forgets = self.0.len() >= NUMBERS && !self.0.contains_key(&of);
        if forgets {
            self.0.clear();
        }
        match self.0.insert(of, number) {
            None => Some((0, forgets)),
            Some(last) if number > last => Some((number - last - 1, forgets)),
            Some(last) => {
                self.0.insert(of, last);
                None
            }
        }
    }
}
