//! The largest event is either refused when it is published, or delivered to every reader.

use rig_tests::*;

const LIMIT: usize = 64 << 10;
const GREETINGS: &str = r#"[{"eventType":"greeting"}]"#;

fn typed(method: &str, path: &str, content_type: &str, body: impl AsRef<[u8]>) -> Request {
    Request::new(method, path).header("Content-Type", content_type).body(body)
}

fn structured(path: &str, event: &str) -> Request {
    typed("POST", path, "application/cloudevents+json", event)
}

fn batch(path: &str, events: &[&str]) -> Request {
    typed("POST", path, "application/cloudevents-batch+json", format!("[{}]", events.join(",")))
}

fn binary(path: &str, content_type: &str, data: &[u8]) -> Request {
    let request = typed("POST", path, content_type, data).header("ce-specversion", "1.0");
    request.header("ce-type", "greeting").header("ce-source", "/o").header("ce-id", "1")
}

/// Returns an event of version 0.2 whose JSON has this many bytes.
fn of_length(length: usize) -> String {
    greeting("1", &"x".repeat(length - greeting("1", "").len()))
}

/// Returns the length of the longest one-line greeting, in bytes of JSON, that takes up to `limit`
/// bytes as an event of a chunked stream.
fn longest(limit: usize) -> usize {
    let chunk = |json: usize| {
        let body = "event: greeting\ndata: \nid: 0123456789012345678901\n\n".len() + json;
        format!("{body:X}\r\n\r\n").len() + body
    };
    (0..limit).rev().find(|json| chunk(*json) <= limit).expect("a limit above the framing")
}

#[test]
fn f56_an_event_above_the_limit_is_refused_however_it_is_published() {
    let gateway = Gateway::start(&[("OUTBOX_BYTES", "64KiB")]);
    let mut reader = Sse::connect(gateway.inbound(), &format!("subscriptions={}", encoded(GREETINGS)));
    reader.welcome();
    let small = greeting("small", "bob");
    let large = of_length(longest(LIMIT) + 1);
    // In a stream, each line becomes a separate field.
    let lines = small.replace(' ', &"\n".repeat(LIMIT / 40));
    let long_type = small.replace("greeting", &"x".repeat(1000));
    let long_type = long_type.replace("bob", &"x".repeat(LIMIT - long_type.len()));
    assert!(lines.len() < LIMIT && long_type.len() <= LIMIT);
    for path in ["/_rig/v1/events", "/v2/messages", "/v3/messages"] {
        for (index, request) in [
            (0, structured(path, &large)),
            (0, Request::post_json(path, &large)),
            (0, structured(path, &lines)),
            (0, structured(path, &long_type)),
            (0, batch(path, &[&large])),
            (2, batch(path, &[&small, &small, &large])),
            (0, batch(path, &[&large, &small])),
            (1, batch(path, &[&small, &lines, &large])),
            (0, binary(path, "text/plain", "x".repeat(LIMIT).as_bytes())),
            (0, binary(path, "text/plain", "\"".repeat(LIMIT / 2).as_bytes())),
            (0, binary(path, "application/octet-stream", &[0xff; LIMIT * 3 / 4])),
            (0, binary(path, "application/json", format!("[{}1]", "1, ".repeat(LIMIT / 3)).as_bytes())),
        ] {
            let answer = if path.starts_with("/_rig") {
                gateway.ask(&request)
            } else {
                gateway.ask_internal(&request)
            };
            let text = answer.text();
            assert_eq!(answer.status, 413, "{path}: {text}");
            let begin = format!("event {index} of the request takes ");
            assert!(text.starts_with(&begin), "{text}");
            assert!(text.ends_with("at most 65536 are allowed (MAX_EVENT_BYTES)"), "{text}");
        }
        let last = greeting(path, "bob");
        gateway.publish(&last);
        assert_eq!(reader.next_data(), last, "nothing of what was refused was published");
    }
    assert_eq!(gateway.metric_sum("rig_outbox_overflows_total", &[]), 0.0);
}

#[test]
fn f56_the_largest_event_reaches_slow_readers_and_so_does_the_next() {
    let limit = 8 << 20;
    let gateway = Gateway::start(&[("OUTBOX_BYTES", "8MiB"), ("MAX_BODY_BYTES", "16MiB")]);
    let query = format!("subscriptions={}", encoded(GREETINGS));
    let sse = Request::get(format!("/_rig/v1/connection/sse?{query}"));
    let ws = WebSocket::handshake(&format!("/_rig/v1/connection/ws?{query}"));
    let mut slow = [sse, ws].map(|request| {
        let mut wire = request.start(gateway.inbound());
        assert!(wire.until(b"rig.subscriptions_set").is_some());
        wire
    });
    let mut poller = LongPolling::connect(gateway.inbound(), &query);
    poller.welcome();

    let too_large = of_length(longest(limit) + 1);
    let answer = gateway.ask(&structured("/_rig/v1/events", &too_large));
    assert_eq!(answer.status, 413, "one byte more would exceed the limit");
    let largest = of_length(longest(limit));
    assert_eq!(gateway.ask(&structured("/_rig/v1/events", &largest)).status, 202);
    assert!(gateway.metric("rig_waiting_bytes") > 0.0, "they are slow");
    let polled = poller.poll().text();
    assert!(polled.ends_with(&format!(r#""events":[{largest}]}}"#)), "{} bytes", polled.len());
    let next = greeting("next", "bob");
    gateway.publish(&next);
    for wire in &mut slow {
        let before = wire.until(&largest.as_bytes()[..64]).expect("the event begins");
        assert!(before.len() < 1000, "{}", String::from_utf8_lossy(&before));
        assert!(wire.exactly(largest.len() - 64).expect("an open stream") == largest.as_bytes()[64..]);
        assert!(wire.until(next.as_bytes()).is_some(), "the stream is still open");
    }
    assert!(poller.poll().text().contains(&next));
    assert_eq!(gateway.metric_sum("rig_outbox_overflows_total", &[]), 0.0);
}

#[test]
fn f56_the_limit_is_the_operators_and_by_default_that_of_the_outbox() {
    for (settings, limit) in [
        (&[][..], 1 << 20),
        (&[("OUTBOX_BYTES", "4KiB")], 4 << 10),
        (&[("OUTBOX_BYTES", "2MiB")], 2 << 20),
        (&[("MAX_EVENT_BYTES", "1KiB")], 1 << 10),
        (&[("OUTBOX_BYTES", "8KiB"), ("MAX_EVENT_BYTES", "8KiB")], 8 << 10),
    ] {
        let gateway = Gateway::start(settings);
        for (length, status) in [(longest(limit), 202), (longest(limit) + 1, 413)] {
            let answer = gateway.ask(&structured("/_rig/v1/events", &of_length(length)));
            assert_eq!(answer.status, status, "{settings:?}: {length}");
        }
    }
}
