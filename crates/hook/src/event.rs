//! Changes as CloudEvents.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use journal::Change;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::value::RawValue;
use session::NodeName;

/// The media type of an event (CloudEvents 1.0.2, HTTP Protocol Binding, section 3.2).
pub const MEDIA_TYPE: &str = "application/cloudevents+json";

/// What may stand in a segment of a path (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An event as it is sent, each time with the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Identifies it: 32 hexadecimal digits.
    pub id: String,
    /// The event in JSON format.
    pub body: Bytes,
}

/// Which node sends events.
#[derive(Clone, Debug)]
pub struct Source {
    source: Arc<str>,
    /// The name of the node, as JSON.
    node: Arc<str>,
}

impl Source {
    /// Returns the source of the events of a node: `/rig/` and its name.
    pub fn new(node: &NodeName) -> Self {
        let source = format!("/rig/{}", utf8_percent_encode(node.as_str(), ESCAPED)).into();
        let node = serde_json::to_string(node.as_str()).expect("a text is JSON").into();
        Self { source, node }
    }
}

/// The members of an event in their order (CloudEvents 1.0.2, JSON Event Format). `sequence` is the
/// extension of that name, and compared as a text; so all have the same length.
#[derive(Serialize)]
struct Document<'d> {
    specversion: &'static str,
    id: &'d str,
    source: &'d str,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    sequence: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<i32>,
    datacontenttype: &'static str,
    data: &'d RawValue,
}

impl Event {
    /// Returns the event of a change.
    ///
    /// # Errors
    /// Fails if the data of the change are not a JSON object.
    pub fn new(change: &Change, source: &Source) -> Result<Self, serde_json::Error> {
        let id = format!("{:032x}", change.id);
        let data = change.data.strip_prefix('{').unwrap_or_default();
        let data = RawValue::from_string(format!("{{\"node\":{},{data}", source.node))?;
        let document = Document {
            specversion: "1.0",
            id: &id,
            source: &source.source,
            kind: format!("rig.revocation.{}", change.kind.as_str()),
            // A clock that is outside of all calendars has no time.
            time: Timestamp::try_from(change.at).ok().map(|time| format!("{time:.3}")),
            sequence: format!("{:020}", change.sequence),
            // An integer of CloudEvents has 32 bits.
            dropped: (change.dropped > 0).then(|| i32::try_from(change.dropped).unwrap_or(i32::MAX)),
            datacontenttype: "application/json",
            data: &data,
        };
        let body = serde_json::to_vec(&document)?.into();
        Ok(Self { id, body })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use journal::ChangeKind;

    use super::*;

    fn change(dropped: u64, data: &str) -> Change {
        Change {
            sequence: 1_700_000_000_000_042,
            id: 0xab,
            kind: ChangeKind::Accepted,
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            age: Duration::ZERO,
            dropped,
            data: data.to_owned(),
        }
    }

    #[test]
    fn an_event_has_the_members_of_cloudevents_and_the_data_as_they_are() {
        let source = Source::new(&NodeName::from("a node/\"1\""));
        let event = Event::new(&change(0, r#"{"id":"r1","n":1.0}"#), &source).unwrap();
        assert_eq!(event.id, format!("{}ab", "0".repeat(30)));
        assert_eq!(
            event.body,
            concat!(
                r#"{"specversion":"1.0","id":"000000000000000000000000000000ab","source":"/rig/a%20node%2F%221%22","#,
                r#""type":"rig.revocation.accepted","time":"2023-11-14T22:13:20.123Z","#,
                r#""sequence":"00001700000000000042","datacontenttype":"application/json","#,
                r#""data":{"node":"a node/\"1\"","id":"r1","n":1.0}}"#
            )
        );
    }

    #[test]
    fn lost_changes_are_told_as_a_number_of_32_bits() {
        let source = Source::new(&NodeName::default());
        let shown = |dropped| {
            let event = Event::new(&change(dropped, r#"{"id":"r1"}"#), &source).unwrap();
            let event: serde_json::Value = serde_json::from_slice(&event.body).unwrap();
            event["dropped"].as_i64()
        };
        assert_eq!([0, 3, u64::MAX].map(shown), [None, Some(3), Some(2_147_483_647)]);
    }

    #[test]
    fn data_that_are_no_object_are_an_error() {
        let source = Source::new(&NodeName::default());
        for data in ["", "[]", "{\"id\":", "{}}"] {
            assert!(Event::new(&change(0, data), &source).is_err(), "{data}");
        }
    }
}
