//! Kafka: events of topics, at least once into the gateway.
//!
//! All clients of librdkafka are configured by [`KafkaAccess`] and report to a [`Link`], each to
//! one of its own: whether it is connected, and what goes wrong.

pub mod access;
mod blocking;
pub mod check;
mod context;
mod dead_letters;
mod encode;
mod ends;
mod everywhere;
pub mod oauth;
mod observer;
mod offsets;
mod partitioner;
mod producer;
mod reader;
mod responses;
mod source;
mod work;

pub use access::{AccessError, KafkaAccess, KafkaTls, Sasl, UserPassword};
pub use avro::{Registry, RegistryConfig};
pub(crate) use context::Link;
pub use partitioner::Partitioner;
pub use producer::{KafkaProducer, KafkaProducerConfig};
pub use responses::{KafkaResponses, KafkaResponsesConfig};
pub use source::{KafkaConfig, KafkaSource, Reach, Reset};

/// Its name, for the log and the metrics.
pub(crate) const NAME: &str = "kafka";
