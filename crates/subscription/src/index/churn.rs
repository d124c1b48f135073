//! Compares the index with a naive scan while subscribers join, change their subscriptions and
//! leave.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::subscription::Subscription;

const FIELDS: [&str; 3] = ["name", "lvl", "place"];

fn extractors() -> Extractors {
    let field = |(at, name): (usize, &&str)| {
        let pointer = format!("/data/{name}");
        ((*name).to_owned(), json!({"stable_field_index": at, "event": {"json_pointer": pointer}}))
    };
    let fields: serde_json::Map<_, _> = FIELDS.iter().enumerate().map(field).collect();
    Extractors::from_json(&json!({"a": fields, "b": fields}).to_string()).unwrap()
}

/// What happens to the subscriber with this number.
#[derive(Clone, Debug)]
enum ChurnStep {
    Set(usize, Value),
    Leave(usize),
    Event(&'static str, Value),
}

const SUBSCRIBERS: usize = 6;

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0i64..3).prop_map(Value::from),
        (0i64..3).prop_map(|n| json!(n as f64)),
        Just(json!("1")),
        Just(json!(true)),
        Just(json!([1])),
        Just(json!([1.0])),
    ]
}

fn fields(size: std::ops::Range<usize>) -> impl Strategy<Value = Value> {
    prop::collection::btree_map(prop::sample::select(&FIELDS[..]), value(), size).prop_map(|map| json!(map))
}

fn list() -> impl Strategy<Value = Value> {
    let of_known = (prop_oneof![Just("a"), Just("b")], prop::collection::vec(fields(0..3), 0..4));
    let of_known =
        of_known.prop_map(|(event_type, one_of)| json!({"eventType": event_type, "oneOf": one_of}));
    let one = prop_oneof![4 => of_known, 1 => Just(json!({"eventType": "c"}))];
    prop::collection::vec(one, 0..4).prop_map(Value::from)
}

fn step() -> impl Strategy<Value = ChurnStep> {
    let data = prop_oneof![6 => fields(0..4), 1 => Just(json!("text")), 1 => Just(json!({"name": null}))];
    prop_oneof![
        3 => (0..SUBSCRIBERS, list()).prop_map(|(who, list)| ChurnStep::Set(who, list)),
        1 => (0..SUBSCRIBERS).prop_map(ChurnStep::Leave),
        3 => (prop_oneof![Just("a"), Just("b"), Just("c")], data).prop_map(|(name, data)| ChurnStep::Event(name, data)),
    ]
}

/// Equality as RIG defines it, for the values above.
fn equal(wanted: &Value, given: Option<&Value>) -> bool {
    match (wanted, given) {
        (_, None) => false,
        (Value::Array(wanted), Some(Value::Array(given))) => equal(&wanted[0], given.first()),
        (Value::Number(wanted), Some(Value::Number(given))) => wanted.as_f64() == given.as_f64(),
        (wanted, Some(given)) => wanted == given,
    }
}

fn wants(list: &Value, event_type: &str, data: &Value) -> bool {
    list.as_array().unwrap().iter().any(|subscription| {
        let one_of =
            subscription.get("oneOf").and_then(Value::as_array).filter(|clauses| !clauses.is_empty());
        let matches = |clause: &Value| {
            clause.as_object().unwrap().iter().all(|(field, wanted)| equal(wanted, data.get(field)))
        };
        subscription["eventType"] == event_type && one_of.is_none_or(|clauses| clauses.iter().any(matches))
    })
}

proptest! {
    #[test]
    fn agrees_with_a_scan(steps in prop::collection::vec(step(), 1..40)) {
        let index = Index::new(Arc::new(extractors()));
        let mut interests: Vec<Option<Interest<usize>>> = (0..SUBSCRIBERS).map(|_| None).collect();
        let mut lists = vec![json!([]); SUBSCRIBERS];
        for step in steps {
            match step {
                ChurnStep::Set(who, list) => {
                    let parsed = Subscription::parse_list(&list, index.extractors()).unwrap();
                    match &mut interests[who] {
                        Some(interest) => interest.replace(&parsed),
                        none => *none = Some(index.subscribe(who, &parsed)),
                    }
                    lists[who] = list;
                }
                ChurnStep::Leave(who) => {
                    interests[who] = None;
                    lists[who] = json!([]);
                }
                ChurnStep::Event(event_type, data) => {
                    let json = json!({"specversion": "0.2", "type": event_type, "id": "1", "data": data});
                    let mut found = index.matches(&Event::from_json(json.to_string().into()).unwrap());
                    found.sort_unstable();
                    let scan = (0..SUBSCRIBERS).filter(|who| wants(&lists[*who], event_type, &data));
                    prop_assert_eq!(found, scan.collect::<Vec<_>>());
                }
            }
            let given: usize = lists.iter().map(|list| list.as_array().unwrap().len()).sum();
            prop_assert_eq!(index.subscriptions(), given);
        }
        interests.clear();
        prop_assert!(index.types.read().is_empty());
    }
}
