//! Heads as real clients send them, and the answers to those that are refused.

use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::channel;

use rig_tests::*;
use serde_json::json;

/// Returns the answer, which must have everything that the listener's own refusals have.
fn refusal(gateway: &Gateway, bytes: &[u8]) -> (u16, Response) {
    let mut wire = Wire::connect(gateway.inbound());
    wire.send(bytes);
    let response = Response::read(&mut wire, false);
    assert!(wire.rest().is_empty(), "the connection is closed after one answer");
    (response.status, response)
}

#[test]
fn f47_raw_characters_in_a_query_are_accepted() {
    let gateway = Gateway::start(&[]);
    let query = r#"subscriptions=[{"eventType":"greeting"}]"#;
    let mut sse = Sse::connect(gateway.inbound(), query);
    sse.welcome();
    gateway.publish(&greeting("1", "bob"));
    assert_eq!(sse.next_data(), greeting("1", "bob"));
    let mut websocket = WebSocket::connect(gateway.inbound(), query);
    websocket.welcome();
    let mut polling = LongPolling::connect(gateway.inbound(), query);
    polling.welcome();
    assert_eq!(gateway.ask_internal(&Request::get("/health?\"<>")).status, 200);
}

#[test]
fn f47_a_service_gets_the_query_byte_for_byte() {
    let service = Upstream::start();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &pass_all(service.address()))]);
    for (target, seen) in [
        (r#"/a?q="x"<y>&`{|}^\'"#, None),
        ("/a?x=\"", None),
        // Parts that the client has encoded stay encoded.
        ("/a?%22\"%3C<%3e>%zz%", None),
        ("/a?\"?<", None),
        ("/a?\"#\"<", Some("/a?\"")),
        // The path is normalized.
        ("/%61/./b\"<>`{|}^?\"%61<", Some("/a/b\"%3C%3E%60{|}^?\"%61<")),
        ("http://x/a?\"", Some("/a?\"")),
    ] {
        let mut wire = Wire::connect(gateway.inbound());
        for _ in 0..2 {
            wire.send(format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n"));
            assert_eq!(Response::read(&mut wire, false).status, 200, "{target}");
            assert_eq!(service.next().target, seen.unwrap_or(target));
        }
    }
    // Every byte that a request line may contain, in pieces and with HTTP/1.0 too.
    let every: Vec<u8> = (0x21..=0xff).filter(|byte| !b"#\x7f".contains(byte)).collect();
    let head = [b"GET /a?", &every[..], b" HTTP/1.0\r\nhost: x\r\n\r\n"].concat();
    for piece in [head.len(), 40, 1] {
        let mut wire = Wire::connect(gateway.inbound());
        head.chunks(piece).for_each(|piece| wire.send(piece));
        assert_eq!(Response::read(&mut wire, false).status, 200);
        let target: Vec<u8> = service.next().target.chars().map(|byte| byte as u8).collect();
        assert_eq!(target, [b"/a?", &every[..]].concat());
    }
    // Three pipelined requests with bodies that look like heads; the query of the middle one needs
    // no encoding.
    let body = "GET /?\"";
    let post = |target: &str| format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 7\r\n\r\n{body}");
    let mut wire = Wire::connect(gateway.inbound());
    let targets = ["/1?\"", "/2?%22", "/3?<\u{e9}>"];
    wire.send(targets.map(post).concat());
    for target in targets {
        assert_eq!(Response::read(&mut wire, false).status, 200);
        let received = service.next();
        let target: String = target.bytes().map(char::from).collect();
        assert_eq!((received.target.as_str(), &received.body[..]), (target.as_str(), body.as_bytes()));
    }
    let mut tunnel = Wire::connect(gateway.inbound());
    tunnel.send("GET /upgrade?\"<> HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
    assert_eq!(Response::read_head(&mut tunnel).expect("an answer").status, 101);
    assert_eq!(service.next().target, "/upgrade?\"<>");
    tunnel.send("\"GET / HTTP/1.1\"");
    assert_eq!(tunnel.exactly(16).as_deref(), Some(&b"\"GET / HTTP/1.1\""[..]));
}

#[test]
fn f47_a_definition_changes_the_path_and_no_byte_of_the_query() {
    let service = Upstream::start();
    let api = api_of(
        "all",
        service.address(),
        json!([
            {"id": "replaced", "method": "GET", "path_regex": "/old/(.*)", "path_replacement": "/new?id=\\1"},
            {"id": "async", "method": "POST", "path_regex": "/.*", "response_from": "http_async"},
        ]),
    );
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &json!([api]).to_string())]);
    assert_eq!(gateway.ask(&Request::get("/old/<1>?q=\"%22")).status, 200);
    assert_eq!(service.next().target, "/new?id=%3C1%3E&q=\"%22");
    let mut wire = Wire::connect(gateway.inbound());
    wire.send("POST /async?a=\"&correlation=\"mine\"&b=< HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    let target = service.next().target;
    assert!(target.starts_with("/async?a=\"&b=<&correlation="), "{target}");
    assert!(!target.contains("mine"), "{target}");
}

#[test]
fn f47_a_request_that_is_sent_again_keeps_its_query() {
    let (seen, requests) = channel();
    let service = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = service.local_addr().expect("a bound socket has an address");
    // Every connection is closed after its second request, without an answer to it.
    std::thread::spawn(move || {
        while let Ok((stream, _)) = service.accept() {
            let mut wire = Wire::from(stream);
            for answer in ["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""] {
                let Some(request) = Received::read(&mut wire) else { break };
                seen.send(request.target).expect("the test listens");
                wire.send(answer);
            }
        }
    });
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &pass_all(address))]);
    for _ in 0..2 {
        assert_eq!(gateway.ask(&Request::get("/a?\"<")).status, 200);
    }
    assert_eq!(requests.try_iter().collect::<Vec<_>>(), ["/a?\"<", "/a?\"<", "/a?\"<"]);
}

#[test]
fn f47_over_http2_a_service_gets_the_query_percent_encoded() {
    let nginx = Nginx::start_http2("location / { return 200 $request_uri; }");
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &pass_all_http2(nginx.address()))]);
    assert_eq!(gateway.ask(&Request::get("/a?\"<>%22&`{|}")).text(), "/a?%22%3C%3E%22&`{|}");
    let nginx = Nginx::start_with("location / { return 200 $request_uri; }");
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &pass_all(nginx.address()))]);
    assert_eq!(gateway.ask(&Request::get("/a?\"<>%22&`{|}")).text(), "/a?\"<>%22&`{|}");
}

#[test]
fn f47_real_clients_send_such_queries() {
    let gateway = Gateway::start(&[]);
    let url = format!(r#"http://{}/_rig/health?a="b"<c>{{d}}|^`"#, gateway.inbound());
    let curl = Command::new("curl").args(["-sg", &url]).output().expect("curl is installed");
    assert_eq!(String::from_utf8_lossy(&curl.stdout), "OK");
    let script = "import http.client, sys\n\
        connection = http.client.HTTPConnection(sys.argv[1])\n\
        connection.request('GET', '/_rig/health?a=\"b\"<c>')\n\
        print(connection.getresponse().read().decode())";
    let python = Command::new("python3")
        .args(["-c", script, &gateway.inbound().to_string()])
        .output()
        .expect("python3 is installed");
    assert_eq!(String::from_utf8_lossy(&python.stdout).trim(), "OK");
}

#[test]
fn f47_what_cannot_be_read_is_refused_with_a_text_cors_and_a_request_id() {
    let gateway = Gateway::start(&[]);
    let fields = (0..101).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let cases: [(u16, String, &str); 17] = [
        (400, "G@T / HTTP/1.1\r\nhost: x\r\n\r\n".into(), "method"),
        (400, "GET / HTTP/3.9\r\nhost: x\r\n\r\n".into(), "version"),
        (400, "GET /a b HTTP/1.1\r\nhost: x\r\n\r\n".into(), "version"),
        (400, "GET nowhere HTTP/1.1\r\nhost: x\r\n\r\n".into(), "target"),
        (400, "GET /\x01 HTTP/1.1\r\nhost: x\r\n\r\n".into(), "cannot be read"),
        (400, "GET / HTTP/1.1\r\nhost: x\r\na b: c\r\n\r\n".into(), "header"),
        (400, "GET / HTTP/1.1\r\nhost: x\r\na: \x01\r\n\r\n".into(), "header"),
        (414, format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(10_000)), "MAX_REQUEST_LINE"),
        (414, format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(70_000)), "MAX_REQUEST_LINE"),
        (414, format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(300_000)), "MAX_REQUEST_LINE"),
        (
            431,
            format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(70_000)),
            "(MAX_HEADER_BYTES).",
        ),
        (
            431,
            format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(300_000)),
            "(MAX_HEADER_BYTES).",
        ),
        (431, format!("GET / HTTP/1.1\r\nhost: x\r\n{fields}\r\n"), "100 header fields (MAX_HEADER_FIELDS)."),
        (
            400,
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 18446744073709551615\r\n\r\n".into(),
            "Content-Length",
        ),
        (400, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5x\r\n\r\n".into(), "Content-Length must"),
        (405, "CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n".into(), "CONNECT"),
        (400, "PRI * HTTP/2.0\r\n\r\nSN".into(), "version"),
    ];
    for (status, bytes, says) in cases {
        let start = bytes.get(..40).unwrap_or(&bytes).to_owned();
        for before in ["", "GET /_rig/health HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let mut wire = Wire::connect(gateway.inbound());
            wire.send([before, &bytes].concat());
            if !before.is_empty() {
                assert_eq!(Response::read(&mut wire, false).status, 200, "{start}");
            }
            let response = Response::read(&mut wire, false);
            assert_eq!(response.status, status, "{start}: {}", response.text());
            assert!(response.text().contains(says), "{start}: {}", response.text());
            assert_eq!(response.header("access-control-allow-origin"), Some("*"), "{start}");
            assert!(response.header("x-request-id").is_some_and(|id| !id.is_empty()), "{start}");
            assert!(response.header("date").is_some(), "{start}");
            assert!(wire.rest().is_empty(), "{start}: one answer, and the end");
        }
    }
    assert!(gateway.metric(r#"rig_connections_refused_total{reason="head"}"#) >= 34.0);
    assert!(gateway.log().contains("request refused for its head"));
}

#[test]
fn f47_a_head_that_comes_too_slowly_is_refused_and_counted() {
    let gateway = Gateway::start(&[("HEAD_TIMEOUT", "200ms"), ("KEEP_ALIVE_TIMEOUT", "1h")]);
    // The last two could be the beginning of HTTP/2.
    let slow = [&b"GET / HTTP/1.1\r\nhost:"[..], b"P", b"PRI * H"];
    for (times, head) in (1..).zip(slow) {
        let (status, late) = refusal(&gateway, head);
        assert_eq!((status, late.text().contains("HEAD_TIMEOUT")), (408, true), "{}", late.text());
        assert!(late.header("x-request-id").is_some());
        assert_eq!(gateway.metric(r#"rig_connections_refused_total{reason="head"}"#), f64::from(times));
    }
}

#[test]
fn f47_clear_http_on_an_https_port_gets_a_reason() {
    let folder = Folder::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).expect("a file");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    let gateway = Gateway::start(&[("HTTPS_CERTFILE", &chain), ("HTTPS_KEYFILE", &key)]);
    for (port, cors) in [("inbound_tls", Some("*")), ("internal_tls", None)] {
        for head in ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            let mut wire = Wire::connect(gateway.port(port));
            wire.send(head);
            let answer = Response::read(&mut wire, false);
            assert_eq!((answer.status, answer.text().contains("speaks HTTPS")), (400, true), "{port}");
            assert_eq!(answer.header("access-control-allow-origin"), cors);
            assert!(answer.header("x-request-id").is_some());
            assert!(wire.rest().is_empty());
        }
    }
    assert_eq!(gateway.metric(r#"rig_connections_refused_total{reason="head"}"#), 4.0);
}

#[test]
fn f74_a_header_of_16_384_bytes_and_a_large_token_are_accepted() {
    let service = Upstream::start();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &pass_all(service.address()))]);
    let mut claims = claims("large", "bob");
    claims["roles"] = "r".repeat(12_000).into();
    let key = jsonwebtoken::EncodingKey::from_secret(KEY.as_bytes()).expect("a key");
    let token = signed(&claims, jsonwebtoken::Algorithm::HS256, &key);
    let value = "x".repeat(16_384);
    let large = |path: &str| {
        Request::get(path).bearer(&token).header("X-Large", value.clone()).header("X-More", value.clone())
    };
    for path in ["/_rig/health", "/anything"] {
        assert_eq!(gateway.ask(&large(path)).status, 200, "{path}");
    }
    assert_eq!(gateway.ask_internal(&large("/health")).status, 200);
    let mut sse = Sse::open(gateway.inbound(), &large("/_rig/v1/connection/sse")).expect("a stream");
    sse.welcome();
    assert_eq!(gateway.metric("rig_sessions"), 1.0);
    for (address, path) in [(gateway.inbound(), "/_rig/health"), (gateway.internal(), "/health")] {
        let curl = Command::new("curl")
            .args(["-s", "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_code} %{http_version}"])
            .args(["-H", &format!("authorization: Bearer {token}")])
            .args(["-H", &format!("x-large: {value}"), "-H", &format!("x-more: {value}")])
            .arg(format!("http://{address}{path}"))
            .output()
            .expect("curl is installed");
        assert_eq!(String::from_utf8_lossy(&curl.stdout), "200 2");
    }
}

#[test]
fn f13_the_number_and_the_size_of_fields_are_settings() {
    let gateway = Gateway::start(&[("MAX_HEADER_FIELDS", "300"), ("MAX_HEADER_BYTES", "512KiB")]);
    let with = |fields: usize, size: usize| {
        (0..fields).fold(Request::get("/_rig/health"), |request, n| {
            request.header(&format!("x-{n}"), "x".repeat(size))
        })
    };
    assert_eq!(gateway.ask(&with(299, 1)).status, 200);
    assert_eq!(gateway.ask(&with(4, 100_000)).status, 200);
    for (refused, says) in [
        (with(300, 1), "300 header fields (MAX_HEADER_FIELDS)"),
        (with(301, 1), "300 header fields (MAX_HEADER_FIELDS)"),
        (with(6, 100_000), "524288 bytes (MAX_HEADER_BYTES)"),
    ] {
        let response = gateway.ask(&refused);
        assert_eq!(response.status, 431);
        assert!(response.text().contains(says), "{}", response.text());
    }
    let few = Gateway::start(&[("MAX_HEADER_FIELDS", "16")]);
    assert_eq!(few.ask(&with(15, 1)).status, 200);
    assert_eq!(few.ask(&with(16, 1)).status, 431);
}

#[test]
fn f51_an_empty_body_is_none_however_it_is_framed() {
    let gateway = Gateway::start(&[]);
    let empty = ["transfer-encoding: chunked\r\n\r\n0\r\n\r\n", "content-length: 0\r\n\r\n"];
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (path, more, status) in [
        ("/_rig/v1/connection/sse", "", 200),
        ("/_rig/v1/connection/longpolling", "", 200),
        ("/_rig/v1/connection/ws", upgrade, 101),
        ("/_rig/health", "", 200),
    ] {
        for empty in empty {
            let mut wire = Wire::connect(gateway.inbound());
            wire.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n{more}{empty}"));
            let head = Response::read_head(&mut wire).expect("an answer");
            assert_eq!(head.status, status, "{path} {empty}");
        }
        let mut wire = Wire::connect(gateway.inbound());
        wire.send(format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\n{more}transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
        ));
        if path.ends_with("sse") || path.ends_with("longpolling") {
            assert_eq!(Response::read_head(&mut wire).expect("an answer").status, 400, "{path}");
        }
    }
    for path in ["/health", "/metrics", "/v4/sessions", "/v3/apis"] {
        let mut wire = Wire::connect(gateway.internal());
        wire.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{}", empty[0]));
        assert_eq!(Response::read(&mut wire, false).status, 200, "{path}");
    }
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/_rig/v1/connection/sse"),
        (":authority", "localhost"),
    ];
    // HEADERS without END_STREAM, then an empty DATA frame.
    assert_eq!(Http2::connect(gateway.inbound()).ask(&fields, Some("")), "200");
}

#[test]
fn f57_temporary_refusals_have_retry_after() {
    let gateway = Gateway::start(&[("MAX_CONNECTIONS_PER_MINUTE", "1")]);
    for path in ["/_rig/v1/connection/sse", "/_rig/v1/connection/longpolling"] {
        let (mut answers, request) = (Vec::new(), Request::get(path));
        for _ in 0..2 {
            let mut wire = request.start(gateway.inbound());
            answers.push(Response::read_head(&mut wire).expect("an answer"));
        }
        let refused = answers.last().expect("two");
        assert_eq!(refused.status, 429, "{path}");
        let seconds: u64 =
            refused.header("retry-after").and_then(|value| value.parse().ok()).expect("seconds");
        assert!((1..=60).contains(&seconds), "{seconds}");
        assert_eq!(refused.header("access-control-expose-headers"), Some("retry-after"));
    }
    for (setting, status) in [("MAX_CONNECTIONS_PER_ADDRESS", 429), ("MAX_CONNECTIONS", 503)] {
        let gateway = Gateway::start(&[(setting, "1"), ("CORS", "https://page.example")]);
        let mut first = Sse::connect(gateway.inbound(), "");
        first.welcome();
        let refused = gateway.ask(&Request::get("/_rig/health"));
        assert_eq!((refused.status, refused.header("retry-after")), (status, Some("5")));
        assert_eq!(refused.header("access-control-allow-origin"), Some("https://page.example"));
        assert_eq!(refused.header("access-control-expose-headers"), Some("retry-after"));
        assert!(refused.header("x-request-id").is_some());
    }
}
