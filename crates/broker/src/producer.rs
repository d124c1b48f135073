//! The port towards brokers: sends events to them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

/// Sends events to a broker.
pub trait Producer: fmt::Debug + Send + Sync + 'static {
    /// Returns its name, for definitions of APIs, the log and the metrics: `kafka`.
    fn name(&self) -> &'static str;

    /// Returns whether it is connected.
    fn is_up(&self) -> bool;

    /// Returns the size limit of an event in bytes: Kafka's default, unless the broker has another.
    fn max_bytes(&self) -> usize {
        1_000_000
    }

    /// Sends an event. Resolves when the broker has acknowledged it.
    ///
    /// # Errors
    /// Fails if it has not within this time, or refuses the event.
    fn produce<'p>(
        &'p self,
        to: &'p Destination,
        event: Produced,
        within: Duration,
    ) -> BoxFuture<'p, Result<(), ProduceError>>;
}

/// Sends events to a broker that returns the reply of whoever received them.
pub trait Requester: Producer {
    /// Sends an event, and waits for the first reply to it.
    ///
    /// # Errors
    /// Fails if none has come within this time, or if what is sent there has no receiver
    /// ([`ProduceError::Unavailable`]).
    fn request<'p>(
        &'p self,
        to: &'p Destination,
        event: Produced,
        within: Duration,
    ) -> BoxFuture<'p, Result<Reply, ProduceError>>;
}

/// The reply to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its headers; those that are given more than once, each time.
    pub headers: Vec<(String, String)>,
    /// Its payload.
    pub body: Bytes,
}

/// Where events are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The topic, subject or stream.
    pub topic: Arc<str>,
    /// The subject at the schema registry by whose latest schema `data` is encoded.
    pub schema: Option<Arc<str>>,
}

/// An event to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Produced {
    /// Its attributes and `data`.
    pub members: Map<String, Value>,
    /// Events with the same key stay in order, on brokers with partitions.
    pub key: Option<String>,
}

impl Produced {
    /// Returns the event in JSON format.
    pub fn json(&self) -> Bytes {
        serde_json::to_vec(&self.members).expect("names are strings").into()
    }
}

/// Why an event was not sent, or may not have been. The text goes to the request log; only that of
/// [`ProduceError::Invalid`] also to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// The event cannot be encoded as the destination demands (400).
    #[error("{0}")]
    Invalid(String),
    /// The event is larger than the broker allows (413).
    #[error("{0}")]
    TooLarge(String),
    /// The broker refuses it: no such topic, no permission (502).
    #[error("{0}")]
    Refused(String),
    /// The broker, or the schema registry, cannot be reached (503).
    #[error("{0}")]
    Unavailable(String),
    /// The broker has not acknowledged it in time; it may still have it (504).
    #[error("{0}")]
    TimedOut(String),
}

impl ProduceError {
    /// Returns the label value in the metrics.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::TooLarge(_) => "too_large",
            Self::Refused(_) => "refused",
            Self::Unavailable(_) => "unavailable",
            Self::TimedOut(_) => "timed_out",
        }
    }
}
