//! The scenarios of CloudEvents' conformance tests for Kafka (`kafka-protocol-binding.feature`),
//! and, since there is none for NATS, one scenario for each section of its binding on messages.
//! All of them read messages; the gateway's own text.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use bytes::Bytes;
use rig_event::kafka::{self, Message};
use rig_event::{Event, ExtensionNames, nats};
use serde_json::{Value, json};

const ATTRIBUTES: [(&str, &str); 5] = [
    ("specversion", "1.0"),
    ("id", "A-1"),
    ("type", "com.example.order.placed"),
    ("source", "/shops/berlin"),
    ("time", "2026-02-03T04:05:06Z"),
];

const DATA: &str = r#"{"order": 12, "paid": true}"#;

/// The event of all scenarios, in structured mode.
fn structured() -> String {
    let attributes = ATTRIBUTES.map(|(name, value)| format!("  \"{name}\" : \"{value}\",\n")).concat();
    format!("{{\n{attributes}  \"datacontenttype\":\"application/json\",\n  \"data\": {DATA}\n}}\n")
}

/// The attributes as headers with a prefix, and more.
fn headers<'a>(prefix: &str, more: &[(&'a str, &'a str)]) -> Vec<(String, &'a str)> {
    let attributes = ATTRIBUTES.map(|(name, value)| (format!("{prefix}{name}"), value)).into_iter();
    attributes.chain(more.iter().map(|(name, value)| ((*name).to_owned(), *value))).collect()
}

fn of_kafka(headers: &[(String, &str)], value: &str) -> Event {
    let headers = headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_bytes())));
    let value = Bytes::copy_from_slice(value.as_bytes());
    match kafka::read(headers, Some(value), ExtensionNames::default()) {
        Ok(Message::Event(event)) => event,
        other => panic!("{other:?}"),
    }
}

fn of_nats(headers: &[(String, &str)], payload: &str) -> Event {
    let headers = headers.iter().map(|(name, value)| (name.as_str(), *value));
    nats::decode(headers, Bytes::copy_from_slice(payload.as_bytes()), ExtensionNames::default()).unwrap()
}

/// Asserts that the event has exactly these attributes, the content type, and the data.
fn assert_is_the_event(event: &Event) {
    let mut expected: Value = ATTRIBUTES.into_iter().map(|(name, value)| (name, json!(value))).collect();
    expected["datacontenttype"] = json!("application/json");
    expected["data"] = serde_json::from_str(DATA).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(event.json()).unwrap(), expected);
    assert_eq!(
        (event.version().as_str(), event.id(), event.event_type(), event.source()),
        ("1.0", "A-1", "com.example.order.placed", Some("/shops/berlin"))
    );
}

#[test]
fn kafka_binary_content_mode() {
    let headers = headers("ce_", &[("content-type", "application/json")]);
    let event = of_kafka(&headers, DATA);
    assert_is_the_event(&event);
    // The data is what came, not what it means.
    assert!(std::str::from_utf8(event.json()).unwrap().contains(DATA));
}

/// Structured content mode with this content type.
fn kafka_structured_content_mode(content_type: &str) {
    let event = of_kafka(&[("content-type".to_owned(), content_type)], &structured());
    assert_is_the_event(&event);
    assert_eq!(event.json(), structured().as_bytes());
}

#[test]
fn kafka_structured_content_mode_application_cloudevents_json() {
    kafka_structured_content_mode("application/cloudevents+json");
}

#[test]
fn kafka_structured_content_mode_application_cloudevents_json_charset_utf_8() {
    kafka_structured_content_mode("application/cloudevents+json; charset=utf-8");
}

/// Section 3.1.1: the content type is an attribute; SDKs also send it as over HTTP.
#[test]
fn nats_binary_content_mode_content_type() {
    for name in ["ce-datacontenttype", "content-type", "Content-Type"] {
        assert_is_the_event(&of_nats(&headers("ce-", &[(name, "application/json")]), DATA));
    }
}

/// Section 3.1.2: the payload is the data, as it is.
#[test]
fn nats_binary_content_mode_event_data_encoding() {
    let event = of_nats(&headers("ce-", &[("ce-datacontenttype", "application/json")]), DATA);
    assert!(std::str::from_utf8(event.json()).unwrap().contains(DATA));
    let event = of_nats(&headers("ce-", &[("ce-datacontenttype", "text/plain")]), DATA);
    assert_eq!(serde_json::from_slice::<Value>(event.json()).unwrap()["data"], DATA);
}

/// Section 3.1.3: names without regard to case, values with one round of percent-decoding, quoted
/// or not.
#[test]
fn nats_binary_content_mode_metadata_headers() {
    for prefix in ["ce-", "CE-", "Ce-"] {
        let more = [
            ("ce-datacontenttype", "application/json"),
            ("ce-encoded", "Euro%20%E2%82%AC%20%2541"),
            ("Ce-Quoted", r#""a \"b\" %C3%A9""#),
        ];
        let event = of_nats(&headers(prefix, &more), DATA);
        let json: Value = serde_json::from_slice(event.json()).unwrap();
        assert_eq!((&json["encoded"], &json["quoted"]), (&json!("Euro € %41"), &json!("a \"b\" é")));
        assert_eq!((&json["id"], &json["time"]), (&json!("A-1"), &json!("2026-02-03T04:05:06Z")));
    }
}

/// Section 3.2: announced by the content type, in any case.
#[test]
fn nats_structured_content_mode() {
    for content_type in [
        "application/cloudevents+json",
        "application/cloudevents+json; charset=utf-8",
        "Application/CloudEvents+JSON",
    ] {
        let event = of_nats(&[("content-type".to_owned(), content_type)], &structured());
        assert_is_the_event(&event);
        assert_eq!(event.json(), structured().as_bytes());
    }
    // Version 1.0.2 of the binding has no headers.
    assert_is_the_event(&of_nats(&[], &structured()));
}
