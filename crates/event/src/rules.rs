//! The rules of each version of CloudEvents. For 0.1 and 0.2, which RIG supports, and for 0.3,
//! version, type and id are required, as in RIG. 1.0 must conform to its specification.

use std::borrow::Cow;
use std::io;

use base64::engine::general_purpose::STANDARD;

use crate::document::{Attribute, Document, ExtensionNames};
use crate::error::{EventError, shown};
use crate::syntax::{is_absolute_uri, is_attribute_text, is_media_type, is_time, is_uri_reference};
use crate::version::Version;

/// Length limit of `type`, in bytes. Types are compared, hashed, and stored for each subscription.
pub const MAX_TYPE: usize = 1024;
/// Length limit of `id`, in bytes. Ids become cookies and log fields.
pub const MAX_ID: usize = 1024;
/// Length limit of `source`, in bytes. It is a URI, and few programs accept longer ones.
pub const MAX_SOURCE: usize = 8192;

/// The attributes that routing needs. They are copied from the JSON, so that the event does not
/// keep its read buffer in memory.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) version: Version,
    pub(crate) event_type: Box<str>,
    pub(crate) id: Box<str>,
    pub(crate) source: Option<Box<str>>,
}

/// Returns the envelope of a document, if it satisfies the rules of its version.
pub(crate) fn envelope(document: Document<'_>) -> Result<Envelope, EventError> {
    let version = version(&document)?;
    match version {
        Version::V0_1 => {
            let Document { old_event_type, old_event_id, source, .. } = document;
            lenient(version, ("eventType", old_event_type), ("eventID", old_event_id), source)
        }
        Version::V0_2 | Version::V0_3 => {
            let Document { event_type, id, source, .. } = document;
            lenient(version, ("type", event_type), ("id", id), source)
        }
        Version::V1_0 => strict(document),
    }
}

fn version(document: &Document<'_>) -> Result<Version, EventError> {
    let (name, expected, value) = match (&document.specversion, &document.cloud_events_version) {
        (Some(value), _) => ("specversion", r#""0.2", "0.3" or "1.0""#, value),
        (None, Some(value)) => ("cloudEventsVersion", r#""0.1""#, value),
        (None, None) => return Err(EventError::Missing { name: "specversion" }),
    };
    let Attribute::Text(text) = value else {
        return Err(EventError::WrongType { name: name.into(), expected: "a string", found: value.kind() });
    };
    match (name, text.as_ref()) {
        ("cloudEventsVersion", "0.1") => Ok(Version::V0_1),
        ("specversion", "0.2") => Ok(Version::V0_2),
        ("specversion", "0.3") => Ok(Version::V0_3),
        ("specversion", "1.0") => Ok(Version::V1_0),
        _ => Err(EventError::UnknownVersion { name, expected, value: shown(text).into_owned() }),
    }
}

/// Applies RIG's rules. Unlike in RIG, a type or id that is a number, null or empty is refused,
/// since nothing could subscribe to it or distinguish it.
fn lenient<'a>(
    version: Version,
    (type_name, event_type): (&'static str, Option<Attribute<'a>>),
    (id_name, id): (&'static str, Option<Attribute<'a>>),
    source: Option<Attribute<'a>>,
) -> Result<Envelope, EventError> {
    let event_type = required(type_name, MAX_TYPE, event_type)?;
    let id = required(id_name, MAX_ID, id)?;
    let source = match source {
        None | Some(Attribute::Null) => None,
        Some(source) => Some(bounded("source", MAX_SOURCE, string("source", source)?)?),
    };
    Ok(Envelope {
        version,
        event_type: Box::from(event_type),
        id: Box::from(id),
        source: source.map(Box::from),
    })
}

/// Applies CloudEvents 1.0.2, "Context Attributes" and the JSON event format. An attribute that is
/// null counts as missing (JSON format, section 2.2).
fn strict(document: Document<'_>) -> Result<Envelope, EventError> {
    let id = required("id", MAX_ID, present(document.id))?;
    let event_type = required("type", MAX_TYPE, present(document.event_type))?;
    let source = required("source", MAX_SOURCE, present(document.source))?;
    for (name, text) in [("id", &id), ("type", &event_type)] {
        demand(name, is_attribute_text(text), "text without control characters")?;
    }
    demand("source", is_uri_reference(&source), "a URI-reference (RFC 3986, section 4.1)")?;

    optional("time", document.time, is_time, "a timestamp (RFC 3339), like 2018-04-05T17:31:00Z")?;
    optional("subject", document.subject, is_attribute_text, "text without control characters")?;
    let media_type = "a media type (RFC 2046), like application/json";
    optional("datacontenttype", document.datacontenttype, is_media_type, media_type)?;
    optional("dataschema", document.dataschema, is_absolute_uri, "an absolute URI (RFC 3986, section 4.3)")?;
    if let Some(value) = present(document.data_base64) {
        let text = string("data_base64", value)?;
        demand("data_base64", is_base64(&text), "Base64 (RFC 4648, section 4)")?;
        if document.has_data {
            return Err(EventError::BothData);
        }
    }

    // In that case, these are ordinary names of extensions.
    let are_free = document.names == ExtensionNames::Any;
    let old_names = [
        ("cloudEventsVersion", document.cloud_events_version),
        ("eventType", document.old_event_type),
        ("eventID", document.old_event_id),
    ];
    if let Some((name, _)) = old_names.into_iter().find(|(_, value)| value.is_some() && !are_free) {
        return Err(EventError::AttributeName { name: name.into() });
    }
    match document.extension_fault {
        Some(fault) => Err(fault),
        None => Ok(Envelope {
            version: Version::V1_0,
            event_type: Box::from(event_type),
            id: Box::from(id),
            source: Some(Box::from(source)),
        }),
    }
}

fn present(value: Option<Attribute<'_>>) -> Option<Attribute<'_>> {
    value.filter(|value| !matches!(value, Attribute::Null))
}

fn string<'a>(name: &'static str, value: Attribute<'a>) -> Result<Cow<'a, str>, EventError> {
    match value {
        Attribute::Text(text) => Ok(text),
        other => Err(EventError::WrongType { name: name.into(), expected: "a string", found: other.kind() }),
    }
}

fn required<'a>(
    name: &'static str,
    limit: usize,
    value: Option<Attribute<'a>>,
) -> Result<Cow<'a, str>, EventError> {
    let text = string(name, value.ok_or(EventError::Missing { name })?)?;
    if text.is_empty() {
        return Err(EventError::EmptyAttribute { name });
    }
    bounded(name, limit, text)
}

fn bounded<'a>(name: &'static str, limit: usize, text: Cow<'a, str>) -> Result<Cow<'a, str>, EventError> {
    if text.len() > limit {
        return Err(EventError::TooLong { name, length: text.len(), limit });
    }
    Ok(text)
}

fn optional(
    name: &'static str,
    value: Option<Attribute<'_>>,
    keeps: fn(&str) -> bool,
    expected: &'static str,
) -> Result<(), EventError> {
    let Some(value) = present(value) else { return Ok(()) };
    let text = string(name, value)?;
    if text.is_empty() {
        return Err(EventError::EmptyAttribute { name });
    }
    demand(name, keeps(&text), expected)
}

fn demand(name: &'static str, kept: bool, expected: &'static str) -> Result<(), EventError> {
    if kept { Ok(()) } else { Err(EventError::Malformed { name: name.into(), expected }) }
}

/// Returns `true` for Base64. Decodes piece by piece without storing the result, since the text may
/// be as long as the body.
fn is_base64(text: &str) -> bool {
    let mut decoder = base64::read::DecoderReader::new(text.as_bytes(), &STANDARD);
    io::copy(&mut decoder, &mut io::sink()).is_ok()
}
