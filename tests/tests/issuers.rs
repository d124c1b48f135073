//! Several identity providers, their keys and their logouts, with a provider whose keys and answers
//! the test decides. `identity_provider.rs` has real ones.

use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::{Value, json};

/// Returns the settings of these issuers.
fn list(issuers: &[Value]) -> String {
    json!(issuers).to_string()
}

/// Starts a gateway that knows these issuers, and waits until it has the keys of `ready`.
fn start(issuers: &[Value], ready: &[&str], more: &[(&str, &str)]) -> Gateway {
    let list = list(issuers);
    let gateway = Gateway::start_bare(&[&[("ISSUERS", list.as_str())], more].concat());
    await_keys(&gateway, ready);
    gateway
}

fn await_keys(gateway: &Gateway, ids: &[&str]) {
    for id in ids {
        eventually("the keys of an issuer", || (issuer(gateway, id)["keys"] != 0).then_some(()));
    }
}

/// Returns what the gateway tells of an issuer.
fn issuer(gateway: &Gateway, id: &str) -> Value {
    let response = gateway.ask_internal(&Request::get("/v4/issuers"));
    assert_eq!(response.status, 200, "{}", response.text());
    let list = response.json();
    let found = list["issuers"].as_array().expect("a list").iter().find(|issuer| issuer["id"] == id);
    found.unwrap_or_else(|| panic!("{id} is missing in {list}")).clone()
}

/// Connects with this token and a subscription to greetings, or returns the refusal. Also returns
/// the token of the connection.
fn open(gateway: &Gateway, token: &str) -> Result<(Sse, String), Response> {
    let subscriptions = encoded(r#"[{"eventType":"greeting"}]"#);
    let target = format!("/_rig/v1/connection/sse?subscriptions={subscriptions}");
    let mut sse = Sse::open(gateway.inbound(), &Request::get(target).bearer(token))?;
    let connection = sse.welcome();
    Ok((sse, connection))
}

fn connect(gateway: &Gateway, token: &str) -> Sse {
    open(gateway, token).unwrap_or_else(|refusal| panic!("refused: {} {}", refusal.shown(), gateway.log())).0
}

fn status(gateway: &Gateway, token: &str) -> u16 {
    open(gateway, token).map_or_else(|refusal| refusal.status, |_| 200)
}

/// Sends a logout token to the feed of this issuer.
fn log_out(gateway: &Gateway, id: &str, token: &str) -> Response {
    let request = Request::new("POST", format!("/_rig/v1/issuers/{id}/logout"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("logout_token={token}"));
    gateway.ask(&request)
}

/// Publishes a greeting, which has to reach these connections.
fn expect_greeting(gateway: &Gateway, id: &str, connections: &mut [&mut Sse]) {
    gateway.publish(&greeting(id, "everyone"));
    for connection in connections {
        let data: Value = serde_json::from_str(&connection.next_data()).expect("JSON");
        assert_eq!((data["type"].as_str(), data["id"].as_str()), (Some("greeting"), Some(id)), "{data}");
    }
}

/// Returns how many statements the feed of logouts has had with this result.
fn logouts(gateway: &Gateway, id: &str, result: &str) -> f64 {
    gateway.metric_sum("rig_feed_statements_total", &[("issuer", id), ("feed", "logout"), ("result", result)])
}

#[test]
fn i03_and_i04_sessions_and_users_belong_to_their_issuer() {
    let (a, b) = (StubIssuer::start(), StubIssuer::start());
    let gateway = start(&[a.settings("a", &json!({})), b.settings("b", &json!({}))], &["a", "b"], &[]);
    let of_both = json!({});
    let (token_a, token_b) = (a.token("a", "1", "1", &of_both), b.token("a", "1", "1", &of_both));
    let forged = b.token("a", "1", "1", &json!({ "iss": a.url() }));
    assert_eq!(status(&gateway, &forged), 400, "signed by the other issuer");

    let (mut at_a, connection) = open(&gateway, &token_a).expect("a connection");
    let mut at_b = connect(&gateway, &token_b);
    let path = format!("/_rig/v1/connection/sse/{connection}/subscriptions");
    let renew = |token: &str| {
        let body = r#"{"subscriptions": [{"eventType": "greeting"}]}"#;
        gateway.ask(&Request::put_json(&path, body).bearer(token)).status
    };
    assert_eq!(renew(&token_b), 403, "the token of the other issuer's user");
    assert_eq!(renew(&token_a), 204);
    assert!(at_a.next_data().contains("rig.subscriptions_set"));

    let answer = log_out(&gateway, "a", &a.logout_token("a", &json!({ "sub": "1", "sid": "1" })));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    at_a.expect_kill();
    assert_eq!([status(&gateway, &token_a), status(&gateway, &token_b)], [400, 200]);
    expect_greeting(&gateway, "1", &mut [&mut at_b]);
    // A logout token of B counts at B only.
    assert_eq!(log_out(&gateway, "a", &b.logout_token("a", &json!({ "sid": "1" }))).status, 400);
    expect_greeting(&gateway, "2", &mut [&mut at_b]);
}

#[test]
fn i08_a_provider_that_is_down_at_the_start_delays_nobody_else() {
    let (up, down) = (StubIssuer::start(), StubIssuer::start());
    down.set(KeySetState::Fails(500));
    let nowhere = format!("http://{}", unused_address());
    let gone = json!({ "id": "gone", "issuer": nowhere, "audience": "any" });
    let issuers = [down.settings("down", &json!({})), up.settings("up", &json!({})), gone];
    let gateway = start(&issuers, &["up"], &[]);
    assert_eq!(status(&gateway, &up.token("a", "alice", "1", &json!({}))), 200);

    let token = down.token("a", "alice", "1", &json!({}));
    let refusal = open(&gateway, &token).err().expect("no keys");
    assert_eq!((refusal.status, refusal.header("retry-after")), (503, Some("5")), "{}", refusal.shown());
    let of_gone = down.token("a", "alice", "1", &json!({ "iss": nowhere }));
    assert_eq!(status(&gateway, &of_gone), 503);
    eventually("the error", || issuer(&gateway, "down")["lastError"].is_string().then_some(()));
    assert_eq!(issuer(&gateway, "down")["ageSeconds"], Value::Null);
    assert_eq!(gateway.ask_internal(&Request::get("/readyz")).status, 200, "readiness is not affected");
    assert!(!gateway.log().contains(&token), "no token in the log");

    down.set(KeySetState::Up);
    await_keys(&gateway, &["down"]);
    assert_eq!(status(&gateway, &token), 200);
    assert_eq!(issuer(&gateway, "down")["lastError"], Value::Null);
}

#[test]
fn i10_what_a_withdrawn_key_has_signed_ends_and_nothing_else() {
    let stub = StubIssuer::start();
    stub.publish("b");
    let upstream = Upstream::start();
    let endpoints = json!([{ "id": "s", "path_regex": "/secured", "method": "GET", "secured": true }]);
    let api = json!([upstream.api("service", &endpoints)]).to_string();
    let (folder, issuers) = (Folder::new(), [stub.settings("kc", &json!({}))]);
    let data = folder.join("data");
    let settings = [("PROXY_CONFIG_FILE", &*api), ("DATA_DIR", &data), ("HEARTBEAT_INTERVAL", "1h")];
    let gateway = start(&issuers, &["kc"], &settings);
    let keep = [stub.settings("kc", &json!({ "on_withdrawn": "keep" }))];
    let keeping = start(&keep, &["kc"], &[("HEARTBEAT_INTERVAL", "1h")]);
    let proxied = |token: &str| gateway.ask(&Request::get("/secured").bearer(token)).status;
    let of_a = stub.token("a", "alice", "1", &json!({}));
    let of_b = stub.token("b", "bob", "2", &json!({}));
    let (mut at_a, mut at_b) = (connect(&gateway, &of_a), connect(&gateway, &of_b));
    let mut kept = connect(&keeping, &of_a);
    assert_eq!([proxied(&of_a), proxied(&of_b)], [200, 200], "cached from here on");

    // Another key under the same name is another key: tokens of the first one are refused from the
    // first fetch on, which a token with an unknown key causes.
    stub.replace("a");
    let unknown = |kid: &str| stub.token(kid, "eve", "3", &json!({}));
    assert_eq!([status(&gateway, &unknown("x")), status(&keeping, &unknown("x"))], [400, 400]);
    assert_eq!([proxied(&of_a), proxied(&of_b)], [401, 200], "the cache of tokens knows of it");
    assert_eq!([status(&gateway, &of_a), status(&gateway, &of_b)], [400, 200]);
    assert_eq!(status(&gateway, &stub.token("a", "alice", "4", &json!({}))), 200, "the new key");
    expect_greeting(&gateway, "1", &mut [&mut at_a, &mut at_b]);

    // The second fetch counts if it is 30 s later: then connections end.
    let withdrawn = r#"rig_issuer_keys_withdrawn_total{issuer="kc"}"#;
    let deadline = Instant::now() + Duration::from_secs(90);
    for gateway in [&gateway, &keeping] {
        while gateway.metric(withdrawn) == 0.0 {
            assert!(Instant::now() < deadline, "{}", gateway.log());
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }
    at_a.expect_kill();
    expect_greeting(&gateway, "2", &mut [&mut at_b]);
    assert_eq!(proxied(&of_b), 200);
    expect_greeting(&keeping, "3", &mut [&mut kept]);
    assert_eq!(status(&keeping, &of_a), 400, "connections stay, but no new one begins");
    let audit = std::fs::read_to_string(folder.join("data/audit.log")).expect("an audit log");
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [_, line] = &lines[..] else { panic!("{audit}") };
    assert_eq!(
        (line["mode"].as_str(), line["by"].as_str()),
        (Some("disconnect"), Some("issuer:kc")),
        "{line}"
    );
    assert_eq!(line["issuer"], stub.url(), "{line}");
}

#[test]
fn tokens_without_the_session_claim_are_counted() {
    let stub = StubIssuer::start();
    let gateway = start(&[stub.settings("kc", &json!({}))], &["kc"], &[]);
    let counted = || gateway.metric_sum("rig_tokens_without_session_total", &[("issuer", "kc")]);
    assert_eq!(status(&gateway, &stub.token("a", "alice", "1", &json!({}))), 200);
    assert_eq!(counted(), 0.0);
    assert_eq!(status(&gateway, &stub.token("a", "alice", "1", &json!({ "sid": null }))), 200);
    assert_eq!(counted(), 1.0);
}

#[test]
fn i17_the_reason_of_a_refused_token_is_counted() {
    let stub = StubIssuer::start();
    let gateway = start(&[stub.settings("kc", &json!({}))], &["kc"], &[]);
    let refused = |reason: &str| {
        gateway.metric_sum("rig_tokens_refused_total", &[("issuer", "kc"), ("reason", reason)])
    };
    let long = stub.token("a", "alice", "1", &json!({ "exp": in_seconds(25 * 3600) }));
    let without = stub.token("a", "alice", "1", &json!({ "iat": null }));
    let foreign = stub.token("a", "alice", "1", &json!({ "aud": "other" }));
    for (token, reason) in [(long, "lifetime"), (without, "issued_at"), (foreign, "audience")] {
        assert_eq!(status(&gateway, &token), 400, "{reason}");
        assert_eq!(
            refused(reason),
            1.0,
            "{reason}: {}",
            gateway.ask_internal(&Request::get("/metrics")).text()
        );
    }
    assert_eq!(status(&gateway, &stub.token("a", "alice", "1", &json!({}))), 200);
}

#[test]
fn i25_a_logout_that_was_answered_with_200_outlives_a_kill() {
    let stub = StubIssuer::start();
    let folder = Folder::new();
    let (data, issuers) = (folder.join("data"), [stub.settings("kc", &json!({}))]);
    let gateway = start(&issuers, &["kc"], &[("DATA_DIR", &data)]);
    let token = stub.token("a", "alice", "1", &json!({}));
    let mut sse = connect(&gateway, &token);
    assert_eq!(log_out(&gateway, "kc", &stub.logout_token("a", &json!({ "sid": "1" }))).status, 200);
    gateway.kill();
    sse.expect_kill();

    let gateway = start(&issuers, &["kc"], &[("DATA_DIR", &data)]);
    assert_eq!(status(&gateway, &token), 400);
    assert_eq!(status(&gateway, &stub.token("a", "alice", "2", &json!({}))), 200);
}

#[test]
fn i25_on_a_full_disk_the_session_is_out_and_the_provider_knows() {
    let stub = StubIssuer::start();
    let folder = Folder::new();
    let data = folder.join("data");
    let issuers = list(&[stub.settings("kc", &json!({}))]);
    // 200 KiB for each file.
    let shell = ["-c", "trap '' XFSZ; ulimit -f 200; exec \"$0\""];
    let gateway = Gateway::start_by("/bin/bash", &shell, &[("DATA_DIR", &data), ("ISSUERS", &issuers)]);
    await_keys(&gateway, &["kc"]);
    let token = stub.token("a", "alice", "1", &json!({}));
    let mut sse = connect(&gateway, &token);
    let is_kept = |n: u32| {
        let body = json!({ "sessionId": format!("{n}-{}", "x".repeat(900)), "validityInSeconds": 600 });
        gateway.ask_internal(&Request::post_json("/v3/session-blacklist", body.to_string())).status == 201
    };
    assert!((0..1000).any(|n| !is_kept(n)), "the disk is full at some time");
    let answer = log_out(&gateway, "kc", &stub.logout_token("a", &json!({ "sid": "1" })));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    sse.expect_kill();
    assert_eq!(status(&gateway, &token), 400, "it is in force all the same");
}

#[test]
fn i26_a_logout_with_a_new_key_waits_for_one_fetch_and_not_longer_than_providers_wait() {
    let stub = StubIssuer::start();
    let gateway = start(&[stub.settings("kc", &json!({}))], &["kc"], &[]);
    let before = stub.fetches();
    stub.publish("b");
    let answer = log_out(&gateway, "kc", &stub.logout_token("b", &json!({ "sub": "alice" })));
    assert_eq!((answer.status, stub.fetches()), (200, before + 1), "{}", answer.text());

    stub.publish("c");
    stub.set(KeySetState::Hangs);
    let (asked, token) = (Instant::now(), stub.logout_token("c", &json!({ "sub": "alice" })));
    let answer = log_out(&gateway, "kc", &token);
    let took = asked.elapsed();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(
        answer.header("retry-after").is_some() && took < Duration::from_millis(2500),
        "{took:?} {answer:?}"
    );
    // The provider comes back, and so does its logout.
    stub.set(KeySetState::Up);
    let done = || (log_out(&gateway, "kc", &token).status == 200).then_some(());
    eventually("the logout", done);
}

#[test]
fn i28_a_logout_before_its_session_connects_counts() {
    let stub = StubIssuer::start();
    let gateway = start(&[stub.settings("kc", &json!({}))], &["kc"], &[]);
    let token = stub.token("a", "alice", "1", &json!({}));
    let answer = log_out(&gateway, "kc", &stub.logout_token("a", &json!({ "sid": "1" })));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let refusal = open(&gateway, &token).err().expect("the session is out");
    assert!(refusal.text().contains("blacklisted"), "{}", refusal.text());
    assert_eq!(logouts(&gateway, "kc", "matched_nobody"), 1.0);
}

#[test]
fn i29_a_logout_by_sid_is_warned_of_where_access_tokens_have_none() {
    let (sids, users) = (StubIssuer::start(), StubIssuer::start());
    let by_user = json!({ "session_field": "/sub", "logout_ends": "user" });
    let issuers =
        [sids.settings("sids", &json!({ "session_field": "/sub" })), users.settings("users", &by_user)];
    let gateway = start(&issuers, &["sids", "users"], &[]);
    let without_sid = json!({ "sid": null });
    let mut at_sids = connect(&gateway, &sids.token("a", "alice", "", &without_sid));
    let of_users = users.token("a", "alice", "", &without_sid);
    let mut at_users = [connect(&gateway, &of_users), connect(&gateway, &of_users)];
    let mut of_bob = connect(&gateway, &users.token("a", "bob", "", &without_sid));

    for n in 1..=2 {
        let logout = sids.logout_token("a", &json!({ "sid": format!("{n}"), "sub": "alice" }));
        assert_eq!(log_out(&gateway, "sids", &logout).status, 200);
    }
    assert_eq!(logouts(&gateway, "sids", "matched_nobody"), 2.0);
    expect_greeting(&gateway, "1", &mut [&mut at_sids, &mut of_bob]);

    let logout = users.logout_token("a", &json!({ "sid": "1", "sub": "alice" }));
    assert_eq!(log_out(&gateway, "users", &logout).status, 200);
    for connection in &mut at_users {
        assert!(connection.next_data().contains("greeting"));
        connection.expect_kill();
    }
    expect_greeting(&gateway, "2", &mut [&mut at_sids, &mut of_bob]);
    drop((at_sids, at_users, of_bob));
    let log = gateway.end();
    let warnings: Vec<_> =
        log.lines().filter(|line| line.contains("WARN") && line.contains("names a session")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("sids"), "{log}");
}

#[test]
fn i26_a_logout_right_after_the_start_waits_for_the_first_fetch() {
    let stub = StubIssuer::start();
    stub.set(KeySetState::Hangs);
    let gateway = start(&[stub.settings("kc", &json!({}))], &[], &[]);
    stub.await_fetches(1);
    let logout = stub.logout_token("a", &json!({ "sid": "1" }));
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| log_out(&gateway, "kc", &logout).status);
        eventually("the logout", || {
            (gateway.log().contains("listening") && !answer.is_finished()).then_some(())
        });
        stub.set(KeySetState::Up);
        assert_eq!(answer.join().expect("an answer"), 200);
    });
}

#[test]
fn the_static_key_goes_on_for_tokens_of_nobody_else() {
    let stub = StubIssuer::start();
    let gateway = start(&[stub.settings("kc", &json!({}))], &["kc"], &[("JWT_SECRET_KEY", KEY)]);
    assert_eq!(status(&gateway, &token_of("s1")), 200);
    let key = EncodingKey::from_secret(KEY.as_bytes()).expect("a key");
    let with = |iss: &str| {
        let claims = json!({
            "iss": iss, "aud": "gateway", "sub": "alice", "sid": "1", "jti": "s1",
            "iat": in_seconds(0), "exp": in_seconds(3600),
        });
        signed(&claims, Algorithm::HS256, &key)
    };
    assert_eq!(status(&gateway, &with("somebody")), 200);
    assert_eq!(status(&gateway, &with(stub.url())), 400, "the keys of the issuer alone verify its tokens");
    // The session of that name at the static key is another one.
    let mut other = connect(&gateway, &with("somebody"));
    let ours = connect(&gateway, &stub.token("a", "alice", "1", &json!({})));
    assert_eq!(log_out(&gateway, "kc", &stub.logout_token("a", &json!({ "sub": "alice" }))).status, 200);
    drop(ours);
    expect_greeting(&gateway, "1", &mut [&mut other]);
}

#[test]
fn events_are_fetched_carried_out_and_acknowledged() {
    let stub = StubIssuer::start();
    let folder = Folder::new();
    let secret = folder.join("secret");
    std::fs::write(&secret, "a-test-client-secret").expect("a file");
    let events = json!({
        "audience": ["gateway"], "poll_url": format!("{}/poll", stub.url()), "poll_interval": "1s",
        "poll_token_url": format!("{}/token", stub.url()), "poll_client_id": "gateway",
        "poll_client_secret_file": secret,
    });
    let gateway = start(&[stub.settings("kc", &json!({ "events": events }))], &["kc"], &[]);
    let token = stub.token("a", "alice", "1", &json!({}));
    let mut sse = connect(&gateway, &token);
    stub.offer("e1", &stub.session_revoked("a", "e1", "alice"));
    sse.expect_kill();
    assert_eq!(status(&gateway, &token), 400);
    eventually("the acknowledgement", || (stub.unacknowledged() == 0).then_some(()));
}

/// With the servers of the events at other hosts than the issuer itself.
#[test]
fn a_gateway_that_leaves_acknowledges_the_events_that_it_has_kept() {
    let stub = StubIssuer::start();
    let folder = Folder::new();
    let secret = folder.join("secret");
    std::fs::write(&secret, "a-test-client-secret").expect("a file");
    let elsewhere = stub.url().replace("127.0.0.1", "localhost");
    let events = json!({
        "audience": ["gateway"], "poll_url": format!("{elsewhere}/poll"), "poll_interval": "1h",
        "poll_token_url": format!("{elsewhere}/token"), "poll_client_id": "gateway",
        "poll_client_secret_file": secret,
    });
    stub.offer("e1", &stub.session_revoked("a", "e1", "alice"));
    let mut gateway = start(&[stub.settings("kc", &json!({ "events": events }))], &["kc"], &[]);
    let labels = [("issuer", "kc"), ("feed", "poll"), ("result", "matched_nobody")];
    eventually("the event", || {
        (gateway.metric_sum("rig_feed_statements_total", &labels) == 1.0).then_some(())
    });
    assert_eq!(stub.unacknowledged(), 1, "the next request comes in an hour");
    gateway.terminate();
    assert_eq!(gateway.exit_status().code(), Some(0));
    assert_eq!(stub.unacknowledged(), 0);
}

#[test]
fn i29_access_tokens_may_name_the_session_in_another_claim() {
    let stub = StubIssuer::start();
    let settings = stub.settings("kc", &json!({ "session_field": "/sub", "sid_at": "/https:~1~1ns~1sid" }));
    let gateway = start(&[settings], &["kc"], &[]);
    let token =
        |session: &str| stub.token("a", "alice", "", &json!({ "sid": null, "https://ns/sid": session }));
    let (mut first, mut second) = (connect(&gateway, &token("1")), connect(&gateway, &token("2")));
    assert_eq!(log_out(&gateway, "kc", &stub.logout_token("a", &json!({ "sid": "1" }))).status, 200);
    first.expect_kill();
    assert_eq!([status(&gateway, &token("1")), status(&gateway, &token("2"))], [400, 200]);
    expect_greeting(&gateway, "1", &mut [&mut second]);
    drop((first, second));
    let log = gateway.end();
    assert!(!log.contains("names a session"), "its tokens have sessions: {log}");
}

#[test]
fn the_token_of_a_provider_that_pushes_is_read_again_when_its_file_changes() {
    let stub = StubIssuer::start();
    let folder = Folder::new();
    let bearer = folder.join("bearer");
    std::fs::write(&bearer, "the-first-test-token").expect("a file");
    let events = json!({ "audience": ["gateway"], "bearer_file": bearer });
    let gateway = start(&[stub.settings("kc", &json!({ "events": events }))], &["kc"], &[]);
    let push = |token: &str, set: &str| {
        let request = Request::new("POST", "/_rig/v1/issuers/kc/events")
            .header("content-type", "application/secevent+jwt")
            .bearer(token)
            .body(set);
        gateway.ask(&request)
    };
    let set = stub.session_revoked("a", "e1", "alice");
    assert_eq!(push("the-first-test-token", &set).status, 202);
    let refused = push("the-second-test-token", &set);
    assert_eq!((refused.status, &refused.json()["err"]), (400, &json!("authentication_failed")));
    std::fs::write(&bearer, "the-second-test-token").expect("a file");
    eventually("the new token", || (push("the-second-test-token", &set).status == 202).then_some(()));
    assert_eq!(push("the-first-test-token", &set).status, 400);
}
