//! Tokens whose key is not known yet.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::super::testing::{ISS, TestKey, claims, config, key_set, verifier};
use crate::issuers::Issuer;
use crate::{KeySet, Kind, TokenError};

fn put(issuer: &Issuer, key: &TestKey) {
    let set = KeySet::parse(key_set([key]).to_string().as_bytes()).unwrap();
    issuer.keys.put(Arc::new(set));
}

/// Answers the next request for a fetch with this key.
async fn fetch(issuer: &Issuer, key: &TestKey) {
    issuer.keys.demand.requested().await;
    issuer.keys.demand.begin();
    put(issuer, key);
    issuer.keys.demand.end(true, false);
}

#[tokio::test(start_paused = true)]
async fn a_token_with_a_new_key_waits_for_it() {
    let (old, new) = (TestKey::p256("old"), TestKey::p256("new"));
    let verifier = verifier([(config(), key_set([&old]))]);
    let issuer = verifier.issuers().get(ISS).unwrap();
    let token = new.token(&claims(json!({})));
    assert_eq!(verifier.verify(&token).unwrap_err(), TokenError::Unasked);
    let (verdict, ()) = tokio::join!(verifier.verify_fetching(&token), fetch(issuer, &new));
    assert_eq!(verdict.unwrap().issuer.as_deref(), Some(ISS));
    assert_eq!(verifier.verify(&old.token(&claims(json!({})))).unwrap_err(), TokenError::Unasked);
}

/// An issuer whose keys have no names.
#[tokio::test(start_paused = true)]
async fn a_token_without_a_kid_waits_if_no_key_has_signed_it() {
    let (old, new) = (TestKey::p256("").without_kid(), TestKey::p256("").without_kid());
    let verifier = verifier([(config(), key_set([&old]))]);
    let issuer = verifier.issuers().get(ISS).unwrap();
    let token = new.token(&claims(json!({})));
    assert_eq!(verifier.verify(&token).unwrap_err(), TokenError::Unasked);
    let (verdict, ()) = tokio::join!(verifier.verify_fetching(&token), fetch(issuer, &new));
    assert_eq!(verdict.unwrap().issuer.as_deref(), Some(ISS));
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_key_does_not_come_is_refused_in_time() {
    let (old, new) = (TestKey::p256("old"), TestKey::p256("new"));
    let verifier = verifier([(config(), key_set([&old]))]);
    let issuer = verifier.issuers().get(ISS).unwrap();
    let token = new.token(&claims(json!({})));
    let begin = Instant::now();
    let error = verifier.verify_fetching(&token).await.unwrap_err();
    assert_eq!((error, error.to_string().as_str()), (TokenError::UnknownKey, "Invalid signature"));
    assert_eq!(begin.elapsed().as_secs(), 5);
    // A statement of the issuer may be sent again: also one whose key was not looked for, since
    // others have used up the fetches, or the issuer had not published it yet.
    let statement = new.token(&claims(json!({"events": {}})));
    let begin = Instant::now();
    let verdict = issuer.signed_fetching(&statement, Kind::Logout, Duration::from_secs(2)).await;
    assert_eq!(verdict.err(), Some(TokenError::Unavailable));
    assert_eq!(begin.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_statement_whose_key_was_not_looked_for_is_not_refused() {
    let (old, new) = (TestKey::p256("old"), TestKey::p256("new"));
    let verifier = verifier([(config(), key_set([&old]))]);
    let issuer = verifier.issuers().get(ISS).unwrap();
    let (statement, token) = (new.token(&claims(json!({"events": {}}))), new.token(&claims(json!({}))));
    let verify = |kind| issuer.signed_fetching(&statement, kind, Duration::from_secs(2));
    // The issuer publishes the key after the first fetch for it.
    let (first, ()) = tokio::join!(verify(Kind::Logout), fetch(issuer, &old));
    assert_eq!(first.err(), Some(TokenError::Unavailable), "it may be published at any moment");
    let begin = Instant::now();
    assert_eq!(verify(Kind::Logout).await.err(), Some(TokenError::Unavailable));
    assert_eq!(verifier.verify_fetching(&token).await.unwrap_err(), TokenError::UnknownKey);
    assert_eq!(begin.elapsed(), Duration::ZERO);
    // If the next regular fetch and another one have not brought it, it does not exist.
    issuer.keys.demand.begin();
    issuer.keys.demand.end(true, true);
    let (last, ()) = tokio::join!(verify(Kind::Logout), fetch(issuer, &old));
    assert_eq!(last.err(), Some(TokenError::UnknownKey));
}

#[tokio::test(start_paused = true)]
async fn whatever_else_is_wrong_waits_for_nothing() {
    let (key, other) = (TestKey::p256("a"), TestKey::p256("a"));
    let verifier = verifier([(config(), key_set([&key]))]);
    let begin = Instant::now();
    for (token, expected) in [
        (other.token(&claims(json!({}))), TokenError::Signature),
        (key.token(&claims(json!({"exp": 1}))), TokenError::Expired),
        (other.token_with(&json!({"alg": "HS256", "kid": "x"}), &claims(json!({}))), TokenError::Signature),
        (other.token_with(&json!({"alg": "ES384", "kid": "a"}), &claims(json!({}))), TokenError::Signature),
    ] {
        assert_eq!(verifier.verify_fetching(&token).await.unwrap_err(), expected);
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_counted_once() {
    let (old, new) = (TestKey::p256("old"), TestKey::p256("new"));
    let verifier = verifier([(config(), key_set([&old]))]);
    let issuer = verifier.issuers().get(ISS).unwrap();
    let mut registry = metric::Registry::default();
    verifier.issuers().register(&mut registry);
    let expired = new.token(&claims(json!({"exp": 1})));
    assert_eq!(verifier.verify(&expired).unwrap_err(), TokenError::Unasked);
    let (verdict, ()) = tokio::join!(verifier.verify_fetching(&expired), fetch(issuer, &new));
    assert_eq!(verdict.unwrap_err(), TokenError::Expired);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let counted: Vec<_> = text.lines().filter(|line| line.starts_with("rig_tokens_refused_total{")).collect();
    assert_eq!(counted, [r#"rig_tokens_refused_total{issuer="main",reason="expired"} 1"#]);
}
