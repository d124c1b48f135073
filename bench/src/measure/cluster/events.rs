//! Events that other nodes want, and those that none wants.

use std::time::Duration;

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, interval};

use super::{ClusterPlan, Figures, Target};
use crate::Streaming;
use crate::client::{Crowd, Publisher, publish_all};
use crate::event;
use crate::process::Cpu;
use crate::server::cluster::{Cluster, ClusterOptions};
use crate::server::{Launch, Product, RunningServer};
use crate::stats::{Spread, millis, quantile};

/// Bytes of each event.
const SIZE: usize = 1024;

/// Events of a run.
const EVENTS: u32 = 50_000;

/// Events in a second of the run that latencies are taken from.
const RATE: u32 = 10_000;

/// Events in a second of the run that CPU time is judged by: what has to get through.
const CPU_RATE: u32 = 20_000;

/// Events are written in batches: the runtime's clock has ticks of a millisecond.
const BATCH: Duration = Duration::from_millis(1);

/// Rounds of all runs at a rate.
const ROUNDS: u32 = 5;

/// CPU time of each round, in µs for one event.
#[derive(Default)]
struct Costs {
    publish: Vec<f64>,
    local: Vec<f64>,
    send: Vec<f64>,
    receive: Vec<f64>,
    unwanted: Vec<f64>,
}

/// What one run takes.
struct Flow {
    /// CPU time of each node for one event, in µs.
    cpu: Vec<f64>,
    seconds: f64,
    /// The latency of each delivery, from when its event was written.
    late: Vec<Duration>,
    lost: u64,
}

/// Measures.
///
/// # Errors
/// A gateway fails.
pub(super) async fn run(launch: &Launch, plan: &ClusterPlan) -> anyhow::Result<Figures> {
    let events = plan.count(EVENTS, 2000);
    let mut figures = Figures::new(format!(
        "{events} events of {SIZE} bytes in each run, published by one client at one node over one \
         connection of HTTP/1.1; one client of Server-Sent Events at each node that wants them. CPU time is that \
         of the gateways, judged at {CPU_RATE} events in a second, and shown at {RATE}: to send is what the publisher's node needs more than a \
         gateway without NATS that delivers to no client; to receive is what another node needs more than a \
         local delivery, which is what a gateway without NATS needs more for one client. Gateways, \
         servers and clients share the machine's cores. Medians of {ROUNDS} rounds."
    ));
    let alone = launch.start(Product::Rig)?;
    let cluster = Cluster::start(launch, ClusterOptions::default()).await?;
    let nodes: Vec<_> = (0..3).map(|node| cluster.node(node)).collect();
    let most = flow(&nodes, &[1, 2], events, None).await?;
    figures.at_least(
        "events through to both, as fast as they go, in a second",
        "",
        f64::from(events) / most.seconds,
        20_000.0,
    );
    figures.at_most("lost of them", "", most.lost as f64, 0.0);
    for rate in [RATE, CPU_RATE] {
        let mut costs = Costs::default();
        let (mut late, mut lost) = (Vec::new(), 0);
        for _ in 0..ROUNDS {
            let none = flow(&[&alone], &[], events, Some(rate)).await?.cpu[0];
            let unwanted = flow(&nodes, &[], events, Some(rate)).await?.cpu[0];
            let local = flow(&[&alone], &[0], events, Some(rate)).await?.cpu[0] - none;
            let wanted = flow(&nodes, &[1, 2], events, Some(rate)).await?;
            costs.publish.push(none);
            costs.local.push(local);
            costs.send.push(wanted.cpu[0] - none);
            costs.receive.push(f64::midpoint(wanted.cpu[1], wanted.cpu[2]) - local);
            costs.unwanted.push(unwanted - none);
            late.extend(wanted.late);
            lost += wanted.lost;
        }
        late.sort_unstable();
        let at = |part| millis(quantile(&late, part));
        figures.show(format!("delivery at {rate} in a second, p50"), "ms", at(0.5));
        let limit = (rate == RATE).then_some(Target::AtMost(25.0));
        figures.add(format!("delivery at {rate} in a second, p99"), "ms", at(0.99), limit);
        figures.at_most("lost of them", "", lost as f64, 0.0);
        for (what, costs, limit) in [
            ("publish at a gateway without NATS", costs.publish, None),
            ("local delivery to one client", costs.local, None),
            ("send an event", costs.send, Some(4.0)),
            ("receive an event", costs.receive, Some(4.0)),
            ("an event that no other node wants", costs.unwanted, Some(2.5)),
        ] {
            let limit = limit.filter(|_| rate == CPU_RATE).map(Target::AtMost);
            let median = Spread::of(costs).map_or(f64::NAN, |spread| spread.median);
            figures.add(format!("CPU at {rate}: {what}"), "µs", median, limit);
        }
    }
    Ok(figures)
}

async fn flow(
    nodes: &[&RunningServer],
    wanting: &[usize],
    events: u32,
    rate: Option<u32>,
) -> anyhow::Result<Flow> {
    let first = event::sized(0, SIZE);
    let mut crowds = Vec::new();
    for node in wanting {
        let (sender, arrivals) = unbounded_channel();
        let crowd = Crowd::connect(nodes[*node], Streaming::Sse, 1, &first, Some(sender)).await?;
        crowds.push((crowd, arrivals));
    }
    // Interest is known to the publisher's server by then, and everything is warm.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let origin = nodes[0];
    Publisher::connect(origin.address).await?.publish(&origin.publication(&first)).await?;
    for (crowd, arrivals) in &mut crowds {
        crowd.receive(1).await.context("the first event")?;
        arrivals.try_recv()?;
    }
    let requests: Vec<_> =
        (1..=events).map(|number| origin.publication(&event::sized(number, SIZE))).collect();
    let cpu = || nodes.iter().map(|node| node.cpu()).collect::<anyhow::Result<Vec<Cpu>>>();
    let (before, start) = (cpu()?, Instant::now());
    let written = match rate {
        None => {
            publish_all(origin.address, requests, None).await?;
            Vec::new()
        }
        Some(rate) => paced(origin, &requests, rate).await?,
    };
    let (mut late, mut lost) = (Vec::new(), 0);
    for (crowd, arrivals) in &mut crowds {
        // An event that was lost never comes; the others have a second.
        let mut seen = 0;
        while u64::from(events) + 1 > crowd.events() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if crowd.events() == seen && start.elapsed() > Duration::from_secs(60) {
                break;
            }
            seen = crowd.events();
        }
        lost += u64::from(events) + 1 - crowd.events();
        late.extend(delays(arrivals, &written));
    }
    let seconds = start.elapsed().as_secs_f64();
    let after = cpu()?;
    let cpu = after
        .into_iter()
        .zip(before)
        .map(|(after, before)| (after - before).microseconds_each(f64::from(events)));
    let cpu = cpu.collect();
    for (crowd, _) in crowds {
        crowd.leave().await;
    }
    Ok(Flow { cpu, seconds, late, lost })
}

/// How long each delivery took; the first event has the number 0 and is not among those written.
fn delays(arrivals: &mut UnboundedReceiver<(u32, Instant)>, written: &[Instant]) -> Vec<Duration> {
    let mut delays = Vec::new();
    while let Ok((number, at)) = arrivals.try_recv() {
        delays.extend(written.get(number as usize - 1).map(|written| at - *written));
    }
    delays
}

/// Publishes at a pace; returns when each event was written.
async fn paced(origin: &RunningServer, requests: &[Vec<u8>], rate: u32) -> anyhow::Result<Vec<Instant>> {
    let stream = TcpStream::connect(origin.address).await?;
    stream.set_nodelay(true)?;
    let (mut answers, mut server) = stream.into_split();
    let drain = tokio::spawn(async move { tokio::io::copy(&mut answers, &mut tokio::io::sink()).await });
    let batch = (f64::from(rate) * BATCH.as_secs_f64()).max(1.0) as usize;
    let (mut pace, mut written) = (interval(BATCH), Vec::new());
    for requests in requests.chunks(batch) {
        pace.tick().await;
        written.extend(requests.iter().map(|_| Instant::now()));
        server.write_all(&requests.concat()).await?;
    }
    server.shutdown().await?;
    drain.await??;
    Ok(written)
}
