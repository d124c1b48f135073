//! Runs that are repeated, the systems in turns: other load of the machine affects all of them.

use crate::Streaming;
use crate::client::Variant;
use crate::measure::{connect, fanout, filter, idle, publish, slow, sustained};
use crate::results::Plan;
use crate::server::{Launch, Product};

/// Events in a second, if they come at a pace.
const RATES: [u32; 3] = [20, 60, 120];

/// For how long. Seconds.
const PACED: u32 = 3;

/// Events that do not wait.
const SATURATED: u32 = 2000;

/// Subscriptions that constrain the same field, by these factors up to the most.
const FEWER: [u64; 4] = [1000, 100, 10, 1];

/// Events to the peers that take much longer than the others.
const TO_SLOW_PEERS: u32 = 200;

/// Runs of the delivery, by those of the others.
const DELIVERIES: u32 = 2;

/// The systems that are measured, the gateway first.
pub(super) fn products(plan: &Plan) -> &'static [Product] {
    let all = &[Product::Rig, Product::Floor, Product::Nginx, Product::SocketIo, Product::Pushpin];
    if plan.alone { &all[..2] } else { all }
}

/// The systems that are about as fast as the gateway.
fn fast(plan: &Plan) -> impl Iterator<Item = Product> + Clone {
    let fast = |product: &Product| matches!(product, Product::Rig | Product::Floor | Product::Nginx);
    products(plan).iter().copied().filter(fast)
}

/// The systems that have sessions or channels, and publishers of their own: the gateway and nginx.
fn real(plan: &Plan) -> impl Iterator<Item = Product> + Clone {
    fast(plan).filter(|product| *product != Product::Floor)
}

/// Each with each: Server-Sent Events first.
fn ways(servers: impl Iterator<Item = Product> + Clone) -> impl Iterator<Item = (Streaming, Product)> {
    let of = move |transport| servers.clone().map(move |server| (transport, server));
    [Streaming::Sse, Streaming::Ws].into_iter().flat_map(of)
}

pub(super) async fn fanout(launch: &Launch, plan: &Plan) -> anyhow::Result<Vec<fanout::Fanout>> {
    let mut runs = Vec::new();
    let subscribers = plan.subscribers;
    for round in 1..=plan.rounds * DELIVERIES {
        for (transport, server) in ways(fast(plan)) {
            eprintln!("delivery, round {round}: {server:?} {transport:?}");
            let fanout = fanout::Audience { server, transport, subscribers, events: plan.events };
            runs.push(fanout::run(launch, fanout).await?);
        }
    }
    let slow = [(Product::Pushpin, Streaming::Ws), (Product::SocketIo, Streaming::Ws)];
    for _ in 0..if plan.alone { 0 } else { plan.rounds } {
        for (server, transport) in slow {
            eprintln!("delivery: {server:?} {transport:?}");
            let events = plan.events.min(TO_SLOW_PEERS);
            runs.push(
                fanout::run(launch, fanout::Audience { server, transport, subscribers, events }).await?,
            );
        }
    }
    Ok(runs)
}

pub(super) async fn sustained(launch: &Launch, plan: &Plan) -> anyhow::Result<Vec<sustained::Sustained>> {
    let mut runs = Vec::new();
    let subscribers = plan.subscribers;
    for round in 1..=plan.rounds {
        for (transport, server) in ways(fast(plan)) {
            let paced = RATES.map(|rate| (rate * PACED, Some(rate)));
            let paced = paced.into_iter().filter(|_| transport == Streaming::Sse);
            for (events, rate) in paced.chain([(SATURATED, None)]) {
                eprintln!("sustained, round {round}: {server:?} {transport:?} {rate:?}");
                let sustained = sustained::EventFlow { server, transport, subscribers, events, rate };
                runs.push(sustained::run(launch, sustained).await?);
            }
        }
    }
    Ok(runs)
}

pub(super) fn filter(plan: &Plan) -> anyhow::Result<Vec<filter::Filter>> {
    let mut runs = Vec::new();
    for _ in 0..plan.rounds {
        for by in FEWER {
            eprintln!("{} subscriptions in the index", plan.subscriptions / by);
            runs.push(filter::run(plan.subscriptions / by)?);
        }
    }
    Ok(runs)
}

pub(super) async fn publish(launch: &Launch, plan: &Plan) -> anyhow::Result<Vec<publish::Publish>> {
    let seconds = if plan.alone { 1 } else { 4 };
    let mut runs = Vec::new();
    for round in 1..=plan.rounds {
        for publishers in [32, 1] {
            for server in real(plan) {
                eprintln!("without subscribers, round {round}: {server:?}, {publishers} publishers");
                runs.push(publish::run(launch, publish::Publishers { server, publishers, seconds }).await?);
            }
        }
    }
    Ok(runs)
}

pub(super) async fn connect(launch: &Launch, plan: &Plan) -> anyhow::Result<Vec<connect::Connect>> {
    let mut runs = Vec::new();
    for round in 1..=plan.rounds {
        for (transport, server) in ways(real(plan)) {
            eprintln!("connects, round {round}: {server:?} {transport:?}");
            let connections = plan.connections;
            runs.push(connect::run(launch, connect::Newcomers { server, transport, connections }).await?);
        }
    }
    Ok(runs)
}

pub(super) async fn slow(launch: &Launch, plan: &Plan) -> anyhow::Result<Vec<slow::Slow>> {
    let subscribers = plan.subscribers * 99 / 100;
    let events = if plan.alone { 50 } else { 500 };
    let mut runs = Vec::new();
    for server in real(plan) {
        for slow in [0, plan.subscribers.div_ceil(100)] {
            eprintln!("{slow} slow readers: {server:?}");
            runs.push(
                slow::run(launch, slow::Readers { server, subscribers, slow, events, rate: 50 }).await?,
            );
        }
    }
    Ok(runs)
}

pub(super) async fn idle(launch: &Launch, plan: &Plan) -> anyhow::Result<Vec<idle::Idle>> {
    let mut runs = Vec::new();
    for round in 1..=plan.rounds {
        for (transport, server) in ways(real(plan)) {
            eprintln!("idle connections, round {round}: {server:?} {transport:?}");
            let (connections, settle) = (plan.connections, plan.settle);
            let variant = Variant::from(transport);
            runs.push(idle::run(launch, idle::IdleClients { server, variant, connections, settle }).await?);
        }
    }
    let peers = [(Product::SocketIo, Streaming::Ws), (Product::Pushpin, Streaming::Ws)];
    for (server, transport) in peers.into_iter().filter(|_| !plan.alone) {
        eprintln!("idle connections: {server:?} {transport:?}");
        let (connections, settle) = (plan.connections.min(MOST_OF_PEERS), plan.settle);
        let variant = Variant::from(transport);
        runs.push(idle::run(launch, idle::IdleClients { server, variant, connections, settle }).await?);
    }
    Ok(runs)
}

/// Idle connections of those that take more than one descriptor for each.
const MOST_OF_PEERS: u32 = 5_000;
