//! WebSocket, as in RIG 3.0.0, and according to RFC 6455 where RIG violates it.

use rig_tests::*;

const CREATED: &str = r#"TEXT {"data":{"connection_token":"TOKEN"},"id":"UUID","source":"rig","specversion":"0.2","time":"TIME","type":"rig.connection.create"}"#;
const HEAD: &str =
    "101 | connection: Upgrade | sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo= | upgrade: websocket";
const ONE_WAY: &str = "This WebSocket endpoint cannot be used for two-way communication.";

fn subscriptions_set(list: &str) -> String {
    format!(
        r#"TEXT {{"data":{list},"id":"UUID","source":"rig","specversion":"0.2","time":"TIME","type":"rig.subscriptions_set"}}"#
    )
}

#[test]
fn a_connection_begins_with_two_events() {
    let gateway = Gateway::start(&[("EXTRACTORS", EXTRACTORS)]);
    let mut all = Scenarios::default();
    for (name, query, list) in [
        ("nothing", String::new(), "[]"),
        (
            "a list",
            format!("subscriptions={}", encoded(r#"[{"eventType":"greeting"}]"#)),
            r#"[{"eventType":"greeting","oneOf":[]}]"#,
        ),
        (
            "a token",
            format!("jwt={}", token_of("s")),
            r#"[{"eventType":"greeting","oneOf":[{"name":"bob"}]}]"#,
        ),
    ] {
        let mut websocket = WebSocket::connect(gateway.inbound(), &query);
        all.check(name, &websocket.head, HEAD);
        all.check_text(name, &websocket.receive(), CREATED);
        all.check_text(name, &websocket.receive(), subscriptions_set(list));
    }
}

#[test]
fn events_come_as_text_frames_byte_for_byte() {
    let gateway = Gateway::start(&[("EXTRACTORS", EXTRACTORS)]);
    let query = format!("subscriptions={}", encoded(r#"[{"eventType":"greeting"}]"#));
    let mut every = WebSocket::connect(gateway.inbound(), &query);
    let mut by_token = WebSocket::connect(gateway.inbound(), &format!("jwt={}", token_of("s")));
    every.welcome();
    by_token.welcome();
    gateway.publish(&greeting("1", "alice"));
    gateway.publish(&greeting("2", "bob"));
    let bob = r#"TEXT {"specversion": "0.2", "type": "greeting", "source": "/o", "id": "2", "data": {"name": "bob"}}"#;
    assert_eq!(
        every.receive(),
        r#"TEXT {"specversion": "0.2", "type": "greeting", "source": "/o", "id": "1", "data": {"name": "alice"}}"#
    );
    assert_eq!(every.receive(), bob);
    assert_eq!(by_token.receive(), bob);
}

#[test]
fn what_a_client_sends() {
    let gateway = Gateway::start(&[]);
    let one_way = format!("CLOSE 1000 {ONE_WAY}");
    let mut all = Scenarios::default();
    for (name, frame, expected) in [
        ("text", Frame::new(Opcode::Text, "hello"), one_way.as_str()),
        ("binary", Frame::new(Opcode::Binary, [0, 1]), &one_way),
        ("ping with payload", Frame::new(Opcode::Ping, "abc"), "PONG abc"),
        ("empty ping", Frame::new(Opcode::Ping, ""), "PONG"),
        ("close 1000", Frame::close(1000, "bye"), "CLOSE 1000"),
        ("close empty", Frame::new(Opcode::Close, ""), "CLOSE"),
    ] {
        let mut websocket = WebSocket::connect(gateway.inbound(), "");
        websocket.welcome();
        websocket.send(&frame);
        all.check_text(name, websocket.receive().trim_end(), expected);
    }
    // An unsolicited pong has no effect (RFC 6455, section 5.5.3): the next answer is the one to
    // the ping.
    let mut websocket = WebSocket::connect(gateway.inbound(), "");
    websocket.welcome();
    websocket.send(&Frame::new(Opcode::Pong, "abc"));
    websocket.send(&Frame::new(Opcode::Ping, "1"));
    all.check_text("pong", &websocket.receive(), "PONG 1");
}

#[test]
fn a_close_from_either_side_is_answered_once_and_ends_the_socket() {
    let gateway = Gateway::start(&[]);
    let mut websocket = WebSocket::connect(gateway.inbound(), "");
    websocket.welcome();
    websocket.send(&Frame::close(1000, "bye"));
    assert_eq!(websocket.receive(), "CLOSE 1000");
    assert_eq!(websocket.receive(), "END");

    let mut websocket = WebSocket::connect(gateway.inbound(), "");
    websocket.welcome();
    websocket.send(&Frame::new(Opcode::Text, "hello"));
    websocket.expect_close(1000, ONE_WAY);
}

#[test]
fn what_is_wrong_with_a_connect_is_told_after_the_handshake() {
    let gateway = Gateway::start(&[("MAX_CONNECTIONS_PER_MINUTE", "100")]);
    let mut all = Scenarios::default();
    for (name, query, expected) in [
        ("not JSON", "subscriptions=nojson".to_owned(), "CLOSE 1000 Failed to decode subscription list: …"),
        ("no type", format!("subscriptions={}", encoded(r#"[{"foo":1}]"#)), "CLOSE 1000 Bad request."),
        ("token garbage", "jwt=garbage".into(), "CLOSE 1000 Bad request."),
    ] {
        let mut websocket = WebSocket::connect(gateway.inbound(), &query);
        all.check(name, &websocket.head, HEAD);
        all.check_text(name, &websocket.receive(), expected);
        websocket.send(&Frame::close(1000, ""));
        all.check_text(name, &websocket.receive(), "END");
    }
}

#[test]
fn handshakes() {
    let gateway = Gateway::start(&[]);
    let path = "/_rig/v1/connection/ws";
    let ask = |request: Request| gateway.ask(&request);
    let upgrade =
        || Request::get(path).header("Connection", "keep-alive, Upgrade").header("Upgrade", "WebSocket");
    let mut all = Scenarios::default();
    let required = "426 | connection: upgrade | upgrade: websocket";
    all.check("no upgrade", &ask(Request::get(path)), required);
    let version_8 = upgrade()
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("Sec-WebSocket-Version", "8");
    let response = ask(version_8);
    all.check("version 8", &response, required);
    assert_eq!(response.header("sec-websocket-version"), Some("13"));
    all.check("no key", &ask(upgrade().header("Sec-WebSocket-Version", "13")), "400 | …");
    let short = upgrade().header("Sec-WebSocket-Key", "c2hvcnQ=").header("Sec-WebSocket-Version", "13");
    all.check("key of 5 bytes", &ask(short), "400 | …");
    for method in ["POST", "PUT", "DELETE"] {
        all.check(method, &ask(Request::new(method, path)), "405 | …allow: GET, …OPTIONS…");
    }
    all.check(
        "OPTIONS",
        &ask(Request::new("OPTIONS", path)),
        "204 | access-control-allow-headers: content-type,authorization | access-control-allow-methods: GET | access-control-allow-origin: *",
    );

    let extras = WebSocket::handshake(path)
        .header("Sec-WebSocket-Protocol", "foo, cloudevents.json")
        .header("Sec-WebSocket-Extensions", "permessage-deflate")
        .header("Origin", "http://evil");
    let mut websocket = WebSocket::open(gateway.inbound(), &extras);
    all.check("protocols, extensions, origin", &websocket.head, HEAD);
    assert_eq!(websocket.head.header("sec-websocket-protocol"), Some("cloudevents.json"));
    assert_eq!(websocket.head.header("sec-websocket-extensions"), None);
    all.check_text("and it works", &websocket.receive(), CREATED);
}

#[test]
fn frames_sent_with_the_handshake_are_read() {
    let gateway = Gateway::start(&[]);
    let mut wire = Wire::connect(gateway.inbound());
    let mut bytes = WebSocket::handshake("/_rig/v1/connection/ws").bytes(gateway.inbound());
    bytes.extend(Frame::close(1000, "").bytes());
    wire.send(bytes);
    assert_eq!(Response::read(&mut wire, false).status, 101);
    let rest = wire.rest();
    assert!(rest.ends_with(&[0x88, 2, 0x03, 0xe8]), "{rest:?}");
}
