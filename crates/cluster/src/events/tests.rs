use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::AtomicBool;

use futures_util::FutureExt;
use proptest::prelude::*;

use super::kept::{KEPT, RETRY};
use super::*;

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

fn number(received: &Received) -> u64 {
    received.stamp.number
}

/// Returns the numbers and what is in them.
fn contents(received: &[Received]) -> Vec<(u64, Option<Note>)> {
    let note = |content: &Content| match content {
        Content::Event(_) => None,
        Content::Note(note) => Some(*note),
    };
    received.iter().map(|received| (number(received), note(&received.content))).collect()
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
    (wire.clone(), Events::new(wire, keys, cluster, life, interest, EventMetrics::default()))
}

/// Sends what is queued, until it is aborted.
fn begin_to_send(ours: &Arc<Events>) -> tokio::task::JoinHandle<()> {
    let (sender, queued) = (ours.clone(), ours.queued.lock().take());
    tokio::spawn(async move { sender.send(queued).await })
}

/// Queues an event as soon as there is room.
async fn queue(events: &Events, event: &Event) {
    let take = events.reserve(event).await;
    take();
}

fn event(size: usize) -> Event {
    let json =
        format!(r#"{{"specversion":"1.0","type":"t","source":"/s","id":"1","data":"{}"}}"#, "x".repeat(size));
    Event::from_json(json.into()).unwrap()
}

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_written_and_not_when_it_was_changed(
        json: Vec<u8>, number: u64, bucket in 0..BUCKETS, at: prop::sample::Index, bit in 0..8_u32,
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

/// Invariant 10: whatever the network does, what is taken is in the order of each publisher and
/// bucket, nothing is taken twice, and everything that is missing is counted, once.
#[test]
fn events_are_taken_in_order_and_once_and_every_missing_one_is_counted() {
    for seed in 0..2_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (loss, repeats, delays) = (rng.u8(..60), rng.u8(..60), 1 + rng.usize(..8));
        let mut numbers = Numbers::default();
        let mut sent: HashMap<(Incarnation, u16), u64> = HashMap::new();
        let mut taken: HashMap<(Incarnation, u16), Vec<u64>> = HashMap::new();
        let mut lost: HashMap<(Incarnation, u16), u64> = HashMap::new();
        let mut lives = [0_u8, 1];
        let mut on_the_way: Vec<((Incarnation, u16), u64)> = Vec::new();
        for _ in 0..400 {
            let node = rng.usize(..2);
            if rng.u8(..100) == 0 {
                // Another life begins with 1.
                lives[node] += 2;
            }
            let of = (Incarnation::from_bytes([lives[node]; Incarnation::BYTES]), rng.u16(..3));
            let number = sent.entry(of).or_default();
            *number += 1;
            // The first one shows from where on the receiver is subscribed.
            if *number == 1 || rng.u8(..100) >= loss {
                on_the_way.push((of, *number));
                if rng.u8(..100) < repeats {
                    on_the_way.push((of, *number));
                }
            }
            if on_the_way.len() < delays {
                continue;
            }
            let at = if sent[&of] == 1 { on_the_way.len() - 1 } else { rng.usize(..on_the_way.len()) };
            let (of, number) = on_the_way.remove(at);
            if let Some((missing, _)) = numbers.check(of, number) {
                taken.entry(of).or_default().push(number);
                *lost.entry(of).or_default() += missing;
            }
        }
        for (of, taken) in taken {
            assert!(taken.is_sorted_by(|one, next| one < next), "seed {seed}: {taken:?}");
            let (first, last) = (taken[0], taken[taken.len() - 1]);
            let missing = last - first + 1 - taken.len() as u64;
            assert_eq!(lost[&of], missing, "seed {seed}: {taken:?}");
        }
    }
}

#[test]
fn gaps_are_counted_and_repeats_are_dropped() {
    let (mut numbers, one) = (Numbers::default(), (Incarnation::unnamed(), 1));
    let check = |of, number| numbers.check(of, number).map(|(missing, _)| missing);
    let mut check = check;
    assert_eq!(check(one, 7), Some(0), "whatever came before was not for this node");
    assert_eq!(check(one, 8), Some(0));
    assert_eq!(check(one, 8), None);
    assert_eq!(check(one, 12), Some(3));
    assert_eq!(check(one, 9), None, "late");
    assert_eq!(check((one.0, 2), 1), Some(0), "each bucket has its own");
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

#[test]
fn a_full_queue_takes_no_more_and_says_so() {
    let (_, ours) = events(EventInterest::All, "c");
    let large = event(1 << 20);
    let taken = (0..20).filter(|_| matches!(ours.offer(&large), Offered::Taken(_))).count();
    assert_eq!(taken, 15, "16 MiB");
    assert_eq!(ours.metrics.lost.get(), 5);
    let (_, off) = events(EventInterest::Off, "c");
    assert!((0..20_000).all(|_| off.offer(&large) == Offered::Taken(None)));
}

#[tokio::test]
async fn an_event_that_was_not_sent_is_counted_once_and_takes_no_number() {
    let (wire, ours) = events(EventInterest::All, "c");
    let ours = Arc::new(ours);
    let task = begin_to_send(&ours);
    for (done, is_cut) in [(1, false), (2, true), (3, false)] {
        wire.is_cut.store(is_cut, Ordering::Relaxed);
        assert!(matches!(ours.offer(&event(1)), Offered::Taken(_)));
        while ours.metrics.sent.get() + ours.metrics.lost.get() < done {
            tokio::task::yield_now().await;
        }
    }
    task.abort();
    assert_eq!((ours.metrics.sent.get(), ours.metrics.lost.get()), (2, 1));
    // Another node notices that it has missed one, and does not count it again.
    let sent = wire.received(&ours);
    assert_eq!(contents(&sent), [(1, None), (2, Some(Note::Unsent(1))), (3, None)]);
    let (_, other) = events(EventInterest::All, "c");
    let gaps: Vec<_> = wire
        .sent
        .lock()
        .iter()
        .map(|(bucket, message)| other.accept(*bucket, message).unwrap().is_gap)
        .collect();
    assert_eq!((gaps, other.metrics.lost.get()), (vec![false, true, false], 0));
}

#[tokio::test(start_paused = true)]
async fn the_others_notice_what_found_no_room_although_nothing_follows() {
    let (wire, ours) = events(EventInterest::All, "c");
    let ours = Arc::new(ours);
    let large = event(1 << 20);
    let taken = (0..18).filter(|_| matches!(ours.offer(&large), Offered::Taken(_))).count();
    assert_eq!((taken, ours.metrics.lost.get()), (15, 3));
    let task = begin_to_send(&ours);
    sleep(Duration::from_secs(1) + LOOK).await;
    task.abort();
    let sent = wire.received(&ours);
    assert_eq!(contents(&sent)[14..], [(15, None), (18, Some(Note::Unsent(3))), (19, Some(Note::Head))]);
    let (_, other) = events(EventInterest::All, "c");
    let gaps = wire
        .sent
        .lock()
        .iter()
        .filter(|(bucket, message)| other.accept(*bucket, message).unwrap().is_gap)
        .count();
    assert_eq!((gaps, other.metrics.lost.get()), (1, 0));
}

/// Without a head, the loss of the last event is noticed with the next one, which may come a day
/// later.
#[tokio::test(start_paused = true)]
async fn the_loss_of_the_last_event_is_noticed_by_the_head() {
    let (wire, ours) = events(EventInterest::All, "c");
    let ours = Arc::new(ours);
    let task = begin_to_send(&ours);
    for _ in 0..3 {
        ours.offer(&event(1));
        sleep(PACE * 10).await;
    }
    sleep(Duration::from_secs(1) + LOOK).await;
    assert_eq!(contents(&wire.received(&ours)), [(1, None), (2, None), (3, None), (4, Some(Note::Head))]);
    let (_, other) = events(EventInterest::All, "c");
    let accept = |at: usize| {
        let (bucket, message) = wire.sent.lock()[at].clone();
        other.accept(bucket, &message).unwrap().is_gap
    };
    assert_eq!(([0, 1, 3].map(accept), other.metrics.lost.get()), ([false, false, true], 1));
    // Another connection: what was sent over the one before may be lost, the head too.
    wire.connections.fetch_add(1, Ordering::Relaxed);
    sleep(LOOK * 2).await;
    assert_eq!(contents(&wire.received(&ours))[4..], [(5, Some(Note::Head))]);
    ours.send_heads([bucket_of("t"), bucket_of("t") ^ 1]);
    sleep(PACE).await;
    assert_eq!(contents(&wire.received(&ours))[5..], [(6, Some(Note::Head))], "for the bucket that has one");
    task.abort();
}

#[tokio::test]
async fn buckets_are_subscribed_once() {
    let (wire, ours) = events(EventInterest::Subscribed, "c");
    ours.want(["a", "b"]).await;
    ours.want(["b", "c"]).await;
    let subscribed: Vec<Vec<u16>> = wire.subscribed.lock().clone();
    assert_eq!(subscribed.len(), 2);
    assert_eq!(subscribed[0].len(), 2);
    assert_eq!(subscribed[1], [bucket_of("c")]);
    let (wire, off) = events(EventInterest::Off, "c");
    off.want(["a"]).await;
    assert!(wire.subscribed.lock().is_empty());
}

#[tokio::test]
async fn events_are_numbered_for_each_bucket_in_the_order_in_which_they_were_offered() {
    let (wire, ours) = events(EventInterest::All, "c");
    let ours = Arc::new(ours);
    for size in 0..3 {
        assert!(matches!(ours.offer(&event(size)), Offered::Taken(_)));
    }
    let task = begin_to_send(&ours);
    while ours.metrics.sent.get() < 3 {
        tokio::task::yield_now().await;
    }
    task.abort();
    for (number, (bucket, message)) in (1..).zip(wire.sent.lock().iter()) {
        let received = ours.decode(*bucket, message).unwrap();
        assert_eq!(received.stamp.number, number);
        assert_eq!(received.content, Content::Event(event(number as usize - 1).json().clone()));
    }
    assert!(ours.outgoing.is_half_empty());
}

#[tokio::test(start_paused = true)]
async fn an_event_is_sent_at_once_and_the_ones_right_after_it_together() {
    let (_, ours) = events(EventInterest::All, "c");
    let ours = Arc::new(ours);
    let task = begin_to_send(&ours);
    let sent = async |count: u64| {
        while ours.metrics.sent.get() < count {
            tokio::task::yield_now().await;
        }
    };
    let start = Instant::now();
    ours.offer(&event(1));
    sent(1).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    ours.offer(&event(2));
    ours.offer(&event(3));
    // Time passes only while every task waits.
    tokio::time::sleep(PACE - Duration::from_micros(1)).await;
    assert_eq!(ours.metrics.sent.get(), 1);
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(ours.metrics.sent.get(), 3);
    tokio::time::sleep(PACE).await;
    let start = Instant::now();
    assert!((0..10 * TURN).all(|_| matches!(ours.offer(&event(1)), Offered::Taken(_))));
    sent(3 + 10 * TURN as u64).await;
    assert_eq!(start.elapsed(), Duration::ZERO, "full turns follow each other");
    task.abort();
}

#[tokio::test]
async fn a_client_waits_for_a_subscription_that_another_one_has_begun() {
    let (wire, ours) = events(EventInterest::Subscribed, "c");
    let (told, known) = tokio::sync::oneshot::channel::<()>();
    *wire.answers.lock() = Some(known);
    let mut first = pin!(ours.want(["a"]));
    let mut second = pin!(ours.want(["a"]));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    told.send(()).unwrap();
    // Also if the first one is gone.
    second.await;
    assert_eq!(wire.subscribed.lock().len(), 1);
    first.await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_wanted_is_not_lost() {
    let (_, sender) = events(EventInterest::All, "c");
    let (wire, ours) = events(EventInterest::Subscribed, "c");
    let bucket = bucket_of("a");
    ours.want(["a"]).await;
    assert!(accepted(&ours, bucket, &sender.encode(bucket, 1, b"{}")).is_some());
    tokio::time::advance(LINGER).await;
    ours.forget_unwanted(None);
    ours.want(["a"]).await;
    assert_eq!(wire.subscribed.lock().len(), 2);
    assert!(accepted(&ours, bucket, &sender.encode(bucket, 9, b"{}")).is_some());
    assert_eq!(ours.metrics.lost.get(), 0);
    assert!(accepted(&ours, bucket, &sender.encode(bucket, 11, b"{}")).is_some());
    assert_eq!(ours.metrics.lost.get(), 1);
}

/// The node goes on to name a type for `HISTORY` after its last subscriber has left.
#[tokio::test(start_paused = true)]
async fn a_type_is_received_as_long_as_each_sweep_finds_it() {
    let (wire, ours) = events(EventInterest::Subscribed, "c");
    let wants = || ours.wanted.lock().contains_key(&bucket_of("a"));
    ours.want(["a"]).await;
    for _ in 0..20 {
        tokio::time::advance(SWEEP + Duration::from_secs(1)).await;
        join_all(ours.ask_for([bucket_of("a")].into())).await;
        ours.forget_unwanted(None);
        assert!(wants());
    }
    // After the last sweep that has found it.
    tokio::time::advance(LINGER - Duration::from_millis(1)).await;
    ours.forget_unwanted(None);
    assert!(wants());
    tokio::time::advance(Duration::from_millis(1)).await;
    ours.forget_unwanted(None);
    assert!(!wants());
    assert_eq!(wire.subscribed.lock().len(), 1);
}

#[test]
fn when_numbers_are_forgotten_it_is_said() {
    let mut numbers = Numbers::default();
    let of = |number: usize| {
        let mut life = [0; Incarnation::BYTES];
        life[1..].copy_from_slice(&(number as u64).to_be_bytes());
        (Incarnation::from_bytes(life), 1)
    };
    assert!((0..numbers::NUMBERS).all(|number| numbers.check(of(number), 1) == Some((0, false))));
    assert_eq!(numbers.check(of(0), 2), Some((0, false)), "it is known");
    assert_eq!(numbers.check(of(numbers::NUMBERS), 1), Some((0, true)));
    assert_eq!(numbers.check(of(0), 9), Some((0, false)), "it was forgotten");
}

#[tokio::test(start_paused = true)]
async fn whoever_can_wait_waits_for_room_in_the_queue() {
    let (_, ours) = events(EventInterest::All, "c");
    let ours = Arc::new(ours);
    for _ in 0..=QUEUED / 2 {
        assert!(matches!(ours.offer(&event(1)), Offered::Taken(_)));
    }
    let last = event(1);
    let mut queued = pin!(queue(&ours, &last));
    assert!(queued.as_mut().now_or_never().is_none());
    let task = begin_to_send(&ours);
    queued.await;
    ours.flushed().await;
    task.abort();
    assert_eq!(ours.metrics.sent.get(), QUEUED as u64 / 2 + 2);
    assert_eq!(ours.metrics.lost.get(), 0);
}

/// A source forgets an event when it has been flushed, so that must not be said too early.
#[tokio::test(start_paused = true)]
async fn events_are_flushed_when_the_server_has_them() {
    let (wire, ours) = events(EventInterest::All, "c");
    let ours = Arc::new(ours);
    assert!(pin!(ours.flushed()).now_or_never().is_some(), "nothing was queued");
    for _ in 0..3 * TURN {
        pin!(queue(&ours, &event(1))).now_or_never().expect("there is room");
    }
    let mut flushed = pin!(ours.flushed());
    assert!(flushed.as_mut().now_or_never().is_none());
    let task = begin_to_send(&ours);
    flushed.as_mut().await;
    assert_eq!(wire.events(&ours).len(), 3 * TURN);

    // The connection is lost with what was sent over it.
    pin!(queue(&ours, &event(1))).now_or_never().expect("there is room");
    while wire.events(&ours).len() == 3 * TURN {
        sleep(PACE).await;
    }
    wire.is_cut.store(true, Ordering::Relaxed);
    let another = event(2);
    let mut queued = pin!(queue(&ours, &another));
    assert!(queued.as_mut().now_or_never().is_none(), "without a connection, nothing more is taken");
    let mut flushed = pin!(ours.flushed());
    let too_early = tokio::time::timeout(RETRY * 10, flushed.as_mut()).await;
    assert!(too_early.is_err(), "it is not known whether the server has it");
    wire.connections.fetch_add(1, Ordering::Relaxed);
    wire.is_cut.store(false, Ordering::Relaxed);
    flushed.await;
    queued.await;
    ours.flushed().await;
    task.abort();
    let sent = wire.events(&ours).split_off(3 * TURN);
    assert_eq!(sent.len(), 3, "what may be lost is sent again");
    assert_eq!(sent[0], sent[1], "under the same number");
    assert_eq!(ours.metrics.lost.get(), 0);
}

/// What is kept is bounded by confirmations, also if nothing asks for them.
#[tokio::test(start_paused = true)]
async fn what_is_kept_is_confirmed_from_time_to_time() {
    let (wire, ours) = events(EventInterest::All, "c");
    let ours = Arc::new(ours);
    let task = begin_to_send(&ours);
    for _ in 0..KEPT + TURN {
        queue(&ours, &event(1)).await;
    }
    ours.flushed().await;
    wire.connections.fetch_add(1, Ordering::Relaxed);
    queue(&ours, &event(1)).await;
    ours.flushed().await;
    task.abort();
    assert_eq!(wire.events(&ours).len(), KEPT + TURN + 1, "what is confirmed is not sent again");
}

#[tokio::test]
async fn a_node_that_sends_no_events_waits_for_none() {
    let (wire, ours) = events(EventInterest::Off, "c");
    wire.is_cut.store(true, Ordering::Relaxed);
    assert!(pin!(queue(&ours, &event(1))).now_or_never().is_some());
    assert!(pin!(ours.flushed()).now_or_never().is_some());
}
