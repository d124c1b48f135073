//! The whole measurement: all scenarios, repeated, the systems in turns; then the page and the
//! plots.

use std::fs;
use std::path::Path;

use anyhow::Context;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::Transport;
use crate::client::Variant;
use crate::machine::Machine;
use crate::measure::{
    churn, connect, fanout, filter, idle, journal, publish, revoke, sessions, slow, start, sustained,
};
use crate::report;
use crate::server::{Launch, Product};

mod turns;

/// The file with every single run.
const RAW: &str = "raw.json";

/// How much of everything.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Runs of what is repeated.
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
    /// Subscriptions that constrain the same field, at the most.
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
    pub(crate) machine: Machine,
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

/// Measures everything and writes the page, the plots and `raw.json` into the folder.
///
/// # Errors
/// One of the runs fails, or the files cannot be written.
pub(crate) async fn run(launch: &Launch, plan: Plan, out: &Path) -> anyhow::Result<()> {
    let results = measure(launch, plan).await?;
    fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    let mut raw = serde_json::to_string_pretty(&results)?;
    raw.push('\n');
    write(out, RAW, &raw)?;
    report(out)
}

/// Writes the page and the plots from the `raw.json` of the folder.
///
/// # Errors
/// It cannot be read, or the files cannot be written.
pub(crate) fn report(out: &Path) -> anyhow::Result<()> {
    let file = out.join(RAW);
    let raw = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let results: Results = serde_json::from_str(&raw).with_context(|| format!("read {}", file.display()))?;
    for (name, plot) in report::plots(&results)? {
        write(out, name, &plot)?;
    }
    let page = report::markdown(&results);
    write(out, "table.md", &page)?;
    print!("{page}");
    Ok(())
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let file = folder.join(name);
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))
}

async fn measure(launch: &Launch, plan: Plan) -> anyhow::Result<Results> {
    let machine = Machine::look(launch, turns::products(&plan))?;
    // First, while this process has not had any memory to give back.
    eprintln!("{} revocations in memory", plan.in_memory);
    let in_memory = sessions::run(plan.in_memory)?;
    eprintln!("clients that come and go, for {} s", plan.churn);
    let churn = churn::run(launch, churn::Plan { seconds: plan.churn, clients: 16 }).await?;
    eprintln!("{} revocations on disk", plan.on_disk);
    let on_disk = journal::run(journal::Plan { revocations: plan.on_disk, callers: 64 })?;
    let filter = turns::filter(&plan)?;
    let mut revoke = Vec::new();
    for transport in [Transport::Sse, Transport::Ws] {
        eprintln!("{} connections revoked: {transport:?}", plan.revoked);
        let Plan { revoked: connections, bystanders, rounds, .. } = plan;
        revoke.push(revoke::run(launch, revoke::Plan { transport, connections, bystanders, rounds }).await?);
    }
    eprintln!("{} starts", plan.starts);
    let start = start::run(launch, plan.starts)?;
    let fanout = turns::fanout(launch, &plan).await?;
    let sustained = turns::sustained(launch, &plan).await?;
    let publish = turns::publish(launch, &plan).await?;
    let connect = turns::connect(launch, &plan).await?;
    let slow = turns::slow(launch, &plan).await?;
    let idle = turns::idle(launch, &plan).await?;
    let few = plan.settle.min(3);
    let mut numbers = if plan.alone { Vec::new() } else { idle::sweep(launch, few).await? };
    eprintln!("{} idle connections", plan.many);
    let variant = Variant::from(Transport::Sse);
    let many = idle::Plan { server: Product::Rig, variant, connections: plan.many, settle: few };
    numbers.push(idle::run(launch, many).await?);
    let variants = idle::variants(launch, plan.connections, few).await?;
    Ok(Results {
        machine,
        plan,
        start,
        idle,
        numbers,
        variants,
        connect,
        fanout,
        sustained,
        filter,
        publish,
        slow,
        revoke,
        in_memory,
        on_disk,
        churn,
    })
}
