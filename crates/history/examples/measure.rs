//! Measures what the ring costs: `cargo run --release -p rig-history --example measure`.
//!
//! Prints, for several sizes and numbers of values, the time of a push with its eviction, of an id,
//! of a resume and of each missed event, and the memory beside the payload. Times are
//! least and median of many rounds, since other programs disturb them. Each scenario has
//! a process of its own, so that none finds the memory of another.

use std::hint::black_box;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use event::Event;
use rig_history::{Bounds, CatchUp, EventKeys, EventPosition, IdKey, Ids, ResumeLimits, Ring, Selection};
use serde_json::json;
use subscription::{Extractors, Subscription};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Readers that come back in each round.
const AT_ONCE: usize = 20;
const ROUNDS: usize = 1_000;

struct Scenario {
    bytes: usize,
    values: usize,
    size: usize,
}

fn main() {
    let arguments: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    if let [bytes, values, size] = arguments[..] {
        measure(&Scenario { bytes, values, size });
        return;
    }
    println!("times in ns as least/median");
    let this = std::env::current_exe().expect("this program has a path");
    let scenarios = [
        (16 << 20, 100_000, 256),
        (64 << 20, 100_000, 256),
        (64 << 20, 1, 256),
        (64 << 20, 100_000, 1024),
        (64 << 20, 100_000, 64),
        (64 << 20, 10, 65_536),
    ];
    for (bytes, values, size) in scenarios {
        let arguments = [bytes, values, size].map(|number: usize| number.to_string());
        let status = std::process::Command::new(&this).args(arguments).status().expect("it starts");
        assert!(status.success());
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
    let batch = ((1 << 20) / scenario.size).clamp(1, 1_000);
    // What the program itself takes is in memory before it is measured.
    let mut small = Ring::new(bounds(1 << 20), Instant::now());
    let keys = small.keys().clone();
    (0..50).for_each(|_| _ = push(&mut small, &keys, &extractors, scenario, batch));
    drop(small);
    let before = resident();
    let mut ring = Ring::new(bounds(scenario.bytes), Instant::now());
    let keys = ring.keys().clone();
    let rounds = (scenario.bytes / (scenario.size + 100)).div_ceil(batch) * 2;
    let mut round = || push(&mut ring, &keys, &extractors, scenario, batch) / batch as f64;
    let filling: Vec<f64> = (0..rounds / 2).map(|_| round()).collect();
    let full: Vec<f64> = (0..rounds).map(|_| round()).collect();
    let taken = resident().saturating_sub(before) as f64;
    println!(
        "\n{} MiB, {} values, {} B, {} events",
        scenario.bytes >> 20,
        scenario.values,
        scenario.size,
        ring.len()
    );
    println!("  push {} while filling, {} when full", shown(filling), shown(full));
    println!(
        "  accounted {:.1} MiB, resident {:.1} MiB, {:.0} B beside the payload",
        ring.bytes() as f64 / f64::from(1 << 20),
        taken / f64::from(1 << 20),
        taken / ring.len() as f64 - scenario.size as f64,
    );
    resume(&mut ring, &extractors, scenario, &keys);
    file(&mut ring, &extractors, scenario);
}

fn bounds(bytes: usize) -> Bounds {
    Bounds { age: Duration::from_secs(3600), bytes, events: 10_000_000, excluded: vec![] }
}

/// Returns a time in ns.
fn ran() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as f64
}

fn shown(mut times: Vec<f64>) -> String {
    times.sort_unstable_by(f64::total_cmp);
    format!("{:.0}/{:.0}", times[0], times[times.len() / 2])
}

/// Pushes events with random values. Returns the time that the pushes took under the lock, in ns.
fn push(
    ring: &mut Ring,
    keys: &EventKeys,
    extractors: &Extractors,
    scenario: &Scenario,
    events: usize,
) -> f64 {
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
    let (now, start) = (Instant::now(), ran());
    for keyed in keyed {
        black_box(ring.push(keyed, now));
    }
    ran() - start
}

fn resume(ring: &mut Ring, extractors: &Extractors, scenario: &Scenario, keys: &EventKeys) {
    let now = Instant::now();
    let oldest = ring.last().0 - ring.len() as u64;
    for missing in [1, 100, 10_000, ring.len() / 2] {
        let missing = missing.min(ring.len());
        let cursor = EventPosition(ring.last().0 - missing as u64).max(EventPosition(oldest));
        let (mut times, mut events, mut gaps) = (Vec::new(), 0, 0);
        let began = Instant::now();
        while times.len() < ROUNDS && began.elapsed() < Duration::from_secs(2) {
            let selections: Vec<_> = (0..AT_ONCE).map(|_| select(extractors, scenario, keys)).collect();
            let start = ran();
            for selection in selections {
                match ring.catch_up(cursor, selection, &[], ResumeLimits::default(), now) {
                    Ok(mut reader) => events += pull(ring, &mut reader, now),
                    Err(_) => gaps += 1,
                }
            }
            times.push((ran() - start) / AT_ONCE as f64);
        }
        let missed = events as f64 / (times.len() * AT_ONCE) as f64;
        let times = shown(times);
        println!("  resume after {missing} events: {times}, {missed:.1} missed, {gaps} gaps");
    }
}

fn select(extractors: &Extractors, scenario: &Scenario, keys: &EventKeys) -> Selection {
    let user = fastrand::usize(..scenario.values);
    let list = json!([{"eventType": "order", "oneOf": [{"user": user}]}]);
    let list = Subscription::parse_list(&list, extractors).expect("these are subscriptions");
    keys.select(&list, extractors)
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

fn file(ring: &mut Ring, extractors: &Extractors, scenario: &Scenario) {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let mut file = Vec::with_capacity(2 * scenario.bytes);
    ring.write_to(&mut file, now, wall).expect("a Vec takes everything");
    let written = now.elapsed();
    let start = Instant::now();
    let loaded = Ring::read_from(&mut &file[..], bounds(scenario.bytes), extractors, start, wall)
        .expect("it was just written");
    assert_eq!(loaded.len(), ring.len());
    println!("  written in {written:.0?}, loaded in {:.0?}, {} MiB", start.elapsed(), file.len() >> 20);
}

fn ids() {
    let ids = Ids::new(&IdKey::random(), rig_history::Series::random());
    let time = |work: &dyn Fn(u64)| {
        let round = |round: u64| {
            let start = ran();
            (0..1_000).for_each(|number| work(round * 1_000 + number));
            (ran() - start) / 1_000.0
        };
        shown((0..1_000).map(round).collect())
    };
    println!("\nid {}", time(&|position| _ = black_box(ids.text(EventPosition(position)))));
    let text = ids.text(EventPosition(7));
    println!("read {}", time(&|_| _ = black_box(ids.read(black_box(text.as_str())))));
}

/// Returns the resident bytes of the process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("there is such a line");
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok());
    kib.expect("this is a number") << 10
}
