//! Results of the whole measurement: how much was measured, and every single run.
//!
//! Knows neither how the runs are made nor what the page says of them.

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::machine::Testbed;
use crate::measure::{
    churn, connect, fanout, filter, idle, journal, publish, revoke, sessions, slow, start, sustained,
};

/// The file with every single run.
pub(crate) const RAW: &str = "raw.json";

/// How much of everything.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Rounds of each scenario that is repeated.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) rounds: u32,
    /// Idle connections.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
    pub(crate) connections: u32,
    /// Idle connections of several processes.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=500_000))]
    pub(crate) many: u32,
    /// Seconds between the last connect and the measurement of memory.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub(crate) settle: u64,
    /// Starts of the gateway.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) starts: u32,
    /// Subscribers of each event.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
    pub(crate) subscribers: u32,
    /// Events of a fan-out.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) events: u32,
    /// Limit of subscriptions that constrain the same field.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..=10_000_000))]
    pub(crate) subscriptions: u64,
    /// Connections of the session that is revoked.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    pub(crate) revoked: u32,
    /// Clients of other sessions meanwhile.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pub(crate) bystanders: u32,
    /// Live revocations in memory.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..=50_000_000))]
    pub(crate) in_memory: u64,
    /// Live revocations on disk.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=50_000_000))]
    pub(crate) on_disk: u64,
    /// Seconds in which clients come and go.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(5..=3000))]
    pub(crate) churn: u64,
    /// The gateway and the floor only.
    #[arg(long)]
    pub(crate) alone: bool,
}

/// Everything that was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Testbed,
    pub(crate) plan: Plan,
    pub(crate) start: start::Start,
    /// Some number of plain connections, repeated.
    pub(crate) idle: Vec<idle::Idle>,
    /// Other numbers of them.
    pub(crate) numbers: Vec<idle::Idle>,
    /// Connections in other ways.
    pub(crate) variants: Vec<idle::Idle>,
    pub(crate) connect: Vec<connect::Connect>,
    pub(crate) fanout: Vec<fanout::Fanout>,
    pub(crate) sustained: Vec<sustained::Sustained>,
    pub(crate) filter: Vec<filter::Filter>,
    pub(crate) publish: Vec<publish::Publish>,
    pub(crate) slow: Vec<slow::Slow>,
    pub(crate) revoke: Vec<revoke::Revoke>,
    pub(crate) in_memory: sessions::InMemory,
    pub(crate) on_disk: journal::OnDisk,
    pub(crate) churn: churn::Churn,
}

impl Plan {
    /// Enough to see that it works, in half a minute.
    pub(crate) fn smoke() -> Self {
        Self {
            rounds: 1,
            connections: 50,
            many: 100,
            settle: 0,
            starts: 1,
            subscribers: 50,
            events: 50,
            subscriptions: 1000,
            revoked: 50,
            bystanders: 10,
            in_memory: 10_000,
            on_disk: 10_000,
            churn: 5,
            alone: true,
        }
    }
}
