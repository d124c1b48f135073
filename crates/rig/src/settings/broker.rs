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
    #[cfg(not(feature = "kafka"))]
    if logs_to_kafka(reader) {
        reader.mistake("REQUEST_LOG", "Kafka is not built in: build with --features kafka");
    }
    for (heading, feature, is_built_in) in [
        ("Kafka", "kafka", cfg!(feature = "kafka")),
        ("Amazon Kinesis", "kinesis", cfg!(feature = "kinesis")),
        ("NATS as a broker", "nats", cfg!(feature = "nats")),
    ] {
        if !is_built_in {
            refuse_all(reader, heading, feature);
        }
    }
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

/// Refuses the settings of a broker that is not built in, unless they turn it off.
fn refuse_all(reader: &mut Reader, heading: &'static str, feature: &str) {
    for name in table::names_under(heading) {
        let value = reader.given.value_of(name).to_ascii_lowercase();
        if reader.is_named(name) && !matches!(&*value, "" | "0" | "false" | "no" | "off") {
            reader.mistake(name, format!("{heading} is not built in: build with --features {feature}"));
        }
    }
}
