//! Which tokens are illegal to use, and until when: one entry of 32 bytes for each live revocation.

use hashbrown::HashTable;

use crate::clock::Tick;
use crate::revocation::Seq;
use crate::selector::Fingerprint;

/// A part of the blacklist. Each revocation of a selector has its own entry, so that lifting one
/// does not affect the others.
#[derive(Default)]
pub(crate) struct Barred(HashTable<BarredEntry>);

#[derive(Clone, Copy)]
struct BarredEntry {
    fingerprint: Fingerprint,
    seq: Seq,
    until: Tick,
    /// The greatest `iat` that is barred, in seconds since 1970; [`ALL`](crate::age::ALL) bars
    /// every token.
    issued_up_to: u32,
}

impl Barred {
    /// Adds an entry. If the revocation has one already, its end and its bound move, and only to
    /// later times.
    pub(crate) fn insert(&mut self, fingerprint: Fingerprint, seq: Seq, until: Tick, issued_up_to: u32) {
        let known = self.0.find_mut(fingerprint.bits(), |entry| entry.is(fingerprint, seq));
        match known {
            Some(known) => {
                known.until = known.until.max(until);
                known.issued_up_to = known.issued_up_to.max(issued_up_to);
            }
            None => {
                let entry = BarredEntry { fingerprint, seq, until, issued_up_to };
                self.0.insert_unique(fingerprint.bits(), entry, BarredEntry::bits);
            }
        }
    }

    /// Removes the entry of one revocation. Returns `true` if it was there.
    pub(crate) fn remove(&mut self, fingerprint: Fingerprint, seq: Seq) -> bool {
        let found = self.0.find_entry(fingerprint.bits(), |entry| entry.is(fingerprint, seq));
        found.map(|entry| entry.remove()).is_ok()
    }

    /// Returns `true` if a token of this age is illegal to use; for [`ALL`](crate::age::ALL), if
    /// every token is.
    pub(crate) fn bars(&self, fingerprint: Fingerprint, issued_at: u32, now: Tick) -> bool {
        let bars = |entry: &BarredEntry| {
            entry.fingerprint == fingerprint && entry.is_live(now) && issued_at <= entry.issued_up_to
        };
        self.0.find(fingerprint.bits(), bars).is_some()
    }

    /// Returns the number of live entries of one selector.
    pub(crate) fn count(&self, fingerprint: Fingerprint, now: Tick) -> usize {
        let of_it = |entry: &&BarredEntry| entry.fingerprint == fingerprint && entry.is_live(now);
        self.0.iter_hash(fingerprint.bits()).filter(of_it).count()
    }

    /// Removes expired entries.
    pub(crate) fn sweep(&mut self, now: Tick) {
        self.0.retain(|entry| entry.is_live(now));
        if self.0.capacity() > 64 && self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to(self.0.len() * 2, BarredEntry::bits);
        }
    }

    /// Returns the number of entries, including those that have expired since the last sweep.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the capacity for entries.
    #[cfg(all(test, not(feature = "loom")))]
    pub(crate) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl BarredEntry {
    fn is(&self, fingerprint: Fingerprint, seq: Seq) -> bool {
        self.fingerprint == fingerprint && self.seq == seq
    }

    fn is_live(&self, now: Tick) -> bool {
        now < self.until || self.until == Tick::NEVER
    }

    fn bits(&self) -> u64 {
        self.fingerprint.bits()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::age::ALL;
    use crate::selector::Fingerprints;

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<BarredEntry>(), 32);
    }

    #[test]
    fn revocations_of_one_selector_stand_beside_each_other() {
        let print = Fingerprints::new().of_claim(None, "/sub", "alice").fingerprint();
        let mut barred = Barred::default();
        barred.insert(print, 1, Tick(10), ALL);
        barred.insert(print, 2, Tick(20), 1000);
        assert!(barred.bars(print, 1001, Tick(9)));
        assert!(!barred.bars(print, 1001, Tick(10)), "the first has expired");
        assert!(barred.bars(print, 1000, Tick(19)) && !barred.bars(print, 1000, Tick(20)));
        assert_eq!((barred.count(print, Tick(9)), barred.count(print, Tick(10))), (2, 1));
        assert!(barred.remove(print, 2) && !barred.remove(print, 2));
        assert!(!barred.bars(print, 0, Tick(15)));
        barred.sweep(Tick(15));
        assert_eq!(barred.len(), 0);
    }

    #[test]
    fn the_same_revocation_again_is_one_entry_that_is_never_shortened() {
        let print = Fingerprints::new().of_claim(None, "/sub", "alice").fingerprint();
        let mut barred = Barred::default();
        for until in [10, 20, 5] {
            barred.insert(print, 1, Tick(until), ALL);
        }
        assert_eq!(barred.len(), 1);
        assert!(barred.bars(print, ALL, Tick(19)));
    }

    #[test]
    fn a_bound_that_moves_never_moves_back() {
        let print = Fingerprints::new().of_claim(None, "/sub", "alice").fingerprint();
        let mut barred = Barred::default();
        for (until, issued_up_to, barred_up_to) in [(10, 100, 100), (5, 200, 200), (9, 50, 200)] {
            barred.insert(print, 1, Tick(until), issued_up_to);
            assert!(barred.bars(print, barred_up_to, Tick(9)), "{issued_up_to}");
            assert!(!barred.bars(print, barred_up_to + 1, Tick(9)), "{issued_up_to}");
        }
        assert_eq!((barred.len(), barred.bars(print, 0, Tick(10))), (1, false));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert { print: usize, seq: Seq, until: u32, issued_up_to: u32 },
        Remove { print: usize, seq: Seq },
        Sweep { now: u32 },
    }

    fn step() -> impl Strategy<Value = Step> {
        let (print, seq) = (0usize..24, 0u64..3);
        prop_oneof![
            6 => (print.clone(), seq.clone(), 1u32..40, prop_oneof![0u32..4, Just(ALL)])
                .prop_map(|(print, seq, until, issued_up_to)| Step::Insert { print, seq, until, issued_up_to }),
            3 => (print, seq).prop_map(|(print, seq)| Step::Remove { print, seq }),
            1 => (0u32..40).prop_map(|now| Step::Sweep { now }),
        ]
    }

    /// Fingerprints that collide: a third of them has the same slot, and the others have slots near
    /// it.
    fn crowd() -> Vec<Fingerprint> {
        let home = |n: u64| [0, 0, 1, 7, u64::MAX, u64::MAX - 1][n as usize % 6];
        (0..24).map(|n| Fingerprint::of_parts(n, home(n))).collect()
    }

    proptest! {
        /// After any sequence of insertions, removals and sweeps, the table agrees with a plain
        /// map.
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec(step(), 1..200)) {
            let prints = crowd();
            let mut barred = Barred::default();
            let mut map: BTreeMap<(usize, Seq), (u32, u32)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Insert { print, seq, until, issued_up_to } => {
                        barred.insert(prints[print], seq, Tick(until), issued_up_to);
                        let known = map.entry((print, seq)).or_insert((0, 0));
                        *known = (known.0.max(until), known.1.max(issued_up_to));
                    }
                    Step::Remove { print, seq } => {
                        prop_assert_eq!(barred.remove(prints[print], seq), map.remove(&(print, seq)).is_some());
                    }
                    Step::Sweep { now } => {
                        barred.sweep(Tick(now));
                        map.retain(|_, (until, _)| now < *until);
                    }
                }
                prop_assert_eq!(barred.len(), map.len());
                for (print, fingerprint) in prints.iter().enumerate() {
                    for (issued_at, now) in [(0, 0), (2, 0), (2, 20), (ALL, 10)] {
                        let live = |(key, value): &(&(usize, Seq), &(u32, u32))| key.0 == print && now < value.0;
                        let bars = map.iter().filter(live).any(|(_, value)| issued_at <= value.1);
                        prop_assert_eq!(barred.bars(*fingerprint, issued_at, Tick(now)), bars);
                        prop_assert_eq!(barred.count(*fingerprint, Tick(now)), map.iter().filter(live).count());
                    }
                }
            }
        }
    }
}
