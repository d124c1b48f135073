//! The HTTP binding, as RIG's clients use it and as CloudEvents defines it.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use insta::assert_snapshot;
use rig_event::http::{DecodeError, decode};
use rig_event::{Event, ExtensionNames};

const EVENT: &str =
    r#"{"specversion": "0.2", "type": "greeting", "source": "/o", "id": "1", "data": {"name": "bob"}}"#;

fn request(headers: &[(&str, &[u8])], body: &[u8]) -> Result<Vec<Event>, DecodeError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value).unwrap());
    }
    decode(&map, Bytes::copy_from_slice(body), ExtensionNames::default()).map(|submission| submission.events)
}

/// Sends a request in binary mode with the attributes that every version requires.
fn binary(version: &str, content_type: Option<&str>, more: &[(&str, &[u8])], body: &[u8]) -> String {
    let mut headers: Vec<(&str, &[u8])> = vec![
        ("ce-specversion", version.as_bytes()),
        ("ce-type", b"greeting"),
        ("ce-source", b"/s"),
        ("ce-id", b"9"),
    ];
    headers.extend(content_type.map(|value| ("content-type", value.as_bytes())));
    headers.extend_from_slice(more);
    shown(request(&headers, body))
}

fn structured(content_type: &str, body: &str) -> String {
    shown(request(&[("content-type", content_type.as_bytes())], body.as_bytes()))
}

/// Returns the JSON of the events, or the answer.
fn shown(result: Result<Vec<Event>, DecodeError>) -> String {
    match result {
        Ok(events) => {
            let texts: Vec<_> =
                events.iter().map(|event| std::str::from_utf8(event.json()).unwrap()).collect();
            texts.join("\n")
        }
        Err(error) => format!("{} {error}", error.status().as_u16()),
    }
}

#[test]
fn structured_mode_goes_by_the_content_type_and_keeps_the_bytes() {
    for content_type in [
        "application/json",
        "application/JSON",
        "application/json;charset=utf-8",
        "application/cloudevents+json",
        "application/cloudevents+json; charset=UTF-8",
        "Application/CloudEvents+JSON",
    ] {
        assert_eq!(structured(content_type, EVENT), EVENT, "{content_type}");
    }
    let spaced = " { \"specversion\" : \"0.2\", \"type\":\"t\" ,\"id\":\"1\"}\n";
    assert_eq!(structured("application/json", spaced), spaced);
}

#[test]
fn cloudevents_json_wins_over_ce_headers() {
    let headers: [(&str, &[u8]); 4] = [
        ("content-type", b"application/cloudevents+json"),
        ("ce-specversion", b"0.2"),
        ("ce-type", b"q"),
        ("ce-id", b"q"),
    ];
    let events = request(&headers, EVENT.as_bytes()).unwrap();
    assert_eq!((events[0].event_type(), events[0].id()), ("greeting", "1"));
}

#[test]
fn batched_mode_takes_any_number_of_events() {
    let batch = "application/cloudevents-batch+json; charset=UTF-8";
    assert_eq!(structured(batch, &format!("[ {EVENT} , {EVENT}]")), format!("{EVENT}\n{EVENT}"));
    assert_eq!(structured(batch, "[]"), "");
    assert_snapshot!(structured(batch, EVENT), @"400 The request body does not look like a CloudEvent: a batch of CloudEvents is a JSON list, not an object");
    assert_snapshot!(structured(batch, &format!("[{EVENT},{{}}]")), @"400 The request body does not look like a CloudEvent: event 1 of the batch: specversion is missing");
}

#[test]
fn other_event_formats_are_415() {
    for content_type in [
        "application/cloudevents+xml",
        "application/cloudevents+avro",
        "application/cloudevents",
        "application/cloudevents-batch",
        "application/cloudevents-batch+xml",
    ] {
        let error = request(&[("content-type", content_type.as_bytes())], EVENT.as_bytes()).unwrap_err();
        assert_eq!(error.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
        assert!(error.to_string().contains(content_type), "{error}");
    }
    assert_snapshot!(binary("0.2", Some("application/cloudevents+xml"), &[], b"<a/>"), @"415 The given content-type application/cloudevents+xml is currently not supported; application/cloudevents+json is.");
}

#[test]
fn d23_a_missing_or_unreadable_content_type_is_400_and_named() {
    assert_snapshot!(shown(request(&[], EVENT.as_bytes())), @"400 The content-type header is missing: use application/cloudevents+json, application/cloudevents-batch+json or application/json, or say in ce- headers what the event is.");
    assert_snapshot!(structured("bad", EVENT), @"400 The content-type header is not a media type, like application/json.");
    assert_snapshot!(structured("", EVENT), @"400 The content-type header is not a media type, like application/json.");
    assert_snapshot!(binary("1.0", Some("bad"), &[], b"x"), @"400 The content-type header is not a media type, like application/json.");
    let json: &[u8] = b"application/json";
    assert_snapshot!(shown(request(&[("content-type", json), ("content-type", json)], b"")), @"400 The content-type header is given more than once.");
    assert_snapshot!(shown(request(&[("content-type", b"text/\xff")], b"")), @"400 The content-type header is not a media type, like application/json.");
}

#[test]
fn d23_a_missing_id_or_a_body_that_is_no_event_is_400_and_named() {
    let json = "application/json";
    assert_snapshot!(structured(json, r#"{"specversion":"0.2","type":"t"}"#), @"400 The request body does not look like a CloudEvent: id is missing");
    assert_snapshot!(structured(json, r#"{"specversion":"0.2","type":7,"id":"1"}"#), @"400 The request body does not look like a CloudEvent: type must be a string, not a number");
    assert_snapshot!(structured(json, r#"{"specversion":"0.9","type":"t","id":"1"}"#), @r#"400 The request body does not look like a CloudEvent: specversion must be "0.2", "0.3" or "1.0", not "0.9""#);
    assert_snapshot!(structured(json, r#"{"specversion":"0.2","type":"t","id":"1","data":{"#), @"400 The request body does not look like a CloudEvent: not valid JSON: EOF while parsing an object at line 1 column 49");
    assert_snapshot!(structured(json, "[]"), @"400 The request body does not look like a CloudEvent: a CloudEvent is a JSON object, not a list");
    assert_snapshot!(structured(json, ""), @"400 The request body does not look like a CloudEvent: the body is empty");
    assert_snapshot!(shown(request(&[("content-type", json.as_bytes())], b"{\"\xff\":1}")), @"400 The request body does not look like a CloudEvent: not valid JSON: the byte at offset 2 is not UTF-8");
}

#[test]
fn without_ce_specversion_there_is_no_binary_mode() {
    for content_type in ["text/plain", "application/xml", "application/vnd.api+json"] {
        let headers: [(&str, &[u8]); 3] =
            [("content-type", content_type.as_bytes()), ("ce-type", b"t"), ("ce-id", b"1")];
        let error = request(&headers, EVENT.as_bytes()).unwrap_err();
        assert_eq!(error, DecodeError::NoSpecVersion);
        assert_eq!(error.status(), StatusCode::BAD_REQUEST);
        assert!(error.to_string().contains("ce-specversion"));
    }
    let headers: [(&str, &[u8]); 2] = [("content-type", b"application/json"), ("ce-type", b"t")];
    assert_snapshot!(shown(request(&headers, b"{}")), @"400 The request body does not look like a CloudEvent: specversion is missing");
}

#[test]
fn binary_0_2_makes_the_json_that_rig_makes() {
    let json = Some("application/json");
    assert_snapshot!(binary("0.2", json, &[], br#"{"name":"bob"}"#), @r#"{"data":{"name":"bob"},"id":"9","source":"/s","specversion":"0.2","type":"greeting"}"#);
    let extensions: [(&str, &[u8]); 5] = [
        ("ce-time", b"2020-01-01T00:00:00Z"),
        ("ce-myext", br#"{"a":1}"#),
        ("ce-num", b"5"),
        ("ce-str", b"plain"),
        ("ce-subject", b"sub"),
    ];
    assert_snapshot!(binary("0.2", json, &extensions, br#"{"name":"bob"}"#), @r#"{"data":{"name":"bob"},"id":"9","myext":{"a":1},"num":5,"source":"/s","specversion":"0.2","str":"plain","subject":"sub","time":"2020-01-01T00:00:00Z","type":"greeting"}"#);
    assert_snapshot!(binary("0.2", Some("text/plain"), &[], b"plain text"), @r#"{"contenttype":"text/plain","data":"plain text","id":"9","source":"/s","specversion":"0.2","type":"greeting"}"#);
    let bare: [(&str, &[u8]); 4] = [
        ("content-type", b"application/json"),
        ("ce-specversion", b"0.2"),
        ("ce-type", b"1"),
        ("ce-id", b"9"),
    ];
    assert_snapshot!(shown(request(&bare, b"{}")), @r#"{"data":{},"id":"9","specversion":"0.2","type":"1"}"#);
}

#[test]
fn binary_data_is_encoded_by_its_content_type() {
    let bytes = b"\xff\xfe\x00";
    assert_snapshot!(binary("0.2", Some("application/octet-stream"), &[], bytes), @r#"{"contenttype":"application/octet-stream","data":"//4A","datacontentencoding":"base64","id":"9","source":"/s","specversion":"0.2","type":"greeting"}"#);
    assert_snapshot!(binary("0.3", Some("application/octet-stream"), &[], bytes), @r#"{"data":"//4A","datacontentencoding":"base64","datacontenttype":"application/octet-stream","id":"9","source":"/s","specversion":"0.3","type":"greeting"}"#);
    assert_snapshot!(binary("1.0", Some("application/octet-stream"), &[], bytes), @r#"{"data_base64":"//4A","datacontenttype":"application/octet-stream","id":"9","source":"/s","specversion":"1.0","type":"greeting"}"#);
    assert_snapshot!(binary("1.0", Some("text/plain; charset=utf-16le"), &[], b"h\0i\0"), @r#"{"data_base64":"aABpAA==","datacontenttype":"text/plain; charset=utf-16le","id":"9","source":"/s","specversion":"1.0","type":"greeting"}"#);
    assert_snapshot!(binary("1.0", Some("application/vnd.a+json"), &[], b" [1.0, 1]\n"), @r#"{"data":[1.0, 1],"datacontenttype":"application/vnd.a+json","id":"9","source":"/s","specversion":"1.0","type":"greeting"}"#);
    assert_snapshot!(binary("1.0", Some("text/html; charset=UTF-8"), &[], "<b>\"ü\"\n".as_bytes()), @r#"{"data":"<b>\"ü\"\n","datacontenttype":"text/html; charset=UTF-8","id":"9","source":"/s","specversion":"1.0","type":"greeting"}"#);
    assert_snapshot!(binary("0.2", Some("application/vnd.a+json"), &[], b"1"), @r#"{"contenttype":"application/vnd.a+json","data":1,"id":"9","source":"/s","specversion":"0.2","type":"greeting"}"#);
}

#[test]
fn an_empty_body_is_no_data() {
    assert_snapshot!(binary("0.2", Some("application/json"), &[], b""), @r#"{"id":"9","source":"/s","specversion":"0.2","type":"greeting"}"#);
    assert_snapshot!(binary("1.0", Some("application/json"), &[], b""), @r#"{"datacontenttype":"application/json","id":"9","source":"/s","specversion":"1.0","type":"greeting"}"#);
}

#[test]
fn d23_binary_without_a_content_type_is_an_event() {
    assert_snapshot!(binary("0.2", None, &[], b"{}"), @r#"{"data":{},"id":"9","source":"/s","specversion":"0.2","type":"greeting"}"#);
    assert_snapshot!(binary("1.0", None, &[], b"some words"), @r#"{"data":"some words","id":"9","source":"/s","specversion":"1.0","type":"greeting"}"#);
    assert_snapshot!(binary("1.0", None, &[], b"\xff"), @r#"{"data_base64":"/w==","id":"9","source":"/s","specversion":"1.0","type":"greeting"}"#);
}

#[test]
fn binary_data_that_should_be_json_and_is_not_is_400() {
    assert_snapshot!(binary("0.2", Some("application/json"), &[], b"nojson"), @"400 The request body is not valid JSON: expected ident at line 1 column 2, but its content-type says that it is JSON.");
    assert_snapshot!(binary("1.0", Some("a/b+json"), &[], b"\xff"), @"400 The request body is not valid JSON: the byte at offset 0 is not UTF-8, but its content-type says that it is JSON.");
    assert_snapshot!(binary("1.0", Some("application/json"), &[], b"{} {}"), @"400 The request body is not valid JSON: trailing characters at line 1 column 4, but its content-type says that it is JSON.");
}

#[test]
fn header_values_of_1_0_are_strings_in_percent_encoding() {
    let json = Some("application/json");
    let headers: [(&str, &[u8]); 5] = [
        ("ce-subject", b"Euro%20%E2%82%AC%20%f0%9f%98%80"),
        ("ce-num", b"5"),
        ("ce-quoted", br#""a \"b\" %25""#),
        ("ce-raw", "größer".as_bytes()),
        ("ce-percent", b"100%"),
    ];
    assert_snapshot!(binary("1.0", json, &headers, b"1"), @r#"{"data":1,"datacontenttype":"application/json","id":"9","num":"5","percent":"100%","quoted":"a \"b\" %","raw":"größer","source":"/s","specversion":"1.0","subject":"Euro € 😀","type":"greeting"}"#);
    assert_snapshot!(binary("1.0", json, &[("ce-x", b"%C0%A0")], b"1"), @"400 The header ce-x is neither plain nor quoted text whose percent-encoding is UTF-8.");
    assert_snapshot!(binary("1.0", json, &[("ce-x", b"\"open")], b"1"), @"400 The header ce-x is neither plain nor quoted text whose percent-encoding is UTF-8.");
    assert_snapshot!(binary("1.0", json, &[("ce-x", b"\xff")], b"1"), @"400 The header ce-x is not UTF-8.");
    assert_snapshot!(binary("1.0", json, &[("ce-x", b"a%0Ab")], b"1"), @"400 Your request looks like it's using the CloudEvents binary content mode but can't be parsed: x must be text without control characters. Each attribute goes into a header of its name with the prefix ce-.");
}

#[test]
fn bad_ce_headers_are_400_and_named() {
    let json = Some("application/json");
    for name in ["ce-data", "ce-data_base64", "ce-datacontenttype", "ce-contenttype", "ce-", "ce-id"] {
        for version in ["0.2", "0.3", "1.0"] {
            let answer = binary(version, json, &[(name, b"x")], b"{}");
            assert!(answer.starts_with(&format!("400 The header {name} ")), "{answer}");
        }
    }
    assert_snapshot!(binary("0.1", json, &[], b"{}"), @r#"400 Your request looks like it's using the CloudEvents binary content mode, but the ce-specversion header is "0.1" instead of "0.2", "0.3" or "1.0"."#);
    assert_snapshot!(binary("1.0", json, &[("ce-my-ext", b"x")], b"{}"), @r#"400 Your request looks like it's using the CloudEvents binary content mode but can't be parsed: "my-ext" is not an attribute name of CloudEvents 1.0 (only a-z and 0-9; EVENTS_LENIENT admits others). Each attribute goes into a header of its name with the prefix ce-."#);
    assert_snapshot!(binary("1.0", json, &[("ce-time", b"noon")], b"{}"), @"400 Your request looks like it's using the CloudEvents binary content mode but can't be parsed: time must be a timestamp (RFC 3339), like 2018-04-05T17:31:00Z. Each attribute goes into a header of its name with the prefix ce-.");
    let no_id: [(&str, &[u8]); 3] =
        [("content-type", b"application/json"), ("ce-specversion", b"0.2"), ("ce-type", b"t")];
    assert_snapshot!(shown(request(&no_id, b"{}")), @"400 Your request looks like it's using the CloudEvents binary content mode but can't be parsed: id is missing. Each attribute goes into a header of its name with the prefix ce-.");
    let no_source: [(&str, &[u8]); 3] = [("ce-specversion", b"1.0"), ("ce-type", b"t"), ("ce-id", b"1")];
    assert_snapshot!(shown(request(&no_source, b"")), @"400 Your request looks like it's using the CloudEvents binary content mode but can't be parsed: source is missing. Each attribute goes into a header of its name with the prefix ce-.");
}
