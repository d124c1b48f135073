//! The settings of message brokers.

#[cfg(feature = "nats")]
mod nats;

use event::ExtensionNames;

use super::reader::Reader;

/// The brokers that events come from.
pub(crate) struct BrokerSettings {
    /// Which names extensions of events may have.
    pub(crate) names: ExtensionNames,
    /// NATS; `None` if it is not used.
    #[cfg(feature = "nats")]
    pub(crate) nats: Option<::broker::nats::NatsConfig>,
}

pub(super) fn read_brokers(reader: &mut Reader, names: ExtensionNames) -> BrokerSettings {
    #[cfg(not(feature = "nats"))]
    if reader.is_set("NATS_SERVERS") {
        reader.mistake("NATS_SERVERS", "NATS as a broker is not built in: build with --features nats");
    }
    BrokerSettings {
        names,
        #[cfg(feature = "nats")]
        nats: nats::read(reader),
    }
}
