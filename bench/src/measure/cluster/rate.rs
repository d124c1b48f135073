//! Revocations that a cluster confirms in a second.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use super::{ClusterPlan, Figures};
use crate::client::Publisher;
use crate::server::Launch;
use crate::server::cluster::{Cluster, ClusterOptions};

/// Callers at each node; each asks for the next revocation when its last is answered.
const CALLERS: u32 = 128;

/// Seconds.
const LONG: u32 = 20;

/// Measures.
///
/// # Errors
/// The cluster fails, or does not confirm a revocation.
pub(super) async fn run(launch: &Launch, plan: &ClusterPlan) -> anyhow::Result<Figures> {
    let seconds = plan.count(LONG, 2);
    let mut figures = Figures::new(format!(
        "{CALLERS} callers at each of three nodes ask for one revocation after the other, for {seconds} s; each \
         answer is a 201 of the cluster."
    ));
    for (servers, name, target) in [(3, "three nats-servers", 1500.0), (1, "one nats-server", 1000.0)] {
        let cluster = Cluster::start(launch, ClusterOptions { servers, ..ClusterOptions::default() }).await?;
        let until = Instant::now() + Duration::from_secs(seconds.into());
        let start = Instant::now();
        let callers = (0..CALLERS * 3).map(|caller| call(&cluster, caller, until));
        let mut times = try_join_all(callers).await?.concat();
        let rate = times.len() as f64 / start.elapsed().as_secs_f64();
        figures.at_least(format!("revocations in a second, {name}"), "", rate, target);
        figures.times(&format!("201 meanwhile, {name}"), &mut times, 0.5, None);
        figures.times(&format!("201 meanwhile, {name}"), &mut times, 0.99, None);
    }
    Ok(figures)
}

async fn call(cluster: &Cluster, caller: u32, until: Instant) -> anyhow::Result<Vec<Duration>> {
    let node = cluster.node(caller as usize % 3);
    let mut operator = Publisher::connect(node.status).await?;
    let mut times = Vec::new();
    while Instant::now() < until {
        let session = caller * 1_000_000 + times.len() as u32;
        let asked = Instant::now();
        let (status, body) = operator.ask(&node.order(session)).await?;
        times.push(asked.elapsed());
        anyhow::ensure!(status == 201, "answered {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(times)
}
