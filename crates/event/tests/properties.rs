//! Properties that hold for every input.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use bytes::Bytes;
use proptest::prelude::*;
use rig_event::{Event, EventError, ExtensionNames, MAX_ID, MAX_SOURCE, MAX_TYPE, Pointer, PointerTree};
use serde_json::{Map, Value, json};

/// Difficult names for pointers: empty, escaped, or similar to indices. There are few, so that
/// pointers and documents often share them.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "a", "b", "0", "1", "2", "00", "-", "", "~", "/", "a/b", "m~n", "ü", "\"", "\\", "\n"
        ])
        .prop_map(str::to_owned),
        "[a-c]{0,2}",
    ]
}

/// Generates JSON as text, because a document that is built as a map has no duplicate members.
fn document() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>()
            .prop_filter("JSON has no infinities", |value| value.is_finite())
            .prop_map(|v| json!(v).to_string()),
        any::<String>().prop_map(|text| json!(text).to_string()),
    ];
    scalar.prop_recursive(5, 64, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|list| format!("[{}]", list.join(" , "))),
            prop::collection::vec((name(), inner), 0..5).prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(name, value)| format!("{} :{value}", json!(name))).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn pointer() -> impl Strategy<Value = Pointer> {
    prop::collection::vec(name(), 0..5).prop_map(|tokens| {
        let text: String =
            tokens.iter().map(|token| format!("/{}", token.replace('~', "~0").replace('/', "~1"))).collect();
        Pointer::parse(&text).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn one_pass_finds_what_resolving_finds(json in document(), pointers in prop::collection::vec(pointer(), 0..8)) {
        let value: Value = serde_json::from_str(&json).unwrap();
        let resolved: Vec<_> = pointers.iter().map(|pointer| pointer.resolve(&value).cloned()).collect();
        let found = PointerTree::new(&pointers).extract(json.as_bytes()).into_iter();
        let found: Vec<Option<Value>> =
            found.map(|value| value.map(|value| serde_json::from_str(value).unwrap())).collect();
        prop_assert_eq!(found, resolved);
    }

    #[test]
    fn resolving_is_what_serde_json_resolves(json in document(), pointer in pointer()) {
        let value: Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(pointer.resolve(&value), value.pointer(pointer.as_str()));
    }

    #[test]
    fn a_structured_event_keeps_its_bytes(data in document(), id in "\\PC{1,20}", kind in "\\PC{1,20}", space in "[ \n\t]{0,3}") {
        let json = format!(
            r#"{space}{{"data":{space}{data},"id":{space}{},"specversion" : "0.2","type":{}{space}}}{space}"#,
            json!(id), json!(kind)
        );
        let event = Event::from_json(json.clone().into()).unwrap();
        prop_assert_eq!(event.json(), json.as_bytes());
        prop_assert_eq!((event.id(), event.event_type()), (id.as_str(), kind.as_str()));

        let batch = format!("[{json},{json}]");
        let events = Event::batch_from_json(batch.into(), ExtensionNames::default()).unwrap();
        prop_assert_eq!(events.len(), 2);
        prop_assert_eq!(events[1].json(), json.trim().as_bytes());
    }

    #[test]
    fn a_cut_event_is_refused(data in document(), at in any::<prop::sample::Index>()) {
        let json = format!(r#"{{"specversion":"0.2","type":"t","id":"1","data":{data}}}"#);
        let cut = json.as_bytes()[..at.index(json.len())].to_vec();
        prop_assert!(Event::from_json(cut.into()).is_err());
    }

    #[test]
    fn what_is_accepted_can_be_parsed(bytes in prop::collection::vec(any::<u8>(), 0..40), text in "\\PC{0,10}|[\\[\\]{}\",:0-9eEtruefalsn.\\\\ud8-]{0,12}") {
        prop_assert!(Event::from_json(bytes.clone().into()).is_err());
        prop_assert!(Event::batch_from_json(bytes.into(), ExtensionNames::default()).is_err());
        let json = format!(r#"{{"specversion":"0.2","type":"t","id":"1","data":{text}}}"#);
        let parsed = serde_json::from_str::<Value>(&json);
        if let Ok(event) = Event::from_json(json.into()) {
            prop_assert!(parsed.is_ok());
            prop_assert_eq!(event.id(), "1");
        }
    }
}

fn with_attribute(name: &str, value: &str) -> Result<Event, EventError> {
    let mut members = Map::new();
    for (name, value) in [("specversion", "1.0"), ("id", "1"), ("type", "t"), ("source", "/s")] {
        members.insert(name.to_owned(), value.into());
    }
    members.insert(name.to_owned(), value.into());
    Event::from_json(Value::Object(members).to_string().into())
}

#[test]
fn d19_a_long_type_is_an_event_up_to_a_bound() {
    for (name, limit) in [("type", MAX_TYPE), ("id", MAX_ID), ("source", MAX_SOURCE)] {
        assert!(with_attribute(name, &"x".repeat(300)).is_ok(), "{name}");
        assert!(with_attribute(name, &"x".repeat(limit)).is_ok(), "{name}");
        let error = with_attribute(name, &"x".repeat(limit + 1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{name} is {} bytes long, at most {limit} are allowed", limit + 1)
        );
    }
}

#[test]
fn nesting_is_bounded_in_every_place() {
    // The event itself is the first of the 127 levels that the parser allows.
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        for member in ["data", "extension", "type"] {
            let nested = |depth: usize| {
                let value = format!("{}1{}", open.repeat(depth), close.repeat(depth));
                let json = format!(r#"{{"specversion":"0.2","id":"1","{member}":{value},"x":1}}"#);
                Event::from_json(json.into()).map(drop).unwrap_err().to_string()
            };
            assert_ne!(nested(126).split(':').next(), Some("not valid JSON"), "{member}");
            assert!(nested(127).contains("recursion limit exceeded"), "{member}: {}", nested(127));
            assert!(nested(1_000_000).contains("recursion limit exceeded"), "{member}");
        }
    }
    let deep = "[".repeat(1_000_000);
    assert!(Event::batch_from_json(deep.into(), ExtensionNames::default()).is_err());
}

#[test]
fn error_texts_are_bounded_and_printable() {
    let name = "\u{7}".repeat(100_000);
    let json = json!({"specversion": "1.0", "id": "1", "type": "t", "source": "/s", name: 1}).to_string();
    let text = Event::from_json(json.into()).unwrap_err().to_string();
    assert!(text.len() < 600 && !text.contains('\u{7}'), "{text}");
    let json = json!({"specversion": "9".repeat(100_000), "id": "1", "type": "t"}).to_string();
    assert!(Event::from_json(json.into()).unwrap_err().to_string().len() < 600);
}

#[test]
fn many_members_cost_no_more_than_few() {
    let mut json = String::from(r#"{"specversion":"0.2","type":"t","id":"1""#);
    for number in 0..200_000 {
        json.push_str(&format!(r#","e{number}":{number}"#));
    }
    json.push('}');
    assert!(Event::from_json(json.clone().into()).is_ok());
    json.truncate(json.len() - 1);
    json.push_str(r#","e7":7}"#);
    assert_eq!(Event::from_json(Bytes::from(json)).unwrap_err().to_string(), "e7 is given more than once");
}
