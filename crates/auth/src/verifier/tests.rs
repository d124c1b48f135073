use jsonwebtoken::{Algorithm, EncodingKey, crypto, encode};
use serde_json::json;
use serde_json::value::RawValue;

use super::*;
use crate::{ConfiguredKey, KeyError, KeySource};

const SECRET: &str = "a-test-secret-and-nothing-else";

fn verifier(key: &str, algorithms: &str) -> Result<Verifier, KeyError> {
    let algorithms = algorithms.parse().unwrap();
    let key = ConfiguredKey::load(KeySource::parse(key).as_ref(), &algorithms)?;
    let config = TokenConfig { algorithms, issuer: None, audience: Vec::new(), leeway: Duration::ZERO };
    Ok(Verifier::new(Arc::new(key), config))
}

fn sign(claims: Value, secret: &str, algorithm: Algorithm) -> String {
    encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(secret.as_bytes()).unwrap()).unwrap()
}

fn in_an_hour() -> u64 {
    now() as u64 + 3600
}

#[test]
fn a_valid_token_gives_its_claims() {
    let token = sign(json!({"sub": "alice", "exp": in_an_hour()}), SECRET, Algorithm::HS256);
    let claims = verifier(SECRET, "HS256").unwrap().verify(&token).unwrap();
    assert_eq!(claims.map["sub"], "alice");
}

#[test]
fn critical_extensions_are_not_understood() {
    let mut header = Header::new(Algorithm::HS256);
    for (extensions, understood) in [(vec![], true), (vec!["b64".to_owned()], false)] {
        header.crit = Some(extensions);
        let key = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
        let token = encode(&header, &json!({"exp": in_an_hour()}), &key).unwrap();
        let verdict = verifier(SECRET, "HS256").unwrap().verify(&token);
        assert_eq!(verdict.err(), (!understood).then_some(TokenError::Signature), "{:?}", header.crit);
    }
}

#[test]
fn claims_are_found_by_pointer() {
    let token = sign(json!({"exp": in_an_hour(), "a": {"b": [1, "x"]}, "c/~d": 2}), SECRET, Algorithm::HS256);
    let claims = verifier(SECRET, "HS256").unwrap().verify(&token).unwrap();
    assert_eq!(claims.pointer("/a/b/1"), Some(&json!("x")));
    assert_eq!(claims.pointer("/c~1~0d"), Some(&json!(2)));
    for nothing in ["", "a", "/", "/a/b/2", "/exp/x"] {
        assert_eq!(claims.pointer(nothing), None, "{nothing}");
    }
}

#[test]
fn d12_without_a_key_no_token_is_valid() {
    // An HMAC pads its key with zeros (RFC 2104, section 2): one zero is the empty key.
    let token = sign(json!({"exp": in_an_hour()}), "\0", Algorithm::HS256);
    assert_eq!(verifier("", "HS256").unwrap().verify(&token).unwrap_err(), TokenError::Signature);
}

#[test]
fn d15_the_algorithm_is_pinned() {
    let token = sign(json!({"exp": in_an_hour()}), SECRET, Algorithm::HS512);
    assert_eq!(verifier(SECRET, "HS256").unwrap().verify(&token).unwrap_err(), TokenError::Signature);
    assert!(verifier(SECRET, "HS256, HS512").unwrap().verify(&token).is_ok());
    // {"alg":"none"} . {"exp":99999999999} .
    let none = "eyJhbGciOiJub25lIn0.eyJleHAiOjk5OTk5OTk5OTk5fQ.";
    assert_eq!(verifier(SECRET, "HS256").unwrap().verify(none).unwrap_err(), TokenError::Signature);
    assert!("none".parse::<Algorithms>().is_err());
}

#[test]
fn d15_a_key_of_another_kind_is_an_error_at_the_start() {
    assert!(matches!(verifier(SECRET, "RS256"), Err(KeyError::Algorithm(Algorithm::RS256))));
    assert!(matches!(verifier(SECRET, "HS256,ES256"), Err(KeyError::Algorithm(Algorithm::ES256))));
    assert!(matches!(
        verifier("-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----", "HS256"),
        Err(KeyError::Damaged(_))
    ));
    assert!(matches!(verifier("-----BEGIN PRIVATE KEY-----", "RS256"), Err(KeyError::PrivateKey)));
    assert!(matches!(verifier("/etc", "HS256"), Err(KeyError::Read { .. })));
}

#[test]
fn exp_is_required_and_kept() {
    let verifier = verifier(SECRET, "HS256").unwrap();
    let error = |claims| verifier.verify(&sign(claims, SECRET, Algorithm::HS256)).unwrap_err();
    assert_eq!(error(json!({})), TokenError::Expired);
    assert_eq!(error(json!({"exp": now() as u64 - 1})), TokenError::Expired);
    assert_eq!(error(json!({"exp": now() as u64})), TokenError::Expired);
    assert_eq!(error(json!({"exp": in_an_hour(), "nbf": in_an_hour()})), TokenError::NotYetValid);
}

#[test]
fn f54_the_reason_is_named_and_null_is_absent() {
    let verifier = verifier(SECRET, "HS256").unwrap();
    let result = |claims: &str| {
        let claims = RawValue::from_string(claims.replace("SOON", &in_an_hour().to_string())).unwrap();
        let key = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
        let token = encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
        verifier.verify(&token).map(|claims| claims.expires_at)
    };
    let soon = in_an_hour();
    for (claims, expected) in [
        (r#"{"exp":null}"#, Err(TokenError::Expired)),
        (r#"{"exp":-1}"#, Err(TokenError::Expired)),
        (r#"{"exp":1.7e9}"#, Err(TokenError::Expired)),
        (r#"{"exp":"SOON"}"#, Err(TokenError::Time("exp"))),
        (r#"{"exp":99999999999999999999}"#, Err(TokenError::Time("exp"))),
        (r#"{"exp":1e300}"#, Err(TokenError::Time("exp"))),
        (r#"{"exp":18446744073709551616}"#, Err(TokenError::Time("exp"))),
        // The largest double below 2^64.
        (r#"{"exp":18446744073709549568}"#, Ok(18_446_744_073_709_549_568)),
        (r#"{"exp":[SOON]}"#, Err(TokenError::Time("exp"))),
        (r#"{"exp":true}"#, Err(TokenError::Time("exp"))),
        (r#"{"exp":{"a":1}}"#, Err(TokenError::Time("exp"))),
        (r#"{"exp":SOON.75}"#, Ok(soon)),
        (r#"{"exp":SOON.0e0}"#, Ok(soon)),
        (r#"{"exp":SOON,"nbf":null,"iat":null,"iss":null,"aud":null,"sub":null,"jti":null}"#, Ok(soon)),
        (r#"{"exp":SOON,"nbf":-1}"#, Ok(soon)),
        (r#"{"exp":SOON,"nbf":1.5}"#, Ok(soon)),
        (r#"{"exp":SOON,"nbf":"1"}"#, Err(TokenError::Time("nbf"))),
        (r#"{"exp":SOON,"nbf":99999999999999999999}"#, Err(TokenError::Time("nbf"))),
        (r#"{"exp":SOON,"nbf":{}}"#, Err(TokenError::Time("nbf"))),
        // No setting requires these.
        (r#"{"exp":SOON,"iss":{"a":1},"aud":[1,{}],"sub":["x"],"iat":"now","jti":7}"#, Ok(soon)),
        (r#"["exp"]"#, Err(TokenError::Malformed)),
        (r#"{"exp":SOON,"x":"\ud800"}"#, Err(TokenError::Malformed)),
    ] {
        assert_eq!(result(claims), expected, "{claims}");
    }
    assert_eq!(TokenError::Time("nbf").to_string(), "the claim /nbf is not a number of seconds since 1970");
}

#[test]
fn f06_a_claim_that_is_given_twice_makes_the_token_invalid() {
    let verifier = verifier(SECRET, "HS256").unwrap();
    let result = |claims: &str| {
        let claims = RawValue::from_string(claims.replace("SOON", &in_an_hour().to_string())).unwrap();
        let key = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
        verifier.verify(&encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()).map(drop)
    };
    for claims in [
        r#"{"exp":SOON,"sub":"a","sub":"b"}"#,
        r#"{"exp":SOON,"sub":"a","s\u0075b":"a"}"#,
        r#"{"exp":1,"exp":SOON}"#,
        r#"{"exp":SOON,"realm":{"roles":[{"a":1,"a":2}]}}"#,
    ] {
        assert_eq!(result(claims), Err(TokenError::Duplicate), "{claims}");
    }
    assert_eq!(result(r#"{"exp":SOON,"sub":"a","Sub":"b","x":{"sub":"c"}}"#), Ok(()));
}

#[test]
fn d15_issuer_and_audience_are_required_where_set() {
    let verifier = Verifier {
        config: TokenConfig {
            algorithms: "HS256".parse().unwrap(),
            issuer: Some("us".into()),
            audience: vec!["gateway".into()],
            leeway: Duration::ZERO,
        },
        ..verifier(SECRET, "HS256").unwrap()
    };
    let result = |claims| verifier.verify(&sign(claims, SECRET, Algorithm::HS256)).map(|_| ());
    let exp = in_an_hour();
    assert_eq!(result(json!({"exp": exp, "iss": "us", "aud": "gateway"})), Ok(()));
    assert_eq!(result(json!({"exp": exp, "iss": "us", "aud": ["x", "gateway"]})), Ok(()));
    assert_eq!(result(json!({"exp": exp, "iss": "them", "aud": "gateway"})), Err(TokenError::Issuer));
    assert_eq!(result(json!({"exp": exp, "aud": "gateway"})), Err(TokenError::Issuer));
    assert_eq!(result(json!({"exp": exp, "iss": "us", "aud": "x"})), Err(TokenError::Audience));
    assert_eq!(result(json!({"exp": exp, "iss": "us"})), Err(TokenError::Audience));
    for nothing in [json!(null), json!(7), json!({"a": "gateway"}), json!([]), json!(["x", null, 7])] {
        let claims = json!({"exp": exp, "iss": "us", "aud": nothing});
        assert_eq!(result(claims), Err(TokenError::Audience), "{nothing}");
        let claims = json!({"exp": exp, "iss": nothing, "aud": "gateway"});
        assert_eq!(result(claims), Err(TokenError::Issuer), "{nothing}");
    }
}

#[test]
fn f58_a_byte_order_mark_is_no_part_of_the_claims() {
    let verifier = verifier(SECRET, "HS256").unwrap();
    let result = |claims: &str| {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let key = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
        let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        verifier.verify(&format!("{message}.{signature}")).map(|claims| claims.map["sub"].clone())
    };
    let claims = format!("{{\"exp\":{},\"sub\":\"\u{feff}a\"}}", in_an_hour());
    assert_eq!(result(&claims), Ok(json!("\u{feff}a")));
    assert_eq!(result(&format!("\u{feff}{claims}")), Ok(json!("\u{feff}a")));
    assert_eq!(result(&format!("\u{feff}\u{feff}{claims}")), Err(TokenError::Malformed));
    assert_eq!(result(&format!(" \u{feff}{claims}")), Err(TokenError::Malformed));
    assert_eq!(result("\u{feff}"), Err(TokenError::Malformed));
}

#[test]
fn anything_else_is_an_invalid_signature() {
    let verifier = verifier(SECRET, "HS256").unwrap();
    let good = sign(json!({"exp": in_an_hour()}), SECRET, Algorithm::HS256);
    let long = "a".repeat(MAX_TOKEN + 1);
    for token in ["", ".", "..", "a.b.c", "é.é.é", &good[..good.len() - 1], &long] {
        assert_eq!(verifier.verify(token).unwrap_err(), TokenError::Signature, "{token}");
    }
}
