//! One answer for each request, whichever comes first.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use seal::{Incarnation, Purpose};
use tokio::time::{Instant, advance};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(5);

fn waiting(most: usize) -> Arc<Waiting> {
    Arc::new(Waiting::new(
        WaitingConfig { timeout: TIMEOUT, most, ..WaitingConfig::default() },
        Seal::new(None, Purpose::Correlation, Incarnation::unnamed()),
    ))
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
    let one = tokio::spawn(one.answer(TIMEOUT));
    tokio::task::yield_now().await;
    assert_eq!(waiting.deliver(&token_of_one, answer("one")), Ok(()));
    assert_eq!(one.await.unwrap(), Ok(answer("one")));
    assert_eq!(two.answer(TIMEOUT).await, Ok(answer("two")));
    assert!(waiting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_token_is_good_for_one_answer() {
    let waiting = waiting(10);
    let expected = waiting.expect().unwrap();
    let token = expected.token().to_owned();
    assert_eq!(waiting.deliver(&token, answer("first")), Ok(()));
    assert_eq!(waiting.deliver(&token, answer("second")), Err(DeliverError::Gone));
    assert_eq!(expected.answer(TIMEOUT).await, Ok(answer("first")));
    assert_eq!(waiting.deliver(&token, answer("third")), Err(DeliverError::Gone));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_timeout() {
    let waiting = waiting(10);
    let expected = waiting.expect().unwrap();
    let token = expected.token().to_owned();
    // The wait begins with the 202, however long the service takes for it.
    advance(TIMEOUT * 3).await;
    let began = Instant::now();
    assert_eq!(expected.answer(TIMEOUT).await, Err(TimedOut));
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
    let task = tokio::spawn(cancelled.answer(TIMEOUT));
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
    assert_eq!(waiting.expect().err(), Some(TooManyWaiting));
    waiting.deliver(one.token(), answer("")).unwrap();
    let three = waiting.expect().expect("an answered request makes room");
    drop(two);
    let _four = waiting.expect().expect("so does one that has left");
    assert_eq!(waiting.expect().err(), Some(TooManyWaiting));
    assert_eq!(three.answer(TIMEOUT).await, Err(TimedOut));
    assert!(waiting.expect().is_ok(), "and one that has timed out");
}

#[test]
fn neither_text_tells_the_token() {
    let waiting = waiting(2);
    let expected = waiting.expect().unwrap();
    let shown = format!("{expected:?} {waiting:?}");
    assert!(!shown.contains(expected.token()), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_on_its_way_beats_the_timeout() {
    let waiting = waiting(10);
    let expected = waiting.expect().unwrap();
    // The state in which `deliver` has removed the request, so that no other call can answer.
    let sender = waiting.take(expected.number).unwrap();
    let task = tokio::spawn(expected.answer(TIMEOUT));
    tokio::task::yield_now().await;
    advance(TIMEOUT * 2).await;
    tokio::task::yield_now().await;
    assert!(!task.is_finished());
    sender.send(answer("just so")).unwrap();
    assert_eq!(task.await.unwrap(), Ok(answer("just so")));
}

/// A barrier for two threads, used repeatedly.
#[derive(Default)]
struct Meeting([AtomicUsize; 2]);

impl Meeting {
    /// Both threads leave at nearly the same time. Spins first, since a system call would prolong
    /// short waits.
    fn meet(&self, me: usize) {
        let round = self.0[me].fetch_add(1, Ordering::AcqRel) + 1;
        for turn in 1_u32.. {
            if self.0[1 - me].load(Ordering::Acquire) >= round {
                return;
            }
            std::hint::spin_loop();
            if turn.is_multiple_of(10_000) {
                thread::yield_now();
            }
        }
    }
}

/// Answers and the timeout race on two threads, repeatedly. The results of the callers must match
/// what the requests got.
#[test]
fn answers_and_timeout_race_and_one_wins() {
    const ROUNDS: usize = 20_000;
    let waiting = waiting(ROUNDS);
    let requests: Vec<_> = (0..ROUNDS).map(|_| waiting.expect().unwrap()).collect();
    let tokens: Vec<_> = requests.iter().map(|request| request.token().to_owned()).collect();
    let meeting = Meeting::default();
    let spin = |random: &mut fastrand::Rng| (0..random.u32(..400)).for_each(|_| std::hint::spin_loop());
    let deliver = || {
        let mut random = fastrand::Rng::with_seed(1);
        let told = tokens.iter().map(|token| {
            meeting.meet(0);
            spin(&mut random);
            (waiting.deliver(token, answer("a")), waiting.deliver(token, answer("b")))
        });
        told.collect::<Vec<_>>()
    };
    let receive = || {
        let mut random = fastrand::Rng::with_seed(2);
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        let got = requests.into_iter().map(|request| {
            meeting.meet(1);
            spin(&mut random);
            // The paused clock jumps to the timeout when the runtime is idle.
            runtime.block_on(request.answer(TIMEOUT))
        });
        got.collect::<Vec<_>>()
    };
    let (told, got) = thread::scope(|scope| {
        let delivering = scope.spawn(deliver);
        let got = receive();
        (delivering.join().unwrap(), got)
    });
    let mut timed_out = 0;
    for (round, (told, got)) in told.into_iter().zip(got).enumerate() {
        let gone = Err(DeliverError::Gone);
        let expected = match &got {
            Ok(got) if *got == answer("a") => (Ok(()), gone),
            Ok(_) => (gone, Ok(())),
            Err(TimedOut) => (gone, gone),
        };
        assert_eq!(told, expected, "round {round}: {got:?}");
        timed_out += usize::from(got.is_err());
    }
    assert!(waiting.is_empty());
    assert!(timed_out > 0 && timed_out < ROUNDS, "{timed_out} timed out: no race");
}

#[test]
fn a_token_of_an_earlier_life_or_another_node_reaches_no_request() {
    let on = |node| {
        let seal = Seal::new(Some("cookie"), Purpose::Correlation, Incarnation::of(node));
        Arc::new(Waiting::new(WaitingConfig::default(), seal))
    };
    let this = on("a");
    // Each of them numbers its requests from the same start.
    let _expected = this.expect().unwrap();
    for other in [on("a"), on("b")] {
        let token = other.expect().unwrap().token().to_owned();
        assert_eq!(this.deliver(&token, answer("x")), Err(DeliverError::Gone));
    }
    assert_eq!(this.len(), 1);
}
