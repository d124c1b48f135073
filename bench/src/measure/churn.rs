//! Whether the server grows while clients come and go: each connects in a session of its own, gets
//! an event and leaves.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{interval, sleep};

use crate::Streaming;
use crate::client::{Publisher, visit};
use crate::event;
use crate::server::{Launch, Population, Product, RunningServer};
use crate::stats::Spread;

/// Between two events.
const PACE: Duration = Duration::from_millis(20);

/// Between two looks at the memory.
const LOOK: Duration = Duration::from_secs(2);

/// For the last connections to be gone.
const LEAVE: Duration = Duration::from_secs(10);

/// How many clients come and go, and for how long.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Visitors {
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=3000))]
    pub(crate) seconds: u64,
    /// Clients at a time; half of them Server-Sent Events, half WebSocket.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) clients: u32,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Churn {
    pub(crate) seconds: u64,
    pub(crate) clients: u32,
    /// All of them, one after the other.
    pub(crate) visits: u32,
    /// Seconds since the first client, and resident set of the server, KiB.
    pub(crate) memory: Vec<(f64, u64)>,
    /// Resident set in the second fifth of the time, and in the last, KiB.
    pub(crate) early: Spread,
    pub(crate) late: Spread,
    /// When all have left.
    pub(crate) population: Population,
}

impl Churn {
    /// Returns the growth from the early median to the late one, in percent.
    pub(crate) fn growth(&self) -> f64 {
        (self.late.median / self.early.median - 1.0) * 100.0
    }
}

/// Measures.
///
/// # Errors
/// A client is refused or gets no event, or connections are left when all clients have gone.
pub(crate) async fn run(launch: &Launch, plan: Visitors) -> anyhow::Result<Churn> {
    let Visitors { seconds, clients } = plan;
    let server = launch.start(Product::Rig)?;
    let (over, number) = (AtomicBool::new(false), AtomicU32::new(0));
    let start = Instant::now();
    let come_and_go = |client: u32| {
        let (server, over, number) = (&server, &over, &number);
        async move {
            let transport = if client.is_multiple_of(2) { Streaming::Sse } else { Streaming::Ws };
            while !over.load(Ordering::Relaxed) {
                let number = number.fetch_add(1, Ordering::Relaxed);
                visit(server, transport, number).await.with_context(|| format!("client {number}"))?;
            }
            anyhow::Ok(())
        }
    };
    let watch = async {
        let mut memory = Vec::new();
        let mut looks = interval(LOOK);
        while start.elapsed() < Duration::from_secs(seconds) {
            looks.tick().await;
            memory.push((start.elapsed().as_secs_f64(), server.memory()?.rss_kib));
        }
        over.store(true, Ordering::Relaxed);
        anyhow::Ok(memory)
    };
    let visitors = try_join_all((0..clients).map(come_and_go));
    let (memory, ()) = tokio::select! {
        both = async { tokio::try_join!(watch, async { visitors.await.map(drop) }) } => both?,
        failed = publish(&server) => return Err(failed.err().context("the publisher never ends")?),
    };
    let fifth = |part: usize| {
        let values = &memory[memory.len() * part / 5..memory.len() * (part + 1) / 5];
        Spread::of(values.iter().map(|(_, kib)| *kib as f64)).context("too short to say anything")
    };
    let (early, late) = (fifth(1)?, fifth(4)?);
    let population = all_gone(&server).await?;
    Ok(Churn { seconds, clients, visits: number.into_inner(), memory, early, late, population })
}

/// Publishes an event every 20 ms until the future is dropped. Returns only if that fails.
async fn publish(server: &RunningServer) -> anyhow::Result<()> {
    let mut publisher = Publisher::connect(server.publishing()).await?;
    let mut pace = interval(PACE);
    for number in 0.. {
        pace.tick().await;
        publisher.publish(&server.publication(&event::numbered(number))).await?;
    }
    Ok(())
}

async fn all_gone(server: &RunningServer) -> anyhow::Result<Population> {
    let deadline = Instant::now() + LEAVE;
    loop {
        let population = server.population().await?;
        if population == (Population { connections: 0, sessions: Some(0), subscriptions: Some(0) }) {
            return Ok(population);
        }
        anyhow::ensure!(Instant::now() < deadline, "all clients have left, but {population:?}");
        sleep(Duration::from_millis(50)).await;
    }
}
