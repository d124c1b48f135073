//! Lists that cannot be had.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::list_token::StatusListToken;
use super::tasks::{Answer, Kept, SECOND, SOON, answer, mark, token, uri};
use crate::issuers::ListState;
use crate::token_error::TokenError;

#[tokio::test(start_paused = true)]
async fn a_token_whose_list_cannot_be_had_is_not_accepted() {
    let kept = Kept::start();
    kept.answers(1, Answer::Failure("status 503"));
    assert_eq!(kept.verify(1, 0).await.unwrap_err(), TokenError::Unavailable);
    assert_eq!(kept.now().as_secs(), 0);
    // Further tokens cause a fetch each 5 s at most.
    for _ in 0..100 {
        assert_eq!(kept.verify(1, 0).await.unwrap_err(), TokenError::Unavailable);
        sleep(SECOND / 10).await;
    }
    assert_eq!(kept.fetches(1).len(), 2);
    let state =
        ListState { uri: uri(1), entries: None, age: None, last_error: Some("status 503".to_owned()) };
    assert_eq!(kept.issuer.state().lists, [state]);
    kept.has(1, answer(&[0]));
    sleep(5 * SECOND).await;
    assert!(kept.verify(1, 0).await.is_ok());
    let state = &kept.issuer.state().lists[0];
    assert_eq!((state.entries, &state.last_error), (Some(1), &None));
}

#[tokio::test(start_paused = true)]
async fn a_token_does_not_wait_longer_than_it_may() {
    let kept = Kept::start();
    kept.answers(1, Answer::Hang);
    kept.takes(SECOND);
    let begin = Instant::now();
    assert_eq!(kept.verify(1, 0).await.unwrap_err(), TokenError::Unavailable);
    assert_eq!(begin.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn connections_stay_for_a_while_then_are_terminated() {
    let kept = Kept::start_with(|config| config.keys_max_stale = 20 * SECOND);
    kept.has(1, StatusListToken { ttl: 30 * SECOND, ..answer(&[0, 0, 0]) });
    kept.connect(1, 0).await;
    kept.connect(1, 1).await;
    kept.verify(1, 2).await.unwrap();
    kept.answers(1, Answer::Failure("status 503"));
    kept.until(31 * SECOND).await;
    assert_eq!(kept.verify(1, 0).await.unwrap_err(), TokenError::Unavailable, "no new ones");
    kept.until(49 * SECOND).await;
    assert_eq!(kept.ended(), []);
    assert_eq!(kept.issuer.state().lists[0].entries, Some(3));
    kept.until(50 * SECOND).await;
    let reason = "status list: it could not be fetched for 20 s".to_owned();
    let mut ended = kept.take_ended();
    ended.sort();
    assert_eq!(ended, [(mark(1, 0), reason.clone()), (mark(1, 1), reason.clone())]);
    assert_eq!(kept.issuer.state().lists[0].entries, None);
    // One that was registered a moment after.
    kept.open(1, 2);
    sleep(2 * SECOND).await;
    assert_eq!(kept.take_ended(), [(mark(1, 2), reason)]);
    // It comes back.
    kept.has(1, answer(&[0, 0, 0]));
    sleep(40 * SECOND).await;
    assert!(kept.verify(1, 0).await.is_ok());
    assert_eq!(kept.ended(), []);
}

#[tokio::test(start_paused = true)]
async fn fetches_that_fail_are_repeated_ever_less_often() {
    let kept = Kept::start();
    kept.has(1, StatusListToken { ttl: 30 * SECOND, ..answer(&[0]) });
    kept.connect(1, 0).await;
    kept.answers(1, Answer::Failure("status 503"));
    kept.until(200 * SECOND).await;
    let fetches = kept.fetches(1);
    let pauses: Vec<_> = fetches.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (pause, expected) in pauses.iter().zip([30, 5, 10, 20, 30, 30, 30]) {
        let expected = expected as f64;
        assert!((0.89 * expected..1.11 * expected).contains(&pause.as_secs_f64()), "{pauses:?}");
    }
    assert!(pauses.len() >= 7);
    // After a good one, everything is as before.
    kept.has(1, StatusListToken { ttl: 30 * SECOND, ..answer(&[0]) });
    sleep(40 * SECOND).await;
    let count = kept.fetches(1).len();
    kept.answers(1, Answer::Failure("status 503"));
    sleep(32 * SECOND).await;
    sleep(6 * SECOND).await;
    let fetches = kept.fetches(1);
    assert!(fetches.len() >= count + 2, "{fetches:?}");
    assert_eq!(kept.ended(), []);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_expires_is_fetched_before_and_keeps_no_connection_after() {
    let kept = Kept::start();
    let expires_in = Some(60 * SECOND);
    kept.has(1, StatusListToken { expires_in, ttl: 300 * SECOND, ..answer(&[0]) });
    kept.connect(1, 0).await;
    let checked_until = kept.verify(1, 0).await.unwrap().checked_until.unwrap();
    assert!(checked_until <= Instant::now() + 60 * SECOND, "never beyond exp");
    kept.until(49 * SECOND).await;
    assert_eq!(kept.fetches(1).len(), 1);
    kept.until(50 * SECOND).await;
    assert_eq!(kept.fetches(1).len(), 2, "ten seconds before");
    // It is good for another minute. The next one is not to be had.
    kept.answers(1, Answer::Failure("status 503"));
    kept.until(109 * SECOND).await;
    assert!(kept.verify(1, 0).await.is_ok());
    kept.until(110 * SECOND).await;
    assert_eq!(kept.verify(1, 0).await.unwrap_err(), TokenError::Unavailable, "exp is past");
    kept.until(114 * SECOND).await;
    assert_eq!(kept.ended(), [], "clocks may differ by 5 s");
    kept.until(115 * SECOND).await;
    assert_eq!(kept.take_ended(), [(mark(1, 0), "status list: it has expired".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_list_may_expire_just_when_the_next_one_comes() {
    let kept = Kept::start();
    kept.has(1, StatusListToken { expires_in: Some(10 * SECOND), ..answer(&[0]) });
    kept.connect(1, 0).await;
    // The same list, until it has expired.
    for left in (1..10).rev() {
        kept.has(1, StatusListToken { expires_in: Some(left * SECOND), ..answer(&[0]) });
        sleep(SECOND).await;
    }
    kept.answers(1, Answer::Failure("the list has expired"));
    kept.until(11 * SECOND).await;
    kept.has(1, StatusListToken { expires_in: Some(3600 * SECOND), issued_at: 1.0, ..answer(&[0]) });
    kept.until(60 * SECOND).await;
    assert!(kept.fetches(1).len() < 20, "{:?}", kept.fetches(1));
    // What the list of before said counts for no longer than its `exp` and 5 s.
    let ended: Vec<_> = kept.ended();
    assert!(ended.len() <= 1);
    assert!(kept.verify(1, 0).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn without_a_time_to_be_stale_a_failure_terminates_at_once() {
    let kept = Kept::start_with(|config| config.keys_max_stale = Duration::ZERO);
    kept.has(1, answer(&[0]));
    kept.connect(1, 0).await;
    kept.answers(1, Answer::Hang);
    kept.until(14 * SECOND).await;
    assert_eq!(kept.ended(), []);
    kept.until(15 * SECOND + SOON).await;
    assert_eq!(kept.take_ended(), [(mark(1, 0), "status list: it could not be fetched for 0 s".to_owned())]);
    assert_eq!(kept.issuer.with_status(token(1, 0)).unwrap_err(), TokenError::Unasked);
}
