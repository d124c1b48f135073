//! Measures what the ring costs: `cargo run --release -p rig-history --example measure`.
//!
//! Prints, for several sizes and numbers of values, the time of a push with its eviction, of an id,
//! of a resume and of each missed event, and the memory beside the payload.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use event::Event;
use rig_history::{Bounds, CatchUp, IdKey, Ids, Keys, Limits, Position, Ring};
use serde_json::json;
use subscription::{Extractors, Subscription};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const BYTES: usize = 64 << 20;
/// Readers that come back, each with a cursor of its own.
const RESUMES: usize = 20_000;

struct Scenario {
    values: usize,
    size: usize,
}

fn main() {
    println!("{BYTES} bytes; all times in ns unless said otherwise");
    for (values, size) in [(100_000, 256), (1, 256), (100_000, 1024), (100_000, 64), (10, 65_536)] {
        measure(&Scenario { values, size });
    }
    ids();
}

fn measure(scenario: &Scenario) {
    let extractors = Arc::new(
        Extractors::from_json(
            r#"{"order":{"user":{"stable_field_index":0,"event":{"json_pointer":"/data/user"}}}}"#,
        )
        .expect("these are extractors"),
    );
    let before = resident();
    let start = Instant::now();
    let bounds = Bounds { age: Duration::from_secs(3600), bytes: BYTES, events: 10_000_000, excluded: vec![] };
    let mut ring = Ring::new(bounds, start);
    let keys = ring.keys().clone();
    let mut pushed = 0;
    let mut fill = |ring: &mut Ring, rounds: usize| {
        let mut spent = Duration::ZERO;
        for _ in 0..rounds {
            spent += push(ring, &keys, &extractors, scenario, 1_000);
            pushed += 1_000;
        }
        spent.as_nanos() as f64 / (rounds * 1_000) as f64
    };
    let rounds = (BYTES / (scenario.size + 100)).div_ceil(1_000) * 2;
    let filling = fill(&mut ring, rounds);
    let full = fill(&mut ring, rounds.min(300));
    let beside = (resident().saturating_sub(before)) as f64 / ring.len() as f64 - scenario.size as f64;
    println!("\n{} values, {} B, {} events", scenario.values, scenario.size, ring.len());
    println!("  push {filling:.0} while filling, {full:.0} when full");
    println!(
        "  accounted {:.1} MiB, resident {:.1} MiB, {beside:.0} B beside the payload",
        ring.bytes() as f64 / f64::from(1 << 20),
        resident().saturating_sub(before) as f64 / f64::from(1 << 20),
    );
    resume(&mut ring, &extractors, scenario, &keys);
    file(&mut ring, &extractors);
}

/// Pushes events with random values. Returns the time that the pushes took under the lock.
fn push(ring: &mut Ring, keys: &Keys, extractors: &Extractors, scenario: &Scenario, events: usize) -> Duration {
    let event = |_| {
        let user = fastrand::usize(..scenario.values);
        let begin = format!(r#"{{"specversion":"0.2","type":"order","id":"1","data":{{"user":{user},"x":""#);
        let mut json = begin.into_bytes();
        json.resize((scenario.size - 3).max(json.len()), b'x');
        json.extend_from_slice(br#""}}"#);
        Event::from_json(json.into()).expect("this is an event")
    };
    let events: Vec<Event> = (0..events).map(event).collect();
    let keyed = |event| {
        let event: &Event = event;
        keys.of_event(event, &extractors.values(event.event_type(), event.json()))
    };
    let keyed: Vec<_> = events.iter().map(keyed).collect();
    let start = Instant::now();
    for keyed in keyed {
        black_box(ring.push(keyed, start));
    }
    start.elapsed()
}

fn resume(ring: &mut Ring, extractors: &Extractors, scenario: &Scenario, keys: &Keys) {
    let now = Instant::now();
    let oldest = ring.last().0 - ring.len() as u64;
    for missing in [1, 100, 10_000, ring.len() / 2] {
        let missing = missing.min(ring.len());
        let cursor = Position(ring.last().0 - missing as u64).max(Position(oldest));
        let (mut spent, mut events, mut done, mut gaps) = (Duration::ZERO, 0, 0, 0);
        while done < RESUMES && spent < Duration::from_secs(1) {
            let user = fastrand::usize(..scenario.values);
            let list = json!([{"eventType": "order", "oneOf": [{"user": user}]}]);
            let list = Subscription::parse_list(&list, extractors).expect("these are subscriptions");
            let selection = keys.select(&list, extractors);
            let start = Instant::now();
            match ring.catch_up(cursor, selection, &[], Limits::default(), now) {
                Ok(mut reader) => events += pull(ring, &mut reader, now),
                Err(_) => gaps += 1,
            }
            spent += start.elapsed();
            done += 1;
        }
        let each = spent.as_nanos() as f64 / done as f64;
        println!(
            "  resume after {missing} events: {:.2} us for {:.1} missed, {:.0} ns for each beyond 5 us; {gaps} of {done} gaps",
            each / 1000.0,
            events as f64 / done as f64,
            ((each - 5000.0) * done as f64 / f64::max(events as f64, 1.0)).max(0.0),
        );
    }
}

/// Pulls everything, as much at once as a socket takes.
fn pull(ring: &mut Ring, reader: &mut CatchUp, now: Instant) -> usize {
    let mut events = 0;
    loop {
        let next = ring.next(reader, 256, 64 << 10, now).expect("nothing is removed meanwhile");
        if next.is_empty() {
            return events;
        }
        events += next.len();
        black_box(next);
    }
}

fn file(ring: &mut Ring, extractors: &Extractors) {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let mut file = Vec::with_capacity(2 * BYTES);
    ring.write_to(&mut file, now, wall).expect("a Vec takes everything");
    let written = now.elapsed();
    let start = Instant::now();
    let bounds =
        Bounds { age: Duration::from_secs(3600), bytes: BYTES, events: 10_000_000, excluded: vec![] };
    let loaded = Ring::read_from(&mut &file[..], bounds, extractors, start, wall).expect("it was just written");
    assert_eq!(loaded.len(), ring.len());
    println!("  written in {written:.0?}, loaded in {:.0?}, {} MiB", start.elapsed(), file.len() >> 20);
}

fn ids() {
    let ids = Ids::new(&IdKey::random(), rig_history::Life::random());
    let start = Instant::now();
    const IDS: u64 = 1_000_000;
    for position in 0..IDS {
        black_box(ids.text(Position(position)));
    }
    println!("\nid {} ns", start.elapsed().as_nanos() as u64 / IDS);
    let text = ids.text(Position(7));
    let start = Instant::now();
    for _ in 0..IDS {
        black_box(ids.read(black_box(text.as_str())).is_ok());
    }
    println!("read {} ns", start.elapsed().as_nanos() as u64 / IDS);
}

/// Returns the resident bytes of the process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("there is such a line");
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok());
    kib.expect("this is a number") << 10
}
