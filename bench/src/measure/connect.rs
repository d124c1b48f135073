//! What a client costs that connects with a token of its own and is subscribed; and what it costs
//! that it leaves.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use crate::Streaming;
use crate::client::Crowd;
use crate::event;
use crate::process::Cpu;
use crate::server::{Launch, Product, RunningServer};

/// Clients before the measurement.
const WARM_UP: u32 = 1000;

/// For the server to notice that all have left.
const LEAVE: Duration = Duration::from_secs(30);

/// Between two looks at how many are left.
const LOOK: Duration = Duration::from_millis(20);

/// Clients that connect to a server, and leave.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Newcomers {
    #[arg(long, value_enum, default_value = "rig")]
    pub(crate) server: Product,
    #[arg(long, value_enum, default_value = "sse")]
    pub(crate) transport: Streaming,
    /// Clients, one after the other, some at a time.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
    pub(crate) connections: u32,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Connect {
    pub(crate) server: Product,
    pub(crate) transport: Streaming,
    pub(crate) connections: u32,
    /// CPU time of all threads of all processes of the server for each connect: from the TCP
    /// connection until the client learns that it is subscribed.
    pub(crate) connect_microseconds: f64,
    /// The part of it spent inside the kernel, 0 to 1.
    pub(crate) connect_system_part: f64,
    /// One tick of the kernel's clock is the error.
    pub(crate) connect_ticks: u64,
    /// The same for each client that closes its connection, until the server counts none.
    pub(crate) leave_microseconds: f64,
    pub(crate) leave_system_part: f64,
    pub(crate) leave_ticks: u64,
    /// CPU time of the client for each connect, its token included.
    pub(crate) client_microseconds: f64,
    pub(crate) connects_per_second: f64,
}

/// Measures.
///
/// # Errors
/// The server fails, or a client is refused.
pub(crate) async fn run(launch: &Launch, plan: Newcomers) -> anyhow::Result<Connect> {
    let server = launch.start(plan.server)?;
    measure(&server, plan).await
}

/// Measures a server that runs.
///
/// # Errors
/// The server fails, or a client is refused.
pub(crate) async fn measure(server: &RunningServer, plan: Newcomers) -> anyhow::Result<Connect> {
    let Newcomers { server: product, transport, connections } = plan;
    connect(server, transport, WARM_UP).await?.leave().await;
    left(server, 0).await?;

    let (server_cpu, client_cpu) = (server.cpu()?, Cpu::of_this()?);
    let start = Instant::now();
    let crowd = connect(server, transport, connections).await?;
    let seconds = start.elapsed().as_secs_f64();
    let (server_cpu, client_cpu) = (server.cpu()? - server_cpu, Cpu::of_this()? - client_cpu);
    crowd.ensure_complete()?;
    let population = server.population().await?.connections;
    anyhow::ensure!(
        population == u64::from(connections),
        "the server has {population} of {connections} clients"
    );

    let leaving_cpu = server.cpu()?;
    crowd.leave().await;
    left(server, 0).await?;
    let leaving_cpu = server.cpu()? - leaving_cpu;

    let each = |cpu: Cpu| cpu.microseconds_each(f64::from(connections));
    Ok(Connect {
        server: product,
        transport,
        connections,
        connect_microseconds: each(server_cpu),
        connect_system_part: server_cpu.system_part(),
        connect_ticks: server_cpu.ticks(),
        leave_microseconds: each(leaving_cpu),
        leave_system_part: leaving_cpu.system_part(),
        leave_ticks: leaving_cpu.ticks(),
        client_microseconds: each(client_cpu),
        connects_per_second: f64::from(connections) / seconds,
    })
}

async fn connect(server: &RunningServer, transport: Streaming, connections: u32) -> anyhow::Result<Crowd> {
    Crowd::connect(server, transport, connections, &event::numbered(0), None).await
}

/// Waits until the server knows of no more clients than this.
///
/// # Errors
/// It takes too long.
pub(super) async fn left(server: &RunningServer, clients: u32) -> anyhow::Result<()> {
    let gone = async {
        while server.population().await?.connections > u64::from(clients) {
            sleep(LOOK).await;
        }
        anyhow::Ok(())
    };
    timeout(LEAVE, gone).await.context("the server does not notice that its clients have left")?
}
