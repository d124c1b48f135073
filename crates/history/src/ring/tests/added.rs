//! What subscriptions that were added would have selected.

use super::*;

fn added(
    world: &mut World,
    (cursor, until): (u64, u64),
    lists: [&Value; 2],
    limits: ResumeLimits,
) -> Result<CatchUp, Gap> {
    let [added, old] = lists.map(|list| world.select(list));
    let (cursor, until) = (EventPosition(cursor), EventPosition(until));
    world.ring.added(cursor, until, added, &old, &[7], limits, world.now)
}

/// Returns the positions of what was added, in pulls of this size.
fn replayed(world: &mut World, range: (u64, u64), lists: [&Value; 2], pull: usize) -> Result<Vec<u64>, Gap> {
    let mut reader = added(world, range, lists, ResumeLimits::default())?;
    let mut pulled = Vec::new();
    loop {
        let next = world.ring.next(&mut reader, pull, usize::MAX, world.now)?;
        assert!(next.len() <= pull);
        if next.is_empty() {
            assert_eq!(reader.position().0, range.0.max(range.1));
            return Ok(pulled);
        }
        pulled.extend(next.iter().map(|kept| kept.position.0));
        // It is live already, and gets what comes from elsewhere.
        world.push("plain", &json!("live"));
    }
}

fn filled() -> World {
    let mut world = World::new(bounds());
    for number in 0..10 {
        world.push("order", &json!({"shop": number % 2, "user": number % 3}));
        world.push("plain", &json!(number));
    }
    world
}

#[test]
fn r16_what_is_added_comes_once_and_what_was_selected_before_does_not() {
    let even = json!([{"eventType": "order", "oneOf": [{"shop": 0}]}]);
    let both = json!([{"eventType": "order", "oneOf": [{"shop": 0}, {"user": 1}]}, {"eventType": "plain"}]);
    let none = json!([]);
    for pull in [1, 3, 100] {
        let replayed = |range, lists: [&Value; 2]| replayed(&mut filled(), range, lists, pull);
        assert_eq!(replayed((0, 20), [&even, &none]), Ok(vec![1, 5, 9, 13, 17]));
        assert_eq!(replayed((0, 20), [&even, &even]), Ok(vec![]));
        assert_eq!(replayed((0, 20), [&even, &both]), Ok(vec![]));
        assert_eq!(replayed((0, 20), [&none, &both]), Ok(vec![]));
        // Those of the user 1 are 3, 9 and 15; 9 is of the shop 0.
        let expected = vec![2, 3, 4, 6, 8, 10, 12, 14, 15, 16, 18, 20];
        assert_eq!(replayed((0, 20), [&both, &even]), Ok(expected));
        assert_eq!(replayed((4, 12), [&both, &even]), Ok(vec![6, 8, 10, 12]));
        assert_eq!(replayed((12, 12), [&both, &even]), Ok(vec![]));
        assert_eq!(replayed((12, 4), [&both, &even]), Ok(vec![]));
    }
}

#[test]
fn a_replay_stops_where_the_subscriptions_were_added() {
    let mut world = filled();
    let lists = [&all("plain"), &json!([])];
    world.push("plain", &json!("live"));
    assert_eq!(replayed(&mut world, (16, 20), lists, 1), Ok(vec![18, 20]));
    // A position that was not taken yet is that of now.
    let last = world.ring.last().0;
    let mut reader = added(&mut world, (16, last + 5), lists, ResumeLimits::default()).unwrap();
    world.push("plain", &json!("live"));
    let next = world.ring.next(&mut reader, usize::MAX, usize::MAX, world.now).unwrap();
    assert_eq!(next.last().map(|kept| kept.position.0), Some(last));
    assert_eq!(reader.position().0, last);
    let now = world.now;
    assert_eq!(world.ring.next(&mut reader, usize::MAX, usize::MAX, now), Ok(vec![]));
}

#[test]
fn more_than_a_window_is_replayed() {
    let mut world = World::new(Bounds { bytes: 64 << 20, events: 1 << 20, ..bounds() });
    for number in 0..9_000 {
        world.push("plain", &json!(number));
    }
    let expected: Vec<u64> = (1..=9_000).collect();
    assert_eq!(replayed(&mut world, (0, 9_000), [&all("plain"), &json!([])], 1000), Ok(expected));
}

#[test]
fn a_replay_has_the_gaps_of_a_resume() {
    let lists = [&all("plain"), &all("order")];
    let mut world = filled();
    assert_eq!(replayed(&mut world, (25, 25), lists, 1), Err(Gap::Restarted));
    world.ring.revoke(7, world.now);
    assert_eq!(replayed(&mut world, (20, 20), lists, 1), Err(Gap::Revoked));
    assert_eq!(replayed(&mut world, (21, 21), lists, 1), Ok(vec![]));
    let mut world = filled();
    let keys = world.ring.keys().clone();
    world.ring.lose(Some(keys.of_type("plain")));
    assert_eq!(replayed(&mut world, (20, 21), lists, 1), Err(Gap::Lost));
    let mut world = filled();
    world.ring.lose(Some(keys.of_type("order")));
    let lost_of_old = replayed(&mut world, (20, 21), lists, 1);
    assert_eq!(lost_of_old, Ok(vec![]), "the reader was told when it resumed");
    world.now += AGE + Duration::from_millis(200);
    assert_eq!(replayed(&mut world, (0, 21), lists, 1), Err(Gap::Expired));
}

#[test]
fn the_limits_are_those_of_what_is_added() {
    let mut world = World::new(Bounds { bytes: 64 << 20, ..bounds() });
    let length = event("order", &json!({"shop": 0})).json().len();
    for number in 0..20 {
        world.push("order", &json!({"shop": number % 2}));
    }
    let old = json!([{"eventType": "order", "oneOf": [{"shop": 0}]}]);
    let mut missed = |old: &Value, events, bytes| {
        let limits = ResumeLimits { events, bytes };
        let now = world.now;
        let mut reader = added(&mut world, (0, 20), [&all("order"), old], limits)?;
        world.ring.next(&mut reader, usize::MAX, usize::MAX, now).map(|next| next.len())
    };
    assert_eq!(missed(&old, 10, 10 * length), Ok(10));
    assert_eq!(missed(&old, 9, 10 * length), Err(Gap::TooMany));
    assert_eq!(missed(&old, 10, 10 * length - 1), Err(Gap::TooMany));
    assert_eq!(missed(&json!([]), 10, 20 * length), Err(Gap::TooMany));
    assert_eq!(missed(&json!([]), 20, 20 * length), Ok(20));
    assert_eq!(missed(&json!([]), usize::MAX, 20 * length), Ok(20));
}

/// Once all of it was found, only its own events have to stay.
#[test]
fn what_happens_during_a_replay_changes_nothing_but_for_what_is_removed() {
    let lists = [&all("plain"), &json!([])];
    let mut world = World::new(Bounds { events: 20, ..bounds() });
    for number in 0..10 {
        world.push("order", &json!(number));
    }
    for number in 0..10 {
        world.push("plain", &json!(number));
    }
    let mut reader = added(&mut world, (0, 20), lists, ResumeLimits::default()).unwrap();
    let pull = |world: &mut World, reader: &mut CatchUp| {
        let next = world.ring.next(reader, 1, usize::MAX, world.now)?;
        Ok(next.iter().map(|kept| kept.position.0).collect::<Vec<_>>())
    };
    assert_eq!(pull(&mut world, &mut reader), Ok(vec![11]));
    let key = world.ring.keys().of_type("plain");
    world.ring.lose(Some(key));
    world.ring.lose(None);
    world.ring.absent(key);
    // The cursor itself has expired.
    for number in 0..10 {
        world.push("order", &json!(number));
    }
    assert_eq!(pull(&mut world, &mut reader), Ok(vec![12]));
    world.push("order", &json!(1));
    assert_eq!(pull(&mut world, &mut reader), Ok(vec![13]));
    for number in 0..3 {
        world.push("order", &json!(number));
    }
    assert_eq!(pull(&mut world, &mut reader), Err(Gap::Expired));
    assert_eq!(pull(&mut world, &mut reader), Err(Gap::Expired));
}

#[test]
fn what_has_expired_during_a_replay_is_not_returned() {
    let mut world = filled();
    world.push("greeting", &json!(1));
    let lists = [&all("greeting"), &json!([])];
    let mut reader = added(&mut world, (0, 21), lists, ResumeLimits::default()).unwrap();
    world.now += AGE + Duration::from_millis(200);
    assert_eq!(world.ring.next(&mut reader, 1, usize::MAX, world.now), Err(Gap::Expired));
    assert!(!world.ring.is_empty(), "it was not removed yet");
}
