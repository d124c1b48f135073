//! What the delivery of one event to one subscriber costs, and how long one event takes to reach
//! all.

use std::time::Instant;

use anyhow::Context;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::Streaming;
use crate::client::{Crowd, Publisher};
use crate::event;
use crate::process::Cpu;
use crate::server::{Launch, Product, RunningServer};
use crate::stats::{millis, quantile};

/// Events before the measurement.
const WARM_UP: u32 = 20;

/// The subscribers of a server, and the events that go to all of them.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Audience {
    #[arg(long, value_enum, default_value = "rig")]
    pub(crate) server: Product,
    #[arg(long, value_enum, default_value = "sse")]
    pub(crate) transport: Streaming,
    /// Clients.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
    pub(crate) subscribers: u32,
    /// Events, each to all clients.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) events: u32,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fanout {
    pub(crate) server: Product,
    pub(crate) transport: Streaming,
    pub(crate) subscribers: u32,
    pub(crate) events: u32,
    /// `events` times `subscribers`, all of them counted by the clients.
    pub(crate) deliveries: u64,
    /// CPU time of all threads of all processes of the server, for each delivery.
    pub(crate) server_microseconds: f64,
    /// The part of it spent inside the kernel, 0 to 1.
    pub(crate) server_system_part: f64,
    /// One tick of the kernel's clock is the error.
    pub(crate) server_ticks: u64,
    /// The same for the clients and the publisher, which are one process.
    pub(crate) client_microseconds: f64,
    /// On the wire, with all framing of HTTP or WebSocket.
    pub(crate) bytes_per_delivery: f64,
    pub(crate) seconds: f64,
    /// From the publisher's first byte until the last subscriber has the event and the publisher
    /// its answer.
    pub(crate) to_all_p50_milliseconds: f64,
    pub(crate) to_all_p99_milliseconds: f64,
}

/// Measures.
///
/// # Errors
/// The server fails, or a subscriber does not get exactly the events that were published.
pub(crate) async fn run(launch: &Launch, plan: Audience) -> anyhow::Result<Fanout> {
    let Audience { server: product, transport, subscribers, events } = plan;
    let server = launch.start(product)?;
    let crowd = Crowd::connect(&server, transport, subscribers, &event::numbered(0), None).await?;
    let mut publisher = Publisher::connect(server.publishing()).await?;
    let mut stream = Lockstep { server: &server, crowd: &crowd, publisher: &mut publisher, subscribers };
    for number in 0..WARM_UP {
        stream.send(number).await?;
    }

    let (bytes, server_cpu, client_cpu) = (crowd.bytes(), server.cpu()?, Cpu::of_this()?);
    let start = Instant::now();
    let mut times = Vec::with_capacity(events as usize);
    for number in WARM_UP..WARM_UP + events {
        let published = Instant::now();
        stream.send(number).await?;
        times.push(published.elapsed());
    }
    let seconds = start.elapsed().as_secs_f64();
    let (server_cpu, client_cpu) = (server.cpu()? - server_cpu, Cpu::of_this()? - client_cpu);
    let bytes = crowd.bytes() - bytes;
    crowd.leave().await;
    times.sort_unstable();

    let deliveries = u64::from(events) * u64::from(subscribers);
    let each = |cpu: Cpu| cpu.microseconds_each(deliveries as f64);
    Ok(Fanout {
        server: product,
        transport,
        subscribers,
        events,
        deliveries,
        server_microseconds: each(server_cpu),
        server_system_part: server_cpu.system_part(),
        server_ticks: server_cpu.ticks(),
        client_microseconds: each(client_cpu),
        bytes_per_delivery: bytes as f64 / deliveries as f64,
        seconds,
        to_all_p50_milliseconds: millis(quantile(&times, 0.5)),
        to_all_p99_milliseconds: millis(quantile(&times, 0.99)),
    })
}

struct Lockstep<'a> {
    server: &'a RunningServer,
    crowd: &'a Crowd,
    publisher: &'a mut Publisher,
    subscribers: u32,
}

impl Lockstep<'_> {
    /// Publishes an event and waits until all have it, once.
    async fn send(&mut self, number: u32) -> anyhow::Result<()> {
        let request = self.server.publication(&event::numbered(number));
        let all = u64::from(number + 1) * u64::from(self.subscribers);
        let (published, received) = tokio::join!(self.publisher.publish(&request), self.crowd.receive(all));
        published?;
        received.with_context(|| format!("event {number}"))?;
        let events = self.crowd.events();
        anyhow::ensure!(events == all, "event {number}: {events} copies arrived where {all} should have");
        Ok(())
    }
}
