//! What the ring keeps, and what it removes.

use super::*;
use crate::dropped::MAX_TYPES;

#[test]
fn r09_evicted_by_time_count_or_bytes_is_one_gap_without_events() {
    let cases = [
        Bounds { age: Duration::from_millis(500), ..bounds() },
        Bounds { events: 5, ..bounds() },
        Bounds { bytes: 1_000, ..bounds() },
    ];
    for bounds in cases {
        let mut world = World::new(bounds.clone());
        for number in 0..20 {
            world.wait(Duration::from_millis(100));
            world.push("plain", &json!(number));
        }
        let kept = world.ring.len();
        assert!((1..20).contains(&kept), "{bounds:?}");
        let oldest = 20 - kept as u64;
        for cursor in 0..oldest {
            assert_eq!(world.since(EventPosition(cursor), &all("plain")), Err(Gap::Expired), "{bounds:?}");
            // Whether an event that is gone was selected is not known any more.
            assert_eq!(world.since(EventPosition(cursor), &all("order")), Err(Gap::Expired), "{bounds:?}");
        }
        let exact: Vec<u64> = (oldest + 1..=20).collect();
        assert_eq!(world.since(EventPosition(oldest), &all("plain")), Ok(exact), "{bounds:?}");
    }
}

#[test]
fn an_event_is_kept_for_the_whole_time_and_no_longer() {
    let mut world = World::new(bounds());
    world.push("plain", &json!(1));
    world.wait(AGE);
    assert_eq!(world.since(EventPosition(0), &all("plain")), Ok(vec![1]));
    assert_eq!(world.ring.oldest(world.now), Some(AGE));
    world.now += Duration::from_millis(200);
    // Nothing has removed it yet.
    assert_eq!(world.ring.len(), 1);
    assert_eq!(world.since(EventPosition(0), &all("plain")), Err(Gap::Expired));
    assert_eq!(world.ring.oldest(world.now), None);
}

/// Many events that expire at once are removed a few at a time. None of them is returned.
#[test]
fn what_has_expired_is_never_returned() {
    let mut world = World::new(bounds());
    for number in 0..5000 {
        world.push("plain", &json!(number));
    }
    world.now += AGE + Duration::from_millis(200);
    world.push("plain", &json!("new"));
    assert_eq!(world.ring.len(), 5001 - EXPIRED_AT_ONCE);
    for cursor in [0, 10, 2500, 4999] {
        for list in [all("plain"), all("order")] {
            let (selection, now) = (world.select(&list), world.now);
            let limits = ResumeLimits::default();
            let reader = world.ring.catch_up(EventPosition(cursor), selection, &[], limits, now);
            assert_eq!(reader.err(), Some(Gap::Expired), "{cursor}");
        }
    }
    assert!(world.ring.len() > 4000);
    assert_eq!(world.since(EventPosition(5000), &all("plain")), Ok(vec![5001]));
    let mut rounds = 0;
    while world.ring.evict(world.now) {
        rounds += 1;
    }
    assert_eq!((world.ring.len(), rounds), (1, 4));
}

#[test]
fn r30_the_bound_of_bytes_holds_for_every_size() {
    for size in [1, 64, 1000, 3000, 60_000] {
        let mut world = World::new(Bounds { bytes: 200_000, ..bounds() });
        let mut most = 0;
        for number in 0..2000 {
            let text = "x".repeat(size);
            world.push("order", &json!({"shop": number, "user": number % 10, "text": text}));
            most = most.max(world.ring.bytes());
        }
        assert!((200_000 - 61_000..=200_000).contains(&most), "{size}: {most}");
        assert!(most >= 200_000 - size - 500, "{size}: {most}");
    }
}

#[test]
fn r30_the_bound_of_bytes_holds_for_revocations_too() {
    let mut world = World::new(Bounds { bytes: 20_000, ..bounds() });
    for number in 0..200 {
        world.push("plain", &json!(number));
    }
    for key in 0..20 {
        world.ring.revoke(key, world.now);
        assert!(world.ring.bytes() <= 20_000, "{key}");
    }
    assert!(world.ring.bytes() > 19_000);
}

/// An event that is too large takes nothing else with it.
#[test]
fn an_event_that_is_too_large_is_a_gap_for_its_type_only() {
    let mut world = World::new(Bounds { bytes: 2_000, ..bounds() });
    world.push("plain", &json!(1));
    world.push("greeting", &json!("x".repeat(1_990)));
    assert_eq!(world.since(EventPosition(0), &all("plain")), Ok(vec![1]));
    assert_eq!(world.since(EventPosition(0), &all("greeting")), Err(Gap::Expired));
    assert_eq!(world.since(EventPosition(2), &all("greeting")), Ok(vec![]));
}

#[test]
fn types_whose_events_are_too_large_take_limited_memory() {
    let mut world = World::new(Bounds { bytes: 2_000, ..bounds() });
    let text = json!("x".repeat(1_990));
    let name = |number: usize| format!("type {number}");
    for number in 0..MAX_TYPES + 100 {
        world.push(&name(number), &text);
    }
    assert!(world.ring.missing().len() <= MAX_TYPES);
    let last = world.ring.last();
    for number in [0, MAX_TYPES - 1, MAX_TYPES, MAX_TYPES + 99] {
        let before = EventPosition(number as u64);
        assert_eq!(world.since(before, &all(&name(number))), Err(Gap::Expired), "{number}");
        assert_eq!(world.since(last, &all(&name(number))), Ok(vec![]), "{number}");
    }
}

#[test]
fn an_event_that_exceeds_the_bound_alone_is_a_gap() {
    let mut world = World::new(Bounds { bytes: 10_000, ..bounds() });
    world.push("plain", &json!(1));
    let cursor = EventPosition(1);
    let long = world.push("plain", &json!("x".repeat(20_000)));
    assert_eq!(world.ring.len(), 1, "what was kept before stays");
    assert_eq!(world.since(cursor, &all("plain")), Err(Gap::Expired));
    let next = world.push("plain", &json!(2));
    assert_eq!(world.since(long, &all("plain")), Ok(vec![next.0]));
}

#[test]
fn a_ring_without_room_counts() {
    for bounds in [Bounds { events: 0, ..bounds() }, Bounds { bytes: 0, ..bounds() }] {
        let mut world = World::new(bounds);
        for position in 1..5 {
            assert_eq!(world.push("plain", &json!(1)), EventPosition(position));
            world.ring.revoke(1, world.now);
            world.ring.last = EventPosition(position);
        }
        assert_eq!((world.ring.len(), world.ring.payload), (0, 0));
        assert_eq!(world.since(EventPosition(3), &all("plain")), Err(Gap::Expired));
    }
}

#[test]
fn an_empty_ring_has_no_chains() {
    let mut world = World::new(bounds());
    for number in 0..3000 {
        world.push("order", &json!({"shop": number, "user": number % 10}));
        world.push(&format!("type {}", number % 100), &json!(number));
    }
    assert_eq!(world.ring.types.len(), 101);
    world.wait(AGE * 2);
    assert_eq!((world.ring.len(), world.ring.bytes()), (0, 0));
    assert_eq!((world.ring.chains.len(), world.ring.types.len(), world.ring.links.len()), (0, 0, 0));
    let position = world.push("order", &json!({"shop": 1}));
    let one = json!([{"eventType": "order", "oneOf": [{"shop": 1}]}]);
    assert_eq!(world.since(EventPosition(position.0 - 1), &one), Ok(vec![position.0]));
}

#[test]
fn an_entry_takes_48_bytes_and_8_for_each_key() {
    assert_eq!((size_of::<Entry>(), size_of::<Link>(), Chains::BYTES), (48, 8, 32));
}

/// The numbers of entries and links begin anew; nothing depends on that.
#[test]
fn numbers_that_begin_anew_change_nothing() {
    let mut world = World::new(Bounds { events: 50, ..bounds() });
    world.ring.entries.begin_at(u32::MAX - 100);
    world.ring.links.begin_at(u32::MAX - 333);
    for number in 0..1000u64 {
        let position = world.push("order", &json!({"shop": number % 7, "user": number % 3}));
        let from = position.0.saturating_sub(50);
        let list = json!([{"eventType": "order", "oneOf": [{"shop": 1, "user": 1}, {"shop": 2}]}]);
        let selected = |number: &u64| number % 7 == 1 && number % 3 == 1 || number % 7 == 2;
        let expected = (from..=number).filter(selected).map(|number| number + 1).collect();
        assert_eq!(world.since(EventPosition(from), &list), Ok(expected));
    }
}
