//! More connections than one process may have: several servers, each with a process of clients.

use std::time::Instant;

use anyhow::Context;
use futures_util::future::{join_all, try_join_all};
use tokio::time::sleep;

use super::hold::{Hold, received};
use super::{Idle, IdleClients, MOST, QUIET, Readings};
use crate::client::{ClientProcess, Publisher};
use crate::event;
use crate::process::ResidentSet;
use crate::server::{Launch, Population, Product, RunningServer};

/// Measures the gateway, in as many processes as the connections need. Memory and population are
/// those of all of them together; the event is published to each, and must reach all clients.
///
/// # Errors
/// A server or a process of clients fails, or not all clients are connected, subscribed and in a
/// session of their own.
pub(super) async fn run(launch: &Launch, plan: IdleClients) -> anyhow::Result<Idle> {
    anyhow::ensure!(plan.server == Product::Rig, "only the gateway runs in several processes");
    anyhow::ensure!(
        !plan.variant.tls && plan.variant.http2.is_none() && plan.variant.session,
        "only in clear"
    );
    let processes = plan.connections.div_ceil(MOST);
    let servers = (0..processes).map(|_| launch.start(plan.server)).collect::<anyhow::Result<Vec<_>>>()?;
    sleep(QUIET.min(plan.settle())).await;
    let before = memory(&servers)?;

    let start = Instant::now();
    let mut clients = Vec::new();
    for (server, (first, connections)) in servers.iter().zip(shares(plan.connections, processes)) {
        let (address, variant) = (server.address, plan.variant);
        clients.push(Hold { address, variant, first, connections }.start()?);
    }
    try_join_all(clients.iter_mut().map(ClientProcess::connected)).await?;
    let connecting_seconds = start.elapsed().as_secs_f64();
    let connected = memory(&servers)?;
    sleep(plan.settle()).await;
    let settled = memory(&servers)?;

    let population = population(&servers).await?;
    plan.ensure_all(population)?;
    let first = event::numbered(0);
    for server in &servers {
        Publisher::connect(server.address).await?.publish(&server.publication(&first)).await?;
    }
    let received = try_join_all(clients.iter_mut().map(received)).await;
    received.context("the event that shows who is subscribed")?;
    let after_event = memory(&servers)?;
    join_all(clients.into_iter().map(ClientProcess::leave)).await;
    let memory = Readings { before, connected, settled, after_event };
    Ok(plan.result(processes, memory, connecting_seconds, population))
}

/// The first client of each process, and how many it has: as many as the others, or one more.
fn shares(connections: u32, processes: u32) -> impl Iterator<Item = (u32, u32)> {
    let first =
        move |process: u32| (u64::from(connections) * u64::from(process) / u64::from(processes)) as u32;
    (0..processes).map(move |process| (first(process), first(process + 1) - first(process)))
}

fn memory(servers: &[RunningServer]) -> anyhow::Result<ResidentSet> {
    servers.iter().try_fold(ResidentSet::default(), |sum, server| Ok(sum + server.memory()?))
}

async fn population(servers: &[RunningServer]) -> anyhow::Result<Population> {
    let all = try_join_all(servers.iter().map(RunningServer::population)).await?;
    let sum = |count: fn(&Population) -> Option<u64>| all.iter().map(count).sum::<Option<u64>>();
    Ok(Population {
        connections: all.iter().map(|population| population.connections).sum(),
        sessions: sum(|population| population.sessions),
        subscriptions: sum(|population| population.subscriptions),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_leave_no_client_out() {
        assert_eq!(shares(10, 3).collect::<Vec<_>>(), [(0, 3), (3, 3), (6, 4)]);
        assert_eq!(shares(100_000, 6).map(|(_, connections)| connections).sum::<u32>(), 100_000);
    }
}
