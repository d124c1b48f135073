//! Requests to JetStream about a consumer.
//!
//! The library reads the answers of JetStream in a way that fails on numbers, since serde_json
//! keeps their digits here (`arbitrary_precision`). So they are read as JSON.

use std::fmt;
use std::time::Duration;

use async_nats::{Client, Request, RequestErrorKind};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::pull::Limits;

/// How long JetStream may take to answer. In an election, a request is lost.
const ANSWER: Duration = Duration::from_secs(5);

/// How long the server waits for the acknowledgement of a message, unless its consumer says
/// otherwise.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// Bounds of what a consumer says of it: it is looked at in a time that is neither busy nor
/// endless.
const LEAST_ACK_WAIT: Duration = Duration::from_millis(100);
const MOST_ACK_WAIT: Duration = Duration::from_secs(3600);

/// Limit of the messages that are delivered and not acknowledged, for all nodes of the group.
const MAX_ACK_PENDING: u64 = 1000;

/// Codes of errors (nats-server, server/errors.json).
const CONSUMER_NOT_FOUND: u64 = 10014;
const MESSAGE_NOT_FOUND: u64 = 10037;
const STREAM_NOT_FOUND: u64 = 10059;
const CONSUMER_EXISTS: u64 = 10148;

/// Asks about one consumer of one stream.
pub(super) struct Api {
    client: Client,
    stream: String,
    consumer: String,
}

/// What is known of the stream.
pub(super) struct StreamInfo {
    /// When it was created.
    pub(super) created: String,
    /// It holds what is not acknowledged (retention `workqueue`), and has only consumers that
    /// deliver all.
    pub(super) is_queue: bool,
}

/// A message of the stream.
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) subject: String,
    /// As they are sent, with the version.
    pub(super) headers: Vec<u8>,
}

/// A consumer that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) limits: Limits,
    pub(super) ack_wait: Duration,
    /// Everything up to this message of the stream is acknowledged.
    pub(super) floor: u64,
    /// The last message of the stream that was delivered.
    pub(super) delivered: u64,
    /// The subjects that it delivers.
    pub(super) filters: Vec<String>,
    /// How many messages were not delivered yet.
    pub(super) pending: u64,
}

/// What a consumer that is created delivers first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// What is published from now on.
    New,
    /// The first message of the stream.
    First,
    /// What follows this message of the stream.
    After(u64),
}

/// Why a consumer cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    #[error("the stream {stream} of JetStream does not exist")]
    NoStream { stream: String },
    #[error("the stream {stream} of JetStream has no consumer {consumer}")]
    NoConsumer { stream: String, consumer: String },
    #[error("the consumer exists already, with another configuration")]
    Exists,
    #[error("the stream has no such message")]
    NoMessage,
    #[error("the consumer {consumer} of the stream {stream} cannot be used: {reason}")]
    Unusable { stream: String, consumer: String, reason: String },
    #[error("JetStream refuses a request: {0}")]
    Refused(String),
    #[error("JetStream does not answer: {0}")]
    Silent(String),
}

impl Api {
    pub(super) fn new(client: Client, stream: &str, consumer: &str) -> Self {
        Self { client, stream: stream.to_owned(), consumer: consumer.to_owned() }
    }

    /// Returns what is known of the stream.
    pub(super) async fn stream(&self) -> Result<StreamInfo, ApiError> {
        let answer = self.ask(&format!("STREAM.INFO.{}", self.stream), Value::Null).await?;
        let created = answer["created"].as_str().unwrap_or_default().to_owned();
        Ok(StreamInfo { created, is_queue: answer["config"]["retention"] == "workqueue" })
    }

    /// Returns the first message from this number on whose subject matches.
    pub(super) async fn message(&self, from: u64, filter: &str) -> Result<Option<Stored>, ApiError> {
        let request = json!({ "seq": from, "next_by_subj": filter });
        let answer = match self.ask(&format!("STREAM.MSG.GET.{}", self.stream), request).await {
            Err(ApiError::NoMessage) => return Ok(None),
            answer => answer?,
        };
        let message = &answer["message"];
        let headers = BASE64_STANDARD.decode(message["hdrs"].as_str().unwrap_or_default());
        Ok(Some(Stored {
            sequence: message["seq"].as_u64().unwrap_or(u64::MAX),
            subject: message["subject"].as_str().unwrap_or_default().to_owned(),
            headers: headers.unwrap_or_default(),
        }))
    }

    /// Returns where the receipt of a message is sent to, of which only its number in the stream is
    /// known. As the number of a delivery, 0 is none: by 1, some servers would take all messages
    /// before it for acknowledged.
    pub(super) fn receipt(&self, sequence: u64) -> String {
        format!("$JS.ACK.{}.{}.1.{sequence}.0.0.0", self.stream, self.consumer)
    }

    /// Returns the consumer, if it can be used as it is.
    pub(super) async fn consumer(&self) -> Result<Bound, ApiError> {
        let subject = format!("CONSUMER.INFO.{}.{}", self.stream, self.consumer);
        self.read(&self.ask(&subject, Value::Null).await?)
    }

    /// Creates the consumer.
    pub(super) async fn create(
        &self,
        subjects: &[String],
        start: Start,
        max_deliver: Option<u32>,
    ) -> Result<Bound, ApiError> {
        let mut config = json!({
            "name": self.consumer,
            "durable_name": self.consumer,
            "description": "Reactive Interaction Gateway",
            "ack_policy": "explicit",
            "ack_wait": nanoseconds(ACK_WAIT),
            "max_ack_pending": MAX_ACK_PENDING,
            "max_deliver": max_deliver.map_or(-1, i64::from),
            "replay_policy": "instant",
        });
        let mut subject = format!("CONSUMER.CREATE.{}.{}", self.stream, self.consumer);
        // With a single one, permissions can be given for it.
        match subjects {
            [one] => {
                config["filter_subject"] = json!(one);
                subject = format!("{subject}.{one}");
            }
            subjects => config["filter_subjects"] = json!(subjects),
        }
        match start {
            Start::New => config["deliver_policy"] = json!("new"),
            Start::First => config["deliver_policy"] = json!("all"),
            Start::After(sequence) => {
                config["deliver_policy"] = json!("by_start_sequence");
                config["opt_start_seq"] = json!(sequence.saturating_add(1));
            }
        }
        let request = json!({ "stream_name": self.stream, "action": "create", "config": config });
        self.read(&self.ask(&subject, request).await?)
    }

    async fn ask(&self, subject: &str, request: Value) -> Result<Value, ApiError> {
        let payload = if request.is_null() { String::new() } else { request.to_string() };
        // It has a subscription of its own: the library keeps nothing if there is no answer.
        let request = Request::new().inbox(self.client.new_inbox());
        let request = request.payload(payload.into()).timeout(Some(ANSWER));
        let answer = self.client.send_request(format!("$JS.API.{subject}"), request).await;
        let answer = answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => {
                ApiError::Silent("it is not enabled at the server, or for this account".to_owned())
            }
            RequestErrorKind::TimedOut => {
                ApiError::Silent(format!("no answer in time, or no permission for $JS.API.{subject}"))
            }
            _ => ApiError::Silent(error.to_string()),
        })?;
        let answer: Value = serde_json::from_slice(&answer.payload)
            .map_err(|_| ApiError::Silent("what answers is not JetStream".to_owned()))?;
        match answer.get("error") {
            Some(error) => Err(self.error(error)),
            None => Ok(answer),
        }
    }

    fn error(&self, error: &Value) -> ApiError {
        let (stream, consumer) = (self.stream.clone(), self.consumer.clone());
        match error["err_code"].as_u64() {
            Some(STREAM_NOT_FOUND) => ApiError::NoStream { stream },
            Some(CONSUMER_NOT_FOUND) => ApiError::NoConsumer { stream, consumer },
            Some(CONSUMER_EXISTS) => ApiError::Exists,
            Some(MESSAGE_NOT_FOUND) => ApiError::NoMessage,
            _ => ApiError::Refused(error["description"].as_str().unwrap_or("for no reason").to_owned()),
        }
    }

    fn read(&self, answer: &Value) -> Result<Bound, ApiError> {
        bound(answer).map_err(|reason| ApiError::Unusable {
            stream: self.stream.clone(),
            consumer: self.consumer.clone(),
            reason,
        })
    }
}

/// Reads the state of a consumer. Fails with the reason if it cannot be used.
fn bound(answer: &Value) -> Result<Bound, String> {
    let config = &answer["config"];
    if config["deliver_subject"].is_string() {
        return Err("it pushes its messages (deliver_subject), and has to be a pull consumer".to_owned());
    }
    if config["ack_policy"] != "explicit" {
        return Err(format!("its ack_policy is {}, and has to be \"explicit\"", config["ack_policy"]));
    }
    if config["headers_only"] == true {
        return Err("it delivers no payloads (headers_only)".to_owned());
    }
    if let Some(policy) = config["priority_policy"].as_str().filter(|policy| *policy != "none") {
        return Err(format!("it has priority groups (priority_policy {policy:?})"));
    }
    // What is 0 or less is no limit.
    let limit = |name: &str| config[name].as_u64().filter(|limit| *limit > 0);
    let size = |name: &str| limit(name).map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let waits = config["backoff"].as_array().into_iter().flatten().filter_map(Value::as_u64);
    let ack_wait = waits.chain(limit("ack_wait")).min().map_or(ACK_WAIT, Duration::from_nanos);
    let several = config["filter_subjects"].as_array().into_iter().flatten();
    let filters = several.chain([&config["filter_subject"]]).filter_map(Value::as_str);
    let filters: Vec<_> = filters.filter(|filter| !filter.is_empty()).map(str::to_owned).collect();
    let number = |what: &str| answer[what]["stream_seq"].as_u64().unwrap_or_default();
    Ok(Bound {
        limits: Limits {
            // A request for more than may be delivered and not acknowledged is never full.
            batch: ["max_batch", "max_ack_pending"].into_iter().filter_map(size).min().unwrap_or(usize::MAX),
            bytes: size("max_bytes"),
            expires: limit("max_expires").map_or(Duration::MAX, Duration::from_nanos),
        },
        ack_wait: ack_wait.clamp(LEAST_ACK_WAIT, MOST_ACK_WAIT),
        floor: number("ack_floor"),
        delivered: number("delivered"),
        filters: if filters.is_empty() { vec![">".to_owned()] } else { filters },
        pending: answer["num_pending"].as_u64().unwrap_or_default(),
    })
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("with what is published from now on"),
            Self::First => f.write_str("with the first message of the stream"),
            Self::After(sequence) => write!(f, "after message {sequence} of the stream"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(config: &Value) -> Result<Bound, String> {
        bound(&json!({ "config": config, "ack_floor": { "stream_seq": 7 }, "num_pending": 3 }))
    }

    #[test]
    fn a_consumer_is_used_as_it_is() {
        let plain = with(&json!({ "ack_policy": "explicit", "max_batch": 0 })).unwrap();
        assert_eq!((plain.floor, plain.pending, plain.ack_wait), (7, 3, ACK_WAIT));
        assert_eq!((plain.limits.batch, plain.limits.bytes), (usize::MAX, None));
        let limited = json!({
            "ack_policy": "explicit", "max_batch": 5, "max_bytes": 100, "max_expires": 2_000_000_000,
            "ack_wait": 9_000_000_000_u64, "backoff": [3_000_000_000_u64, 9_000_000_000_u64],
        });
        let limited = with(&limited).unwrap();
        assert_eq!((limited.limits.batch, limited.limits.bytes), (5, Some(100)));
        assert_eq!(
            (limited.limits.expires, limited.ack_wait),
            (Duration::from_secs(2), Duration::from_secs(3))
        );
        for (most, expected) in [(3, 3), (7, 5)] {
            let config = json!({ "ack_policy": "explicit", "max_batch": 5, "max_ack_pending": most });
            assert_eq!(with(&config).unwrap().limits.batch, expected, "{config}");
        }
        let hasty = with(&json!({ "ack_policy": "explicit", "ack_wait": 1 })).unwrap();
        assert_eq!(hasty.ack_wait, LEAST_ACK_WAIT);
        for (filter, expected) in [
            (json!({}), &[">"][..]),
            (json!({ "filter_subject": "a.>" }), &["a.>"]),
            (json!({ "filter_subjects": ["a", "b"] }), &["a", "b"]),
        ] {
            let mut config = json!({ "ack_policy": "explicit", "priority_policy": "none" });
            config.as_object_mut().unwrap().extend(filter.as_object().unwrap().clone());
            assert_eq!(with(&config).unwrap().filters, expected);
        }
    }

    #[test]
    fn a_consumer_that_cannot_be_used_is_refused_with_the_reason() {
        for (config, reason) in [
            (json!({ "ack_policy": "none" }), "its ack_policy is \"none\""),
            (json!({ "ack_policy": "all" }), "its ack_policy is \"all\""),
            (json!({ "ack_policy": "explicit", "deliver_subject": "a" }), "deliver_subject"),
            (json!({ "ack_policy": "explicit", "headers_only": true }), "headers_only"),
            (
                json!({ "ack_policy": "explicit", "priority_policy": "overflow", "priority_groups": ["g"] }),
                "it has priority groups (priority_policy \"overflow\")",
            ),
            (Value::Null, "its ack_policy is null"),
        ] {
            let told = with(&config).unwrap_err();
            assert!(told.contains(reason), "{config}: {told}");
        }
    }
}
