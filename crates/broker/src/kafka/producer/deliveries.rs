//! What librdkafka calls back: what has become of messages.

use std::error::Error;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::statistics::Statistics;
use tokio::sync::oneshot;

use crate::kafka::Link;
use crate::kafka::partitioner::{ByMurmur3, Partitioner};

/// What has become of a message.
pub(super) type Delivery = Result<(), KafkaError>;

/// Hands over what has become of messages, and reports everything else to the link.
pub(super) struct Deliveries {
    link: Link,
    /// `None` if the library chooses the partition.
    partitioner: Option<ByMurmur3>,
}

impl Deliveries {
    pub(super) fn new(link: Link, partitioner: Partitioner) -> Self {
        Self { link, partitioner: (partitioner == Partitioner::Rig).then_some(ByMurmur3) }
    }
}

impl ProducerContext<ByMurmur3> for Deliveries {
    type DeliveryOpaque = Box<oneshot::Sender<Delivery>>;

    fn delivery(&self, delivery: &DeliveryResult<'_>, sender: Self::DeliveryOpaque) {
        let delivery = delivery.as_ref().map(|_| ()).map_err(|(error, _)| error.clone());
        // The receiver is dropped if the request has ended.
        drop(sender.send(delivery));
    }

    fn get_custom_partitioner(&self) -> Option<&ByMurmur3> {
        self.partitioner.as_ref()
    }
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = <Link as ClientContext>::ENABLE_REFRESH_OAUTH_TOKEN;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.link.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.link.stats(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.link.error(error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.link.generate_oauth_token(config)
    }
}
