use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use super::*;
use crate::subscription::Subscription;

fn extractors() -> Arc<Extractors> {
    Arc::new(
        Extractors::from_json(
            r#"{"greeting":{"name":{"stable_field_index":1,"event":{"json_pointer":"/data/name"}},
                "lvl":{"stable_field_index":0,"event":{"json_pointer":"/data/lvl"}}}}"#,
        )
        .unwrap(),
    )
}

fn subscriptions(list: &Value) -> Vec<Subscription> {
    Subscription::parse_list(list, &extractors()).unwrap()
}

fn greetings(one_of: &Value) -> Vec<Subscription> {
    subscriptions(&json!([{"eventType": "greeting", "oneOf": one_of}]))
}

fn event(event_type: &str, data: &Value) -> Event {
    let json = json!({"specversion": "0.2", "type": event_type, "id": "1", "data": data});
    Event::from_json(json.to_string().into()).unwrap()
}

fn greeting(data: &Value) -> Event {
    event("greeting", data)
}

/// The extractors and events that RIG was recorded with, and those of its answers that are right.
/// RIG treats unknown fields and null as "any" (errors here, see `subscription::tests`), finds no
/// objects, and loses event 8, which kills its filter (d20).
#[test]
fn rigs_table_of_matches() {
    let events = [
        json!({"name": "bob", "lvl": 1}),
        json!({"name": "bob", "lvl": "1"}),
        json!({"name": "al"}),
        json!({"other": 1}),
        json!({"name": null, "lvl": null}),
        json!({"name": {"a": 1}}),
        json!({"name": true, "lvl": 1.0}),
        json!("string data"),
    ];
    let matched = |list: Value| -> Vec<usize> {
        let index = Index::new(extractors());
        let _interest = index.subscribe((), &subscriptions(&list));
        let hits = |data: &Value| index.matches(&greeting(data)).len();
        (1..).zip(&events).flat_map(|(id, data)| vec![id; hits(data)]).collect()
    };
    let one_of = |one_of: Value| json!([{"eventType": "greeting", "oneOf": one_of}]);
    const NONE: [usize; 0] = [];
    let all = [1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(matched(one_of(json!([{"name": "bob", "lvl": 1}]))), [1]);
    assert_eq!(matched(one_of(json!([{"lvl": "1"}]))), [2]);
    assert_eq!(matched(one_of(json!([{"lvl": 1.0}]))), [1, 7]);
    assert_eq!(matched(one_of(json!([{"lvl": 1}]))), [1, 7]);
    assert_eq!(matched(one_of(json!([{"name": true}]))), [7]);
    assert_eq!(matched(one_of(json!([{}]))), all);
    assert_eq!(matched(one_of(json!([]))), all);
    assert_eq!(matched(one_of(json!([{"name": "bob"}, {}]))), all);
    assert_eq!(matched(one_of(json!([{"name": "bob"}, {"name": "al"}]))), [1, 2, 3]);
    assert_eq!(matched(one_of(json!([{"name": {"a": 1.0}}]))), [6]);
    let overlapping =
        json!([{"eventType": "greeting"}, {"eventType": "greeting", "oneOf": [{"name": "bob"}]}]);
    assert_eq!(matched(overlapping), all);
    assert_eq!(matched(json!([{"eventType": "*"}])), NONE);
    assert_eq!(matched(json!([{"eventType": "Greeting"}])), NONE);
}

#[test]
fn d19_a_long_event_type_does_no_harm() {
    let index = Index::new(extractors());
    let long = "x".repeat(crate::MAX_EVENT_TYPE);
    let _others = index.subscribe("other", &greetings(&json!([{"name": "x"}])));
    let _long = index.subscribe("long", &subscriptions(&json!([{"eventType": long}])));
    assert_eq!(index.matches(&event(&long, &json!({}))), ["long"]);
    assert_eq!(index.matches(&greeting(&json!({"name": "x"}))), ["other"]);
}

#[test]
fn d20_data_of_another_shape_leaves_the_filter_alive() {
    let index = Index::new(extractors());
    let _named = index.subscribe("named", &greetings(&json!([{"name": "x"}])));
    let _all = index.subscribe("all", &greetings(&json!([])));
    for other in
        [json!("a string"), json!("name"), json!(["x"]), json!(5), json!(true), json!(null), json!([])]
    {
        assert_eq!(index.matches(&greeting(&other)), ["all"], "{other}");
        assert_eq!(index.matches(&greeting(&json!({"name": "x"}))), ["all", "named"]);
    }
}

/// Refreshing, widening and narrowing: an event that both the old and the new subscriptions match
/// is found exactly once.
#[test]
fn d21_replacing_leaves_no_gap() {
    let index = Index::new(extractors());
    let lists = [
        greetings(&json!([])),
        greetings(&json!([{"name": "x"}])),
        greetings(&json!([{"lvl": 1}, {"name": "x"}, {"name": "y"}])),
        greetings(&json!([{"lvl": 1, "name": "x"}])),
    ];
    let mut interest = index.subscribe((), &lists[0]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for list in lists.iter().cycle().take(40_000) {
                interest.replace(list);
            }
            done.store(true, Ordering::SeqCst);
        });
        let event = greeting(&json!({"name": "x", "lvl": 1}));
        while !done.load(Ordering::SeqCst) {
            assert_eq!(index.matches(&event).len(), 1);
        }
    });
    assert_eq!(index.subscriptions(), 1);
}

/// Subscribers that join and leave create and remove types; a subscriber is found whatever the
/// others do.
#[test]
fn who_subscribed_is_found_while_others_leave() {
    let index = Index::new(extractors());
    let all = greetings(&json!([]));
    let some = greetings(&json!([{"name": "x"}]));
    std::thread::scope(|scope| {
        for me in 0..3 {
            let (index, list) = (&index, if me == 0 { &some } else { &all });
            scope.spawn(move || {
                let event = greeting(&json!({"name": "x"}));
                for _ in 0..5_000 {
                    let interest = index.subscribe(me, list);
                    assert_eq!(index.matches(&event).iter().filter(|found| **found == me).count(), 1);
                    drop(interest);
                    assert!(!index.matches(&event).contains(&me));
                }
            });
        }
    });
    assert_eq!(index.types.read().len(), 0);
}

#[test]
fn a_subscriber_is_found_once() {
    let index = Index::new(extractors());
    let list = json!([{"eventType": "greeting", "oneOf": [{"name": "x"}, {"lvl": 1}]}, {"eventType": "greeting", "oneOf": [{"name": "x"}]}]);
    let mut interest = index.subscribe("me", &subscriptions(&list));
    let event = greeting(&json!({"name": "x", "lvl": 1}));
    assert_eq!(index.matches(&event), ["me"]);
    interest.replace(&[greetings(&json!([])), subscriptions(&list)].concat());
    assert_eq!(index.matches(&event), ["me"]);
    assert_eq!(index.subscriptions(), 3);
}

/// Equal subscribers may be different ones: two connections may have the same `S`.
#[test]
fn equal_subscribers_are_not_merged() {
    let index = Index::new(extractors());
    let list = greetings(&json!([{"name": "x"}, {"lvl": 1}]));
    let interests = [index.subscribe("same", &list), index.subscribe("same", &list)];
    assert_eq!(index.matches(&greeting(&json!({"name": "x", "lvl": 1}))).len(), 2);
    drop(interests);
    assert_eq!(index.subscriptions(), 0);
}

/// Fail closed: a conjunction without one of its constraints would match too much.
#[test]
fn constraints_that_the_index_does_not_know_match_nothing() {
    let list = [greetings(&json!([{"name": "x", "lvl": 1}])), greetings(&json!([{"lvl": 1}]))].concat();
    let names = r#"{"greeting":{"name":{"stable_field_index":0,"event":{"json_pointer":"/data/name"}}}}"#;
    for extractors in [Extractors::default(), Extractors::from_json(names).unwrap()] {
        let index = Index::new(Arc::new(extractors));
        let _interest = index.subscribe((), &list);
        assert_eq!(index.matches(&greeting(&json!({"name": "x", "lvl": 1}))), []);
        assert!(index.types.read().is_empty());
    }
}

#[test]
fn a_conjunction_is_filed_under_its_rarest_value() {
    for [rare, popular] in [["lvl", "name"], ["name", "lvl"]] {
        let index = Index::new(extractors());
        let subscribe = |n: i32| index.subscribe(n, &greetings(&json!([{popular: "all", rare: n}])));
        let _interests: Vec<_> = (0..1000).map(subscribe).collect();
        // The first subscriber is filed before any value is popular.
        assert!(index.types.read()["greeting"].largest_bucket() <= 2);
        assert_eq!(index.matches(&greeting(&json!({popular: "all", rare: 7}))), [7]);
        assert_eq!(index.matches(&greeting(&json!({popular: "all"}))), Vec::<i32>::new());
    }
}

#[test]
fn json_is_parsed_only_if_a_subscriber_wants_a_value() {
    let index = Index::new(extractors());
    let _all = index.subscribe("all", &greetings(&json!([])));
    let unread = || index.types.read()["greeting"].unconstrained_only();
    assert_eq!(unread(), Some(vec!["all"]));
    let named = index.subscribe("named", &greetings(&json!([{"name": "x"}])));
    assert_eq!(unread(), None);
    drop(named);
    assert_eq!(unread(), Some(vec!["all"]));
}

/// If removal scanned a list, this would take minutes.
#[test]
fn a_hundred_thousand_come_and_go_and_leave_nothing() {
    const CROWD: usize = 100_000;
    let index = Index::new(extractors());
    for list in [greetings(&json!([])), greetings(&json!([{"name": "x"}]))] {
        let mut crowd: Vec<_> = (0..CROWD).map(|n| index.subscribe(n, &list)).collect();
        assert_eq!(index.matches(&greeting(&json!({"name": "x"}))).len(), CROWD);
        crowd.reverse();
        drop(crowd.split_off(1));
        assert_eq!(index.matches(&greeting(&json!({"name": "x"}))), [CROWD - 1]);
        assert!(index.types.read()["greeting"].room() < 1000);
        drop(crowd);
        assert_eq!((index.subscriptions(), index.types.read().len()), (0, 0));
    }
}

#[test]
fn unwanted_values_and_types_are_dropped() {
    let index = Index::new(extractors());
    let list = |n: usize| json!([{"eventType": "greeting", "oneOf": [{"name": n}, {"lvl": n % 7}]}, {"eventType": format!("t{n}")}]);
    let mut interests: Vec<_> = (0..5_000).map(|n| index.subscribe(n, &subscriptions(&list(n)))).collect();
    assert_eq!((index.subscriptions(), index.types.read().len()), (10_000, 5_001));
    interests.iter_mut().step_by(2).for_each(|interest| interest.replace(&[]));
    assert_eq!((index.subscriptions(), index.types.read().len()), (5_000, 2_501));
    drop(interests);
    assert_eq!((index.subscriptions(), index.types.read().len()), (0, 0));
    assert!(index.types.read().capacity() < 1000);
}

/// Dropping a subscriber may run any code, which may even subscribe.
#[test]
fn subscribers_are_not_dropped_under_a_lock() {
    #[derive(Clone)]
    struct Watcher(Arc<Index<Watcher>>);
    impl Drop for Watcher {
        fn drop(&mut self) {
            let types = self.0.types.try_write().expect("the lock of all types is free");
            assert!(types.values().all(|of_type| of_type.is_free()), "a type is locked");
        }
    }
    let index = Index::new(extractors());
    let lists = [greetings(&json!([])), greetings(&json!([{"name": "x"}, {"lvl": 1}])), Vec::new()];
    let mut interest = index.subscribe(Watcher(index.clone()), &lists[0]);
    let _other = index.subscribe(Watcher(index.clone()), &lists[1]);
    for list in lists.iter().cycle().skip(1).take(6) {
        interest.replace(list);
        assert!(!index.matches(&greeting(&json!({"name": "x", "lvl": 1}))).is_empty());
    }
    drop(interest);
    assert_eq!(index.subscriptions(), 1);
}

fn field(pointer: &str, index: u32) -> Value {
    json!({ "stable_field_index": index, "event": { "json_pointer": pointer } })
}

#[test]
fn f12_constraints_of_open_subscriptions_follow_their_field_when_extractors_are_replaced() {
    let extractors = extractors();
    let index = Index::new(extractors.clone());
    let wanting = |constraint: Value| {
        let list = json!([{ "eventType": "greeting", "oneOf": [constraint] }]);
        Subscription::parse_list(&list, &extractors)
    };
    let replace = |fields: Value| extractors.replace(&json!({ "greeting": fields }).to_string());
    let found = |data: Value| {
        let mut found = index.matches(&greeting(&data));
        found.sort_unstable();
        found
    };
    let both = index.subscribe("both", &wanting(json!({ "lvl": 1, "name": "bob" })).unwrap());
    let _level = index.subscribe("level", &wanting(json!({ "lvl": 1 })).unwrap());
    let bob = json!({ "name": "bob", "lvl": 1, "nick": "al", "team": 7 });
    assert_eq!(found(bob.clone()), ["both", "level"]);
    // Another order, another pointer, and an additional field before all others.
    let fields = json!({ "team": field("/data/team", 0), "name": field("/data/nick", 1), "lvl": field("/data/lvl", 2) });
    assert_eq!(replace(fields).unwrap(), [""; 0]);
    assert_eq!(found(bob.clone()), ["level"]);
    assert_eq!(found(json!({ "nick": "bob", "lvl": 1 })), ["both", "level"]);
    let _team = index.subscribe("team", &wanting(json!({ "team": 7, "lvl": 1 })).unwrap());
    assert_eq!(found(bob.clone()), ["level", "team"]);
    // A removed field matches nothing, and new subscriptions to it are refused.
    assert_eq!(
        replace(json!({ "name": field("/data/name", 0) })).unwrap(),
        ["greeting: lvl", "greeting: team"]
    );
    assert_eq!(found(bob.clone()), [""; 0]);
    assert!(wanting(json!({ "lvl": 1 })).is_err());
    let name = index.subscribe("name", &wanting(json!({ "name": "bob" })).unwrap());
    assert_eq!(found(bob.clone()), ["name"]);
    // Removes all fields. An invalid document changes nothing.
    assert_eq!(extractors.replace("{}").unwrap(), ["greeting: name"]);
    assert!(extractors.replace("{").is_err());
    assert_eq!(found(bob.clone()), [""; 0]);
    assert_eq!(
        replace(json!({ "lvl": field("/data/lvl", 0), "name": field("/data/name", 1) })).unwrap(),
        [""; 0]
    );
    assert_eq!(found(bob), ["both", "level", "name"]);
    drop((both, name));
    assert_eq!(found(json!({ "name": "bob", "lvl": 1 })), ["level"]);
}
