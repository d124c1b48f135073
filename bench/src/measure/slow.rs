//! What some readers that are too slow do to all others.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::interval;

use crate::Streaming;
use crate::client::{Crowd, Publisher, SlowReaders};
use crate::event;
use crate::server::{Launch, Product};
use crate::stats::{millis, quantile};

/// Bytes of an event: enough of them fill every buffer on the way to a slow reader.
const SIZE: usize = 8 << 10;

/// The first number of a slow reader; the others count from zero.
const SLOW: u32 = 1_000_000;

/// The subscribers of a server, of which some are slow, and its events.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Readers {
    #[arg(long, value_enum, default_value = "rig")]
    pub(crate) server: Product,
    /// Clients that read all.
    #[arg(long, default_value_t = 990, value_parser = clap::value_parser!(u32).range(1..=18_000))]
    pub(crate) subscribers: u32,
    /// Clients that read a thousand bytes in a second.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) slow: u32,
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) events: u32,
    /// Events in a second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Slow {
    pub(crate) server: Product,
    pub(crate) subscribers: u32,
    pub(crate) slow: u32,
    pub(crate) events: u32,
    pub(crate) rate: u32,
    pub(crate) event_bytes: usize,
    /// From the time when an event was due until a client that reads all has it.
    pub(crate) p50_milliseconds: f64,
    pub(crate) p99_milliseconds: f64,
    /// CPU time of the server for each event to one of the clients that read all.
    pub(crate) server_microseconds: f64,
    /// Slow readers that the server has cut off at the end.
    pub(crate) cut: u32,
    /// Growth of the resident set up to the end, KiB.
    pub(crate) grown_kib: i64,
}

/// Measures.
///
/// # Errors
/// The server fails, or a client that reads all does not get every event.
pub(crate) async fn run(launch: &Launch, plan: Readers) -> anyhow::Result<Slow> {
    let Readers { server: product, subscribers, slow, events, rate } = plan;
    let server = launch.start(product)?;
    let (sender, mut arrivals) = unbounded_channel();
    let event = |number| event::sized(number, SIZE);
    let crowd = Crowd::connect(&server, Streaming::Sse, subscribers, &event(0), Some(sender)).await?;
    let slow_readers = SlowReaders::connect(&server, SLOW..SLOW + slow).await?;
    let mut publisher = Publisher::connect(server.publishing()).await?;

    let (cpu, memory) = (server.cpu()?, server.memory()?);
    let mut pace = interval(Duration::from_secs(1) / rate);
    let mut due = Vec::with_capacity(events as usize);
    for number in 0..events {
        due.push(pace.tick().await);
        publisher.publish(&server.publication(&event(number))).await?;
    }
    let all = u64::from(events) * u64::from(subscribers);
    crowd.receive(all).await.context("those that read all")?;
    anyhow::ensure!(crowd.events() == all, "{} copies arrived where {all} should have", crowd.events());
    let (cpu, grown) = (server.cpu()? - cpu, server.memory()?.rss_kib as i64 - memory.rss_kib as i64);
    let left = server.population().await?.connections;
    let cut = (subscribers + slow).saturating_sub(u32::try_from(left)?);
    slow_readers.leave().await;
    crowd.leave().await;

    let mut times = Vec::with_capacity(all as usize);
    while let Ok((number, arrived)) = arrivals.try_recv() {
        times.push(arrived.saturating_duration_since(due[number as usize]));
    }
    times.sort_unstable();
    Ok(Slow {
        server: product,
        subscribers,
        slow,
        events,
        rate,
        event_bytes: SIZE,
        p50_milliseconds: millis(quantile(&times, 0.5)),
        p99_milliseconds: millis(quantile(&times, 0.99)),
        server_microseconds: cpu.microseconds_each(all as f64),
        cut,
        grown_kib: grown,
    })
}
