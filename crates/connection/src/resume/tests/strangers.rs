//! What other clients of a node of a cluster subscribe to.

use super::*;

/// A node keeps a record of each type that had no subscriber before, and clients choose the types.
#[test]
fn strange_types_of_another_client_are_no_gap() {
    let world = World::of_node(Config::default(), 10_000, true);
    let (_, cursor) = begin(&world.open(&["a"], None));
    let stays = world.open(&["b"], None);
    let (_, of_stays) = begin(&stays);
    let history = world.hub.config().history.clone().unwrap();
    for round in 0..500 {
        let types: Vec<String> = (0..200).map(|number| format!("strange {round} {number}")).collect();
        drop(world.open(&types.iter().map(String::as_str).collect::<Vec<_>>(), None));
        if round % 100 == 0 {
            world.publish("a", [round]);
            world.publish("b", [round]);
        }
        if round == 250 {
            history.evict();
        }
        assert!(!history.lock().has_many_absent(), "records of types that no one wants are removed");
    }
    let expected = ["0", "100", "200", "300", "400", r#"{"events":5}"#];
    assert_eq!(whats(&begin(&world.open(&["a"], Some(&cursor))).0), expected);
    drop(stays);
    assert_eq!(whats(&begin(&world.open(&["b"], Some(&of_stays))).0), expected);
    // Types that had no subscriber at the cursor: one has had some since, and one never.
    for event_type in ["b", "another"] {
        let back = world.open(&["a", event_type], Some(&cursor));
        assert_eq!(begin(&back).0[0].event_type, "rig.gap", "{event_type}");
    }
}

/// An event of a type without subscribers does not come to this node.
#[test]
fn another_node_is_not_answered_about_types_without_subscribers() {
    let world = World::of_node(Config::default(), 10_000, true);
    let (_, cursor) = begin(&world.open(&["a"], None));
    let missed = |types: &[&str]| {
        let missed = world.hub.missed(&cursor, &subscriptions(types), (10, 1000), || ());
        missed.map(|missed| missed.events.len())
    };
    assert_eq!(missed(&["a"]), Ok(0));
    assert_eq!(missed(&["a", "b"]), Err(Gap::Expired));
    let alone = World::new();
    let (_, cursor) = begin(&alone.open(&["a"], None));
    let missed = alone.hub.missed(&cursor, &subscriptions(&["b"]), (10, 1000), || ());
    assert!(missed.is_ok(), "without other nodes, all events come here");
}
