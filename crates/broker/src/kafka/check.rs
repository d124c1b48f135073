//! Looks at Kafka as it is configured (`rig check --online`).
//!
//! Nothing is read, written or created, and no group is joined. So it is not seen whether messages
//! of a topic may be read, or written to it.

mod registry;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use tokio::sync::oneshot;
use tokio::time::timeout;

pub use self::registry::check as check_registry;
use self::watch::Watch;
use super::KafkaAccess;
use super::access::{AccessError, explain};
use crate::check::Finding;

/// What the connection is called.
const CONNECTION: &str = "kafka: connection";

/// How often to look whether there is a connection.
const LOOK: Duration = Duration::from_millis(50);

/// How often the library reports its connections, in milliseconds.
const STATISTICS: &str = "100";

/// How long all brokers are tried after all of them have failed once: a name may have several
/// addresses, of which the library tries one after the other.
const AGAIN: Duration = Duration::from_secs(2);

/// How long one broker may take, so that there is time left for the others.
const BROKER: Duration = Duration::from_secs(3);

/// How long after the time of the check its result may come. After that, the library hangs.
const GRACE: Duration = Duration::from_secs(1);

/// What to look for.
#[derive(Clone, Debug)]
pub struct KafkaCheck {
    /// Where Kafka is.
    pub access: KafkaAccess,
    /// The topics that events come from.
    pub sources: Vec<String>,
    /// The group that reads these topics; `None` if they are read without one.
    pub group: Option<String>,
    /// Further topics that have to be there.
    pub needed: Vec<String>,
    /// The topics of answers. They may be missing, since no endpoint waits for an answer.
    pub unused: Vec<String>,
}

/// Connects to Kafka, and looks for topics, the brokers that lead their partitions, and the group.
/// Takes `within` and a second at most.
///
/// # Panics
/// Panics if this thread is none of a runtime.
pub async fn check(config: KafkaCheck, within: Duration) -> Vec<Finding> {
    let until = Instant::now() + within;
    if let Err(error) = config.access.check() {
        return vec![Finding::bad(CONNECTION, error)];
    }
    if let Some(oauth) = config.access.oauth() {
        let failed = match timeout(within, oauth.renew()).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the identity provider does not answer in time".to_owned()),
        };
        if let Some(reason) = failed {
            return vec![Finding::bad("kafka: token (KAFKA_SASL_TOKEN_URL)", reason)];
        }
    }
    let look = match Look::new(&config, until) {
        Ok(look) => look,
        Err(error) => return vec![Finding::bad(CONNECTION, error)],
    };
    let (done, findings) = oneshot::channel();
    // The library blocks the thread, also when the client is closed. The result does not wait for
    // that.
    tokio::task::spawn_blocking(move || {
        drop(done.send(look.at_all(&config)));
        drop(look);
    });
    match timeout(within + GRACE, findings).await {
        Ok(Ok(findings)) => findings,
        Ok(Err(_)) => vec![Finding::bad(CONNECTION, "the client of Kafka has failed")],
        Err(_) => vec![Finding::bad(CONNECTION, "the client of Kafka does not answer")],
    }
}

/// One look at Kafka.
struct Look {
    consumer: BaseConsumer<Watch>,
    until: Instant,
}

/// What is known of the topics that are there.
#[derive(Default)]
struct Seen {
    /// For each broker that leads a partition: its address, and one of its partitions.
    leaders: BTreeMap<i32, (String, (String, i32))>,
    /// The partitions of the topics that events come from.
    sources: TopicPartitionList,
}

impl Look {
    fn new(config: &KafkaCheck, until: Instant) -> Result<Self, AccessError> {
        let mut client = config.access.client();
        client
            .set("statistics.interval.ms", STATISTICS)
            .set("allow.auto.create.topics", "false")
            .set("enable.auto.commit", "false");
        if let Some(group) = &config.group {
            client.set("group.id", group);
        }
        let consumer = BaseConsumer::from_config_and_context(&client, Watch::new(&config.access));
        Ok(Self { consumer: consumer.map_err(|error| explain(&error))?, until })
    }

    fn at_all(&self, config: &KafkaCheck) -> Vec<Finding> {
        if let Err(reason) = self.connect() {
            return vec![Finding::bad(CONNECTION, reason)];
        }
        let mut findings = vec![Finding::good(CONNECTION, "connected")];
        let mut seen = Seen::default();
        let mut names = HashSet::new();
        for name in config.sources.iter().chain(&config.needed).chain(&config.unused) {
            if names.insert(name) {
                let result = self.at_topic(name, config, &mut seen);
                findings.push(Finding::new(format!("kafka: topic {name}"), result));
            }
        }
        for (address, (topic, partition)) in seen.leaders.values() {
            let result = self.at_leader(topic, *partition);
            findings.push(Finding::new(format!("kafka: broker {address}"), result));
        }
        // Without a partition, the library asks for nothing.
        if let Some(group) = config.group.as_ref().filter(|_| seen.sources.count() > 0) {
            let result = self.at_group(seen.sources);
            findings.push(Finding::new(format!("kafka: group {group}"), result));
        }
        findings
    }

    /// Waits until a broker is connected, which includes TLS and SASL.
    fn connect(&self) -> Result<(), String> {
        let watch = self.consumer.context();
        loop {
            drop(self.consumer.poll(LOOK));
            if watch.is_up() {
                return Ok(());
            }
            if watch.is_down_for(AGAIN) || self.left().is_zero() {
                return Err(watch.take_reasons().unwrap_or_else(|| "no answer in time".to_owned()));
            }
        }
    }

    fn at_topic(&self, name: &str, config: &KafkaCheck, seen: &mut Seen) -> Result<String, String> {
        let metadata = self.ask(self.until, |time| self.consumer.fetch_metadata(Some(name), time))?;
        let topic = metadata.topics().first().ok_or("the broker does not speak of it")?;
        match topic.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
                let is_needed = !config.unused.iter().any(|unused| unused == name);
                let unused = "not there, but no endpoint waits for an answer by Kafka".to_owned();
                return if is_needed { Err("not there".to_owned()) } else { Ok(unused) };
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                return Err("not authorized to see it, or it is not there".to_owned());
            }
            Some(error) => return Err(error.to_string()),
        }
        let count = topic.partitions().len();
        self.note(name, topic, &metadata, config, seen)?;
        Ok(if count == 1 { "1 partition".to_owned() } else { format!("{count} partitions") })
    }

    /// Notes the partitions of a topic, and who leads them.
    fn note(
        &self,
        name: &str,
        topic: &MetadataTopic,
        metadata: &Metadata,
        config: &KafkaCheck,
        seen: &mut Seen,
    ) -> Result<(), String> {
        for partition in topic.partitions() {
            let number = partition.id();
            let leader = metadata.brokers().iter().find(|broker| broker.id() == partition.leader());
            let Some(leader) = leader else { return Err(format!("partition {number} has no leader")) };
            let address = format!("{}:{}", leader.host(), leader.port());
            seen.leaders.entry(leader.id()).or_insert_with(|| (address, (name.to_owned(), number)));
            if config.sources.iter().any(|source| source == name) {
                seen.sources.add_partition(name, number);
            }
        }
        Ok(())
    }

    /// Asks the broker that leads a partition. Its address is the one that brokers tell, which is
    /// not always one that this host reaches.
    fn at_leader(&self, topic: &str, partition: i32) -> Result<String, String> {
        let until = self.until.min(Instant::now() + BROKER);
        self.ask(until, |time| self.consumer.fetch_watermarks(topic, partition, time))?;
        Ok("connected".to_owned())
    }

    fn at_group(&self, partitions: TopicPartitionList) -> Result<String, String> {
        let read = self.ask(self.until, |time| self.consumer.committed_offsets(partitions.clone(), time))?;
        let (mut committed, count) = (0, read.count());
        for partition in read.elements() {
            partition.error().map_err(|error| in_words(&error))?;
            committed += usize::from(partition.offset().to_raw().is_some_and(|offset| offset >= 0));
        }
        Ok(format!("has committed an offset for {committed} of {count} partitions"))
    }

    /// Asks until a time. An error includes what the library reports meanwhile.
    fn ask<T>(
        &self,
        until: Instant,
        question: impl FnOnce(Duration) -> Result<T, KafkaError>,
    ) -> Result<T, String> {
        let time = until.saturating_duration_since(Instant::now());
        if time.is_zero() {
            return Err("not looked at, for lack of time".to_owned());
        }
        drop(self.consumer.context().take_reasons());
        let answer = question(time);
        answer.map_err(|error| {
            // Reports are only handed out when they are asked for. A busy library may have more.
            let enough = Instant::now() + LOOK;
            while self.consumer.poll(LOOK / 5).is_some() && Instant::now() < enough {}
            let reasons = self.consumer.context().take_reasons();
            reasons.map_or(in_words(&error), |reasons| format!("{}: {reasons}", in_words(&error)))
        })
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// Returns what an error means.
fn in_words(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::GroupAuthorizationFailed) => "not authorized to read the group".to_owned(),
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => "not authorized to see the topic".to_owned(),
        Some(RDKafkaErrorCode::OperationTimedOut) => "no answer in time".to_owned(),
        Some(code) => code.to_string(),
        None => error.to_string(),
    }
}
