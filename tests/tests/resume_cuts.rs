//! A client that comes back after a cut anywhere gets each event once, in order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use rig_tests::*;
use serde_json::{Value, json};

const SEEDS: u64 = 1_000;

const THREADS: usize = 4;

/// The number of steps of a seed, in which something is published, read or cut.
const STEPS: usize = 40;

const SETTINGS: [(&str, &str); 3] = [
    ("EXTRACTORS", EXTRACTORS),
    ("MAX_CONNECTIONS_PER_MINUTE", "4294967295"),
    // Heartbeats move the cursor as well.
    ("HEARTBEAT_INTERVAL", "100ms"),
];

/// The story that a seed determines.
struct Seed {
    seed: u64,
    random: Random,
    publishers: Vec<Publisher>,
    /// The texts of the selected events of each publisher, in their order.
    selected: Vec<Vec<String>>,
}

impl Seed {
    fn new(gateway: &Gateway, seed: u64) -> Self {
        let publishers: Vec<_> = (0..2).map(|_| Publisher::to(gateway.inbound())).collect();
        let selected = vec![Vec::new(); publishers.len()];
        Self { seed, random: Random::new(seed), publishers, selected }
    }

    /// Returns the query: a whole type, and two values of another one.
    fn query(&mut self) -> String {
        let seed = self.seed;
        let list = json!([
            { "eventType": format!("plain.{seed}") },
            { "eventType": "greeting", "oneOf": [{ "name": format!("{seed}-a") }, { "name": format!("{seed}-b") }] },
        ]);
        let ids_in_heartbeats = ["", "&resume=true"][self.random.below(2)];
        format!("subscriptions={}{ids_in_heartbeats}", encoded(&list.to_string()))
    }

    /// Sends an event over a publisher, whose answer is read later.
    fn publish(&mut self) {
        let seed = self.seed;
        let publisher = self.random.below(self.publishers.len());
        let kind = self.random.below(6);
        let (event_type, name) = match kind {
            0 | 1 => (format!("plain.{seed}"), "-".to_owned()),
            2 => ("greeting".to_owned(), format!("{seed}-a")),
            3 => ("greeting".to_owned(), format!("{seed}-b")),
            4 => ("greeting".to_owned(), format!("{seed}-c")),
            _ => (format!("other.{seed}"), "-".to_owned()),
        };
        let id = format!("{publisher}-{}", self.selected[publisher].len());
        let padding = "é".repeat(self.random.below(30));
        let space = ["", " ", "\n", "\n\n  "][self.random.below(4)];
        let event = format!(
            r#"{{"specversion":"1.0","type":"{event_type}","source":"/s","id":"{id}",{space}"data":{{"name":"{name}","padding":"{padding}"}}}}"#
        );
        self.publishers[publisher].send(&event);
        if kind < 4 {
            self.selected[publisher].push(event);
        }
    }

    fn published(&self) -> usize {
        self.selected.iter().map(Vec::len).sum()
    }

    /// Reads a random number of bytes, at most until everything that is to come has come.
    fn read(&mut self, client: &mut EventSource, own: &mut usize) {
        let (published, bytes) = (self.published(), self.random.below(1_500));
        let mut seen = client.events.len();
        let begin = client.events.iter().rposition(|event| event.event == "rig.connection.create");
        let mut is_answered = client.connects == 1;
        client.read(bytes, |events| {
            *own += events[seen..].iter().filter(|event| !event.is_of_rig()).count();
            seen = events.len();
            is_answered |= events[begin.map_or(0, |begin| begin + 1)..].iter().any(|e| e.answer().is_some());
            *own >= published && is_answered
        });
    }

    /// Returns the number of cuts.
    fn run(mut self, gateway: &Gateway) -> u64 {
        let query = self.query();
        let mut witness = EventSource::connect(gateway.inbound(), &query);
        let mut client = EventSource::new(gateway.inbound(), &query);
        client.open();
        client.until("rig.connection.create");
        let mut own = 0;
        for _ in 0..STEPS {
            match self.random.below(5) {
                0 | 1 => self.publish(),
                2 | 3 => self.read(&mut client, &mut own),
                _ => client.open(),
            }
        }
        for publisher in &mut self.publishers {
            publisher.settle();
        }
        assert_eq!(client.come_back().err(), None, "seed {}", self.seed);
        self.publishers[0].publish(&plain(self.seed, "end"));
        let is_end = |events: &[Dispatched]| events.iter().any(|event| event.data.contains(r#""id":"end""#));
        for reader in [&mut client, &mut witness] {
            assert!(reader.read(usize::MAX, is_end), "seed {}: a stream ends", self.seed);
        }
        self.check(&client.events, &witness.events);
        client.connects as u64 - 1
    }

    fn check(&self, client: &[Dispatched], witness: &[Dispatched]) {
        let seed = self.seed;
        let mut missed = None;
        for event in client {
            match event.answer() {
                Some(Ok(events)) => assert_eq!(Some(events), missed.take(), "seed {seed}: rig.resumed"),
                Some(Err(gap)) => panic!("seed {seed}: {gap}"),
                None if event.event == "rig.connection.create" => missed = Some(0),
                None if !event.is_of_rig() => missed = missed.map(|missed| missed + 1),
                None => {}
            }
        }
        let own = |events: &[Dispatched]| -> Vec<(String, String)> {
            let own = events.iter().filter(|event| !event.is_of_rig());
            own.map(|event| (event.data.clone(), event.id.clone())).collect()
        };
        let (client, witness) = (own(client), own(witness));
        assert_eq!(client, witness, "seed {seed}: the same events and ids as over one connection");
        for (publisher, selected) in self.selected.iter().enumerate() {
            let id = format!(r#""id":"{publisher}-"#);
            let theirs: Vec<_> =
                client.iter().map(|(data, _)| data).filter(|data| data.contains(&id)).collect();
            assert_eq!(theirs, selected.iter().collect::<Vec<_>>(), "seed {seed}: publisher {publisher}");
        }
    }
}

fn plain(seed: u64, id: &str) -> String {
    json!({ "specversion": "1.0", "type": format!("plain.{seed}"), "source": "/s", "id": id }).to_string()
}

/// `RESUME_CUTS=1000000` goes on with further seeds until there were this many cuts.
#[test]
fn r01_what_was_published_is_dispatched_once_and_in_order_whatever_is_cut() {
    let gateway = Gateway::start(&SETTINGS);
    let wanted = std::env::var("RESUME_CUTS").map_or(0, |cuts| cuts.parse().expect("a number"));
    let (seeds, cuts) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = seeds.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS && cuts.load(Ordering::Relaxed) >= wanted {
                        break;
                    }
                    cuts.fetch_add(Seed::new(&gateway, seed).run(&gateway), Ordering::Relaxed);
                }
            });
        }
    });
    let cuts = cuts.into_inner();
    println!("{} seeds, {cuts} cuts", seeds.into_inner() - THREADS as u64);
    assert!(cuts >= SEEDS.max(wanted), "{cuts}");
    assert_eq!(gateway.metric_sum("rig_gaps_total", &[]), 0.0);
}

/// Returns a client that has got one event, and the query that it asks with.
fn reader(gateway: &Gateway, event_type: &str) -> EventSource {
    let list = json!([{ "eventType": event_type }]).to_string();
    EventSource::connect(gateway.inbound(), &format!("subscriptions={}", encoded(&list)))
}

#[test]
fn r02_a_cut_after_any_byte_of_a_live_block() {
    let gateway = Gateway::start(&SETTINGS);
    let mut publisher = Publisher::to(gateway.inbound());
    for bytes in 0.. {
        let mut client = reader(&gateway, "plain.0");
        let published: Vec<_> = (0..2).map(|n| plain(0, &format!("{bytes}-{n}"))).collect();
        for event in &published {
            publisher.publish(event);
        }
        client.read(bytes, |events| events.iter().filter(|event| !event.is_of_rig()).count() == 2);
        let whole = client.events.iter().filter(|event| !event.is_of_rig()).count();
        assert_eq!(client.come_back(), Ok(2 - whole as u64), "after {bytes} bytes");
        assert_eq!(client.received(), published, "after {bytes} bytes");
        if whole == 2 {
            assert!(bytes > 2 * published[0].len(), "{bytes}");
            return;
        }
    }
}

#[test]
fn r02_a_cut_after_any_byte_of_a_stream_that_came_back() {
    let gateway = Gateway::start(&SETTINGS);
    let mut publisher = Publisher::to(gateway.inbound());
    let mut outcomes: HashMap<u64, usize> = HashMap::new();
    for bytes in 0.. {
        let mut client = reader(&gateway, "plain.1");
        client.cut();
        let published: Vec<_> = (0..2).map(|n| plain(1, &format!("{bytes}-{n}"))).collect();
        for event in &published {
            publisher.publish(event);
        }
        client.open();
        client.read(bytes, |events| events.last().is_some_and(|event| event.answer().is_some()));
        let is_complete = client.events.last().is_some_and(|event| event.answer().is_some());
        let missed = client.come_back().unwrap_or_else(|gap| panic!("after {bytes} bytes: {gap}"));
        assert_eq!(client.received(), published, "after {bytes} bytes");
        *outcomes.entry(missed).or_default() += 1;
        if is_complete {
            break;
        }
    }
    // The second time it missed both events, one of them, and none.
    assert!(outcomes[&2] > 400 && outcomes[&1] > 60 && outcomes[&0] > 100, "{outcomes:?}");
}

/// The parser of fetch-event-source, in Node: it takes an id as soon as it has read its line. So a
/// cut before the last byte of a block, the line end after that of the id, loses the event: no
/// server can prevent that.
#[test]
fn r02_a_cut_after_any_byte_for_the_parser_of_fetch_event_source() {
    let gateway = Gateway::start(&SETTINGS);
    let url = format!("http://{}", gateway.inbound());
    let lines = run_story(node_script("resume", "cuts.js").arg(url));
    let told: Value = serde_json::from_str(&lines).expect("one line of JSON");
    assert_eq!(told["mismatches"], json!([]), "{told}");
    assert_eq!(told["before_the_last_byte"], json!(2), "one for each event: {told}");
    assert!(told["cuts"].as_u64().expect("a number") > 250, "{told}");
}
