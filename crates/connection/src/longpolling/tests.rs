//! What polls get, and when.

use super::state::EVENTS;
use super::*;

mod fenced;

const WAIT: Duration = Duration::from_secs(5);

fn event(id: &str) -> Event {
    Event::from_json(format!(r#"{{"specversion":"0.2","type":"t","id":"{id}"}}"#).into()).unwrap()
}

fn ids(batch: &Batch) -> Vec<String> {
    let body: serde_json::Value = serde_json::from_slice(&batch.body).unwrap();
    body["events"].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect()
}

impl Mailbox {
    /// As [`Mailbox::poll_from_elsewhere`], without the position.
    async fn get_up_to(
        &self,
        limit: usize,
        known: Option<Cursor>,
        wait: Duration,
    ) -> Result<Batch, PollError> {
        Ok(self.poll_from_elsewhere(limit, known, wait, EventPosition::default).await?.0)
    }

    /// As [`Mailbox::poll`], without the position.
    async fn get(
        &self,
        known: Option<Cursor>,
        wait: Duration,
        answer: Option<Arc<dyn AnswerInFlight>>,
    ) -> Result<Batch, PollError> {
        Ok(self.poll(known, wait, answer, EventPosition::default).await?.0)
    }
}

/// The cursor of a client that has got all there is.
fn all(mailbox: &Mailbox) -> Option<Cursor> {
    let state = mailbox.state.lock();
    Some(state.batch(None, state.len()..state.len(), false).cursor)
}

#[tokio::test(start_paused = true)]
async fn f45_a_poll_gets_what_came_after_its_cursor_whatever_the_ids() {
    let mailbox = Mailbox::new(1 << 20);
    mailbox.put(&event("a"));
    let a = mailbox.get(None, WAIT, None).await.unwrap();
    assert_eq!(ids(&a), ["a"]);
    for id in ["b", "c", "a", "a"] {
        mailbox.put(&event(id));
    }
    for _ in 0..2 {
        let batch = mailbox.get(Some(a.cursor), WAIT, None).await.unwrap();
        assert_eq!(ids(&batch), ["b", "c", "a", "a"], "the answer before may have been lost");
    }
}

#[tokio::test(start_paused = true)]
async fn f45_a_cursor_of_no_event_here_is_none() {
    let mailbox = Mailbox::new(1 << 20);
    mailbox.put(&event("a"));
    let Cursor(newest) = all(&mailbox).unwrap();
    let other = all(&Mailbox::new(1 << 20)).unwrap();
    for foreign in [other, Cursor(newest + 1), Cursor(newest - 2), Cursor(0), Cursor(u64::MAX)] {
        assert_eq!(ids(&mailbox.get(Some(foreign), WAIT, None).await.unwrap()), ["a"], "{foreign}");
    }
}

#[test]
fn f45_a_cursor_is_digits() {
    let cursor = Cursor(u64::MAX);
    assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
    for text in ["", "+1", "-1", "1.0", "1e1", " 1", "١", "18446744073709551616", "first_event"] {
        assert_eq!(Cursor::parse(text), None, "{text:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_waits_five_seconds_and_then_gets_nothing() {
    let mailbox = Mailbox::new(1 << 20);
    mailbox.put(&event("a"));
    let asked = Instant::now();
    let batch = mailbox.get(all(&mailbox), WAIT, None).await.unwrap();
    assert_eq!(asked.elapsed(), WAIT);
    assert_eq!(&batch.body[..], br#"{"last_event_id":"a","events":[]}"#);
}

#[tokio::test(start_paused = true)]
async fn an_event_answers_the_poll_that_waits() {
    let mailbox = Arc::new(Mailbox::new(1 << 20));
    let waiting = tokio::spawn({
        let mailbox = mailbox.clone();
        async move { mailbox.get(None, WAIT, None).await }
    });
    tokio::task::yield_now().await;
    let put = Instant::now();
    mailbox.put(&event("a"));
    assert_eq!(ids(&waiting.await.unwrap().unwrap()), ["a"]);
    assert_eq!(put.elapsed(), Duration::ZERO, "the event wakes the poll");
}

/// Names of events, in their order.
fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("f{n}")).collect()
}

fn put_all(mailbox: &Mailbox, range: std::ops::Range<usize>) {
    numbered(range).iter().for_each(|id| mailbox.put(&event(id)));
}

/// What a poll gets that does not wait.
async fn get(mailbox: &Mailbox, known: Option<Cursor>) -> Batch {
    let asked = Instant::now();
    let batch = mailbox.get(known, WAIT, None).await.unwrap();
    assert_eq!(asked.elapsed(), Duration::ZERO, "it is answered at once");
    batch
}

#[tokio::test(start_paused = true)]
async fn f45_the_oldest_events_make_room_and_all_others_are_delivered_once() {
    for beyond in [0, 1, 2, EVENTS, 3 * EVENTS] {
        let mailbox = Mailbox::new(1 << 20);
        mailbox.put(&event("known"));
        let known = all(&mailbox);
        put_all(&mailbox, 0..EVENTS + beyond);
        let kept = numbered(beyond..EVENTS + beyond);
        let Cursor(newest) = all(&mailbox).unwrap();
        let foreign = all(&Mailbox::new(1 << 20));
        for cursor in
            [known, None, foreign, Some(Cursor(0)), Some(Cursor(newest + 1)), Some(Cursor(u64::MAX))]
        {
            for _ in 0..2 {
                let batch = get(&mailbox, cursor).await;
                assert_eq!(ids(&batch), kept, "{beyond} beyond, {cursor:?}");
                assert_eq!(batch.cursor, Cursor(newest));
            }
        }
        let within = Cursor(newest - 3);
        assert_eq!(ids(&get(&mailbox, Some(within)).await), kept[EVENTS - 3..]);
        mailbox.put(&event("next"));
        assert_eq!(ids(&get(&mailbox, Some(Cursor(newest))).await), ["next"], "nothing comes twice");
    }
}

#[tokio::test(start_paused = true)]
async fn f45_events_of_many_bytes_make_room_and_all_others_are_delivered_once() {
    let mailbox = Mailbox::new(5 * event("f0").json().len());
    put_all(&mailbox, 0..3);
    let first = get(&mailbox, None).await;
    assert_eq!(ids(&first), numbered(0..3));
    put_all(&mailbox, 3..9);
    let second = get(&mailbox, Some(first.cursor)).await;
    assert_eq!(ids(&second), numbered(4..9));
    // One event is kept, however large it is.
    let large = "x".repeat(1000);
    mailbox.put(&event(&large));
    let third = get(&mailbox, Some(second.cursor)).await;
    assert_eq!(ids(&third), [large]);
    put_all(&mailbox, 9..10);
    assert_eq!(ids(&get(&mailbox, Some(third.cursor)).await), ["f9"]);
}

#[tokio::test(start_paused = true)]
async fn f45_a_poll_that_waits_gets_all_that_is_kept() {
    let mailbox = Arc::new(Mailbox::new(1 << 20));
    mailbox.put(&event("known"));
    let waiting = tokio::spawn({
        let mailbox = mailbox.clone();
        async move { mailbox.get(all(&mailbox), WAIT, None).await.unwrap() }
    });
    tokio::task::yield_now().await;
    let put = Instant::now();
    put_all(&mailbox, 0..EVENTS + 5);
    assert_eq!(ids(&waiting.await.unwrap()), numbered(5..EVENTS + 5));
    assert_eq!(put.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn f45_nothing_is_left_of_a_mailbox_that_was_emptied() {
    let mailbox = Mailbox::new(1 << 20);
    let known = all(&mailbox);
    put_all(&mailbox, 0..EVENTS + 5);
    mailbox.empty(CloseReason::Memory);
    for cursor in [known, None, all(&mailbox)] {
        let batch = get(&mailbox, cursor).await;
        assert_eq!((ids(&batch), batch.over), (vec![], true), "{cursor:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_are_bounded_too() {
    let mailbox = Mailbox::new(100);
    for n in 0..10 {
        mailbox.put(&event(&n.to_string()));
    }
    assert!(mailbox.state.lock().bytes <= 100);
}

#[tokio::test(start_paused = true)]
async fn d06_a_kill_answers_the_parked_poll_and_refuses_the_next() {
    let mailbox = Arc::new(Mailbox::new(1 << 20));
    mailbox.put(&event("a"));
    let parked = tokio::spawn({
        let mailbox = mailbox.clone();
        async move { mailbox.get(all(&mailbox), WAIT, None).await }
    });
    tokio::task::yield_now().await;
    let killed = Instant::now();
    mailbox.terminate(CloseReason::SessionKilled, event("killed"));
    mailbox.put(&event("late"));
    let batch = parked.await.unwrap().unwrap();
    assert_eq!(killed.elapsed(), Duration::ZERO, "the kill wakes the poll");
    assert!(batch.over);
    assert_eq!(ids(&batch), ["killed"]);
    assert_eq!(mailbox.get(all(&mailbox), WAIT, None).await, Err(PollError::SessionKilled));
}

#[tokio::test(start_paused = true)]
async fn a_kill_counts_the_polls_it_answers_and_what_it_throws_away() {
    let mailbox = Arc::new(Mailbox::new(1 << 20));
    mailbox.put(&event("a"));
    assert_eq!(ids(&mailbox.get(None, WAIT, None).await.unwrap()), ["a"]);
    let parked = tokio::spawn({
        let mailbox = mailbox.clone();
        async move { mailbox.get(all(&mailbox), WAIT, None).await }
    });
    let gone = tokio::time::timeout(Duration::from_millis(1), mailbox.get(all(&mailbox), WAIT, None)).await;
    assert!(gone.is_err(), "its client has gone away");
    let killed = Instant::now();
    let told = mailbox.terminate(CloseReason::SessionKilled, event("killed"));
    assert_eq!((told.ended, told.requests, told.last_payload.is_some()), (true, 1, true));
    assert_eq!(ids(&parked.await.unwrap().unwrap()), ["killed"]);
    assert_eq!(killed.elapsed(), Duration::ZERO, "the kill wakes the poll");
    assert_eq!((mailbox.counts(), mailbox.late()), ((1, 0), 0), "the client has got it");
    let unread = Mailbox::new(1 << 20);
    unread.put(&event("a"));
    unread.terminate(CloseReason::SessionKilled, event("killed"));
    assert_eq!(unread.counts(), (0, 1));
    assert!(!mailbox.terminate(CloseReason::SessionKilled, event("again")).ended);
}

#[tokio::test(start_paused = true)]
async fn a_kill_empties_a_mailbox_that_was_ending() {
    let mailbox = Mailbox::new(1 << 20);
    mailbox.put(&event("a"));
    mailbox.drain();
    assert!(!mailbox.terminate(CloseReason::TokenExpired, event("expired")).ended);
    assert_eq!(mailbox.get(None, WAIT, None).await, Err(PollError::SessionExpired));
}

#[tokio::test(start_paused = true)]
async fn an_answer_with_a_limit_is_cut_between_events_and_the_rest_follows() {
    let mailbox = Mailbox::new(1 << 20);
    let expected: Vec<_> = (0..50).map(|n| format!("\"{}\"", n.to_string().repeat(1 + n % 7))).collect();
    for id in &expected {
        let json = serde_json::json!({ "specversion": "0.2", "type": "t", "id": id });
        mailbox.put(&Event::from_json(json.to_string().into()).unwrap());
    }
    for limit in [160, 300, 1000] {
        let (mut cursor, mut found, mut polls) = (None, Vec::new(), 0);
        while found.len() < expected.len() {
            assert!(polls < expected.len(), "{found:?}");
            let batch = mailbox.get_up_to(limit, cursor, WAIT).await.unwrap();
            assert!(batch.body.len() <= limit, "{} bytes", batch.body.len());
            assert!(!batch.over);
            found.extend(ids(&batch));
            cursor = Some(batch.cursor);
            polls += 1;
        }
        assert_eq!(found, expected);
        assert!(polls > 1, "{polls} polls of {limit} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_is_drained_is_over_with_the_last_event() {
    let mailbox = Mailbox::new(1 << 20);
    ["a", "b"].iter().for_each(|id| mailbox.put(&event(id)));
    mailbox.drain();
    let first = mailbox.get_up_to(120, None, WAIT).await.unwrap();
    assert_eq!((ids(&first), first.over), (vec!["a".to_owned()], false));
    let second = mailbox.get_up_to(120, Some(first.cursor), WAIT).await.unwrap();
    assert_eq!((ids(&second), second.over), (vec!["b".to_owned()], true));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_fits_into_no_answer_holds_up_no_other() {
    let mailbox = Mailbox::new(1 << 20);
    for id in ["a", &"b".repeat(500), "c"] {
        mailbox.put(&event(id));
    }
    let (mut cursor, mut found) = (None, Vec::new());
    for _ in 0..3 {
        let batch = mailbox.get_up_to(150, cursor, WAIT).await.unwrap();
        found.extend(ids(&batch));
        cursor = Some(batch.cursor);
    }
    assert_eq!(found, ["a", "c"]);
    assert_eq!(mailbox.counts(), (2, 1));
}
