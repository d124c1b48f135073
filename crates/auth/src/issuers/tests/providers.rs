//! The shapes of tokens that real providers issue, each with the settings that accept it.

use serde_json::{Value, json};

use super::super::testing::{TestKey, key_set, seconds, verifier, with};
use crate::{Audience, IssuerConfig, TokenError};

/// A token of a provider, and changes of its claims that make it invalid.
struct Shape {
    config: IssuerConfig,
    header: Value,
    claims: Value,
    wrong: Vec<(Value, TokenError)>,
}

fn one_of(audience: &str) -> Audience {
    Audience::OneOf(vec![audience.to_owned()])
}

fn header(alg: &str, typ: Option<&str>) -> Value {
    let header = json!({"alg": alg, "kid": "k1"});
    with(header, json!({"typ": typ}))
}

fn keycloak() -> Shape {
    let config = IssuerConfig::new("keycloak", "https://id.example/realms/R", one_of("web"));
    Shape {
        config: IssuerConfig { audience_at: "/azp".to_owned(), ..config },
        header: header("RS256", Some("JWT")),
        claims: json!({
            "exp": seconds(300), "iat": seconds(0), "auth_time": seconds(-9), "jti": "onrtac:b7", "typ": "Bearer",
            "iss": "https://id.example/realms/R", "aud": "account", "sub": "f7", "azp": "web", "sid": "s1",
            "acr": "1", "allowed-origins": ["https://web.example"], "scope": "openid email",
            "realm_access": {"roles": ["offline_access"]}, "preferred_username": "alice",
        }),
        wrong: vec![
            (json!({"azp": "other"}), TokenError::Audience),
            (json!({"iss": "https://id.example/realms/R/"}), TokenError::Signature),
        ],
    }
}

/// With an audience mapper.
fn keycloak_with_audience() -> Shape {
    let shape = keycloak();
    Shape {
        config: IssuerConfig { audience: one_of("gateway"), audience_at: "/aud".to_owned(), ..shape.config },
        claims: with(shape.claims, json!({"aud": ["gateway", "account"]})),
        wrong: vec![(json!({"aud": "account"}), TokenError::Audience)],
        ..shape
    }
}

fn auth0() -> Shape {
    let api = "https://gateway.example";
    Shape {
        config: IssuerConfig::new("auth0", "https://tenant.eu.auth0.example/", one_of(api)),
        header: header("RS256", Some("at+jwt")),
        claims: json!({
            "iss": "https://tenant.eu.auth0.example/", "sub": "auth0|5f", "iat": seconds(0), "exp": seconds(86400),
            "aud": [api, "https://tenant.eu.auth0.example/userinfo"], "azp": "my7", "scope": "openid",
            "https://ns.example/sid": "s1",
        }),
        wrong: vec![
            (json!({"iss": "https://tenant.eu.auth0.example"}), TokenError::Signature),
            (json!({"aud": ["https://tenant.eu.auth0.example/userinfo"]}), TokenError::Audience),
        ],
    }
}

fn okta() -> Shape {
    let issuer = "https://dev.okta.example/oauth2/default";
    Shape {
        config: IssuerConfig::new("okta", issuer, one_of("api://default")),
        header: header("RS256", None),
        claims: json!({
            "ver": 1, "jti": "AT.x", "iss": issuer, "aud": "api://default", "iat": seconds(0),
            "exp": seconds(3600), "cid": "0oa", "uid": "00u", "scp": ["openid"], "sub": "alice@example.com",
        }),
        wrong: vec![
            (json!({"aud": "https://dev.okta.example"}), TokenError::Audience),
            (json!({"iss": "https://dev.okta.example"}), TokenError::Signature),
        ],
    }
}

fn entra() -> Shape {
    let (v1, v2) = ("https://sts.windows.example/T/", "https://login.microsoft.example/T/v2.0");
    let config = IssuerConfig::new("entra", v2, one_of("6e74"));
    Shape {
        config: IssuerConfig { aliases: vec![v1.into()], ..config },
        header: header("RS256", Some("JWT")),
        claims: json!({
            "aud": "6e74", "iss": v2, "iat": seconds(-300), "nbf": seconds(-300), "exp": seconds(4500),
            "aio": "x", "azp": "6e74", "azpacr": "0", "oid": "a1", "sid": "s1", "sub": "b2", "tid": "T",
            "uti": "c3", "ver": "2.0", "scp": "access",
        }),
        wrong: vec![
            (json!({"aud": "api://6e74"}), TokenError::Audience),
            (json!({"iss": "https://login.microsoft.example/{tenantid}/v2.0"}), TokenError::Signature),
            (json!({"nbf": seconds(60)}), TokenError::NotYetValid),
        ],
    }
}

/// The first version of its tokens, which the API's manifest decides.
fn entra_v1() -> Shape {
    let shape = entra();
    Shape {
        header: with(shape.header, json!({"x5t": "k1"})),
        claims: with(shape.claims, json!({"iss": "https://sts.windows.example/T/", "ver": "1.0"})),
        wrong: vec![(json!({"iss": "https://sts.windows.example/T"}), TokenError::Signature)],
        ..shape
    }
}

fn cognito() -> Shape {
    let issuer = "https://cognito-idp.eu-west-1.example/eu-west-1_P";
    let config = IssuerConfig::new("cognito", issuer, one_of("4h2"));
    Shape {
        config: IssuerConfig {
            audience_at: "/client_id".to_owned(),
            required: vec![("/token_use".to_owned(), json!("access"))],
            ..config
        },
        header: header("RS256", None),
        claims: json!({
            "sub": "aa", "iss": issuer, "client_id": "4h2", "origin_jti": "o1", "event_id": "e1",
            "token_use": "access", "scope": "openid", "auth_time": seconds(0), "exp": seconds(3600),
            "iat": seconds(0), "jti": "j1", "username": "alice", "version": 2,
        }),
        wrong: vec![
            (json!({"token_use": "id"}), TokenError::Required),
            (json!({"client_id": "other"}), TokenError::Audience),
            // Its ID token.
            (json!({"client_id": null, "aud": "4h2", "token_use": "id"}), TokenError::Audience),
        ],
    }
}

fn firebase() -> Shape {
    let issuer = "https://securetoken.google.example/project";
    Shape {
        config: IssuerConfig::new("firebase", issuer, one_of("project")),
        header: header("RS256", Some("JWT")),
        claims: json!({
            "iss": issuer, "aud": "project", "auth_time": seconds(-60), "user_id": "u1", "sub": "u1",
            "iat": seconds(0), "exp": seconds(3600), "email": "alice@example.com",
            "firebase": {"identities": {"email": ["alice@example.com"]}, "sign_in_provider": "password"},
        }),
        wrong: vec![
            (json!({"aud": "other"}), TokenError::Audience),
            (json!({"iss": "https://securetoken.google.example/other"}), TokenError::Signature),
        ],
    }
}

fn google() -> Shape {
    let config = IssuerConfig::new("google", "https://accounts.google.example", one_of("1.apps.example"));
    Shape {
        config: IssuerConfig { aliases: vec!["accounts.google.example".into()], ..config },
        header: header("RS256", Some("JWT")),
        claims: json!({
            "iss": "accounts.google.example", "azp": "1.apps.example", "aud": "1.apps.example", "sub": "10",
            "at_hash": "x", "nonce": "n", "iat": seconds(0), "exp": seconds(3600),
        }),
        wrong: vec![
            (json!({"aud": "2.apps.example"}), TokenError::Audience),
            (json!({"iss": "accounts.google.example/"}), TokenError::Signature),
        ],
    }
}

fn zitadel() -> Shape {
    let issuer = "https://name.zitadel.example";
    Shape {
        config: IssuerConfig::new("zitadel", issuer, one_of("2681")),
        header: header("RS256", Some("JWT")),
        claims: json!({
            "iss": issuer, "aud": ["2680", "2682", "2681"], "client_id": "2680", "sub": "1630", "jti": "V2_1",
            // A second in the past.
            "iat": seconds(-1), "nbf": seconds(-1), "exp": seconds(43199),
        }),
        wrong: vec![(json!({"aud": ["2680", "2682"]}), TokenError::Audience)],
    }
}

fn hydra() -> Shape {
    let config = IssuerConfig::new("hydra", "https://hydra.example/", one_of("web"));
    Shape {
        config: IssuerConfig { audience_at: "/client_id".to_owned(), ..config },
        header: header("RS256", Some("JWT")),
        claims: json!({
            "aud": [], "client_id": "web", "exp": seconds(3600), "ext": {"sid": "s1"}, "iat": seconds(0),
            "iss": "https://hydra.example/", "jti": "j1", "nbf": seconds(0), "scp": ["openid"], "sub": "alice",
        }),
        wrong: vec![
            (json!({"client_id": "other"}), TokenError::Audience),
            (json!({"iss": "https://hydra.example"}), TokenError::Signature),
        ],
    }
}

fn supabase() -> Shape {
    let issuer = "https://ref.supabase.example/auth/v1";
    Shape {
        config: IssuerConfig::new("supabase", issuer, one_of("authenticated")),
        header: header("ES256", Some("JWT")),
        claims: json!({
            "iss": issuer, "sub": "3c", "aud": "authenticated", "exp": seconds(3600), "iat": seconds(0),
            "email": "alice@example.com", "phone": "", "app_metadata": {"provider": "email"},
            "role": "authenticated", "aal": "aal1", "amr": [{"method": "password", "timestamp": seconds(0)}],
            "session_id": "s1", "is_anonymous": false,
        }),
        wrong: vec![(json!({"aud": "anon"}), TokenError::Audience)],
    }
}

#[test]
fn i14_the_shapes_of_real_providers_are_accepted_and_with_one_thing_wrong_refused() {
    for shape in [
        keycloak(),
        keycloak_with_audience(),
        auth0(),
        okta(),
        entra(),
        entra_v1(),
        cognito(),
        firebase(),
        google(),
        zitadel(),
        hydra(),
        supabase(),
    ] {
        let name = shape.config.id.clone();
        let (key, stranger) = match shape.header["alg"].as_str() {
            Some("ES256") => (TestKey::p256("k1"), TestKey::p256("k1")),
            _ => (TestKey::rsa("k1", 0), TestKey::rsa("k1", 1)),
        };
        let main = shape.config.issuer.clone();
        let verifier = verifier([(shape.config, key_set([&key]))]);
        let result = |key: &TestKey, header: &Value, claims: &Value| {
            verifier.verify(&key.token_with(header, claims)).map(|claims| claims.issuer)
        };
        let with_claims = |change: Value| result(&key, &shape.header, &with(shape.claims.clone(), change));
        assert_eq!(with_claims(json!({})), Ok(Some(main)), "{name}");
        // What is wrong for every provider.
        let others = [
            (json!({"exp": seconds(-10)}), TokenError::Expired),
            (json!({"exp": null}), TokenError::Expired),
            (json!({"iat": null}), TokenError::IssuedAt),
            (json!({"exp": seconds(25 * 3600)}), TokenError::Lifetime),
            (json!({"events": {}}), TokenError::Statement),
            (json!({"cnf": {"jkt": "x"}}), TokenError::Binding),
            (json!({"iss": null}), TokenError::Signature),
        ];
        for (change, error) in shape.wrong.iter().chain(&others) {
            assert_eq!(with_claims(change.clone()), Err(*error), "{name}: {change}");
        }
        assert_eq!(result(&stranger, &shape.header, &shape.claims), Err(TokenError::Signature), "{name}");
        for (change, error) in [
            (json!({"alg": "none"}), TokenError::Signature),
            (json!({"kid": "k2"}), TokenError::Unasked),
            (json!({"typ": "logout+jwt"}), TokenError::Type),
        ] {
            let header = with(shape.header.clone(), change.clone());
            assert_eq!(result(&key, &header, &shape.claims), Err(error), "{name}: {change}");
        }
    }
}

/// The token of an AWS load balancer has `exp` in its header, and padding.
#[test]
fn i14_the_token_of_a_load_balancer_is_not_read() {
    let shape = cognito();
    let key = TestKey::p256("k1");
    let verifier = verifier([(shape.config, key_set([&key]))]);
    let token = key.token_with(&json!({"alg": "ES256", "kid": "k1", "exp": seconds(60)}), &shape.claims);
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    assert!(verifier.verify(&token).is_ok());
    for padded in [format!("{header}=.{payload}.{signature}"), format!("{message}=.{signature}")] {
        assert_eq!(verifier.verify(&padded).err(), Some(TokenError::Signature));
    }
    assert_eq!(verifier.verify(&format!("{token}==")).err(), Some(TokenError::Signature));
}
