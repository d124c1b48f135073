use serde_json::json;

use super::*;

fn extractors() -> Extractors {
    Extractors::from_json(
        r#"{"greeting":{"name":{"stable_field_index":1,"event":{"json_pointer":"/data/name"}},
            "lvl":{"stable_field_index":0,"event":{"json_pointer":"/data/lvl"}}}}"#,
    )
    .unwrap()
}

fn parse(list: &Value) -> Result<Vec<Subscription>, SubscriptionError> {
    Subscription::parse_list(list, &extractors())
}

fn error(list: &Value) -> String {
    parse(list).unwrap_err().to_string()
}

#[test]
fn faults_have_rigs_words_and_their_place() {
    let one_of = |one_of: Value| json!([{"eventType": "foo"}, {"eventType": "greeting", "oneOf": one_of}]);
    let table = [
        (json!(["x"]), "not a map (subscriptions/0)"),
        (json!([{"eventType": "x"}, null]), "not a map (subscriptions/1)"),
        (json!([{"foo": 1}]), "event-type not found (subscriptions/0/eventType)"),
        (json!([{"eventType": ""}]), "event-type empty (subscriptions/0/eventType)"),
        (json!([{"eventType": 5}]), "event-type empty (subscriptions/0/eventType)"),
        (json!([{"event_type": null}]), "event-type empty (subscriptions/0/eventType)"),
        (
            json!([{"eventType": "x", "event_type": "y"}]),
            "both eventType and event_type are given (subscriptions/0)",
        ),
        (
            json!([{"eventType": "x", "constraints": [], "oneOf": []}]),
            "both oneOf and constraints are given (subscriptions/0)",
        ),
        (
            json!([{"eventType": "x", "oneof": [{"name": "bob"}]}]),
            r#"unknown field "oneof"; allowed: eventType, oneOf (subscriptions/0)"#,
        ),
        (
            one_of(json!({})),
            "constraints expected to be a list of disjunctive clauses (subscriptions/1/oneOf)",
        ),
        (
            one_of(json!(null)),
            "constraints expected to be a list of disjunctive clauses (subscriptions/1/oneOf)",
        ),
        (
            one_of(json!([{}, "a"])),
            "a disjunctive clause expected to be a conjunction represented by a map (subscriptions/1/oneOf/1)",
        ),
        (
            one_of(json!([{"": "a"}])),
            "conjunctive clauses expected to be a map with nonempty strings as keys (subscriptions/1/oneOf/0)",
        ),
        (
            one_of(json!([{"name": "a"}, {"nme": "a"}])),
            r#"no extractor of this event-type defines the field "nme" (subscriptions/1/oneOf/1)"#,
        ),
        (
            one_of(json!([{"name": null}])),
            r#"the field "name" is null, which no event matches (subscriptions/1/oneOf/0)"#,
        ),
        (
            json!([{"eventType": "foo", "oneOf": [{"name": 1}]}]),
            r#"no extractor of this event-type defines the field "name" (subscriptions/0/oneOf/0)"#,
        ),
    ];
    for (list, fault) in table {
        let told = format!("invalid subscription: {fault}");
        assert_eq!(error(&list), told, "{list}");
    }
    for list in [json!({}), json!("x"), json!(null)] {
        assert_eq!(parse(&list), Err(SubscriptionError::NotAList), "{list}");
    }
}

#[test]
fn all_names_of_rig_are_accepted_and_written_as_rig_does() {
    let list = json!([
        {"event_type": "greeting", "constraints": [{"name": "bob"}, {"name": "al", "lvl": 1.0}]},
        {"eventType": "greeting", "one_of": [{"lvl": {"b": [true], "a": "x"}}]},
        {"eventType": "greeting", "oneOf": [{}]},
        {"eventType": "foo"},
        {"eventType": "foo", "oneOf": []},
    ]);
    assert_eq!(
        serde_json::to_string(&parse(&list).unwrap()).unwrap(),
        concat!(
            r#"[{"eventType":"greeting","oneOf":[{"name":"bob"},{"lvl":1.0,"name":"al"}]},"#,
            r#"{"eventType":"greeting","oneOf":[{"lvl":{"a":"x","b":[true]}}]},"#,
            r#"{"eventType":"greeting","oneOf":[{}]},"#,
            r#"{"eventType":"foo","oneOf":[]},{"eventType":"foo","oneOf":[]}]"#
        )
    );
}

#[test]
fn d19_a_long_event_type_is_an_error_and_no_more() {
    let of_length = |length| json!([{"eventType": "x".repeat(length)}]);
    assert!(parse(&of_length(MAX_EVENT_TYPE)).is_ok());
    assert!(error(&of_length(MAX_EVENT_TYPE + 1)).contains("event-type longer than 1024 bytes: 1025"));
    assert!(error(&of_length(1 << 20)).len() < 200);
}

#[test]
fn what_a_client_can_make_us_keep_is_bounded() {
    let greetings = |subscriptions: usize, clauses: usize| {
        let one_of: Vec<_> = (0..clauses).map(|n| json!({"lvl": n})).collect();
        json!(vec![json!({"eventType": "greeting", "oneOf": one_of}); subscriptions])
    };
    assert!(parse(&greetings(MAX_SUBSCRIPTIONS, MAX_CLAUSES / MAX_SUBSCRIPTIONS)).is_ok());
    assert_eq!(
        parse(&greetings(MAX_SUBSCRIPTIONS + 1, 0)),
        Err(SubscriptionError::TooMany { given: MAX_SUBSCRIPTIONS + 1 })
    );
    assert_eq!(parse(&greetings(11, 100)), Err(SubscriptionError::TooManyClauses { index: 10 }));
    let fault = Box::new(SubscriptionFault::ManyClauses { given: MAX_CLAUSES + 1 });
    assert_eq!(parse(&greetings(1, MAX_CLAUSES + 1)), Err(SubscriptionError::Invalid { index: 0, fault }));

    let named = |value: Value| json!([{"eventType": "greeting", "oneOf": [{"name": value}]}]);
    assert!(parse(&named(json!("x".repeat(MAX_VALUE - 2)))).is_ok());
    assert!(error(&named(json!("x".repeat(MAX_VALUE - 1)))).contains(r#""name" is longer than 4096 bytes"#));
    assert!(error(&named(json!(vec![1; MAX_VALUE]))).contains("longer than 4096 bytes"));
}

#[test]
fn long_names_are_not_sent_back_whole() {
    let told = error(&json!([{"eventType": "greeting", "oneOf": [{"é".repeat(100_000): 1}]}]));
    assert!(told.contains(&format!("\"{}…\"", "é".repeat(64))), "{told}");
    assert!(error(&json!([{"eventType": "greeting", "x".repeat(100_000): 1}])).len() < 300);
}
