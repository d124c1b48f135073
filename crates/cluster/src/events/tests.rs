use std::collections::VecDeque;
use std::pin::pin;

use futures_util::FutureExt;
use proptest::prelude::*;

use super::message::{Content, Received};
use super::note::{EVENTS, Note};
use super::*;

mod arrivals;
mod sending;

/// Records what is done with it.
#[derive(Default)]
struct Recorder {
    subscribed: Mutex<Vec<Vec<u16>>>,
    sent: Mutex<VecDeque<(u16, Bytes)>>,
    /// What the next subscription waits for.
    answers: Mutex<Option<tokio::sync::oneshot::Receiver<()>>>,
    is_cut: AtomicBool,
    connections: std::sync::atomic::AtomicU64,
    interruptions: watch::Sender<u64>,
}

impl Recorder {
    /// Returns what was sent, as another node reads it.
    fn received(&self, by: &Events) -> Vec<Received> {
        self.sent.lock().iter().map(|(bucket, message)| by.decode(*bucket, message).unwrap()).collect()
    }

    /// Returns the stamps of the events that were sent, without notes.
    fn events(&self, by: &Events) -> Vec<Stamp> {
        let mut received = self.received(by);
        received.retain(|received| matches!(received.content, Content::Event(_)));
        received.iter().map(|received| received.stamp).collect()
    }
}

impl EventWire for Recorder {
    fn publish(&self, bucket: u16, message: Bytes) -> BoxFuture<'_, bool> {
        let connected = !self.is_cut.load(Ordering::Relaxed);
        if connected {
            self.sent.lock().push_back((bucket, message));
        }
        async move { connected }.boxed()
    }

    fn subscribe(&self, buckets: Vec<u16>) -> BoxFuture<'_, ()> {
        self.subscribed.lock().push(buckets);
        let answer = self.answers.lock().take();
        async {
            if let Some(answer) = answer {
                answer.await.unwrap();
            }
        }
        .boxed()
    }

    fn unsubscribe(&self, _: Vec<u16>) {}

    fn next(&self) -> BoxFuture<'_, (u16, Bytes)> {
        std::future::pending().boxed()
    }

    fn is_open(&self) -> bool {
        !self.is_cut.load(Ordering::Relaxed)
    }

    fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    fn flush(&self) -> BoxFuture<'_, bool> {
        let connected = self.is_open();
        async move { connected }.boxed()
    }

    fn interruptions(&self) -> watch::Receiver<u64> {
        self.interruptions.subscribe()
    }

    fn max_message(&self) -> usize {
        1 << 20
    }
}

/// Returns the event in a message that was not received before.
fn accepted(events: &Events, bucket: u16, message: &Bytes) -> Option<Bytes> {
    match events.accept(bucket, message)?.received.content {
        Content::Event(json) => Some(json),
        Content::Note(_) => None,
    }
}

fn events(interest: EventInterest, cluster: &str) -> (Arc<Recorder>, Events) {
    let wire = Arc::new(Recorder::default());
    let keys = Arc::new(Keys::new("test-cookie", None));
    let life = Incarnation::unnamed();
    let events = Events::new(wire.clone(), keys, cluster, life, interest, EventMetrics::default());
    if interest == EventInterest::All {
        receive_all(&events);
    }
    (wire, events)
}

/// Has every bucket begun before the others have given any numbers.
fn receive_all(events: &Events) {
    let all: Vec<u16> = (0..BUCKETS).collect();
    events.arrivals.numbers.expect(&all);
    events.arrivals.numbers.settle(&all, &[], &[]);
}

fn event(size: usize) -> Event {
    let json =
        format!(r#"{{"specversion":"1.0","type":"t","source":"/s","id":"1","data":"{}"}}"#, "x".repeat(size));
    Event::from_json(json.into()).unwrap()
}

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_written_and_not_when_it_was_changed(
        json: Vec<u8>, number in 0..EVENTS, bucket in 0..BUCKETS, at: prop::sample::Index, bit in 0..8_u32,
    ) {
        let (_, ours) = events(EventInterest::All, "c");
        let message = ours.encode(bucket, number, &json);
        let received = ours.decode(bucket, &message).unwrap();
        prop_assert_eq!(received.stamp, Stamp { life: ours.life, bucket, number });
        prop_assert_eq!(received.content, Content::Event(json.into()));
        prop_assert!(ours.decode(bucket ^ 1, &message).is_none());
        prop_assert!(events(EventInterest::All, "d").1.decode(bucket, &message).is_none());
        let mut changed = message.to_vec();
        let at = at.index(changed.len());
        changed[at] ^= 1 << bit;
        prop_assert!(ours.decode(bucket, &changed.into()).is_none());
        prop_assert!(ours.decode(bucket, &message.slice(..at)).is_none());
    }
}

/// A head must not take the number of an event, nor an event that of a head.
#[test]
fn notes_are_read_as_they_were_written() {
    let (_, ours) = events(EventInterest::All, "c");
    for (number, note) in [(EVENTS + 1, Note::Head(7)), (9, Note::Unsent(3))] {
        let message = ours.encode_note(5, number, note);
        let received = ours.decode(5, &message).unwrap();
        assert_eq!((received.stamp.number, received.content), (number, Content::Note(note)));
        assert!(ours.decode(5, &ours.encode_note(5, number ^ EVENTS, note)).is_none());
    }
    assert!(ours.decode(5, &ours.encode(5, EVENTS, b"{}")).is_none());
    for unknown in [&b""[..], b"h", b"h1234567", b"h123456789", b"x12345678"] {
        assert_eq!(Note::from_bytes(unknown), None);
    }
}

#[test]
fn own_events_that_come_back_are_not_published_again() {
    let (one, other) = (events(EventInterest::All, "c").1, events(EventInterest::All, "c").1);
    assert_ne!(one.life, other.life);
    let message = one.encode(7, 1, b"{}");
    assert_eq!(accepted(&one, 7, &message), None);
    assert_eq!(accepted(&other, 7, &message).as_deref(), Some(&b"{}"[..]));
    assert_eq!(accepted(&other, 7, &message), None, "once");
}
