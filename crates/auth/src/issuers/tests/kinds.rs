//! A JWT that is valid as one kind is not valid as another (RFC 8725, section 3.12).

use serde_json::{Value, json};

use super::super::testing::{ISS, TestKey, base64url, claims, config, key_set, verifier, with};
use crate::{Kind, TokenError};

const KINDS: [Kind; 5] =
    [Kind::Access, Kind::Logout, Kind::SecurityEvent, Kind::StatusList, Kind::RevocationAssertion];

const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

#[test]
fn i15_whatever_is_no_access_token_is_refused_as_one() {
    let key = TestKey::p256("a");
    let verifier = verifier([(config(), key_set([&key]))]);
    let typ = |typ: &str| with(key.header(), json!({"typ": typ}));
    let events = |event: &str| claims(json!({"events": {event: {}}, "jti": "1"}));
    let revoked = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
    let dpop = claims(json!({"htm": "GET", "htu": "https://gateway.example/", "jti": "1"}));
    let status_list = claims(json!({"status_list": {"bits": 1, "lst": "eNrbuRgAAhcBXQ"}, "ttl": 600}));
    for (what, header, claims, expected) in [
        ("an ID token of another client", key.header(), claims(json!({"aud": "web"})), TokenError::Audience),
        ("a logout token", typ("logout+jwt"), events(LOGOUT), TokenError::Type),
        ("a logout token of Auth0", typ("JWT"), events(LOGOUT), TokenError::Statement),
        ("a logout token of Hydra", key.header(), events(LOGOUT), TokenError::Statement),
        ("a SET", typ("secevent+jwt"), events(revoked), TokenError::Type),
        ("a SET without its type", key.header(), events(revoked), TokenError::Statement),
        ("a status list", typ("statuslist+jwt"), status_list, TokenError::Type),
        ("a DPoP proof", with(typ("dpop+jwt"), json!({"jwk": key.jwk()})), dpop, TokenError::Type),
        ("an assertion", typ("global-token-revocation+jwt"), claims(json!({})), TokenError::Type),
        ("a bound token", key.header(), claims(json!({"cnf": {"jkt": "x"}})), TokenError::Binding),
        ("a bound token, mTLS", key.header(), claims(json!({"cnf": {"x5t#S256": "x"}})), TokenError::Binding),
    ] {
        let token = key.token_with(&header, &claims);
        assert_eq!(verifier.verify(&token).err(), Some(expected), "{what}");
    }
    let encrypted =
        ["{\"alg\":\"dir\",\"enc\":\"A256GCM\"}", "", "iv", "text", "tag"].map(base64url).join(".");
    assert_eq!(verifier.verify(&encrypted).err(), Some(TokenError::Encrypted));
    assert_eq!(TokenError::Encrypted.to_string(), "encrypted tokens are not supported");
}

#[test]
fn the_types_of_the_kinds_exclude_each_other() {
    let key = TestKey::p256("a");
    let verifier = verifier([(config(), key_set([&key]))]);
    let issuer = verifier.issuers().get(ISS).unwrap();
    let allowed = |typ: Value| {
        let token = key.token_with(&with(key.header(), json!({"typ": typ})), &claims(json!({})));
        KINDS.map(|kind| match issuer.signed(&token, kind) {
            Ok(signed) => {
                assert_eq!(json!(signed.header_type), typ);
                assert_eq!(signed.claims["iss"], ISS);
                true
            }
            Err(error) => {
                assert_eq!(error, TokenError::Type, "{typ} {kind:?}");
                false
            }
        })
    };
    // Logout tokens and access tokens without types of their own differ in `events`.
    assert_eq!(allowed(json!(null)), [true, true, false, false, false]);
    assert_eq!(allowed(json!("JWT")), [true, true, false, false, false]);
    assert_eq!(allowed(json!("at+jwt")), [true, false, false, false, false]);
    assert_eq!(allowed(json!("Logout+JWT")), [false, true, false, false, false]);
    assert_eq!(allowed(json!("application/secevent+jwt")), [false, false, true, false, false]);
    assert_eq!(allowed(json!("statuslist+jwt")), [false, false, false, true, false]);
    assert_eq!(allowed(json!("global-token-revocation+jwt")), [false, false, false, false, true]);
    assert_eq!(allowed(json!("dpop+jwt")), [false; 5]);
}

#[test]
fn a_statement_is_of_this_issuer_and_signed_by_its_key() {
    let (key, other) = (TestKey::p256("a"), TestKey::p256("a"));
    let mut config = config();
    config.aliases = vec!["id.example".into()];
    let verifier = verifier([(config, key_set([&key]))]);
    let issuer = verifier.issuers().get(ISS).unwrap();
    let result = |token: &str| issuer.signed(token, Kind::Logout).map(drop);
    // Neither `exp` nor `iat` nor `aud` is looked at.
    assert_eq!(result(&key.token(&json!({"iss": ISS, "exp": 1, "iat": "x"}))), Ok(()));
    assert_eq!(result(&key.token(&json!({"iss": "id.example"}))), Ok(()));
    let signed = key.token(&json!({"iss": ISS}));
    for (token, expected) in [
        (other.token(&json!({"iss": ISS})), TokenError::Signature),
        (key.token_with(&json!({"alg": "none"}), &json!({"iss": ISS})), TokenError::Signature),
        (TestKey::p256("b").token(&json!({"iss": ISS})), TokenError::UnknownKey),
        (key.token(&json!({"iss": "https://other.example"})), TokenError::Issuer),
        (key.token(&json!({"iss": [ISS]})), TokenError::Issuer),
        (key.token(&json!({})), TokenError::Issuer),
        (key.token(&json!(["iss", ISS])), TokenError::Malformed),
        (key.token_of_texts(&key.header().to_string(), "{"), TokenError::Malformed),
        (key.token_of_texts(&key.header().to_string(), r#"{"a":1,"a":1}"#), TokenError::Duplicate),
        (format!("{signed}.x"), TokenError::Signature),
        (format!("{signed}.x.x"), TokenError::Encrypted),
        (signed.rsplit_once('.').unwrap().0.to_owned(), TokenError::Signature),
        (String::new(), TokenError::Signature),
        (key.token(&json!({"iss": ISS, "fill": "x".repeat(16 << 10)})), TokenError::Signature),
    ] {
        assert_eq!(result(&token), Err(expected));
    }
}
