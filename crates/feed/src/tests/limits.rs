use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;
use tokio::time::Instant;

use super::logouts::claims;
use super::world::*;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

#[tokio::test]
async fn i27_requests_that_are_no_logout() {
    let world = World::new();
    let token = sign("logout+jwt", &claims(now(), json!({ "sid": "s-1" })));
    let form = format!("logout_token={token}");
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
        let request = Request::builder().method(method).uri("/_rig/v1/issuers/kc/logout");
        let answered = world.request(request.body(Full::new(Bytes::new())).unwrap()).await;
        assert_eq!((answered.status.as_u16(), answered.header("allow")), (405, Some("POST")));
    }
    let json = ("content-type", "application/json");
    for headers in [&[json][..], &[], &[FORM, json], &[FORM, FORM]] {
        assert_eq!(world.post("kc/logout", headers, form.clone()).await.status, 415, "{headers:?}");
    }
    let coded = world.post("kc/logout", &[FORM, ("content-encoding", "gzip")], form.clone()).await;
    assert_eq!((coded.status.as_u16(), coded.header("accept-encoding")), (415, Some("identity")));
    for size in [(32 << 10) + 1, 1 << 20] {
        assert_eq!(world.post("kc/logout", &[FORM], vec![b'a'; size]).await.status, 413);
    }
    assert_eq!(world.count("logout", "invalid"), 7, "a provider shows nothing of these answers");
    let largest = format!("{form}&x={}", "a".repeat((32 << 10) - form.len() - 3));
    assert_eq!(world.post("kc/logout", &[FORM], largest).await.status, 200);
    for wrong in [format!("{form}&{form}"), "logout_token".to_owned(), "x=1".to_owned(), String::new()] {
        let answered = world.post("kc/logout", &[FORM], wrong.clone()).await;
        assert_eq!(answered.status, 400, "{wrong}");
    }
    for path in ["other/logout", "kc", "kc/", "kc/other", "kc/logout/x", "/logout", "KC/logout", ""] {
        let answered = world.post(path, &[FORM], form.clone()).await;
        assert_eq!(
            (answered.status.as_u16(), answered.json()),
            (404, json!({ "message": "Not Found" })),
            "{path}"
        );
    }
    // What is fine: parameters, case, other members of the form, a slash.
    let charset = ("content-type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8");
    assert_eq!(world.post("kc/logout", &[charset], form.clone()).await.status, 200);
    assert_eq!(world.post("kc/logout/", &[FORM], format!("a=b&{form}&iss=x&%ff=%00")).await.status, 200);
    assert_eq!(world.post("kc/logout", &[FORM, ("content-encoding", "identity")], form).await.status, 200);
}

#[tokio::test]
async fn a_feed_exists_only_if_it_is_configured() {
    let nothing = identity::FeedConfig::new("kc", ISSUER);
    let world = World::with(nothing, session::MemoryLog::new());
    for feed in ["logout", "events", "global-token-revocation"] {
        assert_eq!(world.post(&format!("kc/{feed}"), &[FORM], "").await.status, 404, "{feed}");
    }
    assert!(world.feeds.polled().next().is_none());
}

#[tokio::test]
async fn valid_statements_wait_for_their_check_and_are_never_refused() {
    let world = World::new();
    *world.keys.keys.lock() = Keys::Late;
    let token = sign_anew("logout+jwt", &claims(now(), json!({ "sid": "s-1" })));
    let all = join_all((0..200).map(|_| world.log_out(&token)));
    let release = async {
        // All others have their chance to begin, too.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        *world.keys.keys.lock() = Keys::There;
        world.keys.go.notify_waiters();
    };
    let both = async { tokio::join!(all, release) };
    let (all, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("all are answered");
    assert!(all.iter().all(|answered| answered.status == 200));
    assert_eq!(world.keys.most.load(SeqCst), 64);
}

#[tokio::test(start_paused = true)]
async fn statements_that_wait_for_keys_delay_no_others() {
    let world = World::new();
    *world.keys.keys.lock() = Keys::Hanging;
    let unknown = sign_anew("logout+jwt", &claims(now(), json!({ "sid": "s-1" })));
    let began = Instant::now();
    let flood = join_all((0..64 * 4).map(|_| world.log_out(&unknown)));
    let known = async {
        while world.keys.most.load(SeqCst) < 64 {
            tokio::task::yield_now().await;
        }
        let token = sign("logout+jwt", &claims(now(), json!({ "sid": "s-2" })));
        assert_eq!(world.log_out(&token).await.status, 200);
        began.elapsed()
    };
    let (flood, known) = tokio::join!(flood, known);
    assert_eq!(known, Duration::ZERO);
    assert!(
        flood.iter().all(|answered| answered.status == 503 && answered.header("retry-after") == Some("5"))
    );
    // Two seconds each, and no longer than five until it is the next.
    assert!(began.elapsed() <= Duration::from_secs(7), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn refused_statements_beyond_twenty_a_second_wait_and_valid_ones_do_not() {
    let world = World::new();
    let began = Instant::now();
    let refused = join_all((0..40).map(|_| async {
        assert_eq!(world.log_out("a.b.c").await.status, 400);
        began.elapsed().as_secs()
    }))
    .await;
    let at_once = refused.iter().filter(|seconds| **seconds == 0).count();
    assert!((20..=30).contains(&at_once), "{at_once}");
    assert!(refused.iter().all(|seconds| *seconds <= 1));
    let began = Instant::now();
    let token = sign("logout+jwt", &claims(now(), json!({ "sid": "s-1" })));
    assert_eq!(world.log_out(&token).await.status, 200);
    assert_eq!(began.elapsed(), Duration::ZERO);
}
