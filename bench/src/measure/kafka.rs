//! Events from Kafka: a million that no client wants, and deliveries to many clients beside those
//! of events that were published over HTTP.

mod delivered;
mod dropped;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::event;
use crate::server::Launch;
use crate::server::kafka::KafkaBroker;

pub(crate) use delivered::KafkaDelivery;
#[cfg(test)]
pub(crate) use delivered::Origin;
pub(crate) use dropped::{Dropped, MessageReader};

/// Bytes of each message that no client wants.
pub(crate) const SIZE: usize = 1000;

/// What is measured, and with what.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct KafkaPlan {
    /// The broker, Tansu.
    #[arg(long, default_value = "target/venv/bin/tansu")]
    #[serde(skip)]
    pub(crate) broker: PathBuf,
    /// Python with confluent-kafka, which fills the topics.
    #[arg(long, default_value = "target/venv/bin/python")]
    #[serde(skip)]
    pub(crate) python: PathBuf,
    /// Rounds of everything.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) rounds: u32,
    /// Messages of which only the first and the last have a subscriber; the broker keeps them in
    /// memory.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1000..=4_000_000))]
    pub(crate) messages: u32,
    /// Clients that get each event.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
    pub(crate) subscribers: u32,
    /// Events to all of them. The gateway keeps all of them for a client that falls behind.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) events: u32,
}

/// Every single run.
#[derive(Debug, Serialize)]
pub(crate) struct KafkaRuns {
    pub(crate) broker: String,
    /// What the gateway reads with.
    pub(crate) library: String,
    pub(crate) dropped: Vec<Dropped>,
    pub(crate) deliveries: Vec<KafkaDelivery>,
}

/// Measures.
///
/// # Errors
/// A program cannot be started, or a message is lost.
pub(crate) async fn run(launch: &Launch, plan: &KafkaPlan) -> anyhow::Result<KafkaRuns> {
    let broker = KafkaBroker::version(&plan.broker)?;
    let (library, dropped) = dropped::run(launch, plan).await?;
    let deliveries = delivered::run(launch, plan).await?;
    Ok(KafkaRuns { broker, library, dropped, deliveries })
}

/// The number of the first event, as clients get it.
const NUMBER: &str = r#""id":"0000000000""#;

/// Returns an event of this size with `%010d` for its number, which `TopicWriter` fills in.
fn template(size: usize) -> String {
    let event = event::sized(0, size);
    String::from_utf8_lossy(&event).replace(NUMBER, r#""id":"%010d""#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_has_one_place_for_the_number() {
        let template = template(SIZE);
        assert_eq!(template.matches('%').count(), 1);
        let event = template.replace("%010d", "0000000007");
        assert_eq!(event.as_bytes(), event::sized(7, SIZE));
    }
}
