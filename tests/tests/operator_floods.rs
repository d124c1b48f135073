//! Revoking a session frees everything that it holds, and nothing that is opened on behalf of
//! clients uses the operator's reserve.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rig_tests::raw::RawHttp2;
use rig_tests::*;
use serde_json::json;

/// Few enough for one client to use them up.
const DESCRIPTORS: usize = 100;

const SESSION: &str = "flood";

fn head_of(mut wire: Wire, status: u16) -> Option<Wire> {
    Response::read_head(&mut wire).filter(|head| head.status == status).map(|_| wire)
}

/// Revokes the session and uses everything that an operator uses.
fn operate(gateway: &Gateway, what: &str) {
    gateway.blacklist(SESSION);
    for path in ["/health", "/v4/sessions", "/metrics"] {
        let response = gateway.ask_internal(&Request::get(path));
        assert_eq!(response.status, 200, "{what}: {path}: {}", response.text());
    }
}

/// A resource that a session holds open.
enum Held {
    Wire(Wire),
    /// A poll, and the time limit for its answer, well before the poll times out.
    Poll(Poll, Instant),
    /// A connection, and its streams.
    Http2(RawHttp2, Vec<u32>),
}

/// The time limit for the answer to a poll; the poll times out a second later.
const POLL_WAIT: Duration = Duration::from_secs(4);

/// Everything must be closed within this time after the revocation.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

impl Held {
    /// Waits until it is closed.
    fn ends(self, kind: &str, by: Instant) {
        match self {
            Self::Wire(wire) if matches!(kind, "wait" | "upload") => {
                let head = Response::read_head(&mut wire.ends_by(by));
                assert_eq!(head.map(|head| head.status), Some(401), "{kind}");
            }
            Self::Wire(wire) => drop(wire.ends_by(by).rest()),
            Self::Poll(poll, by) => {
                let answer = poll.ends_by(by).answer().text();
                assert!(answer.contains("rig.session_killed"), "{kind}: {answer}");
            }
            Self::Http2(connection, streams) => {
                // The connection stays open, since it may carry streams of other sessions.
                let outcome = connection.ends_by(by).outcome(&streams);
                let over = |stream: &u32| {
                    outcome.answered.contains(stream)
                        || outcome.resets.iter().any(|(reset, _)| reset == stream)
                };
                assert!(streams.iter().all(over) && outcome.goaway.is_none(), "{kind}: {outcome:?}");
            }
        }
    }
}

/// Opens one of this kind; `None` if the gateway is full.
fn start(kind: &str, address: SocketAddr) -> Option<Held> {
    let token = token_of(SESSION);
    let query = format!("jwt={token}");
    let sse = format!("/_rig/v1/connection/sse?{query}");
    let wire = match kind {
        "sse" => head_of(Request::get(sse).start(address), 200)?,
        "websocket" => {
            let target = format!("/_rig/v1/connection/ws?{query}");
            head_of(WebSocket::handshake(&target).start(address), 101)?
        }
        "long polling" => {
            let mut client = LongPolling::connect(address, &query);
            client.welcome();
            let by = Instant::now() + POLL_WAIT;
            return Some(Held::Poll(client.start(), by));
        }
        "http/2" | "http/2 that takes no bytes" => {
            const INITIAL_WINDOW_SIZE: u16 = 4;
            let window = if kind == "http/2" { 65_535 } else { 0 };
            let mut connection = RawHttp2::greeted_with(address, &[(INITIAL_WINDOW_SIZE, window)]);
            let streams = vec![1, 3, 5];
            for (stream, path) in [(1, &sse), (3, &sse), (5, &format!("/x/endless?token={token}"))] {
                let ends = raw::flag::END_HEADERS | raw::flag::END_STREAM;
                connection.frame(raw::kind::HEADERS, ends, stream, raw::get_long(path));
            }
            let begun = |frames: &[raw::RawFrame], stream: &u32| {
                frames.iter().any(|frame| frame.stream == *stream && frame.kind == raw::kind::HEADERS)
            };
            while !streams.iter().all(|stream| begun(connection.frames(), stream)) {
                connection.read()?;
            }
            return Some(Held::Http2(connection, streams));
        }
        "answer" => {
            let mut wire = Wire::connect_narrow(address);
            wire.send(Request::get(format!("/x/endless?token={token}")).bytes(address));
            head_of(wire, 200)?
        }
        "wait" => Request::get(format!("/x/slow?token={token}")).start(address),
        "tunnel" => {
            let request = Request::get(format!("/x/upgrade?token={token}"));
            let request = request.header("connection", "upgrade").header("upgrade", "test");
            head_of(request.start(address), 101)?
        }
        "upload" => {
            let mut wire = Wire::connect(address);
            wire.send(format!(
                "POST /x/upload?token={token} HTTP/1.1\r\nhost: x\r\ncontent-length: 999999\r\n\r\nbegins"
            ));
            wire
        }
        _ => unreachable!("no such kind"),
    };
    Some(Held::Wire(wire))
}

#[test]
fn f03_everything_that_a_flooding_session_holds_goes_with_it() {
    let service = Upstream::start();
    let endpoints = json!([
        { "id": "all", "path_regex": "/.*", "method": "GET", "secured": true },
        { "id": "up", "path_regex": "/.*", "method": "POST", "secured": true },
    ]);
    let mut api = service.api("svc", &endpoints);
    api["auth"]["use_query"] = true.into();
    api["auth"]["query_name"] = "token".into();
    let apis = json!([api]).to_string();
    let gateway = Gateway::start_with_descriptors(DESCRIPTORS, &[("PROXY_CONFIG_FILE", &apis)]);
    let mut held = Vec::new();
    // Polls time out, so they are opened last.
    for kind in [
        "sse",
        "websocket",
        "http/2",
        "http/2 that takes no bytes",
        "answer",
        "wait",
        "tunnel",
        "upload",
        "long polling",
    ] {
        held.extend((0..4).map(|_| (kind, start(kind, gateway.inbound()).expect(kind))));
    }
    let of_each_kind = held.len();
    gateway.await_metric(r#"rig_connections{transport="sse"}"#, 20.0);
    // Fills the remaining places, so that the operator finds a full gateway.
    held.extend((0..DESCRIPTORS).map_while(|_| Some(("sse", start("sse", gateway.inbound())?))));
    assert!(held.len() > of_each_kind, "there was room for a few more");
    operate(&gateway, "all kinds");
    held.sort_by_key(|(kind, _)| *kind != "long polling");
    let by = Instant::now() + ENDS_WITHIN;
    for (kind, held) in held {
        held.ends(kind, by);
    }
    for transport in ["sse", "websocket"] {
        gateway.await_metric(&format!(r#"rig_connections{{transport="{transport}"}}"#), 0.0);
    }
    let sessions = gateway.ask_internal(&Request::get("/v4/sessions")).json();
    assert_eq!(sessions["sessions"], json!([]), "nothing of it is left");
    assert_eq!(Request::get("/_rig/health").send(gateway.inbound()).status, 200, "there is room for others");
}

#[test]
fn f03_half_a_proxy_protocol_head_leaves_the_reserve_alone() {
    let settings = [("PROXY_PROTOCOL", "on"), ("TRUSTED_PROXIES", "127.0.0.1"), ("HEAD_TIMEOUT", "60s")];
    for half in [&b"PROXY TCP4 1.2.3.4"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01"] {
        let gateway = Gateway::start_with_descriptors(DESCRIPTORS, &settings);
        let crowd: Vec<_> = (0..DESCRIPTORS + 20)
            .map_while(|_| {
                let mut wire = Wire::connect(gateway.inbound());
                wire.try_send(half).map(|()| wire)
            })
            .collect();
        operate(&gateway, "half a head");
        drop(crowd);
    }
}

/// Returns a request with an event of this many bytes.
fn event(bytes: usize) -> Request {
    let event = json!({
        "specversion": "0.2", "type": "greeting", "source": "/s", "id": "1", "data": "x".repeat(bytes),
    });
    Request::post_json("/_rig/v1/events", event.to_string())
}

#[test]
fn f03_questions_to_a_service_leave_the_reserve_alone() {
    let service = Stub::start();
    let settings = [("SUBMISSION_CHECK", &*service.url()), ("CHECK_TIMEOUT", "60s")];
    let gateway = Gateway::start_with_descriptors(DESCRIPTORS, &settings);
    let ask = |_| event(10).start(gateway.inbound());
    // Each of these takes a descriptor for its client and one for its request to the service.
    let asked: Vec<_> = (0..DESCRIPTORS / 4).map(|n| (ask(n), service.next())).collect();
    let crowd: Vec<_> = (0..DESCRIPTORS).map(ask).collect();
    operate(&gateway, "questions");
    let open = gateway.metric("process_open_fds");
    assert!(open < DESCRIPTORS as f64 * 0.95, "{open} are open");
    drop((crowd, asked));
}

#[test]
fn f03_bodies_that_wait_for_a_decision_count() {
    const COUNT: usize = 20;
    let service = Stub::start();
    let settings =
        [("SUBMISSION_CHECK", &*service.url()), ("CHECK_TIMEOUT", "60s"), ("WAITING_BYTES", "1MiB")];
    let gateway = Gateway::start(&settings);
    let mut crowd: Vec<_> = (0..COUNT).map(|_| event(100 << 10).start(gateway.inbound())).collect();
    let mut refused = 0;
    eventually("those that are too many", || {
        crowd.retain_mut(|wire| {
            let waits = wire.is_silent_for(std::time::Duration::from_millis(5));
            if !waits {
                assert_eq!(Response::read(wire, false).status, 503);
                refused += 1;
            }
            waits
        });
        (refused >= COUNT / 2).then_some(())
    });
    let waiting = gateway.metric("rig_waiting_bytes");
    assert!((100_000.0..=1_048_576.0).contains(&waiting), "{waiting}");
    operate(&gateway, "decisions");
}

#[test]
fn f03_the_bodies_of_the_internal_port_have_a_room_of_their_own() {
    const COUNT: usize = 10;
    const LENGTH: usize = 15 << 20;
    let gateway = Gateway::start(&[("WAITING_BYTES", "1MiB"), ("BODY_TIMEOUT", "60s")]);
    let begin = |address, path: &str, most| {
        let mut wire = Wire::connect(address);
        wire.send(format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {LENGTH}\r\n\r\n"
        ));
        wire.flood(most);
        wire
    };
    let clients: Vec<_> = (0..4).map(|_| begin(gateway.inbound(), "/_rig/v1/events", 300_000)).collect();
    let callers = ["/v3/messages", "/v4/revocations"].into_iter().cycle().take(COUNT);
    let mut callers: Vec<_> = callers.map(|path| begin(gateway.internal(), path, LENGTH - 1)).collect();
    // Its body arrives in pieces, like all others.
    let body = json!({ "session": SESSION, "validityInSeconds": 600 }).to_string();
    let mut revoke = Wire::connect(gateway.internal());
    revoke.send(format!(
        "POST /v4/revocations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
        body.len(),
        &body[..10]
    ));
    let is_over = |wire: &mut Wire| !wire.is_silent_for(std::time::Duration::from_millis(20));
    // There is room for four of the largest bodies.
    let over = eventually("those that are too many", || {
        let over = callers.iter_mut().filter_map(|wire| is_over(wire).then_some(())).count();
        (over >= COUNT - 4).then_some(over)
    });
    assert!(over < COUNT, "only the largest go, and some stay");
    revoke.send(&body[10..]);
    let answer = Response::read(&mut revoke, false);
    assert_eq!(answer.status, 201, "{}", answer.text());
    operate(&gateway, "bodies");
    drop(clients);
}

#[test]
fn f03_a_mailbox_that_had_to_go_is_gone_at_once() {
    let gateway = Gateway::start(&[("WAITING_BYTES", "1MiB"), ("OUTBOX_BYTES", "64MiB")]);
    let query = format!("subscriptions={}", encoded(r#"[{"eventType":"greeting"}]"#));
    let mut client = LongPolling::connect(gateway.inbound(), &query);
    gateway.await_metric(r#"rig_connections{transport="longpolling"}"#, 1.0);
    for _ in 0..3 {
        assert_eq!(event(400 << 10).send(gateway.inbound()).status, 202);
    }
    gateway.await_metric(r#"rig_connections{transport="longpolling"}"#, 0.0);
    gateway.await_metric(r#"rig_connections_closed_total{transport="longpolling",reason="memory"}"#, 1.0);
    assert_eq!(gateway.metric("rig_waiting_bytes"), 0.0);
    assert_eq!(gateway.metric("rig_waiting_evicted_total"), 1.0);
    // Its client gets a new connection.
    let answer = client.poll();
    assert_eq!((answer.status, &*answer.text()), (200, r#""ok""#));
}
