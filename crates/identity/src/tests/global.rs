use super::*;
use crate::{GtrRefused, global_revocation};

const URL: &str = "https://rig.example/_rig/v1/issuers/idp/global-token-revocation";
const TYPE: &str = "global-token-revocation+jwt";

fn assertion() -> Value {
    let basic = with(&with(&basic(), "aud", json!(URL)), "sub", json!("gateway"));
    with(&basic, "exp", json!(NOW + 299))
}

fn by_email() -> Value {
    json!({ "sub_id": { "format": "email", "email": "user@example.com" } })
}

fn read(assertion: Value, body: &Value) -> Result<Vec<Ordered>, GtrRefused> {
    global_revocation(&claims(assertion), Some(TYPE), Some(body), &config(), now())
}

#[test]
fn i30_all_tokens_of_the_subject_up_to_the_assertion() {
    let orders = read(assertion(), &by_email()).unwrap();
    assert_eq!(
        orders.iter().map(short).collect::<Vec<_>>(),
        [(Mode::Revoke, "/email", "user@example.com", NOW + 1)]
    );
    assert_eq!(orders[0].reason, "global token revocation, jti an-id");
    let by_user = json!({ "sub_id": { "format": "iss_sub", "iss": ISSUER, "sub": "af19c476" } });
    let orders = read(with(&assertion(), "jti", Value::Null), &by_user).unwrap();
    assert_eq!(short(&orders[0]), (Mode::Revoke, "/sub", "af19c476", NOW + 1));
    assert_eq!(orders[0].reason, "global token revocation");
    let early_draft = json!({ "subject": by_user["sub_id"] });
    assert_eq!(short(&read(assertion(), &early_draft).unwrap()[0]).2, "af19c476");
    let no_mapping = FeedConfig { events: None, ..config() };
    let read = |body| global_revocation(&claims(assertion()), Some(TYPE), Some(body), &no_mapping, now());
    assert!(read(&by_user).is_ok() && matches!(read(&by_email()), Err(GtrRefused::Request(_))));
}

#[test]
fn i30_what_is_refused_and_how() {
    let change = |member: &str, value: Value| with(&assertion(), member, value);
    let query = format!("{URL}?x=1");
    for (assertion, text) in [
        (change("aud", json!("https://rig.example/other")), "aud: not an audience"),
        (change("aud", json!(query)), "aud: not an audience"),
        (change("aud", json!("gateway")), "aud: not an audience"),
        (change("aud", Value::Null), "aud: missing"),
        (change("exp", json!(NOW - 5)), "exp: in the past"),
        (change("exp", Value::Null), "exp: missing"),
        (change("exp", json!(NOW + 600)), "exp: too long after iat"),
        (change("iat", Value::Null), "iat: missing"),
        (change("iat", json!(NOW + 61)), "iat: in the future"),
        (change("iss", json!("https://other.example")), "iss: not the issuer"),
        (change("sub", Value::Null), "sub: missing"),
        (change("jti", json!(1)), "jti: expected a string"),
    ] {
        // Checked before the body.
        let refused = read(assertion.clone(), &json!([])).unwrap_err();
        assert!(matches!(refused, GtrRefused::Assertion(_)), "{assertion}: {refused}");
        assert!(refused.to_string().starts_with(text), "{assertion}: {refused}");
    }
    for header_type in [None, Some("JWT"), Some("logout+jwt"), Some("secevent+jwt")] {
        let read = global_revocation(&claims(assertion()), header_type, Some(&by_email()), &config(), now());
        assert!(matches!(read, Err(GtrRefused::Assertion(refused)) if refused.claim == "typ"));
    }
    let refused = read(change("sub", json!("another-client")), &by_email()).unwrap_err();
    assert!(matches!(refused, GtrRefused::Client(_)), "{refused}");
    assert!(!refused.to_string().contains("another-client"));
    for (body, text) in [
        (json!([]), "body: expected a JSON object"),
        (json!({}), "sub_id: missing"),
        (json!({ "sub_id": "alice" }), "sub_id: expected an object"),
        (json!({ "sub_id": { "format": "did", "url": "x" } }), "sub_id: a format that is unknown"),
        (json!({ "sub_id": { "format": "opaque", "id": "x" } }), "sub_id: a format that is unknown"),
        (json!({ "sub_id": { "format": "iss_sub", "iss": "https://x", "sub": "x" } }), "sub_id: a format"),
        (json!({ "sub_id": { "format": "email" } }), r#"sub_id: expected the member "email""#),
    ] {
        let refused = read(assertion(), &body).unwrap_err();
        assert!(matches!(refused, GtrRefused::Request(_)), "{body}");
        assert!(refused.to_string().starts_with(text), "{body}: {refused}");
    }
    let no_json = global_revocation(&claims(assertion()), Some(TYPE), None, &config(), now());
    assert!(matches!(no_json, Err(GtrRefused::Request(refused)) if refused.claim == "body"));
    // At the bounds.
    assert!(read(change("exp", json!(NOW + 599)), &by_email()).is_ok());
    assert!(read(change("aud", json!(["x", URL])), &by_email()).is_ok());
    let nowhere = FeedConfig { public_url: None, ..config() };
    let read = global_revocation(&claims(assertion()), Some(TYPE), Some(&by_email()), &nowhere, now());
    assert!(matches!(read, Err(GtrRefused::Assertion(_))));
}
