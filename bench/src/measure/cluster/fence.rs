//! What the fence costs that keeps a node without a lease from writing.

use std::hint::black_box;
use std::time::{Duration, Instant};

use session::Fence;

use super::{ClusterPlan, Figures};
use crate::client::{Crowd, Publisher};
use crate::measure::instructions::{self, ONE_WORKER};
use crate::process::Cpu;
use crate::server::cluster::{Cluster, ClusterOptions};
use crate::server::nats::Sync;
use crate::server::{Callgrind, Launch, Product, RunningServer};
use crate::stats::Spread;
use crate::{Streaming, event};

const ASKED: u32 = 10_000_000;

/// Subscribers of each event, and events of a round.
const SUBSCRIBERS: u32 = 1000;
const EVENTS: u32 = 500;

/// One node and one server.
const SMALLEST: ClusterOptions = ClusterOptions { nodes: 1, servers: 1, lease: 15, sync: Sync::Always };

/// Events under callgrind.
const COUNTED: u32 = 1000;

/// Rounds of both, in turns.
const ROUNDS: u32 = 15;

/// Measures.
///
/// # Errors
/// A gateway fails.
pub(super) async fn run(launch: &Launch, plan: &ClusterPlan) -> anyhow::Result<Figures> {
    let (subscribers, events) = (plan.count(SUBSCRIBERS, 50), plan.count(EVENTS, 50));
    let mut figures = Figures::new(format!(
        "Ten million calls in this process. Then {events} events to {subscribers} clients of one node, of a \
         cluster with one nats-server and of a gateway without NATS, in {ROUNDS} rounds in turns: CPU time of a \
         delivery, the ratio is the median of those of a round. Then {COUNTED} events to 100 clients of each \
         under callgrind, which counts the instructions outside the kernel; it hides the vDSO, so the clock \
         that the fence reads counts as one system call."
    ));
    let fence = Fence::since_boot();
    fence.extend(fence.now() + Duration::from_secs(3600));
    figures.at_most("the fence of a cluster, each write", "ns", nanoseconds(&fence), 40.0);
    figures.show("the fence of a single node, each write", "ns", nanoseconds(&Fence::default()));

    let cluster = Cluster::start(launch, SMALLEST).await?;
    let alone = launch.start(Product::Rig)?;
    let (mut single, mut clustered, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut measure = async |of_cluster: bool| -> anyhow::Result<f64> {
            let server = if of_cluster { cluster.node(0) } else { &alone };
            let each = delivery(server, subscribers, events).await?;
            if of_cluster { &mut clustered } else { &mut single }.push(each);
            Ok(each)
        };
        let first = round % 2 == 0;
        let (one, other) = (measure(first).await?, measure(!first).await?);
        ratios.push(if first { one / other } else { other / one });
    }
    let median = |values: Vec<f64>| Spread::of(values).map_or(f64::NAN, |spread| spread.median);
    figures.show("CPU of a delivery, single node", "µs", median(single));
    figures.show("CPU of a delivery, node of a cluster", "µs", median(clustered));
    figures.at_most("ratio", "", median(ratios), 1.02);
    drop((cluster, alone));
    let (single, clustered) = instructions_of_a_delivery(launch, plan.count(COUNTED, 100)).await?;
    figures.show("instructions of a delivery, single node", "", single);
    figures.show("instructions of a delivery, node of a cluster", "", clustered);
    figures.at_most("ratio of instructions", "", clustered / single, 1.02);
    Ok(figures)
}

/// Instructions of a delivery of a single node, and of one of a cluster.
async fn instructions_of_a_delivery(launch: &Launch, events: u32) -> anyhow::Result<(f64, f64)> {
    let launch = launch.with(&[ONE_WORKER]);
    let callgrind = Callgrind::new()?;
    let alone = callgrind.launch(&launch).start(Product::Rig)?;
    let [single, _] = instructions::events(&alone, &callgrind.counter(&alone), events).await?;
    drop(alone);
    let callgrind = Callgrind::new()?;
    let cluster = Cluster::start(&callgrind.launch(&launch), SMALLEST).await?;
    let node = cluster.node(0);
    let [clustered, _] = instructions::events(node, &callgrind.counter(node), events).await?;
    Ok((single, clustered))
}

fn nanoseconds(fence: &Fence) -> f64 {
    let start = Instant::now();
    for _ in 0..ASKED {
        black_box(black_box(fence).is_open());
    }
    start.elapsed().as_nanos() as f64 / f64::from(ASKED)
}

async fn delivery(server: &RunningServer, subscribers: u32, events: u32) -> anyhow::Result<f64> {
    let first = event::numbered(0);
    let crowd = Crowd::connect(server, Streaming::Sse, subscribers, &first, None).await?;
    let mut publisher = Publisher::connect(server.address).await?;
    let mut cpu = Cpu::default();
    for number in 0..=events {
        publisher.publish(&server.publication(&event::numbered(number))).await?;
        crowd.receive(u64::from(number + 1) * u64::from(subscribers)).await?;
        if number == 0 {
            cpu = server.cpu()?;
        }
    }
    let cpu = server.cpu()? - cpu;
    crowd.leave().await;
    Ok(cpu.microseconds_each(f64::from(events) * f64::from(subscribers)))
}
