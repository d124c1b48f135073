//! The brokers that events come from and go to. What is built of each is in a file of its own.

#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kinesis")]
mod kinesis;
#[cfg(feature = "nats")]
mod nats;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use broker::{BrokerTargets, Intake, IsUp, Metrics, Producer, Producers, Receives};
use futures_util::future::BoxFuture;
use journal::Pseudonyms;
use metric::Registry;
use node::Source;
use proxy::{Broker, Targets, Waiting};
use telemetry::{ReportSink, Spans};

use crate::settings::BrokerSettings;

/// What the rooms get of the brokers. Everything connects in the background.
pub(super) struct Brokers {
    /// Bring events.
    pub(super) sources: Vec<Arc<dyn Source>>,
    /// Whether the node is ready only while all of them are connected.
    pub(super) are_needed: bool,
    producers: Producers,
    #[cfg_attr(
        not(any(feature = "kafka", feature = "kinesis", feature = "nats")),
        expect(dead_code, reason = "without a broker, nothing comes")
    )]
    intake: Intake,
    metrics: Metrics,
    /// Whose state is shown.
    connections: Vec<(&'static str, IsUp)>,
    answers: Option<MakeAnswers>,
    /// Whether answers by Kafka are received.
    receives_kafka: Arc<OnceLock<Receives>>,
    /// Reports proxied requests (`REQUEST_LOG=kafka`); `None` if they are not reported to a broker.
    pub(super) request_log: Option<RequestReports>,
}

/// Where proxied requests are reported, and what sends the reports.
pub(super) struct RequestReports {
    pub(super) sink: Arc<dyn ReportSink>,
    pub(super) sending: BoxFuture<'static, ()>,
}

/// How long things may take, and how names are hidden.
pub(super) struct Given {
    /// How long the answer of a service may take.
    #[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "for answers by Kafka"))]
    pub(super) answer_timeout: Duration,
    /// How long an answer by Kafka may take.
    pub(super) kafka_timeout: Duration,
    /// Replaces names of sessions in reports; `None` to write them as they are.
    #[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "for reports to Kafka"))]
    pub(super) pseudonyms: Option<Pseudonyms>,
    /// Exports traces; `None` if they are not exported.
    pub(super) spans: Option<Arc<Spans>>,
}

/// Returns what receives the answers to requests that wait, and whether it receives them now.
type MakeAnswers = Box<dyn FnOnce(Arc<Waiting>) -> anyhow::Result<(Receives, Answers)> + Send>;

/// Receives answers; never returns.
pub(super) type Answers = BoxFuture<'static, ()>;

impl Brokers {
    /// Builds what the settings name.
    ///
    /// # Errors
    /// Fails if a broker cannot be used as it is configured.
    pub(super) async fn build(
        settings: BrokerSettings,
        given: &Given,
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        let metrics = Metrics::register(registry);
        #[cfg_attr(
            not(any(feature = "kafka", feature = "kinesis", feature = "nats")),
            expect(unused_mut, reason = "without a broker, nothing is added")
        )]
        let mut brokers = Self {
            sources: Vec::new(),
            are_needed: settings.are_needed,
            producers: Producers {
                kafka_timeout: given.kafka_timeout,
                keeps_credentials: settings.keeps_credentials,
                ..Producers::default()
            },
            intake: Intake::new(metrics.clone(), settings.names, given.spans.clone()),
            metrics,
            connections: Vec::new(),
            answers: None,
            receives_kafka: Arc::default(),
            request_log: None,
        };
        #[cfg(feature = "kafka")]
        if let Some(kafka) = settings.kafka {
            Box::pin(brokers.add_kafka(kafka, given)).await?;
        }
        #[cfg(feature = "kinesis")]
        brokers.add_kinesis(settings.kinesis);
        #[cfg(feature = "nats")]
        if let Some(nats) = settings.nats {
            Box::pin(brokers.add_nats(nats)).await?;
        }
        Ok(brokers)
    }

    /// Returns what sends to a broker; `None` if it is not used.
    pub(super) fn producer(&self, broker: Broker) -> Option<Arc<dyn Producer>> {
        match broker {
            Broker::Kafka => self.producers.kafka.clone(),
            Broker::Kinesis => self.producers.kinesis.clone(),
            Broker::Nats => self.producers.nats.clone().map(|nats| -> Arc<dyn Producer> { nats }),
        }
    }

    /// Returns the targets of endpoints that send to the brokers.
    pub(super) fn targets(&self) -> Box<dyn Targets> {
        let targets = BrokerTargets::new(self.producers.clone(), self.metrics.clone());
        Box::new(targets.receiving(self.receives_kafka.clone()))
    }

    /// Returns what receives the answers to these requests; `None` if none come from brokers.
    /// Begins to show the state of the connections.
    ///
    /// # Errors
    /// Fails if a broker cannot be used as it is configured.
    pub(super) fn answers(&mut self, waiting: &Arc<Waiting>) -> anyhow::Result<Option<Answers>> {
        self.metrics.watch(std::mem::take(&mut self.connections));
        let Some(make) = self.answers.take() else { return Ok(None) };
        let (receives, answers) = make(waiting.clone())?;
        let is_first = self.receives_kafka.set(receives).is_ok();
        debug_assert!(is_first, "answers are received once");
        Ok(Some(answers))
    }

    /// Adds a source, whose state is shown.
    #[cfg_attr(
        not(any(feature = "kafka", feature = "kinesis", feature = "nats")),
        expect(dead_code, reason = "without a broker, nothing is added")
    )]
    fn add_source(&mut self, source: Arc<dyn Source>) {
        // The source counts with the metrics that show it.
        let (name, weak) = (source.name(), Arc::downgrade(&source));
        let is_up = move || weak.upgrade().is_some_and(|source| source.is_up());
        self.connections.push((name, Box::new(is_up)));
        self.sources.push(source);
    }
}
