//! Which stamps the events of this node's order have, and how far it has got.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use connection::EventPosition;
use parking_lot::Mutex;
use seal::Incarnation;
use tokio::time::Instant;

use super::KNOWN;
use crate::bus::Stamp;

/// Limit of the events whose stamps are kept; 2.5 MiB.
const RECENT: usize = 1 << 16;

/// Limit of publishers of a bucket.
const PUBLISHERS: usize = 256;

/// The stamps of recent events, and the last one of each publisher and bucket.
///
/// Written in the order of positions. Whoever reads it while no position is taken knows what this
/// node has received up to the newest one.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    recent: VecDeque<(EventPosition, Option<Stamp>)>,
    /// The last position whose stamp was removed.
    removed: EventPosition,
    last: HashMap<u16, Vec<Last>>,
    /// Publishers of a bucket of which nothing is known: they did not answer when this node began
    /// to receive it, and nothing has come since.
    silent: HashMap<u16, Vec<Incarnation>>,
    /// Buckets with more publishers than there is room for.
    crowded: HashSet<u16>,
    /// The last event of each bucket that every node receives by itself.
    unstamped: HashMap<u16, EventPosition>,
}

/// How far this node has got with a publisher in a bucket.
struct Last {
    life: Incarnation,
    number: u64,
    at: Instant,
}

impl Ledger {
    /// An event of a bucket takes its position. Without a stamp it cannot be recognized at another
    /// node.
    pub(crate) fn record(&self, position: EventPosition, bucket: u16, stamp: Option<Stamp>) {
        // Positions are not taken if no events are kept.
        if position == EventPosition::default() {
            return;
        }
        let mut entries = self.0.lock();
        if entries.recent.len() >= RECENT
            && let Some((removed, _)) = entries.recent.pop_front()
        {
            entries.removed = removed;
        }
        entries.recent.push_back((position, stamp));
        match stamp {
            Some(stamp) => entries.pass(stamp),
            None => _ = entries.unstamped.insert(bucket, position),
        }
    }

    /// Everything up to a stamp was received or is known to be lost.
    pub(crate) fn pass(&self, stamp: Stamp) {
        self.0.lock().pass(stamp);
    }

    /// Returns how far this node has got in these buckets, with each publisher that it has heard of
    /// `within` this time.
    pub(crate) fn reached(&self, buckets: &[u16], within: Option<Duration>) -> Vec<Stamp> {
        let entries = self.0.lock();
        let now = Instant::now();
        let is_recent = |last: &&Last| within.is_none_or(|within| now - last.at <= within);
        let mut reached = Vec::new();
        for bucket in buckets {
            let all = entries.last.get(bucket).into_iter().flatten().filter(is_recent);
            reached.extend(all.map(|last| Stamp { life: last.life, bucket: *bucket, number: last.number }));
        }
        reached
    }

    /// This node begins to receive these buckets, after these stamps, and not knowing what the
    /// silent lives have published before.
    pub(crate) fn begin(&self, begun: &[Stamp], buckets: &[u16], silent: &[Incarnation]) {
        let mut entries = self.0.lock();
        if !silent.is_empty() {
            entries.silent.extend(buckets.iter().map(|bucket| (*bucket, silent.to_vec())));
        }
        begun.iter().for_each(|stamp| entries.pass(*stamp));
    }

    /// Returns whether this node may lack what one of these lives has published in these buckets
    /// without knowing it.
    pub(crate) fn has_silent(&self, buckets: &[u16], lives: &[Incarnation]) -> bool {
        let entries = self.0.lock();
        let mut silent = buckets.iter().filter_map(|bucket| entries.silent.get(bucket)).flatten();
        silent.any(|life| lives.contains(life))
    }

    /// Returns whether it is not known how far this node has got with some publisher.
    pub(crate) fn is_crowded(&self, buckets: &[u16]) -> bool {
        let entries = self.0.lock();
        buckets.iter().any(|bucket| entries.crowded.contains(bucket))
    }

    /// Forgets how far this node has got in these buckets, which it does not receive any more.
    pub(crate) fn forget(&self, buckets: &[u16]) {
        let mut entries = self.0.lock();
        for bucket in buckets {
            entries.last.remove(bucket);
            entries.silent.remove(bucket);
            entries.crowded.remove(bucket);
        }
    }

    /// Returns the stamps of the events at these positions; `None` for those that it does not
    /// have any more.
    pub(crate) fn stamps_at(&self, positions: impl Iterator<Item = EventPosition>) -> Vec<Option<Stamp>> {
        let entries = self.0.lock();
        let stamp_at = |position| {
            let found = entries.recent.binary_search_by_key(&position, |(position, _)| *position).ok()?;
            entries.recent.get(found)?.1
        };
        positions.map(stamp_at).collect()
    }

    /// Returns whether each event of these buckets after a position has a stamp.
    pub(crate) fn is_stamped_since(&self, position: EventPosition, buckets: &[u16]) -> bool {
        let entries = self.0.lock();
        buckets.iter().all(|bucket| entries.unstamped.get(bucket).is_none_or(|last| *last <= position))
    }
}

impl Entries {
    fn pass(&mut self, Stamp { life, bucket, number }: Stamp) {
        let now = Instant::now();
        if let Some(silent) = self.silent.get_mut(&bucket) {
            silent.retain(|silent| *silent != life);
            if silent.is_empty() {
                self.silent.remove(&bucket);
            }
        }
        let publishers = self.last.entry(bucket).or_default();
        if let Some(last) = publishers.iter_mut().find(|last| last.life == life) {
            last.number = last.number.max(number);
            last.at = now;
            return;
        }
        if publishers.len() >= PUBLISHERS {
            // Lives come and go. What is asked for is not older than this.
            publishers.retain(|last| now - last.at <= KNOWN * 2);
        }
        if publishers.len() >= PUBLISHERS {
            publishers.remove(0);
            self.crowded.insert(bucket);
        }
        publishers.push(Last { life, number, at: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(publisher: u8, bucket: u16, number: u64) -> Stamp {
        Stamp { life: Incarnation::from_bytes([publisher; Incarnation::BYTES]), bucket, number }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_received_long_ago_is_left_out() {
        let ledger = Ledger::default();
        ledger.record(EventPosition(1), 1, Some(stamp(1, 1, 7)));
        ledger.pass(stamp(2, 1, 3));
        tokio::time::advance(KNOWN).await;
        ledger.pass(stamp(2, 1, 2));
        ledger.record(EventPosition(2), 2, Some(stamp(1, 2, 1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(ledger.reached(&[1], None), [stamp(1, 1, 7), stamp(2, 1, 3)]);
        assert_eq!(ledger.reached(&[1, 2], Some(KNOWN)), [stamp(2, 1, 3), stamp(1, 2, 1)]);
    }

    #[test]
    fn stamps_are_found_by_position_as_long_as_they_are_kept() {
        let ledger = Ledger::default();
        for position in 1..=RECENT as u64 + 1 {
            ledger.record(EventPosition(2 * position), 1, Some(stamp(1, 1, position)));
        }
        let positions = [2, 4, 5, 2 * RECENT as u64 + 2].map(EventPosition);
        let found = ledger.stamps_at(positions.into_iter());
        assert_eq!(found, [None, Some(stamp(1, 1, 2)), None, Some(stamp(1, 1, RECENT as u64 + 1))]);
    }

    #[test]
    fn events_without_a_stamp_are_known_by_bucket() {
        let ledger = Ledger::default();
        ledger.record(EventPosition(5), 1, None);
        assert!(!ledger.is_stamped_since(EventPosition(4), &[2, 1]));
        assert!(ledger.is_stamped_since(EventPosition(5), &[2, 1]));
        assert!(ledger.is_stamped_since(EventPosition(0), &[2]));
        ledger.record(EventPosition::default(), 2, None);
        assert!(ledger.is_stamped_since(EventPosition(0), &[2]), "without positions nothing is kept");
    }

    #[test]
    fn a_silent_publisher_is_known_as_soon_as_something_comes_from_it() {
        let ledger = Ledger::default();
        let [one, other] = [stamp(1, 1, 1).life, stamp(2, 1, 1).life];
        ledger.begin(&[stamp(3, 2, 8)], &[1, 2], &[one, other]);
        assert_eq!(ledger.reached(&[1, 2], None), [stamp(3, 2, 8)]);
        assert!(ledger.has_silent(&[2], &[other]));
        assert!(!ledger.has_silent(&[3], &[other]));
        ledger.pass(stamp(2, 2, 5));
        assert!(!ledger.has_silent(&[2], &[other]));
        assert!(ledger.has_silent(&[1], &[other]));
        assert!(ledger.has_silent(&[2], &[one]));
        ledger.forget(&[2]);
        assert!(!ledger.has_silent(&[2], &[one]));
        assert_eq!(ledger.reached(&[2], None), []);
    }

    #[test]
    fn publishers_of_a_bucket_are_bounded() {
        let ledger = Ledger::default();
        for publisher in 0..2 * PUBLISHERS as u64 {
            assert_eq!(ledger.is_crowded(&[2, 1]), publisher > PUBLISHERS as u64);
            let mut life = [0; Incarnation::BYTES];
            life[1..].copy_from_slice(&publisher.to_be_bytes());
            ledger.pass(Stamp { life: Incarnation::from_bytes(life), bucket: 1, number: 1 });
        }
        assert_eq!(ledger.reached(&[1], None).len(), PUBLISHERS);
        assert!(!ledger.is_crowded(&[2]));
        ledger.forget(&[1]);
        assert!(!ledger.is_crowded(&[1]));
    }
}
