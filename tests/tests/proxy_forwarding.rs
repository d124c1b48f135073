//! What a request and an answer are on the other side of the gateway (RFC 9110, section 7.6).

use std::time::Duration;

use rig_tests::*;
use serde_json::json;

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

/// What the service sees of a request, without the trace.
fn seen(upstream: &Upstream, gateway: &Gateway, request: &Request) -> Vec<String> {
    upstream.waiting();
    assert_eq!(gateway.ask(request).status, 200);
    let received = upstream.waiting().pop().expect("a request");
    let fields = received.headers.iter().filter(|(name, _)| name != "traceparent" && name != "tracestate");
    let mut fields: Vec<_> =
        fields.map(|(name, value)| format!("{}: {value}", name.to_lowercase())).collect();
    fields.sort();
    fields
}

#[test]
fn the_headers_of_a_request() {
    let (upstream, gateway) = start();
    let (service, address) = (upstream.address(), gateway.inbound());
    let ours = [
        format!(r#"forwarded: for=127.0.0.1;by=127.0.0.1;host="{address}";proto=http"#),
        format!("host: {service}"),
        "via: 1.1 rig".into(),
        "x-forwarded-for: 127.0.0.1".into(),
        format!("x-forwarded-host: {address}"),
        "x-forwarded-proto: http".into(),
    ];
    assert_eq!(seen(&upstream, &gateway, &Request::get("/x")), ours, "nothing but these, no User-Agent");
    let through = Request::get("/x")
        .header("Connection", "keep-alive, X-Hop")
        .header("X-Hop", "1")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("Proxy-Authorization", "Basic eDp5")
        .header("TE", "gzip")
        .header("X-Dup", "1")
        .header("X-Dup", "2")
        .header("Via", "1.0 fred")
        .header("Forwarded", "for=1.2.3.4")
        .header("X-Forwarded-For", "9.9.9.9")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "example.org")
        .header("User-Agent", "test/1");
    let expected = [
        format!(r#"forwarded: for=127.0.0.1;by=127.0.0.1;host="{address}";proto=http"#),
        format!("host: {service}"),
        "user-agent: test/1".into(),
        "via: 1.0 fred".into(),
        "via: 1.1 rig".into(),
        "x-dup: 1".into(),
        "x-dup: 2".into(),
        "x-forwarded-for: 9.9.9.9, 127.0.0.1".into(),
        "x-forwarded-host: example.org".into(),
        "x-forwarded-proto: https".into(),
    ];
    assert_eq!(seen(&upstream, &gateway, &through), expected);
    // Whoever names them in Connection cannot take away what the gateway says.
    let names = "host, content-length, forwarded, x-forwarded-for, x-forwarded-host, x-forwarded-proto, via";
    assert_eq!(seen(&upstream, &gateway, &Request::get("/x").header("Connection", names)), ours);
}

#[test]
fn the_trace_goes_on() {
    let (upstream, gateway) = start();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    gateway.ask(&Request::get("/x").header("traceparent", &parent).header("tracestate", "a=b"));
    gateway.ask(&Request::get("/x"));
    gateway.ask(&Request::get("/x").header("traceparent", "nonsense"));
    let received = upstream.waiting();
    let traces: Vec<_> =
        received.iter().map(|request| request.header("traceparent").expect("a trace")).collect();
    assert!(traces[0].starts_with(&format!("00-{trace}-")) && traces[0] != parent, "{}", traces[0]);
    assert_eq!(received[0].header("tracestate"), Some("a=b"));
    for trace in traces {
        assert_eq!(trace.len(), parent.len(), "{trace}");
    }
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
fn a_method_of_its_own() {
    let upstream = Upstream::start();
    let apis = json!([api_of("dav", upstream.address(), everything(&["PROPFIND", "PURGE"]))]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    for method in ["PROPFIND", "PURGE"] {
        let answer = gateway.ask(&Request::new(method, "/x").body("a"));
        assert_eq!((answer.status, answer.json()["method"].as_str()), (200, Some(method)));
    }
    assert_eq!(gateway.ask(&Request::new("REPORT", "/x").body("a")).status, 404);
}

#[test]
fn trailers_in_both_directions() {
    let (upstream, gateway) = start();
    let mut wire = Wire::connect(gateway.inbound());
    wire.send("POST /chunked HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n");
    let head = Response::read_head(&mut wire).expect("an answer");
    assert_eq!(head.header("trailer"), Some("X-Sum"), "{:?}", head.headers);
    let rest = wire.until(b"0\r\nx-sum: 11\r\n\r\n").expect("a trailer");
    assert!(rest.starts_with(b"5\r\nhello\r\n6\r\n world\r\n"), "{}", String::from_utf8_lossy(&rest));
    let received = upstream.waiting().pop().expect("a request");
    assert_eq!(received.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    assert_eq!(received.header("te"), Some("trailers"));
}

#[test]
fn the_service_decides_whether_a_body_is_wanted() {
    let (upstream, gateway) = start_raw();
    let head = "POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let mut client = Wire::connect(gateway.inbound());
    client.send(head);
    let mut service = upstream.accept();
    let asked = Received::read_head(&mut service).expect("a head");
    assert_eq!(asked.header("expect"), Some("100-continue"));
    assert!(service.is_silent_for(Duration::from_millis(100)), "no body before it is wanted");
    service.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(Response::read_head(&mut client).expect("an answer").status, 100);
    client.send("hello");
    assert_eq!(service.exactly(5).expect("a body"), b"hello");
    service.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(Response::read(&mut client, false).status, 200);

    let mut refused = Wire::connect(gateway.inbound());
    refused.send(head);
    let mut service = upstream_of(&upstream, service);
    Received::read_head(&mut service).expect("a head");
    service.send("HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(Response::read_head(&mut refused).expect("an answer").status, 413, "no 100 before it");
}

/// The connection on which the next request comes: the one that was kept.
fn upstream_of(_: &RawUpstream, kept: Wire) -> Wire {
    kept
}

#[test]
fn a_websocket_of_the_service() {
    let (upstream, gateway) = start();
    let mut websocket = WebSocket::open(gateway.inbound(), &WebSocket::handshake("/upgrade"));
    let asked = upstream.waiting().pop().expect("a request");
    assert_eq!(asked.header("upgrade"), Some("websocket"));
    assert!(asked.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
    // The service sends back what comes: any bytes, also those that would be a request.
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
