//! Events that took a position and are not in the ring.

use super::*;
use crate::dropped::MAX_TYPES;

#[test]
fn an_event_of_a_type_without_subscribers_is_a_gap_for_those_who_come() {
    let mut world = World::new(bounds());
    world.push("plain", &json!(1));
    let key = world.ring.keys().of_type("greeting");
    assert_eq!(world.ring.count(key), Some(EventPosition(2)));
    world.push("greeting", &json!({"name": "al"}));
    assert_eq!(world.since(EventPosition(1), &all("greeting")), Err(Gap::Expired));
    assert_eq!(world.since(EventPosition(2), &all("greeting")), Ok(vec![3]));
    assert_eq!(world.since(EventPosition(0), &all("plain")), Ok(vec![1]));
}

#[test]
fn too_many_types_without_subscribers_must_be_pushed() {
    let mut world = World::new(bounds());
    let of_type = |world: &World, number: usize| world.ring.keys().of_type(&format!("type {number}"));
    // The excluded one is one of them.
    for number in 1..MAX_TYPES {
        let key = of_type(&world, number);
        assert!(world.ring.count(key).is_some(), "{number}");
        world.push("noise", &json!(1));
    }
    let (known, new) = (of_type(&world, 1), of_type(&world, MAX_TYPES));
    assert_eq!(world.ring.count(new), None);
    assert!(world.ring.count(known).is_some());
    assert_eq!(world.ring.lose(Some(new)), world.ring.last());
    assert_eq!(world.since(EventPosition(1), &all("type x")), Err(Gap::Lost));
    // Records that no valid cursor needs make room.
    for _ in 0..10_000 {
        world.push("plain", &json!(1));
    }
    world.wait(AGE * 2);
    assert!(world.ring.count(new).is_some());
}

/// Records of types make room only once no cursor needs them.
#[test]
fn what_is_not_kept_is_a_gap_as_long_as_a_cursor_before_it_is_exact() {
    let mut world = World::new(Bounds { events: 1, ..bounds() });
    let count = |world: &mut World, event_type: &str| {
        let key = world.ring.keys().of_type(event_type);
        world.ring.count(key)
    };
    world.push("plain", &json!(1));
    for number in 2..MAX_TYPES {
        assert_eq!(count(&mut world, &format!("type {number}")), Some(EventPosition(number as u64)));
    }
    let cursor = world.push("plain", &json!(2));
    for event_type in ["one", "two"] {
        assert!(count(&mut world, event_type).is_some(), "{event_type}");
    }
    assert_eq!(count(&mut world, "three"), None, "there is no room");
    world.push("plain", &json!(3));
    assert!(count(&mut world, "three").is_some(), "all cursors before the second event have expired");
    for event_type in ["one", "two", "three"] {
        assert_eq!(world.since(cursor, &all(event_type)), Err(Gap::Expired), "{event_type}");
    }
    assert_eq!(world.since(cursor, &all("type 2")), Ok(vec![]));
}

#[test]
fn r25_excluded_types_leave_room_for_others() {
    let mut world = World::new(Bounds { bytes: 20_000, ..bounds() });
    let cursor = world.push("plain", &json!(1));
    for _ in 0..1000 {
        world.push("noise", &json!({"name": "x".repeat(100)}));
    }
    let last = world.push("plain", &json!(2));
    assert_eq!(world.ring.len(), 2);
    assert_eq!(world.since(cursor, &all("plain")), Ok(vec![last.0]));
    let one = json!([{"eventType": "noise", "oneOf": [{"name": "al"}]}]);
    assert_eq!(world.since(cursor, &one), Err(Gap::Expired));
    assert_eq!(world.since(last, &one), Ok(vec![]));
}

#[test]
fn a_loss_is_a_gap_for_its_type_or_for_all() {
    let mut world = World::new(bounds());
    let key = world.ring.keys().of_type("plain");
    world.push("plain", &json!(1));
    assert_eq!(world.ring.lose(Some(key)), EventPosition(2));
    assert_eq!(world.since(EventPosition(1), &all("plain")), Err(Gap::Lost));
    assert_eq!(world.since(EventPosition(2), &all("plain")), Ok(vec![]));
    assert_eq!(world.since(EventPosition(0), &all("order")), Ok(vec![]));
    assert_eq!(world.ring.lose(None), EventPosition(3));
    assert_eq!(world.since(EventPosition(2), &all("order")), Err(Gap::Lost));
    assert_eq!(world.since(EventPosition(3), &all("order")), Ok(vec![]));
}
