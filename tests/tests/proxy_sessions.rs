//! Access to secured endpoints, and what the service learns about the token.

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::{Value, json};

fn token(claims: &Value) -> String {
    signed(claims, Algorithm::HS256, &EncodingKey::from_secret(KEY.as_bytes()).expect("a key"))
}

/// Starts a service behind endpoints with these members.
fn behind(endpoints: &Value) -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let mut api = upstream.api("svc", endpoints);
    api["auth"] = json!({
        "use_header": true, "header_name": "Authorization",
        "use_query": true, "query_name": "token",
        "use_cookie": true, "cookie_name": "session",
    });
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &json!([api]).to_string())]);
    (upstream, gateway)
}

fn secured(more: Value) -> Value {
    let mut endpoint = json!({"id": "s", "path_regex": "/secure(/.*)?", "method": "GET", "secured": true});
    let (Value::Object(members), Value::Object(more)) = (&mut endpoint, more) else { panic!("no objects") };
    members.extend(more);
    json!([endpoint, {"id": "o", "path_regex": "/open", "method": "GET"}])
}

fn get(token: &str) -> Request {
    Request::get("/secure").bearer(token)
}

#[test]
fn d17_header_query_and_cookie_carry_tokens() {
    let (upstream, gateway) = behind(&secured(json!({})));
    let good = token_of("a");
    for request in [
        Request::get("/secure").header("Authorization", format!("Bearer {good}")),
        Request::get("/secure").header("Authorization", format!("bearer {good}")),
        Request::get("/secure").header("Authorization", &*good),
        Request::get("/secure").header("Authorization", format!("Basic x, Bearer {good}")),
        Request::get(format!("/secure?token={good}")),
        Request::get(format!("/secure?token=&token={good}")),
        Request::get(format!("/secure?token={good}")).header("Authorization", "Bearer"),
        Request::get("/secure").header("Cookie", format!("a=b; session={good}")),
    ] {
        let response = gateway.ask(&request);
        assert_eq!(response.status, 200, "{}", response.shown());
        upstream.next();
    }
}

#[test]
fn without_a_good_token_the_service_is_not_asked() {
    let (upstream, gateway) = behind(&secured(json!({})));
    let expired = token(&json!({"jti": "a", "exp": in_seconds(-1)}));
    let endless = token(&json!({"jti": "a"}));
    let foreign = signed(
        &claims("a", "bob"),
        Algorithm::HS256,
        &EncodingKey::from_secret(b"the-key-of-somebody-else-32-byte").expect("a key"),
    );
    let invalid = |reason| format!(r#"Bearer error="invalid_token", error_description="{reason}""#);
    let none = || "Bearer".to_owned();
    for (request, challenge) in [
        (Request::get("/secure"), none()),
        (get("x"), invalid("Invalid signature")),
        (get(&expired), invalid("token expired")),
        (get(&endless), invalid("token expired")),
        (get(&foreign), invalid("Invalid signature")),
        (Request::get(format!("/secure?jwt={}", token_of("a"))), none()),
        (Request::get("/secure?token="), none()),
        (Request::get("/secure").header("Authorization", "Basic Zm9vOmJhcg=="), none()),
    ] {
        let response = gateway.ask(&request);
        assert_eq!((response.status, &*response.text()), (401, "Authentication failed."));
        for (name, value) in [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", "*"),
            ("access-control-allow-headers", "content-type"),
            ("www-authenticate", &*challenge),
        ] {
            assert_eq!(response.header(name), Some(value), "{name}");
        }
    }
    assert_eq!(
        gateway.ask(&Request::get("/open").bearer("x")).status,
        200,
        "an open endpoint ignores the token"
    );
    assert_eq!(upstream.next().target, "/open");
    assert!(upstream.waiting().is_empty());
}

/// RFC 6750, section 3; the gateway's own endpoints say the same in their body.
#[test]
fn f41_f54_the_challenge_names_the_claim() {
    let upstream = Upstream::start();
    let api = upstream.api("svc", &secured(json!({})));
    let settings = [("PROXY_CONFIG_FILE", &*json!([api]).to_string()), ("REVOCATION_CLAIMS", r#"/sub,/a"é"#)];
    let gateway = Gateway::start(&settings);
    let end = in_seconds(3600);
    gateway.blacklist("gone");
    for (claims, reason) in [
        (json!({"jti": "a", "exp": "soon"}), "the claim /exp is not a number of seconds since 1970"),
        (
            json!({"jti": "a", "exp": end, "nbf": true}),
            "the claim /nbf is not a number of seconds since 1970",
        ),
        (json!({"jti": "a", "exp": end, "nbf": end}), "token not yet valid"),
        (
            json!({"jti": [], "exp": end}),
            "the claim /jti cannot name a session: it is neither a text nor a whole number",
        ),
        (
            json!({"jti": "a", "exp": end, "sub": 1.5}),
            "the claim /sub cannot be revoked by: it is not a whole number",
        ),
        (
            json!({"jti": "a", "exp": end, "a\"é": {}}),
            "the claim /a?? cannot be revoked by: it is neither a text nor a whole number",
        ),
        (json!({"jti": "gone", "exp": end}), "the session is blacklisted"),
    ] {
        let refused = gateway.ask(&get(&token(&claims)));
        assert_eq!((refused.status, &*refused.text()), (401, "Authentication failed."), "{claims}");
        let challenge = format!(r#"Bearer error="invalid_token", error_description="{reason}""#);
        assert_eq!(refused.header("www-authenticate"), Some(&*challenge), "{claims}");
        assert_eq!(refused.header("access-control-expose-headers"), Some("www-authenticate"), "{claims}");
    }
    // A token that was valid, from the cache.
    let token = token_of("later");
    assert_eq!(gateway.ask(&get(&token)).status, 200);
    gateway.blacklist("later");
    let refused = gateway.ask(&get(&token));
    assert!(refused.header("www-authenticate").is_some_and(|challenge| challenge.contains("blacklisted")));
    assert_eq!(gateway.ask(&Request::get("/secure")).header("access-control-expose-headers"), None);
}

#[test]
fn a_revocation_beats_the_cache_on_the_very_next_request() {
    let (_upstream, gateway) = behind(&secured(json!({})));
    for round in 0..20 {
        let session = format!("s{round}");
        let (token, other) = (token_of(&session), token_of("bystander"));
        for _ in 0..10 {
            assert_eq!(gateway.ask(&get(&token)).status, 200);
        }
        gateway.blacklist(&session);
        assert_eq!(gateway.ask(&get(&token)).status, 401, "round {round}");
        assert_eq!(gateway.ask(&get(&other)).status, 200, "round {round}");
    }
}

#[test]
fn a_cached_token_is_not_good_past_its_end() {
    let (_upstream, gateway) = behind(&secured(json!({})));
    let end = in_seconds(2);
    let token = token(&json!({"jti": "a", "exp": end}));
    assert_eq!(gateway.ask(&get(&token)).status, 200);
    eventually("the token ends", || (in_seconds(0) >= end).then_some(()));
    for _ in 0..50 {
        assert_eq!(gateway.ask(&get(&token)).status, 401);
    }
}

#[test]
fn claims_are_required() {
    let (upstream, gateway) = behind(&secured(json!({"claims": {"/roles": "admin", "/org/id": 7}})));
    let of = |more: Value| {
        let mut claims = claims("a", "bob");
        claims.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        gateway.ask(&get(&token(&claims))).status
    };
    assert_eq!(of(json!({"roles": ["user", "admin"], "org": {"id": 7}})), 200);
    assert_eq!(of(json!({"roles": "admin", "org": {"id": 7}})), 200);
    upstream.next();
    upstream.next();
    assert_eq!(of(json!({"roles": ["user"], "org": {"id": 7}})), 403);
    assert_eq!(of(json!({"roles": "administrator", "org": {"id": 7}})), 403);
    assert_eq!(of(json!({"roles": "admin", "org": {"id": "7"}})), 403);
    assert_eq!(of(json!({"org": {"id": 7}})), 403);
    assert!(upstream.waiting().is_empty());
}

#[test]
fn claims_are_forwarded_and_a_clients_own_headers_are_not() {
    let forward = json!({"forward_claims": {"x-user": "/username", "x-roles": "/roles", "x-odd": "/odd"}});
    let (upstream, gateway) = behind(&secured(forward));
    let mut claims = claims("a", "bob");
    claims["roles"] = json!(["a", 1]);
    claims["odd"] = json!("x\r\nx-user: admin");
    let request =
        get(&token(&claims)).header("X-User", "admin").header("X-Odd", "1").header("X-Other", "stays");
    assert_eq!(gateway.ask(&request).status, 200);
    let received = upstream.next();
    let values = |name: &str| {
        let named = received.headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    assert_eq!(values("x-user"), ["bob"]);
    assert_eq!(values("x-roles"), [r#"["a",1]"#]);
    assert!(
        values("x-odd").is_empty(),
        "the claim cannot be a header value, and the client's own header is dropped"
    );
    assert_eq!(values("x-other"), ["stays"]);
}

#[test]
fn each_session_has_its_own_rate() {
    let limit = json!({"rate_limit": {"requests": 2, "within_ms": 3_600_000, "by": "session"}});
    let (_upstream, gateway) = behind(&secured(limit));
    let ask = |session: &str| gateway.ask(&get(&token_of(session)));
    assert_eq!([ask("a").status, ask("a").status, ask("b").status], [200; 3]);
    let refused = ask("a");
    assert_eq!(refused.status, 429);
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1700..=1800).contains(&seconds), "{seconds}");
    assert_eq!(ask("b").status, 200);
}

#[test]
fn d10_a_request_that_waits_is_answered_when_its_session_is_killed() {
    let (upstream, gateway) = behind(&secured(json!({})));
    let mut waiting = Request::get("/secure/slow").bearer(&token_of("a")).start(gateway.inbound());
    let mut bystander = Request::get("/secure/slow").bearer(&token_of("b")).start(gateway.inbound());
    upstream.next();
    upstream.next();
    let revoked = Request::post_json("/v4/revocations", r#"{"session":"a","validityInSeconds":7200}"#);
    let receipt = gateway.ask_internal(&revoked);
    assert!((200..300).contains(&receipt.status), "{}", receipt.shown());
    assert_eq!(receipt.json()["requestsCut"], 1, "{}", receipt.text());
    let response = Response::read(&mut waiting, false);
    assert_eq!((response.status, &*response.text()), (401, "Authentication failed."));
    gateway.blacklist("b");
    assert_eq!(Response::read(&mut bystander, false).status, 401, "it was waiting until now");
}

#[test]
fn a_request_ends_with_its_token() {
    let (upstream, gateway) = behind(&secured(json!({})));
    let ends = token(&json!({"jti": "a", "exp": in_seconds(3)}));
    let mut waiting = Request::get("/secure/slow").bearer(&ends).start(gateway.inbound());
    upstream.next();
    assert_eq!(Response::read(&mut waiting, false).status, 401, "before PROXY_RECV_TIMEOUT, which is 502");
}
