//! The whole measurement: all runs, repeated and interleaved, then the table.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::Transport;
use crate::machine::Machine;
use crate::measure::{fanout, idle, journal, revoke, sessions, start};
use crate::report;
use crate::server::{Launch, Product};

/// How much of everything.
#[derive(Clone, Debug, Args, Serialize)]
pub(crate) struct Plan {
    /// Idle connections.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
    pub(crate) connections: u32,
    /// Seconds between the last connect and the measurement of memory.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub(crate) settle: u64,
    /// Runs of the idle connections, for each server and transport.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) idle_rounds: u32,
    /// Starts of the gateway.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) starts: u32,
    /// Subscribers of each event.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
    pub(crate) subscribers: u32,
    /// Events of a run.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) events: u32,
    /// Runs of the fan-out, for each server and transport.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) fanout_rounds: u32,
    /// Connections of the session that is revoked.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    pub(crate) revoked: u32,
    /// Clients of other sessions meanwhile.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pub(crate) bystanders: u32,
    /// Revocations of such a session, for each transport.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) revoke_rounds: u32,
    /// Live revocations in memory.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..=50_000_000))]
    pub(crate) in_memory: u64,
    /// Live revocations on disk.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=50_000_000))]
    pub(crate) on_disk: u64,
    /// Callers that revoke at the same time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) callers: u32,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) plan: Plan,
    pub(crate) start: start::Start,
    pub(crate) idle: Vec<idle::Idle>,
    pub(crate) fanout: Vec<fanout::Fanout>,
    pub(crate) revoke: Vec<revoke::Revoke>,
    pub(crate) in_memory: sessions::InMemory,
    pub(crate) on_disk: journal::OnDisk,
}

/// Measures everything and writes `table.md` and `raw.json` into the folder.
///
/// # Errors
/// One of the runs fails, or the files cannot be written.
pub(crate) async fn run(launch: &Launch, plan: &Plan, out: &Path) -> anyhow::Result<()> {
    let results = measure(launch, plan).await?;
    fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    let mut raw = serde_json::to_string_pretty(&results)?;
    raw.push('\n');
    let table = report::markdown(&results);
    for (name, text) in [("raw.json", &raw), ("table.md", &table)] {
        let file = out.join(name);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    print!("{table}");
    Ok(())
}

async fn measure(launch: &Launch, plan: &Plan) -> anyhow::Result<Results> {
    let machine = Machine::look(launch)?;
    // First, while this process has not had any memory to give back.
    eprintln!("{} revocations in memory", plan.in_memory);
    let in_memory = sessions::run(plan.in_memory)?;
    eprintln!("{} revocations on disk", plan.on_disk);
    let on_disk = journal::run(journal::Plan { revocations: plan.on_disk, callers: plan.callers })?;
    let mut revoke = Vec::new();
    for transport in [Transport::Sse, Transport::Ws] {
        eprintln!("{} rounds of {} connections revoked: {transport:?}", plan.revoke_rounds, plan.revoked);
        let &Plan { revoked: connections, bystanders, revoke_rounds: rounds, .. } = plan;
        revoke.push(revoke::run(launch, revoke::Plan { transport, connections, bystanders, rounds }).await?);
    }
    eprintln!("{} starts", plan.starts);
    let start = start::run(launch, plan.starts)?;
    let mut idle = Vec::new();
    let mut fanout = Vec::new();
    // Interleaved, A B A B: whatever else the machine does meets all of them.
    for round in 1..=plan.fanout_rounds {
        for (transport, server) in pairs() {
            eprintln!("fan-out, round {round} of {}: {server:?} {transport:?}", plan.fanout_rounds);
            let &Plan { subscribers, events, .. } = plan;
            fanout.push(fanout::run(launch, fanout::Plan { server, transport, subscribers, events }).await?);
        }
    }
    for round in 1..=plan.idle_rounds {
        for (transport, server) in pairs() {
            eprintln!("idle connections, round {round} of {}: {server:?} {transport:?}", plan.idle_rounds);
            let (connections, settle) = (plan.connections, Duration::from_secs(plan.settle));
            let plan = idle::Plan { server, variant: transport.into(), connections, settle };
            idle.push(idle::run(launch, plan).await?);
        }
    }
    Ok(Results { machine, plan: plan.clone(), start, idle, fanout, revoke, in_memory, on_disk })
}

fn pairs() -> impl Iterator<Item = (Transport, Product)> {
    let products = [Product::Rig, Product::Nginx];
    [Transport::Sse, Transport::Ws]
        .into_iter()
        .flat_map(move |transport| products.map(|product| (transport, product)))
}
