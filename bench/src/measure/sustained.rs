//! What a delivery costs while events keep coming: at a pace, or as fast as the server takes them.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::Streaming;
use crate::client::{Crowd, Publisher, publish_all};
use crate::event;
use crate::process::Cpu;
use crate::server::{Launch, Product};

/// Events at a pace, and the subscribers of a server that get all of them.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct EventFlow {
    #[arg(long, value_enum, default_value = "rig")]
    pub(crate) server: Product,
    #[arg(long, value_enum, default_value = "sse")]
    pub(crate) transport: Streaming,
    /// Clients; each gets every event.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
    pub(crate) subscribers: u32,
    /// Events; few enough that a server can keep all of them for a reader that falls behind.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) events: u32,
    /// Events in a second; without it, the publisher never waits.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: Option<u32>,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sustained {
    pub(crate) server: Product,
    pub(crate) transport: Streaming,
    pub(crate) subscribers: u32,
    pub(crate) events: u32,
    pub(crate) rate: Option<u32>,
    /// CPU time of all threads of all processes of the server, for each event to one subscriber.
    pub(crate) server_microseconds: f64,
    pub(crate) server_system_part: f64,
    /// The same of the clients and the publisher, which are one process.
    pub(crate) client_microseconds: f64,
    /// From the first byte of the first event until all subscribers have the last.
    pub(crate) seconds: f64,
    /// Deliveries in each of them.
    pub(crate) per_second: f64,
}

/// Measures.
///
/// # Errors
/// The server fails, or a subscriber does not get exactly the events that were published.
pub(crate) async fn run(launch: &Launch, plan: EventFlow) -> anyhow::Result<Sustained> {
    let EventFlow { server: product, transport, subscribers, events, rate } = plan;
    let server = launch.start(product)?;
    let first = event::numbered(0);
    let crowd = Crowd::connect(&server, transport, subscribers, &first, None).await?;
    // Warm, and the proof that all are subscribed.
    Publisher::connect(server.publishing()).await?.publish(&server.publication(&first)).await?;
    crowd.receive(subscribers.into()).await.context("the first event")?;

    let requests = (1..=events).map(|number| server.publication(&event::numbered(number))).collect();
    let (server_cpu, client_cpu) = (server.cpu()?, Cpu::of_this()?);
    let start = Instant::now();
    publish_all(server.publishing(), requests, rate.map(|rate| Duration::from_secs(1) / rate)).await?;
    let all = u64::from(events + 1) * u64::from(subscribers);
    crowd.receive(all).await?;
    let seconds = start.elapsed().as_secs_f64();
    let (server_cpu, client_cpu) = (server.cpu()? - server_cpu, Cpu::of_this()? - client_cpu);
    anyhow::ensure!(crowd.events() == all, "{} copies arrived where {all} should have", crowd.events());
    crowd.leave().await;

    let deliveries = f64::from(events) * f64::from(subscribers);
    let each = |cpu: Cpu| cpu.microseconds_each(deliveries);
    Ok(Sustained {
        server: product,
        transport,
        subscribers,
        events,
        rate,
        server_microseconds: each(server_cpu),
        server_system_part: server_cpu.system_part(),
        client_microseconds: each(client_cpu),
        seconds,
        per_second: deliveries / seconds,
    })
}
