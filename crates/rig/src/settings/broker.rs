//! The settings of message brokers.

#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kinesis")]
mod kinesis;
#[cfg(feature = "nats")]
mod nats;

use event::ExtensionNames;
use proxy::Broker;

#[cfg(feature = "kafka")]
pub(crate) use self::kafka::{KafkaLogSettings, KafkaSettings};
#[cfg(feature = "kinesis")]
pub(crate) use self::kinesis::KinesisSettings;
use super::reader::Reader;
#[cfg(not(all(feature = "kafka", feature = "kinesis")))]
use super::table;

/// The brokers that events come from.
pub(crate) struct BrokerSettings {
    /// Which names extensions of events may have.
    pub(crate) names: ExtensionNames,
    /// Whether the node is ready only while it is connected to all of them.
    pub(crate) are_needed: bool,
    /// Whether events contain the credentials of the requests that they were.
    pub(crate) keeps_credentials: bool,
    /// Kafka; `None` if it is not used.
    #[cfg(feature = "kafka")]
    pub(crate) kafka: Option<KafkaSettings>,
    /// Kinesis.
    #[cfg(feature = "kinesis")]
    pub(crate) kinesis: KinesisSettings,
    /// NATS; `None` if it is not used.
    #[cfg(feature = "nats")]
    pub(crate) nats: Option<::broker::nats::NatsConfig>,
}

impl BrokerSettings {
    /// Returns whether a broker is used.
    pub(super) fn has(&self, broker: Broker) -> bool {
        match broker {
            #[cfg(feature = "kafka")]
            Broker::Kafka => self.kafka.is_some(),
            #[cfg(feature = "kinesis")]
            // Events can be sent to it without any setting, as in RIG.
            Broker::Kinesis => true,
            #[cfg(feature = "nats")]
            Broker::Nats => self.nats.is_some(),
            #[allow(unreachable_patterns, reason = "some brokers may not be built in")]
            _ => false,
        }
    }
}

pub(super) fn read_brokers(reader: &mut Reader, names: ExtensionNames) -> BrokerSettings {
    #[cfg(not(feature = "nats"))]
    if reader.is_set("NATS_SERVERS") {
        reader.mistake("NATS_SERVERS", "NATS as a broker is not built in: build with --features nats");
    }
    #[cfg(not(feature = "kafka"))]
    lacks_kafka(reader);
    #[cfg(not(feature = "kinesis"))]
    lacks_kinesis(reader);
    BrokerSettings {
        names,
        are_needed: reader.switch("BROKERS_NEEDED"),
        keeps_credentials: reader.word("PROXY_BROKER_CREDENTIALS", |word| match word {
            "drop" => Some(false),
            "keep" => Some(true),
            _ => None,
        }),
        #[cfg(feature = "kafka")]
        kafka: kafka::read(reader),
        #[cfg(feature = "kinesis")]
        kinesis: kinesis::read(reader),
        #[cfg(feature = "nats")]
        nats: nats::read(reader),
    }
}

/// Returns whether the request log goes to Kafka.
fn logs_to_kafka(reader: &Reader) -> bool {
    let places = reader.given.value_of("REQUEST_LOG");
    places.split(',').any(|place| place.trim().eq_ignore_ascii_case("kafka"))
}

/// Refuses what only a build with Kafka can do. The other settings of Kafka have no effect then.
#[cfg(not(feature = "kafka"))]
fn lacks_kafka(reader: &mut Reader) {
    let reason = "Kafka is not built in: build with --features kafka";
    if reader.is_set("KAFKA_BROKERS") {
        reader.mistake("KAFKA_BROKERS", reason);
    }
    if logs_to_kafka(reader) {
        reader.mistake("REQUEST_LOG", reason);
    }
    table::broker_rows("Kafka").for_each(|name| _ = reader.is_set(name));
}

/// Refuses what only a build with Kinesis can do. The other settings of Kinesis have no effect then.
#[cfg(not(feature = "kinesis"))]
fn lacks_kinesis(reader: &mut Reader) {
    if reader.switch("KINESIS_ENABLED") {
        reader.mistake("KINESIS_ENABLED", "Kinesis is not built in: build with --features kinesis");
    }
    table::broker_rows("Amazon Kinesis").for_each(|name| _ = reader.is_set(name));
}
