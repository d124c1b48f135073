//! Restarts: after a clean one nothing is missing, after a crash the client learns that something
//! may be.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::{Value, json};

fn restarted(cursor: &str) -> Result<u64, Value> {
    Err(json!({ "reason": "restarted", "since": cursor }))
}

fn stop(gateway: &mut Gateway) {
    gateway.terminate();
    assert_eq!(gateway.exit_status().code(), Some(0), "{}", gateway.log());
}

fn publish(gateway: &Gateway, ids: std::ops::Range<usize>) -> Vec<String> {
    let events: Vec<_> = ids.map(|id| event_of("greeting", id)).collect();
    for event in &events {
        gateway.publish(event);
    }
    events
}

/// A client that has got some events, and has missed others.
fn client(gateway: &Gateway) -> (EventSource, Vec<String>) {
    let mut client = EventSource::connect(gateway.inbound(), &subscribed_to(&["greeting"]));
    publish(gateway, 0..3);
    client.until_received(3);
    client.cut();
    client.events.clear();
    (client, publish(gateway, 3..6))
}

/// Publishes events that take the places of those that are lost.
fn take_places(gateway: &Gateway) {
    let mut other = EventSource::connect(gateway.inbound(), &subscribed_to(&["greeting"]));
    publish(gateway, 10..20);
    other.until_received(10);
}

#[test]
fn r12_after_a_crash_never_the_wrong_events() {
    let folder = Folder::new();
    let data = folder.join("data");
    let settings = [("DATA_DIR", data.as_str())];
    let gateway = Gateway::start(&settings);
    let (mut client, _) = client(&gateway);
    gateway.kill();
    let gateway = Gateway::start(&settings);
    take_places(&gateway);
    client.turn_to(gateway.inbound());
    let cursor = client.cursor().to_owned();
    assert_eq!(client.come_back(), restarted(&cursor));
    let live = publish(&gateway, 20..21);
    client.until_received(1);
    assert_eq!(client.received(), live, "nothing in place of what is lost");
    assert_eq!(client.come_back(), Ok(0), "the gap was a new beginning");
}

#[test]
fn r12_a_clean_stop_then_a_crash_is_a_restart_too() {
    let folder = Folder::new();
    let data = folder.join("data");
    let settings = [("DATA_DIR", data.as_str())];
    for is_used in [true, false] {
        let mut gateway = Gateway::start(&settings);
        let (mut client, missed) = client(&gateway);
        let mut other = EventSource::new(gateway.inbound(), &subscribed_to(&["greeting"]));
        other.ask_for(&format!("{}&last_event_id={}", subscribed_to(&["greeting"]), client.cursor()));
        stop(&mut gateway);
        assert!(folder.path().join("data/history").exists());

        let gateway = Gateway::start(&settings);
        other.turn_to(gateway.inbound());
        assert_eq!(other.come_back(), Ok(3), "exact over a clean restart");
        assert!(!folder.path().join("data/history").exists(), "it is never loaded twice");
        assert_eq!(other.received(), missed);
        if is_used {
            publish(&gateway, 6..8);
        }
        gateway.kill();

        let gateway = Gateway::start(&settings);
        take_places(&gateway);
        client.turn_to(gateway.inbound());
        let cursor = client.cursor().to_owned();
        assert_eq!(client.come_back(), restarted(&cursor), "published after the restart: {is_used}");
        assert_eq!(client.received(), [""; 0]);
    }
}

#[test]
fn r12_without_a_folder_a_restart_is_a_gap() {
    for (settings, reason) in [
        (vec![("DATA_DIR", "memory")], "unknown"),
        (vec![("DATA_DIR", "memory"), ("NODE_COOKIE", "a-cookie-of-at-least-32-characters!!")], "restarted"),
    ] {
        let mut gateway = Gateway::start(&settings);
        let (mut client, _) = client(&gateway);
        stop(&mut gateway);
        let gateway = Gateway::start(&settings);
        take_places(&gateway);
        client.turn_to(gateway.inbound());
        let cursor = client.cursor().to_owned();
        assert_eq!(client.come_back().unwrap_err()["reason"], reason, "{cursor}");
        assert_eq!(client.received(), [""; 0]);
    }
}

#[test]
fn r12_a_file_that_is_damaged_or_old_is_a_gap_and_is_removed() {
    let folder = Folder::new();
    let data = folder.join("data");
    let file = folder.path().join("data/history");
    for fault in ["damaged", "cut", "off", "old"] {
        let history = if fault == "old" { "1s" } else { "2m" };
        let mut gateway = Gateway::start(&[("DATA_DIR", &data), ("HISTORY", history)]);
        let (mut client, _) = client(&gateway);
        stop(&mut gateway);
        let mut bytes = std::fs::read(&file).expect("a clean stop writes it");
        match fault {
            "damaged" => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            "cut" => bytes.truncate(bytes.len() - 1),
            // A run in between gives out no positions, so the file would be wrong after it.
            "off" => stop(&mut Gateway::start(&[("DATA_DIR", &data), ("HISTORY", "off")])),
            _ => {
                let stopped = Instant::now();
                eventually("it is too old", || (stopped.elapsed().as_secs() >= 2).then_some(()));
            }
        }
        if fault != "off" {
            std::fs::write(&file, &bytes).expect("a file");
        }
        let gateway = Gateway::start(&[("DATA_DIR", &data), ("HISTORY", history)]);
        take_places(&gateway);
        client.turn_to(gateway.inbound());
        let cursor = client.cursor().to_owned();
        let answer = client.come_back().expect_err(fault);
        assert!(!file.exists(), "{fault}");
        assert!(
            matches!(answer["reason"].as_str(), Some("restarted" | "expired")),
            "{fault}: {answer} {cursor}"
        );
        assert_eq!(client.received(), [""; 0], "{fault}");
    }
}

const CLIENTS: usize = 1_000;
const EVENTS: usize = 10_000;
/// Each type has several clients, and a publisher that publishes each of its events once.
const TYPES: usize = 100;
const THREADS: usize = 4;

/// Events by the number of their type.
type ByType = HashMap<usize, Vec<String>>;

/// Publishes the events of types in turn, over connections that the restart breaks. An event that
/// was not accepted is given up, and another one takes its place. Returns those that were accepted.
fn publish_all(address: impl Fn() -> SocketAddr, numbers: &[usize], done: &AtomicUsize) -> ByType {
    let mut accepted = ByType::new();
    let mut wire: Option<(SocketAddr, Wire)> = None;
    let mut id = 0;
    let begin = Instant::now();
    for turn in 0..EVENTS / TYPES {
        for number in numbers {
            let of_type = accepted.entry(*number).or_default();
            while of_type.len() <= turn {
                let event = event_of(&format!("load.{number}"), id);
                id += 1;
                let here = address();
                if wire.as_ref().is_none_or(|(there, _)| *there != here) {
                    let Ok(socket) = TcpStream::connect(here) else {
                        std::thread::park_timeout(Duration::from_millis(5));
                        assert!(begin.elapsed() < 4 * DEADLINE, "the gateway does not come back");
                        continue;
                    };
                    wire = Some((here, Wire::from(socket)));
                }
                let (_, socket) = wire.as_mut().expect("it is connected");
                socket.send(Request::post_json("/_rig/v1/events", &event).bytes(here));
                if is_accepted(socket) {
                    of_type.push(event);
                    done.fetch_add(1, Ordering::Relaxed);
                } else {
                    wire = None;
                }
            }
        }
    }
    accepted
}

/// Reads the answer to an event.
fn is_accepted(wire: &mut Wire) -> bool {
    let Some(head) = Response::read_head(wire) else { return false };
    let length = head.header("content-length").and_then(|length| length.parse().ok());
    wire.exactly(length.unwrap_or(0)).is_some() && head.status == 202
}

/// Calls this for each client, on several threads.
fn in_parallel(clients: &mut [EventSource], call: impl Fn(&mut EventSource) + Sync) {
    scope(|scope| {
        for some in clients.chunks_mut(CLIENTS / THREADS) {
            scope.spawn(|| some.iter_mut().for_each(&call));
        }
    });
}

#[test]
fn r13_a_clean_restart_under_load_loses_nothing() {
    let folder = Folder::new();
    let data = folder.join("data");
    let settings = [
        ("DATA_DIR", data.as_str()),
        ("MAX_CONNECTIONS_PER_MINUTE", "1000000"),
        ("RECONNECT_SPREAD", "0s"),
        // It may give up what a client has not read.
        ("SHUTDOWN_GRACE_PERIOD", "20s"),
    ];
    let mut gateway = Gateway::start(&settings);
    let address = parking_lot::Mutex::new(gateway.inbound());
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|n| EventSource::connect(gateway.inbound(), &subscribed_to(&[&format!("load.{}", n % TYPES)])))
        .collect();
    let done = AtomicUsize::new(0);
    let (accepted, restarted) = scope(|scope| {
        let (done, here) = (&done, &address);
        let publishers: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let numbers: Vec<_> = (thread..TYPES).step_by(THREADS).collect();
                    publish_all(|| *here.lock(), &numbers, done)
                })
            })
            .collect();
        eventually("half of the load", || (done.load(Ordering::Relaxed) >= EVENTS / 2).then_some(()));
        gateway.terminate();
        in_parallel(&mut clients, EventSource::until_end);
        assert_eq!(gateway.exit_status().code(), Some(0), "{}", gateway.log());
        let restarted = Gateway::start(&settings);
        *address.lock() = restarted.inbound();
        let inbound = restarted.inbound();
        in_parallel(&mut clients, |client| {
            client.turn_to(inbound);
            assert_eq!(client.come_back().err(), None);
        });
        let accepted = publishers.into_iter().flat_map(|publisher| publisher.join().expect("it publishes"));
        (accepted.collect::<ByType>(), restarted)
    });
    for number in 0..TYPES {
        restarted.publish(&event_of(&format!("load.{number}"), "end"));
    }
    let (mut sum, mut unanswered) = (0, 0);
    for (n, client) in clients.iter_mut().enumerate() {
        let number = n % TYPES;
        let end = event_of(&format!("load.{number}"), "end");
        assert!(client.read(usize::MAX, |events| events.iter().any(|event| event.data == end)));
        let mut got = client.received();
        got.pop();
        let before = got.len();
        // One whose answer the restart has swallowed may have been published nevertheless.
        got.retain(|event| accepted[&number].contains(event));
        unanswered += before - got.len();
        sum += got.len();
        assert_eq!(got, accepted[&number], "client {n}: 0 lost, 0 twice, in order");
    }
    println!("{sum} deliveries, {unanswered} of events without an answer");
    assert_eq!(sum, CLIENTS * EVENTS / TYPES);
    assert_eq!(restarted.metric_sum("rig_gaps_total", &[]), 0.0);
    assert_eq!(restarted.metric(r#"rig_resumes_total{result="resumed"}"#), CLIENTS as f64);
}
