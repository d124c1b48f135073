//! Tokens whose status changes.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::super::list_token::StatusListToken;
use super::tasks::{Kept, SECOND, SOON, answer, claims, mark, token};
use crate::issuers::testing::config;
use crate::issuers::{Issuers, ListsConfig};
use crate::token_error::TokenError;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_token_waits_for_its_list() {
    let kept = Kept::start();
    kept.has(1, answer(&[0, 1, 2]));
    kept.takes(SECOND);
    assert_eq!(kept.issuer.with_status(token(1, 0)).unwrap_err(), TokenError::Unasked);
    assert_eq!(kept.all_fetches(), 0, "what never waits causes no fetch");
    let verified = kept.verify(1, 0).await.unwrap();
    assert_eq!(verified.marks, [("key", "k".into()), ("status", mark(1, 0).into())]);
    let fresh_for = verified.checked_until.unwrap() - Instant::now();
    assert!(fresh_for <= 10 * SECOND && fresh_for > 10 * SECOND - SOON, "{fresh_for:?}");
    assert_eq!(kept.now().as_secs(), 1);
    // What was asked is known for as long as the list is fresh.
    sleep(9 * SECOND).await;
    let verified = kept.issuer.with_status(token(1, 0)).unwrap();
    assert!(!verified.must_be_checked());
    assert_eq!(kept.verify(1, 1).await.unwrap_err(), TokenError::Inactive);
    assert_eq!(kept.issuer.with_status(token(1, 2)).unwrap_err(), TokenError::Inactive);
    assert_eq!(kept.issuer.with_status(token(1, 3)).unwrap_err(), TokenError::Status);
    assert_eq!(kept.all_fetches(), 1);
    sleep(SECOND).await;
    assert!(verified.must_be_checked());
    assert_eq!(kept.issuer.with_status(token(1, 0)).unwrap_err(), TokenError::Unasked);
}

#[tokio::test(start_paused = true)]
async fn only_tokens_with_a_status_are_concerned() {
    let kept = Kept::start();
    for map in [json!({"sub": "ann"}), json!({"status": null})] {
        let verified = kept.issuer.with_status(claims(map.clone())).unwrap();
        assert!(verified.marks.len() == 1 && verified.checked_until.is_none(), "{map}");
        assert!(kept.issuer.with_status_fetched(claims(map), SECOND).await.is_ok());
    }
    let status = |uri: &str| claims(json!({"status": {"status_list": {"idx": 0, "uri": uri}}}));
    for other in [
        claims(json!({"status": {"other": {}}})),
        status("https://evil.example/lists/1"),
        status("https://id.example/lists/../1"),
        status("https://id.example/lists/1#0"),
    ] {
        assert_eq!(kept.issuer.with_status(other.clone()).unwrap_err(), TokenError::Status);
        let refused = kept.issuer.with_status_fetched(other, SECOND).await;
        assert_eq!(refused.unwrap_err(), TokenError::Status);
    }
    assert_eq!(kept.all_fetches(), 0);
    // Without the setting, the claim is not looked at.
    let issuer = Issuers::new(vec![config()]).iter().next().unwrap().clone();
    assert!(issuer.with_status(claims(json!({"status": {"other": {}}}))).is_ok());
    assert!(ListsConfig::prefix("https://id.example/lists/").is_ok());
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_share_a_fetch() {
    let kept = Kept::start();
    kept.takes(3 * SECOND);
    kept.has(1, answer(&[0; 100]));
    let verified = (0..100).map(|index| kept.verify(1, index));
    let verified = futures_util::future::join_all(verified).await;
    assert!(verified.iter().all(Result::is_ok));
    assert_eq!(kept.all_fetches(), 1);
    // One for which no request waits any longer goes on.
    kept.has(2, answer(&[0]));
    let left = tokio::time::timeout(SECOND, kept.verify(2, 0)).await;
    assert!(left.is_err());
    sleep(2 * SECOND + SOON).await;
    assert!(kept.issuer.with_status(token(2, 0)).is_ok());
    assert_eq!(kept.fetches(2).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn i38_a_token_that_is_revoked_is_terminated_and_no_other() {
    let kept = Kept::start();
    kept.has(1, answer(&[0; 8]));
    for index in 0..6 {
        kept.connect(1, index).await;
    }
    kept.until(5 * SECOND).await;
    kept.has(1, answer(&[0, 1, 2, 3, 0]));
    kept.until(9 * SECOND).await;
    assert_eq!(kept.ended(), []);
    kept.until(10 * SECOND).await;
    let mut ended = kept.take_ended();
    ended.sort();
    let expected = [
        (1, "status list: revoked"),
        (2, "status list: suspended"),
        (3, "status list: status 3"),
        (5, "status list: no such entry"),
    ];
    assert_eq!(ended, expected.map(|(index, reason)| (mark(1, index), reason.to_owned())));
    // The others stay, and nothing is terminated twice.
    kept.until(10 * MINUTE).await;
    assert_eq!(kept.ended(), []);
    assert_eq!(kept.verify(1, 1).await.unwrap_err(), TokenError::Inactive);
    assert!(kept.verify(1, 4).await.is_ok());
    // A suspension that is lifted.
    kept.has(1, answer(&[0; 8]));
    sleep(10 * SECOND).await;
    assert!(kept.verify(1, 2).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_list_is_fetched_as_often_as_it_says() {
    let kept = Kept::start();
    kept.has(1, answer(&[0]));
    kept.has(2, StatusListToken { ttl: 300 * SECOND, ..answer(&[0]) });
    kept.connect(1, 0).await;
    kept.connect(2, 0).await;
    kept.until(600 * SECOND).await;
    let seconds: Vec<_> = kept.fetches(1).iter().map(Duration::as_secs).collect();
    assert_eq!(seconds, (0..=600).step_by(10).collect::<Vec<_>>());
    let seconds: Vec<_> = kept.fetches(2).iter().map(Duration::as_secs).collect();
    assert_eq!(seconds, [0, 300, 600]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_registered_late_is_terminated() {
    for (late, within) in [(SECOND, 2 * SECOND), (30 * SECOND, MINUTE)] {
        let kept = Kept::start();
        kept.has(1, answer(&[0, 0]));
        kept.connect(1, 1).await;
        kept.until(10 * SECOND - 2 * SOON).await;
        // It was verified with the old list.
        kept.verify(1, 0).await.unwrap();
        kept.has(1, StatusListToken { ttl: 3600 * SECOND, ..answer(&[1, 0]) });
        kept.until(10 * SECOND + late - SOON).await;
        assert_eq!(kept.ended(), []);
        kept.open(1, 0);
        sleep(within).await;
        let ended = kept.take_ended();
        assert_eq!(ended, [(mark(1, 0), "status list: revoked".to_owned())], "{late:?} late");
    }
}

/// A cache of tokens keeps them until the list is no longer fresh.
#[tokio::test(start_paused = true)]
async fn a_connection_of_a_token_that_was_verified_long_ago_is_terminated() {
    let kept = Kept::start();
    kept.has(1, StatusListToken { ttl: 1800 * SECOND, ..answer(&[0]) });
    kept.verify(1, 0).await.unwrap();
    kept.until(1799 * SECOND).await;
    kept.open(1, 0);
    kept.has(1, answer(&[1]));
    kept.until(1800 * SECOND).await;
    assert_eq!(kept.take_ended(), [(mark(1, 0), "status list: revoked".to_owned())]);
    // The same, but it comes after the list was found not to be needed.
    kept.has(2, StatusListToken { ttl: 1800 * SECOND, ..answer(&[0]) });
    kept.verify(2, 0).await.unwrap();
    kept.until(3601 * SECOND).await;
    assert_eq!(kept.fetches(2).len(), 1);
    kept.has(2, answer(&[1]));
    kept.open(2, 0);
    sleep(MINUTE).await;
    assert_eq!(kept.take_ended(), [(mark(2, 0), "status list: revoked".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_stays_is_terminated_again() {
    let kept = Kept::start();
    kept.has(1, answer(&[0]));
    kept.connect(1, 0).await;
    kept.has(1, StatusListToken { ttl: 3600 * SECOND, ..answer(&[1]) });
    kept.stays(3);
    kept.until(300 * SECOND).await;
    let seconds: Vec<_> = kept.ended().iter().map(|(at, ..)| at.as_secs()).collect();
    assert_eq!(seconds, [10, 12, 14, 16]);
}

#[tokio::test(start_paused = true)]
async fn a_list_without_connections_is_left_alone() {
    let kept = Kept::start();
    kept.has(1, answer(&[0]));
    kept.connect(1, 0).await;
    kept.until(115 * SECOND).await;
    assert_eq!(kept.fetches(1).len(), 12);
    kept.close(1, 0);
    kept.until(3600 * SECOND).await;
    assert_eq!(kept.fetches(1).len(), 12, "no fetch after the last connection");
    assert_eq!(kept.issuer.state().lists, []);
    assert_eq!(kept.ended(), []);
    // One is fetched for a minute after a token was verified.
    kept.verify(1, 0).await.unwrap();
    sleep(300 * SECOND).await;
    let more = kept.fetches(1).len() - 12;
    assert!((6..=8).contains(&more), "{more} fetches");
}

#[tokio::test(start_paused = true)]
async fn an_old_list_does_not_make_tokens_valid_again() {
    let kept = Kept::start();
    kept.has(1, StatusListToken { issued_at: 100.0, ..answer(&[1, 0]) });
    kept.connect(1, 1).await;
    kept.has(1, StatusListToken { issued_at: 99.0, ..answer(&[0, 1]) });
    kept.until(11 * SECOND).await;
    assert_eq!(kept.ended(), [], "nothing of it counts");
    assert_eq!(kept.verify(1, 0).await.unwrap_err(), TokenError::Unavailable);
    let error = kept.issuer.state().lists[0].last_error.clone();
    assert_eq!(error.as_deref(), Some("https://id.example/lists/1: the list is older than one before"));
    kept.has(1, StatusListToken { issued_at: 100.0, ..answer(&[1, 0]) });
    kept.until(17 * SECOND).await;
    assert_eq!(kept.verify(1, 0).await.unwrap_err(), TokenError::Inactive);
    assert!(kept.verify(1, 1).await.is_ok());
}

/// Nor when the newer one has not been needed for a while, and is no longer kept.
#[tokio::test(start_paused = true)]
async fn an_old_list_does_not_count_after_the_newer_one_was_forgotten() {
    let kept = Kept::start();
    kept.has(1, StatusListToken { issued_at: 100.0, ..answer(&[1, 0]) });
    assert_eq!(kept.verify(1, 0).await.unwrap_err(), TokenError::Inactive);
    kept.until(600 * SECOND).await;
    assert!(kept.issuer.state().lists.is_empty());
    kept.has(1, StatusListToken { issued_at: 99.0, ..answer(&[0, 1]) });
    assert_eq!(kept.verify(1, 0).await.unwrap_err(), TokenError::Unavailable);
}
