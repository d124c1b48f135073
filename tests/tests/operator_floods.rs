//! What fills the gateway on behalf of clients leaves the operator's reserve alone.

use rig_tests::*;
use serde_json::json;

/// Few enough to be used up by one client.
const DESCRIPTORS: usize = 100;

const SESSION: &str = "flood";

/// Revokes the session and looks at everything an operator looks at.
fn operate(gateway: &Gateway, what: &str) {
    gateway.blacklist(SESSION);
    for path in ["/health", "/v4/sessions", "/metrics"] {
        let response = gateway.ask_internal(&Request::get(path));
        assert_eq!(response.status, 200, "{what}: {path}: {}", response.text());
    }
}

#[test]
fn f03_half_a_proxy_protocol_head_leaves_the_reserve_alone() {
    let settings = [("PROXY_PROTOCOL", "on"), ("TRUSTED_PROXIES", "127.0.0.1"), ("HEAD_TIMEOUT", "60s")];
    for half in [&b"PROXY TCP4 1.2.3.4"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01"] {
        let gateway = Gateway::start_with_descriptors(DESCRIPTORS, &settings);
        let crowd: Vec<_> = (0..DESCRIPTORS + 20)
            .map_while(|_| {
                let mut wire = Wire::connect(gateway.inbound());
                wire.try_send(half).map(|()| wire)
            })
            .collect();
        operate(&gateway, "half a head");
        drop(crowd);
    }
}

/// An event in as many bytes.
fn event(bytes: usize) -> Request {
    let event = json!({
        "specversion": "0.2", "type": "greeting", "source": "/s", "id": "1", "data": "x".repeat(bytes),
    });
    Request::post_json("/_rig/v1/events", event.to_string())
}

#[test]
fn f03_questions_to_a_service_leave_the_reserve_alone() {
    let service = Stub::start();
    let settings = [("SUBMISSION_CHECK", &*service.url()), ("CHECK_TIMEOUT", "60s")];
    let gateway = Gateway::start_with_descriptors(DESCRIPTORS, &settings);
    let ask = |_| event(10).start(gateway.inbound());
    // Each of these takes a descriptor for its client, and one for its question.
    let asked: Vec<_> = (0..DESCRIPTORS / 4).map(|n| (ask(n), service.next())).collect();
    let crowd: Vec<_> = (0..DESCRIPTORS).map(ask).collect();
    operate(&gateway, "questions");
    let open = gateway.metric("process_open_fds");
    assert!(open < DESCRIPTORS as f64 * 0.95, "{open} are open");
    drop((crowd, asked));
}

#[test]
fn f03_bodies_that_wait_for_a_decision_count() {
    const COUNT: usize = 20;
    let service = Stub::start();
    let settings =
        [("SUBMISSION_CHECK", &*service.url()), ("CHECK_TIMEOUT", "60s"), ("WAITING_BYTES", "1MiB")];
    let gateway = Gateway::start(&settings);
    let mut crowd: Vec<_> = (0..COUNT).map(|_| event(100 << 10).start(gateway.inbound())).collect();
    let mut refused = 0;
    eventually("those that are too many", || {
        crowd.retain_mut(|wire| {
            let waits = wire.is_silent_for(std::time::Duration::from_millis(5));
            if !waits {
                assert_eq!(Response::read(wire, false).status, 503);
                refused += 1;
            }
            waits
        });
        (refused >= COUNT / 2).then_some(())
    });
    let waiting = gateway.metric("rig_waiting_bytes");
    assert!(waiting >= 100_000.0 && waiting <= 1_048_576.0, "{waiting}");
    operate(&gateway, "decisions");
}

#[test]
fn f03_the_bodies_of_the_internal_port_have_a_room_of_their_own() {
    const COUNT: usize = 10;
    const LENGTH: usize = 15 << 20;
    let gateway = Gateway::start(&[("WAITING_BYTES", "1MiB"), ("BODY_TIMEOUT", "60s")]);
    let begin = |address, path: &str, most| {
        let mut wire = Wire::connect(address);
        wire.send(format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {LENGTH}\r\n\r\n"
        ));
        wire.flood(most);
        wire
    };
    let clients: Vec<_> = (0..4).map(|_| begin(gateway.inbound(), "/_rig/v1/events", 300_000)).collect();
    let callers = ["/v3/messages", "/v4/revocations"].into_iter().cycle().take(COUNT);
    let mut callers: Vec<_> = callers.map(|path| begin(gateway.internal(), path, LENGTH - 1)).collect();
    // Its body comes in pieces, as that of everybody else.
    let body = json!({ "session": SESSION, "validityInSeconds": 600 }).to_string();
    let mut revoke = Wire::connect(gateway.internal());
    revoke.send(format!(
        "POST /v4/revocations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
        body.len(),
        &body[..10]
    ));
    let is_over = |wire: &mut Wire| !wire.is_silent_for(std::time::Duration::from_millis(20));
    // Four of the largest bodies have room.
    let over = eventually("those that are too many", || {
        let over = callers.iter_mut().filter_map(|wire| is_over(wire).then_some(())).count();
        (over >= COUNT - 4).then_some(over)
    });
    assert!(over < COUNT, "only the largest go, and some stay");
    revoke.send(&body[10..]);
    let answer = Response::read(&mut revoke, false);
    assert_eq!(answer.status, 201, "{}", answer.text());
    operate(&gateway, "bodies");
    drop(clients);
}

#[test]
fn f03_a_mailbox_that_had_to_go_is_gone_at_once() {
    let gateway = Gateway::start(&[("WAITING_BYTES", "1MiB"), ("OUTBOX_BYTES", "64MiB")]);
    let query = format!("subscriptions={}", encoded(r#"[{"eventType":"greeting"}]"#));
    let mut client = LongPolling::connect(gateway.inbound(), &query);
    gateway.await_metric(r#"rig_connections{transport="longpolling"}"#, 1.0);
    for _ in 0..3 {
        assert_eq!(event(400 << 10).send(gateway.inbound()).status, 202);
    }
    gateway.await_metric(r#"rig_connections{transport="longpolling"}"#, 0.0);
    gateway.await_metric(r#"rig_connections_closed_total{transport="longpolling",reason="memory"}"#, 1.0);
    assert_eq!(gateway.metric("rig_waiting_bytes"), 0.0);
    // Its client begins anew.
    let answer = client.poll();
    assert_eq!((answer.status, &*answer.text()), (200, r#""ok""#));
}
