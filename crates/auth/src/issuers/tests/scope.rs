//! Whose key verifies which token.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::testing::{
    ISS, SECRET, TestKey, claims, config, hs256, issuers, key_set, seconds, verifier,
};
use crate::{Audience, IssuerConfig, Issuers, KeySet, TokenError, Verifier};

const OTHER: &str = "https://id.example/realms/other";

fn other() -> IssuerConfig {
    IssuerConfig::new("other", OTHER, Audience::OneOf(vec!["gateway".to_owned()]))
}

fn verdict(verifier: &Verifier, token: &str) -> Result<Option<Arc<str>>, TokenError> {
    verifier.verify(token).map(|claims| claims.issuer)
}

#[test]
fn i03_no_key_verifies_a_token_of_another_issuer() {
    let (a, b) = (TestKey::p256("same"), TestKey::p256("same"));
    let verifier = verifier([(config(), key_set([&a])), (other(), key_set([&b]))]);
    let of = |iss: &str| claims(json!({"iss": iss}));
    assert_eq!(verdict(&verifier, &a.token(&of(ISS))), Ok(Some(ISS.into())));
    assert_eq!(verdict(&verifier, &b.token(&of(OTHER))), Ok(Some(OTHER.into())));
    assert_eq!(verdict(&verifier, &b.token(&of(ISS))), Err(TokenError::Signature));
    assert_eq!(verdict(&verifier, &a.token(&of(OTHER))), Err(TokenError::Signature));
    let (a, b) = (a.without_kid(), b.without_kid());
    assert_eq!(verdict(&verifier, &a.token(&of(ISS))), Ok(Some(ISS.into())));
    assert_eq!(verdict(&verifier, &b.token(&of(ISS))), Err(TokenError::Unasked));
    assert_eq!(verdict(&verifier, &a.token(&of(OTHER))), Err(TokenError::Unasked));
}

#[test]
fn i03_the_static_key_and_those_of_issuers_are_kept_apart() {
    let key = TestKey::p256("a");
    let verifier = verifier([(config(), key_set([&key]))]);
    let of_secret = |claims: &Value| hs256(&json!({"alg": "HS256", "kid": "a"}), claims, SECRET.as_bytes());
    // The static key has no further requirements here, and never vouches for an issuer.
    let unknown = claims(json!({"iss": "https://id.example", "iat": null, "aud": null}));
    assert_eq!(verdict(&verifier, &of_secret(&unknown)), Ok(None));
    assert_eq!(verdict(&verifier, &of_secret(&claims(json!({})))), Err(TokenError::Signature));
    assert_eq!(verdict(&verifier, &key.token(&unknown)), Err(TokenError::Signature));
    let verified = verifier.verify(&of_secret(&unknown)).unwrap();
    assert!(verified.marks.is_empty() && verified.leeway().is_zero());
}

#[test]
fn i13_an_iss_that_is_no_text_of_an_issuer_has_the_rules_of_the_static_key() {
    let key = TestKey::p256("a");
    let verifier = verifier([(config(), key_set([&key]))]);
    for iss in [json!([ISS]), json!(7), json!(null), json!({"a": ISS}), json!(format!("{ISS}/")), json!("")] {
        let claims = claims(json!({"iss": iss}));
        assert_eq!(verdict(&verifier, &key.token(&claims)), Err(TokenError::Signature), "{iss}");
        let of_secret = hs256(&json!({"alg": "HS256"}), &claims, SECRET.as_bytes());
        assert_eq!(verdict(&verifier, &of_secret), Ok(None), "{iss}");
        let expired = super::super::testing::with(claims, json!({"exp": seconds(-1)}));
        let of_secret = hs256(&json!({"alg": "HS256"}), &expired, SECRET.as_bytes());
        assert_eq!(verdict(&verifier, &of_secret), Err(TokenError::Expired), "{iss}");
    }
}

#[test]
fn an_alias_is_the_same_issuer() {
    let key = TestKey::p256("a");
    let mut config = config();
    config.aliases = vec!["accounts.example".into()];
    let verifier = verifier([(config, key_set([&key]))]);
    let token = key.token(&claims(json!({"iss": "accounts.example"})));
    assert_eq!(verdict(&verifier, &token), Ok(Some(ISS.into())));
}

#[test]
fn without_keys_an_issuer_is_unavailable_and_the_others_are_not() {
    let (a, b) = (TestKey::p256("a"), TestKey::p256("b"));
    let issuers = Issuers::new(vec![config(), other()]);
    let set = KeySet::parse(key_set([&b]).to_string().as_bytes()).unwrap();
    issuers.get(OTHER).unwrap().keys.put(Arc::new(set));
    let verifier = verifier([]).with_issuers(issuers);
    let token = a.token(&claims(json!({})));
    assert_eq!(verdict(&verifier, &token), Err(TokenError::Unasked), "the first fetch may bring them");
    let demand = &verifier.issuers().get(ISS).unwrap().keys.demand;
    demand.begin();
    demand.end(false, true);
    assert_eq!(verdict(&verifier, &token), Err(TokenError::Unavailable));
    assert_eq!(verdict(&verifier, &b.token(&claims(json!({"iss": OTHER})))), Ok(Some(OTHER.into())));
    let of_secret = hs256(&json!({"alg": "HS256"}), &claims(json!({"iss": "x"})), SECRET.as_bytes());
    assert_eq!(verdict(&verifier, &of_secret), Ok(None));
}

#[test]
fn the_generation_changes_with_every_key_set() {
    let (a, b) = (TestKey::p256("a"), TestKey::p256("b"));
    let known = [(config(), key_set([&a])), (other(), key_set([&b]))];
    let verifier = verifier([]).with_issuers(issuers(known));
    let mut before = verifier.generation();
    for (iss, keys) in [(ISS, [&b]), (OTHER, [&a]), (ISS, [&a])] {
        let set = Arc::new(KeySet::parse(key_set(keys).to_string().as_bytes()).unwrap());
        verifier.issuers().get(iss).unwrap().keys.put(set);
        assert_ne!(verifier.generation(), before);
        before = verifier.generation();
    }
}

#[test]
fn the_first_of_two_issuers_with_one_text_has_its_tokens() {
    let issuers = Issuers::new(vec![config(), IssuerConfig { id: "second".into(), ..config() }]);
    assert_eq!(&*issuers.get(ISS).unwrap().config.id, "main");
    assert_eq!(&*issuers.with_id("second").unwrap().config.issuer, ISS);
    assert!(issuers.with_id("third").is_none());
}
