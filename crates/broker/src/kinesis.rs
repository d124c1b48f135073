//! Amazon Kinesis: events of a stream, at least once, and events to streams.
//!
//! The gateways of a group share the shards of a stream by leases, in a table of DynamoDB that is
//! compatible with the Kinesis Client Library. Each shard has a task of its own, which reads,
//! publishes and stores how far it is. The rules of leases are in `roster.rs`, without I/O.

mod aws;
pub mod check;
mod credentials;
mod cursor;
mod lease;
mod link;
mod listing;
mod producer;
mod reader;
mod roster;
mod shards;
mod sink;
mod source;
mod table;
mod worker;

use std::fmt;
use std::time::Duration;

pub use producer::KinesisProducer;
pub use sink::Sink;
pub use source::KinesisSource;

const NAME: &str = "kinesis";

/// Where events come from.
#[derive(Clone, Debug)]
pub struct KinesisConfig {
    /// Where Kinesis is.
    pub access: KinesisAccess,
    /// The URL of DynamoDB; `None` for that of AWS in the region.
    pub dynamodb_endpoint: Option<String>,
    /// The stream.
    pub stream: String,
    /// The name of the group of gateways that share the stream, and of its table of leases.
    pub application: String,
    /// Which of the gateways receive an event.
    pub mode: KinesisMode,
    /// Where a group begins that has not read the stream before. Without a group, every start
    /// begins there.
    pub initial_position: InitialPosition,
    /// How leases are kept.
    pub timing: LeaseTiming,
}

/// Where events are sent to.
#[derive(Clone, Debug)]
pub struct KinesisAccess {
    /// The region of AWS.
    pub region: String,
    /// The URL of Kinesis; `None` for that of AWS in the region.
    pub endpoint: Option<String>,
    /// `None` for the credentials that the environment provides.
    pub key: Option<AccessKey>,
}

/// Credentials that do not expire.
#[derive(Clone)]
pub struct AccessKey {
    /// The id of the key, which is not secret.
    pub id: String,
    /// The key.
    pub secret: String,
}

/// Which of the gateways receive an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KinesisMode {
    /// One of the group, which passes it on to the other nodes of its cluster.
    Group,
    /// Each. There is no table of leases, and no place is stored.
    Broadcast,
}

/// Where reading of a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialPosition {
    /// After the latest record.
    Latest,
    /// With the oldest record.
    TrimHorizon,
}

/// How leases are kept.
#[derive(Clone, Copy, Debug)]
pub struct LeaseTiming {
    /// A lease that was not renewed for this time may be taken by another gateway.
    pub duration: Duration,
    /// How often leases are read, renewed and taken.
    pub renewal: Duration,
    /// How often it is stored how far a shard was read. After a crash, what was read since is
    /// repeated.
    pub checkpoint: Duration,
    /// How often shards are listed.
    pub listing: Duration,
    /// A worker that does not reach Kinesis for this time gives its leases up.
    pub patience: Duration,
}

impl Default for LeaseTiming {
    /// The times of the Kinesis Client Library, whose workers this gateway replaces. They never
    /// give a lease up that they renew.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(10),
            renewal: Duration::from_secs(3),
            checkpoint: Duration::from_secs(5),
            listing: Duration::from_secs(60),
            patience: Duration::from_secs(60),
        }
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}
