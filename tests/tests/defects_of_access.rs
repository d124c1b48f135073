//! The defects of RIG 3.0.0 in access control: tokens, keys, checks, the internal port.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::{Value, json};

const GREETINGS: &str = r#"[{"eventType":"greeting"}]"#;
const API_TOKEN: &str = "an-api-token-for-tests";

fn refusal(gateway: &Gateway, token: &str) -> Option<String> {
    let request = Request::get(format!("/_rig/v1/connection/sse?jwt={token}"));
    Sse::open(gateway.inbound(), &request).err().map(|refusal| refusal.text())
}

fn invalid() -> Option<String> {
    Some("could not parse subscriptions: could not decode JWT: Invalid signature".into())
}

fn secret(algorithm: Algorithm, key: &str, claims: &Value) -> String {
    signed(claims, algorithm, &EncodingKey::from_secret(key.as_bytes()).expect("a key"))
}

#[test]
fn d12_without_a_key_no_token_is_valid() {
    for settings in [&[][..], &[("JWT_SECRET_KEY", "")]] {
        let gateway = Gateway::start_bare(settings);
        // An HMAC pads its key with zeros (RFC 2104, section 2): one zero is the empty key.
        for key in ["\0", KEY] {
            let refusal = refusal(&gateway, &secret(Algorithm::HS256, key, &claims("s", "bob")));
            assert!(refusal.is_some(), "a token signed with {key:?} is accepted");
        }
    }
}

#[test]
fn d13_without_a_node_cookie_the_token_key_is_random() {
    let one = Gateway::start(&[]);
    let two = Gateway::start(&[]);
    let mut sse = Sse::connect(one.inbound(), "");
    let path = format!("/_rig/v1/connection/sse/{}/subscriptions", sse.welcome());
    let mut other = Sse::connect(two.inbound(), "");
    other.welcome();
    let request = Request::put_json(path, format!(r#"{{"subscriptions":{GREETINGS}}}"#));
    assert_eq!(one.ask(&request).status, 204);
    let response = two.ask(&request);
    assert_eq!((response.status, response.text().as_str()), (400, "Invalid connection token."));
}

#[test]
fn d13_a_token_of_another_life_of_the_node_hits_no_connection() {
    let cookie = [("NODE_COOKIE", "a-node-cookie-for-tests")];
    let before = Gateway::start(&cookie);
    let mut sse = Sse::connect(before.inbound(), "");
    let path = format!("/_rig/v1/connection/sse/{}/subscriptions", sse.welcome());
    let after = Gateway::start(&cookie);
    let mut other = Sse::connect(after.inbound(), "");
    other.welcome();
    let response = after.ask(&Request::put_json(path, r#"{"subscriptions":[]}"#));
    assert!(matches!(response.status, 400 | 410), "{}", response.shown());
}

#[test]
fn d14_tokens_come_in_headers_queries_and_cookies() {
    let gateway = Gateway::start(&[("JWT_COOKIE", "jwt"), ("CORS", "http://my.origin")]);
    let token = token_of("s1");
    let path = "/_rig/v1/connection/sse";
    for request in [
        Request::get(format!("{path}?jwt={token}")),
        Request::get(path).bearer(&token),
        Request::get(path).header("Cookie", format!("jwt={token}")),
    ] {
        let gateway = &gateway;
        drop(
            Sse::open(gateway.inbound(), &request)
                .map_err(|refusal| refusal.text())
                .expect("the token is taken"),
        );
    }
    let websocket = WebSocket::handshake("/_rig/v1/connection/ws").bearer(&token);
    let mut websocket = WebSocket::open(gateway.inbound(), &websocket);
    websocket.welcome();
    let mut by_header = Sse::open(gateway.inbound(), &Request::get(path).bearer(&token)).unwrap();
    by_header.welcome();
    gateway.blacklist("s1");
    by_header.expect_kill();
    websocket.expect_close(1000, "Session killed.");
    let refused = Sse::open(gateway.inbound(), &Request::get(path).header("Cookie", format!("jwt={token}")));
    assert!(refused.is_err());
    let two =
        Request::get(path).header("Authorization", format!("Bearer {}, Bearer {token}", token_of("s2")));
    assert!(Sse::open(gateway.inbound(), &two).is_err(), "one revoked token refuses the request");
}

#[test]
fn d15_the_algorithm_is_pinned() {
    let gateway = Gateway::start(&[]);
    assert_eq!(refusal(&gateway, &secret(Algorithm::HS256, KEY, &claims("s", "bob"))), None);
    assert_eq!(refusal(&gateway, &secret(Algorithm::HS512, KEY, &claims("s", "bob"))), invalid());
    let several = Gateway::start(&[("JWT_ALG", "HS256,HS512")]);
    assert_eq!(refusal(&several, &secret(Algorithm::HS512, KEY, &claims("s", "bob"))), None);
    assert_eq!(refusal(&several, &secret(Algorithm::HS384, KEY, &claims("s", "bob"))), invalid());

    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let public = pair.public_key_pem();
    let elliptic = Gateway::start(&[("JWT_ALG", "ES256"), ("JWT_SECRET_KEY", &public)]);
    let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    assert_eq!(refusal(&elliptic, &signed(&claims("s", "bob"), Algorithm::ES256, &key)), None);
    // The known confusion of algorithms: the public key used as the secret of an HMAC.
    assert_eq!(refusal(&elliptic, &secret(Algorithm::HS256, &public, &claims("s", "bob"))), invalid());
    assert_eq!(refusal(&elliptic, &secret(Algorithm::HS256, public.trim(), &claims("s", "bob"))), invalid());
}

#[test]
fn d15_claims_of_validity_count() {
    let gateway = Gateway::start(&[("JWT_ISSUER", "issuer"), ("JWT_AUDIENCE", "rig")]);
    let valid =
        json!({ "exp": in_seconds(60), "iss": "issuer", "aud": ["other", "rig"], "nbf": in_seconds(-60) });
    let with = |changes: Value| {
        let mut claims = valid.clone();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        secret(Algorithm::HS256, KEY, &claims)
    };
    assert_eq!(refusal(&gateway, &with(json!({}))), None);
    for (what, changes) in [
        ("not yet valid", json!({ "nbf": in_seconds(60) })),
        ("expired", json!({ "exp": in_seconds(-1) })),
        ("without exp", json!({ "exp": null })),
        ("exp a string", json!({ "exp": "9999999999" })),
        ("another issuer", json!({ "iss": "evil" })),
        ("no issuer", json!({ "iss": null })),
        ("another audience", json!({ "aud": "other" })),
        ("no audience", json!({ "aud": null })),
    ] {
        assert!(refusal(&gateway, &with(changes)).is_some(), "{what}: taken");
    }
    let lenient = Gateway::start(&[("JWT_LEEWAY", "60s")]);
    let late = secret(Algorithm::HS256, KEY, &json!({ "exp": in_seconds(-30) }));
    assert_eq!(refusal(&lenient, &late), None);
}

#[test]
fn d16_the_submission_check_takes_valid_tokens_and_asks_services() {
    let gateway = Gateway::start(&[("SUBMISSION_CHECK", "jwt_validation")]);
    let post = || Request::post_json("/_rig/v1/events", greeting("1", "bob"));
    assert_eq!(gateway.ask(&post().bearer(&token_of("s"))).status, 202);
    let denied = gateway.ask(&post());
    assert_eq!(denied.shown(), format!("403 | {CORS_TEXT} | Submission denied."));

    let stub = Stub::start();
    let gateway = Gateway::start(&[("SUBMISSION_CHECK", &stub.url())]);
    for (status, expected) in [(200, 202), (403, 403)] {
        let mut wire = post().bearer(&token_of("s")).start(gateway.inbound());
        let asked = stub.next();
        assert_eq!(asked.body, greeting("1", "bob"));
        asked.answer(status);
        assert_eq!(Response::read(&mut wire, false).status, expected);
    }
}

#[test]
fn d18_without_a_token_the_internal_port_is_on_loopback_only() {
    let gateway = Gateway::start(&[]);
    assert_eq!(gateway.ask_internal(&Request::get("/metrics")).status, 200);
    assert!(gateway.log().contains(&format!("127.0.0.1:{}", gateway.internal().port())), "{}", gateway.log());
    let elsewhere = SocketAddr::from(([127, 0, 1, 1], gateway.internal().port()));
    let refused = TcpStream::connect_timeout(&elsewhere, Duration::from_secs(5));
    assert!(refused.is_err(), "an address beside 127.0.0.1 answers");
}

#[test]
fn d18_with_a_token_every_caller_needs_it() {
    let gateway = Gateway::start(&[("API_TOKEN", API_TOKEN)]);
    let blacklist =
        || Request::post_json("/v3/session-blacklist", r#"{"sessionId":"s","validityInSeconds":60}"#);
    let requests = [
        Request::get("/metrics"),
        Request::get("/openapi.json"),
        Request::get("/swagger-ui/"),
        Request::get("/v3/session-blacklist/s"),
        Request::get("/nope"),
        Request::post_json("/v2/messages", greeting("1", "bob")),
        blacklist(),
    ];
    let mut all = Scenarios::default();
    let unauthorized = "401 | …www-authenticate: Bearer…";
    for request in &requests {
        all.check("no token", &gateway.ask_internal(request), unauthorized);
        let wrong = request.clone().bearer("an-api-token-for-testz");
        all.check("a wrong token", &gateway.ask_internal(&wrong), unauthorized);
        let basic = request.clone().header("Authorization", format!("Basic {API_TOKEN}"));
        all.check("another scheme", &gateway.ask_internal(&basic), unauthorized);
    }
    all.check("health", &gateway.ask_internal(&Request::get("/health")), "200 | …OK");
    let page = gateway.ask_internal(&blacklist().bearer(API_TOKEN).header("Origin", "http://evil"));
    all.check("the token, by a page", &page, "403 | …");
    assert_eq!(page.header("access-control-allow-origin"), None, "pages get no access");
    all.check("the token", &gateway.ask_internal(&blacklist().bearer(API_TOKEN)), "201 | …");
    let metrics = gateway.ask_internal(&Request::get("/metrics").bearer(API_TOKEN));
    assert_eq!(metrics.status, 200);
    // With a token it listens everywhere.
    let elsewhere = SocketAddr::from(([127, 0, 1, 1], gateway.internal().port()));
    assert!(TcpStream::connect_timeout(&elsewhere, Duration::from_secs(5)).is_ok());
}

#[test]
fn no_token_and_no_claim_is_logged() {
    let gateway = Gateway::start(&[
        ("LOG_LEVEL", "trace"),
        ("API_TOKEN", API_TOKEN),
        ("NODE_COOKIE", "a-cookie-of-the-node"),
    ]);
    let token = signed(
        &json!({ "jti": "claim-value-jti", "username": "claim-value-user", "exp": in_seconds(60) }),
        Algorithm::HS256,
        &EncodingKey::from_secret(KEY.as_bytes()).expect("a key"),
    );
    let mut sse = Sse::connect(gateway.inbound(), &format!("jwt={token}"));
    let connection_token = sse.welcome();
    let path = format!("/_rig/v1/connection/sse/{connection_token}/subscriptions");
    gateway.ask(&Request::put_json(path, r#"{"subscriptions":[]}"#).bearer(&token));
    gateway.ask(&Request::get(format!("/_rig/v1/connection/sse?jwt={token}x")));
    let body = r#"{"sessionId":"claim-value-jti","validityInSeconds":60}"#;
    gateway.ask_internal(&Request::post_json("/v3/session-blacklist", body).bearer(API_TOKEN));
    gateway.ask(&Request::get(format!("/_rig/v1/connection/sse?jwt={token}")));
    let signature = token.rsplit('.').next().unwrap();
    drop(sse);
    let log = gateway.end();
    assert!(log.contains("listening") && log.contains("answered"), "{log}");
    for secret in
        [&token, signature, &connection_token, "claim-value", KEY, API_TOKEN, "a-cookie-of-the-node"]
    {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a secret is logged");
    }
}
