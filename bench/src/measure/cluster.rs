//! Several gateways over NATS: the figures that docs/performance/cluster.md shows beside their
//! targets. Each part starts a cluster of its own and can be measured alone.

mod cuts;
mod elsewhere;
mod events;
mod fence;
mod joining;
mod outage;
mod rate;
mod revoked;
mod throngs;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::figures::{Figures, Target};
use crate::client::Publisher;
use crate::event;
use crate::server::{Launch, RunningServer, TempFolder};

/// What is measured, and how much.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterPlan {
    /// Only this part; the page keeps the others. Again for more.
    #[arg(long, value_enum)]
    pub(crate) only: Vec<Part>,
    /// Another build of the gateway, from before it knew of clusters, for the size of the binary.
    #[arg(long)]
    pub(crate) before: Option<PathBuf>,
    /// This part of all counts, above 0 and up to 1. Less than 1 shows only that it works.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) portion: f64,
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    /// Revocations with all nodes well.
    Revoked,
    /// Revocations with one node cut off or stopped.
    Cuts,
    /// Many connections of one session.
    Throngs,
    /// The leader of NATS is killed, stopped, cut off; the servers are restarted one by one.
    Outage,
    /// Revocations in a second.
    Rate,
    /// A node joins, or comes back, with a million operations.
    Joining,
    /// Events to other nodes.
    Events,
    /// What the fence costs.
    Fence,
    /// Requests that another node answers, and lists of all nodes.
    Elsewhere,
    /// Nodes stopped for longer than their lease, many times.
    Stops,
    /// The size of the binary.
    Size,
}

impl ClusterPlan {
    /// Returns this portion of a count, at least `least`.
    fn count(&self, whole: u32, least: u32) -> u32 {
        ((f64::from(whole) * self.portion) as u32).max(least)
    }
}

/// Measures one part.
///
/// # Errors
/// A program cannot be started, or a client sees what it must not see.
pub(crate) async fn run(launch: &Launch, plan: &ClusterPlan, part: Part) -> anyhow::Result<Figures> {
    match part {
        Part::Revoked => revoked::run(launch, plan).await,
        Part::Cuts => cuts::run(launch, plan).await,
        Part::Throngs => throngs::run(launch, plan).await,
        Part::Outage => outage::run(launch, plan).await,
        Part::Rate => rate::run(launch, plan).await,
        Part::Joining => joining::run(launch, plan).await,
        Part::Events => events::run(launch, plan).await,
        Part::Fence => fence::run(launch, plan).await,
        Part::Elsewhere => elsewhere::run(launch, plan).await,
        Part::Stops => cuts::stops(launch, plan).await,
        Part::Size => size(launch, plan),
    }
}

fn size(launch: &Launch, plan: &ClusterPlan) -> anyhow::Result<Figures> {
    let mut figures = Figures::new("The stripped binary, as it is packaged.");
    let size = |program: &std::path::Path| -> anyhow::Result<f64> {
        Ok(std::fs::metadata(program)?.len() as f64 / 1e6)
    };
    let with = size(launch.program())?;
    figures.show("binary", "MB", with);
    if let Some(before) = &plan.before {
        let without = size(before)?;
        figures.show("binary before clusters", "MB", without);
        figures.at_most("growth", "MB", with - without, 3.0);
    }
    Ok(figures)
}

/// Publishes an event every `pace` at one node until it is aborted; a node that is stopped delays
/// it.
fn publish_at(node: &RunningServer, pace: Duration) -> tokio::task::AbortHandle {
    let (address, request) = (node.address, node.publication(&event::numbered(0)));
    tokio::spawn(async move {
        loop {
            if let Ok(mut publisher) = Publisher::connect(address).await {
                let mut pace = tokio::time::interval(pace);
                pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                while publisher.publish(&request).await.is_ok() {
                    pace.tick().await;
                }
            }
            tokio::time::sleep(pace).await;
        }
    })
    .abort_handle()
}

/// What `fsync` takes here after writing as much as an operation has.
fn syncs(count: u32) -> anyhow::Result<Vec<Duration>> {
    let folder = TempFolder::absent("sync")?;
    std::fs::create_dir(&*folder)?;
    let mut file = std::fs::File::create(folder.join("file"))?;
    let one = |_| {
        let start = Instant::now();
        file.write_all(&[b'x'; 300])?;
        file.sync_data()?;
        anyhow::Ok(start.elapsed())
    };
    (0..count).map(one).collect()
}
