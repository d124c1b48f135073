//! Events as messages of Kafka.
//!
//! The Kafka protocol binding of CloudEvents, as RIG uses it: structured JSON, or binary with
//! `data` in Avro.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::producer::{ProduceError, Produced};

const CONTENT_TYPE: &str = "content-type";

/// The content type of structured events (b33: RIG sends none, so readers take them as binary).
const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";

/// The content type of events with `data` in Avro.
const AVRO: &str = "avro/binary";

/// What the names of headers of attributes begin with.
const PREFIX: &str = "ce_";

/// Members that are also sent as a header, since RIG does so.
const ALSO_HEADERS: [&str; 2] = ["contenttype", "contentType"];

/// A member of version 1.0 that stands for `data`.
const DATA_BASE64: &str = "data_base64";

/// The headers and the value of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Encoded {
    pub(super) headers: Vec<(String, String)>,
    pub(super) value: Bytes,
}

/// Encodes the whole event as JSON.
pub(super) fn structured(event: &Produced) -> Encoded {
    let members = &event.members;
    let also = ALSO_HEADERS.into_iter().filter_map(|name| header(name, members.get(name)?));
    let headers = [(CONTENT_TYPE.to_owned(), STRUCTURED.to_owned())].into_iter().chain(also).collect();
    Encoded { headers, value: event.json() }
}

/// Returns what is to be encoded by a schema: `data`, or an empty object if the event has none.
/// Binary data is in Base64, as in all JSON that stands for Avro.
pub(super) fn data(event: &Produced) -> Cow<'_, Value> {
    match event.members.get("data").or_else(|| event.members.get(DATA_BASE64)) {
        Some(data) => Cow::Borrowed(data),
        None => Cow::Owned(Value::Object(Map::new())),
    }
}

/// Encodes the event in headers, with its data as the value.
///
/// # Errors
/// Fails if a member cannot be the name of a header.
pub(super) fn binary(event: &Produced, data: Bytes) -> Result<Encoded, ProduceError> {
    let attributes = event.members.iter().filter(|(name, _)| *name != "data" && *name != DATA_BASE64);
    let mut headers = Vec::with_capacity(event.members.len() + 1);
    for (name, value) in attributes {
        if name.contains('\0') {
            return Err(ProduceError::Invalid(format!("{name:?} is no name of an attribute")));
        }
        headers.extend(header(name, value));
    }
    headers.push((CONTENT_TYPE.to_owned(), AVRO.to_owned()));
    Ok(Encoded { headers, value: data })
}

/// Returns the header of an attribute: a string as it is, anything else as JSON. An attribute that
/// is null is as good as absent.
fn header(name: &str, value: &Value) -> Option<(String, String)> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some((format!("{PREFIX}{name}"), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(members: &str) -> Produced {
        Produced { members: serde_json::from_str(members).unwrap(), key: None }
    }

    fn header(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    /// An event as the proxy produces it.
    const PRODUCED: &str = r#"{
        "specversion": "0.2", "type": "com.example", "source": "/cli", "id": "1",
        "contenttype": "application/json", "n": 1.50, "yes": true, "none": null, "list": ["a"],
        "data": {"foo": "bar"},
        "rig": {"correlation": "TOKEN", "port": 4000, "headers": [["accept", "*/*"]]}
    }"#;

    #[test]
    fn b33_a_structured_event_says_what_it_is() {
        let Encoded { headers, value } = structured(&event(r#"{"specversion": "0.2", "id": "1"}"#));
        assert_eq!(headers, [header("content-type", "application/cloudevents+json; charset=UTF-8")]);
        assert_eq!(value, r#"{"id":"1","specversion":"0.2"}"#);
    }

    #[test]
    fn a_structured_event_is_complete_and_its_content_type_is_a_header_too() {
        let Encoded { headers, value } = structured(&event(PRODUCED));
        let value: Value = serde_json::from_slice(&value).unwrap();
        assert_eq!(value, Value::Object(event(PRODUCED).members));
        assert_eq!(headers[1..], [header("ce_contenttype", "application/json")]);
        let old = structured(&event(r#"{"contentType": "text/plain"}"#));
        assert_eq!(old.headers[1..], [header("ce_contentType", "text/plain")]);
    }

    #[test]
    fn a_binary_event_has_all_but_its_data_in_headers() {
        let Encoded { mut headers, value } = binary(&event(PRODUCED), "DATA".into()).unwrap();
        headers.sort();
        assert_eq!(value, "DATA");
        let expected = [
            ("ce_contenttype", "application/json"),
            ("ce_id", "1"),
            ("ce_list", r#"["a"]"#),
            ("ce_n", "1.50"),
            ("ce_rig", r#"{"correlation":"TOKEN","headers":[["accept","*/*"]],"port":4000}"#),
            ("ce_source", "/cli"),
            ("ce_specversion", "0.2"),
            ("ce_type", "com.example"),
            ("ce_yes", "true"),
            ("content-type", "avro/binary"),
        ];
        assert_eq!(headers, expected.map(|(name, value)| header(name, value)));
    }

    #[test]
    fn data_that_is_absent_is_an_empty_object() {
        assert_eq!(*data(&event("{}")), serde_json::json!({}));
        assert_eq!(*data(&event(r#"{"data": null}"#)), Value::Null);
        assert_eq!(*data(&event(r#"{"data_base64": "AQ=="}"#)), Value::from("AQ=="));
        let encoded = binary(&event(r#"{"data_base64": "AQ=="}"#), Bytes::new()).unwrap();
        assert_eq!(encoded.headers, [header("content-type", "avro/binary")]);
    }

    #[test]
    fn a_client_cannot_give_headers_of_its_own() {
        let encoded = binary(&event(r#"{"rig-correlation": "x", "": "y"}"#), Bytes::new()).unwrap();
        assert!(encoded.headers.iter().all(|(name, _)| name.starts_with("ce_") || name == "content-type"));
        let refused = binary(&event(r#"{"a\u0000b": "x"}"#), Bytes::new()).unwrap_err();
        assert_eq!(refused, ProduceError::Invalid(r#""a\0b" is no name of an attribute"#.to_owned()));
    }
}
