//! Single streams of services over HTTP/2: how they are closed, what precedes their answers, and
//! that they do not affect other streams.

use raw::{RawHttp2, flag, kind};
use rig_tests::*;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const NO_ERROR: [u8; 4] = [0, 0, 0, 0];
const CANCEL: [u8; 4] = [0, 0, 0, 8];
const INTERNAL_ERROR: [u8; 4] = [0, 0, 0, 2];

fn start() -> (RawUpstream, Gateway) {
    let upstream = RawUpstream::by_hand();
    let apis = pass_all_http2(upstream.address());
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis)]);
    (upstream, gateway)
}

/// Returns a field block with only this status (RFC 7541, section 6.2.2).
fn status(code: &str) -> Vec<u8> {
    let mut block = vec![0x08, code.len() as u8];
    block.extend(code.bytes());
    block
}

/// h2 counts answers to cancelled requests as errors of the service, and closes the connection
/// after many of them.
#[test]
fn f10_clients_that_leave_do_not_end_the_streams_of_others() {
    let (upstream, gateway) = start();
    let mut stays = Request::get("/stays").start(gateway.inbound());
    let mut service = RawHttp2::accepted(upstream.accept(), &[]);
    let kept = service.request().expect("a request");
    service.answer(kept, None);
    assert_eq!(Response::read_head(&mut stays).expect("an answer").status, 200);
    for _ in 0..1200 {
        let leaves = Request::get("/leaves").start(gateway.inbound());
        let stream = service.request().expect("a request");
        leaves.reset();
        drop(leaves);
        let reset = service.until(|frame| frame.kind == kind::RST_STREAM).expect("the stream is given up");
        assert_eq!((reset.stream, &reset.payload[..]), (stream, &CANCEL[..]));
        service.answer(stream, Some("too late"));
    }
    service.frame(kind::DATA, flag::END_STREAM, kept, "the rest");
    assert!(stays.until(b"the rest").is_some());
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn f14_informational_answers_pass() {
    let (upstream, gateway) = start();
    let mut client = Request::get("/x").start(gateway.inbound());
    let mut service = RawHttp2::accepted(upstream.accept(), &[]);
    let stream = service.request().expect("a request");
    let mut hints = status("103");
    hints.extend(b"\x00\x04link\x03</a");
    service.frame(kind::HEADERS, flag::END_HEADERS, stream, hints);
    let hints = client.until(b"\r\n\r\n").expect("hints");
    assert_eq!(String::from_utf8_lossy(&hints), "HTTP/1.1 103 Early Hints\r\nlink: </a\r\n\r\n");
    service.frame(kind::HEADERS, flag::END_HEADERS, stream, status("102"));
    assert!(client.until(b"\r\n\r\n").expect("102").starts_with(b"HTTP/1.1 102 "));
    service.answer(stream, Some("done"));
    assert_eq!(Response::read(&mut client, false).text(), "done");
}

/// HTTP/2 has no 101 (RFC 9113, section 8.6); HTTP/1.1 clients would read the following bytes as
/// another protocol.
#[test]
fn f14_a_101_does_not_pass() {
    let (upstream, gateway) = start();
    let mut client = Request::get("/x").start(gateway.inbound());
    let mut service = RawHttp2::accepted(upstream.accept(), &[]);
    let stream = service.request().expect("a request");
    service.frame(kind::HEADERS, flag::END_HEADERS, stream, status("101"));
    service.answer(stream, Some("done"));
    let answer = Response::read(&mut client, false);
    assert!(matches!(answer.status, 200 | 502), "{}", answer.shown());
}

/// The service has reset only this request, which may have been processed; its connection is not
/// affected.
#[test]
fn f11_a_request_that_is_reset_is_not_sent_again() {
    let (upstream, gateway) = start();
    let mut client = Request::get("/x").start(gateway.inbound());
    let mut service = RawHttp2::accepted(upstream.accept(), &[]);
    for _ in 0..2 {
        let stream = service.request().expect("a request");
        service.frame(kind::RST_STREAM, 0, stream, INTERNAL_ERROR);
        assert_eq!(Response::read(&mut client, false).status, 502);
        client = Request::get("/x").start(gateway.inbound());
    }
    let last = service.request().expect("the last one");
    service.answer(last, Some("last"));
    assert_eq!(Response::read(&mut client, false).text(), "last");
    assert_eq!(upstream.connections(), 1);
}

/// RFC 9113, section 8.1: a service that has answered may ask for the rest of the request not to be
/// sent.
#[test]
fn f08_an_answer_counts_though_the_stream_is_reset_behind_it() {
    let (upstream, gateway) = start();
    let mut client = Wire::connect(gateway.inbound());
    client.send("POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhello");
    let mut service = RawHttp2::accepted(upstream.accept(), &[]);
    let stream = service.request().expect("a request");
    service.until(|frame| frame.kind == kind::DATA).expect("some of the body");
    service.answer(stream, Some("enough"));
    service.frame(kind::RST_STREAM, 0, stream, NO_ERROR);
    assert_eq!(Response::read(&mut client, false).text(), "enough");
}

/// An answer that is reset before END_STREAM is incomplete, whatever the error code.
#[test]
fn an_answer_that_is_reset_is_broken_off() {
    for code in [NO_ERROR, CANCEL] {
        let (upstream, gateway) = start();
        let mut client = Request::get("/x").start(gateway.inbound());
        let mut service = RawHttp2::accepted(upstream.accept(), &[]);
        let stream = service.request().expect("a request");
        service.answer(stream, None);
        service.frame(kind::DATA, 0, stream, "half");
        assert_eq!(Response::read_head(&mut client).expect("a head").status, 200);
        assert!(client.until(b"half").is_some());
        service.frame(kind::RST_STREAM, 0, stream, code);
        assert_eq!(String::from_utf8_lossy(&client.rest()), "\r\n", "no last chunk: {code:?}");
        eventually("the reason", || gateway.log().contains("answer body broken off").then_some(()));
    }
}

/// An answer may begin, and even be read completely, long before the request is complete.
#[test]
fn a_body_is_still_sent_while_the_answer_is_not_read() {
    let (upstream, gateway) = start();
    let mut client = Wire::connect(gateway.inbound());
    client.send("POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n\r\n");
    let mut service = RawHttp2::accepted(upstream.accept(), &[]);
    service.window(0, 1 << 20);
    let stream = service.request().expect("a request");
    service.window(stream, 1 << 20);
    service.answer(stream, None);
    assert_eq!(Response::read_head(&mut client).expect("a head").status, 200);
    client.send(vec![b'x'; 900_000]);
    service.until(|frame| frame.flags & flag::END_STREAM != 0 && frame.kind == kind::DATA).expect("its end");
    let data = service.frames().iter().filter(|frame| frame.kind == kind::DATA);
    assert_eq!(data.map(|frame| frame.payload.len()).sum::<usize>(), 900_000);
}

/// An idempotent request that makes the service close its connection must not take down all shared
/// connections, one after the other.
#[test]
fn f11_a_request_takes_down_at_most_two_connections() {
    let (upstream, gateway) = start();
    let mut others = Vec::new();
    let mut services = Vec::new();
    // Opens four connections with two streams each. Answering the first stream leaves room for one
    // more.
    for _ in 0..4 {
        let other = Request::get("/other").start(gateway.inbound());
        let mut service = RawHttp2::accepted(upstream.accept(), &[(MAX_CONCURRENT_STREAMS, 2)]);
        let first = service.request().expect("a request");
        let second = Request::get("/other").start(gateway.inbound());
        service.request().expect("another request");
        others.extend([other, second]);
        services.push((service, first));
    }
    for (service, first) in &mut services {
        service.answer(*first, Some("done"));
    }
    for other in others.iter_mut().step_by(2) {
        assert_eq!(Response::read(other, false).text(), "done");
    }
    let mut poison = Request::get("/poison").start(gateway.inbound());
    let closed = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for (mut service, _) in services {
        let closed = closed.clone();
        std::thread::spawn(move || {
            if service.request().is_some() {
                closed.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        });
    }
    let mut last = RawHttp2::accepted(upstream.accept(), &[]);
    last.request().expect("the request over a connection of its own");
    drop(last);
    assert_eq!(Response::read(&mut poison, false).status, 502);
    assert_eq!(closed.load(std::sync::atomic::Ordering::SeqCst), 1, "only one shared connection is closed");
}
