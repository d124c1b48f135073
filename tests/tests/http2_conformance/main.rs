//! HTTP/2 conformance: cases from RFC 9113 and RFC 7541, frame by frame, against one of the
//! gateway's own paths and against a proxied path.
//!
//! A case states the reaction that its section demands. If a section demands a stream error, a
//! connection error is allowed too (RFC 9113, section 5.4.2 with 5.4: an endpoint may treat the
//! former as the latter).

mod expect;
mod frames;
mod messages;
mod steps;

use std::process::Command;

use rig_tests::raw::{self, PREFACE, RawHttp2, flag, kind, literal};
use rig_tests::*;

use expect::Case;
use expect::Expect::{AnswersOr, Closes};
use frames::{FRAMES, STATES};
use messages::{HPACK, MESSAGES, SETTINGS};
use steps::cancelled;

fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &pass_all(upstream.address()))]);
    (upstream, gateway)
}

/// Runs all cases against one of the gateway's own paths and a proxied path, and reports those that
/// failed.
fn run(cases: &[Case]) {
    let (_upstream, gateway) = start();
    let mut failed = Vec::new();
    for (section, send, expect) in cases {
        for path in ["/_rig/health", "/proxied"] {
            let mut connection = RawHttp2::greeted(gateway.inbound());
            send(&mut connection, path);
            let outcome = connection.outcome(expect.streams());
            if !expect.holds(&outcome) {
                failed.push(format!("{section}, {path}: {outcome:?}"));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), 2 * cases.len(), failed.join("\n"));
    // None of the cases has affected other clients.
    assert_eq!(gateway.ask(&Request::get("/_rig/health")).status, 200);
}

#[test]
fn frames() {
    run(FRAMES);
}

#[test]
fn states() {
    run(STATES);
}

#[test]
fn settings_and_flow_control() {
    run(SETTINGS);
}

#[test]
fn messages() {
    run(MESSAGES);
}

#[test]
fn hpack() {
    run(HPACK);
}

/// RFC 9113, section 3.4.
#[test]
fn prefaces() {
    let (_upstream, gateway) = start();
    let first = |bytes: &[u8]| {
        let mut connection = RawHttp2::connect(gateway.inbound());
        connection.bytes(bytes);
        connection
    };
    // The server's preface is a SETTINGS frame, and it acknowledges that of the client.
    let mut greeted = RawHttp2::greeted(gateway.inbound());
    let settings = greeted.read().expect("a first frame");
    assert_eq!((settings.kind, settings.flags, settings.stream), (kind::SETTINGS, 0, 0));
    assert!(greeted.until(|frame| frame.kind == kind::SETTINGS && frame.flags == flag::ACK).is_some());

    let mut ping_first = first(PREFACE.as_bytes());
    ping_first.frame(kind::PING, 0, 0, [0; 8]);
    // An error according to the RFC, which the library tolerates.
    let outcome = ping_first.outcome(&[]);
    assert!(AnswersOr(&[], "PROTOCOL_ERROR").holds(&outcome), "{outcome:?}");
    let broken = first(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").outcome(&[]);
    assert!(Closes.holds(&broken), "{broken:?}");
}

/// RFC 9113, section 5.1.2: streams beyond the limit are refused, and may be sent again.
#[test]
fn more_streams_than_allowed() {
    let (_upstream, gateway) = start();
    let mut connection = RawHttp2::greeted(gateway.inbound());
    let settings = connection.read().expect("SETTINGS").payload;
    let limit = settings.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("a limit of streams");
    let limit = u32::from_be_bytes(limit[2..].try_into().expect("four bytes"));
    assert!((100..=1000).contains(&limit), "{limit}");
    // Requests with incomplete bodies, so that none of them is answered.
    let block = [raw::post("/proxied"), literal("content-length", "1")].concat();
    for number in 0..=limit {
        connection.frame(kind::HEADERS, flag::END_HEADERS, 2 * number + 1, &block);
    }
    let last = 2 * limit + 1;
    let outcome = connection.outcome(&[last]);
    assert_eq!((outcome.goaway, &outcome.resets[..]), (None, &[(last, "REFUSED_STREAM")][..]));
}

/// RFC 9113, section 6.9.2: no byte is sent beyond the window, which SETTINGS change for open
/// streams too.
#[test]
fn windows_of_the_client_are_kept() {
    let (_upstream, gateway) = start();
    for path in ["/_rig/health", "/proxied"] {
        let mut connection = RawHttp2::greeted_with(gateway.inbound(), &[(4, 1)]);
        connection.get(1, path);
        let is_data = |frame: &raw::RawFrame| frame.kind == kind::DATA;
        let first = connection.until(is_data).expect("DATA");
        assert_eq!((first.payload.len(), first.flags & flag::END_STREAM), (1, 0), "{path}");
        // No DATA is sent before the window grows: the PING is answered first.
        connection.frame(kind::PING, 0, 0, [1; 8]);
        let next = connection.until(|frame| frame.kind != kind::SETTINGS).expect("an answer");
        assert_eq!(next.kind, kind::PING, "{path}");
        connection.settings(&[(4, 0)]);
        // The window is 0 - 1 now; one more byte makes it 0, which still permits nothing.
        connection.window(1, 1);
        connection.frame(kind::PING, 0, 0, [2; 8]);
        let next = connection.until(|frame| frame.kind != kind::SETTINGS).expect("an answer");
        assert_eq!(next.kind, kind::PING, "{path}");
        connection.settings(&[(4, 65_535)]);
        let outcome = connection.outcome(&[1]);
        assert_eq!((outcome.goaway, &outcome.answered[..]), (None, &[1][..]), "{path}");
    }
}

/// The cost of streams that are opened and immediately reset is limited (CVE-2023-44487).
#[test]
fn a_flood_of_resets_closes_its_connection_and_affects_no_other() {
    let (upstream, gateway) = start();
    for path in ["/_rig/health", "/proxied/slow"] {
        let mut connection = RawHttp2::greeted(gateway.inbound());
        let flood: Vec<u8> = (0..20_000).flat_map(|number| cancelled(2 * number + 1, path)).collect();
        connection.bytes(flood);
        let outcome = connection.outcome(&[]);
        assert!(matches!(outcome.goaway, None | Some("ENHANCE_YOUR_CALM")), "{path}: {outcome:?}");
        assert!(outcome.goaway.is_some() || !outcome.alive, "{path}: {outcome:?}");
        assert_eq!(gateway.ask(&Request::get("/_rig/health")).status, 200);
    }
    drop(upstream);
}

/// A page that the user leaves cancels all of its requests, and its connection is kept for the next
/// page.
#[test]
fn a_client_that_cancels_100_requests_at_once_keeps_its_connection() {
    let (_upstream, gateway) = start();
    for path in ["/_rig/health", "/proxied/slow"] {
        let mut connection = RawHttp2::greeted(gateway.inbound());
        let at_once: Vec<u8> = (0..100).flat_map(|number| cancelled(2 * number + 1, path)).collect();
        // In one write, so that the gateway reads the resets before it handles the first request.
        connection.bytes(at_once);
        connection.get(201, "/proxied");
        let outcome = connection.outcome(&[201]);
        assert_eq!((outcome.goaway, outcome.alive), (None, true), "{path}: {outcome:?}");
        assert!(outcome.answered.contains(&201), "{path}: {outcome:?}");
    }
}

/// A flood of frames that require answers, from a client that reads none.
#[test]
fn floods_of_pings_and_settings_are_bounded() {
    let (_upstream, gateway) = start();
    let before = gateway.memory().0;
    for (kind, payload) in [(kind::PING, &[0; 8][..]), (kind::SETTINGS, &[])] {
        let mut connection = RawHttp2::greeted(gateway.inbound());
        let mut frames = Vec::new();
        for _ in 0..10_000 {
            frames.extend([0, 0, u8::try_from(payload.len()).expect("small"), kind, 0, 0, 0, 0, 0]);
            frames.extend(payload);
        }
        (0..20).for_each(|_| connection.bytes(&frames));
        assert_eq!(gateway.ask(&Request::get("/_rig/health")).status, 200);
    }
    let grown = gateway.memory().0.saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
}

/// A foreign client with many streams on each connection.
#[test]
fn h2load_is_answered_on_every_stream() {
    let (_upstream, gateway) = start();
    for path in ["/_rig/health", "/proxied"] {
        let url = format!("http://{}{path}", gateway.inbound());
        let output = Command::new("h2load").args(["-n", "2000", "-c", "20", "-m", "50", &url]).output();
        let output = output.expect("h2load is installed by scripts/need");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{path}: {said}");
        assert!(said.contains("2000 2xx"), "{path}: {said}");
    }
}
