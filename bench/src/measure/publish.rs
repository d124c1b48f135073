//! What an event costs that has no subscriber: taken in over HTTP, read, looked up, answered.

use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::client::Publisher;
use crate::event;
use crate::process::Cpu;
use crate::server::{Launch, Product, RunningServer};
use crate::stats::{millis, quantile};

/// Before the measurement.
const WARM_UP: Duration = Duration::from_secs(1);

/// Who publishes to a server, and for how long.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Publishers {
    #[arg(long, value_enum, default_value = "rig")]
    pub(crate) server: Product,
    /// Publishers, each with a connection of its own that it keeps, and one event on its way.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) publishers: u32,
    /// How long they publish; one second more before it does not count.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Publish {
    pub(crate) server: Product,
    pub(crate) publishers: u32,
    /// Published and accepted.
    pub(crate) events: u64,
    /// CPU time of all threads of all processes of the server, for each event.
    pub(crate) server_microseconds: f64,
    /// The part of it spent inside the kernel, 0 to 1.
    pub(crate) server_system_part: f64,
    /// One tick of the kernel's clock is the error.
    pub(crate) server_ticks: u64,
    /// The same for the publishers, which are one process with one thread.
    pub(crate) client_microseconds: f64,
    pub(crate) seconds: f64,
    pub(crate) events_per_second: f64,
    /// From a publisher's first byte to the answer.
    pub(crate) answer_p50_milliseconds: f64,
    pub(crate) answer_p99_milliseconds: f64,
}

/// Measures.
///
/// # Errors
/// The server fails, or does not accept an event.
pub(crate) async fn run(launch: &Launch, plan: Publishers) -> anyhow::Result<Publish> {
    let Publishers { server: product, publishers: count, seconds: time } = plan;
    let server = launch.start(product)?;
    let mut publishers = try_join_all((0..count).map(|_| Publisher::connect(server.publishing()))).await?;
    publish(&server, &mut publishers, WARM_UP).await?;

    let (server_cpu, client_cpu) = (server.cpu()?, Cpu::of_this()?);
    let start = Instant::now();
    let mut times = publish(&server, &mut publishers, Duration::from_secs(time)).await?;
    let seconds = start.elapsed().as_secs_f64();
    let (server_cpu, client_cpu) = (server.cpu()? - server_cpu, Cpu::of_this()? - client_cpu);
    times.sort_unstable();

    let events = times.len() as u64;
    let each = |cpu: Cpu| cpu.microseconds_each(events as f64);
    Ok(Publish {
        server: product,
        publishers: count,
        events,
        server_microseconds: each(server_cpu),
        server_system_part: server_cpu.system_part(),
        server_ticks: server_cpu.ticks(),
        client_microseconds: each(client_cpu),
        seconds,
        events_per_second: events as f64 / seconds,
        answer_p50_milliseconds: millis(quantile(&times, 0.5)),
        answer_p99_milliseconds: millis(quantile(&times, 0.99)),
    })
}

/// Lets all of them publish, one event after the other; how long each answer took.
async fn publish(
    server: &RunningServer,
    publishers: &mut [Publisher],
    time: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let request = server.publication(&event::numbered(0));
    let end = Instant::now() + time;
    let each = publishers.iter_mut().map(|publisher| {
        let request = &request;
        async move {
            let mut times = Vec::new();
            let mut now = Instant::now();
            while now < end {
                publisher.publish(request).await?;
                let answered = Instant::now();
                times.push(answered - now);
                now = answered;
            }
            anyhow::Ok(times)
        }
    });
    let times = try_join_all(each).await?.concat();
    // Wait until the tick of the kernel's clock in which the last answer was written is counted.
    sleep(Duration::from_millis(10)).await;
    Ok(times)
}
