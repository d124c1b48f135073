//! The Kafka binding of CloudEvents 1.0, with what RIG and its producers do beyond it: determines
//! what a message is, and reads its event. Avro is only recognised here. Its schema is in a
//! registry, and asking one is the caller's task.
//!
//! | `content-type` | `ce_specversion` | the message is |
//! | --- | --- | --- |
//! | any, with a header `rig-correlation` | any | an answer |
//! | `application/cloudevents`, `application/cloudevents+json` | any | structured; Avro in the registry's format |
//! | `application/cloudevents+avro` | any | structured, in Avro |
//! | any other `application/cloudevents…` | any | refused |
//! | `avro/binary`, `application/avro` | yes | binary, with data in Avro |
//! | `avro/binary`, `application/avro` | no | structured, in Avro, as in RIG |
//! | any other | yes | binary |
//! | any other | no | refused |
//! | none | yes | binary; data in Avro in the registry's format |
//! | none | no | structured, as in RIG, which reads no headers; Avro in the registry's format |
//!
//! A message without a value is a binary event without data if its headers have all attributes that
//! are required, and else a tombstone.

mod headers;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use serde_json::Value;

use crate::document::ExtensionNames;
use crate::error::{EventError, shown};
use crate::event::Event;
use crate::http::binary::{Binding, Members, shown_bytes, version};
use crate::http::{DecodeError, is_event_format, unmarked};
use crate::syntax::MediaType;

use headers::Headers;

/// What a message of Kafka is.
#[derive(Debug)]
pub enum Message {
    /// An event.
    Event(Event),
    /// An event in Avro, which needs the schema registry.
    Avro(AvroMessage),
    /// A deletion in a compacted topic: no value, and no event.
    Tombstone,
    /// An answer to a request, which has the header `rig-correlation`. It is no event.
    Answer,
}

/// An event that is in Avro, or whose data is.
pub struct AvroMessage {
    bytes: Bytes,
    /// The attributes, if they are in headers and only the data is Avro.
    members: Option<Members<'static>>,
    names: ExtensionNames,
}

impl AvroMessage {
    /// Returns the value in the wire format of schema registries: a zero, the id of the schema in 4
    /// bytes, and the Avro.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the event. `json` is what [`AvroMessage::bytes`] stands for: the data if the
    /// attributes are in headers, else the whole event.
    ///
    /// # Errors
    /// Fails if the attributes violate the rules of their version, or if the source is missing.
    pub fn with(self, json: Value) -> Result<Event, DecodeError> {
        match self.members {
            Some(mut members) => {
                members.add_data(json);
                binary(members, self.names)
            }
            None => structured(json.to_string().into(), self.names),
        }
    }
}

/// Shows no attribute and no byte of the value, since neither may get into a log.
impl fmt::Debug for AvroMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AvroMessage")
            .field("bytes", &format_args!("{} bytes", self.bytes.len()))
            .field("is_whole_event", &self.members.is_none())
            .finish_non_exhaustive()
    }
}

/// Determines what a message is. Headers are pairs of a name and a value, `None` for null. Their
/// number is limited by the size of a message.
///
/// As in RIG, an event must have a source, also in the versions that do not require it.
///
/// # Errors
/// Fails if the headers or the value are not what the content type requires.
pub fn read<'h>(
    headers: impl IntoIterator<Item = (&'h str, Option<&'h [u8]>)>,
    value: Option<Bytes>,
    names: ExtensionNames,
) -> Result<Message, DecodeError> {
    let headers = Headers::read(headers)?;
    if headers.is_answer {
        return Ok(Message::Answer);
    }
    let value = value.unwrap_or_default();
    let essence = headers.content_type.map(essence);
    let event_format = essence.as_deref().filter(|essence| is_event_format(essence));
    if value.is_empty() && (event_format.is_some() || !headers.are_complete()) {
        return Ok(Message::Tombstone);
    }
    if let Some(format) = event_format {
        return match (format, has_schema(&value)) {
            ("application/cloudevents" | "application/cloudevents+json", false) => {
                structured(value, names).map(Message::Event)
            }
            ("application/cloudevents" | "application/cloudevents+json", true)
            | ("application/cloudevents+avro", true) => {
                Ok(Message::Avro(AvroMessage { bytes: value, members: None, names }))
            }
            ("application/cloudevents+avro", false) => Err(DecodeError::NoAvroSchema),
            (other, _) => Err(DecodeError::UnsupportedFormat(shown(other).into_owned())),
        };
    }
    match essence.as_deref() {
        Some("avro/binary" | "application/avro") | None if has_schema(&value) => {
            let members = headers.has_attributes().then(|| avro_members(&headers)).transpose()?;
            Ok(Message::Avro(AvroMessage { bytes: value, members, names }))
        }
        // Only RIG has this type, and always with a schema. `application/avro` can also be data of
        // any other producer, which goes through as it came.
        Some("avro/binary") if !value.is_empty() => Err(DecodeError::NoAvroSchema),
        None if !headers.has("specversion") => structured(value, names).map(Message::Event),
        _ => {
            let mut members = members(&headers)?;
            let content_type = match headers.content_type {
                Some(text) => Some(text),
                None => headers.data_type()?,
            };
            members.add_body(content_type.map(media_type).as_ref(), &value)?;
            if let Some(text) = content_type {
                members.add_content_type(text);
            }
            binary(members, names).map(Message::Event)
        }
    }
}

/// Returns `true` if a value begins as the wire format of schema registries does.
fn has_schema(value: &[u8]) -> bool {
    value.len() >= 5 && value[0] == 0
}

fn structured(json: Bytes, names: ExtensionNames) -> Result<Event, DecodeError> {
    Event::from_json_with(unmarked(json), names).and_then(with_source).map_err(DecodeError::BadMessage)
}

fn binary(members: Members<'_>, names: ExtensionNames) -> Result<Event, DecodeError> {
    members.into_event(names).and_then(with_source).map_err(DecodeError::BadMessageHeaders)
}

fn with_source(event: Event) -> Result<Event, EventError> {
    if event.source().is_some() { Ok(event) } else { Err(EventError::Missing { name: "source" }) }
}

/// Returns the attributes of the headers, as members of the event.
fn members<'h>(headers: &Headers<'h>) -> Result<Members<'h>, DecodeError> {
    let bad = DecodeError::BadMessageHeaders;
    let name = "specversion";
    let given = headers.get(name).ok_or(bad(EventError::Missing { name }))?;
    let version = version(given).ok_or_else(|| {
        let expected = r#""0.2", "0.3" or "1.0""#;
        bad(EventError::UnknownVersion { name, expected, value: shown_bytes(given) })
    })?;
    let mut members = Members::new(Binding::Kafka, version);
    for (header, name, value) in headers.attributes() {
        members.add_attribute(header, name, value)?;
    }
    Ok(members)
}

/// Returns the members of an event whose data is in Avro. RIG sends the event's own content type as
/// `ce_contenttype`, because `content-type` announces Avro.
fn avro_members(headers: &Headers<'_>) -> Result<Members<'static>, DecodeError> {
    let mut members = members(headers)?;
    if let Some(text) = headers.data_type()?.or(headers.content_type) {
        members.add_content_type(text);
    }
    Ok(members.into_owned())
}

/// Returns `type/subtype` in lower case. What follows decides nothing, so it may be malformed.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Returns what the content type says about the data. RIG and its producers take any text as a
/// content type, so one that is malformed is no error here; version 1.0 refuses it by its rules.
fn media_type(content_type: &str) -> MediaType {
    MediaType::parse(content_type)
        .unwrap_or_else(|| MediaType { essence: essence(content_type), charset: None })
}
