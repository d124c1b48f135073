//! The metrics of brokers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metric::Sampled;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};

/// Bounds of the buckets of durations, in milliseconds (RIG).
const DURATION: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0];

metric::labels! {
    /// Why a message was not published.
    pub(crate) enum Failure {
        /// It is no event.
        Invalid = "invalid",
        /// The event is larger than `MAX_EVENT_BYTES`, or than a message between nodes.
        TooLarge = "too_large",
        /// More messages came than could be read.
        Overflow = "overflow",
        /// It has no content: a deletion in a compacted topic.
        Tombstone = "tombstone",
    }
}

metric::labels! {
    /// What has become of a message that was read as an answer.
    pub enum ResponseOutcome {
        /// The client has got it.
        Matched = "matched",
        /// Its request was answered before, has timed out, or its client has left.
        Late = "late",
        /// It names no request of this gateway.
        Unknown = "unknown",
        /// It names a request, but cannot be its answer: the client has got a 502.
        Invalid = "invalid",
    }
}

/// A topic as the settings name it: its labels are bounded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTopic {
    source: &'static str,
    topic: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByFailure {
    source: &'static str,
    topic: Arc<str>,
    reason: Failure,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByBroker {
    broker: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    via: &'static str,
    outcome: ResponseOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTarget {
    target: &'static str,
    topic: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTargetFailure {
    target: &'static str,
    topic: Arc<str>,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLoss {
    reason: &'static str,
}

/// A partition of a topic that the settings name, by its number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPartition {
    topic: Arc<str>,
    partition: i32,
}

metric::families! {
    /// What is counted of brokers.
    pub struct Metrics {
        /// Messages from brokers, by topic
        consumed: Family<ByTopic, Counter> = "rig_consumed_events_total";
        /// Messages from brokers that were not published, by topic and reason; they are among
        /// rig_consumed_events_total too
        failed: Family<ByFailure, Counter> = "rig_consumed_events_failed_total";
        /// How long it takes to publish an event: until it is handed to all connections, or queued
        /// for them
        duration: Family<ByTopic, Histogram> = "rig_consumed_event_processing_duration_milliseconds",
            Family::new_with_constructor(|| Histogram::new(DURATION));
        /// Events that were sent to brokers
        produced: Family<ByTarget, Counter> = "rig_produced_events_total";
        /// Events that brokers have not acknowledged, by topic and reason
        produce_failed: Family<ByTargetFailure, Counter> = "rig_produced_events_failed_total";
        /// How long it takes until a broker has acknowledged an event, or replied to it
        produce_duration: Family<ByTarget, Histogram> = "rig_produce_duration_milliseconds",
            Family::new_with_constructor(|| Histogram::new(DURATION));
        /// Messages from brokers that were read as answers to requests, by what has become of them
        responses: Family<ByOutcome, Counter> = "rig_responses_total";
        /// Requests that are missing in the request log of a broker
        request_log_lost: Family<ByLoss, Counter> = "rig_request_log_lost_total";
        /// Messages that are not taken yet, by topic and partition, of those that this node reads
        lag: Family<ByPartition, Gauge> = "rig_consumer_lag";
        /// How often the partitions of Kafka were shared out anew
        rebalances: Counter = "rig_consumer_rebalances_total";
        /// How often the messages to read next were no longer there
        resets: Family<ByTopic, Counter> = "rig_consumer_resets_total";
        /// Messages that were no events and were written to the topic of dead letters, by the topic
        /// that they came from
        dead_letters: Family<ByTopic, Counter> = "rig_dead_letters_total";
        /// Whether the connection to the broker is established
        up: Sampled<Family<ByBroker, Gauge>> = "rig_broker_up";
    }
}

/// What is counted of the messages of one topic. It is looked up once, not for each message.
#[derive(Clone, Debug)]
pub(crate) struct Consumed {
    messages: Counter,
    duration: Histogram,
}

impl Consumed {
    /// Counts a message that was published within this time.
    pub(crate) fn published(&self, took: Duration) {
        self.messages.inc();
        self.duration.observe(took.as_secs_f64() * 1e3);
    }
}

/// Returns whether a connection is established.
pub type IsUp = Box<dyn Fn() -> bool + Send + Sync>;

impl Metrics {
    /// Sets whose connections are shown. Of those with one name, all must be established.
    pub fn watch(&self, connections: Vec<(&'static str, IsUp)>) {
        self.up.sample_with(move |up| {
            let mut states = BTreeMap::new();
            for (broker, is_up) in &connections {
                *states.entry(*broker).or_insert(true) &= is_up();
            }
            for (broker, state) in states {
                up.get_or_create(&ByBroker { broker }).set(state.into());
            }
        });
    }

    /// Counts an event that was sent to a broker; `failure` says why it was not acknowledged.
    pub(crate) fn produced(
        &self,
        target: &'static str,
        topic: &Arc<str>,
        took: Duration,
        failure: Option<&'static str>,
    ) {
        let labels = ByTarget { target, topic: topic.clone() };
        match failure {
            None => {
                self.produce_duration.get_or_create(&labels).observe(took.as_secs_f64() * 1e3);
                self.produced.get_or_create(&labels).inc();
            }
            Some(reason) => {
                let labels = ByTargetFailure { target, topic: topic.clone(), reason };
                self.produce_failed.get_or_create(&labels).inc();
            }
        }
    }

    /// Returns what is counted of a topic. It is shown from then on, with zeros before anything
    /// comes.
    pub(crate) fn of(&self, source: &'static str, topic: &Arc<str>) -> Consumed {
        let labels = ByTopic { source, topic: topic.clone() };
        let messages = self.consumed.get_or_create_owned(&labels);
        Consumed { messages, duration: self.duration.get_or_create_owned(&labels) }
    }

    pub(crate) fn failed(&self, source: &'static str, topic: &Arc<str>, reason: Failure) {
        self.of(source, topic).messages.inc();
        self.failed.get_or_create(&ByFailure { source, topic: topic.clone(), reason }).inc();
    }

    /// Counts an answer that came by a broker.
    pub fn responded(&self, via: &'static str, outcome: ResponseOutcome) {
        self.responses.get_or_create(&ByOutcome { via, outcome }).inc();
    }

    /// Counts a request that is missing in the request log of a broker.
    #[cfg(feature = "kafka")]
    pub(crate) fn lost(&self, reason: &'static str) {
        self.request_log_lost.get_or_create(&ByLoss { reason }).inc();
    }

    /// Sets how many messages of a partition are not taken yet.
    #[cfg(any(feature = "kafka", feature = "nats"))]
    pub(crate) fn behind(&self, topic: &Arc<str>, partition: i32, lag: i64) {
        self.lag.get_or_create(&ByPartition { topic: topic.clone(), partition }).set(lag);
    }

    /// No longer shows a partition, since another node has it.
    #[cfg(feature = "kafka")]
    pub(crate) fn not_behind(&self, topic: &Arc<str>, partition: i32) {
        self.lag.remove(&ByPartition { topic: topic.clone(), partition });
    }

    /// Counts that this node was assigned its partitions anew.
    #[cfg(feature = "kafka")]
    pub(crate) fn rebalanced(&self) {
        self.rebalances.inc();
    }

    /// Counts that the messages to read next were no longer there.
    #[cfg(feature = "kafka")]
    pub(crate) fn reset(&self, source: &'static str, topic: Arc<str>) {
        self.resets.get_or_create(&ByTopic { source, topic }).inc();
    }

    /// Counts a message that was written to the topic of dead letters.
    #[cfg(feature = "kafka")]
    pub(crate) fn buried(&self, source: &'static str, topic: &Arc<str>) {
        self.dead_letters.get_or_create(&ByTopic { source, topic: topic.clone() }).inc();
    }
}
