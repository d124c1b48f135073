//! What leaves a node, and in which order.

use super::super::heads::LOOK;
use super::super::kept::{KEPT, RETRY};
use super::super::note::EVENTS;
use super::super::sending::TURN;
use super::*;
use tokio::time::Instant;

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
    assert_eq!(
        contents(&sent)[14..],
        [(15, None), (18, Some(Note::Unsent(3))), (EVENTS + 1, Some(Note::Head(18)))]
    );
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
    assert_eq!(
        contents(&wire.received(&ours)),
        [(1, None), (2, None), (3, None), (EVENTS + 1, Some(Note::Head(3)))]
    );
    let (_, other) = events(EventInterest::All, "c");
    let accept = |at: usize| {
        let (bucket, message) = wire.sent.lock()[at].clone();
        other.accept(bucket, &message).unwrap().is_gap
    };
    assert_eq!(([0, 1, 3].map(accept), other.metrics.lost.get()), ([false, false, true], 1));
    // Another connection: what was sent over the one before may be lost, the head too.
    wire.connections.fetch_add(1, Ordering::Relaxed);
    sleep(LOOK * 2).await;
    assert_eq!(contents(&wire.received(&ours))[4..], [(EVENTS + 2, Some(Note::Head(3)))]);
    ours.send_heads([bucket_of("t"), bucket_of("t") ^ 1]);
    sleep(PACE).await;
    assert_eq!(
        contents(&wire.received(&ours))[5..],
        [(EVENTS + 3, Some(Note::Head(3)))],
        "for the bucket that has one"
    );
    task.abort();
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
