//! Two builds of the gateway in turns: what a change costs.
//!
//! Each round measures both builds back to back, and rounds alternate which build comes first.
//! Ratios compare values of one round, so that a machine that slows down over time does not look
//! like a change of the code.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{connect, fanout, idle, instructions, proxy, publish};
use crate::Streaming;
use crate::client::Variant;
use crate::server::{Launch, Product};

/// Clients that publish at the same time.
const PUBLISHERS: u32 = 32;

/// The build to compare with, and how.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    /// The binary of the other build, which the ratios are relative to.
    #[arg(long)]
    pub(crate) other: PathBuf,
    /// What the page calls it: its commit.
    #[arg(long, default_value = "unnamed")]
    pub(crate) name: String,
    /// Rounds, each with both builds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) rounds: u32,
    /// Connections of the idle and of the connect scenario.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
    pub(crate) connections: u32,
    /// Subscribers of each event.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
    pub(crate) subscribers: u32,
    /// Events, each to all subscribers.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) events: u32,
    /// Seconds of publishing and of proxied requests.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub(crate) seconds: u32,
    /// Operations of each kind under callgrind; 0 leaves the instructions out.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) counted: u32,
}

/// One quantity of both builds, a value for each round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) other: Vec<f64>,
    pub(crate) this: Vec<f64>,
}

/// What one build shows in one round: name, unit, value.
type Reading = (String, &'static str, f64);

/// Measures both builds in all rounds.
///
/// # Errors
/// A server cannot be started, a client is refused, or valgrind or wrk is missing.
pub(crate) async fn run(launch: &Launch, plan: &Comparison) -> anyhow::Result<Vec<Figure>> {
    let other = launch.with_rig(plan.other.clone());
    let mut figures = Vec::new();
    for round in 0..plan.rounds {
        let builds = if round % 2 == 0 {
            [(true, &other), (false, launch)]
        } else {
            [(false, launch), (true, &other)]
        };
        for (is_other, build) in builds {
            eprintln!("round {} of {}: {}", round + 1, plan.rounds, if is_other { "other" } else { "this" });
            for reading in measure(build, plan).await? {
                record(&mut figures, reading, is_other);
            }
        }
    }
    Ok(figures)
}

fn record(figures: &mut Vec<Figure>, (name, unit, value): Reading, is_other: bool) {
    let index = figures.iter().position(|figure| figure.name == name).unwrap_or_else(|| {
        figures.push(Figure { name, unit, other: Vec::new(), this: Vec::new() });
        figures.len() - 1
    });
    let figure = &mut figures[index];
    if is_other { &mut figure.other } else { &mut figure.this }.push(value);
}

async fn measure(build: &Launch, plan: &Comparison) -> anyhow::Result<Vec<Reading>> {
    let mut readings = Vec::new();
    let mut add = |name: &str, unit, value| readings.push((name.to_owned(), unit, value));
    for transport in [Streaming::Sse, Streaming::Ws] {
        let name =
            |what: &str| format!("{what}, {}", if transport == Streaming::Sse { "SSE" } else { "WebSocket" });
        let Comparison { connections, subscribers, events, .. } = *plan;
        let idle = idle::IdleClients {
            server: Product::Rig,
            variant: Variant::from(transport),
            connections,
            settle: 3,
        };
        let idle = idle::run(build, idle).await?;
        add(&name("idle connection"), "KiB of RSS", idle.rss_kib_per_connection);
        let connect = connect::Newcomers { server: Product::Rig, transport, connections };
        let connect = connect::run(build, connect).await?;
        add(&name("connect"), "µs of CPU", connect.connect_microseconds);
        add(&name("leave"), "µs of CPU", connect.leave_microseconds);
        let fanout = fanout::Audience { server: Product::Rig, transport, subscribers, events };
        let fanout = fanout::run(build, fanout).await?;
        add(&name("delivery"), "µs of CPU", fanout.server_microseconds);
        add(&name("event to all, median"), "ms (shown, not judged)", fanout.to_all_p50_milliseconds);
    }
    let seconds = plan.seconds.into();
    let publish = publish::Publishers { server: Product::Rig, publishers: PUBLISHERS, seconds };
    let publish = publish::run(build, publish).await?;
    add("publish", "µs of CPU", publish.server_microseconds);
    add("publish, median answer", "ms (shown, not judged)", publish.answer_p50_milliseconds);
    for (name, microseconds) in proxy::both(build, plan.seconds)? {
        add(name, "µs of CPU", microseconds);
    }
    if plan.counted > 0 {
        for (name, count) in instructions::count(build, plan.counted).await? {
            add(name, "instructions", count);
        }
    }
    Ok(readings)
}
