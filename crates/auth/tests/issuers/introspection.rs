//! Questions about opaque tokens, to a real server.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rig_auth::{
    Audience, ConfiguredKey, IntrospectionConfig, IssuerConfig, Issuers, TokenConfig, TokenError, Verifier,
    keep_tokens,
};
use serde_json::json;

use crate::stub::{Page, Stub};

const TOKEN: &str = "a+b/c~d&e=f:g";

/// A gateway whose secret is in a file of this folder.
fn verifier(stub: &Stub, folder: &Path) -> Verifier {
    let mut config = IssuerConfig::new("kc", stub.origin.as_str(), Audience::Any);
    config.introspection = Some(IntrospectionConfig {
        prefix: String::new(),
        url: format!("{}/introspect?tenant=1", stub.origin).parse().unwrap(),
        client_id: "the gateway".to_owned(),
        client_secret_file: folder.join("secret"),
    });
    let algorithms = "HS256".parse().unwrap();
    let key = Arc::new(ConfiguredKey::load(None, &algorithms).unwrap());
    let config_of_key =
        TokenConfig { algorithms, issuer: None, audience: Vec::new(), leeway: Duration::ZERO };
    Verifier::new(key, config_of_key).with_issuers(Issuers::new(vec![config]))
}

fn active() -> Page {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let answer = json!({"active": true, "token_type": "Bearer", "sub": "alice", "iat": now, "exp": now + 60});
    Page::json(answer.to_string())
}

const PATH: &str = "/introspect?tenant=1";

#[tokio::test]
async fn a_question_is_a_form_with_the_credentials_of_the_client() {
    let (stub, folder) = (Stub::start().await, tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("secret"), "s:cret\n").unwrap();
    let verifier = verifier(&stub, folder.path());
    stub.set(PATH, active());
    let claims = verifier.verify_fetching(TOKEN).await.unwrap();
    assert_eq!(claims.pointer("/sub").unwrap(), "alice");
    let seen = stub.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((&*seen[0].method, &*seen[0].path), ("POST", PATH));
    assert_eq!(seen[0].body, "token=a%2Bb%2Fc%7Ed%26e%3Df%3Ag&token_type_hint=access_token");
    assert_eq!(seen[0].headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(seen[0].headers["accept"], "application/json");
    // the+gateway:s%3Acret
    assert_eq!(seen[0].headers["authorization"], "Basic dGhlK2dhdGV3YXk6cyUzQWNyZXQ=");
}

#[tokio::test]
async fn every_other_answer_is_a_failure() {
    let (stub, folder) = (Stub::start().await, tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("secret"), "secret").unwrap();
    let verifier = verifier(&stub, folder.path());
    let issuer = verifier.issuers().iter().next().unwrap();
    let large = format!(r#"{{"active":false,"x":"{}"}}"#, "x".repeat(64 << 10));
    let place = format!("{}/introspect: ", stub.origin);
    for (page, expected) in [
        (Page::status(500), "status 500"),
        (Page::Answer(201, Vec::new(), br#"{"active":true}"#.to_vec()), "status 201"),
        (Page::status(401), "status 401"),
        (Page::status(302).with("location", "/elsewhere?secret"), "status 302"),
        (Page::json("<html>"), "the answer is no JSON object"),
        (Page::json(large), "the answer is larger than 65536 bytes"),
        (active().with("content-encoding", "gzip"), "the answer has a content-encoding"),
        (Page::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec()), ""),
    ] {
        stub.set(PATH, page);
        assert_eq!(verifier.verify_fetching(TOKEN).await.unwrap_err(), TokenError::Unavailable, "{expected}");
        let error = issuer.state().introspected.unwrap().last_error.unwrap();
        let reason = error.strip_prefix(&place).unwrap_or_else(|| panic!("{error}"));
        assert!(reason.starts_with(expected), "{error}");
        assert!(!error.contains("secret") && !error.contains("tenant") && !error.contains("a+b"), "{error}");
    }
    assert_eq!(stub.count("/elsewhere"), 0);
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_is_replaced() {
    let (stub, folder) = (Stub::start().await, tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("secret"), "secret").unwrap();
    let verifier = verifier(&stub, folder.path());
    // Closed without an answer.
    stub.set(PATH, Page::Raw(Vec::new()));
    assert_eq!(verifier.verify_fetching(TOKEN).await.unwrap_err(), TokenError::Unavailable);
    assert_eq!(stub.count(PATH), 2, "asked once more, and no more often");
}

#[tokio::test]
async fn a_secret_that_has_changed_is_used_after_it_was_refused() {
    let (stub, folder) = (Stub::start().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("secret");
    let verifier = verifier(&stub, folder.path());
    let issuer = verifier.issuers().iter().next().unwrap().clone();
    stub.set(PATH, active());
    assert_eq!(verifier.verify_fetching(TOKEN).await.unwrap_err(), TokenError::Unavailable);
    let error = issuer.state().introspected.unwrap().last_error;
    assert_eq!((stub.seen().len(), error.as_deref()), (0, Some("the secret of the client cannot be read")));

    // The task looks at the file from time to time.
    std::fs::write(&file, "old").unwrap();
    let task = tokio::spawn(keep_tokens(issuer, Arc::new(()), std::future::pending()));
    let accepted = async { while verifier.verify_fetching(TOKEN).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), accepted).await.expect("the file is read");
    task.abort();

    // Without the task: a refusal is the occasion.
    stub.set(PATH, Page::status(401));
    std::fs::write(&file, "a new one").unwrap();
    assert_eq!(verifier.verify_fetching("other").await.unwrap_err(), TokenError::Unavailable);
    let sent: Vec<_> = stub.seen().iter().map(|seen| seen.headers["authorization"].clone()).collect();
    // the+gateway:old, the+gateway:a+new+one
    let [old, new] = ["Basic dGhlK2dhdGV3YXk6b2xk", "Basic dGhlK2dhdGV3YXk6YStuZXcrb25l"];
    assert_eq!(sent, [old, old, new], "none was sent without a secret");
    // The same secret is not tried twice.
    assert_eq!(verifier.verify_fetching("other").await.unwrap_err(), TokenError::Unavailable);
    assert_eq!(stub.seen().len(), 4);
}
