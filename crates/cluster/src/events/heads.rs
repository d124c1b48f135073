//! When the heads of buckets are sent: the last event of a bucket is one that may be lost without a
//! next one that shows it.

use std::time::Duration;

use tokio::time::Instant;

use super::BUCKETS;

/// How long after the last event of a bucket its head is sent, each time from the one before. The
/// later ones are for other nodes that could not be reached by the earlier ones.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(15), Duration::from_secs(120)];

/// How often to look which heads are due.
pub(super) const LOOK: Duration = Duration::from_millis(250);

/// Which heads are to be sent.
pub(super) struct Heads {
    /// By bucket: when, and which of the pauses comes next.
    next: Vec<Option<(Instant, usize)>>,
    /// The number of connections there were.
    connections: u64,
}

impl Heads {
    pub(super) fn new(connections: u64) -> Self {
        Self { next: vec![None; BUCKETS.into()], connections }
    }

    /// An event of a bucket was sent.
    pub(super) fn sent(&mut self, bucket: u16, now: Instant) {
        self.next[usize::from(bucket)] = Some((now + PAUSES[0], 1));
    }

    /// The heads of these buckets are to be sent now, and again later.
    pub(super) fn ask(&mut self, buckets: impl IntoIterator<Item = u16>, now: Instant) {
        for bucket in buckets {
            self.next[usize::from(bucket)] = Some((now, 0));
        }
    }

    /// Returns whether there is another connection than last time. What was sent over the one
    /// before may be lost.
    pub(super) fn reconnected(&mut self, connections: u64) -> bool {
        std::mem::replace(&mut self.connections, connections) != connections
    }

    /// Returns the buckets whose heads are due.
    pub(super) fn due(&mut self, now: Instant) -> Vec<u16> {
        let mut due = Vec::new();
        for (bucket, next) in (0..).zip(&mut self.next) {
            if let Some((_, pause)) = next.filter(|(at, _)| *at <= now) {
                *next = PAUSES.get(pause).map(|wait| (now + *wait, pause + 1));
                due.push(bucket);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_three_heads_after_its_last_event() {
        let start = Instant::now();
        let mut heads = Heads::new(1);
        heads.sent(7, start);
        heads.sent(7, start + Duration::from_millis(900));
        let due: Vec<_> = (0..2000)
            .filter(|tenths| {
                let due = heads.due(start + Duration::from_millis(100 * tenths));
                assert!(due.is_empty() || due == [7]);
                !due.is_empty()
            })
            .collect();
        assert_eq!(due, [19, 169, 1369]);
        heads.ask([7], start);
        assert_eq!(heads.due(start), [7], "at once");
        assert!(heads.due(start).is_empty());
    }

    #[test]
    fn another_connection_is_noticed_once() {
        let mut heads = Heads::new(1);
        assert_eq!([1, 1, 2, 2, 3].map(|count| heads.reconnected(count)), [false, false, true, false, true]);
    }
}
