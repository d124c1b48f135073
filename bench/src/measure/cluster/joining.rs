//! A million operations: how long a fresh node takes until it listens, and one that was away; the
//! memory and the disk of both kinds of server.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::try_join_all;
use rustix::process::Signal;
use tokio::time::sleep;

use super::{ClusterPlan, Figures};
use crate::client::Publisher;
use crate::server::Launch;
use crate::server::cluster::{Cluster, ClusterOptions};
use crate::server::nats::Sync;

const OPERATIONS: u32 = 1_000_000;

/// What is revoked while a node is away: ten minutes' worth at sixteen in a second.
const MEANWHILE: u32 = 10_000;

/// Callers that fill the stream.
const CALLERS: u32 = 512;

/// Before an operation that was refused is tried again: too many wait for NATS.
const AGAIN: Duration = Duration::from_millis(50);

/// Measures.
///
/// # Errors
/// The cluster fails.
pub(super) async fn run(launch: &Launch, plan: &ClusterPlan) -> anyhow::Result<Figures> {
    let (operations, meanwhile) = (plan.count(OPERATIONS, 2000), plan.count(MEANWHILE, 100));
    let mut figures = Figures::new(format!(
        "{operations} revocations of {CALLERS} callers at one node fill the stream, while the three \
         nats-servers sync every two minutes; then the servers are restarted with `sync_interval: always`. A \
         fresh node joins. It is stopped in order, {meanwhile} further revocations follow, and it is started again. \
         Memory is the resident set; that of a single node is of a gateway without NATS that has loaded \
         a copy of the folder."
    ));
    let options = ClusterOptions { sync: Sync::Rarely, ..ClusterOptions::default() };
    let mut cluster = Cluster::prepare(launch, options).await?;
    cluster.launch(0)?;
    let start = Instant::now();
    fill(&cluster, 0, operations).await?;
    let filled = start.elapsed();
    figures.show("operations in a second while filling", "", f64::from(operations) / filled.as_secs_f64());
    eprintln!("filled in {filled:?}");

    for server in 0..cluster.nats.len() {
        cluster.nats.stop(server);
        cluster.nats.launch(server, Sync::Always)?;
        cluster.nats.ready().await?;
        cluster.nats.await_leader(crate::server::cluster::STREAM).await?;
    }
    cluster.await_ready(0).await?;
    let (memory, disk) = cluster.nats.largest()?;
    figures.at_most("nats-server, resident set", "MB", memory.rss_kib as f64 / 1e3, 600.0);
    figures.at_most("nats-server, disk", "MB", disk as f64 / 1e6, 320.0);

    let start = Instant::now();
    cluster.launch(1)?;
    cluster.await_ready(1).await?;
    figures.at_most("a fresh node listens after", "s", start.elapsed().as_secs_f64(), 30.0);
    let joined = cluster.node(1).memory()?.rss_kib;
    let first = cluster.node(0).memory()?.rss_kib;
    cluster.stop(1);
    let folder = cluster.copy_folder(1)?;
    let single = Cluster::launch_alone(launch, &folder)?;
    let alone = single.memory()?.rss_kib;
    drop((single, folder));
    figures.show("single node with the same log, resident set", "MB", alone as f64 / 1e3);
    figures.show("node that accepted all, resident set", "MB", first as f64 / 1e3);
    figures.at_most(
        "fresh node, resident set beyond that",
        "MB",
        (joined as f64 - alone as f64) / 1e3,
        150.0,
    );

    fill(&cluster, operations, meanwhile).await?;
    let start = Instant::now();
    cluster.launch(1)?;
    cluster.await_ready(1).await?;
    let back = start.elapsed().as_secs_f64();
    cluster.signal(1, Signal::TERM)?;
    cluster.stop(1);
    let folder = cluster.copy_folder(1)?;
    let start = Instant::now();
    drop(Cluster::launch_alone(launch, &folder)?);
    let alone = start.elapsed().as_secs_f64();
    figures.show("a single node with this log listens after", "s", alone);
    figures.show("a node that was away listens after", "s", back);
    figures.at_most("a node that was away, beyond a single node", "s", back - alone, 2.0);
    Ok(figures)
}

async fn fill(cluster: &Cluster, from: u32, count: u32) -> anyhow::Result<()> {
    let next = std::cell::Cell::new(from);
    let call = async |_| {
        let node = cluster.node(0);
        let mut operator = Publisher::connect(node.status).await?;
        while next.get() < from + count {
            let number = next.replace(next.get() + 1);
            if number.is_multiple_of(100_000) {
                eprintln!("{number} operations");
            }
            let request = node.order(number);
            loop {
                let (status, body) = operator.ask(&request).await?;
                match status {
                    201 | 202 => break,
                    503 => sleep(AGAIN).await,
                    _ => anyhow::bail!("answered {status}: {}", String::from_utf8_lossy(&body)),
                }
            }
        }
        anyhow::Ok(())
    };
    try_join_all((0..CALLERS).map(call)).await.context("fill the stream")?;
    Ok(())
}
