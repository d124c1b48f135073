//! The ring against a log that keeps everything, and against the index of live subscriptions.

use proptest::prelude::*;
use proptest::sample::select;

use super::model::{Model, Taken};
use super::*;
use crate::{IdKey, Ids, InvalidId};

#[derive(Clone, Debug)]
enum Step {
    Push {
        event_type: &'static str,
        data: Value,
    },
    Count(&'static str),
    Lose(Option<&'static str>),
    Revoke(u128),
    /// Tenths of a second.
    Wait(u32),
    Resume {
        back: u64,
        list: Value,
        keys: Vec<u128>,
    },
    /// As a resume, in pulls of this size, with pushes in between.
    Follow {
        back: u64,
        list: Value,
        pull: usize,
    },
    /// As a resume with other subscriptions before, of what was pushed up to here.
    Add {
        back: u64,
        live: u64,
        list: Value,
        old: Value,
        keys: Vec<u128>,
    },
    Absent(&'static str),
    /// Written and loaded.
    Restart,
}

/// Values of events: equal ones in different clothes, and none.
fn value() -> impl Strategy<Value = Option<Value>> {
    let values = vec![
        None,
        Some(json!(null)),
        Some(json!(1)),
        Some(json!(1.0)),
        Some(json!("1")),
        Some(json!("a\nb")),
        Some(json!({"a": 1, "b": [2]})),
        Some(json!(true)),
    ];
    select(values)
}

fn data() -> impl Strategy<Value = Value> {
    let object = (value(), value(), value()).prop_map(|(shop, user, name)| {
        let members = [("shop", shop), ("user", user), ("name", name)];
        members.into_iter().filter_map(|(member, value)| Some((member.to_owned(), value?))).collect()
    });
    prop_oneof![9 => object.prop_map(Value::Object), 1 => Just(json!("text"))]
}

fn subscriptions() -> impl Strategy<Value = Value> {
    let wanted =
        || select(vec![json!(1), json!("1"), json!("a\nb"), json!({"b": [2.0], "a": 1e0}), json!(true)]);
    let order = prop_oneof![
        wanted().prop_map(|shop| json!({"shop": shop})),
        wanted().prop_map(|user| json!({"user": user})),
        (wanted(), wanted()).prop_map(|(shop, user)| json!({"shop": shop, "user": user})),
        (wanted(), wanted(), wanted())
            .prop_map(|(shop, user, name)| json!({"shop": shop, "user": user, "name": name})),
    ];
    let name = wanted().prop_map(|name| json!({"name": name}));
    let of = |event_type: &'static str| move |one_of: Vec<Value>| json!({"eventType": event_type, "oneOf": one_of});
    let one = prop_oneof![
        5 => prop::collection::vec(order, 0..5).prop_map(of("order")),
        2 => prop::collection::vec(name.clone(), 0..3).prop_map(of("greeting")),
        1 => prop::collection::vec(name, 0..2).prop_map(of("noise")),
        1 => Just(json!({"eventType": "plain"})),
    ];
    prop::collection::vec(one, 0..5).prop_map(Value::Array)
}

fn step() -> impl Strategy<Value = Step> {
    let back = || prop_oneof![4 => 0..12u64, 1 => 0..80u64];
    let keys = || prop::collection::vec(0..3u128, 0..2);
    prop_oneof![
        40 => (select(&TYPES[..3]), data()).prop_map(|(event_type, data)| Step::Push { event_type, data }),
        2 => data().prop_map(|data| Step::Push { event_type: "noise", data }),
        1 => select(&TYPES[..]).prop_map(Step::Count),
        1 => prop::option::of(select(&TYPES[..])).prop_map(Step::Lose),
        1 => (0..3u128).prop_map(Step::Revoke),
        5 => (0..4u32).prop_map(Step::Wait),
        1 => (18..25u32).prop_map(Step::Wait),
        20 => (back(), subscriptions(), keys()).prop_map(|(back, list, keys)| Step::Resume { back, list, keys }),
        5 => (back(), subscriptions(), 1..5usize).prop_map(|(back, list, pull)| Step::Follow { back, list, pull }),
        10 => (back(), 0..4u64, subscriptions(), subscriptions(), keys())
            .prop_map(|(back, live, list, old, keys)| Step::Add { back, live, list, old, keys }),
        1 => select(&TYPES[..]).prop_map(Step::Absent),
        1 => Just(Step::Restart),
    ]
}

struct Pair {
    world: World,
    model: Model,
    /// The series of the runs before, with their last positions.
    runs: Vec<(Series, EventPosition)>,
}

impl Pair {
    fn push(&mut self, event_type: &str, data: &Value) {
        let event = event(event_type, data);
        let taken = match event_type {
            "noise" => Taken::Counted(event_type.to_owned()),
            _ => Taken::Event(event.clone()),
        };
        assert_eq!(self.world.push_event(&event), self.model.take(taken));
        let ring = &self.world.ring;
        assert!(ring.bytes() <= ring.bounds.bytes && ring.len() <= ring.bounds.events);
    }

    fn removed(&self) -> u64 {
        self.model.removed(self.world.ring.len())
    }

    fn expected(
        &self,
        cursor: u64,
        removed: u64,
        list: &Value,
        keys: &[u128],
    ) -> Result<Vec<(u64, Event)>, Gap> {
        let list = Subscription::parse_list(list, &self.world.extractors).unwrap();
        self.model.since(cursor, removed, &list, &self.world.extractors, keys)
    }

    fn resume(&mut self, cursor: u64, list: &Value, keys: &[u128]) {
        let expected = self.expected(cursor, self.removed(), list, keys);
        let selection = self.world.select(list);
        let limits = ResumeLimits::default();
        let missed = self.world.ring.since(EventPosition(cursor), selection, keys, limits, self.world.now);
        same(&missed, &expected);
    }

    fn add(&mut self, (cursor, until): (u64, u64), list: &Value, old: &Value, keys: &[u128]) {
        let expected = self.expected(cursor, self.removed(), list, keys).map(|mut events| {
            let old = Subscription::parse_list(old, &self.world.extractors).unwrap();
            let before = self.model.selected(cursor, &old, &self.world.extractors);
            let before: Vec<u64> = before.iter().map(|(position, _)| *position).collect();
            events.retain(|(position, _)| *position <= until && !before.contains(position));
            events
        });
        let [selection, old] = [list, old].map(|list| self.world.select(list));
        let (ring, now) = (&mut self.world.ring, self.world.now);
        let (cursor, until) = (EventPosition(cursor), EventPosition(until));
        let limits = ResumeLimits::default();
        let missed = ring
            .added(cursor, until, selection, &old, keys, limits, now)
            .and_then(|mut reader| ring.next(&mut reader, usize::MAX, usize::MAX, now));
        same(&missed, &expected);
    }

    fn follow(&mut self, cursor: u64, list: &Value, pull: usize) {
        let selection = self.world.select(list);
        let limits = ResumeLimits::default();
        let removed = self.removed();
        let (ring, now) = (&mut self.world.ring, self.world.now);
        let mut pulled = Vec::new();
        let result =
            ring.catch_up(EventPosition(cursor), selection, &[], limits, now).and_then(|mut reader| {
                loop {
                    let next = self.world.ring.next(&mut reader, pull, usize::MAX, now)?;
                    if next.is_empty() {
                        return Ok(());
                    }
                    pulled.extend(next);
                    if pulled.len() % 2 == 0 && pulled.len() < 20 {
                        self.push("order", &json!({"shop": 1, "user": "1"}));
                    }
                }
            });
        match result {
            // What was removed after it was pulled was not missed.
            Ok(()) => same(&Ok(pulled), &self.expected(cursor, removed, list, &[])),
            Err(gap) => same(&Err(gap), &self.expected(cursor, self.removed(), list, &[])),
        }
    }

    fn restart(&mut self) {
        let mut file = Vec::new();
        let (now, wall) = (self.world.now, std::time::SystemTime::now());
        self.world.ring.write_to(&mut file, now, wall).unwrap();
        let bounds = self.world.ring.bounds.clone();
        let loaded = Ring::read_from(&mut &file[..], bounds, &self.world.extractors, now, wall).unwrap();
        assert_eq!(loaded.len(), self.world.ring.len());
        assert_eq!(loaded.bytes(), self.world.ring.bytes());
        self.runs.push((self.world.ring.series(), self.world.ring.last()));
        self.world.ring = loaded;
        self.read_ids();
    }

    /// The ids of this run and of the runs before name the positions that they were given out for,
    /// and no others.
    fn read_ids(&self) {
        let key = IdKey::from_bytes([7; 16]);
        let ring = &self.world.ring;
        let ids = Ids::new(&key, ring.lineage().clone());
        let read = |series: Series, position| ids.read(Ids::new(&key, series).text(position).as_str());
        assert_eq!(read(ring.series(), ring.last()), Ok(ring.last()));
        for (at, (series, last)) in self.runs.iter().rev().enumerate() {
            let is_read = at < Lineage::EARLIER;
            assert_eq!(read(*series, *last).ok(), is_read.then_some(*last));
            assert_eq!(read(*series, last.next()), Err(InvalidId::Elsewhere(*series)));
        }
    }
}

fn same(missed: &Result<Vec<Kept>, Gap>, expected: &Result<Vec<(u64, Event)>, Gap>) {
    match (missed, expected) {
        (Ok(missed), Ok(expected)) => {
            let missed: Vec<_> =
                missed.iter().map(|kept| (kept.position.0, &*kept.event_type, &kept.json)).collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|(position, event)| (*position, event.event_type(), event.json()))
                .collect();
            assert_eq!(missed, expected);
        }
        // Both are missing something; which reason is given depends on the order of types.
        (Err(Gap::Expired), Err(Gap::Lost)) => {}
        (missed, expected) => {
            assert_eq!(missed.as_ref().map(Vec::len), expected.as_ref().map(Vec::len));
        }
    }
}

fn run(steps: Vec<Step>, bounds: Bounds) {
    let mut pair = Pair { world: World::new(bounds), model: Model::default(), runs: Vec::new() };
    for step in steps {
        let cursor = |pair: &Pair, back: u64| pair.model.last().saturating_sub(back);
        match step {
            Step::Push { event_type, data } => pair.push(event_type, &data),
            Step::Count(name) => {
                let key = pair.world.ring.keys().of_type(name);
                let position = pair.model.take(Taken::Counted(name.to_owned()));
                assert_eq!(pair.world.ring.count(key), Some(position));
            }
            Step::Lose(name) => {
                let key = name.map(|name| pair.world.ring.keys().of_type(name));
                let position = pair.model.take(Taken::Lost(name.map(str::to_owned)));
                assert_eq!(pair.world.ring.lose(key), position);
            }
            Step::Revoke(key) => {
                let position = pair.model.take(Taken::Revoked(key));
                assert_eq!(pair.world.ring.revoke(key, pair.world.now), position);
            }
            Step::Wait(tenths) => {
                let time = Duration::from_millis(100) * tenths;
                pair.model.elapsed += time;
                pair.world.wait(time);
            }
            Step::Resume { back, list, keys } => pair.resume(cursor(&pair, back), &list, &keys),
            Step::Follow { back, list, pull } => pair.follow(cursor(&pair, back), &list, pull),
            Step::Add { back, live, list, old, keys } => {
                let range = (cursor(&pair, back), cursor(&pair, live));
                pair.add(range, &list, &old, &keys);
            }
            Step::Absent(name) => {
                let key = pair.world.ring.keys().of_type(name);
                pair.world.ring.absent(key);
                pair.model.absent(name);
            }
            Step::Restart => pair.restart(),
        }
        let (ring, recent) = (&pair.world.ring, pair.model.recent_events());
        // Nothing recent was removed without need.
        let full = ring.len() == ring.bounds.events || ring.bytes() + 600 > ring.bounds.bytes;
        assert!(ring.len() == recent || ring.len() < recent && full, "{} of {recent}", ring.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_reader_gets_exactly_what_it_missed_or_one_gap(
        steps in prop::collection::vec(step(), 1..150),
        events in prop_oneof![Just(10_000usize), 5..60usize],
        bytes in prop_oneof![Just(1usize << 20), 8_000..20_000usize],
    ) {
        run(steps, Bounds { events, bytes, ..bounds() });
    }
}
