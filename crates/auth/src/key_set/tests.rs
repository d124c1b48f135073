use serde_json::json;

use super::*;
use crate::issuers::testing::{TestKey, base64url, key_set};

fn parse(set: &Value) -> Result<KeySet, KeySetError> {
    KeySet::parse(set.to_string().as_bytes())
}

fn flaw(jwk: &Value) -> Option<KeyFlaw> {
    match parse(&json!({"keys": [jwk]})) {
        Ok(_) => None,
        Err(KeySetError::NoKey(Some(SkippedKey { index: 0, flaw }))) => Some(flaw),
        Err(error) => panic!("{error}"),
    }
}

fn with(jwk: &Value, name: &str, value: Value) -> Value {
    let mut jwk = jwk.clone();
    jwk[name] = value;
    jwk
}

fn without(jwk: &Value, name: &str) -> Value {
    let mut jwk = jwk.clone();
    jwk.as_object_mut().unwrap().remove(name);
    jwk
}

/// An RSA key of this size. It has no private key.
fn rsa(bits: usize) -> Value {
    let mut n = vec![0xff; bits.div_ceil(8)];
    n[0] >>= (8 - bits % 8) % 8;
    json!({"kty": "RSA", "n": base64url(n), "e": "AQAB"})
}

#[test]
fn i11_the_usable_keys_of_a_mixed_set_are_used_and_the_others_counted() {
    let good = TestKey::p256("good");
    let (p256, ed) = (TestKey::p256("x"), TestKey::ed25519("x"));
    let set = json!({"keys": [
        {"kty": "oct", "k": base64url("secret"), "kid": "oct"},
        with(&p256.jwk(), "use", json!("enc")),
        with(&p256.jwk(), "d", json!(base64url([1; 32]))),
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": base64url([1; 1312])},
        {"kty": "EC", "crv": "P-521", "x": base64url([1; 66]), "y": base64url([1; 66])},
        good.jwk(),
        with(&ed.jwk(), "kid", json!(7)),
        rsa(1024),
        {"kty": "OKP", "crv": "X25519", "x": base64url([1; 32])},
    ]});
    let parsed = parse(&set).unwrap();
    assert_eq!(parsed.keys().iter().map(PublicKey::kid).collect::<Vec<_>>(), [Some("good")]);
    let skipped: Vec<_> = parsed.skipped().iter().map(|key| (key.index, key.flaw)).collect();
    let expected = [
        (0, KeyFlaw::Secret),
        (1, KeyFlaw::Use),
        (2, KeyFlaw::Private),
        (3, KeyFlaw::Kind),
        (4, KeyFlaw::Kind),
        (6, KeyFlaw::Id),
        (7, KeyFlaw::Size),
        (8, KeyFlaw::Kind),
    ];
    assert_eq!(skipped, expected);
    assert_eq!(
        parsed.skipped()[6].to_string(),
        "keys[7]: an RSA key of less than 2048 or more than 8192 bits"
    );
}

#[test]
fn a_key_is_only_for_what_its_issuer_says() {
    let jwk = TestKey::p256("a").jwk();
    for (name, value, expected) in [
        ("use", json!("sig"), None),
        ("use", json!(null), None),
        ("use", json!("enc"), Some(KeyFlaw::Use)),
        ("use", json!("SIG"), Some(KeyFlaw::Use)),
        ("use", json!(["sig"]), Some(KeyFlaw::Use)),
        ("key_ops", json!(["verify"]), None),
        ("key_ops", json!(["sign", "verify"]), None),
        ("key_ops", json!(["sign"]), Some(KeyFlaw::Use)),
        ("key_ops", json!([]), Some(KeyFlaw::Use)),
        ("key_ops", json!("verify"), Some(KeyFlaw::Use)),
        ("alg", json!("ES256"), None),
        ("alg", json!(null), None),
        ("alg", json!("ES384"), Some(KeyFlaw::Algorithm)),
        ("alg", json!("RS256"), Some(KeyFlaw::Algorithm)),
        ("alg", json!("HS256"), Some(KeyFlaw::Algorithm)),
        ("alg", json!("ECDH-ES"), Some(KeyFlaw::Algorithm)),
        ("alg", json!(["ES256"]), Some(KeyFlaw::Algorithm)),
        ("kid", json!(""), None),
        ("kid", json!(null), None),
        ("kid", json!(["a"]), Some(KeyFlaw::Id)),
        ("d", json!(null), None),
        ("d", json!(""), Some(KeyFlaw::Private)),
        ("x5c", json!("not looked at"), None),
        ("x5u", json!("https://evil.example/"), None),
        ("kty", json!("ec"), Some(KeyFlaw::Kind)),
        ("kty", json!(7), Some(KeyFlaw::Kind)),
        ("kty", json!("oct"), Some(KeyFlaw::Secret)),
        ("crv", json!("P-384"), Some(KeyFlaw::Malformed)),
        ("crv", json!("secp256k1"), Some(KeyFlaw::Kind)),
        ("crv", json!(null), Some(KeyFlaw::Malformed)),
        ("x", json!(7), Some(KeyFlaw::Malformed)),
        ("x", json!(null), Some(KeyFlaw::Malformed)),
        ("x", json!(base64url([1; 31])), Some(KeyFlaw::Malformed)),
        ("x", json!(base64url([1; 33])), Some(KeyFlaw::Malformed)),
        // No point of the curve.
        ("x", json!(base64url([1; 32])), Some(KeyFlaw::Malformed)),
        ("y", json!("+/=="), Some(KeyFlaw::Malformed)),
    ] {
        assert_eq!(flaw(&with(&jwk, name, value.clone())), expected, "{name} {value}");
    }
    for name in ["kty", "crv", "x", "y"] {
        let expected = if name == "kty" { KeyFlaw::Kind } else { KeyFlaw::Malformed };
        assert_eq!(flaw(&without(&jwk, name)), Some(expected), "{name}");
    }
    for value in [json!(null), json!("key"), json!([jwk])] {
        assert_eq!(flaw(&value), Some(KeyFlaw::NoObject));
    }
}

#[test]
fn rsa_keys_have_a_size_that_can_be_verified_with() {
    for (bits, expected) in [
        (512, Some(KeyFlaw::Size)),
        (2047, Some(KeyFlaw::Size)),
        (2048, None),
        (3072, None),
        (8192, None),
        (8193, Some(KeyFlaw::Size)),
        (1 << 17, Some(KeyFlaw::Size)),
    ] {
        assert_eq!(flaw(&rsa(bits)), expected, "{bits}");
    }
    let key = rsa(2048);
    for (name, value, expected) in [
        ("e", "Aw", None),
        ("e", "AQ", Some(KeyFlaw::Malformed)),
        ("e", "", Some(KeyFlaw::Malformed)),
        ("e", "AA", Some(KeyFlaw::Malformed)),
        ("e", "AQAA", Some(KeyFlaw::Malformed)),
        ("e", "AQAAAAAB", Some(KeyFlaw::Malformed)),
        ("n", "", Some(KeyFlaw::Malformed)),
        ("n", "AAAA", Some(KeyFlaw::Malformed)),
    ] {
        assert_eq!(flaw(&with(&key, name, json!(value))), expected, "{name} {value}");
    }
    let mut even = vec![0xff; 256];
    even[255] = 0xfe;
    assert_eq!(flaw(&with(&key, "n", json!(base64url(even)))), Some(KeyFlaw::Malformed));
    assert_eq!(flaw(&without(&key, "n")), Some(KeyFlaw::Malformed));
    assert_eq!(flaw(&without(&key, "e")), Some(KeyFlaw::Malformed));
}

/// Some issuers write a sign byte.
#[test]
fn leading_zeros_of_an_rsa_key_do_not_make_it_another() {
    let key = rsa(2048);
    let mut zeros = vec![0; 3];
    zeros.extend([0xff; 256]);
    let same = with(&with(&key, "n", json!(base64url(zeros))), "e", json!("AAEAAQ"));
    let set = parse(&json!({"keys": [key, same]})).unwrap();
    assert_eq!(set.keys()[0].thumbprint(), set.keys()[1].thumbprint());
}

#[test]
fn a_key_is_identified_as_the_rfcs_say() {
    // RFC 7638, section 3.1; RFC 8037, appendix A.3.
    let rsa = json!({
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCi\
              FV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb\
              9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls\
              1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
    });
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let set = parse(&json!({"keys": [rsa, ed]})).unwrap();
    let thumbprints: Vec<_> = set.thumbprints().collect();
    let expected =
        ["NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"];
    assert_eq!(thumbprints, expected);
}

#[test]
fn i10_the_same_kid_with_another_key_is_another_key() {
    let (one, two) = (TestKey::p256("a"), TestKey::p256("a"));
    let (first, second) = (parse(&key_set([&one])).unwrap(), parse(&key_set([&two])).unwrap());
    assert_ne!(first.keys()[0].thumbprint(), second.keys()[0].thumbprint());
    assert_ne!(first, second);
    let renamed = parse(&json!({"keys": [with(&one.jwk(), "kid", json!("b"))]})).unwrap();
    assert_eq!(first.keys()[0].thumbprint(), renamed.keys()[0].thumbprint());
    assert_ne!(first, renamed);
}

#[test]
fn the_order_of_a_set_does_not_matter() {
    let (one, two) = (TestKey::p256("a"), TestKey::ed25519("b"));
    let set = parse(&key_set([&one, &two])).unwrap();
    assert_eq!(set, parse(&key_set([&two, &one])).unwrap());
    assert_ne!(set, parse(&key_set([&one])).unwrap());
    assert_ne!(set, parse(&key_set([&one, &one])).unwrap());
    let pinned = with(&one.jwk(), "alg", json!("ES256"));
    assert_ne!(set, parse(&json!({"keys": [pinned, two.jwk()]})).unwrap());
}

#[test]
fn a_token_is_tried_with_the_keys_that_it_may_mean() {
    let (a, b, c) = (TestKey::p256("a"), TestKey::p256("b"), TestKey::rsa("a", 0));
    let bare = TestKey::p256("d").without_kid();
    let pinned = with(&TestKey::rsa("p", 1).jwk(), "alg", json!("PS256"));
    let set = parse(&json!({"keys": [a.jwk(), b.jwk(), c.jwk(), bare.jwk(), pinned]})).unwrap();
    let chosen = |kid, algorithm| {
        let thumbprint = |key: &PublicKey| key.thumbprint().to_owned();
        let places = set.thumbprints().collect::<Vec<_>>();
        let place = |key| places.iter().position(|one| *one == thumbprint(key)).unwrap();
        set.choose(kid, algorithm).map(place).collect::<Vec<_>>()
    };
    assert_eq!(chosen(Some("a"), Algorithm::ES256), [0]);
    assert_eq!(chosen(Some("a"), Algorithm::RS256), [2]);
    assert_eq!(chosen(Some("A"), Algorithm::ES256), [0; 0]);
    assert_eq!(chosen(Some(""), Algorithm::ES256), [0; 0]);
    assert_eq!(chosen(None, Algorithm::ES256), [0, 1, 3]);
    assert_eq!(chosen(None, Algorithm::PS256), [2, 4]);
    assert_eq!(chosen(None, Algorithm::RS256), [2]);
    assert_eq!(chosen(Some("p"), Algorithm::RS256), [0; 0]);
    assert_eq!(chosen(None, Algorithm::HS256), [0; 0]);
    assert_eq!(chosen(None, Algorithm::EdDSA), [0; 0]);
    assert!(set.has_kid("a") && !set.has_kid("A") && !set.has_kid(""));
}

#[test]
fn a_token_is_tried_with_eight_keys_at_most() {
    for kid in [Some("same"), None] {
        let keys: Vec<_> = (0..10).map(|_| with(&TestKey::p256("same").jwk(), "kid", json!(kid))).collect();
        let set = parse(&json!({"keys": keys})).unwrap();
        assert_eq!(set.choose(kid, Algorithm::ES256).count(), 8, "{kid:?}");
    }
}

#[test]
fn what_is_no_set_is_refused_as_a_whole() {
    let key = TestKey::p256("a").jwk();
    let too_many = json!({"keys": vec![key.clone(); 257]});
    assert_eq!(parse(&too_many), Err(KeySetError::TooMany(257)));
    assert_eq!(parse(&json!({"keys": vec![key.clone(); 256]})).map(|set| set.len()), Ok(256));
    for (json, expected) in [
        ("{}", "expected an object with a list in the member keys"),
        ("[]", "expected an object with a list in the member keys"),
        (r#"{"keys":{}}"#, "expected an object with a list in the member keys"),
        (r#"{"Keys":[]}"#, "expected an object with a list in the member keys"),
        (r#"{"keys":[]}"#, "no usable key"),
        (r#"{"keys":[{"kty":"oct"}]}"#, "no usable key, keys[0]: kty oct, a secret that is public"),
        ("", "EOF while parsing a value at line 1 column 0"),
        ("<html>", "expected value at line 1 column 1"),
        (r#"{"keys":[],"keys":[]}"#, "/keys: given more than once (line 1, column 17)"),
        (r#"{"keys":[{"kid":"a","kid":"b"}]}"#, "/keys/0/kid: given more than once (line 1, column 25)"),
    ] {
        let error = KeySet::parse(json.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, expected, "{json}");
    }
    assert!(KeySet::parse(b"\xff").is_err() && KeySet::parse(&key.to_string().as_bytes()[1..]).is_err());
}

#[test]
fn a_key_is_never_shown() {
    let key = TestKey::p256("a");
    let set = parse(&key_set([&key])).unwrap();
    assert!(!format!("{set:?}").contains(key.jwk()["x"].as_str().unwrap()));
}
