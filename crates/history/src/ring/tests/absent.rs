//! Types without subscribers, whose events take no position.

use super::*;
use crate::dropped::MAX_TYPES;

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

/// Clients choose the types that they subscribe to.
#[test]
fn more_types_than_there_is_room_for_expire_older_cursors() {
    let mut world = World::new(Bounds { bytes: 64 << 20, events: 1 << 20, ..bounds() });
    let first = world.push("plain", &json!(0));
    let mut newest = first;
    for number in 1..=MAX_TYPES {
        newest = world.ring.last();
        absent(&mut world, &format!("type {number}"));
        world.push("plain", &json!(number));
    }
    assert_eq!(world.since(first, &all("plain")).map(|missed| missed.len()), Ok(MAX_TYPES));
    absent(&mut world, "one more");
    // The newer half is still there.
    let of_newest = all(&format!("type {MAX_TYPES}"));
    assert_eq!(world.since(newest, &of_newest), Err(Gap::Expired));
    assert_eq!(world.since(newest, &all("plain")), Ok(vec![newest.0 + 1]));
    assert_eq!(world.since(EventPosition(newest.0 + 1), &of_newest), Ok(vec![]));
    for round in 0..3 {
        for number in 1..=MAX_TYPES / 2 {
            absent(&mut world, &format!("type {number} of {round}"));
            let position = world.push("plain", &json!(number));
            assert!(world.ring.missing().len() <= MAX_TYPES);
            // What is recent stays exact.
            let recent = EventPosition(position.0 - 1000);
            assert_eq!(world.since(recent, &all("plain")).map(|missed| missed.len()), Ok(1000));
        }
        assert_eq!(world.since(first, &all("plain")), Err(Gap::Expired));
    }
    let last = world.ring.last();
    let recent = format!("type {} of 2", MAX_TYPES / 2);
    assert_eq!(world.since(EventPosition(last.0 - 1), &all(&recent)), Err(Gap::Expired));
    assert_eq!(world.since(last, &all(&recent)), Ok(vec![]));
    // Those whose records were removed are gaps as well.
    let old = EventPosition(100);
    assert_eq!(world.since(old, &all("type 1000")), Err(Gap::Expired));
}

/// Without events in between, all cursors expire, and the next one is exact.
#[test]
fn more_types_than_there_is_room_for_at_one_position_expire_all_cursors() {
    let mut world = World::new(bounds());
    let before = world.push("plain", &json!(0));
    for number in 0..=MAX_TYPES {
        absent(&mut world, &format!("type {number}"));
    }
    assert!(world.ring.missing().len() <= MAX_TYPES);
    assert_eq!(world.since(before, &all("plain")), Err(Gap::Expired));
    let after = world.push("plain", &json!(1));
    let next = world.push("plain", &json!(2));
    assert_eq!(world.since(after, &all("plain")), Ok(vec![next.0]));
    assert_eq!(world.since(after, &all("type 1")), Ok(vec![]));
}
