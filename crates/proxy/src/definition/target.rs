//! Where the requests of an endpoint go, and where their answers come from: `target`, `topic`,
//! `schema` and `response_from`.

use std::sync::Arc;

use super::endpoint::MAX_PATTERN;
use super::members::MemberReader;
use super::parse::MAX_ID;
use super::{Broker, BrokerEndpoint, ResponseFrom};

/// Limit of the name of a topic of Kafka.
const MAX_KAFKA_TOPIC: usize = 249;

/// Limit of the name of a stream of Kinesis.
const MAX_STREAM: usize = 128;

/// Reads where requests go: `None` for the HTTP service of the definition.
pub(super) fn read(members: &MemberReader<'_>) -> (Option<BrokerEndpoint>, ResponseFrom) {
    let target = members.text("target", MAX_ID);
    let broker = target.and_then(Broker::parse);
    if broker.is_none() && target.is_some_and(|target| target != "http") {
        members.fault("target", r#"must be one of ["http", "kafka", "kinesis", "nats"]"#);
    }
    let topic = members.text("topic", MAX_PATTERN);
    let schema = members.text("schema", MAX_PATTERN);
    if members.value("schema").is_some() && members.value("target").is_none() {
        members.fault("target", "must be present");
    } else if members.value("schema").is_some() && broker != Some(Broker::Kafka) {
        members.fault("schema", "must not be there: only kafka has schemas");
    }
    let Some(broker) = broker else {
        if members.value("topic").is_some() {
            members.warn("topic", "has no effect: the target is an HTTP service");
        }
        return (None, response_from(members, None));
    };
    match topic {
        None if members.value("topic").is_none() => members.fault("topic", "must be present"),
        Some(topic) if !broker.has_topic(topic) => members.fault("topic", broker.topics()),
        _ => {}
    }
    let (topic, schema) = (Arc::from(topic.unwrap_or_default()), schema.map(Arc::from));
    (Some(BrokerEndpoint { broker, topic, schema }), response_from(members, Some(broker)))
}

/// Reads where answers come from, and refuses what would never give one.
fn response_from(members: &MemberReader<'_>, target: Option<Broker>) -> ResponseFrom {
    let Some(text) = members.text("response_from", MAX_ID) else { return ResponseFrom::Http };
    let from = match text {
        "http" => ResponseFrom::Http,
        "http_async" => ResponseFrom::HttpAsync,
        "kafka" => ResponseFrom::Kafka,
        "nats" => ResponseFrom::Nats,
        "kinesis" => {
            members.fault("response_from", "must not be kinesis: no answers come from there");
            return ResponseFrom::Http;
        }
        _ => {
            let reason = r#"must be one of ["http", "http_async", "kafka", "kinesis", "nats"]"#;
            members.fault("response_from", reason);
            return ResponseFrom::Http;
        }
    };
    let possible: &[ResponseFrom] = match target {
        None => &[ResponseFrom::Http, ResponseFrom::HttpAsync, ResponseFrom::Kafka],
        Some(Broker::Kafka) => &[ResponseFrom::Http, ResponseFrom::Kafka],
        Some(Broker::Kinesis) => &[ResponseFrom::Http],
        Some(Broker::Nats) => &[ResponseFrom::Http, ResponseFrom::Nats],
    };
    if !possible.contains(&from) {
        let names: Vec<_> = possible.iter().map(|from| format!("{:?}", from.as_str())).collect();
        let target = target.map_or("http", Broker::as_str);
        members.fault(
            "response_from",
            format!("must be one of [{}] where the target is {target}", names.join(", ")),
        );
    }
    from
}

impl Broker {
    fn parse(text: &str) -> Option<Self> {
        [Self::Kafka, Self::Kinesis, Self::Nats].into_iter().find(|broker| broker.as_str() == text)
    }

    /// Returns whether a topic can have this name.
    fn has_topic(self, topic: &str) -> bool {
        let is_word = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-');
        match self {
            Self::Kafka => {
                topic.len() <= MAX_KAFKA_TOPIC && !matches!(topic, "." | "..") && topic.chars().all(is_word)
            }
            Self::Kinesis => topic.len() <= MAX_STREAM && topic.chars().all(is_word),
            Self::Nats => topic.split('.').all(|part| {
                !part.is_empty()
                    && !part.contains(|char: char| {
                        char.is_whitespace() || char.is_control() || matches!(char, '*' | '>')
                    })
            }),
        }
    }

    fn topics(self) -> &'static str {
        match self {
            Self::Kafka => "must be the name of a topic: up to 249 of a-z, A-Z, 0-9, '.', '_' and '-'",
            Self::Kinesis => "must be the name of a stream: up to 128 of a-z, A-Z, 0-9, '.', '_' and '-'",
            Self::Nats => "must be a subject without wildcards, such as orders.new",
        }
    }
}
