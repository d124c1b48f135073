//! A reader that catches up while events keep coming.

use super::*;

/// Pulls until the reader has reached the newest event.
fn pull(world: &mut World, catch_up: &mut CatchUp, events: usize) -> Result<Vec<u64>, Gap> {
    let mut pulled = Vec::new();
    loop {
        let next = world.ring.next(catch_up, events, usize::MAX, world.now)?;
        assert!(next.len() <= events);
        if next.is_empty() {
            assert_eq!(catch_up.position(), world.ring.last());
            return Ok(pulled);
        }
        pulled.extend(next.iter().map(|kept| kept.position.0));
    }
}

fn catch_up(world: &mut World, cursor: u64, list: &Value) -> CatchUp {
    let selection = world.select(list);
    world.ring.catch_up(EventPosition(cursor), selection, &[], ResumeLimits::default(), world.now).unwrap()
}

#[test]
fn pulls_of_any_size_return_the_same() {
    let mut world = World::new(Bounds { bytes: 64 << 20, ..bounds() });
    for number in 0..8_000 {
        world.push("order", &json!({"shop": number % 4}));
        world.push("plain", &json!(number));
    }
    let list = json!([{"eventType": "order", "oneOf": [{"shop": 1}, {"shop": 3}]}, {"eventType": "plain"}]);
    world.ring.bounds.events = 1 << 20;
    let expected = world.since(EventPosition(8_000), &list).unwrap();
    assert_eq!(expected.len(), 6_000);
    for events in [1, 7, 1000, 1024, 5000, 10_000] {
        let mut reader = catch_up(&mut world, 8_000, &list);
        assert_eq!(pull(&mut world, &mut reader, events), Ok(expected.clone()), "{events}");
    }
}

#[test]
fn a_pull_ends_at_its_bytes() {
    let mut world = World::new(bounds());
    let length = event("plain", &json!("xxx")).json().len();
    for _ in 0..10 {
        world.push("plain", &json!("xxx"));
    }
    let mut reader = catch_up(&mut world, 0, &all("plain"));
    let mut pull = |bytes| world.ring.next(&mut reader, 100, bytes, world.now).map(|next| next.len());
    assert_eq!(pull(3 * length), Ok(3));
    assert_eq!(pull(3 * length - 1), Ok(2));
    // At least one.
    assert_eq!(pull(0), Ok(1));
    assert_eq!(pull(usize::MAX), Ok(4));
    assert_eq!(pull(usize::MAX), Ok(0));
}

/// While a slow reader catches up, as many events come as it pulls, and then more than it may have
/// missed at the start.
#[test]
fn a_reader_behind_live_events_misses_none_of_them() {
    let mut world = World::new(Bounds { bytes: 64 << 20, events: 1 << 20, ..bounds() });
    for number in 0..3_000 {
        world.push("plain", &json!(number));
    }
    let mut reader = catch_up(&mut world, 0, &all("plain"));
    let mut pulled = Vec::new();
    for number in 0..200 {
        for _ in 0..90 {
            world.push("plain", &json!(number));
            world.push("order", &json!(number));
        }
        let next = world.ring.next(&mut reader, 10, usize::MAX, world.now).unwrap();
        pulled.extend(next.iter().map(|kept| kept.position.0));
    }
    pulled.extend(pull(&mut world, &mut reader, 500).unwrap());
    let plain = (1..=3_000).chain((3_001..=world.ring.last().0).step_by(2));
    assert_eq!(pulled, plain.collect::<Vec<_>>());
}

#[test]
fn a_reader_that_the_ring_has_passed_gets_a_gap() {
    let mut world = World::new(Bounds { events: 100, ..bounds() });
    for number in 0..100 {
        world.push("plain", &json!(number));
    }
    let mut reader = catch_up(&mut world, 0, &all("plain"));
    let first = world.ring.next(&mut reader, 10, usize::MAX, world.now).unwrap();
    assert_eq!(first.len(), 10);
    for number in 0..10 {
        world.push("order", &json!(number));
    }
    assert_eq!(world.ring.next(&mut reader, 1, usize::MAX, world.now).map(|next| next.len()), Ok(1));
    world.push("order", &json!(1));
    world.push("order", &json!(1));
    assert_eq!(world.ring.next(&mut reader, 1, usize::MAX, world.now), Err(Gap::Expired));
    assert_eq!(world.ring.next(&mut reader, 1, usize::MAX, world.now), Err(Gap::Expired));
}

/// A live reader would have got the event; one that is behind cannot.
#[test]
fn what_is_not_kept_while_a_reader_is_behind_is_a_gap() {
    let list = json!([{"eventType": "plain"}, {"eventType": "noise"}]);
    for lost in [false, true] {
        let mut world = World::new(bounds());
        world.push("plain", &json!(1));
        let mut reader = catch_up(&mut world, 0, &list);
        let expected = match lost {
            false => {
                world.push("noise", &json!(1));
                Gap::Expired
            }
            true => {
                world.ring.lose(None);
                Gap::Lost
            }
        };
        assert_eq!(world.ring.next(&mut reader, 1, usize::MAX, world.now), Err(expected));
    }
}

#[test]
fn a_reader_of_nothing_has_reached_the_newest_event_at_once() {
    let mut world = World::new(bounds());
    world.push("plain", &json!(1));
    let mut reader = catch_up(&mut world, 0, &json!([]));
    assert_eq!(pull(&mut world, &mut reader, 1), Ok(vec![]));
    assert_eq!(reader.position(), EventPosition(1));
}
