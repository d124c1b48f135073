//! How the proxy forwards and changes requests and answers.

use std::process::Command;

use rig_tests::*;
use serde_json::{Value, json};

/// More than the buffers of all sockets on the way can hold, in bytes.
const MUCH: usize = 256 << 20;

/// Limit of what the buffers can hold, in bytes: a send and a receive buffer for each of the two
/// connections.
const BUFFERS: usize = 64 << 20;

fn start(apis: &Value) -> Gateway {
    Gateway::start(&[("PROXY_CONFIG_FILE", &apis.to_string())])
}

/// Returns an endpoint for all paths for each method.
fn endpoints(methods: &[&str]) -> Value {
    methods.iter().map(|method| json!({"id": method, "path_regex": "/.*", "method": method})).collect()
}

fn echo(methods: &[&str]) -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let gateway = start(&json!([upstream.api("echo", &endpoints(methods))]));
    (upstream, gateway)
}

/// Starts a service whose connections the test handles, and a gateway in front of it.
fn by_hand(methods: &[&str]) -> (RawUpstream, Gateway) {
    let upstream = RawUpstream::by_hand();
    let gateway = start(&json!([upstream.api("hand", &endpoints(methods))]));
    (upstream, gateway)
}

/// Returns the header fields that a service has received, without those of every request.
fn seen(received: &Received) -> Vec<String> {
    let usual = ["host", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "via"];
    let more = ["traceparent", "tracestate"];
    let fields = received.headers.iter();
    let mut seen: Vec<_> = fields
        .filter(|(name, _)| !usual.contains(&name.as_str()) && !more.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    // In HTTP, only the order of fields with the same name matters.
    seen.sort();
    seen
}

#[test]
fn what_is_said_of_the_way() {
    let (upstream, gateway) = echo(&["GET"]);
    let response = gateway.ask(&Request::get("/x"));
    assert_eq!(response.header("via"), Some("1.1 rig"));
    assert_eq!(response.header("access-control-allow-origin"), None, "the service decides what may read it");
    assert_eq!(response.header("x-up"), Some("a"));
    let received = upstream.next();
    let inbound = gateway.inbound();
    assert_eq!(received.all("host").collect::<Vec<_>>(), [upstream.address().to_string()]);
    assert_eq!(
        received.header("forwarded"),
        Some(&*format!("for=127.0.0.1;by=127.0.0.1;host=\"{inbound}\";proto=http"))
    );
    assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(received.header("x-forwarded-host"), Some(&*inbound.to_string()));
    assert_eq!(received.header("x-forwarded-proto"), Some("http"));
    assert_eq!(received.header("via"), Some("1.1 rig"));
    assert_eq!(received.header("user-agent"), None, "the proxy adds none of its own");
    assert!(seen(&received).is_empty(), "{:?}", seen(&received));
    gateway.ask(
        &Request::get("/x")
            .header("Forwarded", "for=1.2.3.4")
            .header("X-Forwarded-For", "9.9.9.9")
            .header("X-Forwarded-For", "8.8.8.8")
            .header("X-Forwarded-Host", "front")
            .header("X-Forwarded-Proto", "https")
            .header("Via", "1.0 front"),
    );
    let received = upstream.next();
    assert_eq!(received.all("forwarded").count(), 1, "the client's own claims about its address are dropped");
    assert_eq!(received.all("x-forwarded-for").collect::<Vec<_>>(), ["127.0.0.1"]);
    assert_eq!(received.header("x-forwarded-host"), Some(&*inbound.to_string()));
    assert_eq!(received.header("x-forwarded-proto"), Some("http"));
    assert_eq!(received.all("via").collect::<Vec<_>>(), ["1.0 front", "1.1 rig"]);
}

#[test]
fn headers_of_one_hop_stay_there() {
    let (upstream, gateway) = echo(&["GET", "POST"]);
    gateway.ask(
        &Request::get("/x")
            .header("Connection", "close, X-Secret , keep-alive")
            .header("X-Secret", "1")
            .header("Keep-Alive", "timeout=5")
            .header("Proxy-Connection", "keep-alive")
            .header("Proxy-Authorization", "Basic eA==")
            .header("TE", "gzip")
            .header("Upgrade", "foo")
            .header("X-Kept", "1")
            .header("X-Kept", "2"),
    );
    assert_eq!(seen(&upstream.next()), ["x-kept: 1", "x-kept: 2"]);
    let kept = Request::get("/x").header("Authorization", "Basic eA==").header("Cookie", "a=1");
    gateway.ask(&kept.header("Connection", "authorization, cookie, x-forwarded-for, host"));
    let received = upstream.next();
    assert_eq!(seen(&received), ["authorization: Basic eA==", "cookie: a=1"], "no client can remove these");
    assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
    let answer = "HTTP/1.1 200 OK\r\nConnection: X-Own\r\nX-Own: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n";
    let service = RawUpstream::start(&Script::Answers(answer.into()));
    let gateway = start(&json!([service.api("raw", &endpoints(&["GET"]))]));
    let mut names: Vec<_> =
        gateway.ask(&Request::get("/x")).headers.into_iter().map(|(name, _)| name).collect();
    names.sort();
    assert_eq!(names, ["content-length", "date", "via", "x-kept"]);
}

#[test]
fn an_upgrade_is_not_passed_on_where_requests_could_hide_in_it() {
    let (upstream, gateway) = echo(&["GET", "POST"]);
    let upgrade = |request: Request, protocol: &str| {
        request.header("Connection", "Upgrade, HTTP2-Settings").header("Upgrade", protocol)
    };
    gateway.ask(&upgrade(Request::get("/x"), "h2c").header("HTTP2-Settings", "AAMAAABk"));
    assert!(seen(&upstream.next()).is_empty());
    gateway.ask(&upgrade(Request::get("/x"), "websocket, H2C"));
    assert!(seen(&upstream.next()).is_empty());
    let response = gateway.ask(&upgrade(Request::new("POST", "/upgrade"), "echo").body("hello"));
    assert_eq!(response.status, 200);
    assert_eq!(seen(&upstream.next()), ["content-length: 5"]);
    let mut wire = upgrade(Request::get("/upgrade"), "echo").start(gateway.inbound());
    assert_eq!(Response::read_head(&mut wire).map(|head| head.status), Some(101));
    wire.send("ping");
    assert_eq!(wire.exactly(4).as_deref(), Some(&b"ping"[..]));
    assert_eq!(seen(&upstream.next()), ["connection: upgrade", "upgrade: echo"]);
}

#[test]
fn no_header_passes_for_one_of_the_gateways_own() {
    let upstream = Upstream::start();
    let endpoint = json!([{
        "id": "x", "path_regex": "/.*", "method": "GET", "secured": true, "forward_claims": {"X-User-Name": "/username"},
    }]);
    let gateway = start(&json!([upstream.api("a", &endpoint)]));
    let twins = Request::get("/x")
        .bearer(&token_of("s"))
        .header("X-User-Name", "eve")
        .header("X_User_Name", "eve")
        .header("X-User_Name", "eve")
        .header("X_Forwarded_For", "1.1.1.1")
        .header("My_Own", "1");
    assert_eq!(gateway.ask(&twins).status, 200);
    let received = upstream.next();
    let fields: Vec<_> = seen(&received).into_iter().filter(|field| !field.starts_with("auth")).collect();
    assert_eq!(fields, ["my_own: 1", "x-user-name: bob"]);
}

#[test]
fn d27_targets_bodies_and_answers_go_through_byte_for_byte() {
    let (upstream, gateway) = echo(&["GET", "POST", "DELETE"]);
    for target in
        ["/x?b=2&a=1&a=0&c[]=1&d=%2B+&e=%20&&=&f", "/x?", "/%2B/%C3%A4/a%20b;c=d,e", "/x?q=http://h/?%00%ff#"]
    {
        let response = gateway.ask(&Request::get(target));
        assert_eq!(response.status, 200, "{target}");
        assert_eq!(upstream.next().target, target.trim_end_matches('#'), "{target}");
        let cookies: Vec<_> = response.headers.iter().filter(|(name, _)| name == "set-cookie").collect();
        assert_eq!(format!("{cookies:?}"), r#"[("set-cookie", "a=1"), ("set-cookie", "b=2")]"#);
    }
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for method in ["POST", "DELETE", "GET"] {
        assert_eq!(gateway.ask(&Request::new(method, "/x").body(&bytes)).status, 200, "{method}");
        assert!(upstream.next().body == bytes, "{method}");
    }
    for path in ["/redirect/status/302", "/status/404", "/status/500", "/status/299", "/empty"] {
        let response = gateway.ask(&Request::get(path));
        let status = path.split('/').find_map(|part| part.parse().ok()).unwrap_or(204);
        assert_eq!(response.status, status, "{path}");
    }
}

#[test]
fn trailers_go_both_ways() {
    let (upstream, gateway) = echo(&["POST"]);
    let mut wire = Wire::connect(gateway.inbound());
    wire.send("POST /chunked HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: te\r\nTransfer-Encoding: chunked\r\nTrailer: X-Check\r\n\r\n");
    wire.send("5\r\nhello\r\n0\r\nX-Check: 1\r\nX-Other: 2\r\n\r\n");
    let response = Response::read(&mut wire, false);
    assert_eq!((response.text().as_str(), response.trailers.len()), ("hello world", 1));
    assert_eq!(response.trailers[0], ("x-sum".to_owned(), "11".to_owned()));
    let received = upstream.next();
    assert_eq!(received.header("te"), Some("trailers"));
    assert_eq!(received.trailers, [("x-check".to_owned(), "1".to_owned())], "the announced one");
}

#[test]
fn a_body_that_is_expected_waits_for_the_service() {
    let (service, gateway) = by_hand(&["POST"]);
    let head = "POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let mut client = Wire::connect(gateway.inbound());
    client.send(head);
    let mut wire = service.accept();
    let mut received = Received::read_head(&mut wire).expect("a head");
    assert_eq!(received.header("expect"), Some("100-continue"));
    assert!(client.is_silent_for(std::time::Duration::from_millis(200)), "the service has not said yes");
    wire.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(Response::read_head(&mut client).map(|head| head.status), Some(100));
    client.send("hello");
    received.read_body(&mut wire).expect("a body");
    assert_eq!(received.body, b"hello");
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(Response::read_head(&mut client).map(|head| head.status), Some(200));

    let mut client = Wire::connect(gateway.inbound());
    client.send(head);
    let mut received = Received::read_head(&mut wire).expect("a head on the connection that was kept");
    wire.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno");
    let answer = Response::read(&mut client, false);
    assert_eq!((answer.status, answer.text().as_str()), (417, "no"), "without a 100 before it");
    assert_eq!(received.read_body(&mut wire), None, "no part of the body was sent");
}

#[test]
fn methods() {
    let (upstream, gateway) = echo(&["GET", "PROPFIND", "M-SEARCH"]);
    let head = gateway.ask(&Request::new("HEAD", "/x"));
    assert!(head.status == 200 && head.header("content-length").is_some_and(|length| length != "0"));
    assert_eq!(upstream.next().method, "HEAD", "where no endpoint has it, one for GET takes it");
    for method in ["PROPFIND", "M-SEARCH"] {
        assert_eq!(gateway.ask(&Request::new(method, "/x")).status, 200);
        assert_eq!(upstream.next().method, method);
    }
    assert_eq!(
        gateway.ask(&Request::new("PATCH", "/x")).shown(),
        "404 | content-type: application/json; charset=utf-8 | {\"message\":\"Not Found\"}"
    );
    let preflight = gateway.ask(&Request::new("OPTIONS", "/x").header("Origin", "http://a"));
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, Some("*")));
    assert!(
        preflight.header("access-control-allow-methods").is_some_and(|methods| methods.contains("PROPFIND"))
    );
    assert!(upstream.waiting().is_empty());
}

#[test]
fn bodies_and_rates_have_limits() {
    let upstream = Upstream::start();
    let endpoint = json!([
        {"id": "body", "path_regex": "/body", "method": "POST", "max_body_bytes": 5},
        {"id": "rate", "path_regex": "/rate", "method": "GET", "rate_limit": {"requests": 2, "within_ms": 3_600_000}},
    ]);
    let gateway = start(&json!([upstream.api("a", &endpoint)]));
    assert_eq!(gateway.ask(&Request::new("POST", "/body").body("hello")).status, 200);
    upstream.next();
    let large = gateway.ask(&Request::new("POST", "/body").body("hello!"));
    assert_eq!((large.status, large.text().as_str()), (413, "The request body is too large."));
    let mut wire = Wire::connect(gateway.inbound());
    wire.send("POST /body HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n3\r\nlo!\r\n0\r\n\r\n");
    assert_eq!(Response::read(&mut wire, false).status, 413, "not announced, and too large all the same");
    assert!(upstream.waiting().is_empty(), "the service sees none of them whole");
    assert_eq!([0, 1, 2].map(|_| gateway.ask(&Request::get("/rate")).status), [200, 200, 429]);
    let many = gateway.ask(&Request::get("/rate"));
    assert!(many.header("retry-after").is_some_and(|seconds| (1..=1800).contains(&seconds.parse().unwrap())));
}

#[test]
fn clients_may_speak_http_2() {
    let (upstream, gateway) = echo(&["GET", "POST"]);
    let curl = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--max-time", "10", "--http2-prior-knowledge"]).args(arguments);
        String::from_utf8(command.output().expect("curl is installed").stdout).expect("text")
    };
    let url = |path: &str| format!("http://{}{path}", gateway.inbound());
    let cookies = ["--header", "Cookie: a=1", "--header", "X: y", "--header", "TE: trailers"];
    let shown =
        curl(&[&cookies[..], &["--write-out", " %{http_version} %{http_code}", &url("/x?q=%20")]].concat());
    assert!(shown.ends_with(" 2 200"), "{shown}");
    let received = upstream.next();
    assert_eq!((&*received.method, &*received.target), ("GET", "/x?q=%20"));
    assert_eq!(received.header("x-forwarded-host"), Some(&*gateway.inbound().to_string()));
    assert_eq!((received.header("cookie"), received.header("te")), (Some("a=1"), Some("trailers")));
    assert_eq!(received.all("host").count(), 1);
    curl(&["--data-binary", "hello", &url("/x")]);
    let received = upstream.next();
    assert_eq!((received.header("content-length"), &*received.body), (Some("5"), &b"hello"[..]));
    assert_eq!(curl(&[&url("/chunked")]), "hello world");
    let shown = curl(&["--header", "Upgrade: x", "--write-out", "%{http_code}", &url("/bytes/100000")]);
    assert_eq!(shown.len(), 100_003);
}

#[test]
fn services_may_speak_http_2() {
    // Another gateway is the service. It accepts both versions, and forwards what it receives.
    let (upstream, service) = echo(&["GET", "POST"]);
    let mut api = api("h2", service.inbound().port(), &endpoints(&["GET", "POST"]));
    api["proxy"]["http2"] = json!(true);
    let gateway = start(&json!([api]));
    for _ in 0..3 {
        let request = Request::new("POST", "/x?q=%20").header("TE", "trailers").header("Connection", "te");
        let response = gateway.ask(&request.body("hello"));
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.headers.iter().filter(|(name, _)| name == "via").count(), 2);
        let received = upstream.next();
        assert_eq!((&*received.target, &*received.body), ("/x?q=%20", &b"hello"[..]));
        assert_eq!(
            received.header("x-forwarded-for"),
            Some("127.0.0.1"),
            "the second does not trust the first"
        );
        assert_eq!(received.header("te"), Some("trailers"));
    }
    assert_eq!(gateway.ask(&Request::get("/chunked")).text(), "hello world");
    assert_eq!(gateway.ask(&Request::get("/bytes/1000000")).body.len(), 1_000_000);
}

#[test]
fn a_get_that_a_kept_connection_has_lost_is_sent_again_once() {
    let (service, gateway) = by_hand(&["GET", "POST"]);
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let mut kept = None;
    for (request, statuses) in [
        (Request::get("/first"), [None, Some(200)]),
        (Request::get("/x"), [Some(200), None]),
        (Request::new("POST", "/x").body("hello"), [Some(502), None]),
        (Request::get("/x"), [None, Some(502)]),
    ] {
        let mut client = request.start(gateway.inbound());
        if let Some(mut wire) = kept.take() {
            // The kept connection reads the request and is closed without an answer.
            assert!(Received::read(&mut wire).is_some());
        }
        let again = statuses != [Some(502), None];
        if again {
            let mut wire = service.accept();
            assert!(Received::read(&mut wire).is_some());
            if statuses != [None, Some(502)] {
                wire.send(ok);
                kept = Some(wire);
            }
        }
        let status = statuses.into_iter().flatten().next();
        assert_eq!(Response::read_head(&mut client).map(|head| head.status), status);
        if !again {
            // The next request opens a new connection.
            kept = None;
        }
    }
}

#[test]
fn a_service_sees_that_the_client_has_gone() {
    let (service, gateway) = by_hand(&["GET", "POST"]);
    let client = Request::get("/waits").start(gateway.inbound());
    let mut wire = service.accept();
    assert!(Received::read(&mut wire).is_some());
    // Reset, since an orderly close looks like a half-close, after which the answer could still be
    // read.
    client.reset();
    drop(client);
    assert!(!wire.more(), "while it waits for an answer");

    let mut client = Request::get("/reads").start(gateway.inbound());
    let mut wire = service.accept();
    assert!(Received::read(&mut wire).is_some());
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    assert!(client.until(b"hello").is_some());
    client.reset();
    drop(client);
    assert!(!wire.more(), "while it reads");

    let mut client = Wire::connect(gateway.inbound());
    client.send("POST /sends HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello");
    let mut wire = service.accept();
    assert!(wire.until(b"hello").is_some());
    drop(client);
    assert!(!wire.more(), "while it sends");
}

#[test]
fn whoever_does_not_read_stops_the_one_who_sends() {
    let (service, gateway) = by_hand(&["GET", "POST"]);
    let mut client = Request::get("/down").start(gateway.inbound());
    let mut wire = service.accept();
    assert!(Received::read(&mut wire).is_some());
    wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", MUCH * 2));
    let sent = wire.flood(MUCH);
    assert!(sent < BUFFERS, "{sent} bytes on their way to a client that does not read");
    assert!(client.until(b"\r\n\r\n").is_some() && client.exactly(sent).is_some());
    assert!(wire.flood(1 << 20) == 1 << 20, "and continues when it reads");

    let mut client = Wire::connect(gateway.inbound());
    client.send(format!("POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", MUCH * 2));
    let mut wire = service.accept();
    let sent = client.flood(MUCH);
    assert!(sent < BUFFERS, "{sent} bytes on their way to a service that does not read");
    assert!(wire.until(b"\r\n\r\n").is_some() && wire.exactly(sent).is_some());
    assert!(client.flood(1 << 20) == 1 << 20);
}

#[test]
fn a_connection_is_not_used_again_with_something_left_on_it() {
    let (service, gateway) = by_hand(&["GET", "POST"]);
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst";
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    // An unsolicited answer.
    let mut client = Request::get("/x").start(gateway.inbound());
    let mut wire = service.accept();
    assert!(Received::read(&mut wire).is_some());
    wire.send([ok, poison].concat());
    assert_eq!(Response::read(&mut client, false).text(), "first");
    assert!(!wire.more(), "it is closed");

    // A body in the answer to a HEAD.
    let mut client = Request::new("HEAD", "/x").start(gateway.inbound());
    let mut wire = service.accept();
    assert!(Received::read(&mut wire).is_some());
    wire.send([ok, poison].concat());
    assert_eq!(Response::read(&mut client, true).status, 200);
    assert!(!wire.more());

    // An answer before the request is complete: its rest must not be read as the next request.
    let mut client = Wire::connect(gateway.inbound());
    client.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nhello");
    let mut wire = service.accept();
    assert!(wire.until(b"hello").is_some());
    wire.send(ok);
    assert_eq!(Response::read(&mut client, false).text(), "first");
    client.send("GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut other = Request::get("/other").start(gateway.inbound());
    let mut fresh = service.accept();
    assert_eq!(Received::read(&mut fresh).map(|received| received.target).as_deref(), Some("/other"));
    fresh.send(ok);
    assert_eq!(Response::read(&mut other, false).text(), "first");
    assert_eq!(client.rest(), b"", "nothing of the body is answered");
}

#[test]
fn a_connection_is_kept_however_its_answer_is_framed() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ] {
        let upstream = RawUpstream::start(&Script::Answers(answer.into()));
        let endpoints = json!([{"id": "e", "path_regex": "/.*", "method": "GET"}]);
        let gateway = start(&json!([upstream.api("a", &endpoints)]));
        for _ in 0..5 {
            let request = Request::get("/x").header("TE", "trailers").header("Connection", "te");
            assert!(gateway.ask(&request).status < 400, "{answer}");
        }
        assert_eq!(upstream.heard().len(), 1, "{answer}");
    }
}
