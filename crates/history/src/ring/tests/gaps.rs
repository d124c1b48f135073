//! When a resume must not be exact: one reason, and no event.

use super::*;

#[test]
fn what_was_missed_comes_in_order_once() {
    let mut world = World::new(bounds());
    for number in 0..10 {
        world.push("order", &json!({"shop": number % 2, "user": "al"}));
        world.push("plain", &json!(number));
    }
    let list = json!([
        {"eventType": "order", "oneOf": [{"shop": 1}, {"user": "al", "shop": 1}, {"shop": 1.0, "user": "al"}]},
        {"eventType": "plain"},
        {"eventType": "plain"},
        {"eventType": "greeting"}
    ]);
    assert_eq!(world.since(EventPosition(10), &list), Ok(vec![11, 12, 14, 15, 16, 18, 19, 20]));
    assert_eq!(world.since(EventPosition(20), &list), Ok(vec![]));
    assert_eq!(world.since(EventPosition(0), &json!([])), Ok(vec![]));
    let impossible = json!([{"eventType": "order", "oneOf": [{"shop": 7}, {"shop": 1, "user": "bob"}]}]);
    assert_eq!(world.since(EventPosition(0), &impossible), Ok(vec![]));
}

#[test]
fn what_is_returned_is_what_was_pushed() {
    let mut world = World::new(bounds());
    let short = event("plain", &json!("short"));
    let long = event("order", &json!({"shop": 1, "text": "x".repeat(100_000)}));
    world.push_event(&short);
    world.push_event(&long);
    let selection = world.select(&json!([{"eventType": "plain"}, {"eventType": "order"}]));
    let missed =
        world.ring.since(EventPosition(0), selection, &[], ResumeLimits::default(), world.now).unwrap();
    let expected = [(1, &short), (2, &long)].map(|(position, event)| Kept {
        position: EventPosition(position),
        event_type: event.event_type().into(),
        json: event.json().clone(),
    });
    assert_eq!(missed, expected);
}

#[test]
fn r05_an_idle_reader_with_a_recent_cursor_is_exact() {
    let mut world = World::new(bounds());
    world.push("plain", &json!(1));
    for number in 0..100 {
        world.wait(Duration::from_millis(100));
        world.push("order", &json!({"shop": number}));
    }
    let cursor = world.ring.last();
    world.wait(Duration::from_millis(1900));
    world.push("plain", &json!(2));
    assert_eq!(world.since(cursor, &all("plain")), Ok(vec![102]));
    assert_eq!(world.since(EventPosition(1), &all("plain")), Err(Gap::Expired));
}

#[test]
fn without_any_event_since_an_old_cursor_is_exact() {
    let mut world = World::new(bounds());
    world.push("plain", &json!(1));
    world.wait(AGE * 10);
    assert!(world.ring.is_empty());
    assert_eq!(world.since(EventPosition(1), &all("plain")), Ok(vec![]));
    assert_eq!(world.since(EventPosition(0), &all("plain")), Err(Gap::Expired));
}

#[test]
fn r18_r21_no_reader_crosses_its_revocation() {
    let mut world = World::new(bounds());
    let before = world.push("plain", &json!(1));
    let revoked = world.ring.revoke(7, world.now);
    let after = world.push("plain", &json!(2));
    let now = world.now;
    let mut resume = |cursor, keys: &[u128], now| {
        let selection = world.select(&all("plain"));
        let missed = world.ring.since(cursor, selection, keys, ResumeLimits::default(), now);
        missed.map(|missed| missed.iter().map(|kept| kept.position).collect::<Vec<_>>())
    };
    assert_eq!(resume(before, &[7], now), Err(Gap::Revoked));
    assert_eq!(resume(before, &[1, 7, 9], now), Err(Gap::Revoked));
    assert_eq!(resume(before, &[8], now), Ok(vec![after]));
    assert_eq!(resume(before, &[], now), Ok(vec![after]));
    assert_eq!(resume(revoked, &[7], now), Ok(vec![after]));
    // What is no longer remembered is no longer bridged by anybody.
    assert_eq!(resume(before, &[7], now + AGE + Duration::from_millis(200)), Err(Gap::Expired));
}

#[test]
fn r18_the_second_revocation_of_a_key_counts_when_the_first_has_expired() {
    let mut world = World::new(bounds());
    world.ring.revoke(7, world.now);
    world.wait(AGE / 2);
    let before = world.push("plain", &json!(1));
    world.ring.revoke(7, world.now);
    world.wait(AGE - Duration::from_millis(200));
    assert!(world.ring.is_revoked_since(before, &[7]));
}

#[test]
fn an_event_must_have_all_values_of_a_constraint() {
    let mut world = World::new(bounds());
    let wanted = json!({"shop": 1, "user": "al", "name": "x"});
    for other in [
        json!({"shop": 1, "user": "al"}),
        json!({"shop": 1, "name": "x"}),
        json!({"user": "al", "name": "x"}),
    ] {
        for _ in 0..3 {
            world.push("order", &other);
        }
        world.push("order", &wanted);
    }
    let list = json!([{"eventType": "order", "oneOf": [wanted]}]);
    assert_eq!(world.since(EventPosition(0), &list), Ok(vec![4, 8, 12]));
}

#[test]
fn more_revocations_than_the_table_holds_expire_older_cursors() {
    let mut world = World::new(Bounds { bytes: 10_000, ..bounds() });
    let before = world.push("plain", &json!(1));
    for key in 0..1000 {
        world.ring.revoke(key, world.now);
        assert!(world.ring.bytes() <= 10_000);
    }
    assert_eq!(world.since(before, &all("plain")), Err(Gap::Expired));
    let recent = EventPosition(world.ring.last().0 - 5);
    assert!(world.ring.is_revoked_since(recent, &[999]));
    assert!(!world.ring.is_revoked_since(recent, &[1]));
    assert_eq!(world.since(recent, &all("plain")), Ok(vec![]));
}

#[test]
fn r09_too_much_is_one_gap() {
    let mut world = World::new(Bounds { bytes: 64 << 20, events: 1 << 20, ..bounds() });
    for _ in 0..10_001 {
        world.push("plain", &json!(1));
    }
    assert_eq!(world.since(EventPosition(0), &all("plain")), Err(Gap::TooMany));
    assert_eq!(world.since(EventPosition(1), &all("plain")).map(|missed| missed.len()), Ok(10_000));
    let text = "x".repeat(1 << 20);
    for _ in 0..8 {
        world.push("order", &json!({"shop": 1, "text": text}));
    }
    assert_eq!(world.since(EventPosition(10_001), &all("order")), Err(Gap::TooMany));
    assert_eq!(world.since(EventPosition(10_002), &all("order")).map(|missed| missed.len()), Ok(7));
    // The sum over all chains counts.
    let shops: Vec<Value> = (0..100).map(|shop| json!({"shop": shop})).collect();
    let mut world = World::new(Bounds { bytes: 64 << 20, events: 1 << 20, ..bounds() });
    for shop in 0..10_100 {
        world.push("order", &json!({"shop": shop % 100}));
    }
    let list = json!([{"eventType": "order", "oneOf": shops}]);
    assert_eq!(world.since(EventPosition(0), &list), Err(Gap::TooMany));
    assert_eq!(world.since(EventPosition(100), &list).map(|missed| missed.len()), Ok(10_000));
}

/// Constraints that select nothing, on values that many events have, must not stop the node.
#[test]
fn a_search_is_bounded_whatever_the_constraints_are() {
    let mut world = World::new(Bounds { bytes: 64 << 20, events: 1 << 20, ..bounds() });
    for number in 0..2_000 {
        world.push("order", &json!({"shop": number % 2, "user": (number / 2) % 500}));
    }
    let clauses: Vec<Value> = (0..500).map(|user| json!({"shop": 3, "user": user})).collect();
    let list = json!([{"eventType": "order", "oneOf": clauses}]);
    assert_eq!(world.since(EventPosition(0), &list), Ok(vec![]));
    let clauses: Vec<Value> = (0..500).map(|user| json!({"shop": user % 2, "user": user})).collect();
    let list = json!([{"eventType": "order", "oneOf": clauses}]);
    assert_eq!(world.since(EventPosition(0), &list).map(|missed| missed.len()), Ok(1_000));
    // Each user has more events than the shop, so the chain of the shop is the shortest for all.
    for user in 0..200 {
        for _ in 0..260 {
            world.push("order", &json!({"shop": "other", "user": user}));
        }
    }
    let cursor = world.ring.last();
    for number in 0..250 {
        world.push("order", &json!({"shop": "ours", "user": 1_000 + number}));
    }
    let clauses: Vec<Value> = (0..200).map(|user| json!({"shop": "ours", "user": user})).collect();
    let list = json!([{"eventType": "order", "oneOf": clauses}]);
    assert_eq!(world.since(cursor, &list), Err(Gap::TooMany));
    assert_eq!(world.since(EventPosition(cursor.0 + 100), &list), Ok(vec![]));
}

#[test]
fn a_cursor_from_the_future_is_from_another_copy_of_this_series() {
    let mut world = World::new(bounds());
    assert_eq!(world.since(EventPosition(1), &all("plain")), Err(Gap::Restarted));
    assert_eq!(world.since(EventPosition(0), &all("plain")), Ok(vec![]));
}

#[test]
fn a_removed_field_selects_nothing_and_a_new_one_what_comes() {
    let mut world = World::new(bounds());
    world.push("greeting", &json!({"name": "al", "title": "dr"}));
    let named = Subscription::parse_list(
        &json!([{"eventType": "greeting", "oneOf": [{"name": "al"}]}]),
        &world.extractors,
    );
    let named = named.unwrap();
    let document =
        json!({"greeting": {"title": {"stable_field_index": 0, "event": {"json_pointer": "/data/title"}}}});
    world.extractors.replace(&document.to_string()).unwrap();
    let selection = world.ring.keys().select(&named, &world.extractors);
    let missed = world.ring.since(EventPosition(0), selection, &[], ResumeLimits::default(), world.now);
    assert_eq!(missed, Ok(vec![]));
    let titled = json!([{"eventType": "greeting", "oneOf": [{"title": "dr"}]}]);
    assert_eq!(world.since(EventPosition(0), &titled), Ok(vec![]));
    world.push("greeting", &json!({"name": "al", "title": "dr"}));
    assert_eq!(world.since(EventPosition(0), &titled), Ok(vec![2]));
}

#[test]
fn the_reasons_have_the_names_of_the_wire() {
    let names = Gap::ALL.map(Gap::as_str);
    let expected = ["expired", "unknown", "restarted", "elsewhere", "revoked", "too_many", "lost"];
    assert_eq!(names, expected);
}
