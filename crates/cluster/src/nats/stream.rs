//! The stream of a cluster: its configuration, and what an operator does with it.

use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use serde_json::{Value, json};

use super::control::NatsWire;
use crate::wire::{Names, StreamInfo, WireError};
use session::Epoch;

/// The version of the format of messages.
const FORMAT: u32 = 1;

/// How long a change of the stream may take: its servers have to be found first.
const CHANGE: Duration = Duration::from_secs(15);

/// How long the state of the stream may take. In an election, the request is lost.
const INFO: Duration = Duration::from_secs(1);

/// Within this time, NATS recognises a repeated publication by its id. None has one.
const DUPLICATES: Duration = Duration::from_secs(120);

const EPOCH: &str = "rig-epoch";
const FORMAT_KEY: &str = "rig-format";
const ADOPTED: &str = "rig-adopted";

/// Codes of errors (nats-server, server/errors.json).
const STREAM_NOT_FOUND: u64 = 10059;
const NAME_IN_USE: u64 = 10058;

/// The stream to create.
#[derive(Clone, Copy, Debug)]
pub struct NewStream {
    /// Limit of its size in bytes, on each server. Near the limit, revocations are queued.
    pub max_bytes: u64,
    /// Whether nodes without a log may join at once. If not, one with a log has to come first, or
    /// an operator has to adopt the stream: it may lack what an earlier one held.
    pub adopted: bool,
}

/// Members of the configuration that lose nothing when they differ. All others may: nodes that
/// follow the stream would miss revocations, or let in who was revoked.
const HARMLESS: [&str; 8] = [
    "num_replicas",
    "duplicate_window",
    "allow_direct",
    "allow_msg_ttl",
    "subject_delete_marker_ttl",
    "discard_new_per_subject",
    "republish",
    "sealed",
];

/// Returns what the configuration of the stream must contain.
fn required(names: &Names, replicas: usize) -> Value {
    json!({
        "name": names.stream(),
        "subjects": [names.stored()],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "max_msgs_per_subject": 1,
        "max_msgs": -1,
        "max_age": 0,
        "discard": "new",
        "discard_new_per_subject": false,
        "duplicate_window": nanoseconds(DUPLICATES),
        "allow_direct": true,
        "allow_msg_ttl": true,
        "subject_delete_marker_ttl": 0,
        "deny_delete": true,
        "deny_purge": true,
        "allow_rollup_hdrs": false,
        "sealed": false,
        "republish": {"src": names.stored(), "dest": names.live()},
    })
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// How a configuration differs from the one that the protocol needs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Differences {
    /// The stream may lose messages.
    dangers: Vec<String>,
    /// It loses none.
    deviations: Vec<String>,
}

impl Differences {
    fn of(config: &Value, names: &Names, replicas: usize) -> Self {
        let mut found = Self::default();
        let required = required(names, replicas);
        for (name, value) in required.as_object().into_iter().flatten() {
            let given = &config[name.as_str()];
            if differs(given, value) {
                let is_harmless = HARMLESS.contains(&name.as_str());
                let list = if is_harmless { &mut found.deviations } else { &mut found.dangers };
                list.push(format!("{name} is {given}, but has to be {value}"));
            }
        }
        if config["max_bytes"].as_u64().is_none_or(|bytes| bytes == 0) {
            found.deviations.push("max_bytes is not set".to_owned());
        }
        let format = &config["metadata"][FORMAT_KEY];
        if format.as_str() != Some(&FORMAT.to_string()) {
            found.dangers.push(format!("{FORMAT_KEY} is {format}, but has to be \"{FORMAT}\""));
        }
        found
    }
}

/// Reads a time; 0 if it is none.
fn milliseconds(time: &Value) -> u64 {
    let time = time.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    time.and_then(|time| time.as_millisecond().try_into().ok()).unwrap_or_default()
}

/// The server leaves out what is false or 0, and adds members of its own.
fn differs(given: &Value, required: &Value) -> bool {
    match (given, required) {
        (Value::Null, required) => *required != Value::Bool(false) && required.as_u64() != Some(0),
        (Value::Object(given), Value::Object(required)) => {
            required.iter().any(|(name, value)| given.get(name) != Some(value))
        }
        (given, required) => given != required,
    }
}

/// Reads the answer to a request for the state of the stream. `None` if the stream was not created
/// for this protocol.
fn parse(answer: &Value, names: &Names, replicas: usize) -> Option<StreamInfo> {
    let (config, state) = (&answer["config"], &answer["state"]);
    let metadata = &config["metadata"];
    let epoch = metadata[EPOCH].as_str().filter(|epoch| epoch.len() == 32)?;
    let Differences { dangers, deviations } = Differences::of(config, names, replicas);
    let (messages, last) = (state["messages"].as_u64()?, state["last_seq"].as_u64()?);
    Some(StreamInfo {
        epoch: Epoch(u128::from_str_radix(epoch, 16).ok()?),
        format: metadata[FORMAT_KEY].as_str().and_then(|format| format.parse().ok()).unwrap_or_default(),
        adopted: metadata[ADOPTED] == "true",
        first: if messages == 0 { last + 1 } else { state["first_seq"].as_u64()? },
        last,
        messages,
        bytes: state["bytes"].as_u64()?,
        max_bytes: config["max_bytes"].as_u64().unwrap_or(u64::MAX),
        now: milliseconds(&answer["ts"]),
        replicas: config["num_replicas"].as_u64()?.try_into().ok()?,
        dangers,
        deviations,
    })
}

impl NatsWire {
    pub(super) async fn stream_info(&self) -> Result<StreamInfo, WireError> {
        let answer = self.raw_info().await?;
        parse(&answer, self.names(), self.replicas()).ok_or_else(|| WireError::Foreign(self.names().stream()))
    }

    async fn raw_info(&self) -> Result<Value, WireError> {
        self.api("STREAM.INFO", &Value::Null, INFO).await
    }

    /// Creates the stream. Its epoch is random.
    ///
    /// # Errors
    /// Fails if it exists already, or if the account may not create it.
    pub async fn create_stream(&self, new: NewStream) -> Result<StreamInfo, WireError> {
        let mut epoch = [0; 16];
        rand::fill(&mut epoch).expect("the system gives random bytes");
        let mut config = required(self.names(), self.replicas());
        config["max_bytes"] = new.max_bytes.into();
        config["metadata"] = json!({
            EPOCH: format!("{:032x}", u128::from_be_bytes(epoch)),
            FORMAT_KEY: FORMAT.to_string(),
            ADOPTED: new.adopted.to_string(),
        });
        // With the same configuration, the server would answer as if it had created the stream. The
        // epoch makes sure that it is never the same.
        self.api("STREAM.CREATE", &config, CHANGE).await?;
        self.stream_info().await
    }

    /// Records that nothing is missing in the stream, so that nodes without a log may join.
    ///
    /// # Errors
    /// Fails if there is no stream, or if the account may not change it.
    pub async fn adopt_stream(&self) -> Result<StreamInfo, WireError> {
        let mut config = self.raw_info().await?["config"].take();
        if config["metadata"][EPOCH].is_null() {
            return Err(WireError::Foreign(self.names().stream()));
        }
        config["metadata"][ADOPTED] = "true".into();
        self.api("STREAM.UPDATE", &config, CHANGE).await?;
        self.stream_info().await
    }

    /// Sends a request about the stream to JetStream.
    pub(super) async fn api(
        &self,
        request: &str,
        body: &Value,
        within: Duration,
    ) -> Result<Value, WireError> {
        let stream = self.names().stream();
        self.api_of(format!("$JS.API.{request}.{stream}"), body, within).await
    }

    /// Sends a request to a subject of JetStream.
    pub(super) async fn api_of(
        &self,
        subject: String,
        body: &Value,
        within: Duration,
    ) -> Result<Value, WireError> {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let answer = self.request_raw(subject, body, within).await.map_err(|error| match error {
            WireError::NoResponders => {
                WireError::Refused("JetStream is not enabled for this account".to_owned())
            }
            error => error,
        })?;
        let answer: Value = serde_json::from_slice(&answer.payload)
            .map_err(|_| WireError::Refused("the answer of JetStream is not JSON".to_owned()))?;
        let error = &answer["error"];
        if error.is_null() {
            return Ok(answer);
        }
        Err(match error["err_code"].as_u64() {
            Some(STREAM_NOT_FOUND) => WireError::NoStream(self.names().stream()),
            Some(NAME_IN_USE) => WireError::Refused(format!("stream {} exists", self.names().stream())),
            _ => WireError::Refused(error["description"].as_str().unwrap_or("for no reason").to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_protocol_needs_is_compared_and_nothing_else() {
        let names = Names::new("c");
        let mut config = required(&names, 3);
        config["max_bytes"] = 1.into();
        config["compression"] = "none".into();
        config["republish"]["headers_only"] = false.into();
        for absent in ["max_age", "sealed", "discard_new_per_subject", "subject_delete_marker_ttl"] {
            config.as_object_mut().expect("an object").remove(absent);
        }
        config["metadata"] = json!({FORMAT_KEY: "1"});
        assert_eq!(Differences::of(&config, &names, 3), Differences::default());
        let found = Differences::of(&config, &names, 1);
        assert_eq!(found.deviations, ["num_replicas is 3, but has to be 1"]);
        let counts = |name: &str, wrong: &Value| {
            let mut config = config.clone();
            config[name] = wrong.clone();
            let Differences { dangers, deviations } = Differences::of(&config, &names, 3);
            (dangers.len(), deviations.len())
        };
        for (name, wrong) in [
            ("deny_purge", json!(false)),
            ("deny_delete", Value::Null),
            ("max_age", json!(1)),
            ("max_msgs", json!(10)),
            ("max_msgs_per_subject", json!(2)),
            ("retention", json!("workqueue")),
            ("storage", json!("memory")),
            ("discard", json!("old")),
            ("allow_rollup_hdrs", json!(true)),
            ("metadata", json!({FORMAT_KEY: "2"})),
            ("metadata", json!({FORMAT_KEY: "one"})),
            ("metadata", Value::Null),
        ] {
            assert_eq!(counts(name, &wrong), (1, 0), "{name}");
        }
        for (name, wrong) in [
            ("republish", Value::Null),
            ("republish", json!({"src": ">", "dest": "x.>"})),
            ("duplicate_window", json!(1)),
            ("max_bytes", json!(-1)),
        ] {
            assert_eq!(counts(name, &wrong), (0, 1), "{name}");
        }
    }
}
