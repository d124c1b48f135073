//! The task that keeps the keys, with a real server and tokens.

use std::time::Duration;

use rig_auth::{Audience, IssuerConfig, Refetched, TokenError};

use crate::gateway::Gateway;
use crate::keys::{SigningKey, key_set};
use crate::stub::{Page, Stub, until};

const WITHIN: Duration = Duration::from_secs(5);

fn start(stub: &Stub) -> Gateway {
    Gateway::start(IssuerConfig::new("kc", stub.origin.as_str(), Audience::Any))
}

#[tokio::test]
async fn i05_a_token_of_a_new_key_is_accepted_at_once() {
    let stub = Stub::start().await;
    let (a, b) = (SigningKey::new("a"), SigningKey::new("b"));
    stub.set_metadata(&stub.origin, &format!("{}/keys", stub.origin));
    stub.set("/keys", Page::json(key_set(&[&a])));
    let gateway = start(&stub);
    until("the keys are fetched", || gateway.issuer.state().keys == 1).await;
    assert_eq!(gateway.verdict(&a.token(&stub.origin)).await, Ok(()));
    assert_eq!(gateway.verdict(&b.token(&stub.origin)).await, Err(TokenError::UnknownKey));
    // Until the next regular fetch, this key is known to be absent; another is not.
    let c = SigningKey::new("c");
    stub.set("/keys", Page::json(key_set(&[&a, &b, &c])));
    assert_eq!(gateway.verdict(&c.token(&stub.origin)).await, Ok(()));
    assert_eq!(gateway.verdict(&b.token(&stub.origin)).await, Ok(()));
    assert_eq!(stub.count("/keys"), 3);
    assert_eq!(stub.count("/.well-known/openid-configuration"), 1);
    let metrics = gateway.metrics();
    for line in [
        "rig_issuer_keys{issuer=\"kc\"} 3",
        "rig_issuer_keys_age_seconds{issuer=\"kc\"} 0.",
        "rig_issuer_fetches_total{issuer=\"kc\",what=\"metadata\",result=\"ok\"} 1",
        "rig_issuer_fetches_total{issuer=\"kc\",what=\"keys\",result=\"ok\"} 3",
        "rig_issuer_unknown_keys_total{issuer=\"kc\"} 2",
        "rig_issuer_keys_withdrawn_total{issuer=\"kc\"} 0",
    ] {
        assert!(metrics.contains(&format!("\n{line}")), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn i07_bad_answers_leave_the_keys_and_a_good_one_heals() {
    let stub = Stub::start().await;
    let (a, b) = (SigningKey::new("a"), SigningKey::new("b"));
    stub.set_metadata(&stub.origin, &format!("{}/keys", stub.origin));
    stub.set("/keys", Page::json(key_set(&[&a])).with("etag", "W/\"1\""));
    let gateway = start(&stub);
    until("the keys are fetched", || gateway.issuer.state().keys == 1).await;
    for (number, page) in [Page::json("<html>"), Page::status(500)].into_iter().enumerate() {
        stub.set("/keys", page);
        let refetched = gateway.issuer.refetched(Some(&number.to_string()), WITHIN).await;
        assert_eq!(refetched, Refetched::Failed);
        assert_eq!(gateway.verdict(&a.token(&stub.origin)).await, Ok(()));
        assert!(gateway.issuer.state().last_error.unwrap().starts_with(&format!("{}/keys: ", stub.origin)));
    }
    // The tag is still that of the good key set.
    stub.set("/keys", Page::json(key_set(&[&a, &b])).with("etag", "W/\"2\""));
    assert_eq!(gateway.issuer.refetched(Some("b"), WITHIN).await, Refetched::Fetched);
    assert_eq!((gateway.issuer.state().keys, gateway.issuer.state().last_error), (2, None));
    let tags: Vec<_> = stub
        .seen()
        .iter()
        .filter(|seen| seen.path == "/keys")
        .map(|seen| seen.headers.get("if-none-match").cloned())
        .collect();
    assert!(tags[0].is_none() && tags[1..].iter().all(|tag| tag.as_deref() == Some("W/\"1\"")), "{tags:?}");
    assert!(gateway.metrics().contains("what=\"keys\",result=\"invalid\"} 1"));
    assert!(gateway.metrics().contains("what=\"keys\",result=\"status\"} 1"));
}

#[tokio::test]
async fn a_key_set_that_has_not_changed_is_not_sent_again() {
    let stub = Stub::start().await;
    let a = SigningKey::new("a");
    stub.set_metadata(&stub.origin, &format!("{}/keys", stub.origin));
    stub.set("/keys", Page::json(key_set(&[&a])).with("etag", "\"1\""));
    let gateway = start(&stub);
    until("the keys are fetched", || gateway.issuer.state().keys == 1).await;
    assert_eq!(gateway.issuer.refetched(Some("x"), WITHIN).await, Refetched::Fetched);
    assert_eq!(gateway.issuer.state().keys, 1);
    assert_eq!(gateway.verdict(&a.token(&stub.origin)).await, Ok(()));
    assert!(gateway.metrics().contains("what=\"keys\",result=\"not_modified\"} 1"));
}

#[tokio::test]
async fn i08_a_provider_that_starts_later_is_found() {
    let stub = Stub::start().await;
    let a = SigningKey::new("a");
    let gateway = start(&stub);
    until("the first fetch fails", || gateway.issuer.state().last_error.is_some()).await;
    assert_eq!(gateway.verdict(&a.token(&stub.origin)).await, Err(TokenError::Unavailable));
    assert!(gateway.metrics().contains("rig_issuer_keys{issuer=\"kc\"} 0"));
    stub.set_metadata(&stub.origin, &format!("{}/keys", stub.origin));
    stub.set("/keys", Page::json(key_set(&[&a])));
    until("it is found after 5 s", || gateway.issuer.state().keys == 1).await;
    assert_eq!(gateway.verdict(&a.token(&stub.origin)).await, Ok(()));
}
