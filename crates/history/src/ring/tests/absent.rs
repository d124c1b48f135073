//! Types without subscribers, whose events take no position.

use super::*;
use crate::dropped::{MANY_ABSENT, MAX_TYPES};

fn absent(world: &mut World, event_type: &str) {
    let key = world.ring.keys().of_type(event_type);
    world.ring.absent(key);
}

#[test]
fn a_type_that_was_absent_is_a_gap_up_to_now() {
    let mut world = World::new(bounds());
    world.push("order", &json!({"shop": 1}));
    let before = world.push("plain", &json!(1));
    absent(&mut world, "order");
    assert_eq!(world.ring.last(), before, "it takes no position");
    for cursor in [EventPosition(0), before] {
        assert_eq!(world.since(cursor, &all("order")), Err(Gap::Expired), "{cursor:?}");
        let one = json!([{"eventType": "order", "oneOf": [{"shop": 7}]}, {"eventType": "plain"}]);
        assert_eq!(world.since(cursor, &one), Err(Gap::Expired), "{cursor:?}");
    }
    assert_eq!(world.since(EventPosition(0), &all("plain")), Ok(vec![2]));
    let after = world.push("order", &json!({"shop": 2}));
    assert_eq!(world.since(before, &all("order")), Err(Gap::Expired));
    assert_eq!(world.since(after, &all("order")), Ok(vec![]));
    let next = world.push("order", &json!({"shop": 3}));
    assert_eq!(world.since(after, &all("order")), Ok(vec![next.0]));
}

#[test]
fn a_type_that_was_absent_twice_is_a_gap_up_to_the_second_time() {
    let mut world = World::new(bounds());
    absent(&mut world, "order");
    let between = world.push("order", &json!(1));
    absent(&mut world, "order");
    assert_eq!(world.since(between, &all("order")), Err(Gap::Expired));
    let after = world.push("order", &json!(2));
    assert_eq!(world.since(after, &all("order")), Ok(vec![]));
}

/// Clients choose the types that they subscribe to. What one of them chooses does no harm to
/// others, however many types these are.
#[test]
fn strange_types_expire_no_cursor_of_others() {
    let mut world = World::new(Bounds { bytes: 64 << 20, events: 1 << 20, ..bounds() });
    absent(&mut world, "order");
    let cursor = world.push("order", &json!({"shop": 1}));
    let missed = world.push("order", &json!({"shop": 2}));
    let order = world.ring.keys().of_type("order");
    let mut most = 0;
    for number in 0..100_000 {
        absent(&mut world, &format!("type {number}"));
        most = most.max(world.ring.absent_types());
        if world.ring.has_many_absent() {
            // The last hundred are still wanted.
            let keys = world.ring.keys().clone();
            let wanted: Vec<_> =
                (0..100).map(|back| keys.of_type(&format!("type {}", number - back))).collect();
            world.ring.retain_absent(|event_type| event_type == order || wanted.contains(&event_type));
            for (cursor, is_exact) in [(cursor, true), (EventPosition(cursor.0 - 1), false)] {
                let expected = if is_exact { Ok(vec![missed.0]) } else { Err(Gap::Expired) };
                assert_eq!(world.since(cursor, &all("order")), expected);
            }
            assert_eq!(world.since(missed, &all(&format!("type {}", number - 50))), Err(Gap::Expired));
        }
    }
    assert!(most <= MANY_ABSENT + 2 * 101, "{most} records");
}

/// There may be a hundred thousand subscribers of different types.
#[test]
fn types_that_are_wanted_keep_their_records() {
    let mut world = World::new(bounds());
    let before = world.push("plain", &json!(0));
    let mut removals = 0;
    for number in 0..100_000 {
        absent(&mut world, &format!("type {number}"));
        if world.ring.has_many_absent() {
            removals += 1;
            world.ring.retain_absent(|_| true);
        }
    }
    assert_eq!(world.ring.absent_types(), 100_000);
    assert_eq!(removals, 4, "each looks at all of them, so their number grows with the logarithm");
    assert_eq!(world.since(before, &all("type 0")), Err(Gap::Expired));
    assert_eq!(world.since(before, &all("plain")), Ok(vec![]));
}

#[test]
fn a_loaded_ring_knows_all_types_that_were_absent() {
    let mut world = World::new(bounds());
    let before = world.push("plain", &json!(0));
    for number in 0..2 * MAX_TYPES {
        absent(&mut world, &format!("type {number}"));
    }
    let (mut file, wall) = (Vec::new(), std::time::SystemTime::now());
    world.ring.write_to(&mut file, world.now, wall).unwrap();
    world.ring = Ring::read_from(&mut &file[..], bounds(), &extractors(), world.now, wall).unwrap();
    for number in 0..2 * MAX_TYPES {
        assert_eq!(world.since(before, &all(&format!("type {number}"))), Err(Gap::Expired), "{number}");
    }
    assert_eq!(world.since(before, &all("plain")), Ok(vec![]));
    let lost = world.ring.keys().of_type("one more");
    world.ring.lose(Some(lost));
    assert_eq!(world.since(before, &all("plain")), Err(Gap::Lost), "there is no room for its record");
}
