//! Answers of services that are large, early, or ambiguous; and the log lines about services that
//! fail.

use rig_tests::*;
use serde_json::{Value, json};

fn start(more: &[(&str, &str)]) -> (RawUpstream, Gateway) {
    let upstream = RawUpstream::by_hand();
    let apis = pass_all(upstream.address());
    let gateway = Gateway::start(&[&[("PROXY_CONFIG_FILE", apis.as_str())], more].concat());
    (upstream, gateway)
}

/// Sends a request, and answers it as the service with these bytes, after which the service closes.
fn answered(upstream: &RawUpstream, gateway: &Gateway, request: &Request, answer: &str) -> Wire {
    let client = request.start(gateway.inbound());
    let mut service = upstream.accept();
    Received::read(&mut service).expect("a request");
    service.send(answer);
    client
}

fn warnings(gateway: &Gateway) -> Vec<Value> {
    let lines = gateway.log();
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == "service failed").collect()
}

fn fields(count: usize, size: usize) -> String {
    (0..count).map(|number| format!("x-{number}: {}\r\n", "y".repeat(size))).collect()
}

#[test]
fn f13_the_head_of_an_answer_has_limits_that_are_settings() {
    let (upstream, gateway) = start(&[]);
    let ask = |gateway: &Gateway, upstream: &RawUpstream, count, size| {
        let answer = format!("HTTP/1.1 200 OK\r\n{}content-length: 2\r\n\r\nok", fields(count, size));
        Response::read(&mut answered(upstream, gateway, &Request::get("/x"), &answer), false).status
    };
    assert_eq!(ask(&gateway, &upstream, 101, 1), 200);
    assert_eq!(ask(&gateway, &upstream, 250, 1), 200);
    assert_eq!(ask(&gateway, &upstream, 4, 15_000), 200);
    assert_eq!(warnings(&gateway).len(), 0);
    assert_eq!(ask(&gateway, &upstream, 260, 1), 502);
    let reason = eventually("the reason", || warnings(&gateway).pop())["reason"].to_string();
    assert!(
        reason.contains("PROXY_ANSWER_HEADERS") && reason.contains("PROXY_ANSWER_HEADER_BYTES"),
        "{reason}"
    );
    assert_eq!(ask(&gateway, &upstream, 2, 40_000), 502);

    let (upstream, gateway) =
        start(&[("PROXY_ANSWER_HEADERS", "1000"), ("PROXY_ANSWER_HEADER_BYTES", "200KiB")]);
    assert_eq!(ask(&gateway, &upstream, 900, 1), 200);
    assert_eq!(ask(&gateway, &upstream, 4, 45_000), 200);
    let (upstream, gateway) = start(&[("PROXY_ANSWER_HEADERS", "16")]);
    assert_eq!(ask(&gateway, &upstream, 10, 1), 200);
    assert_eq!(ask(&gateway, &upstream, 16, 1), 502);
}

#[test]
fn f13_the_limits_hold_over_http2_too() {
    let ask = |more: &[(&str, &str)], count: usize, size: usize| {
        let upstream = RawUpstream::by_hand();
        let apis = pass_all_http2(upstream.address());
        let gateway = Gateway::start(&[&[("PROXY_CONFIG_FILE", apis.as_str())], more].concat());
        let mut client = Request::get("/x").start(gateway.inbound());
        let mut service = raw::RawHttp2::accepted(upstream.accept(), &[]);
        let stream = service.request().expect("a request");
        let mut block = vec![0x88];
        for number in 0..count {
            block.extend(raw::literal(&format!("x-{number}"), &"y".repeat(size)));
        }
        // Frames of up to 16 KiB are always allowed.
        let mut pieces = block.chunks(16_000).peekable();
        let mut kind = raw::kind::HEADERS;
        while let Some(piece) = pieces.next() {
            let end = if pieces.peek().is_none() { raw::flag::END_HEADERS } else { 0 };
            let end_stream = if kind == raw::kind::HEADERS { raw::flag::END_STREAM } else { 0 };
            service.frame(kind, end | end_stream, stream, piece);
            kind = raw::kind::CONTINUATION;
        }
        let status = Response::read(&mut client, false).status;
        if status == 200 {
            assert_eq!(warnings(&gateway), [json!(null); 0]);
            return (status, String::new());
        }
        (status, eventually("the reason", || warnings(&gateway).pop())["reason"].to_string())
    };
    assert_eq!(ask(&[], 101, 1), (200, String::new()));
    assert_eq!(ask(&[], 250, 100), (200, String::new()), "more than 16 KiB");
    let (status, reason) = ask(&[], 260, 1);
    assert!(status == 502 && reason.contains("PROXY_ANSWER_HEADERS"), "{status} {reason}");
    let (status, reason) = ask(&[("PROXY_ANSWER_HEADERS", "4096")], 700, 100);
    assert!(status == 502 && reason.contains("PROXY_ANSWER_HEADER_BYTES"), "{status} {reason}");
}

const HINTS: &str =
    "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn f14_informational_answers_come_before_the_answer() {
    let (upstream, gateway) = start(&[]);
    let mut client = Request::get("/x").start(gateway.inbound());
    let mut service = upstream.accept();
    Received::read(&mut service).expect("a request");
    // Each one is passed on immediately, long before the answer.
    for (status, answer) in [
        (103, HINTS),
        (102, "HTTP/1.1 102 Processing\r\n\r\n"),
        (199, "HTTP/1.1 199 Whatever\r\nx-a: b\r\ncontent-length: 9\r\n\r\n"),
    ] {
        service.send(answer);
        let head = Response::read_head(&mut client).expect("an informational answer");
        assert_eq!(head.status, status);
        assert_eq!(head.header("content-length"), None);
        if status == 103 {
            assert_eq!(head.header("link"), Some("</a.css>; rel=preload"));
            assert_eq!((head.header("x-hop"), head.header("connection")), (None, None));
        }
    }
    service.send(OK);
    assert_eq!(Response::read(&mut client, false).text(), "ok");

    // All in one piece with the answer; the connection is reused.
    for _ in 0..3 {
        client.send(Request::get("/x").bytes(gateway.inbound()));
        Received::read(&mut service).expect("a request");
        service.send(format!("{HINTS}{HINTS}{OK}"));
        assert_eq!(Response::read_head(&mut client).expect("hints").status, 103);
        assert_eq!(Response::read_head(&mut client).expect("hints").status, 103);
        assert_eq!(Response::read(&mut client, false).text(), "ok");
    }
}

#[test]
fn f14_an_upload_and_a_continue_do_not_lose_early_hints() {
    let (upstream, gateway) = start(&[]);
    let mut client = Wire::connect(gateway.inbound());
    client.send("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    let mut service = upstream.accept();
    let mut request = Received::read_head(&mut service).expect("a head");
    service.send(HINTS);
    assert_eq!(Response::read_head(&mut client).expect("hints").status, 103);
    service.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(Response::read_head(&mut client).expect("go on").status, 100);
    client.send("abc");
    request.read_body(&mut service).expect("a body");
    service.send(format!("{HINTS}{OK}"));
    assert_eq!(Response::read_head(&mut client).expect("hints").status, 103);
    assert_eq!(Response::read(&mut client, false).text(), "ok");
}

#[test]
fn f14_a_client_of_http_1_0_gets_none_and_no_client_gets_them_without_end() {
    let (upstream, gateway) = start(&[]);
    let mut client = Wire::connect(gateway.inbound());
    client.send("GET /x HTTP/1.0\r\nHost: x\r\n\r\n");
    let mut service = upstream.accept();
    Received::read(&mut service).expect("a request");
    service.send(format!("{HINTS}{OK}"));
    assert_eq!(Response::read_head(&mut client).expect("an answer").status, 200);
    drop(service);

    let mut client =
        answered(&upstream, &gateway, &Request::get("/x"), &format!("{}{OK}", HINTS.repeat(100)));
    let mut hints = 0;
    while Response::read_head(&mut client).expect("an answer").status == 103 {
        hints += 1;
    }
    assert_eq!(hints, 16);
}

/// After a kill, a session receives neither informational answers nor bodies.
#[test]
fn f14_a_killed_session_gets_no_informational_answer() {
    let upstream = RawUpstream::by_hand();
    let endpoints = json!([{"id": "e", "path_regex": "/.*", "method": "GET", "secured": true}]);
    let apis = json!([upstream.api("a", &endpoints)]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    let mut client = Request::get("/x").bearer(&token_of("alice")).start(gateway.inbound());
    let mut service = upstream.accept();
    Received::read(&mut service).expect("a request");
    service.send(HINTS);
    assert_eq!(Response::read_head(&mut client).expect("hints").status, 103);
    gateway.blacklist("alice");
    let _ = service.try_send(HINTS);
    assert_eq!(Response::read_head(&mut client).expect("an answer").status, 401);
}

#[test]
fn f15_an_answer_has_one_length_or_none_at_all() {
    let (upstream, gateway) = start(&[]);
    let mut all = Scenarios::default();
    let ok = "content-length: 2 | ok";
    for (name, method, status, lengths, expected) in [
        ("a list", "GET", "200 OK", "Content-Length: 2, 2\r\n", ok),
        ("a list without spaces", "GET", "200 OK", "Content-Length: 2,2\r\n", ok),
        ("leading zeros", "GET", "200 OK", "Content-Length: 0002\r\n", ok),
        ("twice", "GET", "200 OK", "Content-Length: 2\r\nContent-Length: 02\r\n", ok),
        ("one", "GET", "200 OK", "Content-Length:   2  \r\n", ok),
        ("different ones", "GET", "200 OK", "Content-Length: 2, 3\r\n", "502"),
        ("a sign", "GET", "200 OK", "Content-Length: +2\r\n", "502"),
        ("empty", "GET", "200 OK", "Content-Length: \r\n", "502"),
        ("too large", "GET", "200 OK", "Content-Length: 18446744073709551618\r\n", "502"),
        ("a list, to HEAD", "HEAD", "200 OK", "Content-Length: 2, 2\r\n", "content-length: 2"),
        ("zeros, to HEAD", "HEAD", "200 OK", "Content-Length: 02\r\n", "content-length: 2"),
        ("different ones, to HEAD", "HEAD", "200 OK", "Content-Length: 2\r\nContent-Length: 3\r\n", "502"),
        ("a sign, to HEAD", "HEAD", "200 OK", "Content-Length: -2\r\n", "502"),
        ("a hexadecimal one, to HEAD", "HEAD", "200 OK", "Content-Length: 0x2\r\n", "502"),
        ("a list, with 304", "GET", "304 Not Modified", "Content-Length: 2, 2\r\n", "none"),
        ("different ones, with 304", "GET", "304 Not Modified", "Content-Length: 2, 4\r\n", "502"),
        ("with 204", "GET", "204 No Content", "Content-Length: 0, 0\r\n", "none"),
    ] {
        let body = if name.contains("HEAD") || !status.starts_with("200") { "" } else { "ok" };
        let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{lengths}\r\n{body}");
        let mut client = Request::new(method, "/x").start(gateway.inbound());
        let mut service = upstream.accept();
        Received::read(&mut service).expect("a request");
        service.send(answer);
        drop(service);
        let head = Response::read_head(&mut client).expect("an answer");
        let shown =
            match (head.status, head.headers.iter().filter(|(name, _)| name == "content-length").count()) {
                (502, _) => "502".to_owned(),
                (_, 0) => "none".to_owned(),
                (_, 1) => {
                    let length = head.header("content-length").expect("there is one");
                    let body =
                        client.exactly(body.len()).map(|body| String::from_utf8_lossy(&body).into_owned());
                    let body = body
                        .filter(|body| !body.is_empty())
                        .map_or(String::new(), |body| format!(" | {body}"));
                    format!("content-length: {length}{body}")
                }
                (_, several) => format!("{several} lengths"),
            };
        all.check_text(name, &shown, expected);
    }
}

#[test]
fn f16_max_forwards_of_an_options_request_is_obeyed() {
    let upstream = Upstream::start();
    let apis = pass_all(upstream.address());
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    let options = |value: &str| Request::new("OPTIONS", "/x").header("Max-Forwards", value);
    let answer = gateway.ask(&options("0"));
    assert_eq!(answer.status, 204);
    let allow = answer.header("allow").expect("it says what is allowed").to_owned();
    assert!(allow.contains("OPTIONS") && allow.contains("DELETE"), "{allow}");
    assert_eq!(gateway.ask(&options("000")).status, 204);
    assert_eq!(upstream.waiting(), []);
    for (sent, seen) in [
        ("1", "0"),
        ("10", "9"),
        ("007", "6"),
        ("99999999999999999999999", "18446744073709551614"),
        // Not numbers: they are forwarded unchanged.
        ("-1", "-1"),
        ("+1", "+1"),
        ("1, 2", "1, 2"),
        ("x", "x"),
    ] {
        assert_eq!(gateway.ask(&options(sent)).status, 200, "{sent}");
        assert_eq!(upstream.next().header("max-forwards"), Some(seen), "{sent}");
    }
    // It has no meaning for other methods (RFC 9110, section 7.6.2).
    assert_eq!(gateway.ask(&Request::get("/x").header("Max-Forwards", "0")).status, 200);
    assert_eq!(upstream.next().header("max-forwards"), Some("0"));
    assert_eq!(gateway.ask(&Request::new("OPTIONS", "/_rig/none").header("Max-Forwards", "0")).status, 404);
}

#[test]
fn f17_a_service_that_fails_has_a_line_with_the_reason() {
    let refused = unused_address();
    let garbage = RawUpstream::start(&Script::AnswersAndCloses(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()));
    let silent = RawUpstream::start(&Script::NeverAnswers);
    let closes = RawUpstream::start(&Script::AnswersAndCloses(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()));
    let breaks_off = RawUpstream::start(&Script::AnswersAndCloses(
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec(),
    ));
    let of = |id: &str, host: &str, port: u16| {
        let mut api = api_of(id, ([127, 0, 0, 1], port).into(), json!([]));
        api["proxy"]["target_url"] = host.into();
        api["version_data"]["default"]["endpoints"] =
            json!([{"id": "e", "method": "GET", "path_regex": format!("/{id}")}]);
        api
    };
    let apis = json!([
        of("refused", "http://127.0.0.1", refused.port()),
        of("name", "http://does-not-exist.invalid", 80),
        of("garbage", "http://127.0.0.1", garbage.address().port()),
        of("silent", "http://127.0.0.1", silent.address().port()),
        of("closes", "http://127.0.0.1", closes.address().port()),
        of("breaks", "http://127.0.0.1", breaks_off.address().port()),
    ])
    .to_string();
    let settings = [("PROXY_CONFIG_FILE", &*apis), ("PROXY_RECV_TIMEOUT", "300"), ("REQUEST_LOG", "console")];
    let gateway = Gateway::start(&settings);
    for (api, reason) in [
        ("refused", "cannot connect"),
        ("name", "name does not resolve"),
        ("garbage", "invalid answer"),
        ("silent", "no answer in time"),
        ("closes", "connection closed before the answer"),
        ("breaks", "answer body broken off"),
    ] {
        for _ in 0..5 {
            let request = Request::get(format!("/{api}?token=secret")).header("Connection", "close");
            request.start(gateway.inbound()).rest();
        }
        let line = eventually(api, || warnings(&gateway).into_iter().find(|line| line["api"] == api));
        assert_eq!(line["level"], "WARN", "{line}");
        assert!(line["reason"].as_str().is_some_and(|text| text.starts_with(reason)), "{line}");
        assert!(line["server"].as_str().is_some_and(|server| !server.is_empty()), "{line}");
        let same = |line: &&Value| {
            line["api"] == api && line["reason"].as_str().is_some_and(|text| text.starts_with(reason))
        };
        assert_eq!(warnings(&gateway).iter().filter(same).count(), 1, "{api}: bounded");
        let told = eventually("the request log", || {
            let log = gateway.log();
            let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.rfind(|line| line["message"] == "request" && line["api"] == api)
        });
        assert!(told["reason"].as_str().is_some_and(|text| text.starts_with(reason)), "{told}");
    }
    assert!(!gateway.log().contains("secret"));
}

#[test]
fn f19_a_kept_connection_has_a_greatest_age() {
    let upstream = RawUpstream::start(&Script::Answers(OK.into()));
    let apis = pass_all(upstream.address());
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis), ("PROXY_CONNECTION_AGE", "1s")]);
    let ask = || assert_eq!(gateway.ask(&Request::get("/x")).text(), "ok");
    (0..20).for_each(|_| ask());
    assert_eq!(upstream.connections(), 1, "it is kept");
    eventually("another connection, though the first one works", || {
        ask();
        (upstream.connections() == 2).then_some(())
    });
    eventually("the end of the first one", || (upstream.ended() == 1).then_some(()));
}
