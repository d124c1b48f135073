//! Kafka.

use std::sync::Arc;

use anyhow::Context;
use broker::kafka::{
    KafkaConfig, KafkaProducer, KafkaProducerConfig, KafkaResponses, KafkaResponsesConfig, KafkaSource,
    Registry,
};
use broker::{Destination, Producer, Pseudonym, Receives, RequestLog, RequestLogConfig};
use futures_util::FutureExt;

use super::{Answers, Brokers, Given, RequestReports};
use crate::settings::{KafkaLogSettings, KafkaSettings};

impl Brokers {
    /// Adds Kafka, with the schema registry if there is one.
    ///
    /// # Errors
    /// Fails if one of them cannot be used as it is configured.
    pub(super) async fn add_kafka(&mut self, settings: KafkaSettings, given: &Given) -> anyhow::Result<()> {
        let KafkaSettings { access, topics, reach, reset, dead_letters, .. } = settings;
        let registry = settings.registry.map(Registry::new).transpose();
        let registry = registry.context("KAFKA_SCHEMA_REGISTRY_HOST")?.map(Arc::new);
        let producer = KafkaProducer::new(KafkaProducerConfig {
            access: access.clone(),
            registry: registry.clone().filter(|_| settings.sends_avro),
            partitioner: settings.partitioner,
            deadline: given.answer_timeout,
        });
        let producer = Arc::new(producer.context("Kafka")?);
        let of_producer = producer.clone();
        self.connections.push((producer.name(), Box::new(move || of_producer.is_up())));
        self.producers.kafka = Some(producer.clone());
        if let Some(KafkaLogSettings { topic, schema }) = settings.log {
            let pseudonym = given
                .pseudonyms
                .clone()
                .map(|pseudonyms| -> Arc<Pseudonym> { Arc::new(move |name: &str| pseudonyms.of(name)) });
            let to = Destination { topic: topic.into(), schema: schema.map(Into::into) };
            let config = RequestLogConfig { to, is_avro: settings.sends_avro, pseudonym };
            let log = Arc::new(RequestLog::new(config, producer, self.metrics.clone()));
            self.request_log = Some(RequestReports { sink: log.clone(), sending: log.run().boxed() });
        }

        let answers = KafkaResponsesConfig {
            access: access.clone(),
            topics: settings.response_topics,
            source_topics: topics.clone(),
        };
        let metrics = self.metrics.clone();
        self.answers = Some(Box::new(move |waiting| {
            let answers = Arc::new(KafkaResponses::new(answers, waiting, metrics).context("Kafka")?);
            let asked = answers.clone();
            let receives: Receives = Box::new(move || asked.is_ready());
            let receiving: Answers = answers.run().boxed();
            Ok((receives, receiving))
        }));

        let config = KafkaConfig { access, topics, reach, reset, dead_letters, registry };
        let source = KafkaSource::new(config, self.intake.clone()).await.context("Kafka")?;
        self.add_source(Arc::new(source));
        Ok(())
    }
}
