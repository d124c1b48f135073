//! The metrics of brokers.

use std::sync::{Arc, Weak};
use std::time::Duration;

use metric::Sampled;
use node::Source;
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
        /// Whether the connection to the broker is established
        up: Sampled<Family<ByBroker, Gauge>> = "rig_broker_up";
    }
}

impl Metrics {
    /// Sets whose connections are shown.
    pub fn watch(&self, sources: &[Arc<dyn Source>]) {
        // Sources count with these metrics.
        let sources: Vec<_> = sources.iter().map(Arc::downgrade).collect();
        self.up.sample_with(move |up| {
            for source in sources.iter().filter_map(Weak::upgrade) {
                up.get_or_create(&ByBroker { broker: source.name() }).set(source.is_up().into());
            }
        });
    }

    /// Has the topic appear with zeros before anything comes.
    pub(crate) fn expect(&self, source: &'static str, topic: &Arc<str>) {
        let _ = self.consumed.get_or_create(&ByTopic { source, topic: topic.clone() });
    }

    pub(crate) fn consumed(&self, source: &'static str, topic: &Arc<str>, took: Duration) {
        let labels = ByTopic { source, topic: topic.clone() };
        self.consumed.get_or_create(&labels).inc();
        self.duration.get_or_create(&labels).observe(took.as_secs_f64() * 1e3);
    }

    pub(crate) fn failed(&self, source: &'static str, topic: &Arc<str>, reason: Failure) {
        self.consumed.get_or_create(&ByTopic { source, topic: topic.clone() }).inc();
        self.failed.get_or_create(&ByFailure { source, topic: topic.clone(), reason }).inc();
    }
}
