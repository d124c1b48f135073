//! Who has signed a list.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::fetch::{Refused, check};
use super::super::list::ListFlaw;
use super::{URI, claims_of};
use crate::issuers::testing::{ISS, TestKey, config, issuers, key_set, seconds, with};
use crate::issuers::token::UnverifiedJwt;
use crate::issuers::{Issuer, MAX_TOKEN};
use crate::token_error::TokenError;

struct Fixture {
    key: TestKey,
    issuer: Arc<Issuer>,
}

impl Fixture {
    fn new() -> Self {
        let key = TestKey::p256("a");
        let mut config = config();
        config.aliases.push("https://alias.example".into());
        let issuer = issuers([(config, key_set([&key]))]).iter().next().unwrap().clone();
        Self { key, issuer }
    }

    fn claims(further: Value) -> Value {
        let mut all = Value::Object(claims_of(1, &[0xb9, 0xa3]));
        all["sub"] = json!(URI);
        all["iat"] = json!(seconds(0));
        with(all, further)
    }

    fn token(&self, header: Value, further: Value) -> String {
        let header = with(with(self.key.header(), json!({"typ": "statuslist+jwt"})), header);
        self.key.token_with(&header, &Self::claims(further))
    }

    fn check(&self, token: &str) -> Result<u64, String> {
        match check(&self.issuer, token.as_bytes(), URI) {
            Ok(token) => Ok(token.list.entries()),
            Err(Refused::For(reason)) => Err(reason),
            Err(Refused::Key(error, _)) => Err(format!("{error:?}")),
        }
    }
}

#[test]
fn a_list_signed_by_the_issuer_is_taken() {
    let fixture = Fixture::new();
    for iss in [json!(null), json!(ISS), json!("https://alias.example")] {
        let token = fixture.token(json!({}), json!({ "iss": iss }));
        assert_eq!(fixture.check(&token), Ok(16), "{iss}");
        assert_eq!(fixture.check(&format!("{token}\r\n")), Ok(16), "a file with a line break");
    }
    let typ = json!({"typ": "application/StatusList+JWT"});
    assert_eq!(fixture.check(&fixture.token(typ, json!({}))), Ok(16));
}

#[test]
fn i15_no_other_token_is_a_list() {
    let fixture = Fixture::new();
    for typ in [json!(null), json!("JWT"), json!("at+jwt"), json!("secevent+jwt"), json!("statuslist+cwt")] {
        let refused = fixture.check(&fixture.token(json!({ "typ": typ }), json!({})));
        assert_eq!(refused, Err(TokenError::Type.to_string()), "{typ}");
    }
    let token = fixture.token(json!({}), json!({"aud": "gateway", "exp": seconds(60), "sid": "1"}));
    let access = fixture.issuer.accept(UnverifiedJwt::parse(&token, MAX_TOKEN).ok().unwrap());
    assert_eq!(access.unwrap_err(), TokenError::Type, "a list is no access token");
}

#[test]
fn a_list_of_someone_else_is_refused() {
    let fixture = Fixture::new();
    let good = fixture.token(json!({}), json!({}));
    let invalid = Err(TokenError::Signature.to_string());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    let other = Fixture { key: TestKey::p256("a"), issuer: fixture.issuer.clone() };
    assert_eq!(fixture.check(&other.token(json!({}), json!({}))), invalid, "another key");
    assert_eq!(fixture.check(&format!("{header}.{payload}.")), invalid, "no signature");
    let mut forged = fixture.token(json!({}), json!({"status_list": {"bits": 1, "lst": "eNo76fITAAPfAgc"}}));
    forged.truncate(forged.rfind('.').unwrap());
    assert_eq!(fixture.check(&format!("{forged}.{signature}")), invalid, "another list");
    for header in
        [json!({"alg": "none"}), json!({"alg": "HS256"}), json!({"crit": ["exp"]}), json!({"b64": true})]
    {
        assert_eq!(fixture.check(&fixture.token(header.clone(), json!({}))), invalid, "{header}");
    }
    for iss in [json!("https://evil.example"), json!(""), json!(1), json!([ISS])] {
        let refused = fixture.check(&fixture.token(json!({}), json!({ "iss": iss })));
        assert_eq!(refused, Err(TokenError::Issuer.to_string()), "{iss}");
    }
    let unknown = TestKey::p256("b");
    let unknown = Fixture { key: unknown, issuer: fixture.issuer.clone() };
    assert_eq!(fixture.check(&unknown.token(json!({}), json!({}))), Err("UnknownKey".to_owned()));
    let keyless = crate::issuers::Issuers::new(vec![config()]).iter().next().unwrap().clone();
    let keyless = Fixture { key: fixture.key, issuer: keyless };
    assert_eq!(keyless.check(&good), Err("Unavailable".to_owned()));
}

#[test]
fn what_is_no_jwt_is_refused() {
    let fixture = Fixture::new();
    for (text, expected) in [
        ("", "not a JWT"),
        ("{\"bits\":1}", "not a JWT"),
        ("a.b", "not a JWT"),
        ("a.b.c.d.e", "not a JWT"),
        ("e30.e30.e30", &TokenError::Signature.to_string()),
    ] {
        assert_eq!(fixture.check(text), Err(expected.to_owned()), "{text:?}");
    }
    assert_eq!(check(&fixture.issuer, b"\xd2\x84\x58", URI).err().map(|_| ()), Some(()), "a CWT");
    let twice = format!(r#"{{"sub":"{URI}","sub":"{URI}","iat":0}}"#);
    let header = with(fixture.key.header(), json!({"typ": "statuslist+jwt"})).to_string();
    assert_eq!(fixture.check(&fixture.key.token_of_texts(&header, &twice)), Err("not a JWT".to_owned()));
    let other = fixture.token(json!({}), json!({"sub": "https://id.example/lists/2"}));
    assert_eq!(fixture.check(&other), Err(ListFlaw::Subject.to_string()));
    let expired = fixture.token(json!({}), json!({"exp": seconds(-1)}));
    assert_eq!(fixture.check(&expired), Err(ListFlaw::Expired.to_string()), "no leeway for a list");
}
