//! What an access token of an issuer needs to be valid.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::testing::{TestKey, claims, config, hs256, key_set, seconds, verifier, with};
use crate::{Audience, KeySet, TokenError, Verifier};

fn verdict(verifier: &Verifier, token: &str) -> Result<(), TokenError> {
    verifier.verify(token).map(drop)
}

#[test]
fn each_algorithm_of_the_default_is_accepted() {
    let (rsa, p256, p384, ed) =
        (TestKey::rsa("r", 0), TestKey::p256("e"), TestKey::p384("f"), TestKey::ed25519("d"));
    let verifier = verifier([(config(), key_set([&rsa, &p256, &p384, &ed]))]);
    for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        let token = rsa.token_with(&json!({"alg": algorithm, "kid": "r"}), &claims(json!({})));
        assert_eq!(verdict(&verifier, &token), Ok(()), "{algorithm}");
    }
    for key in [&p256, &p384, &ed] {
        assert_eq!(verdict(&verifier, &key.token(&claims(json!({})))), Ok(()), "{}", key.algorithm());
    }
}

#[test]
fn a_token_carries_its_issuer_and_the_thumbprint_of_its_key() {
    let key = TestKey::p256("a");
    let mut config = config();
    config.aliases = vec!["id.example".into()];
    config.leeway = Duration::from_secs(7);
    let set = key_set([&key]);
    let thumbprint = KeySet::parse(set.to_string().as_bytes()).unwrap().keys()[0].thumbprint().to_owned();
    let verifier = verifier([(config.clone(), set)]);
    for iss in ["id.example", &config.issuer] {
        let verified = verifier.verify(&key.token(&claims(json!({"iss": iss})))).unwrap();
        assert_eq!(verified.issuer.as_deref(), Some(&*config.issuer));
        assert_eq!(verified.marks, [("key", thumbprint.as_str().into())]);
        assert_eq!(verified.leeway(), Duration::from_secs(7));
        assert_eq!(verified.map["iss"], iss);
        assert_eq!(verified.expires_at, verified.map["exp"].as_u64().unwrap());
    }
}

#[test]
fn the_checks_come_in_their_order() {
    let (key, other) = (TestKey::p256("a"), TestKey::p256("a"));
    let mut config = config();
    config.required = vec![("/token_use".to_owned(), json!("access"))];
    let verifier = verifier([(config, key_set([&key]))]);
    let mut header = json!({"alg": "HS256", "kid": "a", "typ": "logout+jwt"});
    let mut wrong = claims(json!({
        "exp": seconds(-60), "nbf": seconds(60), "iat": seconds(60), "aud": "x",
        "events": {}, "cnf": {"jkt": "x"},
    }));
    let mut signer = &other;
    // Each step mends what was refused, so that the next check refuses.
    for (step, error) in [
        ("alg", TokenError::Signature),
        ("typ", TokenError::Type),
        ("key", TokenError::Signature),
        ("exp", TokenError::Expired),
        ("nbf", TokenError::NotYetValid),
        ("iat", TokenError::IssuedAt),
        ("life", TokenError::Lifetime),
        ("aud", TokenError::Audience),
        ("token_use", TokenError::Required),
        ("events", TokenError::Statement),
        ("cnf", TokenError::Binding),
    ] {
        assert_eq!(verdict(&verifier, &signer.token_with(&header, &wrong)), Err(error), "{step}");
        match step {
            "alg" => header["alg"] = json!("ES256"),
            "typ" => header["typ"] = json!("at+jwt"),
            "key" => signer = &key,
            "exp" => wrong["exp"] = json!(seconds(25 * 3600)),
            "nbf" => wrong["nbf"] = json!(seconds(-60)),
            "iat" => wrong["iat"] = json!(seconds(0)),
            "life" => wrong["exp"] = json!(seconds(23 * 3600)),
            "aud" => wrong["aud"] = json!(["x", "gateway"]),
            "token_use" => wrong["token_use"] = json!("access"),
            name => drop(wrong.as_object_mut().unwrap().remove(name)),
        }
    }
    assert_eq!(verdict(&verifier, &signer.token_with(&header, &wrong)), Ok(()));
}

#[test]
fn the_size_comes_first() {
    let key = TestKey::p256("a");
    let verifier = verifier([(config(), key_set([&key]))]);
    let token = |length: usize| {
        let fill = |fill: usize| key.token(&claims(json!({"fill": "x".repeat(fill)})));
        let mut token = fill(length / 4 * 3 - 400);
        let mut more = 0;
        while token.len() < length {
            more += 1;
            token = fill(length / 4 * 3 - 400 + more);
        }
        token
    };
    assert_eq!(verdict(&verifier, &token((16 << 10) - 2)), Ok(()));
    let large = token((16 << 10) + 1);
    assert_eq!(verdict(&verifier, &large), Err(TokenError::Signature));
    let encrypted = format!("a.b.c.d.{}", "e".repeat(16 << 10));
    assert_eq!(verdict(&verifier, &encrypted), Err(TokenError::Signature));
}

#[test]
fn the_header_is_read_strictly() {
    let (key, other) = (TestKey::p256("a"), TestKey::p256("b"));
    let verifier = verifier([(config(), key_set([&key]))]);
    let result =
        |header: &str| verdict(&verifier, &key.token_of_texts(header, &claims(json!({})).to_string()));
    for (header, expected) in [
        (r#"{"alg":"ES256"}"#, Ok(())),
        (r#"{"alg":"ES256","kid":"a","typ":"JWT"}"#, Ok(())),
        (r#"{"alg":"ES256","typ":"application/at+jwt"}"#, Ok(())),
        (r#"{"alg":"ES256","typ":"APPLICATION/AT+JWT"}"#, Ok(())),
        (r#"{"alg":"ES256","typ":"jwt","cty":"json"}"#, Ok(())),
        (r#"{"alg":"ES256","x5t":"abc","jku":"https://evil.example/keys"}"#, Ok(())),
        (r#"{"alg":"ES256","typ":null,"kid":null}"#, Ok(())),
        (r#"{"alg":"ES256","typ":"dpop+jwt"}"#, Err(TokenError::Type)),
        (r#"{"alg":"ES256","typ":""}"#, Err(TokenError::Type)),
        (r#"{"alg":"ES256","typ":"text/jwt"}"#, Err(TokenError::Type)),
        (r#"{"alg":"ES256","cty":"JWT"}"#, Err(TokenError::Type)),
        (r#"{"alg":"ES256","cty":"application/jwt"}"#, Err(TokenError::Type)),
        (r#"{"alg":"ES256","typ":7}"#, Err(TokenError::Signature)),
        (r#"{"alg":"ES256","kid":7}"#, Err(TokenError::Signature)),
        (r#"{"alg":"ES256","kid":"A"}"#, Err(TokenError::Unasked)),
        (r#"{"alg":"ES256","kid":""}"#, Err(TokenError::Unasked)),
        (r#"{"alg":"ES256","crit":["exp"],"exp":1}"#, Err(TokenError::Signature)),
        (r#"{"alg":"ES256","crit":[]}"#, Err(TokenError::Signature)),
        (r#"{"alg":"ES256","b64":false,"crit":["b64"]}"#, Err(TokenError::Signature)),
        (r#"{"alg":"ES256","b64":false}"#, Err(TokenError::Signature)),
        (r#"{"alg":"ES256","alg":"ES256"}"#, Err(TokenError::Signature)),
        (r#"{"alg":"ES256","x":{"a":1,"a":1}}"#, Err(TokenError::Signature)),
        (r#"{"alg":"es256"}"#, Err(TokenError::Signature)),
        (r#"{"alg":["ES256"]}"#, Err(TokenError::Signature)),
        (r#"{"alg":null}"#, Err(TokenError::Signature)),
        (r#"{}"#, Err(TokenError::Signature)),
        (r#"["ES256"]"#, Err(TokenError::Signature)),
        ("", Err(TokenError::Signature)),
    ] {
        assert_eq!(result(header), expected, "{header}");
    }
    // A key that the token itself brings.
    let header = json!({"alg": "ES256", "kid": "a", "jwk": other.jwk(), "x5u": "https://evil.example/"});
    let token = other.token_with(&header, &claims(json!({})));
    assert_eq!(verdict(&verifier, &token), Err(TokenError::Signature));
}

#[test]
fn i12_what_the_keys_decide_has_one_text() {
    let (rsa, p256, pss) = (TestKey::rsa("r", 0), TestKey::p256("e"), TestKey::rsa("p", 1));
    let mut set = key_set([&rsa, &p256, &pss]);
    set["keys"][2]["alg"] = json!("PS256");
    let verifier = verifier([(config(), set)]);
    let claims = claims(json!({}));
    let forged = |alg: &str, kid: &str| json!({"alg": alg, "kid": kid, "typ": "JWT"});
    let unsecured = rsa.token_with(&forged("none", "r"), &claims);
    let secrets = [rsa.jwk().to_string(), rsa.jwk()["n"].as_str().unwrap().to_owned(), String::new()];
    let mut tokens = vec![
        unsecured.clone(),
        format!("{}.", unsecured.rsplit_once('.').unwrap().0),
        rsa.token_with(&forged("None", "r"), &claims),
        // The other kind of key, and the other kind of signature.
        p256.token_with(&forged("ES256", "r"), &claims),
        rsa.token_with(&forged("RS256", "e"), &claims),
        rsa.token_with(&forged("PS256", "e"), &claims),
        // The key is only for PS256.
        pss.token_with(&forged("RS256", "p"), &claims),
        pss.token_with(&forged("PS384", "p"), &claims),
        // The header says another algorithm than the signature has.
        p256.token_with(&forged("ES384", "e"), &claims),
        // The key of another kid, and a kid that is not there.
        rsa.token_with(&forged("PS256", "p"), &claims),
        rsa.token_with(&forged("RS256", "x"), &claims),
    ];
    for secret in &secrets {
        tokens.push(hs256(&forged("HS256", "r"), &claims, secret.as_bytes()));
    }
    for token in &tokens {
        let error = verdict(&verifier, token).unwrap_err();
        assert_eq!(error.to_string(), "Invalid signature", "{token}");
    }
    assert_eq!(verdict(&verifier, &pss.token_with(&forged("PS256", "p"), &claims)), Ok(()));
    assert_eq!(verdict(&verifier, &rsa.token_with(&forged("PS256", "r"), &claims)), Ok(()));
}

#[test]
fn i12_only_the_algorithms_of_the_settings_are_allowed() {
    let (rsa, p256) = (TestKey::rsa("r", 0), TestKey::p256("e"));
    let mut config = config();
    config.algorithms = "RS256".parse().unwrap();
    let verifier = verifier([(config, key_set([&rsa, &p256]))]);
    let claims = claims(json!({}));
    assert_eq!(verdict(&verifier, &rsa.token(&claims)), Ok(()));
    assert_eq!(verdict(&verifier, &p256.token(&claims)), Err(TokenError::Signature));
    let token = rsa.token_with(&json!({"alg": "RS384", "kid": "r"}), &claims);
    assert_eq!(verdict(&verifier, &token), Err(TokenError::Signature));
}

#[test]
fn i13_audiences_of_other_forms_are_none() {
    let key = TestKey::p256("a");
    let verifier = verifier([(config(), key_set([&key]))]);
    let result = |aud: Value| verdict(&verifier, &key.token(&claims(json!({"aud": aud}))));
    for aud in [json!("gateway"), json!(["x", "gateway"]), json!([7, "gateway"])] {
        assert_eq!(result(aud.clone()), Ok(()), "{aud}");
    }
    for aud in [json!(7), json!([1, 2]), json!(null), json!([]), json!({"gateway": 1}), json!("Gateway")] {
        assert_eq!(result(aud.clone()), Err(TokenError::Audience), "{aud}");
    }
}

#[test]
fn any_audience_must_be_said() {
    let key = TestKey::p256("a");
    let mut config = config();
    config.audience = Audience::Any;
    let verifier = verifier([(config, key_set([&key]))]);
    for aud in [json!("x"), json!(null), json!(7)] {
        assert_eq!(verdict(&verifier, &key.token(&claims(json!({"aud": aud})))), Ok(()));
    }
}

#[test]
fn required_claims_are_equal_or_contain_the_value() {
    let key = TestKey::p256("a");
    let mut config = config();
    config.required = vec![("/realm/roles".to_owned(), json!("user")), ("/level".to_owned(), json!(2))];
    let verifier = verifier([(config, key_set([&key]))]);
    let result = |further: Value| verdict(&verifier, &key.token(&claims(further)));
    for good in [
        json!({"realm": {"roles": ["x", "user"]}, "level": 2}),
        json!({"realm": {"roles": "user"}, "level": 2.0}),
        json!({"realm": {"roles": "user"}, "level": [1, 2]}),
    ] {
        assert_eq!(result(good.clone()), Ok(()), "{good}");
    }
    for bad in [
        json!({"level": 2}),
        json!({"realm": {"roles": ["x"]}, "level": 2}),
        json!({"realm": {"roles": "user"}}),
        json!({"realm": {"roles": "user"}, "level": "2"}),
        json!({"realm": {"roles": "users"}, "level": 2}),
    ] {
        assert_eq!(result(bad.clone()), Err(TokenError::Required), "{bad}");
    }
}

#[test]
fn types_of_the_settings_replace_the_default() {
    let key = TestKey::p256("a");
    let mut config = config();
    config.types = vec!["application/at+jwt".to_owned()];
    let verifier = verifier([(config, key_set([&key]))]);
    let result = |typ: Value| {
        verdict(&verifier, &key.token_with(&with(key.header(), json!({"typ": typ})), &claims(json!({}))))
    };
    assert_eq!(result(json!("at+JWT")), Ok(()));
    assert_eq!(result(json!("application/at+jwt")), Ok(()));
    assert_eq!(result(json!("JWT")), Err(TokenError::Type));
    assert_eq!(result(json!(null)), Err(TokenError::Type));
}

#[test]
fn times_are_compared_with_the_leeway_of_the_issuer() {
    let key = TestKey::p256("a");
    let mut config = config();
    config.leeway = Duration::from_secs(60);
    let verifier = verifier([(config, key_set([&key]))]);
    let result = |further: Value| verdict(&verifier, &key.token(&claims(further)));
    for (further, expected) in [
        (json!({"exp": seconds(-50)}), Ok(())),
        (json!({"exp": seconds(-70)}), Err(TokenError::Expired)),
        (json!({"exp": null}), Err(TokenError::Expired)),
        (json!({"exp": "soon"}), Err(TokenError::Time("exp"))),
        (json!({"nbf": seconds(50)}), Ok(())),
        (json!({"nbf": seconds(70)}), Err(TokenError::NotYetValid)),
        (json!({"nbf": []}), Err(TokenError::Time("nbf"))),
        (json!({"iat": seconds(50)}), Ok(())),
        (json!({"iat": seconds(70)}), Err(TokenError::IssuedAt)),
        (json!({"iat": "now"}), Err(TokenError::Time("iat"))),
        (json!({"iat": 0.5}), Err(TokenError::Lifetime)),
        (json!({"iat": -1e300}), Err(TokenError::Time("iat"))),
    ] {
        assert_eq!(result(further.clone()), expected, "{further}");
    }
}

#[test]
fn i17_a_token_that_lives_too_long_or_has_no_iat_is_refused_and_counted() {
    let key = TestKey::p256("a");
    let verifier = verifier([(config(), key_set([&key]))]);
    let mut registry = metric::Registry::default();
    verifier.issuers().register(&mut registry);
    let result = |further: Value| verdict(&verifier, &key.token(&claims(further)));
    let day =
        |seconds_more: i64| json!({"iat": seconds(-10), "exp": seconds(-10 + 24 * 3600 + seconds_more)});
    assert_eq!(result(day(0)), Ok(()));
    assert_eq!(result(day(1)), Err(TokenError::Lifetime));
    assert_eq!(result(day(3600)), Err(TokenError::Lifetime));
    assert_eq!(result(json!({"iat": null})), Err(TokenError::IssuedAt));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"rig_tokens_refused_total{issuer="main",reason="lifetime"} 2"#,
        r#"rig_tokens_refused_total{issuer="main",reason="issued_at"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn f06_a_claim_that_is_given_twice_is_named_as_the_reason() {
    let key = TestKey::p256("a");
    let verifier = verifier([(config(), key_set([&key]))]);
    let token = |payload: &str| key.token_of_texts(&key.header().to_string(), payload);
    let payload = claims(json!({})).to_string();
    let twice = payload.replacen('{', r#"{"sub":"eve","#, 1);
    assert_eq!(verdict(&verifier, &token(&twice)), Err(TokenError::Duplicate));
    // Without an issuer, the static key's rules apply.
    let twice = payload.replacen('{', r#"{"iss":"https://other.example","#, 1);
    assert_eq!(verdict(&verifier, &token(&twice)), Err(TokenError::Signature));
    let twice = payload.replacen('{', &format!(r#"{{"iss":"{}","#, super::super::testing::ISS), 1);
    assert_eq!(verdict(&verifier, &token(&twice)), Err(TokenError::Signature));
}

#[test]
fn with_any_other_letter_a_token_is_refused() {
    let key = TestKey::p256("a");
    let verifier = verifier([(config(), key_set([&key]))]);
    let token = key.token(&claims(json!({})));
    assert_eq!(verdict(&verifier, &token), Ok(()));
    for (at, letter) in token.char_indices() {
        let mut changed = token.clone();
        changed.replace_range(at..=at, if letter == 'A' { "B" } else { "A" });
        let error = verdict(&verifier, &changed).unwrap_err();
        let is_of_header = at < token.find('.').unwrap();
        let expected: &[_] = match is_of_header {
            true => &[TokenError::Signature, TokenError::Unasked],
            false => &[TokenError::Signature],
        };
        assert!(expected.contains(&error), "letter {at}: {error:?}");
    }
}
