//! Many connections of one session over three nodes, beside one node that has all of them.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::time::sleep;

use super::{ClusterPlan, Figures};
use crate::client::{Publisher, Throng};
use crate::server::cluster::{Cluster, ClusterOptions};
use crate::server::{Launch, Product, RunningServer};
use crate::stats::{Spread, millis};

const CONNECTIONS: u32 = 10_000;
const ROUNDS: u32 = 5;

/// So that the work that connecting leaves behind delays nothing.
const SETTLE: Duration = Duration::from_secs(1);

/// Measures.
///
/// # Errors
/// A gateway fails, or a client is refused.
pub(super) async fn run(launch: &Launch, plan: &ClusterPlan) -> anyhow::Result<Figures> {
    let connections = plan.count(CONNECTIONS, 30);
    let mut figures = Figures::new(format!(
        "{connections} connections of one session, spread evenly over three nodes, and all at one gateway \
         without NATS; {ROUNDS} rounds of each, medians."
    ));
    let alone = launch.start(Product::Rig)?;
    let [single, single_closed] = rounds(&[&alone], connections).await?;
    drop(alone);
    let cluster = Cluster::start(launch, ClusterOptions::default()).await?;
    let nodes: Vec<_> = (0..3).map(|node| cluster.node(node)).collect();
    let [several, several_closed] = rounds(&nodes, connections).await?;
    figures.show("201 of one node", "ms", single);
    figures.show("last connection closed, one node", "ms", single_closed);
    figures.show("201 of three nodes", "ms", several);
    figures.show("last connection closed, three nodes", "ms", several_closed);
    figures.at_most("201 of three nodes, beyond that of one", "ms", several - single, 30.0);
    Ok(figures)
}

/// Medians: of the answer, of the last close.
async fn rounds(nodes: &[&RunningServer], connections: u32) -> anyhow::Result<[f64; 2]> {
    let (mut answers, mut closes) = (Vec::new(), Vec::new());
    for session in 0..ROUNDS {
        let throngs = Throng::spread(nodes, session, connections).await?;
        sleep(SETTLE).await;
        let mut operator = Publisher::connect(nodes[0].status).await?;
        let asked = Instant::now();
        let (status, body) = operator.ask(&nodes[0].order(session)).await?;
        answers.push(millis(asked.elapsed()));
        anyhow::ensure!(status == 201, "answered {status}: {}", String::from_utf8_lossy(&body));
        let mut last = 0_f64;
        for throng in throngs {
            let ends = throng.ends()?.into_iter().map(|end| millis(end.into_std() - asked));
            last = ends.fold(last, f64::max);
        }
        closes.push(last);
    }
    let median = |values: Vec<f64>| Spread::of(values).map(|spread| spread.median).context("no rounds");
    Ok([median(answers)?, median(closes)?])
}
