//! The queue to the other nodes, and the numbers of what is in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use event::Event;
use node::Stamp;
use parking_lot::Mutex;
use seal::Incarnation;
use tokio::sync::mpsc::{self, OwnedPermit};

use super::note::EVENTS;
use super::{BUCKETS, bucket_of};

/// An event in the queue.
pub(super) struct Queued {
    pub(super) event: Event,
    pub(super) bucket: u16,
    pub(super) number: u64,
}

/// The queue to the other nodes. Bounded in events and bytes.
pub(super) struct Outgoing {
    life: Incarnation,
    queue: mpsc::Sender<Queued>,
    bytes: AtomicUsize,
    max_bytes: usize,
    row: Mutex<Row>,
}

/// The order of the queue.
struct Row {
    /// How many events were queued since this life began.
    offered: u64,
    /// The last number of each bucket.
    given: Vec<u64>,
    /// The last number of each bucket that has left the queue.
    handled: Vec<u64>,
    /// How many heads each bucket has had.
    heads: Vec<u64>,
    /// Runs of numbers whose events were not sent and that no note has replaced: by bucket and last
    /// number, how many.
    unsent: BTreeMap<(u16, u64), u64>,
}

/// A place in the queue for one event.
pub(super) struct Reserved {
    outgoing: Arc<Outgoing>,
    permit: Option<OwnedPermit<Queued>>,
    event: Event,
}

impl Outgoing {
    /// Returns an empty queue with these limits.
    pub(super) fn new(life: Incarnation, events: usize, max_bytes: usize) -> (Self, mpsc::Receiver<Queued>) {
        let (queue, queued) = mpsc::channel(events);
        let zeros = vec![0; BUCKETS.into()];
        let (given, handled, heads) = (zeros.clone(), zeros.clone(), zeros);
        let row = Row { offered: 0, given, handled, heads, unsent: BTreeMap::new() };
        (Self { life, queue, bytes: AtomicUsize::new(0), max_bytes, row: Mutex::new(row) }, queued)
    }

    /// Gives an event its number and queues it. Returns `false` if there is no room: then a note is
    /// to take its number.
    pub(super) fn offer(&self, event: &Event) -> (bool, Stamp) {
        let bucket = bucket_of(event.event_type());
        let has_room = self.take_bytes(event.json().len());
        let mut row = self.row.lock();
        let number = row.give(bucket);
        let permit = if has_room { self.queue.try_reserve().ok() } else { None };
        let is_taken = permit.is_some();
        match permit {
            Some(permit) => {
                row.offered += 1;
                permit.send(Queued { event: event.clone(), bucket, number });
            }
            None => {
                row.not_sent(bucket, number, 1);
                if has_room {
                    self.bytes.fetch_sub(event.json().len(), Ordering::Relaxed);
                }
            }
        }
        (is_taken, Stamp { life: self.life, bucket, number })
    }

    /// Returns a place for an event, which gets its number when it takes it.
    pub(super) fn reserve(self: &Arc<Self>, event: &Event) -> Option<Reserved> {
        if !self.take_bytes(event.json().len()) {
            return None;
        }
        let Ok(permit) = self.queue.clone().try_reserve_owned() else {
            self.bytes.fetch_sub(event.json().len(), Ordering::Relaxed);
            return None;
        };
        Some(Reserved { outgoing: self.clone(), permit: Some(permit), event: event.clone() })
    }

    fn take_bytes(&self, bytes: usize) -> bool {
        let has_room = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.max_bytes;
        if !has_room {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        has_room
    }

    /// Returns whether half of the queue is free.
    pub(super) fn is_half_empty(&self) -> bool {
        self.queue.capacity() >= self.queue.max_capacity() / 2
            && self.bytes.load(Ordering::Relaxed) <= self.max_bytes / 2
    }

    /// Returns how many events were queued since this life began.
    pub(super) fn offered(&self) -> u64 {
        self.row.lock().offered
    }

    /// An event has left the queue.
    pub(super) fn handled(&self, bucket: u16, number: u64, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.row.lock().handled[usize::from(bucket)] = number;
    }

    /// The last `count` numbers up to this one certainly were not sent.
    pub(super) fn not_sent(&self, bucket: u16, number: u64, count: u64) {
        self.row.lock().not_sent(bucket, number, count);
    }

    /// Takes the runs of unsent numbers before a number.
    pub(super) fn unsent_before(&self, bucket: u16, number: u64) -> Vec<(u64, u64)> {
        let mut row = self.row.lock();
        // Almost always.
        if row.unsent.is_empty() {
            return Vec::new();
        }
        row.take_unsent(bucket, number - 1)
    }

    /// Takes the runs of unsent numbers that nothing in the queue comes before.
    pub(super) fn unsent_now(&self, bucket: u16) -> Vec<(u64, u64)> {
        let mut row = self.row.lock();
        let handled = row.handled[usize::from(bucket)];
        let mut ready = handled;
        for ((_, last), count) in row.unsent.range((bucket, 0)..=(bucket, u64::MAX)) {
            if last.saturating_sub(*count) <= ready {
                ready = ready.max(*last);
            }
        }
        let taken = row.take_unsent(bucket, ready);
        row.handled[usize::from(bucket)] = ready;
        taken
    }

    /// Returns a number of its own for the head of a bucket, and the last one that was given to an
    /// event; `None` if events are queued, or none ever was.
    pub(super) fn head(&self, bucket: u16) -> Option<(u64, u64)> {
        let mut row = self.row.lock();
        let at = usize::from(bucket);
        let last = row.given[at];
        if last == 0 || row.handled[at] < last {
            return None;
        }
        row.heads[at] += 1;
        Some((EVENTS | row.heads[at], last))
    }

    /// Returns the buckets that numbers were given in.
    pub(super) fn used(&self) -> Vec<u16> {
        let row = self.row.lock();
        (0..).zip(&row.given).filter(|(_, given)| **given > 0).map(|(bucket, _)| bucket).collect()
    }

    /// Returns the last number of each of these buckets.
    pub(super) fn last(&self, buckets: &[u16]) -> Vec<Stamp> {
        let row = self.row.lock();
        let given =
            buckets.iter().filter_map(|bucket| Some((*bucket, *row.given.get(usize::from(*bucket))?)));
        let stamp = |(bucket, number)| Stamp { life: self.life, bucket, number };
        given.filter(|(_, number)| *number > 0).map(stamp).collect()
    }
}

impl Row {
    fn give(&mut self, bucket: u16) -> u64 {
        let given = &mut self.given[usize::from(bucket)];
        *given += 1;
        *given
    }

    fn not_sent(&mut self, bucket: u16, number: u64, count: u64) {
        let before = self.unsent.remove(&(bucket, number.saturating_sub(count))).unwrap_or_default();
        self.unsent.insert((bucket, number), before + count);
    }

    /// Takes the runs of unsent numbers up to a number: the last of each run, and how many.
    fn take_unsent(&mut self, bucket: u16, to: u64) -> Vec<(u64, u64)> {
        let runs: Vec<_> =
            self.unsent.range((bucket, 0)..=(bucket, to)).map(|((_, last), count)| (*last, *count)).collect();
        for (last, _) in &runs {
            self.unsent.remove(&(bucket, *last));
        }
        runs
    }
}

impl Reserved {
    /// Gives the event its number and queues it.
    pub(super) fn take(mut self) -> Stamp {
        let bucket = bucket_of(self.event.event_type());
        let mut row = self.outgoing.row.lock();
        let number = row.give(bucket);
        if let Some(permit) = self.permit.take() {
            row.offered += 1;
            permit.send(Queued { event: self.event.clone(), bucket, number });
        }
        Stamp { life: self.outgoing.life, bucket, number }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // The queue gives back the bytes of what is in it.
        if self.permit.is_some() {
            self.outgoing.bytes.fetch_sub(self.event.json().len(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(size: usize) -> Event {
        let data = "x".repeat(size);
        let json = format!(r#"{{"specversion":"1.0","type":"t","source":"/s","id":"1","data":"{data}"}}"#);
        Event::from_json(json.into()).unwrap()
    }

    fn outgoing(events: usize) -> (Arc<Outgoing>, mpsc::Receiver<Queued>, u16) {
        let (outgoing, queued) = Outgoing::new(Incarnation::unnamed(), events, 1 << 20);
        (Arc::new(outgoing), queued, bucket_of("t"))
    }

    #[test]
    fn numbers_without_room_are_replaced_in_their_order() {
        let (outgoing, mut queued, bucket) = outgoing(2);
        let taken: Vec<_> = (0..5).map(|_| outgoing.offer(&event(1))).map(|(is_taken, _)| is_taken).collect();
        assert_eq!(taken, [true, true, false, false, false]);
        assert_eq!(queued.try_recv().unwrap().number, 1);
        assert!(outgoing.offer(&event(1)).0);
        assert!(!outgoing.offer(&event(1)).0);
        assert_eq!(outgoing.unsent_before(bucket, 2), []);
        assert_eq!(outgoing.unsent_now(bucket), [], "1 was not handled");
        outgoing.handled(bucket, 2, 0);
        assert_eq!(outgoing.head(bucket), None, "6 is queued");
        assert_eq!(outgoing.unsent_before(bucket, 6), [(5, 3)]);
        outgoing.handled(bucket, 6, 0);
        assert_eq!(outgoing.unsent_now(bucket), [(7, 1)]);
        assert_eq!(outgoing.head(bucket), Some((EVENTS + 1, 7)));
        assert_eq!(outgoing.head(bucket), Some((EVENTS + 2, 7)), "a number is used once");
        let last = outgoing.offer(&event(1)).1;
        assert_eq!(last.number, 8, "heads take no numbers of events");
        assert_eq!(outgoing.last(&[bucket, bucket ^ 1]), [last]);
        assert_eq!(outgoing.head(bucket ^ 1), None, "nothing was sent there");
    }

    #[test]
    fn a_place_that_is_not_taken_is_given_back() {
        let (outgoing, mut queued, _) = outgoing(2);
        let large = event(600 << 10);
        drop(outgoing.reserve(&large).unwrap());
        let reserved = outgoing.reserve(&large).unwrap();
        assert!(outgoing.reserve(&large).is_none(), "its bytes");
        let (is_taken, before) = outgoing.offer(&event(1));
        assert!(is_taken);
        assert_eq!(reserved.take().number, before.number + 1, "numbers are given in the order of the queue");
        assert!(outgoing.reserve(&event(1)).is_none(), "the queue is full");
        assert_eq!([queued.try_recv().unwrap().number, queued.try_recv().unwrap().number], [1, 2]);
        assert_eq!(outgoing.bytes.load(Ordering::Relaxed), event(1).json().len() + large.json().len());
    }
}
