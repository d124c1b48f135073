//! A client that does not read what it has missed costs others nothing.

use std::time::{Duration, Instant};

use rig_tests::*;

const MISSED: usize = 9_700;
const PADDING: usize = 600;
const SLOW: usize = 20;
const LIVE: usize = 200;
const OUTBOX: usize = 128 << 10;

fn event(id: usize) -> String {
    let padding = "x".repeat(PADDING);
    format!(r#"{{"specversion":"1.0","type":"greeting","source":"/s","id":"{id}","data":"{padding}"}}"#)
}

/// Returns how long events take from their publication to a client, the longest first.
fn delays(gateway: &Gateway, bystander: &mut EventSource) -> Vec<Duration> {
    let mut publisher = Publisher::to(gateway.inbound());
    let mut delays: Vec<_> = (0..LIVE)
        .map(|id| {
            let begin = Instant::now();
            publisher.publish(&event_of("live", id));
            bystander.until("live");
            begin.elapsed()
        })
        .collect();
    delays.sort_by(|a, b| b.cmp(a));
    delays
}

#[test]
fn r24_slow_readers_in_the_replay() {
    let outbox = OUTBOX.to_string();
    let settings =
        [("OUTBOX_BYTES", outbox.as_str()), ("WAITING_BYTES", "64MiB"), ("HISTORY_BYTES", "32MiB")];
    let gateway = Gateway::start(&settings);
    let mut bystander = EventSource::connect(gateway.inbound(), &subscribed_to(&["live"]));
    let query = subscribed_to(&["greeting", "live"]);
    let mut cursor = EventSource::connect(gateway.inbound(), &query);
    cursor.cut();
    let mut publisher = Publisher::to(gateway.inbound());
    for id in 0..MISSED {
        publisher.send(&event(id));
        if id % 64 == 63 {
            publisher.settle();
        }
    }
    publisher.settle();
    let alone = delays(&gateway, &mut bystander);

    let path = format!("/_rig/v1/connection/sse?{query}");
    let request = Request::get(path).header("Last-Event-ID", cursor.cursor());
    let (before, _) = gateway.memory();
    let replayed = "rig_replayed_events_total";
    let mut slow: Vec<_> = (0..SLOW)
        .map(|_| {
            let mut wire = Wire::connect_narrow(gateway.inbound());
            wire.send(request.bytes(gateway.inbound()));
            wire.until(b"\r\n\r\n").expect("a head");
            wire
        })
        .collect();
    let mut last = -1.0;
    eventually("the sockets are full", || {
        let now = gateway.metric(replayed);
        let is_still = now == std::mem::replace(&mut last, now) && now > 0.0;
        std::thread::park_timeout(Duration::from_millis(100));
        is_still.then_some(())
    });
    assert!(last < (SLOW * MISSED) as f64 * 0.9, "nothing waits: {last}");
    let with_slow = delays(&gateway, &mut bystander);
    println!("p99: {:?} alone, {:?} with slow readers", alone[LIVE / 100], with_slow[LIVE / 100]);
    assert!(with_slow[LIVE / 100] < alone[LIVE / 100] * 2 + Duration::from_millis(20));

    let waiting = gateway.metric("rig_waiting_bytes");
    assert!(waiting <= (SLOW * OUTBOX) as f64, "{waiting}");
    let growth = (gateway.memory().0 as f64 - before as f64) / (SLOW * OUTBOX) as f64;
    println!("memory: {growth:.2} of the bound of all outboxes");
    assert!(growth < 2.0, "{growth}");

    // One of them reads at last, and gets everything: what came meanwhile as well.
    let mut reader = EventSource::over(slow.pop().expect("a slow reader"));
    reader.until_received(MISSED + 2 * LIVE);
    let received = reader.received();
    assert!(received[..MISSED].iter().enumerate().all(|(id, data)| *data == event(id)));
    let live: Vec<_> = (0..LIVE).map(|id| event_of("live", id)).collect();
    assert_eq!(received[MISSED..], [live.clone(), live].concat());
    assert_eq!(gateway.metric_sum("rig_gaps_total", &[]), 0.0);
}

/// The ring passes a reader that is too slow: then it gets a gap and live events.
#[test]
fn r24_a_reader_that_the_ring_has_passed_gets_a_gap() {
    let settings = [("OUTBOX_BYTES", "64KiB"), ("HISTORY_BYTES", "8MiB")];
    let gateway = Gateway::start(&settings);
    let query = subscribed_to(&["greeting"]);
    let mut cursor = EventSource::connect(gateway.inbound(), &query);
    cursor.cut();
    let mut publisher = Publisher::to(gateway.inbound());
    let mut publish = |ids: std::ops::Range<usize>| {
        for id in ids {
            publisher.send(&event(id));
            if id % 64 == 63 {
                publisher.settle();
            }
        }
        publisher.settle();
    };
    publish(0..9_000);
    let path = format!("/_rig/v1/connection/sse?{query}");
    let request = Request::get(path).header("Last-Event-ID", cursor.cursor());
    let mut wire = Wire::connect_narrow(gateway.inbound());
    wire.send(request.bytes(gateway.inbound()));
    wire.until(b"\r\n\r\n").expect("a head");
    // All of these are newer than what the reader has still to get.
    publish(9_000..25_000);
    let mut reader = EventSource::over(wire);
    let gap = reader.until_answer().expect_err("the ring has passed it");
    assert_eq!(gap["reason"], "expired", "{gap}");
    let received = reader.received();
    assert!(received.len() < 9_000 && received.iter().enumerate().all(|(id, data)| *data == event(id)));
    reader.turn_to(gateway.inbound());
    reader.ask_for(&query);
    assert_eq!(reader.come_back(), Ok(0), "the gap was a new beginning");
    publish(25_000..25_001);
    reader.until_received(1);
    assert_eq!(reader.received(), [event(25_000)], "live, and not from before the gap");
}
