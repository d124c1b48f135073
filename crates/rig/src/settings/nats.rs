//! The settings of NATS alone, for commands of the operator.

use ::cluster::nats::NatsConfig;

use super::cluster::read_nats;
use super::given::Given;
use super::mistake::Mistakes;
use super::reader::Reader;

/// Reads where NATS is.
///
/// # Errors
/// Fails with the mistakes of these settings, or if no server is named.
pub(crate) fn nats(given: Given) -> Result<NatsConfig, Mistakes> {
    let mut reader = Reader::new(given);
    let nats = read_nats(&mut reader);
    if nats.is_none() && reader.mistakes() == 0 {
        reader.mistake("CLUSTER_NATS", "not set: it names the NATS servers of the cluster");
    }
    match nats {
        Some(nats) if reader.mistakes() == 0 => Ok(nats),
        _ => Err(Mistakes(reader.given.mistakes)),
    }
}
