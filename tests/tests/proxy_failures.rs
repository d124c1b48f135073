//! Services and clients that fail, are slow, or disconnect: each case has its answer, and the
//! counters add up.

use std::time::Duration;

use rig_tests::*;
use serde_json::json;

fn start() -> (RawUpstream, Gateway) {
    let upstream = RawUpstream::by_hand();
    let settings =
        [("PROXY_CONFIG_FILE", pass_all(upstream.address())), ("PROXY_RECV_TIMEOUT", "500".to_owned())];
    let gateway = Gateway::start(&settings.each_ref().map(|(name, value)| (*name, value.as_str())));
    (upstream, gateway)
}

/// Waits until this many requests with these labels are counted.
fn await_count(gateway: &Gateway, labels: &[(&str, &str)], count: f64) {
    eventually(&format!("{count} requests of {labels:?}"), || {
        (gateway.metric_sum("rig_proxy_requests_total", labels) == count).then_some(())
    });
}

/// Sends a request, and answers it as the service with these bytes, after which the service closes.
fn exchange(upstream: &RawUpstream, gateway: &Gateway, request: &Request, answer: &str) -> Wire {
    let client = request.start(gateway.inbound());
    let mut service = upstream.accept();
    Received::read(&mut service).expect("a request");
    service.send(answer);
    client
}

#[test]
fn services_that_fail_before_their_answer() {
    let (upstream, gateway) = start();
    let mut all = Scenarios::default();
    let bad = "502 | Bad gateway.";
    for (name, answer) in [
        ("closes early", ""),
        ("closes in the head", "HTTP/1.1 200 OK\r\ncontent-le"),
        ("garbage", "\0\x01\x02 no HTTP at all\r\n\r\n"),
        ("another protocol", "SSH-2.0-OpenSSH_9.2\r\n"),
        ("two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        ("a length that is none", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nab"),
        ("a head without end", &format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(600 << 10))),
        (
            "an upgrade that was not requested",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        ),
    ] {
        let mut client = exchange(&upstream, &gateway, &Request::get("/x"), answer);
        all.check(name, &Response::read(&mut client, false), bad);
    }
    await_count(&gateway, &[("status", "unreachable")], 8.0);

    let mut client = Request::get("/x").start(gateway.inbound());
    let mut service = upstream.accept();
    Received::read(&mut service).expect("a request");
    all.check("never answers", &Response::read(&mut client, false), bad);
    assert!(service.rest().is_empty(), "the gateway closes the connection");
    await_count(&gateway, &[("status", "request_timeout")], 1.0);
    assert_eq!(gateway.ask(&Request::new("PURGE", "/x")).status, 404);
    await_count(&gateway, &[("status", "not_found")], 1.0);
    await_count(&gateway, &[], 10.0);
}

#[test]
fn services_that_die_in_their_body() {
    let (upstream, gateway) = start();
    for (answer, rest) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", ""),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", ""),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", "zz\r\n"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", "-1\r\n"),
    ] {
        let mut client = Request::get("/x").start(gateway.inbound());
        let mut service = upstream.accept();
        Received::read(&mut service).expect("a request");
        service.send(answer);
        assert_eq!(Response::read_head(&mut client).expect("a head").status, 200);
        assert!(client.until(b"abc").is_some());
        service.send(rest);
        drop(service);
        let after = String::from_utf8(client.rest()).expect("text");
        assert!(
            ["", "\r\n"].contains(&after.as_str()),
            "nothing after the received bytes, and no last chunk: {after:?}"
        );
    }
    await_count(&gateway, &[("status", "broken")], 4.0);
    await_count(&gateway, &[], 4.0);
}

#[test]
fn what_ends_with_its_connection_is_whole() {
    let (upstream, gateway) = start();
    let mut client = exchange(&upstream, &gateway, &Request::get("/x"), "HTTP/1.1 200 OK\r\n\r\nabc");
    assert_eq!(Response::read(&mut client, false).text(), "abc");
    let mut client = exchange(&upstream, &gateway, &Request::get("/x"), "HTTP/1.0 200 OK\r\n\r\nabc");
    assert_eq!(Response::read(&mut client, false).text(), "abc");
}

#[test]
fn an_answer_before_the_end_of_the_request() {
    let (upstream, gateway) = start();
    let mut client = Wire::connect(gateway.inbound());
    client.send("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc");
    let mut service = upstream.accept();
    Received::read_head(&mut service).expect("a head");
    service.send("HTTP/1.1 400 Bad\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno");
    let answer = Response::read(&mut client, false);
    assert_eq!((answer.status, answer.text().as_str()), (400, "no"));
}

#[test]
fn a_request_is_sent_again_only_where_that_is_safe() {
    let (upstream, gateway) = start();
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let kept = |path: &str| {
        let mut client = Request::get(path).start(gateway.inbound());
        let mut service = upstream.accept();
        Received::read(&mut service).expect("a request");
        service.send(ok);
        assert_eq!(Response::read(&mut client, false).status, 200);
        service
    };
    // The service closes a kept connection just when a request is sent on it.
    let mut service = kept("/1");
    let mut client = Request::get("/2").start(gateway.inbound());
    assert_eq!(Received::read(&mut service).expect("on the same connection").target, "/2");
    drop(service);
    let mut again = upstream.accept();
    assert_eq!(Received::read(&mut again).expect("a second try").target, "/2");
    drop(again);
    assert_eq!(Response::read(&mut client, false).status, 502, "there is no third attempt");
    assert_eq!(upstream.connections(), 2);

    for request in [
        Request::new("POST", "/3"),
        Request::new("PUT", "/3").body("x"),
        Request::new("POST", "/3").body("x"),
    ] {
        let mut service = kept("/1");
        let mut client = request.start(gateway.inbound());
        let connections = upstream.connections();
        assert_eq!(Received::read(&mut service).expect("on the same connection").target, "/3");
        drop(service);
        assert_eq!(Response::read(&mut client, false).status, 502);
        assert_eq!(upstream.connections(), connections, "it may have been processed");
    }
    // If the connection is closed before, no request is lost, whatever its method.
    let service = kept("/1");
    drop(service);
    let mut client = Request::new("POST", "/4").body("x").start(gateway.inbound());
    let mut service = upstream.accept();
    assert_eq!(Received::read(&mut service).expect("a request").body, b"x");
    service.send(ok);
    assert_eq!(Response::read(&mut client, false).status, 200);
}

#[test]
fn a_client_that_leaves_takes_its_request_with_it() {
    let (upstream, gateway) = start();
    // While it waits for the answer, within its own body, and within the answer's body.
    for (request, answer) in [
        ("GET /x HTTP/1.1\r\nHost: x\r\n\r\n", ""),
        ("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc", ""),
        ("GET /x HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"),
    ] {
        let mut client = Wire::connect(gateway.inbound());
        client.send(request);
        let mut service = upstream.accept();
        Received::read_head(&mut service).expect("a head");
        service.send(answer);
        if !answer.is_empty() {
            assert!(client.until(b"abc").is_some());
        }
        // Reset, since a client that closes in an orderly way may still read the answer.
        client.reset();
        drop(client);
        service.rest();
    }
}

#[test]
fn a_client_that_does_not_read_holds_the_service_back() {
    let (upstream, gateway) = start();
    let mut client = Wire::connect_narrow(gateway.inbound());
    client.send(Request::get("/x").bytes(gateway.inbound()));
    let mut service = upstream.accept();
    Received::read(&mut service).expect("a request");
    let length = 1 << 30;
    service.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"));
    let (before, _) = gateway.memory();
    // Only what fits into the system's buffers is sent.
    let sent = service.send_until_blocked(&[b'x'; 64 << 10], Duration::from_millis(500));
    let (after, _) = gateway.memory();
    assert!(sent < 64 << 20, "{sent} bytes");
    assert!(after < before + (4 << 20), "{} KiB", (after - before) >> 10);
    assert!(client.skip(1 << 20) == 1 << 20, "it continues when the client reads");
}

#[test]
fn a_service_that_does_not_read_holds_the_client_back() {
    let (upstream, gateway) = start();
    let mut client = Wire::connect(gateway.inbound());
    client.send("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n");
    let mut service = upstream.accept();
    Received::read_head(&mut service).expect("a head");
    let (before, _) = gateway.memory();
    let sent = client.send_until_blocked(&[b'x'; 64 << 10], Duration::from_millis(200));
    let (after, _) = gateway.memory();
    assert!(sent < 64 << 20, "{sent} bytes");
    assert!(after < before + (4 << 20), "{} KiB", (after - before) >> 10);
}

#[test]
fn a_body_that_is_larger_than_allowed() {
    let upstream = Upstream::start();
    let mut service = api_of("small", upstream.address(), everything(&["POST"]));
    service["version_data"]["default"]["endpoints"][0]["max_body_bytes"] = json!(5);
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &json!([service]).to_string())]);
    let mut all = Scenarios::default();
    all.check("as large as may be", &gateway.ask(&Request::new("POST", "/x").body("12345")), "200 | …");
    all.check("announced", &gateway.ask(&Request::new("POST", "/x").body("123456")), "413 | …");
    let mut wire = Wire::connect(gateway.inbound());
    wire.send(
        "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n123\r\n3\r\n456\r\n0\r\n\r\n",
    );
    all.check("not announced", &Response::read(&mut wire, false), "413 | …");
    assert_eq!(upstream.waiting().len(), 1, "no other request was complete");
}

#[test]
fn a_session_that_ends_during_an_upload() {
    let upstream = RawUpstream::by_hand();
    let mut service = api_of("svc", upstream.address(), everything(&["POST"]));
    service["version_data"]["default"]["endpoints"][0]["secured"] = json!(true);
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &json!([service]).to_string())]);
    let mut client = Wire::connect(gateway.inbound());
    let token = token_of("s");
    client.send(format!(
        "POST /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 10\r\n\r\nabc"
    ));
    let mut service = upstream.accept();
    Received::read_head(&mut service).expect("a head");
    assert_eq!(service.exactly(3).expect("a part of the body"), b"abc");
    gateway.blacklist("s");
    assert_eq!(Response::read(&mut client, false).status, 401);
    assert!(service.rest().is_empty(), "the service gets no more of it");
}

#[test]
fn more_often_than_allowed() {
    let upstream = Upstream::start();
    let mut service = api_of("few", upstream.address(), everything(&["GET"]));
    service["version_data"]["default"]["endpoints"][0]["rate_limit"] =
        json!({ "requests": 2, "within_ms": 60_000, "by": "address" });
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &json!([service]).to_string())]);
    for _ in 0..2 {
        assert_eq!(gateway.ask(&Request::get("/x")).status, 200);
    }
    let refused = gateway.ask(&Request::get("/x"));
    assert_eq!(refused.status, 429, "{}", refused.shown());
    let seconds: u32 = refused.header("retry-after").expect("when").parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
}

/// RFC 9112, section 6.3: `Transfer-Encoding` overrides `Content-Length`, which is removed.
#[test]
fn an_answer_with_two_lengths_has_one_for_the_client() {
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok-longer\r\n0\r\n\r\n";
    let upstream = RawUpstream::start(&Script::Answers(both.into()));
    let endpoints = json!([{"id": "e", "path_regex": "/.*", "method": "GET"}]);
    let apis = json!([upstream.api("a", &endpoints)]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    let response = gateway.ask(&Request::get("/x"));
    assert_eq!((&*response.text(), response.header("content-length")), ("ok-longer", None));
}

#[test]
fn bytes_after_an_answer_without_a_body_answer_no_request() {
    let (upstream, gateway) = start();
    let forged = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
    for framing in
        ["content-length: 44", "content-length: 44\r\ncontent-length: 44", "transfer-encoding: chunked"]
    {
        let mut client = Request::get("/x").start(gateway.inbound());
        let mut first = upstream.accept();
        Received::read(&mut first).expect("a request");
        first.send(format!("HTTP/1.1 204 No Content\r\n{framing}\r\n\r\n"));
        assert_eq!(Response::read(&mut client, false).status, 204, "{framing}");
        let mut client = Request::get("/x").start(gateway.inbound());
        let mut second = upstream.accept();
        Received::read(&mut second).expect("a request, over another connection");
        // The gateway may have closed the connection already.
        let _ = first.try_send(forged);
        second.send("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(Response::read(&mut client, false).status, 204, "{framing}");
        let mut client = Request::get("/x").start(gateway.inbound());
        Received::read(&mut second).expect("a request, over the connection that was kept");
        second.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok");
        assert_eq!(Response::read(&mut client, false).text(), "ok", "{framing}");
    }
}

#[test]
fn an_answer_in_an_unknown_transfer_coding_is_refused() {
    let coded = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nConnection: close\r\n\r\nnot-undone";
    let upstream = RawUpstream::start(&Script::AnswersAndCloses(coded.into()));
    let endpoints = json!([{"id": "e", "path_regex": "/.*", "method": "GET"}]);
    let apis = json!([upstream.api("a", &endpoints)]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    assert_eq!(gateway.ask(&Request::get("/x")).status, 502);
}

/// Endless 1xx answers do not count as an answer.
#[test]
fn interim_answers_without_end_are_no_answer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let mut wire = Wire::patient(listener.accept().expect("the gateway").0);
        Received::read(&mut wire);
        let many = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
        while wire.try_send(&many).is_some() {}
    });
    let endpoints = json!([{"id": "e", "path_regex": "/.*", "method": "GET"}]);
    let apis = json!([api("a", port, &endpoints)]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis), ("PROXY_RECV_TIMEOUT", "500")]);
    assert_eq!(gateway.ask(&Request::get("/x")).status, 502);
}
