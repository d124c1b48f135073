//! Opaque tokens of a real provider, which the gateway asks about (RFC 7662).

use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::{Value, json};

const SECURED: &str = "/secured";

/// How long after a token was revoked its connections may stay open.
const BOUND: Duration = Duration::from_secs(61);

/// Returns the member of `ISSUERS` of a provider, whose secret is in a file of the folder.
fn settings(provider: &Provider, folder: &Folder, id: &str, prefix: &str) -> Value {
    let secret = folder.join(&format!("{id}.secret"));
    std::fs::write(&secret, "secret\n").expect("a temporary file");
    json!({
        "id": id, "issuer": provider.issuer(), "audience": ["events"], "session_field": "/sid",
        "introspection": {
            "prefix": prefix, "url": format!("{}/token/introspection", provider.issuer()), "client_id": "asker",
            "client_secret_file": secret,
        },
    })
}

fn request(token: &str) -> Request {
    let subscriptions = encoded(r#"[{"eventType":"greeting"}]"#);
    Request::get(format!("/_rig/v1/connection/sse?subscriptions={subscriptions}")).bearer(token)
}

/// Connects with this token, or returns the refusal.
fn open(gateway: &Gateway, token: &str) -> Result<Sse, Response> {
    let mut sse = Sse::open(gateway.inbound(), &request(token))?;
    sse.welcome();
    Ok(sse)
}

fn connect(gateway: &Gateway, token: &str) -> Sse {
    open(gateway, token).unwrap_or_else(|refusal| panic!("refused: {} {}", refusal.shown(), gateway.log()))
}

fn refusal(gateway: &Gateway, token: &str) -> Response {
    open(gateway, token).err().expect("a refusal")
}

fn proxied(gateway: &Gateway, token: &str) -> u16 {
    gateway.ask(&Request::get(SECURED).bearer(token)).status
}

/// Waits until the gateway terminates a connection. Heartbeats keep the wait from its deadline.
fn await_kill(connection: &mut Sse) {
    loop {
        let event = connection.raw().expect("an event, not the end of the stream");
        if event.contains("rig.session_killed") {
            return assert_eq!(connection.raw(), None, "nothing comes after the kill");
        }
        assert!(event.starts_with(':'), "{event}");
    }
}

/// Publishes a greeting, which has to reach these connections.
fn expect_greeting(gateway: &Gateway, id: &str, connections: &mut [&mut Sse]) {
    gateway.publish(&greeting(id, "everyone"));
    for connection in connections {
        let data: Value = serde_json::from_str(&connection.next_data()).expect("JSON");
        assert_eq!((data["type"].as_str(), data["id"].as_str()), (Some("greeting"), Some(id)), "{data}");
    }
}

/// Returns what the gateway knows of the opaque tokens of its only issuer.
fn opaque(gateway: &Gateway) -> Value {
    gateway.ask_internal(&Request::get("/v4/issuers")).json()["issuers"][0]["opaqueTokens"].clone()
}

fn questions(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric_sum("rig_issuer_fetches_total", &[("what", "introspection"), ("result", result)])
}

#[test]
fn i37_a_revoked_opaque_token_ends_its_connections_and_no_others() {
    let (mut provider, folder) = (Provider::start_opaque(), Folder::new());
    let upstream = Upstream::start();
    let endpoints = json!([{ "id": "s", "path_regex": SECURED, "method": "GET", "secured": true }]);
    let api = json!([upstream.api("service", &endpoints)]).to_string();
    let issuers = json!([settings(&provider, &folder, "op", "")]).to_string();
    let gateway = provider.gateway(&[("ISSUERS", &issuers), ("PROXY_CONFIG_FILE", &api)]);

    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|user| {
        let tokens = provider.browser_of(user).tokens("gateway");
        assert!(!tokens.access.contains('.'), "an opaque token");
        tokens.access
    });

    // Active: it connects, and a request passes. One question serves both.
    let mut of_alice = connect(&gateway, &alice);
    let mut of_bob = connect(&gateway, &bob);
    assert_eq!(proxied(&gateway, &alice), 200);
    upstream.next();
    expect_greeting(&gateway, "1", &mut [&mut of_alice, &mut of_bob]);
    assert_eq!(questions(&gateway, "ok"), 2.0);
    assert_eq!(opaque(&gateway), json!({"active": 2, "lastError": null}));
    assert_eq!(gateway.metric(r#"rig_issuer_opaque_tokens{issuer="op"}"#), 2.0);

    // Not active: refused, as tokens that are not valid are.
    let unknown = "2YotnFZFEjr1zCsicMWpAA";
    assert_eq!((refusal(&gateway, unknown).status, proxied(&gateway, unknown)), (400, 401));

    let revoked_at = Instant::now();
    provider.revoke(&alice);
    await_kill(&mut of_alice);
    let took = revoked_at.elapsed();
    assert!(took <= BOUND, "{took:?}");
    assert_eq!((refusal(&gateway, &alice).status, proxied(&gateway, &alice)), (400, 401));
    assert!(upstream.waiting().is_empty());
    expect_greeting(&gateway, "2", &mut [&mut of_bob]);

    // The provider is away: a new token may be tried again later, open connections stay.
    provider.stop();
    let unavailable = refusal(&gateway, &carol);
    assert_eq!((unavailable.status, unavailable.header("retry-after")), (503, Some("5")));
    assert_eq!(proxied(&gateway, &carol), 503);
    expect_greeting(&gateway, "3", &mut [&mut of_bob]);
    let known = opaque(&gateway);
    assert!(
        known["lastError"].as_str().is_some_and(|error| error.contains("/token/introspection")),
        "{known}"
    );
    assert!(questions(&gateway, "unreachable") >= 2.0);
    let log = gateway.end();
    for secret in [&alice, &bob, &carol, "c2VjcmV0"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn i37_a_token_that_an_issuer_cannot_be_asked_about_reaches_none() {
    let (provider, folder) = (Provider::start_opaque(), Folder::new());
    let issuers = json!([settings(&provider, &folder, "op", "")]).to_string();
    let gateway = provider.gateway(&[("ISSUERS", &issuers)]);
    let good = provider.browser_of("alice").tokens("gateway").access;

    // More than a token may have. One of the greatest length is asked about.
    let long = "a".repeat((16 << 10) + 1);
    for (token, expected) in [(&*long, 0.0), (&long[1..], 1.0)] {
        let status = refusal(&gateway, token).status;
        assert!([400, 431].contains(&status), "{status}");
        assert_eq!(questions(&gateway, "ok"), expected);
    }
    // Line ends and spaces, as a query can have them.
    for odd in ["%0D%0Ax-injected:%201", "%20", "%26token_type_hint=refresh_token", "%00", "%2500"] {
        let target = format!("/_rig/v1/connection/sse?jwt={good}{odd}");
        let refused = gateway.ask(&Request::get(target)).status;
        assert!([400, 401, 403].contains(&refused), "{odd}: {refused}");
    }
    drop(connect(&gateway, &good));
}

#[test]
fn i37_the_longest_prefix_chooses_the_issuer_and_two_cannot_have_the_same() {
    let (one, other, folder) = (Provider::start_opaque(), Provider::start_opaque(), Folder::new());
    let token = one.browser_of("alice").tokens("gateway").access;
    let (prefix, rest) = token.split_at(4);
    assert!(!rest.is_empty());
    let issuers = json!([settings(&one, &folder, "one", prefix), settings(&other, &folder, "other", "")]);
    let gateway = one.gateway(&[("ISSUERS", &issuers.to_string())]);
    drop(connect(&gateway, &token));
    let asked = |id: &str| {
        gateway.metric_sum("rig_issuer_fetches_total", &[("issuer", id), ("what", "introspection")])
    };
    assert_eq!((asked("one"), asked("other")), (1.0, 0.0));
    // A token of the other issuer goes to that one, and to that one only.
    let token = other.browser_of("bob").tokens("gateway").access;
    if !token.starts_with(prefix) {
        drop(connect(&gateway, &token));
        assert_eq!((asked("one"), asked("other")), (1.0, 1.0));
    }
}
