//! Answers of services as clients receive them, and connections that are upgraded.

use rig_tests::*;

fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &pass_all(upstream.address()))]);
    (upstream, gateway)
}

fn start_raw() -> (RawUpstream, Gateway) {
    let upstream = RawUpstream::by_hand();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &pass_all(upstream.address()))]);
    (upstream, gateway)
}

#[test]
fn the_headers_of_an_answer() {
    let (upstream, gateway) = start_raw();
    let mut client = Request::get("/x").start(gateway.inbound());
    let mut service = upstream.accept();
    Received::read(&mut service).expect("a request");
    service.send(
        "HTTP/1.1 201 Made\r\nconnection: x-hop, keep-alive\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nproxy-authenticate: Basic\r\nset-cookie: b=2\r\nset-cookie: a=1\r\nvia: 1.0 fred\r\nserver: test\r\ncontent-length: 2\r\n\r\nok",
    );
    let answer = Response::read(&mut client, false);
    let mut fields: Vec<_> = answer.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    fields.retain(|field| !field.starts_with("date: "));
    let expected =
        ["set-cookie: b=2", "set-cookie: a=1", "via: 1.0 fred", "server: test", "content-length: 2"];
    fields.sort_by_key(|field| expected.iter().position(|expected| expected == field).unwrap_or(9));
    assert_eq!(fields, [&expected[..], &["via: 1.1 rig"]].concat());
    assert_eq!((answer.status, answer.text().as_str()), (201, "ok"));
}

#[test]
fn heads_without_bodies() {
    let (upstream, gateway) = start_raw();
    let mut client = Wire::connect(gateway.inbound());
    let mut service = None;
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ] {
        client.send(Request::new(method, "/x").bytes(gateway.inbound()));
        let service = service.get_or_insert_with(|| upstream.accept());
        assert_eq!(Received::read(service).expect("a request").method, method);
        service.send(answer);
        let head = Response::read_head(&mut client).expect("an answer");
        assert!(answer.starts_with(&format!("HTTP/1.1 {} ", head.status)), "{}", head.shown());
        if method == "HEAD" {
            assert_eq!(head.header("content-length"), Some("1000"));
        }
    }
}

#[test]
fn a_websocket_of_the_service() {
    let (upstream, gateway) = start();
    let mut websocket = WebSocket::open(gateway.inbound(), &WebSocket::handshake("/upgrade"));
    let asked = upstream.waiting().pop().expect("a request");
    assert_eq!(asked.header("upgrade"), Some("websocket"));
    assert!(asked.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
    // The service sends back all bytes, including those that look like a request.
    let bytes = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\0\xff".repeat(1000);
    websocket.wire().send(&bytes);
    assert_eq!(websocket.wire().exactly(bytes.len()).expect("an echo"), bytes);
    drop(websocket);
}

#[test]
fn an_upgrade_that_the_service_does_not_want() {
    let (upstream, gateway) = start_raw();
    let mut client = WebSocket::handshake("/upgrade").start(gateway.inbound());
    let mut service = upstream.accept();
    Received::read(&mut service).expect("a request");
    service.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
    assert_eq!(Response::read(&mut client, false).shown(), "403 | no");
}
