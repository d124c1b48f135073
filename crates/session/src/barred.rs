//! Which tokens are illegal to use, and until when: one entry of 32 bytes for each live revocation.

use hashbrown::HashTable;

use crate::clock::Tick;
use crate::revocation::Seq;
use crate::selector::Fingerprint;

/// A part of the blacklist. Several revocations of the same selector stand beside each other, so that lifting one gives
/// back nothing of another.
#[derive(Default)]
pub(crate) struct Barred(HashTable<Entry>);

#[derive(Clone, Copy)]
struct Entry {
    fingerprint: Fingerprint,
    seq: Seq,
    until: Tick,
    /// The youngest token that is meant, in seconds since 1970; [`ALL`] tokens.
    issued_up_to: u32,
}

/// Tokens of any age.
pub(crate) const ALL: u32 = u32::MAX;

impl Barred {
    /// Bars tokens. What is known of the same revocation is extended, never shortened.
    pub(crate) fn insert(&mut self, fingerprint: Fingerprint, seq: Seq, until: Tick, issued_up_to: u32) {
        let known = self.0.find_mut(fingerprint.bits(), |entry| entry.is(fingerprint, seq));
        match known {
            Some(known) => known.until = known.until.max(until),
            None => {
                let entry = Entry { fingerprint, seq, until, issued_up_to };
                self.0.insert_unique(fingerprint.bits(), entry, Entry::bits);
            }
        }
    }

    /// Takes the entry of one revocation back. Returns whether it was there.
    pub(crate) fn remove(&mut self, fingerprint: Fingerprint, seq: Seq) -> bool {
        let found = self.0.find_entry(fingerprint.bits(), |entry| entry.is(fingerprint, seq));
        found.map(|entry| entry.remove()).is_ok()
    }

    /// Whether a token of this age is illegal to use. [`ALL`]: whether every token is.
    pub(crate) fn bars(&self, fingerprint: Fingerprint, issued_at: u32, now: Tick) -> bool {
        let bars = |entry: &Entry| {
            entry.fingerprint == fingerprint && entry.is_live(now) && issued_at <= entry.issued_up_to
        };
        self.0.find(fingerprint.bits(), bars).is_some()
    }

    /// Live entries of one selector.
    pub(crate) fn count(&self, fingerprint: Fingerprint, now: Tick) -> usize {
        let of_it = |entry: &&Entry| entry.fingerprint == fingerprint && entry.is_live(now);
        self.0.iter_hash(fingerprint.bits()).filter(of_it).count()
    }

    /// Forgets what has expired.
    pub(crate) fn sweep(&mut self, now: Tick) {
        self.0.retain(|entry| entry.is_live(now));
        if self.0.capacity() > 64 && self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to(self.0.len() * 2, Entry::bits);
        }
    }

    /// Entries, those included that have expired since the last sweep.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Room for entries, used or not.
    #[cfg(all(test, not(feature = "loom")))]
    pub(crate) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl Entry {
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
}
