//! The bytes queued for all slow clients together have a limit (`WAITING_BYTES`), at which the
//! fullest connection is evicted first.

use raw::{RawHttp2, flag, kind};
use rig_tests::*;
use serde_json::json;

const BOUND: f64 = (1 << 20) as f64;

/// More than an eighth of the limit above all others, so that evicting it makes enough room.
const FULLEST: f64 = BOUND / 3.0;

const TRANSPORTS: [&str; 3] = ["sse", "websocket", "longpolling"];

const GREETINGS: &str = r#"[{"eventType":"greeting"}]"#;

/// Bytes of an event: one for each client of the crowd is less than an eighth of the limit in
/// total.
const PADDING: usize = 8_000;

/// A client that does not read.
enum Slow {
    Stream(Wire),
    /// A long-polling client that does not poll, so that its events stay in the gateway.
    Mailbox,
}

impl Slow {
    fn connect(gateway: &Gateway, transport: &str, session: &str, subscriptions: &str) -> Self {
        let query = format!("jwt={}&subscriptions={}", token_of(session), encoded(subscriptions));
        let request = match transport {
            "sse" => Request::get(format!("/_rig/v1/connection/sse?{query}")),
            "websocket" => WebSocket::handshake(&format!("/_rig/v1/connection/ws?{query}")),
            _ => {
                drop(LongPolling::connect(gateway.inbound(), &query));
                return Self::Mailbox;
            }
        };
        let mut wire = Wire::connect_narrow(gateway.inbound());
        wire.send(request.bytes(gateway.inbound()));
        assert!(wire.until(b"rig.subscriptions_set").is_some(), "{transport}");
        Self::Stream(wire)
    }

    /// Waits until the gateway has closed it.
    fn is_cut(&mut self) {
        let Self::Stream(wire) = self else { panic!("only streams are filled beforehand") };
        drop(wire.rest());
    }
}

fn waiting(gateway: &Gateway) -> f64 {
    gateway.metric("rig_waiting_bytes")
}

fn cut(gateway: &Gateway, transport: &str) -> f64 {
    gateway.metric(&format!(r#"rig_connections_closed_total{{transport="{transport}",reason="memory"}}"#))
}

fn event(kind: &str, id: u32) -> String {
    let event = json!({
        "specversion": "0.2", "type": kind, "source": "/s", "id": id.to_string(), "data": "x".repeat(PADDING),
    });
    event.to_string()
}

/// Publishes events until streams of every transport have been evicted. The fullest must be evicted
/// first.
fn flood(gateway: &Gateway, fullest: &mut Slow, good: &mut Sse) {
    let mut first_is_gone = false;
    for id in 0.. {
        let text = event("greeting", id);
        gateway.publish(&text);
        assert!(good.next_data() == text, "a client that reads gets every event: {id}");
        eventually("the sum is within the bound", || (waiting(gateway) <= BOUND).then_some(()));
        let gone = TRANSPORTS.map(|transport| cut(gateway, transport));
        let sum: f64 = gone.iter().sum();
        if !first_is_gone && sum > 0.0 {
            assert!(sum == 1.0, "one was enough: {gone:?}");
            fullest.is_cut();
            first_is_gone = true;
        }
        if first_is_gone && gone[..2].iter().all(|count| *count >= 1.0) {
            return;
        }
        assert!(id < 2_000, "{gone:?}");
    }
}

#[test]
fn f03_at_the_bound_of_all_that_waits_the_fullest_goes_first() {
    for transport in ["sse", "websocket"] {
        let gateway = Gateway::start(&[("WAITING_BYTES", "1MiB"), ("OUTBOX_BYTES", "64MiB")]);
        let query = format!("subscriptions={}", encoded(GREETINGS));
        let mut good = Sse::connect(gateway.inbound(), &query);
        good.welcome();
        let crowd: Vec<_> = (0..4)
            .flat_map(|n| TRANSPORTS.map(|kind| (kind, format!("{kind}-{n}"))))
            .map(|(kind, session)| Slow::connect(&gateway, kind, &session, GREETINGS))
            .collect();
        let both = r#"[{"eventType":"greeting"},{"eventType":"extra"}]"#;
        let mut fullest = Slow::connect(&gateway, transport, "fullest", both);
        let (before, _) = gateway.memory();
        for id in 0.. {
            if waiting(&gateway) >= FULLEST {
                break;
            }
            gateway.publish(&event("extra", id));
            assert!(id < 4_000, "{transport}: it takes all");
        }
        flood(&gateway, &mut fullest, &mut good);
        let (_, most) = gateway.memory();
        assert!(most - before < 32 << 20, "{transport}: {} bytes more", most - before);
        for kind in TRANSPORTS {
            gateway.blacklist(&format!("{kind}-0"));
        }
        for path in ["/health", "/v4/sessions", "/metrics"] {
            assert_eq!(gateway.ask_internal(&Request::get(path)).status, 200, "{path}");
        }
        drop(crowd);
    }
}

/// Copies of bodies for sending a request again are evicted first, which no client notices.
#[test]
fn f03_copies_of_bodies_are_counted_and_evicted() {
    const CLIENTS: usize = 20;
    const BODY: usize = 100_000;
    let service = RawUpstream::by_hand();
    let apis = pass_all_http2(service.address());
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis), ("WAITING_BYTES", "1MiB")]);
    let request = Request::new("POST", "/x").body("x".repeat(BODY));
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| request.start(gateway.inbound())).collect();
    let mut service = RawHttp2::accepted(service.accept(), &[]);
    service.window(0, 1 << 30);
    let (mut streams, mut came, mut most) = (Vec::new(), 0, 0.0_f64);
    while came < CLIENTS * BODY {
        let frame = service.read().expect("all requests");
        if frame.kind == kind::HEADERS {
            service.window(frame.stream, 1 << 20);
            streams.push(frame.stream);
        }
        came += if frame.kind == kind::DATA { frame.payload.len() } else { 0 };
        most = most.max(waiting(&gateway));
    }
    assert!(most > BOUND / 2.0, "the copies count: {most}");
    assert!(waiting(&gateway) <= BOUND, "{} bytes", waiting(&gateway));
    for stream in streams {
        service.answer(stream, None);
        service.frame(kind::DATA, flag::END_STREAM, stream, "ok");
    }
    for client in &mut clients {
        assert_eq!(Response::read(client, false).text(), "ok");
    }
    gateway.await_metric("rig_waiting_bytes", 0.0);
}

/// If a copy is evicted while it is being sent, the request is aborted instead of continuing with
/// missing bytes.
#[test]
fn f03_evicting_a_copy_while_it_is_sent_aborts_its_request() {
    const BODY: usize = 150_000;
    let upstream = RawUpstream::by_hand();
    let apis = pass_all_http2(upstream.address());
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis), ("WAITING_BYTES", "1MiB")]);
    let request = Request::new("POST", "/x").body("x".repeat(BODY));
    let mut client = request.start(gateway.inbound());
    let mut first = RawHttp2::accepted(upstream.accept(), &[]);
    let stream = first.request().expect("a request");
    first.window(0, 1 << 30);
    first.window(stream, 1 << 20);
    let mut came = 0;
    while came < BODY {
        came += first.until(|frame| frame.kind == kind::DATA).expect("the body").payload.len();
    }
    first.go_away(stream - 1, 0);
    // The other connection reads a part of it.
    let mut second = RawHttp2::accepted(upstream.accept(), &[]);
    let stream = second.request().expect("the request again");
    let mut again = 0;
    while again < 65_535 {
        again += second.until(|frame| frame.kind == kind::DATA).expect("a part").payload.len();
    }
    second.window(0, 1 << 30);
    let crowd: Vec<_> = (0..12)
        .map(|_| {
            let other = Request::new("POST", "/y").body("x".repeat(100_000)).start(gateway.inbound());
            let stream = second.request().expect("another request");
            second.window(stream, 1 << 20);
            other
        })
        .collect();
    eventually("an eviction", || (gateway.metric("rig_waiting_evicted_total") >= 1.0).then_some(()));
    second.window(stream, 1 << 20);
    let answer = Response::read(&mut client, false);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.shown());
    assert!(!gateway.log().contains("service failed"), "the service did not fail");
    let ends = |frame: &raw::RawFrame| {
        frame.stream == stream
            && (frame.kind == kind::RST_STREAM
                || frame.kind == kind::DATA && frame.flags & flag::END_STREAM != 0)
    };
    let end = second.frames().iter().find(|frame| ends(frame)).cloned();
    let end = end.unwrap_or_else(|| second.until(ends).expect("an end"));
    assert_eq!(end.kind, kind::RST_STREAM, "a body with missing bytes is not completed");
    drop(crowd);
}

/// An asynchronous answer arrives complete, however slowly its client reads.
#[test]
fn f03_asynchronous_answers_count() {
    const ANSWER: usize = 6 << 20;
    let service = Upstream::start();
    let endpoints =
        json!([{ "id": "a", "path_regex": "/.*", "method": "GET", "response_from": "http_async" }]);
    let apis = json!([service.api("a", &endpoints)]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis), ("WAITING_BYTES", "16MiB")]);
    let body = "x".repeat(ANSWER);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Wire::connect_narrow(gateway.inbound());
        client.send("GET /x/async HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let asked = service.next();
        let (_, token) = asked.target.split_once("correlation=").expect("a token");
        let answer = Request::new("POST", "/v3/responses")
            .header("rig-correlation", token)
            .header("rig-response-code", "200")
            .body(&body);
        assert_eq!(gateway.ask_internal(&answer).status, 202);
        clients.push(client);
        // The answer is counted before another one is evicted for it.
        eventually("room is made", || (waiting(&gateway) <= f64::from(16 << 20)).then_some(()));
    }
    let came: Vec<_> = clients.iter_mut().map(|client| client.rest().len()).collect();
    let whole = came.iter().filter(|came| **came > ANSWER).count();
    assert_eq!(whole, 2, "one of them was evicted: {came:?}");
    gateway.await_metric("rig_waiting_bytes", 0.0);
}
