//! The NATS binding of CloudEvents 1.0: determines which content mode a message uses, and reads its
//! event.
//!
//! | `content-type` | `ce-specversion` | mode |
//! | --- | --- | --- |
//! | `application/cloudevents`, `application/cloudevents+json` | any | structured |
//! | any other `application/cloudevents…` | any | none |
//! | any other, or none | yes | binary |
//! | any other, or none | no | structured, as in RIG, which reads no headers |

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use crate::document::ExtensionNames;
use crate::error::shown;
use crate::event::Event;
use crate::http::{self, DecodeError};

/// The attribute that says what the data is (NATS binding, section 3.1.1).
const DATA_TYPE: &str = "ce-datacontenttype";

/// Reads the event of a message. Names of headers are compared without regard to case.
///
/// # Errors
/// Fails if the headers or the payload are not what the mode requires.
pub fn decode<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
    payload: Bytes,
    names: ExtensionNames,
) -> Result<Event, DecodeError> {
    let mut headers = relevant(headers)?;
    // One that cannot be read is no event format.
    let content_type = http::content_type(&headers).unwrap_or_default().map(|(parsed, _)| parsed.essence);
    match content_type.as_deref() {
        Some("application/cloudevents" | "application/cloudevents+json") => http::structured(payload, names),
        Some(other) if http::is_event_format(other) => {
            Err(DecodeError::UnsupportedFormat(shown(other).into_owned()))
        }
        _ if headers.contains_key("ce-specversion") => {
            // Some libraries say it in content-type, as over HTTP.
            if let Some(data_type) = headers.remove(DATA_TYPE) {
                headers.insert(CONTENT_TYPE, data_type);
            }
            http::binary::decode(&headers, http::content_type(&headers)?, &payload, names)
        }
        _ => http::structured(payload, names),
    }
}

/// Returns the headers that the binding knows.
fn relevant<'h>(headers: impl IntoIterator<Item = (&'h str, &'h str)>) -> Result<HeaderMap, DecodeError> {
    let mut relevant = HeaderMap::new();
    for (header, value) in headers {
        let bad = |problem| DecodeError::BadHeader { name: shown(header).into_owned(), problem };
        let Ok(name) = HeaderName::from_bytes(header.as_bytes()) else { continue };
        if name != CONTENT_TYPE && !name.as_str().starts_with("ce-") {
            continue;
        }
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad("has a control character"))?;
        if name == DATA_TYPE && relevant.contains_key(&name) {
            return Err(bad("is given more than once"));
        }
        relevant.try_append(name, value).map_err(|_| bad("is one of too many"))?;
    }
    Ok(relevant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&str, &str)], payload: &str) -> Result<String, DecodeError> {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        let event = decode(headers.iter().copied(), payload, ExtensionNames::default())?;
        Ok(std::str::from_utf8(event.json()).unwrap().to_owned())
    }

    const EVENT: &str = r#"{ "specversion":"1.0", "type":"t", "source":"/s", "id":"1" }"#;
    const ATTRIBUTES: [(&str, &str); 4] =
        [("ce-specversion", "1.0"), ("ce-type", "t"), ("ce-source", "/s"), ("ce-id", "1")];

    fn binary(more: &[(&str, &str)], payload: &str) -> Result<String, DecodeError> {
        read(&[&ATTRIBUTES, more].concat(), payload)
    }

    #[test]
    fn structured_events_go_through_byte_for_byte() {
        for headers in [
            &[][..],
            &[("content-type", "application/cloudevents+json; charset=utf-8")],
            &[("Content-Type", "APPLICATION/CloudEvents")],
            &[("content-type", "application/cloudevents"), ("ce-specversion", "0.7")],
            // RIG reads no headers.
            &[("content-type", "application/json")],
            &[("content-type", "text/plain"), ("x-other", "\u{7}")],
            &[("content-type", "json")],
            &[("content-type", "a/b"), ("content-type", "c/d")],
        ] {
            assert_eq!(read(headers, EVENT).as_deref(), Ok(EVENT), "{headers:?}");
        }
    }

    #[test]
    fn binary_events_have_their_attributes_in_headers() {
        assert_eq!(
            binary(&[("ce-datacontenttype", "application/json")], r#"{"a": 1}"#).unwrap(),
            r#"{"data":{"a": 1},"datacontenttype":"application/json","id":"1","source":"/s","specversion":"1.0","type":"t"}"#
        );
        let of_content_type = binary(&[("Content-Type", "text/plain")], "x").unwrap();
        assert!(
            of_content_type.contains(r#""data":"x","datacontenttype":"text/plain""#),
            "{of_content_type}"
        );
        let both = [("content-type", "no type"), ("CE-DataContentType", "application/json")];
        assert!(binary(&both, "5").unwrap().contains(r#""data":5,"datacontenttype":"application/json""#));
        let decoded = binary(&[("Ce-Subject", "a%20%C3%A9")], "").unwrap();
        assert!(decoded.contains(r#""subject":"a é""#) && !decoded.contains("data"), "{decoded}");
    }

    #[test]
    fn what_is_no_event_is_refused_with_a_reason() {
        let batch = [("content-type", "application/cloudevents-batch+json")];
        let avro = [("content-type", "application/cloudevents+avro")];
        for (refused, reason) in [
            (read(&batch, EVENT), "application/cloudevents-batch+json is currently not supported"),
            (read(&avro, EVENT), "application/cloudevents+avro is currently not supported"),
            (read(&[], "{}"), "does not look like a CloudEvent"),
            (read(&[], ""), "does not look like a CloudEvent"),
            (read(&[("ce-specversion", "7.0")], ""), "\"7.0\" instead of"),
            (read(&[("ce-specversion", "1.0")], ""), "can't be parsed"),
            (binary(&[("ce-subject", "%ff")], ""), "The header ce-subject is neither plain"),
            (binary(&[("ce-id", "2")], ""), "The header ce-id is given more than once"),
            (binary(&[("ce-data", "x")], ""), "The header ce-data is not allowed"),
            (binary(&[("ce-subject", "\u{1}")], ""), "The header ce-subject has a control character"),
            (
                binary(&[(DATA_TYPE, "a/b"), (DATA_TYPE, "c/d")], ""),
                "ce-datacontenttype is given more than once",
            ),
            (binary(&[(DATA_TYPE, "json")], ""), "content-type header is not a media type"),
            (binary(&[(DATA_TYPE, "application/json")], "{"), "its content-type says that it is JSON"),
        ] {
            let told = refused.unwrap_err().to_string();
            assert!(told.contains(reason), "{told}");
        }
        let names: Vec<_> = (0..40_000).map(|number| format!("ce-a{number}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
        let told = binary(&many, "").unwrap_err().to_string();
        assert!(told.ends_with("is one of too many."), "{told}");
    }
}
