//! The visible defects of RIG 3.0.0, each under its number: sessions, subscriptions, limits. Those
//! of tokens and of the internal port are in `defects_of_access.rs`.

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::json;

const GREETINGS: &str = r#"[{"eventType":"greeting"}]"#;

fn connect(gateway: &Gateway, query: &str) -> Result<Sse, Response> {
    Sse::open(gateway.inbound(), &Request::get(format!("/_rig/v1/connection/sse?{query}")))
}

fn hs256(claims: &serde_json::Value) -> String {
    signed(claims, Algorithm::HS256, &EncodingKey::from_secret(KEY.as_bytes()).expect("a key"))
}

#[test]
fn d01_the_session_field_counts_for_refusals_too() {
    let gateway = Gateway::start(&[("JWT_SESSION_FIELD", "/username")]);
    let mut sse = connect(&gateway, &format!("jwt={}", token_of("jx"))).unwrap();
    sse.welcome();
    gateway.blacklist("bob");
    sse.expect_kill();
    let refusal = connect(&gateway, &format!("jwt={}", token_of("jy"))).err().expect("a refusal");
    let text =
        r#"could not parse subscriptions: could not decode JWT: Ignoring blacklisted JWT with ID "bob"."#;
    assert_eq!(refusal.text(), text);
}

#[test]
fn d04_a_session_revoked_during_the_external_check_opens_nothing() {
    let stub = Stub::start();
    let gateway = Gateway::start(&[("SUBSCRIPTION_CHECK", &stub.url())]);
    let query = format!("subscriptions={}&jwt={}", encoded(GREETINGS), token_of("s1"));
    let sse = Request::get(format!("/_rig/v1/connection/sse?{query}")).start(gateway.inbound());
    let sse_asked = stub.next();
    let mut poll = Request::get(format!("/_rig/v1/connection/longpolling?{query}")).start(gateway.inbound());
    let poll_asked = stub.next();
    gateway.blacklist("s1");
    sse_asked.answer(200);
    poll_asked.answer(200);
    let text =
        r#"could not parse subscriptions: could not decode JWT: Ignoring blacklisted JWT with ID "s1"."#;
    assert_eq!(Sse::over(sse).err().expect("a refusal").text(), text);
    assert_eq!(Response::read(&mut poll, false).text(), text);

    let mut open = Sse::connect(gateway.inbound(), "");
    let path = format!("/_rig/v1/connection/sse/{}/subscriptions", open.welcome());
    let body = json!({ "subscriptions": [] }).to_string();
    let mut put = Request::put_json(path, body).bearer(&token_of("s2")).start(gateway.inbound());
    let asked = stub.next();
    gateway.blacklist("s2");
    asked.answer(200);
    let response = Response::read(&mut put, false);
    assert_eq!(response.status, 400);
    assert!(response.text().ends_with(r#"Ignoring blacklisted JWT with ID "s2"."#), "{}", response.text());
}

#[test]
fn d06_long_polling_belongs_to_its_session() {
    let gateway = Gateway::start(&[]);
    let mut client = killed_while_parked(&gateway, 1);
    let later = client.start().answer();
    assert_eq!((later.status, later.text().as_str()), (403, "Session killed."));
    assert_eq!(client.poll().status, 403);
    assert!(client.cookies.is_empty(), "the client's cookies are deleted: {:?}", client.cookies);
}

#[test]
fn d09_session_claims_that_are_no_strings() {
    let gateway = Gateway::start(&[]);
    let of = |jti: serde_json::Value| format!("jwt={}", hs256(&json!({ "jti": jti, "exp": in_seconds(60) })));
    let mut sse = connect(&gateway, &of(json!(77))).expect("an integer is a name");
    sse.welcome();
    gateway.blacklist("77");
    sse.expect_kill();
    assert!(connect(&gateway, &of(json!("77"))).is_err(), "the integer and its digits are one session");
    for bad in [json!(1.5), json!(true), json!({}), json!([1]), json!("")] {
        let refusal =
            connect(&gateway, &of(bad.clone())).err().unwrap_or_else(|| panic!("{bad} opens nothing"));
        assert_eq!(refusal.status, 400, "{bad}");
        assert!(refusal.text().contains("jti"), "{bad}: {}", refusal.text());
    }
}

#[test]
fn d11_nothing_is_left_of_a_session_without_connections() {
    let gateway = Gateway::start(&[]);
    for round in 0..20 {
        let mut sse = connect(&gateway, &format!("jwt={}", token_of(&format!("sse-{round}")))).unwrap();
        sse.welcome();
        let mut websocket =
            WebSocket::connect(gateway.inbound(), &format!("jwt={}", token_of(&format!("ws-{round}"))));
        websocket.welcome();
    }
    gateway.await_metric("rig_sessions", 0.0);
    gateway.await_metric("rig_subscriptions_total", 0.0);
    gateway.await_metric(r#"rig_connections{transport="sse"}"#, 0.0);
    gateway.await_metric(r#"rig_connections{transport="websocket"}"#, 0.0);
}

#[test]
fn d19_a_long_event_type_is_just_a_long_event_type() {
    let mut gateway = Gateway::start(&[("MAX_REQUEST_LINE", "32KiB")]);
    for _ in 0..5 {
        let kind = "t".repeat(20_000);
        let list = json!([{ "eventType": kind }]).to_string();
        if let Ok(mut sse) = connect(&gateway, &format!("subscriptions={}", encoded(&list))) {
            sse.welcome();
            let event = json!({ "specversion": "0.2", "type": kind, "id": "1" }).to_string();
            gateway.publish(&event);
            assert_eq!(sse.next_data(), event);
        }
        assert!(gateway.is_healthy());
    }
}

#[test]
fn d20_data_of_any_shape_leaves_the_filter_alive() {
    let gateway = Gateway::start(&[("EXTRACTORS", EXTRACTORS)]);
    let list = r#"[{"eventType":"greeting","oneOf":[{"name":"x"}]}]"#;
    let mut sse = connect(&gateway, &format!("subscriptions={}", encoded(list))).unwrap();
    sse.welcome();
    for (n, data) in [r#""just a string""#, "[1,2]", "5", "null", "true", r#"{"name":[]}"#].iter().enumerate()
    {
        gateway.publish(&format!(r#"{{"specversion":"0.2","type":"greeting","id":"bad{n}","data":{data}}}"#));
        gateway.publish(&greeting(&n.to_string(), "x"));
        assert_eq!(sse.next_data(), greeting(&n.to_string(), "x"), "after data {data}");
    }
}

#[test]
fn d21_no_event_is_lost_while_subscriptions_are_replaced() {
    let gateway = Gateway::start(&[]);
    let mut sse = connect(&gateway, &format!("subscriptions={}", encoded(GREETINGS))).unwrap();
    let token = sse.welcome();
    let path = format!("/_rig/v1/connection/sse/{token}/subscriptions");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..100 {
                let body = format!(r#"{{"subscriptions":{GREETINGS}}}"#);
                assert_eq!(gateway.ask(&Request::put_json(&path, body)).status, 204);
            }
        });
        scope.spawn(|| (0..200).for_each(|n| gateway.publish(&greeting(&n.to_string(), "bob"))));
        let mut next = 0;
        while next < 200 {
            let data = sse.next_data();
            if !data.contains("rig.subscriptions_set") {
                assert_eq!(data, greeting(&next.to_string(), "bob"));
                next += 1;
            }
        }
    });
}

#[test]
fn d22_a_ping_with_payload_is_answered_and_nothing_else_happens() {
    let gateway = Gateway::start(&[("HEARTBEAT_INTERVAL", "200ms")]);
    let mut websocket = WebSocket::connect(gateway.inbound(), "");
    let token = websocket.welcome();
    websocket.send(&Frame::new(Opcode::Ping, "abc"));
    websocket.send(&Frame::new(Opcode::Ping, [0xff; 125]));
    let mut pongs = Vec::new();
    while pongs.len() < 2 {
        let frame = websocket.receive();
        if !frame.starts_with("PING") {
            pongs.push(frame);
        }
    }
    assert_eq!(pongs[0], "PONG abc");
    let path = format!("/_rig/v1/connection/ws/{token}/subscriptions");
    let body = format!(r#"{{"subscriptions":{GREETINGS}}}"#);
    assert_eq!(gateway.ask(&Request::put_json(path, body)).status, 204);
    assert!(websocket.next_text().contains("rig.subscriptions_set"));
    gateway.publish(&greeting("1", "bob"));
    assert_eq!(websocket.next_text(), greeting("1", "bob"));
    assert_eq!(websocket.receive(), "PING ", "heartbeats continue");
}

#[test]
fn d23_bad_input_is_a_4xx_that_names_the_field() {
    let mut gateway = Gateway::start(&[]);
    let mut sse = Sse::connect(gateway.inbound(), "");
    let path = format!("/_rig/v1/connection/sse/{}/subscriptions", sse.welcome());
    let mut all = Scenarios::default();
    let inbound = |request: Request| gateway.ask(&request);
    let put = |body: &str| inbound(Request::put_json(&path, body));
    all.check("subscriptions null", &put(r#"{"subscriptions":null}"#), "400 | …subscriptions…");
    let untyped = Request::new("PUT", &path).body(r#"{"subscriptions":[]}"#);
    all.check("no content type", &inbound(untyped), "400 | …");
    let short =
        Request::put_json("/_rig/v1/connection/sse/eHh4eHh4/subscriptions", r#"{"subscriptions":[]}"#);
    all.check("short token", &inbound(short), "400 | …Invalid connection token.");
    let event = |body: &str| inbound(Request::post_json("/_rig/v1/events", body));
    all.check("no id", &event(r#"{"specversion":"0.2","type":"t"}"#), "400 | …id…");
    all.check("a list", &event("[]"), "400 | …");
    let untyped = Request::new("POST", "/_rig/v1/events").body(greeting("1", "bob"));
    all.check("no content type", &inbound(untyped), "400 | …");
    let fractional = r#"{"sessionId":"x","validityInSeconds":1.5}"#;
    let response = gateway.ask_internal(&Request::post_json("/v3/session-blacklist", fractional));
    all.check("fractional validity", &response, "400 | …1.5…");
    let cookie = Request::get("/_rig/v1/connection/longpolling").header("Cookie", "connection_token=x");
    all.check("a cookie of nobody", &inbound(cookie), "200 | …");
    drop(all);
    assert!(gateway.is_healthy());
}

#[test]
fn d25_a_client_that_never_reads_is_aborted_and_delays_no_other() {
    let gateway = Gateway::start(&[("OUTBOX_BYTES", "64KiB")]);
    let query = format!("subscriptions={}", encoded(GREETINGS));
    let mut reader = connect(&gateway, &query).unwrap();
    reader.welcome();
    let mut sleeper = Wire::connect_narrow(gateway.inbound());
    sleeper.send(Request::get(format!("/_rig/v1/connection/sse?{query}")).bytes(gateway.inbound()));
    assert!(sleeper.until(b"rig.subscriptions_set").is_some());
    gateway.await_metric(r#"rig_connections{transport="sse"}"#, 2.0);
    let overflows = r#"rig_outbox_overflows_total{transport="sse"}"#;
    let mut published = 0;
    while gateway.metric(overflows) == 0.0 {
        let event = greeting(&published.to_string(), &"x".repeat(30_000));
        gateway.publish(&event);
        assert_eq!(reader.next_data(), event, "the other client gets every event");
        published += 1;
        assert!(published < 2_000, "60 MB for a client that does not read");
    }
    assert_eq!(gateway.metric(overflows), 1.0);
    gateway.await_metric(r#"rig_connections{transport="sse"}"#, 1.0);
    let rest = sleeper.rest();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a stream that was cut off does not look complete");
    gateway.publish(&greeting("last", "bob"));
    assert_eq!(reader.next_data(), greeting("last", "bob"));
}

#[test]
fn d25_a_long_polling_client_that_never_polls_keeps_200_events() {
    let gateway = Gateway::start(&[("HISTORY", "off"), ("OUTBOX_BYTES", "64KiB")]);
    let mut client =
        LongPolling::connect(gateway.inbound(), &format!("subscriptions={}", encoded(GREETINGS)));
    for n in 0..20 {
        gateway.publish(&greeting(&n.to_string(), &"x".repeat(30_000)));
    }
    let answer = client.poll();
    assert!(answer.body.len() < 70_000, "{} bytes kept", answer.body.len());
    assert_eq!(answer.json()["last_event_id"], "19");
}

#[test]
fn d25_an_idle_long_polling_client_is_forgotten() {
    let gateway = Gateway::start(&[("LONGPOLLING_IDLE_TIMEOUT", "1s")]);
    let mut client = LongPolling::connect(gateway.inbound(), "");
    client.welcome();
    gateway.await_metric(r#"rig_connections{transport="longpolling"}"#, 0.0);
    assert_eq!(client.start().answer().text(), r#""ok""#, "its next poll opens a new connection");
}

#[test]
fn d10_a_parked_poll_of_a_killed_session_is_answered_at_once() {
    let gateway = Gateway::start(&[]);
    killed_while_parked(&gateway, 2);
}

/// Revokes a session while this many of its polls are pending; returns the client that polled. If a
/// poll arrives after the kill and gets the farewell, the next session is tried.
fn killed_while_parked(gateway: &Gateway, count: usize) -> LongPolling {
    for round in 0..50 {
        let session = format!("s{round}");
        let jwt = format!("jwt={}", token_of(&session));
        let mut client = LongPolling::connect(gateway.inbound(), &jwt);
        client.welcome();
        let polls: Vec<_> = (0..count).map(|_| client.start()).collect();
        let asked = std::time::Instant::now();
        gateway.blacklist(&session);
        let answers: Vec<_> = polls.into_iter().map(Poll::answer).collect();
        assert!(asked.elapsed() < std::time::Duration::from_secs(4), "none waits for its timeout");
        let is_late = |answer: &Response| answer.status == 403 && answer.text() == "Session killed.";
        for answer in answers.iter().filter(|answer| !is_late(answer)) {
            let events = answer.json()["events"].clone();
            assert!(events[0]["type"] == "rig.session_killed" && events[1].is_null(), "{events}");
        }
        if !answers.iter().any(is_late) {
            return client;
        }
    }
    panic!("{count} polls were never parked in 50 rounds");
}
