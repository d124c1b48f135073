//! Which headers become attributes, and with which values.

use serde_json::json;

use super::*;

#[test]
fn the_binding_s_prefix_wins_and_the_last_header_counts() {
    let of_rig_2 =
        [("ce-specversion", "0.2"), ("ce-type", "t"), ("ce-source", "/s"), ("ce-id", "1"), ("CE_ID", "no")];
    let expected = r#"{"id":"1","source":"/s","specversion":"0.2","type":"t"}"#;
    for headers in [
        of_rig_2.to_vec(),
        [&[("ce_id", "0"), ("ce_id", "1")], &of_rig_2[..3], &[("ce-id", "2")]].concat(),
        [&[("ce-id", "2"), ("ce_id", "1")], &of_rig_2[..3]].concat(),
        [&of_rig_2[..3], &[("ce-id", "2"), ("ce-id", "1")]].concat(),
    ] {
        let read = read_any(&headers, None);
        let Ok(Message::Event(event)) = read else { panic!("{headers:?}: {read:?}") };
        assert_eq!(shown(Ok(event)), expected, "{headers:?}");
    }
    let types = [("content-type", "application/cloudevents+xml"), ("Content-Type", "text/plain")];
    assert!(binary("1.0", &types, "x").contains(r#""datacontenttype":"text/plain""#));

    // Null overrides as any other value does, and is no attribute.
    let null =
        [("ce_x", Some(&b"1"[..])), ("ce_x", None), ("content-type", Some(b"bad")), ("content-type", None)];
    let headers = attributes("1.0", &[]);
    let headers = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).chain(null);
    let message = read(headers, None, ExtensionNames::default());
    let Ok(Message::Event(event)) = message else { panic!("{message:?}") };
    assert_eq!(shown(Ok(event)), r#"{"id":"1","source":"/s","specversion":"1.0","type":"t"}"#);
    let headers = attributes("1.0", &[]);
    let headers = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes())));
    let message = read(headers.chain([("ce_source", None)]), None, ExtensionNames::default());
    assert!(matches!(message, Ok(Message::Tombstone)), "{message:?}");
    let message = read([("ce_x", None)], Some(Bytes::from_static(AVRO)), ExtensionNames::default());
    assert!(matches!(message, Ok(Message::Avro(AvroMessage { members: None, .. }))), "{message:?}");
}

#[test]
fn version_type_id_and_source_are_required() {
    for version in ["0.2", "0.3", "1.0"] {
        for (at, name) in ["specversion", "type", "source", "id"].into_iter().enumerate() {
            let mut headers = attributes(version, &[("content-type", "text/plain")]);
            headers.remove(at);
            let told = event(&headers, "x");
            assert!(told.starts_with("The headers of the message"), "{told}");
            assert!(told.contains(&format!("{name} is missing")), "{told}");

            let mut members = json!({"specversion": version, "type": "t", "source": "/s", "id": "1"});
            members.as_object_mut().unwrap().remove(name);
            let told = event(&[], members.to_string());
            assert!(told.starts_with("The value of the message"), "{told}");
            assert!(told.contains(&format!("{name} is missing")), "{told}");
        }
    }
}

#[test]
fn b02_events_of_1_0_and_0_3_are_read() {
    let more = [("content-type", "text/plain"), ("ce_time", "2020-01-01T00:00:00Z")];
    for (version, data) in [
        ("0.2", r#""contenttype":"text/plain","data":"x""#),
        ("0.3", r#""data":"x","datacontenttype":"text/plain""#),
        ("1.0", r#""data":"x","datacontenttype":"text/plain""#),
    ] {
        let structured = EVENT.replace("1.0", version);
        assert_eq!(event(&[], &structured), structured);
        assert_eq!(
            binary(version, &more, "x"),
            format!(
                r#"{{{data},"id":"1","source":"/s","specversion":"{version}","time":"2020-01-01T00:00:00Z","type":"t"}}"#
            )
        );
    }
    for version in ["0.1", "2.0", ""] {
        let told = binary(version, &[], "x");
        assert!(told.contains(&format!("or \"1.0\", not {version:?}")), "{told}");
    }
}

#[test]
fn b03_attributes_without_a_content_type_are_read() {
    assert_eq!(
        binary("1.0", &[], r#"{"a": 1}"#),
        r#"{"data":{"a": 1},"id":"1","source":"/s","specversion":"1.0","type":"t"}"#
    );
    assert!(binary("0.2", &[], "words").contains(r#""data":"words""#));
    assert!(binary("1.0", &[], b"\xff\xfe").contains(r#""data_base64":"//4=""#));
    for name in ["ce_datacontenttype", "ce_contenttype", "ce_contentType"] {
        let json = binary("1.0", &[(name, "text/plain")], "5");
        assert!(json.contains(r#""data":"5","datacontenttype":"text/plain""#), "{json}");
        let json = binary("1.0", &[(name, "text/plain"), ("content-type", "application/json")], "5");
        assert!(json.contains(r#""data":5,"datacontenttype":"application/json""#), "{json}");
    }
}

#[test]
fn b03_no_attribute_is_lost_and_media_types_keep_their_case() {
    let more = [("content-type", "Application/JSON; Charset=UTF-8"), ("ce_schemaurl", "HTTP://a/b")];
    assert_eq!(
        binary("0.2", &more, "[]"),
        r#"{"contenttype":"Application/JSON; Charset=UTF-8","data":[],"id":"1","schemaurl":"HTTP://a/b","source":"/s","specversion":"0.2","type":"t"}"#
    );
    // Over HTTP, RIG leaves this one out.
    assert!(
        binary("0.2", &[("content-type", "application/json")], "1")
            .contains(r#""contenttype":"application/json""#)
    );
    // RIG takes any text as a content type; 1.0 does not.
    assert!(binary("0.2", &[("content-type", "words")], "1").contains(r#""contenttype":"words","data":"1""#));
    assert!(
        binary("0.2", &[("content-type", "application/json; x")], "1")
            .contains(r#""contenttype":"application/json; x","data":1"#)
    );
    assert!(
        binary("1.0", &[("content-type", "words")], "1").contains("datacontenttype must be a media type")
    );
}

#[test]
fn b03_values_keep_their_type_except_objects_and_lists() {
    let value = |version, value| {
        let json: Value = serde_json::from_str(&binary(version, &[("ce_x", value)], "")).unwrap();
        json["x"].clone()
    };
    for version in ["0.2", "0.3", "1.0"] {
        for text in ["007", "1", "1.0", "true", "null", "\"a\"", "a%20b", "100%", "é😀", "", "{no", "[1e999]"]
        {
            assert_eq!(value(version, text), text, "{version}");
        }
    }
    for version in ["0.2", "0.3"] {
        assert_eq!(value(version, r#" {"a": [1, "007"]}"#), json!({"a": [1, "007"]}));
        assert_eq!(value(version, "[1]"), json!([1]));
        let subject = binary(version, &[("ce_subject", "{}"), ("ce_schemaurl", "[]")], "");
        assert!(
            subject.contains(r#""schemaurl":"[]""#) && subject.contains(r#""subject":"{}""#),
            "{subject}"
        );
    }
    // 1.0 has no such extensions, and RIG's own must not refuse an event.
    assert_eq!(value("1.0", r#"{"a":1}"#), r#"{"a":1}"#);
    let of_rig = binary("0.2", &[("ce_rig", r#"{"correlation":"x","port":1.50}"#)], "");
    assert!(of_rig.contains(r#""rig":{"correlation":"x","port":1.50}"#), "{of_rig}");
}

#[test]
fn bad_headers_are_named() {
    for (header, problem) in [
        ("ce_data", "is not allowed: the value of the message is the data"),
        ("ce_data_base64", "is not allowed: the value of the message is the data"),
        ("ce_", "names no attribute"),
    ] {
        assert_eq!(binary("1.0", &[(header, "x")], "x"), format!("The header {header} {problem}."));
    }
    assert!(binary("1.0", &[("ce_my_ext", "x")], "x").contains("\"my_ext\" is not an attribute name"));
    assert!(binary("1.0", &[("ce_x", "\u{7}")], "x").contains("x must be text without control characters"));
    assert!(binary("1.0", &[("ce_time", "noon")], "x").contains("time must be a timestamp"));
    for header in ["ce_x", "ce-x", "ce_contenttype", "content-type"] {
        let headers = attributes("1.0", &[]);
        let headers = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes())));
        let headers = headers.chain([(header, Some(&b"\xff"[..]))]);
        let told = read(headers, Some(Bytes::from_static(b"x")), ExtensionNames::default()).unwrap_err();
        assert_eq!(told.to_string(), format!("The header {header} is not UTF-8."));
    }
    // In structured mode no other header is read.
    let headers = ["ce_x", "ce_contenttype"].map(|header| (header, Some(&b"\xff"[..])));
    let headers = headers.into_iter().chain([("content-type", Some(&b"application/cloudevents"[..]))]);
    assert!(read(headers, Some(Bytes::from_static(EVENT.as_bytes())), ExtensionNames::default()).is_ok());
    let long = format!("ce_data{}", "\u{7}".repeat(100_000));
    assert!(binary("1.0", &[(&long, "x")], "x").len() < 800);
    assert!(binary(&long, &[], "x").len() < 800);
}
