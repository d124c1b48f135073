//! From the issuer's request to the end of the last connection of the session, at one gateway and
//! at three.

use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep};

use super::{Figures, IdentityPlan, Provider};
use crate::client::{Publisher, Throng};
use crate::server::cluster::{Cluster, ClusterOptions};
use crate::server::{Launch, Product, RunningServer};
use crate::token::Signature;

const CONNECTIONS: u32 = 1000;
const ROUNDS: u32 = 100;

/// So that the work that connecting leaves behind delays nothing.
const SETTLE: Duration = Duration::from_millis(300);

/// Measures.
///
/// # Errors
/// A gateway fails, or a client is refused.
pub(super) async fn run(launch: &Launch, plan: &IdentityPlan) -> anyhow::Result<Figures> {
    let (connections, rounds) = (plan.count(CONNECTIONS, 30), plan.count(ROUNDS, 3));
    let mut figures = Figures::new(format!(
        "An RS256 logout token (OpenID Connect Back-Channel Logout 1.0) with the `sid` of {connections} \
         connections of Server-Sent Events, sent to one gateway; {rounds} rounds, at one gateway alone and \
         with the connections spread evenly over three gateways of a cluster. Time is from the first byte of \
         the request until the last client has seen the end of its connection; the answer is the 200 that the \
         issuer gets."
    ));
    let provider = Provider::new(Signature::Rs256)?;
    let launch = provider.trusted(launch);
    let alone = launch.start(Product::Rig)?;
    provider.known(&alone).await?;
    show(&mut figures, "one gateway", measure(&provider, &[&alone], connections, rounds).await?);
    drop(alone);
    let cluster = Cluster::start(&launch, ClusterOptions::default()).await?;
    let nodes: Vec<_> = (0..3).map(|node| cluster.node(node)).collect();
    for node in &nodes {
        provider.known(node).await?;
    }
    show(&mut figures, "three gateways", measure(&provider, &nodes, connections, rounds).await?);
    Ok(figures)
}

/// The times of each round.
#[derive(Default)]
struct Times {
    silent: Vec<Duration>,
    answered: Vec<Duration>,
}

fn show(figures: &mut Figures, nodes: &str, mut times: Times) {
    for part in [0.5, 0.99] {
        figures.times(&format!("last connection closed, {nodes}"), &mut times.silent, part, None);
        figures.times(&format!("200, {nodes}"), &mut times.answered, part, None);
    }
}

async fn measure(
    provider: &Provider,
    nodes: &[&RunningServer],
    connections: u32,
    rounds: u32,
) -> anyhow::Result<Times> {
    let mut times = Times::default();
    for session in 0..rounds {
        let throngs = Throng::spread(nodes, session, connections).await?;
        sleep(SETTLE).await;
        let node = nodes[session as usize % nodes.len()];
        let request = provider.logout(node, session)?;
        let mut issuer = Publisher::connect(node.address).await?;
        let asked = Instant::now();
        let (status, body) = issuer.ask(&request).await?;
        times.answered.push(asked.elapsed());
        anyhow::ensure!(status == 200, "answered {status}: {}", String::from_utf8_lossy(&body));
        let mut last = None;
        for throng in throngs {
            last = last.max(throng.ends()?.into_iter().max());
        }
        times.silent.push(last.context("no connections")? - asked);
    }
    Ok(times)
}
