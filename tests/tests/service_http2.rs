//! Services that use all of HTTP/2: limits of streams, refused streams, GOAWAY.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use raw::{RawHttp2, flag, kind};
use rig_tests::*;
use serde_json::json;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const NO_ERROR: u32 = 0;
const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
const INTERNAL_ERROR: [u8; 4] = [0, 0, 0, 2];

fn start(more: &[(&str, &str)]) -> (RawUpstream, Gateway) {
    let upstream = RawUpstream::by_hand();
    let apis = pass_all_http2(upstream.address());
    let gateway = Gateway::start(&[&[("PROXY_CONFIG_FILE", apis.as_str())], more].concat());
    (upstream, gateway)
}

/// Runs a service that accepts this many streams on each connection and never finishes them.
/// Returns how often the limit was exceeded.
fn holds_streams(upstream: RawUpstream, allowed: u32) -> Arc<AtomicUsize> {
    let exceeded = Arc::<AtomicUsize>::default();
    let counted = exceeded.clone();
    std::thread::spawn(move || {
        loop {
            let wire = upstream.accept();
            let counted = counted.clone();
            std::thread::spawn(move || {
                let mut connection = RawHttp2::accepted(wire, &[(MAX_CONCURRENT_STREAMS, allowed)]);
                let mut open = 0;
                while let Some(stream) = connection.request() {
                    open += 1;
                    if open > allowed {
                        // The gateway may exceed the limit before it has received the SETTINGS.
                        connection.frame(kind::RST_STREAM, 0, stream, REFUSED_STREAM);
                        open -= 1;
                        counted.fetch_add(1, Ordering::SeqCst);
                        continue;
                    }
                    connection.answer(stream, None);
                    connection.frame(kind::DATA, 0, stream, "held");
                }
            });
        }
    });
    exceeded
}

#[test]
fn f10_a_full_connection_has_others_beside_it() {
    for allowed in [1, 3, 100] {
        let (upstream, gateway) = start(&[]);
        let address = upstream.address();
        holds_streams(upstream, allowed);
        let count = allowed as usize * 2 + 1;
        let mut clients = Vec::new();
        // One after the other, then many at once.
        for crowd in [1; 201].iter().take(count).chain(&[20]) {
            let mut others: Vec<_> =
                (0..*crowd).map(|_| Request::get("/x").start(gateway.inbound())).collect();
            for client in &mut others {
                let head = Response::read_head(client).expect("an answer");
                assert_eq!(head.status, 200, "{allowed} streams: {}", head.shown());
                assert!(client.until(b"held").is_some(), "{allowed} streams at {address}");
            }
            clients.append(&mut others);
        }
    }
}

#[test]
fn f10_a_stream_that_ends_makes_room_for_another() {
    let (upstream, gateway) = start(&[]);
    let mut first = Request::get("/1").start(gateway.inbound());
    let mut service = RawHttp2::accepted(upstream.accept(), &[(MAX_CONCURRENT_STREAMS, 1)]);
    for round in 0..20 {
        let stream = service.request().expect("over the one connection");
        service.answer(stream, Some("ok"));
        assert_eq!(Response::read(&mut first, false).text(), "ok", "{round}");
        first = Request::post_json("/next", "{}").start(gateway.inbound());
    }
    assert_eq!(upstream.connections(), 1);
}

/// A limit of 0 means "later": the request waits until the limit is raised, and no other connection
/// is opened in vain.
#[test]
fn f10_a_limit_that_is_raised_lets_the_next_request_through() {
    let (upstream, gateway) = start(&[]);
    let mut held = Request::get("/1").start(gateway.inbound());
    let mut service = RawHttp2::accepted(upstream.accept(), &[(MAX_CONCURRENT_STREAMS, 1)]);
    let first = service.request().expect("a request");
    service.answer(first, None);
    assert_eq!(Response::read_head(&mut held).expect("an answer").status, 200);
    service.settings(&[(MAX_CONCURRENT_STREAMS, 0)]);
    let acknowledged = |frame: &raw::RawFrame| frame.kind == kind::SETTINGS && frame.flags & flag::ACK != 0;
    while service.frames().iter().filter(|frame| acknowledged(frame)).count() < 2 {
        service.read().expect("both SETTINGS are acknowledged");
    }
    let mut waits = Request::post_json("/2", "{}").start(gateway.inbound());
    assert!(waits.is_silent_for(Duration::from_millis(300)));
    assert_eq!(upstream.connections(), 1, "the next connection would allow none either");
    service.settings(&[(MAX_CONCURRENT_STREAMS, 2)]);
    let second = service.request().expect("the request that waited");
    service.answer(second, Some("ok"));
    assert_eq!(Response::read(&mut waits, false).text(), "ok");
}

/// Starts a service that allows no stream from the beginning.
fn allows_none() -> (RawUpstream, Gateway, Wire, RawHttp2) {
    let (upstream, gateway) = start(&[]);
    let client = Request::get("/1").start(gateway.inbound());
    let mut service = RawHttp2::accepted(upstream.accept(), &[(MAX_CONCURRENT_STREAMS, 0)]);
    let acknowledged = |frame: &raw::RawFrame| frame.kind == kind::SETTINGS && frame.flags & flag::ACK != 0;
    service.until(acknowledged).expect("the SETTINGS are acknowledged");
    (upstream, gateway, client, service)
}

#[test]
fn f10_a_service_that_allows_no_stream_at_all_is_busy() {
    let (upstream, gateway, mut client, service) = allows_none();
    let answer = Response::read(&mut client, false);
    assert_eq!(answer.status, 503, "{}", answer.shown());
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.text(), "The service takes no more requests at once.");
    let reason = r#""reason":"too many streams: every HTTP/2 stream that the service allows is in use""#;
    eventually("the reason", || gateway.log().contains(reason).then_some(()));
    assert_eq!(upstream.connections(), 1, "the next connection would allow none either");
    assert!(service.frames().iter().all(|frame| frame.kind != kind::HEADERS), "it was asked nothing");
}

#[test]
fn f10_a_service_that_allows_no_stream_at_first_is_waited_for() {
    let (upstream, _gateway, mut client, mut service) = allows_none();
    assert!(client.is_silent_for(Duration::from_millis(300)));
    service.settings(&[(MAX_CONCURRENT_STREAMS, 1)]);
    let stream = service.request().expect("the request that waited");
    service.answer(stream, Some("ok"));
    assert_eq!(Response::read(&mut client, false).text(), "ok");
    assert_eq!(upstream.connections(), 1);
}

/// A request that the service has not processed is sent again on another connection, whatever its
/// method, with its body.
#[test]
fn f11_requests_beyond_the_last_stream_of_a_goaway_are_sent_again() {
    for (request, body) in [
        (Request::get("/x"), ""),
        (Request::post_json("/x", r#"{"a":1}"#), r#"{"a":1}"#),
        (Request::new("POST", "/x"), ""),
        (Request::new("PUT", "/x").body("x".repeat(40_000)), &"x".repeat(40_000)),
        // More than the service has read.
        (Request::new("PUT", "/x").body("x".repeat(65_536)), &"x".repeat(65_536)),
        (Request::new("POST", "/x").body("x".repeat(900_000)), &"x".repeat(900_000)),
    ] {
        let (upstream, gateway) = start(&[]);
        let mut client = request.start(gateway.inbound());
        let mut service = RawHttp2::accepted(upstream.accept(), &[]);
        let stream = service.request().expect("a request");
        if !body.is_empty() {
            service.until(|frame| frame.kind == kind::DATA).expect("a part of the body has been sent");
        }
        service.go_away(stream - 1, NO_ERROR);
        let mut again = RawHttp2::accepted(upstream.accept(), &[]);
        again.window(0, 1 << 20);
        let stream = again.request().expect("the request again");
        again.window(stream, 1 << 20);
        let ended =
            |frame: &raw::RawFrame| frame.flags & flag::END_STREAM != 0 && frame.kind <= kind::HEADERS;
        if !again.frames().iter().any(ended) {
            again.until(ended).expect("its end");
        }
        let data = again.frames().iter().filter(|frame| frame.kind == kind::DATA);
        let data: Vec<u8> = data.flat_map(|frame| frame.payload.clone()).collect();
        assert_eq!(data, body.as_bytes(), "the whole body, once");
        again.answer(stream, Some("done"));
        assert_eq!(Response::read(&mut client, false).text(), "done");
    }
}

#[test]
fn f11_refused_streams_are_sent_again_and_not_without_end() {
    let (upstream, gateway) = start(&[]);
    let mut client = Request::post_json("/x", "{}").start(gateway.inbound());
    let mut service = RawHttp2::accepted(upstream.accept(), &[]);
    let stream = service.request().expect("a request");
    service.frame(kind::RST_STREAM, 0, stream, REFUSED_STREAM);
    let mut other = RawHttp2::accepted(upstream.accept(), &[]);
    let stream = other.request().expect("the request again");
    other.answer(stream, Some("done"));
    assert_eq!(Response::read(&mut client, false).text(), "done");

    let (upstream, gateway) = start(&[]);
    let tries = Arc::<AtomicUsize>::default();
    let counted = tries.clone();
    let mut client = Request::post_json("/x", "{}").start(gateway.inbound());
    std::thread::spawn(move || {
        loop {
            let mut service = RawHttp2::accepted(upstream.accept(), &[]);
            let counted = counted.clone();
            std::thread::spawn(move || {
                while let Some(stream) = service.request() {
                    counted.fetch_add(1, Ordering::SeqCst);
                    service.frame(kind::RST_STREAM, 0, stream, REFUSED_STREAM);
                }
            });
        }
    });
    assert_eq!(Response::read(&mut client, false).status, 502);
    let tries = tries.load(Ordering::SeqCst);
    assert!((2..=17).contains(&tries), "{tries}");
}

/// A POST that may have been processed is not sent twice.
#[test]
fn f11_what_may_have_been_processed_is_not_sent_again() {
    type End = fn(&mut RawHttp2, u32);
    let ends: [(&str, End); 3] = [
        ("a GOAWAY that includes the stream, and the end", |service, stream| {
            service.go_away(stream, NO_ERROR)
        }),
        ("another reset", |service, stream| service.frame(kind::RST_STREAM, 0, stream, INTERNAL_ERROR)),
        ("the end alone", |_, _| {}),
    ];
    for (name, end) in ends {
        let (upstream, gateway) = start(&[]);
        let mut client = Request::post_json("/x", "{}").start(gateway.inbound());
        let mut service = RawHttp2::accepted(upstream.accept(), &[]);
        let stream = service.request().expect("a request");
        service.until(|frame| frame.flags & flag::END_STREAM != 0).expect("its body");
        end(&mut service, stream);
        drop(service);
        assert_eq!(Response::read(&mut client, false).status, 502, "{name}");
        assert_eq!(upstream.connections(), 1, "{name}");
    }
}

/// Too much of the body has been read to store a copy for another attempt.
#[test]
fn f11_a_body_that_is_gone_is_not_sent_again() {
    let (upstream, gateway) = start(&[]);
    let mut client = Wire::connect(gateway.inbound());
    client.send("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
    client.send("x".repeat(500_000));
    let mut service = RawHttp2::accepted(upstream.accept(), &[(4, 1 << 20)]);
    service.window(0, 1 << 20);
    let stream = service.request().expect("a request");
    let mut got = 0;
    while got < 300_000 {
        got += service.until(|frame| frame.kind == kind::DATA).expect("a body").payload.len();
    }
    service.frame(kind::RST_STREAM, 0, stream, REFUSED_STREAM);
    assert_eq!(Response::read(&mut client, false).status, 502);
    assert_eq!(upstream.connections(), 1);
}

/// Requests that are being answered continue on a connection that is going away.
#[test]
fn f11_a_goaway_leaves_answers_alone() {
    let (upstream, gateway) = start(&[]);
    let mut first = Request::get("/1").start(gateway.inbound());
    let mut service = RawHttp2::accepted(upstream.accept(), &[]);
    let stream = service.request().expect("a request");
    service.answer(stream, None);
    assert_eq!(Response::read_head(&mut first).expect("an answer").status, 200);
    service.go_away(stream, NO_ERROR);
    let mut second = Request::new("POST", "/2").start(gateway.inbound());
    let mut other = RawHttp2::accepted(upstream.accept(), &[]);
    let stream_of_other = other.request().expect("over another connection");
    other.answer(stream_of_other, Some("2"));
    assert_eq!(Response::read(&mut second, false).text(), "2");
    service.frame(kind::DATA, flag::END_STREAM, stream, "the rest");
    assert!(first.until(b"the rest").is_some());
}

/// A connection that has reached its maximum age gets no new streams; its open streams continue.
#[test]
fn f19_an_old_http2_connection_is_left_in_place() {
    const AGE: Duration = Duration::from_millis(200);
    let (upstream, gateway) = start(&[("PROXY_CONNECTION_AGE", "200ms")]);
    let mut first = Request::get("/1").start(gateway.inbound());
    let mut service = RawHttp2::accepted(upstream.accept(), &[]);
    let stream = service.request().expect("a request");
    service.answer(stream, None);
    assert_eq!(Response::read_head(&mut first).expect("an answer").status, 200);
    // Too few to use up the descriptors, or to last until old connections are swept.
    let mut waiting = Vec::new();
    let mut next = Instant::now();
    let other = eventually("a new connection", || {
        if Instant::now() >= next {
            waiting.push(Request::get("/2").start(gateway.inbound()));
            next += AGE / 10;
        }
        assert!(waiting.len() < 150, "the old connection takes all requests");
        (upstream.connections() > 1).then(|| upstream.accept())
    });
    let mut other = RawHttp2::accepted(other, &[]);
    let stream_of_other = other.request().expect("a request on the new connection");
    other.answer(stream_of_other, Some("2"));
    service.frame(kind::DATA, flag::END_STREAM, stream, "the rest");
    assert!(first.until(b"the rest").is_some());
}

/// gRPC clients report a reset with CANCEL as CANCELLED, and other codes as an error of the
/// gateway.
#[test]
fn f20_the_stream_of_a_killed_session_is_cancelled() {
    let upstream = RawUpstream::by_hand();
    let endpoints = json!([{"id": "e", "path_regex": "/.*", "method": "POST", "secured": true}]);
    let apis = json!([upstream.api("a", &endpoints)]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    for with_body in [true, false] {
        let session = format!("session-{with_body}");
        let mut client = RawHttp2::greeted(gateway.inbound());
        let token = format!("Bearer {}", token_of(&session));
        let mut head = raw::post("/grpc.Service/Call");
        head.extend(raw::authorization(&token));
        client.frame(kind::HEADERS, flag::END_HEADERS, 1, head);
        client.frame(kind::DATA, 0, 1, "a message");
        let mut service = upstream.accept();
        Received::read_head(&mut service).expect("a request");
        service
            .send("HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n");
        if with_body {
            service.send("5\r\nfirst\r\n");
            client.until(|frame| frame.kind == kind::DATA).expect("the first message");
        } else {
            client.until(|frame| frame.kind == kind::HEADERS).expect("a head");
        }
        gateway.blacklist(&session);
        let reset = client.until(|frame| frame.kind == kind::RST_STREAM).expect("the stream is reset");
        assert_eq!(reset.payload, [0, 0, 0, 8], "CANCEL");
    }
}

/// A unary call that still waits: gRPC maps a 401 without `grpc-status` to UNAUTHENTICATED.
#[test]
fn f20_a_waiting_call_of_a_killed_session_is_unauthenticated() {
    let upstream = RawUpstream::by_hand();
    let endpoints = json!([{"id": "e", "path_regex": "/.*", "method": "POST", "secured": true}]);
    let apis = json!([upstream.api("a", &endpoints)]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    let call = || {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-i", "-m", "20", "--http2-prior-knowledge", "-H", "te: trailers"]);
        curl.args(["-H", "content-type: application/grpc", "-d", "a message"]);
        curl.args(["-H", &format!("authorization: Bearer {}", token_of("alice"))]);
        curl.arg(format!("http://{}/grpc.Service/Call", gateway.inbound()));
        curl.stdout(Stdio::piped()).spawn().expect("curl is installed")
    };
    let is_unauthenticated = |call: Child| {
        let said = call.wait_with_output().expect("an end").stdout;
        let said = String::from_utf8_lossy(&said).to_ascii_lowercase();
        assert!(said.starts_with("http/2 401"), "{said}");
        assert!(!said.contains("grpc-status"), "{said}");
        assert!(said.contains(r#"www-authenticate: bearer error="invalid_token""#), "{said}");
    };
    let waiting = call();
    let mut service = upstream.accept();
    Received::read(&mut service).expect("a request");
    gateway.blacklist("alice");
    is_unauthenticated(waiting);
    assert!(service.rest().is_empty(), "the service's connection is closed");
    is_unauthenticated(call());
}

/// The gateway's own stream has sent its farewell, so it is closed without a reset.
#[test]
fn f20_an_own_stream_of_a_killed_session_ends_cleanly() {
    let gateway = Gateway::start(&[]);
    let mut client = RawHttp2::greeted(gateway.inbound());
    let head = raw::get_long(&format!("/_rig/v1/connection/sse?jwt={}", token_of("alice")));
    client.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, head);
    client.until(|frame| frame.kind == kind::DATA).expect("the stream begins");
    gateway.blacklist("alice");
    let last = client.until(|frame| frame.flags & flag::END_STREAM != 0 || frame.kind == kind::RST_STREAM);
    assert_eq!(last.expect("an end").kind, kind::DATA, "no reset");
    let data = client.frames().iter().filter(|frame| frame.kind == kind::DATA);
    let text: Vec<u8> = data.flat_map(|frame| frame.payload.clone()).collect();
    assert!(String::from_utf8_lossy(&text).contains("rig.session_killed"));
}
