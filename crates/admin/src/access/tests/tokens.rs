//! Tokens: in the settings, in files, and JWTs.

use std::future::pending;
use std::str::FromStr;
use std::time::Duration;

use auth::{Audience, IssuerConfig, Issuers, KeysFrom, keep_keys};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};
use session::Revocation;

use super::super::*;
use super::world::{ALL_RIGHTS, Folder, World, plain_token, token};
use crate::testing;

async fn status(world: &World, authorization: &str) -> u16 {
    world.ask(&Method::GET, "/v4/sessions", Some(authorization)).await.status
}

#[tokio::test]
async fn only_whole_tokens_are_taken() {
    let world = World::with_tokens(&[("a", &ALL_RIGHTS)]);
    for caller in ["api", "a"] {
        let (good, bare) = (token(caller), plain_token(caller));
        assert_eq!(status(&world, &good).await, 200, "{caller}");
        assert_eq!(status(&world, &format!("bEARER {bare}")).await, 200, "{caller}");
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            &good[..good.len() - 1],
            &format!("{good}x"),
            &format!("Bearer  {bare}"),
            &format!("{good}, {good}"),
            &format!("Basic {bare}"),
            &bare,
            "Bearer \u{e9}",
        ] {
            let answer = world.ask(&Method::GET, "/v4/sessions", Some(wrong)).await;
            let told = (answer.status, &*answer.challenge);
            assert_eq!(told, (401, r#"Bearer error="invalid_token""#), "{wrong:?}");
        }
        let twice = world.ask_with(&Method::GET, "/v4/sessions", &[&good, &good], "").await;
        assert_eq!(twice.status, 401);
    }
    let missing = world.ask(&Method::GET, "/v4/sessions", None).await;
    assert_eq!((missing.status, &*missing.challenge), (401, "Bearer"));
    let detail = missing.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("missing: Authorization: Bearer with a token"), "{detail}");
}

#[tokio::test]
async fn api_token_alone_has_all_rights() {
    let world = World::new(Access::new(Some(plain_token("api").parse().unwrap()), Vec::new()));
    assert_eq!(world.revoke(&token("api")).await.status, 201);
    assert_eq!(status(&world, &token("other")).await, 401);
}

#[test]
fn tokens_can_stand_in_a_header_and_are_long() {
    for good in ["0123456789abcdef", "abcdefghij+/-._~=="] {
        assert!(good.parse::<ApiToken>().is_ok(), "{good}");
    }
    for wrong in [
        "",
        "0123456789abcde",
        "0123456789 abcdef",
        "0123456789=abcdef",
        "================",
        "0123456789abcdé",
    ] {
        assert!(wrong.parse::<ApiToken>().is_err(), "{wrong}");
    }
}

#[test]
fn a_file_holds_one_token_and_its_line_feed_is_not_part_of_it() {
    let folder = Folder::new();
    let token = ApiToken::from_str("0123456789abcdef").unwrap();
    for text in ["0123456789abcdef", "0123456789abcdef\n", "0123456789abcdef\r\n"] {
        let file = TokenFile::load(&folder.write("token", text)).unwrap();
        assert!(file.holds(&token), "{text:?}");
    }
    let huge = "a".repeat(70_000);
    for wrong in [
        "",
        "\n",
        "0123456789abcde\n",
        "0123456789abcdef\n\n",
        " 0123456789abcdef",
        "\u{feff}0123456789abcdef",
        &huge,
    ] {
        let error = TokenFile::load(&folder.write("token", wrong)).unwrap_err().to_string();
        assert!(!error.contains("0123"), "{wrong:.20}: {error}");
    }
    let error = TokenFile::load(&folder.write("token", b"0123456789abcdef\xff")).unwrap_err();
    assert!(matches!(error, TokenFileError::Content(_)), "{error}");
    assert!(matches!(TokenFile::load("/nowhere/token".as_ref()), Err(TokenFileError::Read(_))));
}

#[tokio::test]
async fn a_token_is_replaced_with_its_file_unless_the_file_is_no_good() {
    let folder = Folder::new();
    let entry = |name: &str| AccessEntry {
        name: name.into(),
        rights: vec![Right::Read],
        proof: Proof::Token(TokenFile::load(&folder.write(name, plain_token(name))).unwrap()),
    };
    let api = plain_token("api").parse().unwrap();
    let world = World::new(Access::new(Some(api), vec![entry("a"), entry("b")]));
    let both = async |a: &str, b: &str| [status(&world, &token(a)).await, status(&world, &token(b)).await];
    assert_eq!(both("a", "c").await, [200, 401]);
    for unusable in ["short", "", &plain_token("b"), &plain_token("api")] {
        folder.write("a", unusable);
        world.access.refresh(false);
        assert_eq!(both("a", "c").await, [200, 401], "the old token stays");
    }
    assert_eq!(both("b", "api").await, [200, 200]);
    folder.write("a", plain_token("c") + "\n");
    world.access.refresh(false);
    assert_eq!(both("a", "c").await, [401, 200]);
}

/// An issuer, whose key set is a file.
struct Provider {
    issuers: Issuers,
    key: KeyPair,
    _folder: Folder,
}

const ISSUER: &str = "https://id.example/realms/main";

/// Another issuer, with the same keys.
const OTHER: &str = "https://id.example/realms/other";

impl Provider {
    /// `has_keys`: whether its key set can be read.
    async fn new(has_keys: bool) -> Self {
        let (folder, key) = (Folder::new(), KeyPair::generate().unwrap());
        let point = key.public_key_raw();
        let [x, y] = [&point[1..33], &point[33..65]].map(|half| URL_SAFE_NO_PAD.encode(half));
        let keys =
            json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "k", "use": "sig", "x": x, "y": y }] });
        let text = if has_keys { keys.to_string() } else { "{}".to_owned() };
        let file = folder.write("jwks.json", text);
        let config = |id: &str, issuer: &str| {
            let mut config = IssuerConfig::new(id, issuer, Audience::OneOf(vec!["gateway".to_owned()]));
            config.keys = KeysFrom::File(file.clone());
            config
        };
        let issuers = Issuers::new(vec![config("kc", ISSUER), config("other", OTHER)]);
        for issuer in issuers.iter() {
            tokio::spawn(keep_keys(issuer.clone(), Arc::new(()), pending()));
            let read = || issuer.state().keys > 0 || issuer.state().last_error.is_some();
            let wait = async {
                while !read() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the file is read");
        }
        Self { issuers, key, _folder: folder }
    }

    /// Returns a port with an entry for each group of users.
    fn port(&self, groups: &[(&str, Value, &[Right])]) -> World {
        let entry = |(name, value, rights): &(&str, Value, &[Right])| AccessEntry {
            name: (*name).into(),
            rights: rights.to_vec(),
            proof: Proof::Jwt {
                issuer: ISSUER.into(),
                claim: "/realm/roles".to_owned(),
                value: value.clone(),
            },
        };
        let access = Access::new(None, groups.iter().map(entry).collect());
        World::with_verifier(access, testing::verifier().with_issuers(self.issuers.clone()))
    }

    /// Returns the `Authorization` with a token that has these claims beside those that it needs.
    fn sign(&self, claims: Value) -> String {
        self.sign_with(&self.key, claims)
    }

    fn sign_with(&self, key: &KeyPair, claims: Value) -> String {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let mut all = json!({ "iss": ISSUER, "aud": "gateway", "iat": now, "exp": now + 60, "sub": "alice" });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        let header = Header { kid: Some("k".to_owned()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_der(&key.serialize_der());
        format!("Bearer {}", encode(&header, &all, &key).unwrap())
    }
}

#[tokio::test]
async fn i35_a_jwt_with_the_claim_is_let_in_and_one_without_is_not() {
    let provider = Provider::new(true).await;
    let world =
        provider.port(&[("operators", json!("ops"), &[Right::Revoke]), ("bots", json!(7), &ALL_RIGHTS)]);
    for (roles, by) in [
        (json!("ops"), Some("operators/alice")),
        (json!(["users", "ops"]), Some("operators/alice")),
        (json!([7]), Some("bots/alice")),
        (json!("7"), None),
        (json!("OPS"), None),
        (json!("ops "), None),
        (json!([]), None),
        (json!([["ops"]]), None),
        (json!({ "ops": "ops" }), None),
        (json!(null), None),
        (json!(true), None),
    ] {
        let answer = world.revoke(&provider.sign(json!({ "realm": { "roles": roles } }))).await;
        let expected = if by.is_some() { 201 } else { 401 };
        assert_eq!(answer.status, expected, "{roles}: {answer:?}");
        if expected == 201 {
            assert_eq!(answer.by().as_deref(), by, "{roles}");
        } else {
            assert_eq!(answer.json()["detail"], "the token has none of the claims that API_ACCESS names");
        }
    }
    assert_eq!(world.revoke(&provider.sign(json!({ "roles": ["ops"] }))).await.status, 401, "elsewhere");
    let reader = world
        .ask(&Method::GET, "/v4/sessions", Some(&provider.sign(json!({ "realm": { "roles": "ops" } }))))
        .await;
    assert_eq!((reader.status, &reader.json()["missingRight"]), (403, &json!("read")));
}

#[tokio::test]
async fn i35_of_several_groups_the_first_with_the_right_acts() {
    let provider = Provider::new(true).await;
    let world = provider.port(&[
        ("readers", json!("users"), &[Right::Read]),
        ("first", json!("ops"), &[Right::Revoke]),
        ("second", json!("ops"), &[Right::Revoke, Right::Publish]),
    ]);
    let both = provider.sign(json!({ "realm": { "roles": ["ops", "users"] } }));
    assert_eq!(world.revoke(&both).await.by().as_deref(), Some("first/alice"));
    assert_eq!(status(&world, &both).await, 200);
    assert_eq!(world.ask(&Method::POST, "/v3/messages", Some(&both)).await.status, 400, "no event");
    assert_eq!(world.ask(&Method::PUT, "/v4/apis", Some(&both)).await.json()["missingRight"], "admin");
}

#[tokio::test]
async fn i35_a_jwt_counts_only_if_it_is_valid_and_its_bearer_can_be_named() {
    let provider = Provider::new(true).await;
    let world = provider.port(&[("operators", json!("ops"), &[Right::Revoke])]);
    let roles = json!({ "roles": "ops" });
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    for wrong in [
        json!({ "exp": now - 60 }),
        json!({ "aud": "another" }),
        json!({ "iss": "https://another.example" }),
        json!({ "cnf": { "jkt": "x" } }),
        json!({ "sub": "a\nb" }),
        json!({ "sub": "a".repeat(257) }),
        json!({ "sub": ["alice"] }),
    ] {
        let mut claims = wrong.clone();
        claims["realm"] = roles.clone();
        let answer = world.revoke(&provider.sign(claims)).await;
        assert_eq!(answer.status, 401, "{wrong}: {answer:?}");
        assert!(!answer.body.contains("alice") && !answer.body.contains("another"), "{answer:?}");
    }
    let other = KeyPair::generate().unwrap();
    assert_eq!(world.revoke(&provider.sign_with(&other, json!({ "realm": roles }))).await.status, 401);
    let good = provider.sign(json!({ "realm": roles }));
    assert_eq!(world.revoke(&good[..good.len() - 4]).await.status, 401, "cut off");
    assert_eq!(world.revoke(&format!("Bearer {}", "a.".repeat(20_000))).await.status, 401);
    assert_eq!(
        world.revoke(&provider.sign(json!({ "realm": roles, "sub": null }))).await.by().as_deref(),
        Some("operators")
    );
    let longest = "ä".repeat(128);
    let by = world.revoke(&provider.sign(json!({ "realm": roles, "sub": longest }))).await.by();
    assert_eq!(by, Some(format!("operators/{longest}")));
}

#[tokio::test]
async fn i35_the_claim_of_another_issuer_proves_nothing() {
    let provider = Provider::new(true).await;
    let world = provider.port(&[("operators", json!("ops"), &[Right::Revoke])]);
    let claims = json!({ "realm": { "roles": "ops" }, "iss": OTHER });
    let refused = world.revoke(&provider.sign(claims)).await;
    let detail = json!("the token has none of the claims that API_ACCESS names");
    assert_eq!((refused.status, &refused.json()["detail"]), (401, &detail), "it is valid all the same");
}

#[tokio::test]
async fn i35_a_revoked_token_has_no_rights() {
    let provider = Provider::new(true).await;
    let world = provider.port(&[("operators", json!("ops"), &[Right::Revoke])]);
    let token = |session: &str| provider.sign(json!({ "realm": { "roles": "ops" }, "jti": session }));
    let revocation = Revocation::blacklist(&"gone".parse().unwrap(), Duration::from_secs(60));
    world.sessions.revoke(&revocation, true).unwrap();
    let refused = world.revoke(&token("gone")).await;
    assert_eq!((refused.status, &refused.json()["detail"]), (401, &json!("the token is revoked")));
    assert_eq!(world.revoke(&token("here")).await.status, 201);
    let unusable = world.revoke(&provider.sign(json!({ "realm": { "roles": "ops" }, "jti": [1] }))).await;
    assert_eq!(unusable.status, 401, "no revocation could select it: {unusable:?}");
}

#[tokio::test]
async fn i35_a_jwt_that_cannot_be_checked_now_may_be_sent_again() {
    let provider = Provider::new(false).await;
    let world = provider.port(&[("operators", json!("ops"), &[Right::Revoke])]);
    let answer = world.revoke(&provider.sign(json!({ "realm": { "roles": "ops" } }))).await;
    assert_eq!((answer.status, answer.retry_after.as_deref()), (503, Some("5")), "{answer:?}");
    assert_eq!(answer.challenge, "");
    let of_rig = world.post("/v3/session-blacklist", "{}", &provider.sign(json!({}))).await;
    assert_eq!((of_rig.status, of_rig.retry_after.as_deref()), (503, Some("5")), "{of_rig:?}");
}
