//! Sends events to topics.

mod deliveries;
pub(super) mod failure;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use avro::{EncodeError, Registry};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ThreadedProducer};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use self::deliveries::{Deliveries, Delivery};
use self::failure::Sent;
use super::access::explain;
use super::encode::{self, Encoded};
use super::partitioner::{ByMurmur3, Partitioner};
use super::{AccessError, KafkaAccess, Link, NAME};
use crate::producer::{Destination, ProduceError, Produced, Producer};

/// Limit of the bytes that wait to be sent. Further events are refused with
/// [`ProduceError::Unavailable`].
const QUEUE_KIB: usize = 32 << 10;

/// How long an event waits for others that go to the broker in the same request.
const LINGER: Duration = Duration::from_millis(1);

/// How long before the deadline of a request the library gives an event up. The library looks for
/// such events once a second.
const MARGIN: Duration = Duration::from_millis(1500);

/// How events are sent.
#[derive(Clone, Debug)]
pub struct KafkaProducerConfig {
    /// Where Kafka is.
    pub access: KafkaAccess,
    /// Encodes the data of events, if that is to be in Avro (RIG: `KAFKA_SERIALIZER=avro`).
    pub registry: Option<Arc<Registry>>,
    /// Which partition an event goes to.
    pub partitioner: Partitioner,
    /// How long the broker may usually take: what [`Producer::produce`] is called with.
    pub deadline: Duration,
}

/// Sends events to topics. Events that are sent one after the other, each when the one before was
/// acknowledged, stay in order if they have the same key.
///
/// An event whose acknowledgement was lost with the connection is sent again, so it may be in the
/// topic twice. The idempotent producer would avoid that while the connection is lost for a short
/// time, but needs a permission for the whole cluster on brokers before Kafka 3.0.
pub struct KafkaProducer {
    producer: Arc<ThreadedProducer<Deliveries, ByMurmur3>>,
    link: Link,
    registry: Option<Arc<Registry>>,
}

impl KafkaProducer {
    /// Returns a producer. It connects in the background.
    ///
    /// # Errors
    /// Fails if the configuration cannot be used, or a file that it names cannot be read.
    ///
    /// # Panics
    /// Panics if this thread is none of a runtime.
    pub fn new(config: KafkaProducerConfig) -> Result<Self, AccessError> {
        config.access.check()?;
        let link = Link::new(&config.access, "producer");
        let deliveries = Deliveries::new(link.clone(), config.partitioner);
        let producer = ThreadedProducer::from_config_and_context(&config.client(), deliveries);
        let producer = Arc::new(producer.map_err(|error| explain(&error))?);
        Ok(Self { producer, link, registry: config.registry })
    }

    /// Sends a message. Resolves when the broker has acknowledged it. If the future is dropped, the
    /// message is sent unless the producer is dropped before.
    async fn send(
        &self,
        topic: &str,
        key: Option<&str>,
        message: Encoded,
        deadline: Instant,
    ) -> Result<(), ProduceError> {
        let was_up = self.link.is_up();
        let delivery = self.enqueue(topic, key, message)?;
        let failure = match timeout_at(deadline, delivery).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) => {
                let sent = if was_up || self.link.is_up() { Sent::Maybe } else { Sent::No };
                failure::of_delivery(topic, &error, sent)
            }
            Ok(Err(_)) => ProduceError::Unavailable(format!("{topic}: the client of Kafka has stopped")),
            Err(_) => {
                ProduceError::TimedOut(format!("{topic}: Kafka has not acknowledged the event in time"))
            }
        };
        Err(failure)
    }

    /// Queues a message. Returns what becomes of it.
    fn enqueue(
        &self,
        topic: &str,
        key: Option<&str>,
        Encoded { headers, value }: Encoded,
    ) -> Result<oneshot::Receiver<Delivery>, ProduceError> {
        let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let (sender, delivery) = oneshot::channel();
        let mut record =
            BaseRecord::with_opaque_to(topic, Box::new(sender)).headers(headers).payload(&*value);
        record.key = key;
        match self.producer.send(record) {
            Ok(()) => Ok(delivery),
            Err((error, _)) => Err(failure::of_queue(topic, &error)),
        }
    }

    async fn encode(&self, to: &Destination, event: &Produced) -> Result<Encoded, ProduceError> {
        let Some(registry) = &self.registry else { return Ok(encode::structured(event)) };
        let Some(subject) = &to.schema else {
            let reason = format!("{}: Avro is configured, but the endpoint has no schema", to.topic);
            return Err(ProduceError::Refused(reason));
        };
        let data = registry.encode(subject, &encode::data(event)).await;
        let data = data.map_err(|error| match &error {
            EncodeError::Invalid(_) => ProduceError::Invalid(error.to_string()),
            EncodeError::UnknownSubject { .. } => ProduceError::Refused(error.to_string()),
            EncodeError::Unavailable(_) => ProduceError::Unavailable(error.to_string()),
        })?;
        encode::binary(event, data)
    }
}

impl KafkaProducerConfig {
    fn client(&self) -> ClientConfig {
        let least = self.deadline / 2;
        let timeout = self.deadline.saturating_sub(MARGIN).max(least);
        let mut client = self.access.client();
        client
            .set("acks", "all")
            .set("message.timeout.ms", timeout.as_millis().max(1).to_string())
            // A topic that was just created is not known to all brokers yet.
            .set("topic.metadata.propagation.max.ms", (timeout / 2).as_millis().to_string())
            .set("linger.ms", LINGER.as_millis().to_string())
            .set("queue.buffering.max.kbytes", QUEUE_KIB.to_string())
            .set("partitioner", "murmur2_random");
        client
    }
}

impl Producer for KafkaProducer {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_up(&self) -> bool {
        self.link.is_up()
    }

    fn produce<'p>(
        &'p self,
        to: &'p Destination,
        event: Produced,
        within: Duration,
    ) -> BoxFuture<'p, Result<(), ProduceError>> {
        async move {
            let deadline = Instant::now() + within;
            let Ok(encoded) = timeout_at(deadline, self.encode(to, &event)).await else {
                let reason = "the schema registry has not answered in time";
                return Err(ProduceError::Unavailable(reason.to_owned()));
            };
            self.send(&to.topic, event.key.as_deref(), encoded?, deadline).await
        }
        .boxed()
    }
}

impl fmt::Debug for KafkaProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaProducer").field("is_up", &self.is_up()).finish_non_exhaustive()
    }
}
