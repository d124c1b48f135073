//! Properties that hold for every message.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn header() -> impl Strategy<Value = (String, Option<Vec<u8>>)> {
    let name = prop_oneof![
        4 => "(ce_|ce-)(specversion|id|type|source|subject|time|datacontenttype|contentType|data|x|)",
        2 => Just("content-type".to_owned()),
        1 => "rig-correlation|Content-Type|\\PC{0,8}",
    ];
    let value = prop_oneof![
        4 => "0\\.[1-3]|1\\.0|[a-z/]{0,3}|007|\\{\"a\":1\\}|\\[|2020-01-01T00:00:00Z",
        3 => "(application/(cloudevents|json|avro)|avro/binary|text/plain)(\\+json|\\+avro|-batch)?(; ?charset=utf-8)?",
        1 => "\\PC{0,10}",
    ]
    .prop_map(String::into_bytes);
    let value = prop_oneof![8 => value, 1 => prop::collection::vec(any::<u8>(), 0..8)];
    (name, prop::option::weighted(0.9, value))
}

fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::weighted(
        0.9,
        prop_oneof![
            Just(EVENT.as_bytes().to_vec()),
            Just(AVRO.to_vec()),
            prop::collection::vec(any::<u8>(), 0..12),
            "[\\[\\]{}\",:0-9eEtruefalsn.-]{0,8}".prop_map(String::into_bytes),
        ],
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_message_is_read_or_refused(
        required in any::<bool>(),
        headers in prop::collection::vec(header(), 0..8),
        value in value(),
    ) {
        let required = if required { attributes("1.0", &[]) } else { Vec::new() };
        let required = required.iter().map(|(name, value)| (*name, Some(value.as_bytes())));
        let all: Vec<_> =
            required.chain(headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()))).collect();
        let message = read(all.iter().copied(), value.clone().map(Bytes::from), ExtensionNames::default());
        let is_answer = all.iter().any(|(name, _)| *name == "rig-correlation");
        prop_assert_eq!(matches!(message, Ok(Message::Answer)), is_answer);
        let event = match message {
            Ok(Message::Event(event)) => event,
            Ok(Message::Avro(avro)) => {
                prop_assert_eq!(Some(&avro.bytes()[..]), value.as_deref());
                let Ok(event) = avro.with(json!({"specversion": "0.2", "id": "1", "type": "t", "source": "/s"}))
                else { return Ok(()) };
                event
            }
            Ok(Message::Tombstone) => {
                prop_assert!(value.is_none_or(|value| value.is_empty()));
                return Ok(());
            }
            Ok(Message::Answer) | Err(_) => return Ok(()),
        };
        prop_assert!(event.source().is_some());
        let again = Event::from_json(event.json().clone());
        prop_assert_eq!(again.map(|event| event.id().to_owned()), Ok(event.id().to_owned()));
    }

    #[test]
    fn a_structured_event_keeps_its_bytes(
        id in "\\PC{1,20}",
        data in "[0-9]{1,40}|\"[a-z ]{0,9}\"",
        space in "[ \n\t]{0,3}",
        headers in prop::collection::vec(header(), 0..8),
        is_announced in any::<bool>(),
    ) {
        let data = data.trim_start_matches('0');
        let data = if data.is_empty() { "0" } else { data };
        let json = format!(
            r#"{{{space}"data":{space}{data},"id":{},"source" : "/s","type":"t","specversion":"0.2"{space}}}{space}"#,
            json!(id)
        );
        // Without a content type, the headers decide too.
        let changes_the_mode = |name: &str| {
            name == "rig-correlation"
                || name.eq_ignore_ascii_case("content-type")
                || (!is_announced && name.starts_with("ce"))
        };
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        let headers = headers.filter(|(name, _)| !changes_the_mode(name));
        let announced = is_announced.then_some(("content-type", Some(&b"application/cloudevents"[..])));
        let message = read(headers.chain(announced), Some(json.clone().into()), ExtensionNames::default());
        let Ok(Message::Event(event)) = message else { panic!("{message:?}") };
        prop_assert_eq!(event.json(), json.as_bytes());
        prop_assert_eq!(event.id(), id);
    }
}
