//! Polls at the fence.

use session::LostLease;

use super::*;

/// The mailbox of a session with these events, and its fence, which is closed.
fn closed(events: &[&str]) -> (Arc<Mailbox>, Fence) {
    let fence = Fence::with_clock(|| Duration::ZERO);
    let mailbox = Mailbox::new(1 << 20);
    mailbox.fence(&LostLease::Closed.fencing(&fence, 2 * WAIT));
    events.iter().for_each(|id| mailbox.put(&event(id)));
    (Arc::new(mailbox), fence)
}

fn open(fence: &Fence) {
    fence.extend(WAIT);
}

/// Begins a poll.
async fn park(
    mailbox: &Arc<Mailbox>,
    known: Option<Cursor>,
) -> tokio::task::JoinHandle<Result<Batch, PollError>> {
    let mailbox = mailbox.clone();
    let parked = tokio::spawn(async move { mailbox.get(known, WAIT, None).await });
    tokio::task::yield_now().await;
    parked
}

#[tokio::test(start_paused = true)]
async fn a_poll_waits_for_the_fence_and_gets_everything_when_it_opens() {
    let (mailbox, fence) = closed(&["a"]);
    let parked = park(&mailbox, None).await;
    mailbox.put(&event("b"));
    tokio::time::sleep(WAIT / 2).await;
    assert!(!parked.is_finished());
    let opened = Instant::now();
    open(&fence);
    assert_eq!(ids(&parked.await.unwrap().unwrap()), ["a", "b"]);
    assert_eq!(opened.elapsed(), Duration::ZERO, "the fence wakes the poll");
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_waits_in_vain_is_answered_empty_and_the_next_one_misses_nothing() {
    let (mailbox, fence) = closed(&[]);
    open(&fence);
    mailbox.put(&event("a"));
    let known = mailbox.get(None, WAIT, None).await.unwrap().cursor;
    fence.close();
    mailbox.put(&event("b"));
    for (cursor, last, then) in [(Some(known), "a", vec!["b"]), (None, NO_EVENT, vec!["a", "b"])] {
        let asked = Instant::now();
        let empty = mailbox.get(cursor, WAIT, None).await.unwrap();
        assert_eq!(asked.elapsed(), WAIT);
        let body = format!(r#"{{"last_event_id":"{last}","events":[]}}"#);
        assert_eq!((&empty.body[..], empty.over), (body.as_bytes(), false), "not even the newest id");
        open(&fence);
        assert_eq!(ids(&mailbox.get(Some(empty.cursor), WAIT, None).await.unwrap()), then);
        fence.close();
    }
    assert_eq!((fence.held(), mailbox.counts().0), (2, 4));
}

#[tokio::test(start_paused = true)]
async fn a_kill_is_told_although_the_fence_is_closed() {
    let (mailbox, _fence) = closed(&["a"]);
    let parked = park(&mailbox, None).await;
    let killed = Instant::now();
    mailbox.terminate(CloseReason::SessionKilled, event("killed"));
    assert_eq!(ids(&parked.await.unwrap().unwrap()), ["killed"]);
    assert_eq!(killed.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_drain_answers_polls_without_the_events_that_the_fence_holds() {
    let (mailbox, _fence) = closed(&["a"]);
    let parked = park(&mailbox, None).await;
    mailbox.drain();
    let batch = parked.await.unwrap().unwrap();
    assert_eq!((ids(&batch), batch.over), (vec![], true));
}

/// Records what an answer has to pass.
#[derive(Default)]
struct Begun(Mutex<Vec<bool>>);

impl AnswerInFlight for Begun {
    fn begin(&self, fencing: Option<&Fencing>) {
        self.0.lock().push(fencing.is_some());
    }

    fn withhold(&self) -> bool {
        false
    }

    fn is_over(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_a_session_is_fenced_and_no_other() {
    let begun = Arc::new(Begun::default());
    let (of_session, fence) = closed(&["a"]);
    let anonymous = Mailbox::new(1 << 20);
    anonymous.put(&event("a"));
    assert_eq!(ids(&anonymous.get(None, WAIT, Some(begun.clone())).await.unwrap()), ["a"]);
    open(&fence);
    assert_eq!(ids(&of_session.get(None, WAIT, Some(begun.clone())).await.unwrap()), ["a"]);
    assert_eq!(*begun.0.lock(), [false, true]);
}
