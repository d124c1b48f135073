use history::Bounds;
use serde_json::json;
use subscription::{Extractors, Interest, MAX_SUBSCRIPTIONS};

use super::*;

struct World {
    sequencer: Arc<Sequencer>,
    index: Arc<Index<()>>,
}

fn bounds() -> Bounds {
    Bounds { age: Duration::from_secs(3600), bytes: 1 << 20, events: 1000, excluded: Vec::new() }
}

impl World {
    fn new(has_peers: bool) -> Self {
        Self::with(Ring::new(bounds(), Instant::now()), has_peers)
    }

    fn with(ring: Ring, has_peers: bool) -> Self {
        let options = SequencerOptions { age: bounds().age, has_peers, limits: ResumeLimits::default() };
        let sequencer = Sequencer::new(ring, &IdKey::random(), options);
        let index = Index::new(Arc::new(Extractors::default()));
        let observer = sequencer.clone();
        index.on_given_up(move |event_type| observer.give_up(event_type));
        Self { sequencer, index }
    }

    fn subscribe(&self, names: impl IntoIterator<Item = String>) -> Interest<()> {
        let list: Vec<_> = names.into_iter().map(|name| json!({ "eventType": name })).collect();
        let list = Subscription::parse_list(&json!(list), self.index.extractors()).unwrap();
        self.index.subscribe((), &list)
    }

    /// Publishes an event. Returns `true` if it was kept.
    fn publish(&self, event_type: &str) -> bool {
        let json = json!({ "specversion": "0.2", "type": event_type, "id": "1" });
        let event = Event::from_json(json.to_string().into()).unwrap();
        self.sequencer.take(&event, &self.index, |_| {}, |_, _| ());
        self.sequencer.lock().has_type(self.sequencer.keys().of_type(event_type))
    }

    fn recently_wanted(&self) -> Vec<Arc<str>> {
        let mut names = self.sequencer.recently_wanted();
        names.sort_unstable();
        names
    }
}

#[test]
fn events_are_kept_of_types_that_had_a_subscriber() {
    for has_peers in [true, false] {
        let world = World::new(has_peers);
        drop(world.subscribe(["a".to_owned(), "b".to_owned()]));
        assert!(world.publish("a"));
        assert!(!world.publish("strange"));
        // Without other nodes, no one asks for the names.
        let names: &[&str] = if has_peers { &["a", "b"] } else { &[] };
        assert_eq!(world.recently_wanted().iter().map(|name| &**name).collect::<Vec<_>>(), names);
    }
}

/// One client changes its subscriptions to ever new types; the type of another client had no event
/// yet.
#[test]
fn no_client_makes_another_one_miss_what_comes_while_it_is_away() {
    for is_tidied in [true, false] {
        let world = World::new(false);
        drop(world.subscribe(["before".to_owned()]));
        for list in 0..600 {
            let names = (0..MAX_SUBSCRIPTIONS).map(|number| format!("strange {list} {number}"));
            drop(world.subscribe(names));
            if is_tidied && list % 50 == 0 {
                world.sequencer.evict();
            }
        }
        drop(world.subscribe(["after".to_owned()]));
        if is_tidied {
            world.sequencer.evict();
        }
        assert!(world.publish("before") && world.publish("after"), "{is_tidied}");
    }
}

/// Types that have events keep their places, also among the names that other nodes need.
#[test]
fn types_of_a_stranger_are_removed_first() {
    let world = World::new(true);
    drop(world.subscribe(["used".to_owned()]));
    assert!(world.publish("used"));
    for list in 0..300 {
        drop(world.subscribe((0..MAX_SUBSCRIPTIONS).map(|number| format!("strange {list} {number}"))));
    }
    assert_eq!(world.recently_wanted().len(), 1 + 300 * MAX_SUBSCRIPTIONS);
    world.sequencer.evict();
    assert_eq!(world.recently_wanted(), [Arc::from("used")]);
}

#[test]
fn after_a_clean_restart_events_of_every_type_are_kept_at_first() {
    let first = World::new(false);
    assert!(!first.publish("a"));
    let mut file = Vec::new();
    first.sequencer.store(&mut file).unwrap();
    let (now, wall) = (Instant::now(), SystemTime::now());
    let ring = Ring::read_from(&mut &file[..], bounds(), first.index.extractors(), now, wall).unwrap();
    let second = World::with(ring, false);
    assert!(second.publish("a"));
    assert!(second.sequencer.is_own(first.sequencer.series()));
    assert_ne!(second.sequencer.series(), first.sequencer.series());
}

#[test]
fn without_time_nothing_is_looked_for() {
    let World { sequencer, .. } = World::new(false);
    assert_eq!(sequencer.search_late(|| Ok(1)), Ok(1));
    assert_eq!(sequencer.search_late::<()>(|| Err(Gap::Expired)), Err(Gap::Expired));
    sequencer.search_time.lock().spend(Instant::now(), Duration::from_secs(3600));
    assert_eq!(sequencer.search_late(|| Ok(1)), Err(Gap::TooMany));
}
