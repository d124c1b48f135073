//! Status lists from a real server.

use rig_auth::{Audience, IssuerConfig, ListsConfig, TokenError};
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::keys::{SigningKey, key_set};
use crate::stub::{Page, Stub, until};

async fn start(stub: &Stub, key: &SigningKey) -> Gateway {
    stub.set_metadata(&stub.origin, &format!("{}/keys", stub.origin));
    stub.set("/keys", Page::json(key_set(&[key])));
    let mut config = IssuerConfig::new("kc", stub.origin.as_str(), Audience::Any);
    let prefix = ListsConfig::prefix(&format!("{}/lists/", stub.origin)).unwrap();
    config.status_lists = Some(ListsConfig { prefixes: vec![prefix] });
    let gateway = Gateway::start(config);
    until("the keys are fetched", || gateway.issuer.state().keys == 1).await;
    gateway
}

/// A token with this status.
fn token(key: &SigningKey, stub: &Stub, path: &str, index: u64) -> String {
    let uri = format!("{}{path}", stub.origin);
    key.token_with(&stub.origin, None, json!({"status": {"status_list": {"idx": index, "uri": uri}}}))
}

/// A list of sixteen statuses: the first is 1, the second 0.
fn list(key: &SigningKey, stub: &Stub, path: &str, more: Value) -> Page {
    let mut claims = json!({
        "sub": format!("{}{path}", stub.origin), "status_list": {"bits": 1, "lst": "eNrbuRgAAhcBXQ"},
    });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    Page::json(key.token_with(&stub.origin, Some("statuslist+jwt"), claims))
        .with("content-type", "application/statuslist+jwt")
}

#[tokio::test]
async fn i38_a_list_is_fetched_once_and_decides() {
    let (stub, key) = (Stub::start().await, SigningKey::new("a"));
    let gateway = start(&stub, &key).await;
    stub.set("/lists/1", list(&key, &stub, "/lists/1", json!({})));
    let [revoked, valid, beyond] = [0, 1, 16].map(|index| token(&key, &stub, "/lists/1", index));
    assert_eq!(gateway.verifier.verify(&valid).unwrap_err(), TokenError::Unasked);
    assert_eq!(gateway.verdict(&valid).await, Ok(()));
    assert_eq!(gateway.verdict(&revoked).await, Err(TokenError::Inactive));
    assert_eq!(gateway.verdict(&beyond).await, Err(TokenError::Status));
    let claims = gateway.verifier.verify(&valid).unwrap();
    let mark = format!("{}/lists/1#1", stub.origin);
    assert!(claims.marks.contains(&("status", mark.into())));
    let seen: Vec<_> = stub.seen().into_iter().filter(|seen| seen.path == "/lists/1").collect();
    let [request] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((&*request.method, &*request.headers["accept"]), ("GET", "application/statuslist+jwt"));
    let state = gateway.issuer.state();
    assert_eq!((state.lists.len(), state.lists[0].entries), (1, Some(16)));
    let metrics = gateway.metrics();
    for line in [
        "rig_issuer_status_lists{issuer=\"kc\"} 1",
        "rig_issuer_fetches_total{issuer=\"kc\",what=\"status_list\",result=\"ok\"} 1",
        "rig_tokens_refused_total{issuer=\"kc\",reason=\"inactive\"} 1",
        "rig_tokens_refused_total{issuer=\"kc\",reason=\"status\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

/// The keys are fetched again for it.
#[tokio::test]
async fn a_list_may_be_signed_with_a_new_key() {
    let (stub, key, new) = (Stub::start().await, SigningKey::new("a"), SigningKey::new("b"));
    let gateway = start(&stub, &key).await;
    stub.set("/lists/1", list(&new, &stub, "/lists/1", json!({})));
    let token = token(&key, &stub, "/lists/1", 1);
    assert_eq!(gateway.verdict(&token).await, Err(TokenError::Unavailable));
    let error = gateway.issuer.state().lists[0].last_error.clone().unwrap();
    assert_eq!(error, format!("{}/lists/1: Invalid signature", stub.origin));
    stub.set("/keys", Page::json(key_set(&[&key, &SigningKey::new("c")])));
    stub.set("/lists/2", list(&key, &stub, "/lists/2", json!({})));
    assert_eq!(gateway.verdict(&self::token(&key, &stub, "/lists/2", 1)).await, Ok(()));
    let late = SigningKey::new("d");
    stub.set("/keys", Page::json(key_set(&[&key, &late])));
    stub.set("/lists/3", list(&late, &stub, "/lists/3", json!({})));
    assert_eq!(gateway.verdict(&self::token(&key, &stub, "/lists/3", 1)).await, Ok(()));
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_not_used() {
    let (stub, key) = (Stub::start().await, SigningKey::new("a"));
    let gateway = start(&stub, &key).await;
    let good = |path: &str| list(&key, &stub, path, json!({}));
    let with_status = |page, status| match page {
        Page::Answer(_, headers, body) => Page::Answer(status, headers, body),
        other => other,
    };
    let with_body = |body: Vec<u8>| Page::Answer(200, Vec::new(), body);
    let pages = [
        ("created", with_status(good("/lists/created"), 201), "status 201"),
        ("moved", Page::status(302).with("location", "/lists/1"), "redirects are not followed"),
        ("known", Page::status(304), "status 304"),
        ("gone", Page::status(410), "status 410"),
        ("encoded", good("/lists/encoded").with("content-encoding", "gzip"), "content-encoding"),
        ("cwt", Page::json(vec![0xd2]).with("content-type", "Application/StatusList+CWT; x=y"), "is a CWT"),
        ("other", good("/lists/1"), "/sub is not the URI"),
        ("html", with_body(b"<html>".to_vec()), "not a JWT"),
        ("binary", with_body(vec![0xff; 10]), "not a JWT"),
        ("large", with_body(vec![b'a'; (8 << 20) + 1]), "larger than 8388608 bytes"),
        ("access", Page::json(token(&key, &stub, "/lists/access", 1)), "another type of token"),
    ];
    for (name, page, expected) in pages {
        let path = format!("/lists/{name}");
        stub.set(&path, page);
        let verdict = gateway.verdict(&token(&key, &stub, &path, 1)).await;
        assert_eq!(verdict, Err(TokenError::Unavailable), "{name}");
        let lists = gateway.issuer.state().lists;
        let state = lists.iter().find(|list| list.uri.ends_with(&path)).unwrap();
        let error = state.last_error.as_deref().unwrap();
        assert!(error.contains(expected), "{name}: {error}");
        assert_eq!(stub.count(&path), 1, "{name}");
    }
    // A media type that is merely wrong, and a file with a line break.
    stub.set(
        "/lists/text",
        match list(&key, &stub, "/lists/text", json!({})) {
            Page::Answer(status, _, body) => Page::Answer(
                status,
                vec![("content-type", "text/plain".to_owned())],
                [body, b"\n".to_vec()].concat(),
            ),
            other => other,
        },
    );
    assert_eq!(gateway.verdict(&token(&key, &stub, "/lists/text", 1)).await, Ok(()));
}
