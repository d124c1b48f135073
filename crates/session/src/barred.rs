//! Which tokens are illegal to use, and until when: one entry of 32 bytes for each live revocation.

use crate::clock::Tick;
use crate::revocation::Seq;
use crate::selector::Fingerprint;

/// A part of the blacklist. Several revocations of the same selector stand beside each other, so that lifting one gives
/// back nothing of another.
///
/// A table with linear probing (Knuth, The Art of Computer Programming, volume 3, section 6.4, algorithm L), at most three
/// quarters full. Looking up a token is one place in memory: with ten million entries, each further one costs more than
/// all the rest of a check. A general hash map keeps its tags apart from its entries, and so needs two.
#[derive(Default)]
pub(crate) struct Barred {
    /// As many as a power of two, or none.
    slots: Box<[Entry]>,
    /// Slots that are taken.
    len: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    fingerprint: Fingerprint,
    seq: Seq,
    /// [`FREE`]: nothing is here.
    until: Tick,
    /// The youngest token that is meant, in seconds since 1970; [`ALL`] tokens.
    issued_up_to: u32,
}

/// Tokens of any age.
pub(crate) const ALL: u32 = u32::MAX;

/// The end of no revocation: each ends after it begins.
const FREE: Tick = Tick(0);

/// The smallest table that is not empty.
const LEAST: usize = 8;

impl Barred {
    /// Bars tokens. What is known of the same revocation is extended, never shortened.
    pub(crate) fn insert(&mut self, fingerprint: Fingerprint, seq: Seq, until: Tick, issued_up_to: u32) {
        debug_assert!(until > FREE);
        if let Some(at) = self.find(fingerprint, |entry| entry.seq == seq) {
            self.slots[at].until = self.slots[at].until.max(until);
            return;
        }
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.resize((self.slots.len() * 2).max(LEAST));
        }
        self.place(Entry { fingerprint, seq, until, issued_up_to });
    }

    /// Takes the entry of one revocation back. Returns whether it was there.
    pub(crate) fn remove(&mut self, fingerprint: Fingerprint, seq: Seq) -> bool {
        let found = self.find(fingerprint, |entry| entry.seq == seq);
        if let Some(at) = found {
            self.clear(at);
        }
        found.is_some()
    }

    /// Whether a token of this age is illegal to use. [`ALL`]: whether every token is.
    pub(crate) fn bars(&self, fingerprint: Fingerprint, issued_at: u32, now: Tick) -> bool {
        self.find(fingerprint, |entry| entry.is_live(now) && issued_at <= entry.issued_up_to).is_some()
    }

    /// Live entries of one selector.
    pub(crate) fn count(&self, fingerprint: Fingerprint, now: Tick) -> usize {
        let of_it = |at: &usize| {
            let entry = &self.slots[*at];
            entry.fingerprint == fingerprint && entry.is_live(now)
        };
        self.run_of(fingerprint).filter(of_it).count()
    }

    /// Forgets what has expired.
    pub(crate) fn sweep(&mut self, now: Tick) {
        // From behind a free slot, so that nothing is moved to where the sweep has been.
        let Some(free) = self.slots.iter().position(Entry::is_free) else { return };
        for step in 1..self.slots.len() {
            let at = (free + step) & self.mask();
            while !self.slots[at].is_free() && !self.slots[at].is_live(now) {
                self.clear(at);
            }
        }
        if self.slots.len() > 64 && self.len < self.slots.len() / 8 {
            self.resize((self.len * 4).next_power_of_two().max(LEAST));
        }
    }

    /// Entries, those included that have expired since the last sweep.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Room for entries, used or not.
    #[cfg(all(test, not(feature = "loom")))]
    pub(crate) fn capacity(&self) -> usize {
        self.slots.len()
    }

    fn mask(&self) -> usize {
        self.slots.len() - 1
    }

    /// Where the search for a fingerprint begins.
    fn home(&self, fingerprint: Fingerprint) -> usize {
        fingerprint.bits() as usize & self.mask()
    }

    /// The taken slots from the home of a fingerprint to the next free one: if it is anywhere, it is there.
    fn run_of(&self, fingerprint: Fingerprint) -> impl Iterator<Item = usize> {
        let home = if self.slots.is_empty() { 0 } else { self.home(fingerprint) };
        let around = (0..self.slots.len()).map(move |step| (home + step) & self.mask());
        around.take_while(|at| !self.slots[*at].is_free())
    }

    fn find(&self, fingerprint: Fingerprint, which: impl Fn(&Entry) -> bool) -> Option<usize> {
        let is_it = |at: &usize| self.slots[*at].fingerprint == fingerprint && which(&self.slots[*at]);
        self.run_of(fingerprint).find(is_it)
    }

    /// Puts an entry that is not there into the first free slot from its home; there is one.
    fn place(&mut self, entry: Entry) {
        let mut at = self.home(entry.fingerprint);
        while !self.slots[at].is_free() {
            at = (at + 1) & self.mask();
        }
        self.slots[at] = entry;
        self.len += 1;
    }

    /// Frees a slot. Those behind it that could not have their home move up, so that no search ends before them
    /// (algorithm R).
    fn clear(&mut self, mut hole: usize) {
        let mask = self.mask();
        let mut next = (hole + 1) & mask;
        while !self.slots[next].is_free() {
            let from_home = next.wrapping_sub(self.home(self.slots[next].fingerprint)) & mask;
            if from_home >= next.wrapping_sub(hole) & mask {
                self.slots[hole] = self.slots[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.slots[hole].until = FREE;
        self.len -= 1;
    }

    fn resize(&mut self, slots: usize) {
        let free = Entry { fingerprint: Fingerprint::default(), seq: 0, until: FREE, issued_up_to: 0 };
        let old = std::mem::replace(&mut self.slots, vec![free; slots].into_boxed_slice());
        self.len = 0;
        old.into_iter().filter(|entry| !entry.is_free()).for_each(|entry| self.place(entry));
    }
}

impl Entry {
    fn is_free(&self) -> bool {
        self.until == FREE
    }

    fn is_live(&self, now: Tick) -> bool {
        now < self.until || self.until == Tick::NEVER
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::selector::Fingerprints;

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Entry>(), 32);
    }

    #[test]
    fn revocations_of_one_selector_stand_beside_each_other() {
        let print = Fingerprints::new().of_claim("/sub", "alice").fingerprint();
        let mut barred = Barred::default();
        barred.insert(print, 1, Tick(10), ALL);
        barred.insert(print, 2, Tick(20), 1000);
        assert!(barred.bars(print, 1001, Tick(9)));
        assert!(!barred.bars(print, 1001, Tick(10)), "the first is over");
        assert!(barred.bars(print, 1000, Tick(19)) && !barred.bars(print, 1000, Tick(20)));
        assert_eq!((barred.count(print, Tick(9)), barred.count(print, Tick(10))), (2, 1));
        assert!(barred.remove(print, 2) && !barred.remove(print, 2));
        assert!(!barred.bars(print, 0, Tick(15)));
        barred.sweep(Tick(15));
        assert_eq!(barred.len(), 0);
    }

    #[test]
    fn the_same_revocation_again_is_one_entry_that_is_never_shortened() {
        let print = Fingerprints::new().of_claim("/sub", "alice").fingerprint();
        let mut barred = Barred::default();
        for until in [10, 20, 5] {
            barred.insert(print, 1, Tick(until), ALL);
        }
        assert_eq!(barred.len(), 1);
        assert!(barred.bars(print, ALL, Tick(19)));
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

    /// Fingerprints that crowd: a third of them has the same home, and others the slots behind it and in front of it.
    fn crowd() -> Vec<Fingerprint> {
        let home = |n: u64| [0, 0, 1, 7, u64::MAX, u64::MAX - 1][n as usize % 6];
        (0..24).map(|n| Fingerprint::of_parts(n, home(n))).collect()
    }

    proptest! {
        /// Whatever is inserted, removed and swept in whatever order, the table says what a plain map says.
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec(step(), 1..200)) {
            let prints = crowd();
            let mut barred = Barred::default();
            let mut map: BTreeMap<(usize, Seq), (u32, u32)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Insert { print, seq, until, issued_up_to } => {
                        barred.insert(prints[print], seq, Tick(until), issued_up_to);
                        let known = map.entry((print, seq)).or_insert((0, issued_up_to));
                        known.0 = known.0.max(until);
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
