//! Real providers: their tokens, the rotation of their keys, and their logouts.

use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::{Value, json};

const SECURED: &str = "/secured";

/// Connects with this token and a subscription to greetings.
fn connect(gateway: &Gateway, token: &str) -> Sse {
    open(gateway, token).unwrap_or_else(|refusal| panic!("refused: {}", refusal.shown()))
}

/// The same, or the refusal.
fn open(gateway: &Gateway, token: &str) -> Result<Sse, Response> {
    let subscriptions = encoded(r#"[{"eventType":"greeting"}]"#);
    let target = format!("/_rig/v1/connection/sse?subscriptions={subscriptions}");
    let mut sse = Sse::open(gateway.inbound(), &Request::get(target).bearer(token))?;
    sse.welcome();
    Ok(sse)
}

/// Returns the status of a new connection with this token.
fn status(gateway: &Gateway, token: &str) -> u16 {
    open(gateway, token).map_or_else(|refusal| refusal.status, |_| 200)
}

/// Returns a service, and a definition of an endpoint of it that requires a token.
fn secured_service() -> (Upstream, String) {
    let upstream = Upstream::start();
    let endpoints = json!([{ "id": "s", "path_regex": SECURED, "method": "GET", "secured": true }]);
    let api = json!([upstream.api("service", &endpoints)]).to_string();
    (upstream, api)
}

/// Returns the status of a proxied request with this token.
fn proxied(gateway: &Gateway, token: &str) -> u16 {
    gateway.ask(&Request::get(SECURED).bearer(token)).status
}

/// Publishes a greeting, which has to reach these connections.
fn expect_greeting(gateway: &Gateway, id: &str, connections: &mut [&mut Sse]) {
    gateway.publish(&greeting(id, "everyone"));
    for connection in connections {
        let data: Value = serde_json::from_str(&connection.next_data()).expect("JSON");
        assert_eq!((data["type"].as_str(), data["id"].as_str()), (Some("greeting"), Some(id)), "{data}");
    }
}

/// Returns the revocations in force.
fn revocations(gateway: &Gateway) -> Vec<Value> {
    let list = gateway.ask_internal(&Request::get("/v4/revocations")).json();
    list["revocations"].as_array().expect("a list").clone()
}

/// Returns how often key sets were fetched with success.
fn fetches(gateway: &Gateway, issuer: &str) -> f64 {
    gateway.metric_sum("rig_issuer_fetches_total", &[("issuer", issuer), ("what", "keys")])
}

/// Returns what the feed of logouts has made of its statements.
fn logouts(gateway: &Gateway, issuer: &str, result: &str) -> f64 {
    let labels = [("issuer", issuer), ("feed", "logout"), ("result", result)];
    gateway.metric_sum("rig_feed_statements_total", &labels)
}

#[test]
fn i01_tokens_of_a_provider_connect_and_pass_the_proxy() {
    let provider = Provider::start();
    let (upstream, api) = secured_service();
    let gateway = provider.only_gateway(&[("PROXY_CONFIG_FILE", &api)]);
    let tokens = provider.browser_of("alice").tokens("gateway");

    let mut connection = connect(&gateway, &tokens.access);
    expect_greeting(&gateway, "1", &mut [&mut connection]);
    let sid = tokens.claims()["sid"].as_str().expect("a session").to_owned();
    let session = gateway.ask_internal(&Request::get(format!("/v4/sessions/{sid}")));
    assert_eq!(session.status, 200, "{}", session.text());

    assert_eq!(proxied(&gateway, &tokens.access), 200);
    upstream.next();

    // The ID token is for the client, and there is no static key.
    for other in [&tokens.id, &token_of("s1")] {
        assert_eq!((status(&gateway, other), proxied(&gateway, other)), (400, 401));
    }
    assert!(upstream.waiting().is_empty());

    let issuers = gateway.ask_internal(&Request::get("/v4/issuers"));
    assert_eq!(issuers.status, 200, "{}", issuers.text());
    let issuers = issuers.json();
    let issuer = &issuers["issuers"][0];
    assert_eq!(issuer["id"], "oidc", "{issuers}");
    assert_eq!(issuer["issuer"], provider.issuer(), "{issuers}");
    assert_eq!(issuer["keys"], 1, "{issuers}");
    assert_eq!(gateway.metric(r#"rig_issuer_keys{issuer="oidc"}"#), 1.0);
}

#[test]
fn i05_a_token_of_a_new_key_connects_at_once_with_one_fetch() {
    let mut provider = Provider::start();
    let gateway = provider.only_gateway(&[]);
    let old = provider.browser_of("alice").tokens("gateway").access;
    drop(connect(&gateway, &old));
    let before = fetches(&gateway, "oidc");

    provider.restart(&["b", "a"]);
    let new = provider.browser_of("alice").tokens("gateway").access;
    assert_eq!(status(&gateway, &new), 200, "the first connect");
    assert_eq!(fetches(&gateway, "oidc"), before + 1.0);
    assert_eq!([status(&gateway, &old), status(&gateway, &new)], [200, 200]);
    assert_eq!(fetches(&gateway, "oidc"), before + 1.0);
    assert_eq!(gateway.metric(r#"rig_issuer_keys{issuer="oidc"}"#), 2.0);
}

#[test]
fn i19_a_logout_with_sid_terminates_this_session_only() {
    let provider = Provider::start();
    let (_upstream, api) = secured_service();
    let gateway = provider.only_gateway(&[("PROXY_CONFIG_FILE", &api)]);
    let (mut laptop, mut phone) = (provider.browser_of("alice"), provider.browser_of("alice"));
    let (of_laptop, of_phone) = (laptop.tokens("gateway"), phone.tokens("gateway"));
    let of_bob = provider.browser_of("bob").tokens("gateway");
    assert_ne!(of_laptop.claims()["sid"], of_phone.claims()["sid"]);
    let mut first = connect(&gateway, &of_laptop.access);
    let mut second = connect(&gateway, &of_laptop.access);
    let mut on_phone = connect(&gateway, &of_phone.access);
    let mut bobs = connect(&gateway, &of_bob.access);
    assert_eq!(proxied(&gateway, &of_laptop.access), 200);

    laptop.log_out();
    let logout = provider.next_logout();
    assert_eq!(logout.outcome, "200");
    assert!(logout.milliseconds < 1000, "{logout:?}");
    first.expect_kill();
    second.expect_kill();
    assert_eq!((status(&gateway, &of_laptop.access), proxied(&gateway, &of_laptop.access)), (400, 401));

    expect_greeting(&gateway, "1", &mut [&mut on_phone, &mut bobs]);
    assert_eq!((status(&gateway, &of_phone.access), proxied(&gateway, &of_phone.access)), (200, 200));
    let sid = of_laptop.claims()["sid"].as_str().expect("a session").to_owned();
    let [revocation] = &revocations(&gateway)[..] else { panic!("{:?}", revocations(&gateway)) };
    assert_eq!(revocation["id"], format!("issuer/oidc/sid/{sid}"), "{revocation}");
    assert_eq!(revocation["connectionsTerminated"], 2, "{revocation}");
    assert_eq!(revocation["by"], "issuer:oidc", "{revocation}");
}

#[test]
fn i20_a_logout_without_sid_terminates_the_user_and_a_later_login_gets_through() {
    let provider = Provider::start();
    let issuers = json!([{
        "id": "oidc", "issuer": provider.issuer(), "audience": ["events"], "session_field": "/sid",
        "client_ids": ["gateway", "gateway-without-sid"],
    }]);
    let gateway = provider.gateway(&[("ISSUERS", &issuers.to_string())]);
    let mut laptop = provider.browser_of("alice");
    let of_laptop = laptop.tokens("gateway-without-sid");
    assert!(of_laptop.claims().get("sid").is_none());
    let of_phone = provider.browser_of("alice").tokens("gateway");
    let of_bob = provider.browser_of("bob").tokens("gateway");
    let mut on_laptop = connect(&gateway, &of_laptop.access);
    let mut on_phone = connect(&gateway, &of_phone.access);
    let mut bobs = connect(&gateway, &of_bob.access);

    laptop.log_out();
    let logout = provider.next_logout();
    assert_eq!(logout.outcome, "200");
    assert!(logout.milliseconds < 1000, "{logout:?}");
    on_laptop.expect_kill();
    on_phone.expect_kill();
    expect_greeting(&gateway, "1", &mut [&mut bobs]);
    for of_alice in [&of_laptop, &of_phone] {
        assert_eq!(status(&gateway, &of_alice.access), 400);
    }

    let [revocation] = &revocations(&gateway)[..] else { panic!("{:?}", revocations(&gateway)) };
    assert_eq!(revocation["id"], "issuer/oidc/sub/alice", "{revocation}");
    let bound = revocation["issuedUpTo"].as_i64().expect("a time");
    assert!(bound <= in_seconds(2), "it covers logins of at most the next two seconds");
    eventually("a later login gets through", || {
        let token = provider.browser_of("alice").tokens("gateway-without-sid");
        let iat = token.claims()["iat"].as_i64().expect("a time");
        let is_let_in = status(&gateway, &token.access) == 200;
        assert_eq!(is_let_in, iat > bound, "issued at {iat}; {revocation}");
        is_let_in.then_some(())
    });
}

/// Glewlwyd has a `sid` in its ID tokens. Its logout tokens are of type `JWT` and have no `exp`.
#[test]
fn i19_a_logout_of_another_provider_terminates_this_session_only() {
    let provider = Glewlwyd::start(&["alice"]);
    let gateway = glewlwyd_gateway(&provider, json!({ "audience": ["gateway"], "session_field": "/sid" }));
    let (mut laptop, mut phone) = (provider.log_in("alice"), provider.log_in("alice"));
    let (of_laptop, of_phone) = (laptop.tokens(), phone.tokens());
    let mut on_laptop = connect(&gateway, &of_laptop.id);
    let mut on_phone = connect(&gateway, &of_phone.id);

    laptop.log_out(&of_laptop);
    on_laptop.expect_kill();
    assert_eq!(status(&gateway, &of_laptop.id), 400);
    expect_greeting(&gateway, "1", &mut [&mut on_phone]);
    assert_eq!(logouts(&gateway, "gl", "revoked"), 1.0);
}

/// Glewlwyd has no `sid` in its access tokens, but in its logout tokens.
#[test]
fn i29_sid_is_of_no_use_without_one_in_the_tokens_unless_logouts_end_the_user() {
    let provider = Glewlwyd::start(&["alice", "bob"]);
    let audience = json!({ "audience": ["openid"], "session_field": "/sid" });
    let gateway = glewlwyd_gateway(&provider, audience);
    let mut laptop = provider.log_in("alice");
    let of_laptop = laptop.tokens();
    let mut on_laptop = connect(&gateway, &of_laptop.access);
    laptop.log_out(&of_laptop);
    eventually("the logout", || (logouts(&gateway, "gl", "matched_nobody") == 1.0).then_some(()));
    expect_greeting(&gateway, "1", &mut [&mut on_laptop]);
    drop(on_laptop);
    let log = gateway.end();
    assert_eq!(log.matches("logout_ends").count(), 1, "one warning names the setting:\n{log}");

    let user = json!({ "audience": ["openid"], "session_field": "/sub", "logout_ends": "user" });
    let gateway = glewlwyd_gateway(&provider, user);
    let (mut laptop, mut phone) = (provider.log_in("alice"), provider.log_in("alice"));
    let (of_laptop, of_phone) = (laptop.tokens(), phone.tokens());
    let of_bob = provider.log_in("bob").tokens();
    let mut on_laptop = connect(&gateway, &of_laptop.access);
    let mut on_phone = connect(&gateway, &of_phone.access);
    let mut bobs = connect(&gateway, &of_bob.access);
    laptop.log_out(&of_laptop);
    on_laptop.expect_kill();
    on_phone.expect_kill();
    expect_greeting(&gateway, "2", &mut [&mut bobs]);
    assert_eq!([&of_laptop, &of_phone].map(|tokens| status(&gateway, &tokens.access)), [400, 400]);
}

/// Starts the gateway to which Glewlwyd sends its logouts, with these members of the issuer.
fn glewlwyd_gateway(provider: &Glewlwyd, members: Value) -> Gateway {
    let mut issuer = json!({ "id": "gl", "issuer": provider.issuer(), "client_ids": ["gateway"] });
    let (Value::Object(issuer_map), Value::Object(members)) = (&mut issuer, members) else {
        panic!("no objects")
    };
    issuer_map.extend(members);
    let port = provider.gateway_address().port().to_string();
    Gateway::start_bare(&[("INBOUND_PORT", &port), ("ISSUERS", &json!([issuer]).to_string())])
}

/// How much faster the time of a gateway passes in [`i10`]: its key sets are fetched each minute at
/// the shortest.
const FASTER: u32 = 10;

#[test]
fn i10_connections_of_a_withdrawn_key_are_terminated() {
    let mut provider = Provider::start();
    let (_upstream, api) = secured_service();
    let issuers = json!([{
        "id": "oidc", "issuer": provider.issuer(), "audience": ["events"], "session_field": "/sid",
        "keys_refresh": "1m",
    }]);
    let faster = format!("+0 x{FASTER}");
    let gateway = provider.gateway(&[
        ("ISSUERS", &issuers.to_string()),
        ("PROXY_CONFIG_FILE", &api),
        ("LD_PRELOAD", &fake_time()),
        ("FAKETIME", &faster),
    ]);
    let old = provider.browser_of("alice").tokens("gateway").access;
    provider.restart(&["b", "a"]);
    let new = provider.browser_of("bob").tokens("gateway").access;
    let mut of_old = connect(&gateway, &old);
    let mut of_new = connect(&gateway, &new);
    assert_eq!([proxied(&gateway, &old), proxied(&gateway, &new)], [200, 200]);

    // The key is withdrawn for good.
    provider.restart(&["b"]);
    let withdrawn = Instant::now();
    expect_kill_among_heartbeats(&mut of_old);
    // The interval varies by a tenth, and the second fetch follows 30 s later.
    let bound = Duration::from_secs(66 + 30 + 10);
    assert!(withdrawn.elapsed() * FASTER < bound, "{:?} x {FASTER}", withdrawn.elapsed());
    assert_eq!((status(&gateway, &old), proxied(&gateway, &old)), (400, 401));
    expect_greeting(&gateway, "1", &mut [&mut of_new]);
    assert_eq!((status(&gateway, &new), proxied(&gateway, &new)), (200, 200));
    assert_eq!(gateway.metric(r#"rig_issuer_keys_withdrawn_total{issuer="oidc"}"#), 1.0);

    // The same `kid` with another key is another key.
    let kid = provider.keys()["keys"][0]["kid"].as_str().expect("a kid").to_owned();
    provider.create_key("c", &kid);
    provider.restart(&["c"]);
    let newest = provider.browser_of("bob").tokens("gateway").access;
    expect_kill_among_heartbeats(&mut of_new);
    assert_eq!((status(&gateway, &new), proxied(&gateway, &new)), (400, 401));
    assert_eq!((status(&gateway, &newest), proxied(&gateway, &newest)), (200, 200));
}

/// Waits for the farewell, before which there can be heartbeats.
fn expect_kill_among_heartbeats(sse: &mut Sse) {
    let data = sse.next_data();
    assert!(data.contains(r#""type":"rig.session_killed""#), "{data}");
    assert_eq!(sse.raw(), None, "nothing comes after the kill");
}

/// Returns the library of libfaketime.
fn fake_time() -> String {
    let folders = std::fs::read_dir("/usr/lib").expect("a system").filter_map(Result::ok);
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    let library = libraries.find(|path| path.exists()).expect("scripts/need faketime installs it");
    library.display().to_string()
}
