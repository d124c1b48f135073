//! Tokens of issuers at each place of the gateway that takes them: what is answered while an
//! issuer's keys cannot be had, and that a token with a new key waits for it.

use rig_tests::*;
use serde_json::{Value, json};

/// Starts a gateway with this issuer beside the static key, and a secured service.
fn start(stub: &StubIssuer, issuer: &Value) -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let endpoint = json!([{"id": "s", "path_regex": "/secure", "method": "GET", "secured": true}]);
    let mut api = upstream.api("svc", &endpoint);
    api["auth"] = json!({"use_header": true, "header_name": "Authorization"});
    let gateway = Gateway::start(&[
        ("ISSUERS", &json!([stub.settings("stub", issuer)]).to_string()),
        ("PROXY_CONFIG_FILE", &json!([api]).to_string()),
        ("SUBMISSION_CHECK", "jwt_validation"),
    ]);
    (upstream, gateway)
}

fn await_keys(gateway: &Gateway, count: f64) {
    gateway.await_metric(r#"rig_issuer_keys{issuer="stub"}"#, count);
}

/// Requests that are answered by each place that takes tokens. `connection` is an open one.
fn requests(token: &str, connection: &str) -> Vec<(&'static str, Request)> {
    let event = greeting("1", "everyone");
    let handshake = WebSocket::handshake("/_rig/v1/connection/ws").bearer(token);
    let subscriptions = format!("/_rig/v1/connection/sse/{connection}/subscriptions");
    vec![
        ("sse", Request::get("/_rig/v1/connection/sse").bearer(token)),
        ("websocket", handshake),
        ("long polling", Request::get("/_rig/v1/connection/longpolling").bearer(token)),
        ("subscriptions", Request::put_json(subscriptions, r#"{"subscriptions":[]}"#).bearer(token)),
        ("events", Request::post_json("/_rig/v1/events", event).bearer(token)),
        ("proxy", Request::get("/secure").bearer(token)),
    ]
}

fn revoke(gateway: &Gateway, token: &str) -> Response {
    gateway.ask_internal(&Request::post_json("/v4/revocations", json!({"jwt": token}).to_string()))
}

#[test]
fn i08_each_place_says_when_to_come_back() {
    let stub = StubIssuer::start();
    stub.set(KeySetState::Fails(503));
    let (upstream, gateway) = start(&stub, &json!({}));
    let mut sse = Sse::connect(gateway.inbound(), "");
    let connection = sse.welcome();
    let token = stub.token("a", "alice", "1", &json!({}));
    for (place, request) in requests(&token, &connection) {
        let mut wire = request.start(gateway.inbound());
        let answer = Response::read(&mut wire, true);
        let told = (answer.status, answer.header("retry-after"));
        assert_eq!(told, (503, Some("5")), "{place}: {}", answer.shown());
    }
    let refused = revoke(&gateway, &token);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{}", refused.text());
    assert_eq!(refused.json()["type"], "urn:rig:problem:keys-unavailable");
    // The static key goes on.
    assert_eq!(gateway.ask(&Request::get("/secure").bearer(&token_of("s"))).status, 200);
    upstream.next();
    assert!(upstream.waiting().is_empty());
    assert!(!gateway.log().contains(&token), "no token in the log");
}

#[test]
fn i05_a_token_with_a_new_key_passes_at_once_wherever_it_comes() {
    for place in ["sse", "websocket", "long polling", "subscriptions", "events", "proxy", "revocations"] {
        let stub = StubIssuer::start();
        let (_upstream, gateway) = start(&stub, &json!({}));
        await_keys(&gateway, 1.0);
        let mut sse = Sse::connect(gateway.inbound(), "");
        let connection = sse.welcome();
        let before = stub.fetches();
        stub.publish("b");
        let token = stub.token("b", "alice", "1", &json!({}));
        let (status, expected) = match place {
            "revocations" => (revoke(&gateway, &token).status, 201),
            _ => {
                let requests = requests(&token, &connection);
                let request = requests.iter().find(|(name, _)| *name == place).expect("a place");
                let mut wire = request.1.start(gateway.inbound());
                let expected = match place {
                    "websocket" => 101,
                    "subscriptions" => 204,
                    "events" => 202,
                    _ => 200,
                };
                (Response::read(&mut wire, true).status, expected)
            }
        };
        assert_eq!(status, expected, "{place}");
        assert_eq!(stub.fetches(), before + 1, "{place}");
    }
}

#[test]
fn i10_a_proxied_token_is_remembered_only_while_its_key_is_there() {
    let stub = StubIssuer::start();
    stub.publish("b");
    let (upstream, gateway) = start(&stub, &json!({}));
    await_keys(&gateway, 2.0);
    let get = |token: &str| {
        let answer = gateway.ask(&Request::get("/secure").bearer(token));
        (answer.status, answer.header("www-authenticate").map(str::to_owned))
    };
    let [a, b] = ["a", "b"].map(|kid| stub.token(kid, "alice", "1", &json!({})));
    for _ in 0..2 {
        assert_eq!(get(&a), (200, None));
        assert_eq!(get(&b), (200, None));
    }
    let hits = r#"rig_proxy_token_cache_total{result="hit"}"#;
    assert_eq!(gateway.metric(hits), 2.0);
    stub.withdraw("a");
    stub.publish("c");
    // The new key makes the gateway fetch the keys, among which `a` is missing.
    assert_eq!(get(&stub.token("c", "alice", "1", &json!({}))).0, 200);
    let (status, challenge) = get(&a);
    assert_eq!(status, 401);
    assert!(challenge.is_some_and(|challenge| challenge.contains("Invalid signature")));
    assert_eq!(get(&b), (200, None));
    upstream.waiting();
}

#[test]
fn i12_a_token_with_a_key_that_does_not_exist_is_refused() {
    let stub = StubIssuer::start();
    let (upstream, gateway) = start(&stub, &json!({}));
    await_keys(&gateway, 1.0);
    let token = stub.token("unpublished", "alice", "1", &json!({}));
    for _ in 0..2 {
        let answer = gateway.ask(&Request::get("/secure").bearer(&token));
        let challenge = r#"Bearer error="invalid_token", error_description="Invalid signature""#;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some(challenge)));
    }
    let refused = revoke(&gateway, &token);
    assert_eq!((refused.status, refused.json()["detail"].clone()), (422, json!("jwt: Invalid signature")));
    assert!(upstream.waiting().is_empty());
    let counted = r#"rig_tokens_refused_total{issuer="stub",reason="unknown_key"}"#;
    assert_eq!(gateway.metric(counted), 3.0, "each once");
}

#[test]
fn an_encrypted_token_is_named_as_the_reason_once() {
    let stub = StubIssuer::start();
    let (_upstream, gateway) = start(&stub, &json!({}));
    await_keys(&gateway, 1.0);
    for _ in 0..2 {
        let refusal =
            Sse::open(gateway.inbound(), &Request::get("/_rig/v1/connection/sse").bearer("a.b.c.d.e"));
        let text = refusal.err().expect("a refusal").text();
        assert!(text.ends_with("encrypted tokens are not supported"), "{text}");
    }
    let log = gateway.end();
    assert_eq!(log.matches("refused an encrypted token").count(), 1, "{log}");
}
