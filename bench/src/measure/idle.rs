//! What a connection costs while nothing happens on it.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use tokio::time::sleep;

use crate::Transport;
use crate::client::{Crowd, Publisher};
use crate::event;
use crate::process::Memory;
use crate::server::{Launch, Population, Product};

/// Between the start and the first measurement.
const QUIET: Duration = Duration::from_secs(1);

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) server: Product,
    pub(crate) transport: Transport,
    /// Clients.
    pub(crate) connections: u32,
    /// Between the last connect and the measurement.
    pub(crate) settle: Duration,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Idle {
    pub(crate) server: Product,
    pub(crate) transport: Transport,
    pub(crate) connections: u32,
    /// Of the server before the first client.
    pub(crate) before: Memory,
    /// As soon as all were connected.
    pub(crate) connected: Memory,
    /// After `settle_seconds`: the figure that counts.
    pub(crate) settled: Memory,
    /// After one event has been delivered to all, the proof that all were subscribed.
    pub(crate) after_event: Memory,
    pub(crate) settle_seconds: u64,
    pub(crate) connecting_seconds: f64,
    /// What the server says of itself, while all were connected.
    pub(crate) population: Population,
    /// (`settled` - `before`) / `connections`.
    pub(crate) rss_kib_per_connection: f64,
    /// The same of the anonymous part.
    pub(crate) anon_kib_per_connection: f64,
}

/// Measures.
///
/// # Errors
/// The server fails, or not all clients are connected, subscribed and in a session of their own.
pub(crate) async fn run(launch: &Launch, plan: Plan) -> anyhow::Result<Idle> {
    let Plan { server: product, transport, connections, settle } = plan;
    let server = launch.start(product)?;
    sleep(QUIET.min(settle)).await;
    let before = server.memory()?;

    let first = event::numbered(0);
    let start = Instant::now();
    let crowd = Crowd::connect(&server, transport, connections, &first, None).await?;
    let connecting_seconds = start.elapsed().as_secs_f64();
    let connected = server.memory()?;
    sleep(settle).await;
    let settled = server.memory()?;

    let population = server.population().await?;
    crowd.ensure_complete()?;
    ensure_all(population, connections)?;
    Publisher::connect(server.publishing()).await?.publish(&server.publication(&first)).await?;
    crowd.receive(connections.into()).await.context("the event that shows who is subscribed")?;
    let after_event = server.memory()?;
    crowd.leave().await;

    let per_connection =
        |kib: fn(Memory) -> u64| (kib(settled) as f64 - kib(before) as f64) / f64::from(connections);
    Ok(Idle {
        server: product,
        transport,
        connections,
        before,
        connected,
        settled,
        after_event,
        settle_seconds: settle.as_secs(),
        connecting_seconds,
        population,
        rss_kib_per_connection: per_connection(|memory| memory.rss_kib),
        anon_kib_per_connection: per_connection(|memory| memory.anon_kib),
    })
}

fn ensure_all(population: Population, connections: u32) -> anyhow::Result<()> {
    let Population { connections: connected, sessions, subscriptions } = population;
    for count in [Some(connected), sessions, subscriptions].into_iter().flatten() {
        anyhow::ensure!(
            count == u64::from(connections),
            "{connections} clients, but the server says {population:?}"
        );
    }
    Ok(())
}
