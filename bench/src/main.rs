//! Measures the gateway: memory of idle connections, time to start, CPU time of a delivery, beside nginx with nchan; the
//! end of a session with thousands of connections; millions of revocations, in memory and on disk.
//!
//! Knows how to start a server and read its accounts from `/proc`, and how to be thousands of clients at little cost.
//! Knows nothing of the gateway's inside: what it does is what any client does. Only the revocations are measured in
//! this process, with the room of the sessions as the library that it is. Everything is on the loopback
//! interface and bounded in count and time; only processes started here are ended.

mod client;
mod event;
mod machine;
mod measure;
mod process;
mod report;
mod server;
mod stats;
mod table;
mod token;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use measure::{connect, fanout, idle, journal, proxy, publish, revoke, sessions, start};
use server::{Launch, Product};

/// As the gateway has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Descriptors for a process: ten thousand connections and what else is open.
const DESCRIPTORS: u64 = 19_000;

/// No run takes longer.
const LONGEST: Duration = Duration::from_secs(3600);

/// Measures the gateway, alone or beside nginx with nchan. Each run prints one line of JSON.
#[derive(Debug, Parser)]
#[command(name = "rig-bench", version, max_term_width = 110)]
struct CommandLine {
    #[command(flatten)]
    programs: Programs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Programs {
    /// The gateway's binary.
    #[arg(long, global = true, default_value = "target/release/rig")]
    rig: PathBuf,
    /// The nginx binary; the module nchan is loaded from its modules folder.
    #[arg(long, global = true, default_value = "/usr/sbin/nginx")]
    nginx: PathBuf,
    /// The haproxy binary.
    #[arg(long, global = true, default_value = "/usr/sbin/haproxy")]
    haproxy: PathBuf,
    /// A variable for the gateway, NAME=VALUE, beside those it is given anyway. Again for more.
    #[arg(long = "env", global = true, value_name = "NAME=VALUE")]
    environment: Vec<String>,
    /// Show the gateway's log on standard error.
    #[arg(long, global = true)]
    log: bool,
}

/// How clients are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Transport {
    /// Server-Sent Events.
    Sse,
    /// WebSocket.
    Ws,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Memory of connections that wait, each with its own JWT session and one subscription.
    Idle {
        #[arg(long, value_enum, default_value = "rig")]
        server: Product,
        #[arg(long, value_enum, default_value = "sse")]
        transport: Transport,
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
        connections: u32,
        /// Seconds between the last connect and the measurement; more than one heartbeat interval.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=600))]
        settle: u64,
    },
    /// Time from starting the process to the first answer.
    Start {
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        times: u32,
    },
    /// CPU time of a delivery: every event goes to all subscribers; the next follows when all have it.
    Fanout {
        #[arg(long, value_enum, default_value = "rig")]
        server: Product,
        #[arg(long, value_enum, default_value = "sse")]
        transport: Transport,
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
        subscribers: u32,
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        events: u32,
    },
    /// CPU time of an event that nobody waits for: every publisher sends the next when its last is answered.
    Publish {
        #[arg(long, value_enum, default_value = "rig")]
        server: Product,
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
        publishers: u32,
        /// Seconds; one more before it does not count.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: u64,
    },
    /// CPU time of a connect with a token of its own, and of leaving.
    Connect {
        #[arg(long, value_enum, default_value = "rig")]
        server: Product,
        #[arg(long, value_enum, default_value = "sse")]
        transport: Transport,
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
        connections: u32,
    },
    /// The end of a session with many connections, and what the clients of others notice of it.
    Revoke {
        #[arg(long, value_enum, default_value = "sse")]
        transport: Transport,
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
        connections: u32,
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=2_000))]
        bystanders: u32,
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
    },
    /// Memory of live revocations, and the time to look one up.
    Sessions {
        #[arg(default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..=50_000_000))]
        revocations: u64,
    },
    /// Revocations that go to disk in a second, and the time to load them.
    Journal {
        #[arg(default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=50_000_000))]
        revocations: u64,
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
        callers: u32,
    },
    /// CPU time of a proxied request, in turns with nginx and haproxy before the same service, and the end of a session
    /// with downloads and upgraded connections; written as proxy.md and proxy.json.
    Proxy {
        /// The folder for both.
        #[arg(long, default_value = "docs/performance")]
        out: PathBuf,
        #[command(flatten)]
        plan: proxy::Plan,
    },
    /// All of it but the proxy, repeated and interleaved with nginx, written as a table and as raw numbers.
    Table {
        /// The folder for table.md and raw.json.
        #[arg(long, default_value = "docs/performance")]
        out: PathBuf,
        #[command(flatten)]
        plan: table::Plan,
    },
    /// Some seconds with 50 connections of each transport: does it work at all.
    Smoke,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let CommandLine { programs, command } = CommandLine::parse();
    raise_descriptors()?;
    let launch =
        Launch::new(programs.rig, programs.nginx, programs.haproxy, &programs.environment, programs.log)?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Whatever ends the run, the servers are dropped with it, and dropping ends them.
    tokio::select! {
        done = run(&launch, command) => done,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("terminated"),
        () = tokio::time::sleep(LONGEST) => anyhow::bail!("took longer than {LONGEST:?}"),
    }
}

async fn run(launch: &Launch, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Idle { server, transport, connections, settle } => {
            let settle = Duration::from_secs(settle);
            print(&idle::run(launch, idle::Plan { server, transport, connections, settle }).await?)
        }
        Command::Start { times } => print(&start::run(launch, times)?),
        Command::Fanout { server, transport, subscribers, events } => {
            print(&fanout::run(launch, fanout::Plan { server, transport, subscribers, events }).await?)
        }
        Command::Publish { server, publishers, seconds } => {
            let time = Duration::from_secs(seconds);
            print(&publish::run(launch, publish::Plan { server, publishers, time }).await?)
        }
        Command::Connect { server, transport, connections } => {
            print(&connect::run(launch, connect::Plan { server, transport, connections }).await?)
        }
        Command::Revoke { transport, connections, bystanders, rounds } => {
            print(&revoke::run(launch, revoke::Plan { transport, connections, bystanders, rounds }).await?)
        }
        Command::Sessions { revocations } => print(&sessions::run(revocations)?),
        Command::Journal { revocations, callers } => {
            print(&journal::run(journal::Plan { revocations, callers })?)
        }
        Command::Proxy { out, plan } => report::proxy::run(launch, &plan, &out).await,
        Command::Table { out, plan } => table::run(launch, &plan, &out).await,
        Command::Smoke => smoke(launch).await,
    }
}

async fn smoke(launch: &Launch) -> anyhow::Result<()> {
    print(&start::run(launch, 1)?)?;
    for transport in [Transport::Sse, Transport::Ws] {
        let server = Product::Rig;
        let settle = Duration::ZERO;
        print(&idle::run(launch, idle::Plan { server, transport, connections: 50, settle }).await?)?;
        print(&fanout::run(launch, fanout::Plan { server, transport, subscribers: 50, events: 100 }).await?)?;
        print(&connect::run(launch, connect::Plan { server, transport, connections: 50 }).await?)?;
        let plan = revoke::Plan { transport, connections: 50, bystanders: 10, rounds: 1 };
        print(&revoke::run(launch, plan).await?)?;
    }
    let plan = publish::Plan { server: Product::Rig, publishers: 8, time: Duration::from_secs(1) };
    print(&publish::run(launch, plan).await?)?;
    print(&sessions::run(10_000)?)?;
    print(&journal::run(journal::Plan { revocations: 10_000, callers: 8 })?)?;
    Ok(())
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
