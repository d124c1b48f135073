use super::*;
use crate::{LogoutEnds, Refused, logout};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

fn base() -> Value {
    let basic = with(&basic(), "aud", json!("gateway"));
    let basic = with(&with(&basic, "sub", json!("alice")), "sid", json!("s-1"));
    with(&with(&basic, "events", json!({ EVENT: {} })), "exp", json!(NOW + 119))
}

fn read(token: Value, header_type: Option<&str>) -> Result<Vec<Ordered>, Refused> {
    logout(&claims(token), header_type, &config(), now())
}

fn selects(token: Value, header_type: Option<&str>) -> (String, String) {
    let orders = read(token, header_type).unwrap();
    let [order] = &orders[..] else { panic!("{orders:?}") };
    (order.claim.clone(), order.value.to_string())
}

#[test]
fn i19_a_logout_with_sid_selects_the_session_for_as_long_as_its_tokens_may_live() {
    let orders = read(base(), Some("logout+jwt")).unwrap();
    let [order] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!(short(order), (Mode::Revoke, "/sid", "s-1", NOW - 1 + 2));
    assert_eq!((&*order.issuer_id, &*order.issuer), ("idp", ISSUER));
    assert_eq!(order.happened_at, at(NOW - 1));
    // A token of the last second that it selects, with the longest life and the leeway.
    assert_eq!(order.issued_up_to, NOW + 1);
    assert_eq!(order.ends_at, at(NOW + 2 + 24 * 3600 + 5));
    assert_eq!(order.reason, "back-channel logout, jti an-id");
    let shown = format!("{order:?}");
    assert!(!shown.contains("s-1") && !shown.contains("an-id"), "{shown}");
}

#[test]
fn i20_a_logout_with_sub_alone_selects_the_user() {
    assert_eq!(
        selects(with(&base(), "sid", Value::Null), Some("logout+jwt")),
        ("/sub".into(), "alice".into())
    );
    let null = serde_json::from_str::<Value>(r#"{"sid":null}"#).unwrap();
    let mut token = base();
    token["sid"] = null["sid"].clone();
    assert_eq!(selects(token, None).0, "/sub", "a null counts as missing");
}

#[test]
fn i21_the_shapes_of_providers() {
    // Ory Hydra 2: no sub, no exp, no type, a list of audiences.
    let hydra = json!({
        "iss": ISSUER, "aud": ["other", "gateway"], "iat": NOW - 1, "jti": "h", "sid": "h-sid", "events": { EVENT: {} },
    });
    assert_eq!(selects(hydra, None), ("/sid".into(), "h-sid".into()));
    // Auth0: the type of any token.
    assert_eq!(selects(base(), Some("JWT")), ("/sid".into(), "s-1".into()));
    // Keycloak: a member in the event that is no object.
    let events = json!({ EVENT: { "revoke_offline_access": true } });
    assert_eq!(selects(with(&base(), "events", events), Some("logout+jwt")).0, "/sid");
    // Further events, and other spellings of the type.
    let events = json!({ EVENT: {}, "urn:example:other": "text" });
    for header_type in ["Logout+JWT", "application/logout+jwt", "APPLICATION/JWT"] {
        assert_eq!(selects(with(&base(), "events", events.clone()), Some(header_type)).0, "/sid");
    }
}

#[test]
fn i22_what_is_refused_names_the_claim() {
    let null_nonce = {
        let mut token = base();
        token["nonce"] = Value::Null;
        token
    };
    let change = |member: &str, value: Value| with(&base(), member, value);
    let without_exp = change("exp", Value::Null);
    let nobody = with(&change("sid", Value::Null), "sub", Value::Null);
    let long = "x".repeat(1025);
    for (token, header_type, expected) in [
        (change("nonce", json!("n")), None, "nonce: must not be present"),
        (null_nonce, None, "nonce: must not be present"),
        (nobody, None, "sid, sub: missing"),
        (change("events", json!([EVENT])), None, "events: expected an object"),
        (change("events", Value::Null), None, "events: missing"),
        (change("events", json!({})), None, r#"events: expected the member "http://schemas.openid.net/"#),
        (change("events", json!({ EVENT: "{}" })), None, "events: expected an object"),
        (change("events", json!({ EVENT: null })), None, "events: expected an object"),
        (change("events", json!({ EVENT: [] })), None, "events: expected an object"),
        (change("aud", json!("other")), None, "aud: not an audience that is configured"),
        (change("aud", json!([1, ["gateway"]])), None, "aud: not an audience"),
        (change("aud", json!({ "gateway": 1 })), None, "aud: not an audience"),
        (change("aud", Value::Null), None, "aud: missing"),
        (with(&without_exp, "iat", json!(NOW - 7200)), None, "iat: too long ago"),
        (change("iat", json!(NOW + 61)), None, "iat: in the future"),
        (change("iat", Value::Null), None, "iat: missing"),
        (change("iat", json!(NOW.to_string())), None, "iat: expected a number of seconds"),
        (change("exp", json!(NOW - 5)), None, "exp: in the past"),
        (change("exp", json!("soon")), None, "exp: expected a number"),
        (base(), Some("at+jwt"), "typ: not the type of this statement"),
        (base(), Some("secevent+jwt"), "typ: not the type"),
        (base(), Some(""), "typ: not the type"),
        (change("jti", Value::Null), None, "jti: missing"),
        (change("jti", json!(7)), None, "jti: expected a string of 1 to 1024 bytes"),
        (change("sid", json!("")), None, "sid: expected a string"),
        (change("sid", json!(1)), None, "sid: expected a string"),
        (change("sub", json!(["alice"])), None, "sub: expected a string"),
        (change("sub", json!(long)), None, "sub: expected a string"),
        (change("iss", json!("https://idp.example.com/123456789")), None, "iss: not the issuer"),
        (change("iss", json!([ISSUER])), None, "iss: not the issuer"),
        (change("iss", Value::Null), None, "iss: missing"),
    ] {
        let refused = read(token.clone(), header_type).unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{token}: {refused}, not {expected}");
        assert!(!refused.contains("alice") && !refused.contains("s-1"), "{refused}");
    }
    // At the bounds.
    for token in [
        change("iat", json!(NOW + 60)),
        change("exp", json!(NOW - 4)),
        with(&without_exp, "iat", json!(NOW - 3600)),
        change("sub", json!("x".repeat(1024))),
        change("iat", json!(NOW as f64 - 0.5)),
    ] {
        assert!(read(token.clone(), None).is_ok(), "{token}");
    }
}

#[test]
fn i24_a_replayed_logout_means_the_tokens_of_then() {
    // Sent at a time when `exp` has not passed: the bound is the one of its iat, not of now.
    let token = with(&with(&base(), "iat", json!(NOW - 600)), "exp", json!(NOW + 600));
    let first = logout(&claims(token.clone()), None, &config(), at(NOW - 599)).unwrap();
    let again = logout(&claims(token), None, &config(), now()).unwrap();
    assert_eq!(first, again);
    assert_eq!(again[0].issued_up_to, NOW - 598);
}

#[test]
fn a_logout_whose_tokens_have_all_expired_asks_for_nothing() {
    let old = with(&with(&base(), "iat", json!(NOW - 86_400 - 8)), "exp", json!(NOW + 600));
    assert_eq!(read(old.clone(), None), Ok(Vec::new()));
    assert_eq!(read(with(&old, "iat", json!(NOW - 86_400 - 7)), None).unwrap().len(), 1);
    assert_eq!(read(with(&old, "iat", json!(-1e15)), None), Ok(Vec::new()));
}

#[test]
fn i29_logout_ends_user_prefers_the_user() {
    let config = FeedConfig { logout_ends: LogoutEnds::User, ..config() };
    let read = |token: Value| logout(&claims(token), None, &config, now()).unwrap();
    assert_eq!(short(&read(base())[0]).1, "/sub");
    assert_eq!(short(&read(with(&base(), "sub", Value::Null))[0]).1, "/sid", "there is nothing else");
}

#[test]
fn i29_access_tokens_may_name_the_session_in_another_claim() {
    let sid_at = "/https:~1~1ns~1sid".to_owned();
    let config = FeedConfig { session_field: sid_at.clone(), sid_at: sid_at.clone(), ..config() };
    assert_eq!(logout(&claims(base()), None, &config, now()).unwrap()[0].claim, sid_at);
}

#[test]
fn the_texts_of_an_issuer_are_one_issuer() {
    let config = FeedConfig { aliases: vec!["idp.example.com".into()], ..config() };
    let token = with(&base(), "iss", json!("idp.example.com"));
    assert_eq!(&*logout(&claims(token), None, &config, now()).unwrap()[0].issuer, ISSUER);
}

#[test]
fn a_reason_is_short_and_has_no_control_characters() {
    let id = format!("a\n\u{1b}[31m\u{85}{}", "é".repeat(300));
    let orders = read(with(&base(), "jti", json!(id)), None).unwrap();
    let reason = &orders[0].reason;
    assert!(reason.starts_with("back-channel logout, jti a[31mé"), "{reason}");
    assert!((199..=200).contains(&reason.len()), "{}", reason.len());
}
