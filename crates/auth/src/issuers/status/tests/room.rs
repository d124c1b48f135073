//! The bounds of what is kept.

use std::time::Duration;

use tokio::time::sleep;

use super::super::StatusList;
use super::super::list_token::StatusListToken;
use super::claims_of;
use super::tasks::{Kept, SECOND, answer, mark, token};
use crate::token_error::TokenError;

const LONG: Duration = Duration::from_secs(3600);

fn known(kept: &Kept) -> usize {
    kept.issuer.lists.as_ref().unwrap().len()
}

fn lasting(statuses: &[u8]) -> StatusListToken {
    StatusListToken { ttl: LONG, ..answer(statuses) }
}

#[tokio::test(start_paused = true)]
async fn lists_without_connections_make_room() {
    let kept = Kept::start();
    for number in 0..33 {
        kept.has(number, lasting(&[0]));
        if number < 32 {
            kept.verify(number, 0).await.unwrap();
            sleep(SECOND).await;
        }
    }
    // The oldest one, but for those with connections.
    kept.open(0, 0);
    kept.verify(32, 0).await.unwrap();
    assert_eq!(known(&kept), 32);
    assert!(kept.issuer.with_status(token(0, 0)).is_ok());
    assert_eq!(kept.issuer.with_status(token(1, 0)).unwrap_err(), TokenError::Unasked);
    assert!(kept.issuer.with_status(token(2, 0)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_list_for_which_there_is_no_room_is_refused() {
    let kept = Kept::start();
    for number in 0..33 {
        kept.has(number, lasting(&[0, 0]));
        if number < 32 {
            kept.connect(number, 0).await;
        }
    }
    assert_eq!(kept.verify(32, 0).await.unwrap_err(), TokenError::Unavailable);
    assert_eq!((kept.all_fetches(), known(&kept)), (32, 32));
    let lists = kept.issuer.state().lists;
    let errors: Vec<_> = lists.iter().filter_map(|list| list.last_error.as_deref()).collect();
    assert_eq!(errors, ["32 other status lists are in use"]);
    // Those that are known go on.
    kept.verify(3, 1).await.unwrap();
    kept.close(5, 0);
    sleep(5 * SECOND).await;
    kept.verify(32, 0).await.unwrap();
    assert_eq!(kept.ended(), []);
}

#[tokio::test(start_paused = true)]
async fn lists_take_a_limited_memory() {
    let zeros = || StatusList::parse(&claims_of(8, &vec![0; 16 << 20])).unwrap();
    let large = || StatusListToken { list: zeros(), ..lasting(&[]) };
    let kept = Kept::start();
    for number in 0..4 {
        kept.has(number, large());
        kept.connect(number, 0).await;
    }
    kept.has(4, large());
    assert_eq!(kept.verify(4, 0).await.unwrap_err(), TokenError::Unavailable);
    let error = kept.issuer.state().lists[4].last_error.clone().unwrap();
    assert_eq!(error, "https://id.example/lists/4: the status lists in use take more than 67108864 bytes");
    assert_eq!(known(&kept), 4);
    // A list takes the place of its own older version.
    kept.until(LONG + SECOND).await;
    assert_eq!(kept.fetches(0).len(), 2);
    assert_eq!((kept.issuer.state().lists[0].last_error.clone(), known(&kept)), (None, 4));
    kept.close(1, 0);
    kept.verify(4, 0).await.unwrap();
    assert_eq!(known(&kept), 4);
    assert_eq!(kept.issuer.with_status(token(1, 0)).unwrap_err(), TokenError::Unasked);
}

/// A token may have been verified before its list made room, and get its connection afterwards.
#[tokio::test(start_paused = true)]
async fn a_token_whose_list_made_room_is_watched_when_it_connects() {
    let kept = Kept::start();
    for number in 0..33 {
        kept.has(number, lasting(&[0]));
        kept.verify(number, 0).await.unwrap();
        sleep(SECOND / 10).await;
    }
    assert_eq!(kept.issuer.with_status(token(0, 0)).unwrap_err(), TokenError::Unasked);
    kept.has(0, lasting(&[1]));
    kept.open(0, 0);
    sleep(62 * SECOND).await;
    assert_eq!(kept.take_ended(), [(mark(0, 0), "status list: revoked".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn no_more_tokens_are_accepted_than_can_be_watched() {
    let kept = Kept::start();
    kept.has(1, answer(&[0; 10]));
    kept.issuer.lists.as_ref().unwrap().store.lock().most_indexes = 3;
    kept.connect(1, 0).await;
    kept.connect(1, 1).await;
    kept.verify(1, 2).await.unwrap();
    assert_eq!(kept.verify(1, 3).await.unwrap_err(), TokenError::Unavailable);
    assert!(kept.verify(1, 0).await.is_ok(), "one that is watched already");
    // The one without a connection is forgotten when its token must be verified again.
    kept.until(200 * SECOND).await;
    kept.connect(1, 3).await;
    assert_eq!(kept.verify(1, 2).await.unwrap_err(), TokenError::Unavailable);
    kept.has(1, answer(&[0, 0, 0, 1]));
    sleep(10 * SECOND).await;
    assert_eq!(kept.take_ended(), [(mark(1, 3), "status list: revoked".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn revoked_tokens_take_no_memory() {
    let kept = Kept::start();
    kept.has(1, lasting(&[1; 1000]));
    for index in 0..2000 {
        assert!(kept.verify(1, index).await.is_err());
    }
    let lists = kept.issuer.lists.as_ref().unwrap();
    assert!(lists.store.lock().entries.values().all(|entry| entry.in_use.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn requests_for_lists_that_do_not_exist_are_limited() {
    let kept = Kept::start();
    for number in 0..1000 {
        assert_eq!(kept.verify(number, 0).await.unwrap_err(), TokenError::Unavailable);
    }
    assert!(kept.issuer.state().lists.len() <= 128);
    assert!(kept.all_fetches() <= 128);
    // They are forgotten.
    sleep(130 * SECOND).await;
    assert_eq!(kept.issuer.state().lists, []);
    kept.has(7, answer(&[0]));
    assert!(kept.verify(7, 0).await.is_ok());
}
