//! The event: its envelope and its JSON.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::Offset;
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::document::{self, Document, ExtensionNames};
use crate::error::EventError;
use crate::rules::{self, Envelope};
use crate::version::Version;

/// A CloudEvent: the attributes that routing needs, and the whole event as JSON. A clone costs one
/// reference count.
#[derive(Clone)]
pub struct Event(Arc<Contents>);

struct Contents {
    envelope: Envelope,
    json: Bytes,
}

impl Event {
    /// Reads one event in structured mode. The JSON is kept as it is, byte for byte.
    ///
    /// # Errors
    /// Fails if the bytes are not one JSON object (with nothing after it), an attribute is given
    /// twice, or the attributes violate the rules of the event's version. As in RIG, version, type
    /// and id are required; events of version 1.0 must conform to the specification completely.
    pub fn from_json(json: Bytes) -> Result<Self, EventError> {
        Self::from_json_with(json, ExtensionNames::Conventional)
    }

    /// Reads one event as [`Event::from_json`] does, with other names of extensions.
    ///
    /// # Errors
    /// As [`Event::from_json`].
    pub fn from_json_with(json: Bytes, names: ExtensionNames) -> Result<Self, EventError> {
        let envelope = read(document::text(&json)?, names)?;
        Ok(Self(Arc::new(Contents { envelope, json })))
    }

    /// Reads a batch: a JSON list of events, all of one version (CloudEvents JSON format, section
    /// 4). Each event's JSON is a copy of its exact slice of the list, so that a slow receiver of
    /// one event does not keep the whole batch in memory.
    ///
    /// # Errors
    /// Fails as [`Event::from_json`] does, with the index of the event; one bad event refuses the
    /// batch.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "as from_json; callers need not know how the slices are stored"
    )]
    pub fn batch_from_json(json: Bytes, names: ExtensionNames) -> Result<Vec<Self>, EventError> {
        let text = document::text(&json)?;
        let mut batch = BatchReader { names, ..BatchReader::default() };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let parsed = deserializer.deserialize_any(&mut batch).and_then(|()| deserializer.end());
        match (batch.fault, parsed) {
            (Some(fault), _) => Err(fault),
            (None, Ok(())) => Ok(batch.events),
            (None, Err(error)) if error.is_data() => {
                Err(EventError::NotAList { found: document::kind_of(text) })
            }
            (None, Err(error)) => Err(EventError::NotJson(error.to_string())),
        }
    }

    /// Creates one of RIG's own events: version 0.2, source `rig`, a new UUID, the current time in
    /// microseconds. The members have RIG's order; without data there is no `data` member. The type
    /// must not need escapes in JSON.
    pub fn of_rig(event_type: &'static str, data: Option<&RawValue>) -> Self {
        let mut buffer = Uuid::encode_buffer();
        let id = &*Uuid::new_v4().hyphenated().encode_lower(&mut buffer);
        let (begin, data, comma) = match data {
            Some(data) => (r#"{"data":"#, data.get(), ","),
            None => ("{", "", ""),
        };
        let (version, source) = (Version::V0_2, "rig");
        let json = [
            begin,
            data,
            comma,
            r#""id":""#,
            id,
            r#"","source":""#,
            source,
            r#"","specversion":""#,
            version.as_str(),
            r#"","time":""#,
            &time_of(Timestamp::now()),
            r#"","type":""#,
            event_type,
            r#""}"#,
        ]
        .concat();
        let envelope =
            Envelope { version, event_type: event_type.into(), id: id.into(), source: Some(source.into()) };
        Self(Arc::new(Contents { envelope, json: json.into() }))
    }

    /// Returns `type` (0.1: `eventType`); never empty.
    pub fn event_type(&self) -> &str {
        &self.0.envelope.event_type
    }

    /// Returns `id` (0.1: `eventID`); never empty.
    pub fn id(&self) -> &str {
        &self.0.envelope.id
    }

    /// Returns `source`; always present in 1.0, optional in 0.x (RIG).
    pub fn source(&self) -> Option<&str> {
        self.0.envelope.source.as_deref()
    }

    /// Returns `specversion` (0.1: `cloudEventsVersion`).
    pub fn version(&self) -> Version {
        self.0.envelope.version
    }

    /// Returns the event in CloudEvents' JSON format: the original bytes, if the event was received
    /// in structured mode. They may contain line breaks.
    pub fn json(&self) -> &Bytes {
        &self.0.json
    }
}

/// Shows only the envelope: data must not get into a log.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("type", &self.event_type())
            .field("id", &self.id())
            .field("source", &self.source())
            .field("json", &format_args!("{} bytes", self.0.json.len()))
            .finish()
    }
}

/// Formats a time as RIG does: `2026-11-23T15:14:02.915266+00:00`.
fn time_of(now: Timestamp) -> String {
    let now = Offset::UTC.to_datetime(now);
    let mut text = String::from("0000-00-00T00:00:00.000000+00:00").into_bytes();
    let mut put = |end: usize, digits: usize, mut number: u32| {
        for digit in text[end - digits..end].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    put(4, 4, now.year().unsigned_abs().into());
    put(7, 2, now.month().unsigned_abs().into());
    put(10, 2, now.day().unsigned_abs().into());
    put(13, 2, now.hour().unsigned_abs().into());
    put(16, 2, now.minute().unsigned_abs().into());
    put(19, 2, now.second().unsigned_abs().into());
    put(26, 6, now.subsec_nanosecond().unsigned_abs() / 1000);
    String::from_utf8(text).expect("digits are ASCII")
}

fn read(text: &str, names: ExtensionNames) -> Result<Envelope, EventError> {
    rules::envelope(Document::read(text, names)?)
}

/// Reads the events of a batch one by one, so that a list of a million numbers is refused at the
/// first one.
#[derive(Default)]
struct BatchReader {
    names: ExtensionNames,
    events: Vec<Event>,
    fault: Option<EventError>,
}

impl BatchReader {
    fn push(&mut self, json: &str) -> Result<(), EventError> {
        let index = self.events.len();
        let envelope =
            read(json, self.names).map_err(|error| EventError::InBatch { index, error: Box::new(error) })?;
        let first = self.events.first().map_or(envelope.version, Event::version);
        if envelope.version != first {
            return Err(EventError::MixedVersions { index, first, found: envelope.version });
        }
        let json = Bytes::copy_from_slice(json.as_bytes());
        self.events.push(Event(Arc::new(Contents { envelope, json })));
        Ok(())
    }
}

impl<'de> Visitor<'de> for &mut BatchReader {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of CloudEvents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<(), A::Error> {
        while let Some(json) = events.next_element::<&RawValue>()? {
            if let Err(fault) = self.push(json.get()) {
                self.fault = Some(fault);
                return Err(serde::de::Error::custom("the fault says it"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_rig_has_the_members_in_the_order_of_rig() {
        let data = RawValue::from_string(r#"{"connection_token":"x","errors":[]}"#.to_owned()).unwrap();
        let event = Event::of_rig("rig.connection.create", Some(&data));
        let json = std::str::from_utf8(event.json()).unwrap();
        let head = format!(
            r#"{{"data":{{"connection_token":"x","errors":[]}},"id":"{}","source":"rig","specversion":"0.2","time":""#,
            event.id()
        );
        assert!(json.starts_with(&head), "{json}");
        assert!(json.ends_with(r#"+00:00","type":"rig.connection.create"}"#), "{json}");
        let time = &json[head.len()..json.len() - r#"","type":"rig.connection.create"}"#.len()];
        assert_eq!(time.len(), "2026-11-23T15:14:02.915266+00:00".len(), "{time}");
        assert!(crate::syntax::is_time(time), "{time}");
        let read = Event::from_json(event.json().clone()).unwrap();
        assert_eq!(
            (read.event_type(), read.id(), read.source()),
            (event.event_type(), event.id(), Some("rig"))
        );
    }

    #[test]
    fn times_are_written_as_rig_writes_them() {
        for text in ["2026-11-23T15:14:02.915266", "0007-01-02T03:04:05.000009", "9999-12-30T21:59:59.999999"]
        {
            let now: Timestamp = format!("{text}Z").parse().unwrap();
            assert_eq!(time_of(now), format!("{text}+00:00"));
            assert_eq!(time_of(now), now.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string());
        }
    }

    #[test]
    fn of_rig_without_data_has_no_data_member() {
        let event = Event::of_rig("rig.session_killed", None);
        assert!(event.json().starts_with(br#"{"id":""#));
    }

    #[test]
    fn a_clone_shares_the_bytes() {
        let event = Event::of_rig("t", None);
        let clone = event.clone();
        assert_eq!(clone.json().as_ptr(), event.json().as_ptr());
        assert_eq!(size_of::<Event>(), size_of::<usize>());
    }

    #[test]
    fn an_event_of_a_batch_does_not_keep_the_batch_alive() {
        let batch = Bytes::from_static(
            br#"[{"specversion":"0.2","type":"t","id":"1"} , {"specversion":"0.2","type":"u","id":"2"}]"#,
        );
        let events = Event::batch_from_json(batch.clone(), ExtensionNames::default()).unwrap();
        assert_eq!(events[1].json(), &br#"{"specversion":"0.2","type":"u","id":"2"}"#[..]);
        assert!(!batch.as_ptr_range().contains(&events[1].json().as_ptr()));
    }

    #[test]
    fn debug_shows_no_data() {
        let json = Bytes::from_static(br#"{"specversion":"0.2","type":"t","id":"1","data":"secret"}"#);
        let shown = format!("{:?}", Event::from_json(json).unwrap());
        assert_eq!(shown, r#"Event { type: "t", id: "1", source: None, json: 57 bytes }"#);
    }
}
