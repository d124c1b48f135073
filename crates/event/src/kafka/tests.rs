mod attributes;
mod properties;

use serde_json::json;

use super::*;

type Headers<'a> = [(&'a str, &'a str)];

const EVENT: &str = r#"{ "specversion":"1.0", "type":"t", "source":"/s", "id":"1" }"#;
/// The value of a message in the wire format of schema registries.
const AVRO: &[u8] = b"\0\0\0\0\x07\x06abc";

fn read_any(headers: &Headers<'_>, value: Option<&[u8]>) -> Result<Message, DecodeError> {
    let headers = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes())));
    read(headers, value.map(Bytes::copy_from_slice), ExtensionNames::default())
}

/// Returns the JSON of the event, or the error.
fn shown(event: Result<Event, DecodeError>) -> String {
    event
        .map_or_else(|error| error.to_string(), |event| std::str::from_utf8(event.json()).unwrap().to_owned())
}

/// Reads a message that is an event, or refused.
fn event(headers: &Headers<'_>, value: impl AsRef<[u8]>) -> String {
    shown(read_any(headers, Some(value.as_ref())).map(|message| match message {
        Message::Event(event) => event,
        other => panic!("{other:?}"),
    }))
}

fn avro(headers: &Headers<'_>) -> AvroMessage {
    match read_any(headers, Some(AVRO)) {
        Ok(Message::Avro(avro)) => avro,
        other => panic!("{other:?}"),
    }
}

fn attributes<'a>(version: &'a str, more: &Headers<'a>) -> Vec<(&'a str, &'a str)> {
    let required = [("ce_specversion", version), ("ce_type", "t"), ("ce_source", "/s"), ("ce_id", "1")];
    [&required, more].concat()
}

fn binary(version: &str, more: &Headers<'_>, value: impl AsRef<[u8]>) -> String {
    event(&attributes(version, more), value)
}

#[test]
fn row_1_structured_events_go_through_byte_for_byte() {
    for content_type in [
        "application/cloudevents",
        "application/cloudevents+json",
        "application/cloudevents+json;charset=UTF-8",
        "application/cloudevents; charset=utf-8",
        "Application/CloudEvents+JSON ; no parameter",
    ] {
        for name in ["content-type", "Content-Type", "CONTENT-TYPE"] {
            // Headers of binary mode are not read.
            let headers = [(name, content_type), ("ce_specversion", "0.7"), ("ce_data", "x")];
            assert_eq!(event(&headers, EVENT), EVENT, "{content_type}");
            assert_eq!(avro(&headers).bytes(), AVRO, "{content_type}");
        }
    }
    let headers = [("content-type", "application/cloudevents+json")];
    for short in [&b"\0"[..], b"\0\0\0\x01"] {
        assert!(
            event(&headers, short).starts_with("The value of the message does not look like a CloudEvent")
        );
    }
    assert_eq!(event(&headers, format!("\u{feff}{EVENT}")), EVENT);
}

#[test]
fn row_2_other_event_formats_are_refused_except_avro_with_a_schema() {
    let format = |format| [("content-type", format)];
    assert_eq!(avro(&format("application/cloudevents+avro")).bytes(), AVRO);
    assert_eq!(
        event(&format("application/cloudevents+avro"), b"\x06abcde"),
        "The content-type header says that the value of the message is Avro, but it does not begin with the id of a \
         schema, as values of a schema registry do."
    );
    for value in [EVENT.as_bytes(), AVRO] {
        assert_eq!(
            event(&format("application/cloudevents+protobuf; x=y"), value),
            "The given content-type application/cloudevents+protobuf is currently not supported; \
             application/cloudevents+json is."
        );
    }
}

#[test]
fn row_3_a_batch_is_refused() {
    for content_type in ["application/cloudevents-batch+json", "application/cloudevents-batch"] {
        let told = event(&[("content-type", content_type)], format!("[{EVENT}]"));
        assert!(told.contains(content_type) && told.contains("not supported"), "{told}");
    }
}

#[test]
fn row_4_avro_is_data_if_there_are_attributes_else_the_event() {
    for content_type in ["avro/binary", "application/avro", "Application/Avro; x=y"] {
        let headers = [("content-type", content_type)];
        let whole = avro(&headers);
        assert_eq!(whole.bytes(), AVRO);
        let json =
            json!({"type": "t", "id": "1", "source": "/s", "specversion": "0.2", "data": {"a": [1.50]}});
        assert_eq!(
            shown(whole.with(json)),
            r#"{"data":{"a":[1.5]},"id":"1","source":"/s","specversion":"0.2","type":"t"}"#
        );

        let data = avro(&attributes("1.0", &headers));
        assert_eq!(data.bytes(), AVRO);
        assert_eq!(
            shown(data.with(json!({"b": {"c": 1}}))),
            format!(
                r#"{{"data":{{"b":{{"c":1}}}},"datacontenttype":"{content_type}","id":"1","source":"/s","specversion":"1.0","type":"t"}}"#
            )
        );
        // A header of the content type alone is no attribute.
        assert!(avro(&[headers[0], ("ce_contenttype", "application/json")]).members.is_none());
        // Some attributes, but not the one that announces binary mode.
        let told = shown(read_any(&[headers[0], ("ce_id", "1")], Some(AVRO)).map(|_| panic!("read")));
        assert!(told.contains("specversion is missing"), "{told}");
    }
    let own_type = [("content-type", "avro/binary"), ("ce_contenttype", "application/json")];
    assert_eq!(
        shown(avro(&attributes("0.2", &own_type)).with(json!(null))),
        r#"{"contenttype":"application/json","data":null,"id":"1","source":"/s","specversion":"0.2","type":"t"}"#
    );
    assert!(binary("1.0", &[("content-type", "avro/binary")], b"\x06abcde").contains("the id of a schema"));
    assert!(
        binary("1.0", &[("content-type", "application/avro")], b"\x06\xff")
            .contains(r#""data_base64":"Bv8=","datacontenttype":"application/avro""#)
    );
}

#[test]
fn row_4_what_avro_stands_for_must_be_an_event() {
    let whole = |json| shown(avro(&[("content-type", "avro/binary")]).with(json));
    let start = "The value of the message does not look like a CloudEvent: ";
    assert_eq!(whole(json!([1])), format!("{start}a CloudEvent is a JSON object, not a list"));
    assert_eq!(whole(json!({"specversion": "1.0"})), format!("{start}id is missing"));
    let no_source = json!({"specversion": "0.2", "type": "t", "id": "1", "source": null});
    assert_eq!(whole(no_source), format!("{start}source is missing"));

    let headers =
        [("content-type", "avro/binary"), ("ce_specversion", "0.2"), ("ce_type", "t"), ("ce_id", "1")];
    assert_eq!(
        shown(avro(&headers).with(json!(1))),
        "The headers of the message do not make a CloudEvent: source is missing. Each attribute goes into a header of \
         its name with the prefix ce_."
    );
}

#[test]
fn row_5_any_other_content_type_is_binary() {
    let data = |content_type, value: &[u8]| {
        let json = binary("1.0", &[("content-type", content_type)], value);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["datacontenttype"], content_type);
        (json["data"].clone(), json["data_base64"].clone())
    };
    let none = Value::Null;
    assert_eq!(data("application/json", br#"{"a": 1}"#), (json!({"a": 1}), none.clone()));
    assert_eq!(data("application/JSON;charset=utf-8", b" 5 "), (json!(5), none.clone()));
    assert_eq!(data("application/json", b"{"), (json!("{"), none.clone()));
    assert_eq!(data("application/json", b"[1e999]"), (json!("[1e999]"), none.clone()));
    assert_eq!(data("application/json", b"\xff"), (none.clone(), json!("/w==")));
    assert_eq!(data("a/b+json", b"[]"), (json!([]), none.clone()));
    assert_eq!(data("text/plain", b"5"), (json!("5"), none.clone()));
    assert_eq!(data("text/plain", b"\0\0\0\0\x01"), (json!("\0\0\0\0\x01"), none.clone()));
    assert_eq!(data("image/png", b"\x89PNG"), (none.clone(), json!("iVBORw==")));
    assert_eq!(data("text/plain; charset=utf-16", b"a\0"), (none, json!("YQA=")));

    // Data is not rewritten.
    assert!(
        binary("0.3", &[("content-type", "application/json")], r#"{"b": 1.0, "a":10e1}"#)
            .contains(r#""data":{"b": 1.0, "a":10e1}"#)
    );
    for content_type in ["application/json", "text/plain", "bad"] {
        assert_eq!(
            event(&[("content-type", content_type), ("ce_type", "t")], EVENT),
            "The headers of the message do not make a CloudEvent: specversion is missing. Each attribute goes into a \
             header of its name with the prefix ce_."
        );
    }
}

#[test]
fn row_6_without_a_content_type_the_version_or_the_value_tells() {
    assert_eq!(event(&[], EVENT), EVENT);
    assert_eq!(event(&[("content-type", " ")], EVENT), EVENT);
    // RIG's producer sends this one, and no content-type.
    assert_eq!(event(&[("ce_contenttype", "text/plain"), ("ce_contentType", "a/b")], EVENT), EVENT);
    assert_eq!(event(&[("ce_type", "other"), ("x", "y")], EVENT), EVENT);
    assert_eq!(avro(&[]).bytes(), AVRO);
    assert!(avro(&[]).members.is_none());
    assert!(avro(&attributes("1.0", &[])).members.is_some());
    for (value, reason) in
        [("{}", "specversion is missing"), ("\0\0\0\0", "not valid JSON"), ("[]", "a list")]
    {
        let told = event(&[], value);
        assert!(told.starts_with("The value of the message") && told.contains(reason), "{told}");
    }
}

#[test]
fn row_7_without_a_value_there_is_an_event_without_data_or_a_tombstone() {
    for value in [None, Some(&b""[..])] {
        let message = |headers: &Headers<'_>| read_any(headers, value);
        for content_type in [None, Some("application/json"), Some("avro/binary"), Some("application/avro")] {
            let content_type = content_type.map(|content_type| ("content-type", content_type));
            let json = match message(&attributes("1.0", content_type.as_slice())) {
                Ok(Message::Event(event)) => shown(Ok(event)),
                other => panic!("{other:?}"),
            };
            assert!(json.contains(r#""id":"1""#) && !json.contains(r#""data""#), "{json}");
            assert_eq!(json.contains("datacontenttype"), content_type.is_some(), "{json}");
            // Not all that an event must have.
            for missing in 0..4 {
                let mut headers = attributes("1.0", content_type.as_slice());
                headers.remove(missing);
                assert!(matches!(message(&headers), Ok(Message::Tombstone)), "{headers:?}");
            }
        }
        assert!(matches!(message(&[]), Ok(Message::Tombstone)));
        for format in
            ["application/cloudevents", "application/cloudevents+json", "application/cloudevents+avro"]
        {
            let headers = attributes("1.0", &[("content-type", format)]);
            assert!(matches!(message(&headers), Ok(Message::Tombstone)), "{format}");
        }
        let told = message(&attributes("7.0", &[])).unwrap_err().to_string();
        assert!(told.contains(r#"specversion must be "0.2", "0.3" or "1.0", not "7.0""#), "{told}");
    }
}

#[test]
fn a_correlation_marks_an_answer() {
    for value in [None, Some(EVENT.as_bytes()), Some(AVRO), Some(b"\xff")] {
        for more in
            [("content-type", "application/cloudevents+json"), ("ce_id", ""), ("rig-response-code", "x")]
        {
            let headers = attributes("1.0", &[("rig-correlation", "token"), more]);
            assert!(matches!(read_any(&headers, value), Ok(Message::Answer)));
        }
    }
    let bad = [("rig-correlation", None), ("content-type", Some(&b"\xff"[..]))];
    assert!(matches!(read(bad, None, ExtensionNames::default()), Ok(Message::Answer)));
    // RIG compares it in lower case only.
    assert_eq!(event(&[("Rig-Correlation", "token")], EVENT), EVENT);
}

#[test]
fn debug_shows_no_data() {
    let headers = attributes("1.0", &[("content-type", "avro/binary"), ("ce_x", "secret")]);
    assert_eq!(
        format!("{:?}", read_any(&headers, Some(AVRO)).unwrap()),
        "Avro(AvroMessage { bytes: \"9 bytes\", is_whole_event: false, .. })".replace('"', "")
    );
}
