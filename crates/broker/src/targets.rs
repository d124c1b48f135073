//! Which endpoints can send to which broker.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use proxy::{Api, Broker, Endpoint, ResponseFrom, Target, TargetFault, Targets};
use tokio::sync::Semaphore;

use crate::metrics::Metrics;
use crate::producer::{Destination, Producer, Requester};
use crate::target::{BrokerTarget, Credentials, Way};

/// Limit of the bytes of the bodies of all requests that wait for a broker. Further ones get a 503.
const BODIES: usize = 64 << 20;

/// The brokers that endpoints of a node can send to.
pub struct BrokerTargets {
    producers: Producers,
    metrics: Metrics,
    room: Arc<Semaphore>,
    /// Whether answers by Kafka are received; set when it is known who receives them.
    receives_kafka: Arc<OnceLock<Receives>>,
}

/// Returns whether answers are received now.
pub type Receives = Box<dyn Fn() -> bool + Send + Sync>;

/// What sends to brokers, and how.
#[derive(Clone, Default)]
pub struct Producers {
    /// Kafka.
    pub kafka: Option<Arc<dyn Producer>>,
    /// Kinesis.
    pub kinesis: Option<Arc<dyn Producer>>,
    /// NATS.
    pub nats: Option<Arc<dyn Requester>>,
    /// How long an answer by Kafka may take (RIG: `PROXY_KAFKA_RESPONSE_TIMEOUT`).
    pub kafka_timeout: Duration,
    /// How long a reply by NATS may take (RIG: `PROXY_NATS_RESPONSE_TIMEOUT`).
    pub nats_timeout: Duration,
    /// Whether events contain the credentials of their requests, as in RIG.
    pub keeps_credentials: bool,
}

impl BrokerTargets {
    /// Returns the targets of these producers.
    pub fn new(producers: Producers, metrics: Metrics) -> Self {
        let room = Arc::new(Semaphore::new(BODIES));
        Self { producers, metrics, room, receives_kafka: Arc::default() }
    }

    /// Sets what will say whether answers by Kafka are received.
    #[must_use]
    pub fn receiving(mut self, kafka: Arc<OnceLock<Receives>>) -> Self {
        self.receives_kafka = kafka;
        self
    }

    /// Returns how events of the endpoint are sent, and how long the answer may take.
    fn way(&self, broker: Broker, from: ResponseFrom) -> Option<(Way, Option<Duration>)> {
        let Producers { kafka, kinesis, nats, kafka_timeout, nats_timeout, .. } = &self.producers;
        let send = |producer: &Option<Arc<dyn Producer>>| producer.clone().map(Way::Send);
        Some(match (broker, from) {
            (Broker::Kafka, ResponseFrom::Kafka) => (send(kafka)?, Some(*kafka_timeout)),
            (Broker::Kafka, _) => (send(kafka)?, None),
            (Broker::Kinesis, _) => (send(kinesis)?, None),
            (Broker::Nats, ResponseFrom::Nats) => (Way::Ask(nats.clone()?), Some(*nats_timeout)),
            (Broker::Nats, _) => (Way::Send(nats.clone()?), None),
        })
    }
}

impl Targets for BrokerTargets {
    fn target(&self, api: &Api, endpoint: &Endpoint) -> Result<Option<Arc<dyn Target>>, TargetFault> {
        let missing = || endpoint.needed_broker().map_or(Ok(None), |it| Err(TargetFault::not_configured(it)));
        let Some(to) = &endpoint.broker else {
            // Only Kafka brings the answers of HTTP services.
            return if self.producers.kafka.is_some() { Ok(None) } else { missing() };
        };
        let Some((way, timeout)) = self.way(to.broker, endpoint.response_from) else { return missing() };
        let credentials = match self.producers.keeps_credentials {
            true => Credentials::Kept,
            false => Credentials::Dropped(api.token_sources.clone().unwrap_or_default()),
        };
        Ok(Some(Arc::new(BrokerTarget {
            way,
            to: Destination { topic: to.topic.clone(), schema: to.schema.clone() },
            credentials,
            timeout,
            room: self.room.clone(),
            metrics: self.metrics.clone(),
        })))
    }

    fn receives(&self, from: ResponseFrom) -> bool {
        from != ResponseFrom::Kafka || self.receives_kafka.get().is_some_and(|receives| receives())
    }
}
