//! The bounds of what is kept: time, bytes, number, and types that are left out.

use std::time::Instant;

use rig_tests::*;
use serde_json::{Value, json};

const EVENTS: &str = "rig_history_events";
const BYTES: &str = "rig_history_bytes";
const OLDEST: &str = "rig_history_oldest_seconds";

/// The most events that a client may have missed.
const MOST: usize = 10_000;

fn gap(reason: &str, since: &str) -> Result<u64, Value> {
    Err(json!({ "reason": reason, "since": since }))
}

/// Publishes numbered events of this type.
fn publish(gateway: &Gateway, event_type: &str, count: usize, padding: usize) {
    let mut publisher = Publisher::to(gateway.inbound());
    for n in 0..count {
        publisher.send(&padded(event_type, n, padding));
        if n % 64 == 63 {
            publisher.settle();
        }
    }
    publisher.settle();
}

fn padded(event_type: &str, id: usize, padding: usize) -> String {
    let data = "x".repeat(padding);
    format!(r#"{{"specversion":"1.0","type":"{event_type}","source":"/s","id":"{id}","data":"{data}"}}"#)
}

/// Checks that a client gets exactly one gap in place of what it has missed, and live events after
/// it.
fn expect_gap(gateway: &Gateway, client: &mut EventSource, reason: &str) {
    let cursor = client.cursor().to_owned();
    client.events.clear();
    assert_eq!(client.come_back(), gap(reason, &cursor));
    assert_ne!(client.cursor(), cursor, "the gap is an end of the past");
    gateway.publish(&event_of("greeting", "live"));
    client.until_received(1);
    assert_eq!(client.come_back(), Ok(0));
    let answers = client.events.iter().filter_map(Dispatched::answer).collect::<Vec<_>>();
    assert_eq!(answers, [gap(reason, &cursor), Ok(0)]);
    assert_eq!(client.received(), [event_of("greeting", "live")], "no payload from before the gap");
}

fn client(gateway: &Gateway) -> EventSource {
    EventSource::connect(gateway.inbound(), &subscribed_to(&["greeting"]))
}

#[test]
fn r09_what_is_too_old_is_a_gap() {
    let gateway = Gateway::start(&[("HISTORY", "1s")]);
    let mut client = client(&gateway);
    client.cut();
    publish(&gateway, "greeting", 3, 0);
    let published = Instant::now();
    gateway.await_metric(EVENTS, 0.0);
    let kept = published.elapsed();
    assert!((0.8..4.0).contains(&kept.as_secs_f64()), "kept for {kept:?}");
    expect_gap(&gateway, &mut client, "expired");
}

#[test]
fn r09_at_the_limit_of_bytes_the_oldest_go() {
    let gateway = Gateway::start(&[("HISTORY_BYTES", "64KiB")]);
    let mut early = client(&gateway);
    publish(&gateway, "greeting", 40, 4_000);
    early.until_received(30);
    let mut late = client(&gateway);
    for client in [&mut early, &mut late] {
        client.cut();
    }
    let bytes = gateway.metric(BYTES);
    assert!((40_000.0..=65_536.0).contains(&bytes), "{bytes}");
    let kept = gateway.metric(EVENTS);
    assert!((10.0..=16.0).contains(&kept), "{kept}");
    assert_eq!(early.come_back(), Ok(10), "all after its cursor are kept");
    early.cut();
    publish(&gateway, "greeting", 16, 4_000);
    expect_gap(&gateway, &mut late, "expired");
}

#[test]
fn r09_an_event_beyond_the_limit_is_a_gap_for_its_type_only() {
    let gateway = Gateway::start(&[("HISTORY_BYTES", "64KiB")]);
    let mut greetings = client(&gateway);
    let mut other = EventSource::connect(gateway.inbound(), &subscribed_to(&["other"]));
    let before = greetings.cursor().to_owned();
    publish(&gateway, "greeting", 1, 70_000);
    gateway.publish(&event_of("other", 1));
    greetings.until_received(1);
    let mut late = EventSource::new(gateway.inbound(), &subscribed_to(&["greeting"]));
    assert_eq!(other.come_back(), Ok(1));
    late.ask_for(&format!("{}&last_event_id={}", subscribed_to(&["greeting"]), greetings.cursor()));
    assert_eq!(late.come_back(), Ok(0), "its reader has got it");
    let mut earlier = EventSource::new(gateway.inbound(), &subscribed_to(&["greeting"]));
    earlier.ask_for(&format!("{}&last_event_id={before}", subscribed_to(&["greeting"])));
    assert_eq!(earlier.come_back(), gap("expired", &before));
    assert_eq!(late.cursor(), other.cursor(), "both have everything");
}

#[test]
fn r09_more_than_a_client_may_have_missed() {
    let gateway = Gateway::start(&[]);
    let mut client = client(&gateway);
    client.cut();
    publish(&gateway, "greeting", MOST, 0);
    let mut exact = EventSource::new(gateway.inbound(), &subscribed_to(&["greeting"]));
    exact.ask_for(&format!("{}&last_event_id={}", subscribed_to(&["greeting"]), client.cursor()));
    assert_eq!(exact.come_back(), Ok(MOST as u64));
    let ids = exact.received().into_iter().enumerate().filter(|(n, data)| *data == padded("greeting", *n, 0));
    assert_eq!(ids.count(), MOST, "all, in their order");
    publish(&gateway, "greeting", 1, 0);
    expect_gap(&gateway, &mut client, "too_many");
    assert_eq!(gateway.metric(r#"rig_gaps_total{reason="too_many"}"#), 1.0);
}

#[test]
fn r09_more_bytes_than_a_client_may_have_missed() {
    let gateway = Gateway::start(&[]);
    let mut client = client(&gateway);
    client.cut();
    publish(&gateway, "greeting", 90, 100_000);
    expect_gap(&gateway, &mut client, "too_many");
}

#[test]
fn r25_a_noisy_type_shortens_what_is_kept_unless_it_is_left_out() {
    const NOISE: usize = 1_000;
    for excluded in [false, true] {
        let mut settings = vec![("HISTORY_BYTES", "64KiB"), ("HEARTBEAT_INTERVAL", "1d")];
        settings.extend(excluded.then_some(("HISTORY_EXCLUDE", "other, noisy")));
        let gateway = Gateway::start(&settings);
        let mut quiet = client(&gateway);
        let mut noisy = EventSource::connect(gateway.inbound(), &subscribed_to(&["noisy"]));
        assert_eq!(noisy.come_back(), Ok(0), "nothing was missed yet");
        gateway.publish(&event_of("greeting", 1));
        eventually("the oldest event ages", || (gateway.metric(OLDEST) >= 1.0).then_some(()));
        let before = quiet.cursor().to_owned();
        quiet.cut();
        publish(&gateway, "noisy", NOISE, 500);
        assert!(gateway.metric(BYTES) <= 65_536.0);
        let old = noisy.cursor().to_owned();
        noisy.until_received(NOISE);
        let mut back = EventSource::new(gateway.inbound(), &subscribed_to(&["noisy"]));
        back.ask_for(&format!("{}&last_event_id={old}", subscribed_to(&["noisy"])));
        assert_eq!(back.come_back(), gap("expired", &old));
        if excluded {
            assert!(gateway.metric(OLDEST) >= 1.0);
            assert_eq!(gateway.metric(EVENTS), 1.0);
            assert_eq!(quiet.come_back(), Ok(1));
            assert_eq!(quiet.received(), [event_of("greeting", 1)]);
        } else {
            eventually("the metric tells", || (gateway.metric(OLDEST) < 1.0).then_some(()));
            assert!(gateway.metric(EVENTS) < NOISE as f64 / 2.0);
            assert_eq!(quiet.come_back(), gap("expired", &before));
        }
    }
}

/// Returns by how many bytes the memory grows while this many events are published, of which the
/// bound lets fewer be kept.
fn growth(bytes: usize, padding: usize, count: usize) -> f64 {
    let bound = bytes.to_string();
    let gateway = Gateway::start(&[("HISTORY_BYTES", &bound), ("HEARTBEAT_INTERVAL", "1d")]);
    // Types without subscribers are not kept.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| publish(&gateway, "unknown", 500, padding));
        }
    });
    drop(client(&gateway));
    gateway.await_metric(r#"rig_connections{transport="sse"}"#, 0.0);
    let (before, _) = gateway.memory();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| publish(&gateway, "greeting", count / 2, padding));
        }
    });
    assert!(gateway.metric(EVENTS) < count as f64 * 0.9, "more was published than is kept");
    let kept = gateway.metric(BYTES);
    assert!(kept <= bytes as f64 && kept > bytes as f64 * 0.95, "{kept}");
    (gateway.memory().0 - before) as f64
}

#[test]
fn r30_the_bound_is_one_of_memory() {
    // The allocator has not returned yet all that was removed of large events.
    for (bound, padding, count, most) in [(8 << 20, 0, 120_000, 1.3), (64 << 20, 65_000, 2_500, 1.8)] {
        let growth = growth(bound, padding, count);
        println!("{padding} bytes: {:.2} of the bound", growth / bound as f64);
        assert!(growth < bound as f64 * most, "{padding} bytes: {growth}");
    }
}

#[test]
fn r30_revocations_take_their_part_of_the_bound() {
    const REVOKED: usize = 50;
    let gateway = Gateway::start(&[("HISTORY_BYTES", "64KiB"), ("HEARTBEAT_INTERVAL", "1d")]);
    let _client = client(&gateway);
    publish(&gateway, "greeting", 1_000, 0);
    let before = gateway.metric(EVENTS);
    for n in 0..REVOKED {
        gateway.blacklist(&format!("s{n}"));
    }
    let (kept, bytes) = (gateway.metric(EVENTS), gateway.metric(BYTES));
    assert!(kept < before - REVOKED as f64 / 2.0, "{before} events, then {kept}");
    assert!((60_000.0..=65_536.0).contains(&bytes), "{bytes}");
}

/// Long after the last event, the memory is free again.
#[test]
fn what_was_kept_is_given_back() {
    let gateway = Gateway::start(&[("HISTORY", "1s")]);
    let client = client(&gateway);
    let mut publisher = Publisher::to(gateway.inbound());
    for n in 0..64 {
        publisher.publish(&padded("greeting", n, 64 << 10));
    }
    drop(client);
    gateway.await_metric(EVENTS, 0.0);
    assert_eq!(gateway.metric(OLDEST), 0.0);
    let bytes = gateway.metric(BYTES);
    assert!(bytes < 64.0 * 1024.0, "{bytes}");
}
