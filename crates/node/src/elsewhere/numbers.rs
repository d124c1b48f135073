//! Which numbers of the other nodes a node has received.

use std::collections::HashMap;

use parking_lot::Mutex;
use seal::Incarnation;

use crate::bus::Stamp;

/// Limit of publishers of a bucket.
const PUBLISHERS: usize = 256;

/// The last number of each publisher in each bucket that a node receives, for its [`Bus`].
///
/// A bucket is [expected](Numbers::expect) first: what comes is only noted. Then the other lives
/// are asked which numbers they have given, and it is [settled](Numbers::settle): from here on,
/// everything with a higher number is received, or its loss is noticed with the next number. Who
/// was not asked has given none: its life began later, so its first number is 1.
///
/// [`Bus`]: crate::Bus
#[derive(Default)]
pub struct Numbers(Mutex<HashMap<u16, Row>>);

/// The publishers of a bucket.
#[derive(Default)]
struct Row {
    /// The last number of each; `None` if it was asked and did not answer.
    last: HashMap<Incarnation, Option<u64>>,
    is_settled: bool,
    /// Publishers were removed to make room: it is not known which numbers the others have given.
    has_forgotten: bool,
}

impl Numbers {
    /// Begins to note what comes in these buckets. What was known of them is forgotten.
    pub fn expect(&self, buckets: &[u16]) {
        self.0.lock().extend(buckets.iter().map(|bucket| (*bucket, Row::default())));
    }

    /// Begins to receive these buckets after the numbers that the publishers have `given`, and
    /// after those that came meanwhile. Of the `silent` ones, it is not known what they have given.
    /// Returns the stamps that it begins after.
    pub fn settle(&self, buckets: &[u16], given: &[Stamp], silent: &[Incarnation]) -> Vec<Stamp> {
        let mut rows = self.0.lock();
        for stamp in given {
            if let Some(row) = rows.get_mut(&stamp.bucket) {
                row.pass(stamp.life, stamp.number);
            }
        }
        let mut begun = Vec::new();
        for bucket in buckets {
            let Some(row) = rows.get_mut(bucket) else { continue };
            row.is_settled = true;
            begun.extend(row.last.iter().filter_map(|(life, number)| {
                Some(Stamp { life: *life, bucket: *bucket, number: (*number)? })
            }));
            for life in silent {
                row.last.entry(*life).or_insert(None);
            }
        }
        begun
    }

    /// Returns how many events are missing before this one, at least; `None` if it is not to be
    /// delivered: it was received before, or its bucket is not settled.
    pub fn receive(&self, stamp: Stamp) -> Option<u64> {
        let mut rows = self.0.lock();
        let row = rows.get_mut(&stamp.bucket)?;
        let last = row.last.get(&stamp.life).copied().flatten();
        if last.is_some_and(|last| stamp.number <= last) {
            return None;
        }
        let missing = row.missing(stamp.life, stamp.number.saturating_sub(1));
        row.pass(stamp.life, stamp.number);
        row.is_settled.then_some(missing)
    }

    /// Returns how many events are missing up to the one that a publisher says to be its last one,
    /// at least; `None` if the bucket is not settled.
    pub fn pass(&self, last: Stamp) -> Option<u64> {
        let mut rows = self.0.lock();
        let row = rows.get_mut(&last.bucket)?;
        let missing = row.missing(last.life, last.number);
        row.pass(last.life, last.number);
        row.is_settled.then_some(missing)
    }

    /// Forgets buckets that are not received any more.
    pub fn forget(&self, buckets: &[u16]) {
        let mut rows = self.0.lock();
        buckets.iter().for_each(|bucket| _ = rows.remove(bucket));
    }

    /// Forgets publishers for which `is_alive` is `false`, in buckets that have many.
    pub fn tidy(&self, is_alive: impl Fn(Incarnation) -> bool) {
        for row in self.0.lock().values_mut().filter(|row| row.last.len() > PUBLISHERS / 2) {
            row.last.retain(|life, _| is_alive(*life));
        }
    }

    /// Returns the buckets that are received.
    pub fn buckets(&self) -> Vec<u16> {
        self.0.lock().keys().copied().collect()
    }

    /// Returns whether this number, or a higher one, was received.
    pub fn has_reached(&self, stamp: Stamp) -> bool {
        let rows = self.0.lock();
        let last = rows.get(&stamp.bucket).and_then(|row| row.last.get(&stamp.life).copied().flatten());
        last.unwrap_or_default() >= stamp.number
    }
}

impl Row {
    /// Returns how many numbers of a publisher up to this one were not received, at least.
    fn missing(&self, life: Incarnation, number: u64) -> u64 {
        match self.last.get(&life).copied() {
            Some(Some(last)) => number.saturating_sub(last),
            None if !self.has_forgotten => number,
            Some(None) | None => (number > 0).into(),
        }
    }

    fn pass(&mut self, life: Incarnation, number: u64) {
        if self.last.len() >= PUBLISHERS && !self.last.contains_key(&life) {
            self.last.clear();
            self.has_forgotten = true;
        }
        let last = self.last.entry(life).or_default();
        *last = Some(last.unwrap_or_default().max(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(number: u64) -> Incarnation {
        let mut life = [0; Incarnation::BYTES];
        life[1..].copy_from_slice(&number.to_be_bytes());
        Incarnation::from_bytes(life)
    }

    fn stamp(publisher: u64, bucket: u16, number: u64) -> Stamp {
        Stamp { life: life(publisher), bucket, number }
    }

    /// Returns numbers that begin to be received after what the first publisher has given.
    fn settled(given: u64) -> Numbers {
        let numbers = Numbers::default();
        numbers.expect(&[1, 2]);
        numbers.settle(&[1, 2], &[stamp(1, 1, given)], &[life(3)]);
        numbers
    }

    #[test]
    fn the_first_message_has_a_number_before_it() {
        assert_eq!(settled(6).receive(stamp(1, 1, 7)), Some(0));
        assert_eq!(settled(6).receive(stamp(1, 1, 9)), Some(2));
        assert_eq!(settled(6).receive(stamp(1, 1, 6)), None, "from before");
        assert_eq!(settled(6).receive(stamp(2, 1, 1)), Some(0), "its life began later");
        assert_eq!(settled(6).receive(stamp(2, 1, 3)), Some(2));
        assert_eq!(settled(6).receive(stamp(1, 2, 2)), Some(1), "each bucket has its own");
    }

    #[test]
    fn whoever_has_not_answered_may_have_given_any_number() {
        assert_eq!(settled(6).receive(stamp(3, 1, 1)), Some(0));
        let numbers = settled(6);
        let received = [1000, 1001, 1003].map(|number| numbers.receive(stamp(3, 1, number)));
        assert_eq!(received, [Some(1), Some(0), Some(1)]);
    }

    #[test]
    fn what_comes_before_a_bucket_is_settled_is_noted_and_not_delivered() {
        let numbers = Numbers::default();
        assert_eq!(numbers.receive(stamp(1, 1, 5)), None, "not expected");
        numbers.expect(&[1]);
        for early in [stamp(1, 1, 5), stamp(2, 1, 5), stamp(3, 1, 5)] {
            assert_eq!(numbers.receive(early), None);
        }
        let mut begun = numbers.settle(&[1], &[stamp(1, 1, 4), stamp(2, 1, 7)], &[life(3), life(4)]);
        begun.sort_by_key(|stamp| stamp.life.to_bytes());
        assert_eq!(begun, [stamp(1, 1, 5), stamp(2, 1, 7), stamp(3, 1, 5)]);
        assert_eq!(numbers.receive(stamp(1, 1, 6)), Some(0));
        assert_eq!(numbers.receive(stamp(2, 1, 6)), None, "published before the bucket was settled");
        assert_eq!(numbers.receive(stamp(2, 1, 8)), Some(0));
        assert_eq!(numbers.receive(stamp(3, 1, 7)), Some(1), "it has told its number by an event");
        numbers.forget(&[1]);
        assert_eq!(numbers.receive(stamp(1, 1, 7)), None);
        numbers.expect(&[1]);
        numbers.settle(&[1], &[stamp(1, 1, 20)], &[]);
        assert_eq!(numbers.receive(stamp(1, 1, 21)), Some(0), "what nobody wanted is not lost");
    }

    #[test]
    fn what_was_reached_is_known() {
        let numbers = settled(6);
        numbers.receive(stamp(1, 1, 9));
        let has_reached = [stamp(1, 1, 9), stamp(1, 1, 10), stamp(2, 1, 1), stamp(3, 1, 1), stamp(1, 5, 1)]
            .map(|stamp| numbers.has_reached(stamp));
        assert_eq!(has_reached, [true, false, false, false, false]);
    }

    #[test]
    fn the_last_number_that_was_given_shows_what_is_missing() {
        let numbers = settled(6);
        let passed = [6, 6, 5, 8, 8].map(|number| numbers.pass(stamp(1, 1, number)));
        assert_eq!(passed, [Some(0), Some(0), Some(0), Some(2), Some(0)]);
        assert_eq!(numbers.receive(stamp(1, 1, 8)), None, "it comes after it was taken for lost");
        assert_eq!(numbers.receive(stamp(1, 1, 9)), Some(0));
        assert_eq!(numbers.pass(stamp(3, 1, 700)), Some(1), "some of them, perhaps");
        assert_eq!(numbers.pass(stamp(2, 1, 2)), Some(2), "its life began later");
        assert_eq!(numbers.pass(stamp(2, 9, 2)), None);
    }

    #[test]
    fn publishers_that_are_forgotten_make_a_gap_and_no_silence() {
        let numbers = settled(6);
        for publisher in 10..10 + PUBLISHERS as u64 {
            assert_eq!(numbers.receive(stamp(publisher, 1, 1)), Some(0));
        }
        assert_eq!(numbers.receive(stamp(1, 1, 700)), Some(1), "it was forgotten");
        assert_eq!(numbers.receive(stamp(1, 1, 702)), Some(1), "it is known again");
        assert_eq!(numbers.receive(stamp(1, 2, 3)), Some(2), "the other bucket is as it was");
    }

    #[test]
    fn publishers_that_are_gone_make_room() {
        let numbers = settled(6);
        for publisher in 10..10 + PUBLISHERS as u64 / 2 {
            numbers.receive(stamp(publisher, 1, 1));
        }
        numbers.tidy(|alive| alive == life(1));
        assert_eq!(numbers.receive(stamp(1, 1, 8)), Some(1));
        for publisher in 1000..999 + PUBLISHERS as u64 {
            assert_eq!(numbers.receive(stamp(publisher, 1, 1)), Some(0));
        }
        assert_eq!(numbers.receive(stamp(1, 1, 9)), Some(0), "there was room");
    }
}
