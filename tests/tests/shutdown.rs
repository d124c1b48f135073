//! SIGTERM: every client gets its farewell, nothing is cut off, and the exit code is 0.

use std::time::{Duration, Instant};

use rig_tests::*;

#[test]
fn every_client_sees_an_orderly_end() {
    let mut gateway = Gateway::start(&[]);
    let query = format!("subscriptions={}", encoded(r#"[{"eventType":"greeting"}]"#));
    let mut sse = Sse::connect(gateway.inbound(), &query);
    sse.welcome();
    let mut websocket = WebSocket::connect(gateway.inbound(), &query);
    websocket.welcome();
    let mut longpolling = LongPolling::connect(gateway.inbound(), &query);
    longpolling.welcome();
    let parked = longpolling.start();
    // The poll is pending by the time this event is published, since its request was sent first.
    gateway.publish(&greeting("1", "bob"));
    assert_eq!(parked.answer().json()["last_event_id"], "1");
    longpolling.poll();
    let parked = longpolling.start();
    assert_eq!(sse.next_data(), greeting("1", "bob"));
    assert_eq!(websocket.next_text(), greeting("1", "bob"));
    let mut idle = Request::get("/_rig/health").start(gateway.inbound());
    assert_eq!(Response::read(&mut idle, false).status, 200);
    await_parked(&gateway);

    let asked = Instant::now();
    gateway.terminate();
    expect_orderly_end(&mut sse);
    assert!(websocket.receive().starts_with("CLOSE 1001"));
    websocket.send(&Frame::close(1001, ""));
    assert_eq!(websocket.receive(), "END");
    let answer = parked.answer();
    assert_eq!((answer.status, answer.json()["events"].to_string().as_str()), (200, "[]"));
    assert!(idle.rest().is_empty());
    drop((sse, websocket));
    assert_eq!(gateway.exit_status().code(), Some(0), "{}", gateway.log());
    // The gateway need not wait for any client.
    assert!(asked.elapsed() < Duration::from_secs(3), "after {:?}", asked.elapsed());
}

/// Checks that the client gets a time to reconnect, and that the chunked stream ends with its last
/// chunk.
fn expect_orderly_end(sse: &mut Sse) {
    let retry = sse.raw().expect("a last field");
    let wait: u64 = retry.strip_prefix("retry: ").and_then(|wait| wait.parse().ok()).expect("a number");
    assert!((1000..=11_000).contains(&wait), "{retry}");
    assert_eq!(sse.raw(), None);
}

/// Waits until a poll is pending. This is not visible from outside, but requests on new sockets,
/// which are read later, have been answered by then.
fn await_parked(gateway: &Gateway) {
    for _ in 0..20 {
        assert_eq!(gateway.ask(&Request::get("/_rig/health")).status, 200);
    }
}

#[test]
fn a_client_that_does_not_go_is_left_behind_after_the_grace_period() {
    let mut gateway = Gateway::start(&[("SHUTDOWN_GRACE_PERIOD", "1s")]);
    let mut websocket = WebSocket::connect(gateway.inbound(), "");
    websocket.welcome();
    let mut half_sent = Wire::connect(gateway.inbound());
    half_sent.send("POST /_rig/v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\ncontent-type: application/json\r\n\r\n{");
    await_parked(&gateway);
    let asked = Instant::now();
    gateway.terminate();
    assert_eq!(gateway.exit_status().code(), Some(0), "{}", gateway.log());
    assert!(asked.elapsed() < Duration::from_secs(6), "after {:?}", asked.elapsed());
}

#[test]
fn an_interrupt_is_as_good_as_sigterm() {
    let mut gateway = Gateway::start(&[]);
    let mut sse = Sse::connect(gateway.inbound(), "");
    sse.welcome();
    gateway.signal("INT");
    expect_orderly_end(&mut sse);
    assert_eq!(gateway.exit_status().code(), Some(0), "{}", gateway.log());
}

#[test]
fn new_clients_are_refused() {
    let mut gateway = Gateway::start(&[("SHUTDOWN_GRACE_PERIOD", "2s")]);
    let mut open = Wire::connect(gateway.inbound());
    open.send("POST /_rig/v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\ncontent-type: application/json\r\n\r\n{");
    await_parked(&gateway);
    let address = gateway.inbound();
    gateway.terminate();
    eventually("the end of accepting", || {
        std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err().then_some(())
    });
    assert_eq!(gateway.exit_status().code(), Some(0), "{}", gateway.log());
}

/// Waits until the gateway has logged this message.
fn await_line(gateway: &Gateway, message: &str) {
    let line = format!(r#""message":"{message}""#);
    eventually(message, || gateway.log().contains(&line).then_some(()));
}

#[test]
fn another_signal_ends_the_grace_period_at_once() {
    let service = RawUpstream::by_hand();
    for (signal, delay) in [("TERM", "0s"), ("INT", "0s"), ("TERM", "1h")] {
        let folder = Folder::new();
        let apis = pass_all(service.address());
        let settings = [
            ("SHUTDOWN_DELAY", delay),
            ("SHUTDOWN_GRACE_PERIOD", "1h"),
            ("PROXY_RECV_TIMEOUT", "3600000"),
            ("DATA_DIR", &*folder.join("data")),
            ("PROXY_CONFIG_FILE", &apis),
        ];
        let mut gateway = Gateway::start(&settings);
        let mut websocket = WebSocket::connect(gateway.inbound(), "");
        websocket.welcome();
        let mut waiting = Request::get("/slow").start(gateway.inbound());
        let mut served = service.accept();
        Received::read(&mut served).expect("a request");
        gateway.blacklist("before");
        gateway.terminate();
        if delay != "0s" {
            await_line(&gateway, "leaving");
            gateway.signal(signal);
            await_line(&gateway, "leaving at once");
        }
        // The grace period has begun, and neither client has disconnected.
        assert!(websocket.receive().starts_with("CLOSE 1001"));
        gateway.signal(signal);
        assert_eq!(gateway.exit_status().code(), Some(0), "{signal} {delay}: {}", gateway.log());
        assert_eq!(websocket.receive(), "END");
        assert!(waiting.rest().is_empty() && served.rest().is_empty());
        let log = gateway.log();
        assert!(log.contains("another signal ends the grace period"), "{log}");
        assert!(log.contains("requests were still open at the end of the grace period"), "{log}");
        let audit = std::fs::read_to_string(folder.join("data/audit.log")).expect("an audit log");
        assert!(audit.contains("before") && audit.ends_with('\n'), "{audit}");
        let again = Gateway::start(&settings);
        assert_eq!(again.ask_internal(&Request::get("/v3/session-blacklist/before")).status, 200);
    }
}
