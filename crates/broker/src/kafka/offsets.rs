//! How far each partition was taken, and stored.

use std::collections::HashMap;

use parking_lot::Mutex;

/// A partition: the position of its topic in the settings, and its number.
pub(super) type Partition = (usize, i32);

/// The offsets of the partitions that messages were taken from.
#[derive(Default)]
pub(super) struct Offsets(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    taken: HashMap<Partition, Taken>,
    /// Grows whenever partitions are revoked.
    epoch: u64,
    /// Since when a partition is forgotten, or was before it came back: at most one entry for each
    /// that this node has had.
    forgotten: HashMap<Partition, u64>,
}

impl Inner {
    fn is_current(&self, partition: Partition, epoch: u64) -> bool {
        self.forgotten.get(&partition).is_none_or(|forgotten| *forgotten <= epoch)
    }
}

/// How far a partition was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    /// The offset of the message to read next.
    next: i64,
    /// Since when this node has the partition.
    epoch: u64,
    is_stored: bool,
}

/// What can be stored once everything that was taken before is flushed.
pub(super) struct Batch(Vec<(Partition, Taken)>);

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Offsets {
    /// Returns the present epoch, to be kept with what is received in it.
    pub(super) fn epoch(&self) -> u64 {
        self.0.lock().epoch
    }

    /// Returns whether this node has not lost the partition since this epoch. If it has, another
    /// node reads what it received, or this one again.
    pub(super) fn is_current(&self, partition: Partition, epoch: u64) -> bool {
        self.0.lock().is_current(partition, epoch)
    }

    /// Notes that the message with this offset, which was received in this epoch, was taken. Does
    /// nothing if the partition was revoked since.
    pub(super) fn take(&self, partition: Partition, offset: i64, received: u64) {
        let mut inner = self.0.lock();
        if !inner.is_current(partition, received) {
            return;
        }
        let epoch = inner.epoch;
        let taken = inner.taken.entry(partition).or_insert(Taken { next: 0, epoch, is_stored: false });
        (taken.next, taken.is_stored) = (offset + 1, false);
    }

    /// Notes that the library reads on with this offset, and that all messages before it were
    /// taken: what is behind the last one is no message, such as the end of a transaction.
    pub(super) fn pass(&self, partition: Partition, next: i64) {
        let mut inner = self.0.lock();
        let epoch = inner.epoch;
        let taken = inner.taken.entry(partition).or_insert(Taken { next: -1, epoch, is_stored: true });
        if taken.next < next {
            (taken.next, taken.is_stored) = (next, false);
        }
    }

    /// Forgets a partition that was revoked: another node may be further by now, and an offset that
    /// is stored later would move it back.
    pub(super) fn forget(&self, partition: Partition) {
        let mut inner = self.0.lock();
        inner.taken.remove(&partition);
        inner.epoch += 1;
        let epoch = inner.epoch;
        inner.forgotten.insert(partition, epoch);
    }

    /// Forgets a topic that is gone: one of the same name will be another one.
    pub(super) fn forget_topic(&self, topic: usize) {
        self.0.lock().taken.retain(|partition, _| partition.0 != topic);
    }

    /// Returns what was taken and not stored.
    pub(super) fn unstored(&self) -> Batch {
        self.unstored_of(|_| true)
    }

    /// Returns what was taken of these partitions and not stored.
    pub(super) fn unstored_of(&self, is_meant: impl Fn(Partition) -> bool) -> Batch {
        let inner = self.0.lock();
        let unstored =
            inner.taken.iter().filter(|(partition, taken)| !taken.is_stored && is_meant(**partition));
        Batch(unstored.map(|(partition, taken)| (*partition, *taken)).collect())
    }

    /// Notes that a batch is flushed. Returns the offsets to store: those of partitions that were
    /// not revoked meanwhile.
    pub(super) fn flushed(&self, batch: Batch) -> Vec<(Partition, i64)> {
        let mut inner = self.0.lock();
        let mut stored = Vec::with_capacity(batch.0.len());
        for (partition, Taken { next, epoch, .. }) in batch.0 {
            if let Some(taken) = inner.taken.get_mut(&partition).filter(|taken| taken.epoch == epoch) {
                taken.is_stored = taken.next == next;
                stored.push((partition, next));
            }
        }
        stored
    }

    /// Returns the offset of the message to read next, for each partition.
    pub(super) fn positions(&self) -> HashMap<Partition, i64> {
        self.0.lock().taken.iter().map(|(partition, taken)| (*partition, taken.next)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flush(offsets: &Offsets) -> Vec<(Partition, i64)> {
        let mut stored = offsets.flushed(offsets.unstored());
        stored.sort_unstable();
        stored
    }

    #[test]
    fn the_last_offset_of_each_partition_is_stored_once() {
        let offsets = Offsets::default();
        for (partition, offset) in [(0, 7), (1, 3), (0, 8), (0, 11)] {
            offsets.take((0, partition), offset, offsets.epoch());
        }
        assert_eq!(flush(&offsets), [((0, 0), 12), ((0, 1), 4)]);
        assert_eq!(flush(&offsets), []);
        offsets.take((0, 1), 4, offsets.epoch());
        assert_eq!(flush(&offsets), [((0, 1), 5)]);
    }

    #[test]
    fn what_is_no_message_is_passed() {
        let offsets = Offsets::default();
        offsets.take((0, 0), 7, offsets.epoch());
        offsets.pass((0, 0), 9);
        offsets.pass((0, 1), 3);
        assert_eq!(flush(&offsets), [((0, 0), 9), ((0, 1), 3)]);
        offsets.pass((0, 0), 9);
        offsets.pass((0, 1), 2);
        assert_eq!(flush(&offsets), []);
    }

    #[test]
    fn what_is_taken_while_a_batch_is_flushed_belongs_to_the_next() {
        let offsets = Offsets::default();
        offsets.take((0, 0), 1, offsets.epoch());
        let batch = offsets.unstored();
        offsets.take((0, 0), 2, offsets.epoch());
        assert_eq!(offsets.flushed(batch), [((0, 0), 2)]);
        assert_eq!(flush(&offsets), [((0, 0), 3)]);
    }

    #[test]
    fn what_is_not_stored_when_a_partition_is_revoked_is_not_stored_later() {
        let offsets = Offsets::default();
        offsets.take((0, 0), 1, offsets.epoch());
        offsets.take((1, 0), 1, offsets.epoch());
        let batch = offsets.unstored();
        offsets.forget((0, 0));
        // It came back, and another node has taken more meanwhile.
        offsets.take((0, 0), 100, offsets.epoch());
        assert_eq!(offsets.flushed(batch), [((1, 0), 2)]);
        assert_eq!(flush(&offsets), [((0, 0), 101)]);
    }

    #[test]
    fn what_was_received_before_a_partition_was_revoked_is_not_stored_after_it_came_back() {
        let offsets = Offsets::default();
        let before = offsets.epoch();
        offsets.forget((0, 0));
        assert!(!offsets.is_current((0, 0), before) && offsets.is_current((0, 1), before));
        // It came back, and another node has taken more meanwhile.
        offsets.take((0, 0), 100, offsets.epoch());
        offsets.take((0, 0), 7, before);
        offsets.take((0, 1), 7, before);
        assert_eq!(flush(&offsets), [((0, 0), 101), ((0, 1), 8)]);
        offsets.take((0, 0), 101, offsets.epoch());
        assert_eq!(flush(&offsets), [((0, 0), 102)]);
    }
}
