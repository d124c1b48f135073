use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn extractors() -> Arc<Extractors> {
    Arc::new(
        Extractors::from_json(
            r#"{"greeting":{"name":{"stable_field_index":1,"event":{"json_pointer":"/data/name"}},
                "lvl":{"stable_field_index":0,"event":{"json_pointer":"/data/lvl"}}}}"#,
        )
        .unwrap(),
    )
}

fn subscriptions(list: Value) -> Vec<Subscription> {
    Subscription::parse_list(&list, &extractors()).unwrap()
}

fn event(event_type: &str, data: Value) -> Event {
    let json = json!({"specversion": "0.2", "type": event_type, "id": "1", "data": data});
    Event::from_json(json.to_string().into()).unwrap()
}

fn greeting(data: Value) -> Event {
    event("greeting", data)
}

/// What RIG was observed to do with these events (ids 1 to 8), and what it should have done with null and unknown fields.
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
    let matched = |one_of: Value| -> Vec<usize> {
        let index = Index::new(extractors());
        let _interest =
            index.subscribe((), &subscriptions(json!([{"eventType": "greeting", "oneOf": one_of}])));
        let hit = |data: &Value| !index.matches(&greeting(data.clone())).is_empty();
        (1..).zip(&events).filter(|(_, data)| hit(data)).map(|(id, _)| id).collect()
    };
    assert_eq!(matched(json!([{"name": "bob", "lvl": 1}])), [1]);
    assert_eq!(matched(json!([{"lvl": "1"}])), [2]);
    assert_eq!(matched(json!([{"lvl": 1.0}])), [1, 7]);
    assert_eq!(matched(json!([{}])), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(matched(json!([])), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(matched(json!([{"name": "bob"}, {"name": "al"}])), [1, 2, 3]);
    assert_eq!(matched(json!([{"name": {"a": 1.0}}])), [6]);
}

#[test]
fn types_are_compared_as_they_are() {
    let index = Index::new(extractors());
    let _interest =
        index.subscribe((), &subscriptions(json!([{"eventType": "*"}, {"eventType": "Greeting"}])));
    assert!(index.matches(&greeting(json!({}))).is_empty());
}

#[test]
fn d20_data_of_another_shape_leaves_the_filter_alive() {
    let index = Index::new(extractors());
    let _interest =
        index.subscribe((), &subscriptions(json!([{"eventType": "greeting", "oneOf": [{"name": "x"}]}])));
    for other in [json!("a string"), json!(["x"]), json!(5), json!(null)] {
        assert!(index.matches(&greeting(other)).is_empty());
        assert_eq!(index.matches(&greeting(json!({"name": "x"}))).len(), 1);
    }
}

#[test]
fn d21_replacing_leaves_no_gap() {
    let index = Index::new(extractors());
    let list = subscriptions(json!([{"eventType": "greeting"}]));
    let mut interest = index.subscribe((), &list);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..10_000 {
                interest.replace(&list);
            }
            done.store(true, Ordering::SeqCst);
        });
        let event = greeting(json!({}));
        while !done.load(Ordering::SeqCst) {
            assert_eq!(index.matches(&event).len(), 1);
        }
    });
    assert_eq!(index.subscriptions(), 1);
}

#[test]
fn a_subscriber_is_found_once() {
    let index = Index::new(extractors());
    let list =
        json!([{"eventType": "greeting"}, {"eventType": "greeting", "oneOf": [{"name": "x"}, {"lvl": 1}]}]);
    let _interest = index.subscribe("me", &subscriptions(list));
    assert_eq!(index.matches(&greeting(json!({"name": "x", "lvl": 1}))), ["me"]);
}

#[test]
fn nothing_is_left_of_those_who_left() {
    let index = Index::new(extractors());
    let interests: Vec<_> = (0..10_000)
        .map(|n| {
            let list =
                json!([{"eventType": "greeting", "oneOf": [{"name": n}]}, {"eventType": format!("t{n}")}]);
            index.subscribe(n, &subscriptions(list))
        })
        .collect();
    assert_eq!(index.subscriptions(), 20_000);
    drop(interests);
    assert_eq!(index.subscriptions(), 0);
    assert!(index.types.read().is_empty());
}

fn clause() -> impl Strategy<Value = Value> {
    let value =
        prop_oneof![(0i64..3).prop_map(Value::from), Just(json!("1")), Just(json!(1.0)), Just(json!(true))];
    prop::collection::btree_map(prop_oneof![Just("name"), Just("lvl")], value, 0..3)
        .prop_map(|map| json!(map))
}

proptest! {
    /// The index finds whom a scan over all subscriptions finds.
    #[test]
    fn agrees_with_a_scan(
        lists in prop::collection::vec(prop::collection::vec(clause(), 0..3), 1..12),
        gone in prop::collection::vec(any::<bool>(), 12),
        data in clause(),
    ) {
        let index = Index::new(extractors());
        let subscribe = |(n, one_of): (usize, &Vec<Value>)| {
            index.subscribe(n, &subscriptions(json!([{"eventType": "greeting", "oneOf": one_of}])))
        };
        let mut interests: Vec<_> = lists.iter().enumerate().map(subscribe).map(Some).collect();
        for (interest, _) in interests.iter_mut().zip(&gone).filter(|(_, gone)| **gone) {
            *interest = None;
        }
        let mut found = index.matches(&greeting(data.clone()));
        found.sort_unstable();
        let equal = |wanted: &Value, given: Option<&Value>| match (wanted.as_f64(), given.and_then(Value::as_f64)) {
            (Some(wanted), Some(given)) => wanted == given,
            (None, None) => Some(wanted) == given,
            _ => false,
        };
        let scanned: Vec<usize> = lists.iter().enumerate().filter(|(n, one_of)| !gone[*n] && (one_of.is_empty()
            || one_of.iter().any(|clause| clause.as_object().unwrap().iter().all(|(field, wanted)| equal(wanted, data.get(field))))))
            .map(|(n, _)| n).collect();
        prop_assert_eq!(found, scanned);
    }
}
