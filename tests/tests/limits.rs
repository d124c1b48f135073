//! Limits: each has its status, and the node keeps working.

use rig_tests::*;

const CORS_COOKIES: &str = "access-control-allow-credentials: true | access-control-allow-origin: *";
const REACHED: &str = "Reached maximum number of connections";

#[test]
fn connects_per_minute_are_limited_over_all_transports() {
    let gateway = Gateway::start(&[("MAX_CONNECTIONS_PER_MINUTE", "3")]);
    let address = gateway.inbound();
    let mut sse = Sse::connect(address, "");
    sse.welcome();
    let mut websocket = WebSocket::connect(address, "");
    websocket.welcome();
    let mut longpolling = LongPolling::connect(address, "");
    let mut all = Scenarios::default();
    let refused = gateway.ask(&Request::get("/_rig/v1/connection/sse"));
    all.check("SSE", &refused, format!("429 | {CORS_TEXT} | {REACHED}"));
    all.check_text("WebSocket", &WebSocket::connect(address, "").receive(), "CLOSE 1000 Bad request.");
    let refused = gateway.ask(&Request::get("/_rig/v1/connection/longpolling"));
    all.check(
        "long polling",
        &refused,
        format!("429 | {CORS_COOKIES} | content-type: text/plain; charset=utf-8 | {REACHED}"),
    );
    // Open connections are not affected: polls are not connects.
    longpolling.welcome();
    all.check_text(
        "counted",
        &gateway.metric(r#"rig_connections_refused_total{reason="rate"}"#).to_string(),
        "3",
    );
}

/// The status of a request for a stream.
fn status_of_stream(gateway: &Gateway, query: &str, cursor: Option<&str>) -> u16 {
    let mut request = Request::get(format!("/_rig/v1/connection/sse?{query}"));
    if let Some(cursor) = cursor {
        request = request.header("Last-Event-ID", cursor);
    }
    Sse::open(gateway.inbound(), &request).map_or_else(|refusal| refusal.status, |stream| stream.head.status)
}

#[test]
fn clients_that_come_back_have_a_limit_of_their_own() {
    const LIMIT: usize = 3;
    let gateway = Gateway::start(&[("MAX_CONNECTIONS_PER_MINUTE", &LIMIT.to_string())]);
    let elsewhere = Gateway::start(&[]);
    let id = EventSource::connect(gateway.inbound(), "").cursor().to_owned();
    let foreign = EventSource::connect(elsewhere.inbound(), "").cursor().to_owned();
    let mut page = LongPolling::connect(gateway.inbound(), "");
    page.welcome();
    assert_eq!(status_of_stream(&gateway, "", None), 200);

    // The limit of new clients is reached, also for those that bring something else than an id.
    for cursor in [None, Some("junk"), Some(&*foreign)] {
        assert_eq!(status_of_stream(&gateway, "", cursor), 429, "{cursor:?}");
    }
    // The header, the query, a WebSocket, and the cookie of a mailbox that is gone.
    assert_eq!(status_of_stream(&gateway, "", Some(&id)), 200);
    assert_eq!(status_of_stream(&gateway, &format!("last_event_id={id}"), None), 200);
    assert_eq!(status_of_stream(&gateway, &format!("last_event_id=junk&lastEventId={id}"), None), 200);
    WebSocket::connect(gateway.inbound(), &format!("last_event_id={id}")).welcome();
    page.cookies.retain(|(name, _)| name == "position");
    assert_eq!(page.poll().status, 200);
    // Whatever else is wrong is refused as ever.
    assert_eq!(status_of_stream(&gateway, "jwt=junk", Some(&id)), 400);

    // Whoever sends an id again and again is limited too.
    let limited = (6..1000).find(|_| status_of_stream(&gateway, "", Some(&id)) == 429).expect("a limit");
    // The limit grows again while it is used up.
    assert!((10 * LIMIT..20 * LIMIT).contains(&limited), "{limited}");
}

#[test]
fn without_a_history_there_is_one_limit_of_connects() {
    let gateway = Gateway::start(&[("MAX_CONNECTIONS_PER_MINUTE", "1"), ("HISTORY", "off")]);
    let id = EventSource::connect(Gateway::start(&[]).inbound(), "").cursor().to_owned();
    assert_eq!(status_of_stream(&gateway, "", Some(&id)), 200);
    assert_eq!(status_of_stream(&gateway, "", Some(&id)), 429);
}

#[test]
fn d26_open_sockets_are_limited_in_total() {
    let gateway = Gateway::start(&[("MAX_CONNECTIONS", "2")]);
    let mut first = Sse::connect(gateway.inbound(), "");
    first.welcome();
    let mut second = WebSocket::connect(gateway.inbound(), "");
    second.welcome();
    let mut third = Request::get("/_rig/health").start(gateway.inbound());
    let refused = third.rest();
    assert!(
        refused.is_empty() || refused.starts_with(b"HTTP/1.1 503 "),
        "{}",
        String::from_utf8_lossy(&refused)
    );
    drop(first);
    eventually("room again", || {
        let answer = Request::get("/_rig/health").start(gateway.inbound()).until(b"\r\n")?;
        answer.starts_with(b"HTTP/1.1 200 ").then_some(())
    });
}

#[test]
fn d26_open_sockets_are_limited_by_address() {
    let gateway = Gateway::start(&[("MAX_CONNECTIONS_PER_ADDRESS", "1")]);
    let mut first = Sse::connect(gateway.inbound(), "");
    first.welcome();
    let refused = Request::get("/_rig/health").start(gateway.inbound()).rest();
    assert!(
        refused.is_empty() || refused.starts_with(b"HTTP/1.1 429 "),
        "{}",
        String::from_utf8_lossy(&refused)
    );
    drop(first);
    eventually("room again", || {
        let answer = Request::get("/_rig/health").start(gateway.inbound()).until(b"\r\n")?;
        answer.starts_with(b"HTTP/1.1 200 ").then_some(())
    });
}

#[test]
fn d26_out_of_descriptors_the_accept_loop_lives_on() {
    const DESCRIPTORS: usize = 64;
    let gateway = Gateway::start_with_descriptors(DESCRIPTORS, &[]);
    let query = format!("subscriptions={}", encoded(r#"[{"eventType":"greeting"}]"#));
    let mut sse = Sse::connect(gateway.inbound(), &query);
    sse.welcome();
    // The operator and the publisher are connected before the descriptors are used up.
    let mut operator = Request::get("/health").start(gateway.internal());
    let mut publisher = Request::get("/_rig/health").start(gateway.inbound());
    for wire in [&mut operator, &mut publisher] {
        assert_eq!(Response::read(wire, false).status, 200);
    }

    let mut crowd = Vec::new();
    let refused = loop {
        let mut wire = Request::get("/_rig/v1/connection/sse").start(gateway.inbound());
        match Response::read_head(&mut wire) {
            Some(head) if head.status == 200 => crowd.push(wire),
            refused => break refused,
        }
        assert!(crowd.len() < DESCRIPTORS, "more sockets than descriptors");
    };
    assert!(refused.is_none_or(|head| head.status == 503));
    // The other descriptors are reserved for the operator, services and files.
    assert!(crowd.len() > DESCRIPTORS / 3, "{} sockets", crowd.len());
    publisher.send(Request::post_json("/_rig/v1/events", greeting("1", "bob")).bytes(gateway.inbound()));
    assert_eq!(Response::read(&mut publisher, false).status, 202);
    assert_eq!(sse.next_data(), greeting("1", "bob"), "open connections are not affected");
    operator.send(Request::get("/metrics").bytes(gateway.internal()));
    let metrics = Response::read(&mut operator, false).text();
    let counted = metrics.lines().find(|line| line.contains(r#"reason="descriptors""#));
    assert!(counted.is_some_and(|line| !line.ends_with(" 0")), "{counted:?}");

    drop(crowd);
    eventually("room again", || {
        let answer = Request::get("/_rig/health").start(gateway.inbound()).until(b"\r\n")?;
        answer.starts_with(b"HTTP/1.1 200 ").then_some(())
    });
}

#[test]
fn d26_requests_are_limited_in_every_dimension() {
    let mut gateway = Gateway::start(&[
        ("MAX_REQUEST_LINE", "1KiB"),
        ("MAX_HEADER_BYTES", "8KiB"),
        ("MAX_BODY_BYTES", "1KiB"),
        ("HEAD_TIMEOUT", "300ms"),
        ("BODY_TIMEOUT", "300ms"),
        ("KEEP_ALIVE_TIMEOUT", "300ms"),
    ]);
    let address = gateway.inbound();
    let status = |request: &Request| request.send(address).status;
    assert_eq!(status(&Request::get(format!("/{}", "x".repeat(2000)))), 414);
    assert_eq!(status(&Request::get("/_rig/health").header("X-Long", "x".repeat(10_000))), 431);
    let many = (0..300)
        .fold(Request::get("/_rig/health"), |request, n| request.header(&format!("X-{n}"), "x".repeat(30)));
    assert_eq!(status(&many), 431);
    assert_eq!(status(&Request::post_json("/_rig/v1/events", greeting("1", &"x".repeat(2000)))), 413);
    let mut chunked = Wire::connect(address);
    chunked.send("POST /_rig/v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n");
    chunked.send(format!("800\r\n{}\r\n0\r\n\r\n", "x".repeat(0x800)));
    assert_eq!(Response::read(&mut chunked, false).status, 413);

    let mut slow_head = Wire::connect(address);
    slow_head.send("GET /_rig/health HTTP/1.1\r\nhost:");
    assert_eq!(Response::read(&mut slow_head, false).status, 408);
    let mut slow_body = Wire::connect(address);
    slow_body.send("POST /_rig/v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{");
    assert_eq!(Response::read(&mut slow_body, false).status, 408);
    let mut idle = Request::get("/_rig/health").start(address);
    assert_eq!(Response::read(&mut idle, false).status, 200);
    assert!(idle.rest().is_empty(), "an idle socket is closed without an answer");
    assert!(gateway.is_healthy());
}

#[test]
fn half_a_head_behind_a_request_has_to_be_completed_in_time_too() {
    let gateway = Gateway::start(&[("HEAD_TIMEOUT", "300ms")]);
    let mut wire = Wire::connect(gateway.inbound());
    wire.send("GET /_rig/health HTTP/1.1\r\nhost: x\r\n\r\nGET /_rig/health HTTP/1.1\r\nhost:");
    assert_eq!(Response::read(&mut wire, false).status, 200);
    assert_eq!(Response::read(&mut wire, false).status, 408);
    assert!(wire.rest().is_empty());
}

/// The limit applies to the time between two requests, not to the age of the socket.
#[test]
fn a_socket_that_is_used_is_kept() {
    let gateway = Gateway::start(&[("KEEP_ALIVE_TIMEOUT", "1s")]);
    let request = Request::get("/_rig/health");
    let mut wire = request.start(gateway.inbound());
    for _ in 0..15 {
        assert_eq!(Response::read(&mut wire, false).status, 200);
        // The interval between the requests of the client.
        std::thread::sleep(std::time::Duration::from_millis(100));
        wire.send(request.bytes(gateway.inbound()));
    }
    assert_eq!(Response::read(&mut wire, false).status, 200);
    assert!(wire.rest().is_empty(), "then it is idle, and closed");
}

#[test]
fn ordinary_sizes_are_no_trouble() {
    let gateway = Gateway::start(&[]);
    assert_eq!(gateway.ask(&Request::get("/_rig/health").header("X-Long", "x".repeat(10_000))).status, 200);
    assert_eq!(gateway.ask(&Request::get(format!("/_rig/health?{}", "x".repeat(5_000)))).status, 200);
    assert_eq!(
        gateway.ask_internal(&Request::get("/health").header("X-Long", "x".repeat(10_000))).status,
        200
    );
}
