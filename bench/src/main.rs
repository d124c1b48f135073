//! Measures the gateway beside its peers and beside the floor, a program that makes one write for
//! each delivery and nothing else: memory of idle connections, time to start, CPU time of a
//! delivery, revoking a session with thousands of connections, and millions of revocations in
//! memory and on disk.
//!
//! Knows how to start a server, how to read its memory and CPU time from `/proc`, and how to act as
//! thousands of clients at little cost. Does not know how the gateway works inside: it is used as
//! any client uses it. Only the filter and the table of revocations are measured in this process,
//! as libraries. Everything is on the loopback interface and bounded in count and time; only
//! processes started here are stopped.

mod client;
mod event;
mod machine;
mod measure;
mod plot;
mod process;
mod report;
mod results;
mod server;
mod stats;
mod suite;
mod token;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use measure::{
    beside, churn, cluster, connect, fanout, filter, identity, idle, journal, kafka, proxy, publish, resume,
    revoke, sessions, slow, start, sustained,
};
use server::Launch;

/// As the gateway has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Descriptors for a process: ten thousand connections and what else is open.
const DESCRIPTORS: u64 = 19_000;

/// No run takes longer.
const LONGEST: Duration = Duration::from_secs(2 * 3600);

/// Measures the gateway, alone or beside nginx with nchan. Each run prints one line of JSON.
#[derive(Debug, Parser)]
#[command(name = "rig-bench", version, max_term_width = 110)]
struct Arguments {
    #[command(flatten)]
    programs: Programs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Programs {
    /// The gateway's binary.
    #[arg(long, global = true, default_value = "target/dist/rig")]
    rig: PathBuf,
    /// The nginx binary; the module nchan is loaded from its modules folder.
    #[arg(long, global = true, default_value = "/usr/sbin/nginx")]
    nginx: PathBuf,
    /// The haproxy binary.
    #[arg(long, global = true, default_value = "/usr/sbin/haproxy")]
    haproxy: PathBuf,
    /// The nats-server binary.
    #[arg(long, global = true, default_value = "target/venv/bin/nats-server")]
    nats: PathBuf,
    /// A variable for the gateway, NAME=VALUE, beside those it is given anyway. Again for more.
    #[arg(long = "env", global = true, value_name = "NAME=VALUE")]
    environment: Vec<String>,
    /// Show the gateway's log on standard error.
    #[arg(long, global = true)]
    log: bool,
}

/// How clients are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Streaming {
    /// Server-Sent Events.
    Sse,
    /// WebSocket.
    Ws,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything below but the proxy, repeated and in turns with the peers; written as a page,
    /// plots and raw numbers.
    Table {
        /// The folder for table.md, raw.json and the plots.
        #[arg(long, default_value = "docs/performance")]
        out: PathBuf,
        #[command(flatten)]
        plan: results::Plan,
    },
    /// The page and the plots again, from raw numbers.
    Report {
        /// The folder of raw.json.
        #[arg(default_value = "docs/performance")]
        out: PathBuf,
    },
    /// CPU time of a proxied request, in turns with nginx and haproxy before the same service, and
    /// the end of a session with downloads and upgraded connections; written as proxy.md and
    /// proxy.json.
    Proxy {
        /// The folder for both.
        #[arg(long, default_value = "docs/performance")]
        out: PathBuf,
        #[command(flatten)]
        plan: proxy::Rounds,
    },
    /// Measures CPU time, instructions and memory of two builds of the gateway, interleaved; writes
    /// beside.md and beside.json.
    Beside {
        /// The folder for both.
        #[arg(long, default_value = "docs/performance")]
        out: PathBuf,
        #[command(flatten)]
        plan: beside::Comparison,
    },
    /// Measures three gateways over three nats-servers: revocations, also with one of them cut off
    /// or stopped, events, and joining; writes cluster.md and cluster.json.
    Cluster {
        /// The folder for both.
        #[arg(long, default_value = "docs/performance")]
        out: PathBuf,
        #[command(flatten)]
        plan: cluster::ClusterPlan,
    },
    /// Measures events from Kafka: a million that no client wants, and deliveries beside those of
    /// events over HTTP; writes kafka.md and kafka.json.
    Kafka {
        /// The folder for both.
        #[arg(long, default_value = "docs/performance")]
        out: PathBuf,
        #[command(flatten)]
        plan: kafka::KafkaPlan,
    },
    /// Measures tokens of an issuer beside those of a static key, and logouts that the issuer
    /// sends, at one gateway and at three; writes identity.md and identity.json.
    Identity {
        /// The folder for both.
        #[arg(long, default_value = "docs/performance")]
        out: PathBuf,
        #[command(flatten)]
        plan: identity::IdentityPlan,
    },
    /// Measures what the history of events costs, and what clients that come back cost, beside an
    /// earlier build and nchan, and a hundred thousand of them; writes resume.md and resume.json.
    Resume {
        /// The folder for both.
        #[arg(long, default_value = "docs/performance")]
        out: PathBuf,
        #[command(flatten)]
        plan: resume::ResumePlan,
    },
    /// The clients of one of several servers, which come back.
    #[command(hide = true)]
    ComeBack(resume::Returning),
    /// Memory of connections that wait, each with one subscription.
    Idle(idle::IdleClients),
    /// The clients of one of several servers.
    #[command(hide = true)]
    Hold(idle::Hold),
    /// Time from starting the process to the first answer.
    Start {
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        times: u32,
    },
    /// CPU time of a connect with a token of its own, and of leaving.
    Connect(connect::Newcomers),
    /// CPU time of a delivery: every event goes to all subscribers; the next follows when all have
    /// it.
    Fanout(fanout::Audience),
    /// CPU time of a delivery while events keep coming, at a pace or as fast as the server takes
    /// them.
    Sustained(sustained::EventFlow),
    /// CPU time to find the one subscriber of an event among many that constrain the same field.
    Filter {
        #[arg(default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
        subscriptions: u64,
    },
    /// CPU time of an event without subscribers: every publisher sends the next when its last is
    /// answered.
    Publish(publish::Publishers),
    /// What some readers that are too slow do to all others.
    Slow(slow::Readers),
    /// The end of a session with many connections, and what the clients of others notice of it.
    Revoke(revoke::RevokedSession),
    /// Memory of live revocations, and the time to look one up.
    Sessions {
        #[arg(default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..=50_000_000))]
        revocations: u64,
    },
    /// Revocations that go to disk in a second, and the time to load them.
    Journal(journal::StoredRevocations),
    /// Memory while clients come and go.
    Churn(churn::Visitors),
    /// All of it with some clients for some seconds, without peers: does it work at all.
    Smoke {
        /// The folder for the page, which says nothing.
        #[arg(long)]
        out: PathBuf,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { programs, command } = Arguments::parse();
    raise_descriptors()?;
    let launch = Launch::new(
        programs.rig,
        programs.nginx,
        programs.haproxy,
        programs.nats,
        &programs.environment,
        programs.log,
    )?;
    let mut terminate = signal(SignalKind::terminate())?;
    // However the run stops, its servers are dropped, and dropping one stops its processes.
    tokio::select! {
        done = run(&launch, command) => done,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("terminated"),
        () = tokio::time::sleep(LONGEST) => anyhow::bail!("took longer than {LONGEST:?}"),
    }
}

async fn run(launch: &Launch, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Table { out, plan } => suite::run(launch, plan, &out).await,
        Command::Report { out } => suite::report(&out),
        Command::Proxy { out, plan } => report::proxy::run(launch, &plan, &out).await,
        Command::Beside { out, plan } => report::beside::run(launch, &plan, &out).await,
        Command::Cluster { out, plan } => report::cluster::run(launch, &plan, &out).await,
        Command::Kafka { out, plan } => report::kafka::run(launch, &plan, &out).await,
        Command::Identity { out, plan } => report::identity::run(launch, &plan, &out).await,
        Command::Resume { out, plan } => report::resume::run(launch, &plan, &out).await,
        Command::ComeBack(plan) => resume::come_back(plan).await,
        Command::Idle(plan) => print(&idle::run(launch, plan).await?),
        Command::Hold(plan) => idle::hold(plan).await,
        Command::Start { times } => print(&start::run(launch, times)?),
        Command::Connect(plan) => print(&connect::run(launch, plan).await?),
        Command::Fanout(plan) => print(&fanout::run(launch, plan).await?),
        Command::Sustained(plan) => print(&sustained::run(launch, plan).await?),
        Command::Filter { subscriptions } => print(&filter::run(subscriptions)?),
        Command::Publish(plan) => print(&publish::run(launch, plan).await?),
        Command::Slow(plan) => print(&slow::run(launch, plan).await?),
        Command::Revoke(plan) => print(&revoke::run(launch, plan).await?),
        Command::Sessions { revocations } => print(&sessions::run(revocations)?),
        Command::Journal(plan) => print(&journal::run(plan)?),
        Command::Churn(plan) => print(&churn::run(launch, plan).await?),
        Command::Smoke { out } => suite::run(launch, results::Plan::smoke(), &out).await,
    }
}

fn print(result: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(result)?);
    Ok(())
}

/// For this process and, inherited, for the servers.
fn raise_descriptors() -> anyhow::Result<()> {
    let limit = rlimit::increase_nofile_limit(DESCRIPTORS).context("raise the limit of descriptors")?;
    anyhow::ensure!(limit >= DESCRIPTORS, "only {limit} descriptors allowed; {DESCRIPTORS} are needed");
    Ok(())
}
