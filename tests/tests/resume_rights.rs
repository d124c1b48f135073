//! A cursor is a place, not a right: what follows is decided by the present token and by the
//! revocations.

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::{Value, json};

const GREETING: &[&str] = &["greeting"];

/// Returns the token of a session, issued this many seconds ago.
fn token(session: &str, more: &Value, issued: i64) -> String {
    let mut claims = json!({ "jti": session, "exp": in_seconds(3600), "iat": in_seconds(-issued) });
    let (Some(all), Some(more)) = (claims.as_object_mut(), more.as_object()) else { panic!("no objects") };
    all.extend(more.clone());
    signed(&claims, Algorithm::HS256, &EncodingKey::from_secret(KEY.as_bytes()).expect("a key"))
}

fn query(token: &str) -> String {
    format!("{}&jwt={token}", subscribed_to(GREETING))
}

/// Returns a client that has got one event and was cut.
fn client(gateway: &Gateway, token: &str) -> EventSource {
    let mut client = EventSource::connect(gateway.inbound(), &query(token));
    gateway.publish(&event_of("greeting", "first"));
    client.until_received(1);
    client.cut();
    client.events.clear();
    client
}

fn publish(gateway: &Gateway, ids: std::ops::Range<usize>) -> Vec<String> {
    let events: Vec<_> = ids.map(|id| event_of("greeting", id)).collect();
    for event in &events {
        gateway.publish(event);
    }
    events
}

fn revoke(gateway: &Gateway, body: &Value) {
    let answer = gateway.ask_internal(&Request::post_json("/v4/revocations", body.to_string()));
    assert_eq!(answer.status, 201, "{}", answer.text());
}

fn revoke_alice(gateway: &Gateway) {
    let alice = json!({
        "id": "r", "claim": "/sub", "value": "alice", "issuedUpTo": in_seconds(-60), "validityInSeconds": 600,
    });
    revoke(gateway, &alice);
}

fn stop(gateway: &mut Gateway) {
    gateway.terminate();
    assert_eq!(gateway.exit_status().code(), Some(0), "{}", gateway.log());
}

/// Checks that a client gets `revoked` in place of what it has missed, and live events after it.
fn expect_revoked(gateway: &Gateway, mut client: EventSource) {
    client.turn_to(gateway.inbound());
    let cursor = client.cursor().to_owned();
    assert_eq!(client.come_back(), Err(json!({ "reason": "revoked", "since": cursor })));
    gateway.publish(&event_of("greeting", "live"));
    client.until_received(1);
    assert_eq!(client.received(), [event_of("greeting", "live")], "nothing from before");
    assert_eq!(client.come_back(), Ok(0), "the gap was a new beginning");
}

#[test]
fn r14_the_constraints_are_those_of_now() {
    let gateway = Gateway::start(&[("EXTRACTORS", EXTRACTORS)]);
    let greetings_of = |names: &[&str]| {
        let one_of: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
        let list = json!([{ "eventType": "greeting", "oneOf": one_of }]);
        format!("subscriptions={}", encoded(&list.to_string()))
    };
    let mut client = EventSource::connect(gateway.inbound(), &greetings_of(&["alice", "bob"]));
    client.cut();
    let ids = ["alice", "bob", "carol", "alice", "carol"];
    for (id, name) in ids.iter().enumerate() {
        gateway.publish(&greeting(&id.to_string(), name));
    }
    let cursor = client.cursor().to_owned();
    for (names, missed) in [
        (vec!["bob"], vec![1]),
        (vec!["alice", "bob"], vec![0, 1, 3]),
        (vec!["alice", "alice"], vec![0, 3]),
        (vec!["dave"], vec![]),
        (vec![], vec![0, 1, 2, 3, 4]),
    ] {
        let mut back = EventSource::new(gateway.inbound(), "");
        back.ask_for(&format!("{}&last_event_id={cursor}", greetings_of(&names)));
        assert_eq!(back.come_back(), Ok(missed.len() as u64), "{names:?}");
        let expected: Vec<_> = missed.iter().map(|id| greeting(&id.to_string(), ids[*id])).collect();
        assert_eq!(back.received(), expected, "{names:?}");
    }
}

#[test]
fn r14_a_token_of_another_tenant_gets_nothing_of_the_old_one() {
    let gateway = Gateway::start(&[("EXTRACTORS", EXTRACTORS)]);
    let of = |name: &str| format!("jwt={}", token("session", &json!({ "username": name }), 0));
    let mut client = EventSource::connect(gateway.inbound(), &of("alice"));
    gateway.publish(&greeting("first", "alice"));
    client.until_received(1);
    client.cut();
    for (id, name) in [("1", "alice"), ("2", "bob"), ("3", "alice"), ("4", "bob")] {
        gateway.publish(&greeting(id, name));
    }
    client.events.clear();
    client.ask_for(&of("bob"));
    assert_eq!(client.come_back(), Ok(2));
    gateway.publish(&greeting("5", "alice"));
    gateway.publish(&greeting("6", "bob"));
    client.until_received(3);
    assert_eq!(client.received(), ["2", "4", "6"].map(|id| greeting(id, "bob")));
}

#[test]
fn r17_a_revoked_session_is_refused_whatever_its_cursor() {
    let gateway = Gateway::start(&[]);
    let token = token_of("session");
    let client = client(&gateway, &token);
    publish(&gateway, 0..3);
    gateway.blacklist("session");
    let cursor = client.cursor();
    for path in ["sse", "longpolling"] {
        let request = Request::get(format!("/_rig/v1/connection/{path}?{}", query(&token)));
        let opened = Sse::open(gateway.inbound(), &request.header("Last-Event-ID", cursor));
        let answer = opened.err().unwrap_or_else(|| panic!("{path}: it is let in"));
        assert_eq!(answer.status, 400, "{path}: {}", answer.shown());
        assert!(answer.text().contains("Ignoring blacklisted JWT"), "{path}: {}", answer.text());
    }
    let target = format!("/_rig/v1/connection/ws?{}&last_event_id={cursor}", query(&token));
    let handshake = WebSocket::handshake(&target).header("Sec-WebSocket-Protocol", "rig.ids");
    assert_eq!(WebSocket::open(gateway.inbound(), &handshake).receive(), "CLOSE 1000 Bad request.");
    assert_eq!(gateway.metric("rig_replayed_events_total"), 0.0);
}

#[test]
fn r18_a_new_token_of_a_revoked_user_gets_nothing_from_before() {
    for has_restart in [false, true] {
        let folder = Folder::new();
        let data = folder.join("data");
        let settings = [("DATA_DIR", data.as_str()), ("REVOCATION_CLAIMS", "/sub")];
        let mut gateway = Gateway::start(&settings);
        let of = |user: &str| token(user, &json!({ "sub": user }), 3_000);
        let (mut alice, mut bob) = (client(&gateway, &of("alice")), client(&gateway, &of("bob")));
        let missed = publish(&gateway, 0..3);
        revoke_alice(&gateway);
        alice.ask_for(&query(&token("new", &json!({ "sub": "alice" }), 0)));
        if has_restart {
            stop(&mut gateway);
            gateway = Gateway::start(&settings);
        }
        bob.turn_to(gateway.inbound());
        assert_eq!(bob.come_back(), Ok(3), "another user");
        assert_eq!(bob.received(), missed);
        expect_revoked(&gateway, alice);
        assert_eq!(gateway.metric(r#"rig_gaps_total{reason="revoked"}"#), 1.0);
    }
}

#[test]
fn r18_the_session_may_change_with_the_token() {
    let gateway = Gateway::start(&[]);
    let of = |session: &str| token(session, &json!({ "sub": "alice" }), 100);
    let phone = client(&gateway, &of("phone"));
    let mut laptop = EventSource::new(
        gateway.inbound(),
        &format!("{}&last_event_id={}", query(&of("laptop")), phone.cursor()),
    );
    let missed = publish(&gateway, 0..3);
    gateway.blacklist("phone");
    assert_eq!(laptop.come_back(), Ok(3), "the revocation of another session does not concern it");
    assert_eq!(laptop.received(), missed);
}

#[test]
fn r21_a_lifted_revocation_is_no_bridge() {
    let gateway = Gateway::start(&[("REVOCATION_CLAIMS", "/sub")]);
    let alice = client(&gateway, &token("a", &json!({ "sub": "alice" }), 3_000));
    let session = client(&gateway, &token("s", &json!({ "sub": "bob" }), 0));
    publish(&gateway, 0..3);
    revoke_alice(&gateway);
    revoke(&gateway, &json!({ "id": "s", "session": "s", "validityInSeconds": 600 }));
    for id in ["r", "s"] {
        let lifted = gateway.ask_internal(&Request::new("DELETE", format!("/v4/revocations/{id}")));
        assert_eq!(lifted.status, 204, "{}", lifted.text());
    }
    publish(&gateway, 3..6);
    expect_revoked(&gateway, alice);
    expect_revoked(&gateway, session);
}

/// A disconnect is no revocation in force: the client may come back at once.
#[test]
fn r21_what_was_before_a_disconnect_is_not_replayed_either() {
    let gateway = Gateway::start(&[]);
    let session = client(&gateway, &token("s", &json!({}), 0));
    publish(&gateway, 0..3);
    let path = "/v4/revocations";
    let body = json!({ "id": "d", "session": "s", "mode": "disconnect" });
    let answer = gateway.ask_internal(&Request::post_json(path, body.to_string()));
    assert!(answer.status / 100 == 2, "{}", answer.text());
    expect_revoked(&gateway, session);
}

/// Rounds of a revocation in the middle of the replay.
const ROUNDS: usize = 20;
const MISSED: usize = 10_000;

#[test]
fn r19_nothing_is_replayed_after_the_answer_to_a_revocation() {
    let gateway = Gateway::start(&[("OUTBOX_BYTES", "64KiB")]);
    let mut early = EventSource::connect(gateway.inbound(), &query(&token_of("early")));
    let cursor = early.cursor().to_owned();
    early.cut();
    let mut publisher = Publisher::to(gateway.inbound());
    for id in 0..MISSED {
        // More than the socket takes.
        let padding = "x".repeat(400);
        publisher.send(&event_of("greeting", format!("{id}:{padding}")));
        if id % 64 == 63 {
            publisher.settle();
        }
    }
    publisher.settle();
    let mut in_the_middle = 0;
    for round in 0..ROUNDS {
        let session = format!("s{round}");
        let path = format!("/_rig/v1/connection/sse?{}", query(&token_of(&session)));
        let request = Request::get(path).header("Last-Event-ID", &cursor);
        let record = Record::default();
        let mut wire = Wire::connect_narrow(gateway.inbound()).heard_by(record.clone());
        wire.send(request.bytes(gateway.inbound()));
        // Each round is interrupted somewhere else; what is not read waits in the gateway.
        wire.until(format!(r#""id":"{}:"#, round * 20).as_bytes()).expect("the replay");
        gateway.blacklist(&session);
        let after = gateway.metric("rig_replayed_events_total");
        wire.rest();
        let text = String::from_utf8_lossy(&record.lock()).into_owned();
        let got = text.matches("event: greeting").count();
        assert!(text.contains("\nevent: rig.session_killed\n") || !text.contains("rig.resumed"), "{round}");
        let end = text.rsplit_once("event: rig.session_killed");
        assert!(end.is_none_or(|(_, end)| !end.contains("greeting")), "{round}: nothing after the farewell");
        in_the_middle += usize::from(got < MISSED);
        assert_eq!(gateway.metric("rig_replayed_events_total"), after, "{round}: the replay has stopped");
    }
    assert!(in_the_middle >= ROUNDS / 2, "{in_the_middle} rounds were in the middle of the replay");
    assert_eq!(gateway.metric_sum("rig_revocation_payload_after_kill_total", &[]), 0.0);
}
