use history::{Bounds, EventKeys, Ring};

use super::*;

const AGE: Duration = Duration::from_secs(3600);

struct World {
    given_up: GivenUp,
    keys: EventKeys,
    now: Instant,
}

impl World {
    fn new(has_names: bool) -> Self {
        let now = Instant::now();
        let bounds = Bounds { age: AGE, bytes: 1 << 20, events: 10, excluded: Vec::new() };
        Self { given_up: GivenUp::new(AGE, has_names), keys: Ring::new(bounds, now).keys().clone(), now }
    }

    fn leave(&mut self, name: &str) {
        self.given_up.insert(self.keys.of_type(name), &name.into(), self.now);
    }

    fn has(&self, name: &str) -> bool {
        self.given_up.has(self.keys.of_type(name), self.now)
    }

    /// As the sequencer decides whether an event is kept.
    fn is_wanted(&self, name: &str) -> bool {
        self.has(name) || self.given_up.is_any(self.now)
    }

    /// A client subscribes to ever new types, with names of this length.
    fn fill(&mut self, types: std::ops::Range<usize>, length: usize) {
        types.for_each(|number| self.leave(&format!("{number:length$}")));
    }
}

#[test]
fn a_type_is_recent_for_as_long_as_events_are_kept() {
    for has_names in [true, false] {
        let mut world = World::new(has_names);
        world.leave("a");
        world.now += AGE / 2;
        world.leave("b");
        world.leave("b");
        let names = |world: &World| {
            let mut names = world.given_up.names(world.now);
            names.sort_unstable();
            names
        };
        let expected: &[&str] = if has_names { &["a", "b"] } else { &[] };
        assert_eq!(names(&world).iter().map(|name| &**name).collect::<Vec<_>>(), expected);
        world.now += AGE / 2;
        assert!(world.has("a") && world.has("b") && !world.has("c"));
        world.now += Duration::from_millis(1);
        assert!(!world.has("a") && world.has("b"));
        assert_eq!(names(&world).len(), usize::from(has_names));
        world.given_up.expire(world.now);
        assert_eq!(world.given_up.types.len(), 1);
        world.now += AGE;
        world.given_up.expire(world.now);
        assert_eq!((world.given_up.types.len(), world.given_up.bytes), (0, 0));
        assert!(!world.given_up.is_any(world.now), "there were not too many");
    }
}

#[test]
fn types_of_a_stranger_take_limited_memory() {
    for (has_names, length) in [(false, 1000), (true, 1000), (true, 10)] {
        let mut world = World::new(has_names);
        world.fill(0..200_000, length);
        let of_names: usize =
            world.given_up.types.values().filter_map(|left| Some(left.name.as_ref()?.len())).sum();
        let table = world.given_up.types.capacity() * (size_of::<(TypeKey, Left)>() + 1);
        assert!(world.given_up.bytes <= LIMIT && of_names + table <= LIMIT + LIMIT / 4, "{of_names} {table}");
        world.given_up.tidy(|_| false, world.now);
        assert_eq!((world.given_up.types.len(), world.given_up.bytes), (0, 0));
        world.given_up.expire(world.now);
        assert!(world.given_up.types.capacity() < 1024);
    }
}

#[test]
fn types_of_a_stranger_displace_none_that_has_events() {
    let mut world = World::new(true);
    let used = ["used before", "used after"];
    world.leave(used[0]);
    world.fill(0..30_000, 100);
    world.leave(used[1]);
    let keys = used.map(|name| world.keys.of_type(name));
    for round in 1..20 {
        world.given_up.tidy(|key| keys.contains(&key), world.now);
        assert!(world.given_up.bytes <= MANY);
        assert!(used.iter().all(|name| world.has(name)), "{round}");
        world.fill(round * 100_000..round * 100_000 + 25_000, 100);
    }
}

/// Its type had no event yet. What comes while it is away is kept, although nothing says that the
/// type was wanted.
#[test]
fn types_of_a_stranger_hide_nothing_from_a_client_that_is_back_soon() {
    let mut world = World::new(false);
    world.leave("quiet");
    for minute in 0..5 {
        world.fill(0..50_000, 20);
        world.given_up.tidy(|_| false, world.now);
        assert!(world.is_wanted("quiet"), "{minute}");
        // So is one that leaves when there is no room.
        world.fill(0..100_000, 20);
        world.leave("late");
        assert!(world.is_wanted("late") && !world.has("late"), "{minute}");
        world.given_up.tidy(|_| false, world.now);
        world.now += Duration::from_secs(60);
        assert!(world.is_wanted("late"), "{minute}");
    }
    world.now -= Duration::from_secs(60);
    world.now += ANY_TYPE;
    assert!(world.is_wanted("quiet"));
    world.now += Duration::from_millis(1);
    assert!(!world.is_wanted("quiet"), "what displaces others is kept for long");
}

#[test]
fn with_too_many_that_have_events_the_oldest_go_first() {
    let mut world = World::new(true);
    world.fill(0..30_000, 50);
    world.now += Duration::from_secs(1);
    world.fill(30_000..40_000, 50);
    world.given_up.tidy(|_| true, world.now);
    assert!(world.given_up.bytes <= MANY);
    assert!(!world.has(&format!("{:50}", 0)) && world.has(&format!("{:50}", 39_999)));
}

#[test]
fn every_type_is_kept_for_a_limited_time() {
    for (age, limit) in [(Duration::from_secs(10), Duration::from_secs(10)), (AGE, ANY_TYPE)] {
        let now = Instant::now();
        let mut given_up = GivenUp::new(age, false);
        assert!(!given_up.is_any(now));
        given_up.keep_any(now);
        assert!(given_up.is_any(now + limit));
        assert!(!given_up.is_any(now + limit + Duration::from_millis(1)), "{age:?}");
    }
}
