//! One answer for each request, whoever comes first.

use std::sync::Barrier;
use std::thread;

use tokio::time::{Instant, advance};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(5);

fn waiting(most: usize) -> Arc<Waiting> {
    Arc::new(Waiting::new(WaitingConfig { timeout: TIMEOUT, most }, CorrelationKey::new(None)))
}

fn answer(body: &'static str) -> AsyncAnswer {
    AsyncAnswer {
        status: StatusCode::CREATED,
        headers: HeaderMap::new(),
        body: Bytes::from_static(body.as_bytes()),
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_comes_to_the_request_that_its_token_names() {
    let waiting = waiting(10);
    let (one, two) = (waiting.expect().unwrap(), waiting.expect().unwrap());
    let token_of_one = one.token().to_owned();
    assert_eq!(waiting.deliver(two.token(), answer("two")), Ok(()), "before anybody asks for it");
    let one = tokio::spawn(one.answer());
    tokio::task::yield_now().await;
    assert_eq!(waiting.deliver(&token_of_one, answer("one")), Ok(()));
    assert_eq!(one.await.unwrap(), Ok(answer("one")));
    assert_eq!(two.answer().await, Ok(answer("two")));
    assert!(waiting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_token_is_good_for_one_answer() {
    let waiting = waiting(10);
    let expected = waiting.expect().unwrap();
    let token = expected.token().to_owned();
    assert_eq!(waiting.deliver(&token, answer("first")), Ok(()));
    assert_eq!(waiting.deliver(&token, answer("second")), Err(DeliverError::Gone));
    assert_eq!(expected.answer().await, Ok(answer("first")));
    assert_eq!(waiting.deliver(&token, answer("third")), Err(DeliverError::Gone));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_timeout() {
    let waiting = waiting(10);
    let expected = waiting.expect().unwrap();
    let token = expected.token().to_owned();
    // However long the service takes to say 202, the wait begins then.
    advance(TIMEOUT * 3).await;
    let began = Instant::now();
    assert_eq!(expected.answer().await, Err(TimedOut));
    let waited = began.elapsed();
    assert!(waited >= TIMEOUT && waited < TIMEOUT + Duration::from_millis(10), "{waited:?}");
    assert_eq!(waiting.deliver(&token, answer("late")), Err(DeliverError::Gone));
    assert!(waiting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_is_forgotten() {
    let waiting = waiting(10);
    let dropped = waiting.expect().unwrap();
    let token = dropped.token().to_owned();
    drop(dropped);
    assert_eq!(waiting.deliver(&token, answer("late")), Err(DeliverError::Gone));

    let cancelled = waiting.expect().unwrap();
    let token = cancelled.token().to_owned();
    let task = tokio::spawn(cancelled.answer());
    tokio::task::yield_now().await;
    assert_eq!(waiting.len(), 1);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(waiting.deliver(&token, answer("late")), Err(DeliverError::Gone));
    assert!(waiting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn so_many_wait_and_no_more() {
    let waiting = waiting(2);
    let (one, two) = (waiting.expect().unwrap(), waiting.expect().unwrap());
    assert_eq!(waiting.expect().err(), Some(Full));
    waiting.deliver(one.token(), answer("")).unwrap();
    let three = waiting.expect().expect("an answered request makes room");
    drop(two);
    let _four = waiting.expect().expect("so does one that has left");
    assert_eq!(waiting.expect().err(), Some(Full));
    assert_eq!(three.answer().await, Err(TimedOut));
    assert!(waiting.expect().is_ok(), "and one that has timed out");
}

#[test]
fn neither_text_tells_the_token() {
    let waiting = waiting(2);
    let expected = waiting.expect().unwrap();
    let shown = format!("{expected:?} {waiting:?}");
    assert!(!shown.contains(expected.token()), "{shown}");
}

/// Two answers and the timeout at once, on three threads. What the callers were told must be what the request got.
#[test]
fn answers_and_timeout_race_and_one_wins() {
    let mut random = fastrand::Rng::with_seed(4);
    let (mut answered, mut timed_out) = (0, 0);
    for round in 0..3000 {
        let waiting = waiting(10);
        let expected = waiting.expect().unwrap();
        let token = expected.token().to_owned();
        let start = Barrier::new(3);
        let spins: [u32; 3] = std::array::from_fn(|_| random.u32(..3000));
        let spin = |turns| (0..turns).for_each(|_| std::hint::spin_loop());
        let (told, got) = thread::scope(|scope| {
            let deliver = |body, spins| {
                let (waiting, start, token) = (&waiting, &start, &token);
                scope.spawn(move || {
                    start.wait();
                    spin(spins);
                    waiting.deliver(token, answer(body))
                })
            };
            let delivering = [deliver("a", spins[0]), deliver("b", spins[1])];
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_time().start_paused(true).build().unwrap();
            start.wait();
            spin(spins[2]);
            // The paused clock jumps to the timeout as soon as nothing else is to be done.
            let got = runtime.block_on(expected.answer());
            (delivering.map(|thread| thread.join().unwrap()), got)
        });
        match (told, got) {
            ([Ok(()), Err(DeliverError::Gone)], Ok(got)) if got == answer("a") => answered += 1,
            ([Err(DeliverError::Gone), Ok(())], Ok(got)) if got == answer("b") => answered += 1,
            ([Err(DeliverError::Gone), Err(DeliverError::Gone)], Err(TimedOut)) => timed_out += 1,
            other => panic!("round {round}: {other:?}"),
        }
        assert!(waiting.is_empty());
    }
    assert!(answered > 0 && timed_out > 0, "{answered} answered, {timed_out} timed out: no race");
}
