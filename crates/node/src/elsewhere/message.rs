//! What nodes ask each other about clients that have gone from one to another, as JSON.

use bytes::Bytes;
use connection::Gap;
use seal::Incarnation;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::bus::Stamp;

/// A question to the same room at another node.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Question {
    /// Whether the positions of the node are of this series.
    Series(u64),
    /// Asks for what a client has missed.
    Missed(MissedBy),
    /// Has the node send the heads of these buckets.
    Heads(Vec<u16>),
    /// Which numbers the node has given last in these buckets.
    Numbers(Vec<u16>),
}

/// A client that has missed something.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MissedBy {
    /// The id of the last event that it has got.
    pub(super) cursor: String,
    /// What it wants to receive, as RIG writes it.
    pub(super) subscriptions: Value,
    /// What the node has to reach before it answers.
    pub(super) reached: Vec<WireStamp>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Answer {
    /// Whether it is the series of the node.
    Series(bool),
    /// Why there is no exact answer: the reason of `rig.gap`.
    Gap(String),
    /// The next events.
    Missed(MissedEvents),
    /// There is nothing to say.
    Done,
    /// The last number of each bucket in which the node has given any.
    Numbers(Vec<(u16, u64)>),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MissedEvents {
    pub(super) events: Vec<MissedEvent>,
    /// If these are all events: what the node has reached.
    pub(super) reached: Option<Vec<WireStamp>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MissedEvent {
    pub(super) id: String,
    pub(super) stamp: Option<WireStamp>,
    pub(super) event: Box<RawValue>,
}

/// A stamp: life, bucket, number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WireStamp(pub(super) Stamp);

impl Serialize for WireStamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Stamp { life, bucket, number } = self.0;
        (life.to_string(), bucket, number).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for WireStamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (life, bucket, number) = <(String, u16, u64)>::deserialize(deserializer)?;
        let life: Incarnation = life.parse().map_err(serde::de::Error::custom)?;
        Ok(Self(Stamp { life, bucket, number }))
    }
}

impl Question {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a question is JSON")
    }
}

impl Answer {
    pub(super) fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("an answer is JSON").into()
    }

    pub(super) fn gap(gap: Gap) -> Self {
        Self::Gap(gap.as_str().to_owned())
    }
}

/// Returns the gap that a node has named. One that this version does not know is another node's.
pub(super) fn gap_named(name: &str) -> Gap {
    Gap::ALL.into_iter().find(|gap| gap.as_str() == name).unwrap_or(Gap::Elsewhere)
}

pub(super) fn on_wire(stamps: Vec<Stamp>) -> Vec<WireStamp> {
    stamps.into_iter().map(WireStamp).collect()
}

pub(super) fn from_wire(stamps: &[WireStamp]) -> Vec<Stamp> {
    stamps.iter().map(|stamp| stamp.0).collect()
}
