//! Clients that violate the protocol: each gets an answer, and the node keeps working.

use rig_tests::*;

const SSE: &str = "/_rig/v1/connection/sse";

/// Sends bytes, closes the sending side, and returns the status line and everything after it.
fn answer(gateway: &Gateway, bytes: impl AsRef<[u8]>) -> String {
    let mut wire = Wire::connect(gateway.inbound());
    wire.send(bytes);
    wire.half_close();
    String::from_utf8_lossy(&wire.rest()).into_owned()
}

/// Returns `true` for a 4xx, or if the connection was closed without an answer.
fn is_refusal(answer: &str) -> bool {
    answer.is_empty() || answer.starts_with("HTTP/1.1 4")
}

#[test]
fn invalid_requests() {
    let mut gateway = Gateway::start(&[]);
    let post = "POST /_rig/v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let event = greeting("1", "bob");
    for bytes in [
        b"\r\n\r\n\r\n".to_vec(),
        b"nonsense\r\n\r\n".to_vec(),
        vec![0; 1000],
        (0..=255).collect(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /_rig/health HTTP/1.1\r\nhost".to_vec(),
        b"GET /_rig/health HTTP/1.1\r\nhost : x\r\n\r\n".to_vec(),
        b"GET /_rig/health HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n".to_vec(),
        format!("GET {SSE}?jwt=\u{e9}\u{fc} HTTP/1.1\r\nx\u{1}: \u{2}\r\n\r\n").into_bytes(),
        format!("{post}content-length: -1\r\n\r\n{event}").into_bytes(),
        format!("{post}content-length: 99999999999999999999\r\n\r\n{event}").into_bytes(),
        format!("{post}content-length: 9223372036854775807\r\n\r\n{event}").into_bytes(),
        format!("{post}content-length: 10\r\ncontent-length: 11\r\n\r\n{event}").into_bytes(),
        format!("{post}content-length: 1000\r\n\r\n{event}").into_bytes(),
        format!("{post}transfer-encoding: chunked\r\n\r\nzz\r\n{event}\r\n0\r\n\r\n").into_bytes(),
        format!("{post}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n{event}").into_bytes(),
        format!("{post}transfer-encoding: gzip\r\n\r\n{event}").into_bytes(),
        format!("{post}transfer-encoding: chunked\r\n\r\n20\r\n{event}").into_bytes(),
    ] {
        let answer = answer(&gateway, &bytes);
        assert!(is_refusal(&answer), "{:?}\n{answer}", String::from_utf8_lossy(&bytes));
        assert!(gateway.is_healthy(), "after {:?}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn both_lengths_at_once_do_not_smuggle_a_second_request() {
    let gateway = Gateway::start(&[]);
    let smuggled = "GET /_rig/health HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut wire = Wire::connect(gateway.inbound());
    wire.send(
        format!(
            "POST /_rig/v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}",
            5 + smuggled.len()
        ),
    );
    // RFC 9112, section 6.1: it may be refused, and the connection must be closed.
    let answer = Response::read(&mut wire, false);
    assert_eq!(
        answer.shown(),
        format!("400 | {CORS_TEXT} | Content-Length and Transfer-Encoding must not stand beside each other.")
    );
    assert_eq!(wire.rest(), b"", "the second request is not answered");
}

#[test]
fn a_query_that_is_not_utf_8() {
    let mut gateway = Gateway::start(&[]);
    for (query, status) in [
        ("subscriptions=%ff%fe", 400),
        ("jwt=%ff", 400),
        ("subscriptions=%5B%22%ed%a0%80%22%5D", 400),
        ("%00=%00", 200),
    ] {
        let mut wire = Request::get(format!("{SSE}?{query}")).start(gateway.inbound());
        assert_eq!(Response::read_head(&mut wire).expect("an answer").status, status, "{query}");
    }
    let deep = Request::get(format!("{SSE}?subscriptions={}", "%5B".repeat(2000)));
    assert_eq!(gateway.ask(&deep).status, 400);
    let nested = format!(r#"{{"specversion":"0.2","type":"t","id":"1","data":{}"#, "[".repeat(200_000));
    assert_eq!(gateway.ask(&Request::post_json("/_rig/v1/events", nested)).status, 400);
    assert!(gateway.is_healthy());
}

#[test]
fn the_same_request_twice_on_one_socket_is_answered_twice() {
    let gateway = Gateway::start(&[]);
    let request = Request::post_json("/_rig/v1/events", greeting("1", "bob")).bytes(gateway.inbound());
    let mut wire = Wire::connect(gateway.inbound());
    wire.send([&request[..], &request[..]].concat());
    for _ in 0..2 {
        assert_eq!(Response::read(&mut wire, false).status, 202);
    }
}

#[test]
fn a_request_behind_a_stream_is_not_answered_into_it() {
    let gateway = Gateway::start(&[]);
    let twice =
        [Request::get(SSE).bytes(gateway.inbound()), Request::get("/_rig/health").bytes(gateway.inbound())]
            .concat();
    let mut wire = Wire::connect(gateway.inbound());
    wire.send(twice);
    if let Ok(mut sse) = Sse::over(wire) {
        sse.welcome();
        assert!(sse.wire().is_silent_for(std::time::Duration::from_millis(300)));
    }
}

#[test]
fn a_body_on_a_connect_is_refused() {
    let gateway = Gateway::start(&[]);
    let response = gateway.ask(&Request::get(SSE).body("{}"));
    assert_eq!(response.status, 400, "{}", response.shown());
}

#[test]
fn a_client_that_half_closes_keeps_its_stream_or_loses_it_cleanly() {
    let gateway = Gateway::start(&[]);
    let mut wire = Request::get(SSE).start(gateway.inbound());
    assert!(wire.until(b"rig.subscriptions_set\"}\n\n").is_some());
    drop(wire);
    let mut half = WebSocket::connect(gateway.inbound(), "");
    half.welcome();
    half.wire().half_close();
    assert!(matches!(half.receive().as_str(), "END" | "CLOSE 1006" | "CLOSE 1002" | "CLOSE"));
    gateway.await_metric(r#"rig_connections{transport="sse"}"#, 0.0);
    gateway.await_metric(r#"rig_connections{transport="websocket"}"#, 0.0);
}

#[test]
fn websocket_frames_that_break_the_protocol() {
    let mut gateway = Gateway::start(&[]);
    let text = || Frame::new(Opcode::Text, "hello");
    let ping = || Frame::new(Opcode::Ping, "x");
    for (name, frames, code) in [
        ("unmasked text", vec![text().unmasked()], 1002),
        ("unmasked ping", vec![ping().unmasked()], 1002),
        ("reserved bit 1", vec![text().reserved(4)], 1002),
        ("reserved bit 3", vec![ping().reserved(1)], 1002),
        ("reserved opcode 3", vec![Frame::new(Opcode::Reserved3, "")], 1002),
        ("reserved opcode 11", vec![Frame::new(Opcode::Reserved11, "")], 1002),
        ("a ping in pieces", vec![ping().unfinished()], 1002),
        ("a ping of 126 bytes", vec![Frame::new(Opcode::Ping, [0; 126])], 1002),
        ("a continuation of nothing", vec![Frame::new(Opcode::Continuation, "x")], 1002),
        ("a new message inside another", vec![text().unfinished(), text()], 1002),
        ("close of one byte", vec![Frame::new(Opcode::Close, [3])], 1002),
        ("close code 999", vec![Frame::close(999, "")], 1002),
        ("close code 1005", vec![Frame::close(1005, "")], 1002),
        ("close code 1006", vec![Frame::close(1006, "")], 1002),
        ("close reason not UTF-8", vec![Frame::close(1000, [0xff])], 1007),
        ("text not UTF-8", vec![Frame::new(Opcode::Text, [0xc3, 0x28])], 1007),
        ("text cut off", vec![Frame::new(Opcode::Text, [0xe2, 0x82])], 1007),
        ("too large", vec![text().announcing(1 << 40)], 1009),
        ("larger than can be", vec![text().announcing(u64::MAX)], 1009),
    ] {
        let mut websocket = WebSocket::connect(gateway.inbound(), "");
        websocket.welcome();
        frames.iter().for_each(|frame| websocket.send(frame));
        let close = websocket.receive();
        assert!(close.starts_with(&format!("CLOSE {code}")), "{name}: {close}");
        assert!(gateway.is_healthy(), "after {name}");
    }
}

#[test]
fn websocket_messages_in_pieces_are_put_together() {
    let gateway = Gateway::start(&[]);
    let mut websocket = WebSocket::connect(gateway.inbound(), "");
    websocket.welcome();
    websocket.send(&Frame::new(Opcode::Text, "h\u{e9}".as_bytes().split_at(2).0).unfinished());
    websocket.send(&Frame::new(Opcode::Ping, "between"));
    assert_eq!(websocket.receive(), "PONG between");
    websocket.send(&Frame::new(Opcode::Continuation, [0xa9]));
    websocket.expect_close(1000, "This WebSocket endpoint cannot be used for two-way communication.");

    let mut byte_by_byte = WebSocket::connect(gateway.inbound(), "");
    byte_by_byte.welcome();
    for byte in Frame::new(Opcode::Ping, "slow").bytes() {
        byte_by_byte.wire().send([byte]);
    }
    assert_eq!(byte_by_byte.receive(), "PONG slow");
}
