//! What a revoked session can still receive and send over HTTP/2, whatever its client does with
//! windows and its socket.

use raw::{RawHttp2, flag, kind};
use rig_tests::*;
use serde_json::json;

const INITIAL_WINDOW_SIZE: u16 = 4;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// An HTTP/2 client that accepts no bytes keeps neither its stream nor its request to the service
/// alive after its session was revoked.
#[test]
fn f03_a_client_that_takes_no_bytes_is_cut_with_its_session() {
    for http2 in [true, false] {
        let upstream = RawUpstream::by_hand();
        let endpoints = json!([{"id": "e", "path_regex": "/.*", "method": "POST", "secured": true}]);
        let mut api = upstream.api("a", &endpoints);
        api["proxy"]["http2"] = http2.into();
        let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &json!([api]).to_string())]);
        let mut client = RawHttp2::greeted_with(gateway.inbound(), &[(INITIAL_WINDOW_SIZE, 0)]);
        let head = [raw::post("/x"), raw::authorization(&format!("Bearer {}", token_of("alice")))].concat();
        client.frame(kind::HEADERS, flag::END_HEADERS, 1, head);
        client.data(1, b"begins");
        let wire = upstream.accept();
        let mut http2_service = None;
        let mut http1_service = None;
        if http2 {
            let mut service = RawHttp2::accepted(wire, &[]);
            let stream = service.request().expect("a request");
            service.answer(stream, None);
            service.frame(kind::DATA, 0, stream, "an answer that is not read");
            http2_service = Some((service, stream));
        } else {
            let mut service = wire;
            Received::read_head(&mut service).expect("a request");
            service.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
            http1_service = Some(service);
        }
        client.until(|frame| frame.kind == kind::HEADERS).expect("a head");
        gateway.blacklist("alice");
        let reset = client.until(|frame| frame.kind == kind::RST_STREAM).expect("the stream is reset");
        assert_eq!((reset.stream, &reset.payload[..]), (1, &CANCEL[..]));
        if let Some((mut service, stream)) = http2_service {
            let reset =
                service.until(|frame| frame.kind == kind::RST_STREAM).expect("the service receives a reset");
            assert_eq!(reset.stream, stream);
        }
        if let Some(service) = http1_service {
            drop(service.impatient().rest());
        }
        assert!(client.outcome(&[1]).goaway.is_none(), "other streams of the connection are not affected");
    }
}

/// An answer that reaches the gateway in one piece is passed to h2 in small pieces: those that h2
/// has not taken can be held back.
#[test]
fn f03_a_whole_answer_is_cut_while_its_client_takes_little() {
    let service = RawUpstream::by_hand();
    let endpoints = json!([{"id": "e", "path_regex": "/.*", "method": "POST", "secured": true}]);
    let apis = json!([service.api("a", &endpoints)]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    let mut client = RawHttp2::greeted_with(gateway.inbound(), &[(INITIAL_WINDOW_SIZE, 1)]);
    let head = [raw::post("/x"), raw::authorization(&format!("Bearer {}", token_of("alice")))].concat();
    client.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, head);
    let mut asked = service.accept();
    Received::read_head(&mut asked).expect("a request");
    asked.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 30000\r\n\r\n{}", "x".repeat(30_000)));
    is_cut(&gateway, client);
}

/// Revokes the session while its client has received one byte of the answer, then reads everything
/// that is still sent.
fn is_cut(gateway: &Gateway, mut client: RawHttp2) {
    client.until(|frame| frame.kind == kind::DATA).expect("one byte");
    gateway.blacklist("alice");
    client.window(1, 1 << 20);
    let ends = |frame: &raw::RawFrame| {
        frame.kind == kind::RST_STREAM || frame.kind == kind::DATA && frame.flags & flag::END_STREAM != 0
    };
    let reset = client.until(ends).expect("an end");
    assert_eq!((reset.kind, &reset.payload[..]), (kind::RST_STREAM, &CANCEL[..]));
    let came = client.frames().iter().filter(|frame| frame.kind == kind::DATA);
    let came: usize = came.map(|frame| frame.payload.len()).sum();
    assert!(came <= 2 * (16 << 10), "{came} bytes");
}

#[test]
fn f03_an_asynchronous_answer_is_cut_while_its_client_takes_little() {
    let service = Upstream::start();
    let endpoints = json!([
        {"id": "e", "path_regex": "/.*", "method": "POST", "secured": true, "response_from": "http_async"},
    ]);
    let apis = json!([service.api("a", &endpoints)]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    let mut client = RawHttp2::greeted_with(gateway.inbound(), &[(INITIAL_WINDOW_SIZE, 1)]);
    let head = [raw::post("/x/async"), raw::authorization(&format!("Bearer {}", token_of("alice")))].concat();
    client.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, head);
    let asked = service.next();
    let (_, token) = asked.target.split_once("correlation=").expect("a token");
    let answer = Request::new("POST", "/v3/responses")
        .header("rig-correlation", token)
        .header("rig-response-code", "200")
        .body("x".repeat(180_000));
    assert_eq!(gateway.ask_internal(&answer).status, 202);
    is_cut(&gateway, client);
}

/// The answer to a poll is a single document.
#[test]
fn f03_the_answer_to_a_poll_is_cut_while_its_client_takes_little() {
    let gateway = Gateway::start(&[]);
    let subscriptions = encoded(r#"[{"eventType":"greeting"}]"#);
    let query = format!("subscriptions={subscriptions}&jwt={}", token_of("alice"));
    let polling = LongPolling::connect(gateway.inbound(), &query);
    for id in 0..8 {
        let data = "x".repeat(50_000);
        let event = json!({ "specversion": "1.0", "type": "greeting", "source": "/", "id": id.to_string(), "data": data });
        gateway.publish(&event.to_string());
    }
    let mut client = RawHttp2::greeted_with(gateway.inbound(), &[(INITIAL_WINDOW_SIZE, 1)]);
    // Padded, because the helper only supports long values.
    let cookie = format!("{}; padding={}", polling.cookie(), "x".repeat(127));
    let head = [raw::get("/_rig/v1/connection/longpolling"), raw::cookie(&cookie)].concat();
    client.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, head);
    is_cut(&gateway, client);
}

/// The socket is full, and the client does not read: h2 takes only the piece that it is writing and
/// the next one. Everything in the outbox is dropped when the session is revoked.
#[test]
fn f03_a_client_that_does_not_read_gets_at_most_two_events_behind_the_kill() {
    const EVENTS: usize = 20;
    let service = RawUpstream::by_hand();
    let apis = json!([service.api("a", &json!([{ "id": "e", "path_regex": "/.*", "method": "GET" }]))]);
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis.to_string())]);
    let mut client =
        RawHttp2::over(Wire::connect_narrow(gateway.inbound()), &[(INITIAL_WINDOW_SIZE, 1 << 30)]);
    client.window(0, 1 << 30);
    let subscriptions = encoded(r#"[{"eventType":"greeting"}]"#);
    let path = format!("/_rig/v1/connection/sse?subscriptions={subscriptions}&jwt={}", token_of("alice"));
    client.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, raw::get_long(&path));
    client.until(|frame| frame.kind == kind::DATA).expect("the stream begins");
    client.get(3, "/flood");
    let mut flood = service.accept();
    Received::read_head(&mut flood).expect("a request");
    flood.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
    assert!(flood.flood(1_000_000_000) < 1_000_000_000, "no client reads");
    for id in 0..EVENTS {
        let data = format!("no. {id} {}", "x".repeat(1000));
        let event = json!({ "specversion": "1.0", "type": "greeting", "source": "/", "id": id.to_string(), "data": data });
        gateway.publish(&event.to_string());
    }
    gateway.blacklist("alice");
    drop(flood);
    client.until(|frame| frame.stream == 1 && frame.flags & flag::END_STREAM != 0).expect("the stream ends");
    let came = client.frames().iter().filter(|frame| frame.stream == 1 && frame.kind == kind::DATA);
    let text: Vec<u8> = came.flat_map(|frame| frame.payload.clone()).collect();
    let text = String::from_utf8_lossy(&text).into_owned();
    let events = (0..EVENTS).filter(|id| text.contains(&format!("no. {id} "))).count();
    assert!(events <= 2, "{events} events");
    assert!(text.contains("rig.session_killed"), "it receives the farewell");
}
