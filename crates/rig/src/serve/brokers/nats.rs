//! NATS as a broker.

use std::sync::Arc;

use anyhow::Context;
use broker::Producer;
use broker::nats::{NatsConfig, NatsProducer, NatsSource};

use super::Brokers;

impl Brokers {
    /// Adds NATS.
    ///
    /// # Errors
    /// Fails if it cannot be used as it is configured.
    pub(super) async fn add_nats(&mut self, config: NatsConfig) -> anyhow::Result<()> {
        let broken = "NATS as a broker";
        self.producers.nats_timeout = config.reply_timeout;
        let producer = Arc::new(NatsProducer::open(config.access.clone()).await.context(broken)?);
        let of_producer = producer.clone();
        self.connections.push((producer.name(), Box::new(move || of_producer.is_up())));
        self.producers.nats = Some(producer);
        let source = NatsSource::new(config, self.intake.clone()).await.context(broken)?;
        self.add_source(Arc::new(source));
        Ok(())
    }
}
