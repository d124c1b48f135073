//! What a connection costs while nothing happens on it.

mod hold;
mod many;
mod suite;

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::client::{Crowd, Entrance, Publisher, Trust, Variant};
use crate::event;
use crate::process::ResidentSet;
use crate::server::{Identity, Launch, Population, Product, RunningServer};
pub(crate) use hold::{Hold, hold};
pub(crate) use suite::{sweep, variants};

/// Between the start and the first measurement.
const QUIET: Duration = Duration::from_secs(1);

/// The most connections of one server and one client: what the limit of 19,000 descriptors leaves,
/// with some for what else they have open.
pub(crate) const MOST: u32 = 18_950;

/// Clients of a server that wait.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct IdleClients {
    #[arg(long, value_enum, default_value = "rig")]
    pub(crate) server: Product,
    #[command(flatten)]
    pub(crate) variant: Variant,
    /// Clients. More than one process may have are spread over several.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=500_000))]
    pub(crate) connections: u32,
    /// Seconds between the last connect and the measurement; more than one heartbeat interval.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub(crate) settle: u64,
}

impl IdleClients {
    fn settle(&self) -> Duration {
        Duration::from_secs(self.settle)
    }
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) server: Product,
    #[serde(flatten)]
    pub(crate) variant: Variant,
    pub(crate) connections: u32,
    /// Servers, and as many processes of clients; memory is the sum of all servers.
    pub(crate) processes: u32,
    /// Memory of the server before the first client.
    pub(crate) before: ResidentSet,
    /// As soon as all were connected.
    pub(crate) connected: ResidentSet,
    /// After `settle_seconds`: the figure that counts.
    pub(crate) settled: ResidentSet,
    /// After one event has been delivered to all, the proof that all were subscribed.
    pub(crate) after_event: ResidentSet,
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
pub(crate) async fn run(launch: &Launch, plan: IdleClients) -> anyhow::Result<Idle> {
    if plan.connections > MOST {
        return many::run(launch, plan).await;
    }
    let identity = if plan.variant.tls { Some(Identity::create()?) } else { None };
    let server = match &identity {
        Some(identity) => identity.with(launch).start(plan.server)?,
        None => launch.start(plan.server)?,
    };
    sleep(QUIET.min(plan.settle())).await;
    let before = server.memory()?;

    let first = event::numbered(0);
    let start = Instant::now();
    let crowd = connect(&server, identity.as_ref(), plan).await?;
    let connecting_seconds = start.elapsed().as_secs_f64();
    let connected = server.memory()?;
    sleep(plan.settle()).await;
    let settled = server.memory()?;

    let population = server.population().await?;
    crowd.ensure_complete()?;
    plan.ensure_all(population)?;
    Publisher::connect(server.publishing()).await?.publish(&server.publication(&first)).await?;
    crowd.receive(plan.connections.into()).await.context("the event that shows who is subscribed")?;
    let after_event = server.memory()?;
    crowd.leave().await;
    let memory = Readings { before, connected, settled, after_event };
    Ok(plan.result(1, memory, connecting_seconds, population))
}

async fn connect(
    server: &RunningServer,
    identity: Option<&Identity>,
    plan: IdleClients,
) -> anyhow::Result<Crowd> {
    let IdleClients { server: product, variant, connections, .. } = plan;
    let first = event::numbered(0);
    if let Some(transport) = variant.as_plain() {
        return Crowd::connect(server, transport, connections, &first, None).await;
    }
    anyhow::ensure!(product == Product::Rig, "only the gateway's clients come in other ways");
    let trust = identity.map(|identity| Trust::of(&identity.certificate, variant.http2.is_some()));
    let address = identity.map_or(server.address, |identity| identity.address);
    Entrance { address, variant, trust: trust.transpose()? }.crowd(0..connections, &first).await
}

/// Memory at the four moments of a run.
#[derive(Clone, Copy, Debug)]
struct Readings {
    before: ResidentSet,
    connected: ResidentSet,
    settled: ResidentSet,
    after_event: ResidentSet,
}

impl IdleClients {
    /// # Errors
    /// The server says other numbers than these.
    fn ensure_all(&self, population: Population) -> anyhow::Result<()> {
        let all = u64::from(self.connections);
        let expected = Population {
            connections: all,
            sessions: population.sessions.map(|_| if self.variant.session { all } else { 0 }),
            subscriptions: population.subscriptions.map(|_| all),
        };
        anyhow::ensure!(population == expected, "{all} clients, but the server says {population:?}");
        Ok(())
    }

    fn result(
        &self,
        processes: u32,
        readings: Readings,
        connecting_seconds: f64,
        population: Population,
    ) -> Idle {
        let Readings { before, connected, settled, after_event } = readings;
        let each = |kib: fn(ResidentSet) -> u64| {
            (kib(settled) as f64 - kib(before) as f64) / f64::from(self.connections)
        };
        Idle {
            server: self.server,
            variant: self.variant,
            connections: self.connections,
            processes,
            before,
            connected,
            settled,
            after_event,
            settle_seconds: self.settle,
            connecting_seconds,
            population,
            rss_kib_per_connection: each(|memory| memory.rss_kib),
            anon_kib_per_connection: each(|memory| memory.anon_kib),
        }
    }
}
