//! What the history costs clients that never come back: a delivery, a publication and a connect
//! beside those of an earlier build.

use std::time::Duration;

use anyhow::Context;
use futures_util::future::try_join_all;
use tokio::time::sleep;

use super::rounds::{Rounds, micros_each};
use super::{Figures, ResumePlan};
use crate::Streaming;
use crate::client::{Crowd, Publisher};
use crate::event;
use crate::measure::{connect, instructions};
use crate::server::{Launch, Product, RunningServer};

/// Turns of each gateway in a round.
const TURNS: u32 = 5;

/// Subscribers of each transport, which have a gateway of their own.
const SUBSCRIBERS: u32 = 1000;

/// Events in a turn, each to all subscribers.
const EVENTS: u32 = 100;

/// Connects in a turn.
const CONNECTS: u32 = 2000;

/// Clients that publish at the same time.
const PUBLISHERS: u32 = 32;

/// Publications in a turn.
const PUBLICATIONS: u32 = 20_000;

/// Operations of each kind under callgrind.
const COUNTED: u32 = 1000;

/// The most that a history may cost, by the earlier build.
const MOST: f64 = 1.03;

/// The numbers of the clients that connect and leave.
const NEWCOMERS: u32 = 1_000_000;

/// Until the kernel has counted what was done.
const COUNTING: Duration = Duration::from_millis(20);

/// What is measured.
const OPERATIONS: [&str; 4] =
    ["delivery, SSE", "delivery, WebSocket", "publication without a receiver", "connect"];

/// What this build is compared as: its defaults, and without a history.
const THESE: [&str; 2] = ["default", "HISTORY=off"];

/// The earlier build once more: what it is to itself shows how far the ratios can be trusted.
const AGAIN: &str = "before once more";

/// Measures.
///
/// # Errors
/// A gateway fails, or there is no earlier build.
pub(super) async fn run(launch: &Launch, plan: &ResumePlan) -> anyhow::Result<Figures> {
    let other = plan.other.clone().context("the earlier build is named by --other")?;
    let [default, off] = THESE;
    let builds = [
        ("before", launch.with_rig(other.clone())),
        (AGAIN, launch.with_rig(other)),
        (default, launch.clone()),
        (off, launch.with(&[("HISTORY", "off")])),
    ];
    let sizes = Sizes::of(plan);
    let mut figures = Figures::new(format!(
        "This build beside {}, from before there was a history: with its defaults (`HISTORY=2m`), and with \
         `HISTORY=off`; and that build once more, beside itself, which shows how far the ratios can be \
         trusted. {} rounds; in each the four run side by side and take turns, {TURNS} each: {} connects \
         of Server-Sent Events, each with a token and a session of its own; {} events to {} subscribers of \
         each transport, one after the other; {} publications by {PUBLISHERS} publishers, of a type that never \
         had a subscriber. Subscribers of each transport and publications have gateways of their own. CPU time of the \
         gateway, user and system, to the nanosecond; medians of the rounds, ratios of the values of one \
         round. Instructions outside the kernel, by callgrind, do not depend on what else the machine does: \
         {} operations of each kind, one worker thread.",
        plan.name,
        plan.rounds(),
        sizes.connects,
        sizes.events,
        sizes.subscribers,
        sizes.publications,
        plan.count(COUNTED, 20),
    ));
    let mut rounds = Rounds::default();
    for round in 0..plan.rounds() {
        eprintln!("round {} of {}", round + 1, plan.rounds());
        self::round(&builds, sizes, round, &mut rounds).await?;
    }
    let mut operations = OPERATIONS.map(|operation| (operation.to_owned(), "µs")).to_vec();
    if !plan.uncounted {
        for (build, launch) in &builds {
            for (what, count) in instructions::of_clients(launch, plan.count(COUNTED, 20)).await? {
                rounds.add(key(what, build), count);
                if *build == "before" {
                    operations.push((what.to_owned(), ""));
                }
            }
        }
    }
    for (operation, unit) in &operations {
        let before = key(operation, "before");
        figures.show(format!("{operation}, before"), unit, rounds.median(&before)?);
        let ratio = rounds.ratio(&key(operation, AGAIN), &before)?;
        figures.show(format!("{operation}, {AGAIN}, to before"), "", ratio);
        for build in THESE {
            let ratio = rounds.ratio(&key(operation, build), &before)?;
            figures.at_most(format!("{operation}, {build}, to before"), "", ratio, MOST);
        }
    }
    Ok(figures)
}

fn key(operation: &str, build: &str) -> String {
    format!("{operation}: {build}")
}

/// How much is done in a turn.
#[derive(Clone, Copy)]
struct Sizes {
    connects: u32,
    /// For each transport.
    subscribers: u32,
    events: u32,
    publications: u32,
}

impl Sizes {
    fn of(plan: &ResumePlan) -> Self {
        Self {
            connects: plan.count(CONNECTS, 10),
            subscribers: plan.count(SUBSCRIBERS, 10),
            events: plan.count(EVENTS, 5),
            publications: plan.count(PUBLICATIONS, 64),
        }
    }
}

async fn round(
    builds: &[(&'static str, Launch)],
    sizes: Sizes,
    round: u32,
    rounds: &mut Rounds,
) -> anyhow::Result<()> {
    let mut contenders = Vec::new();
    for (build, launch) in builds {
        contenders.push(Contender::start(build, launch, sizes).await?);
    }
    // The first turn warms up.
    for turn in 0..=TURNS {
        contenders.rotate_left(1);
        for operation in 0..OPERATIONS.len() {
            for contender in &mut contenders {
                let time = contender.turn(operation, turn + round * 100).await?;
                if turn > 0 {
                    contender.spent[operation] += time;
                }
            }
        }
    }
    for contender in contenders {
        for (operation, spent) in OPERATIONS.into_iter().zip(contender.spent) {
            let count = match operation {
                "connect" => u64::from(sizes.connects),
                "publication without a receiver" => u64::from(sizes.publications),
                _ => u64::from(sizes.events) * u64::from(sizes.subscribers),
            };
            rounds.add(key(operation, contender.build), micros_each(spent, count * u64::from(TURNS)));
        }
        for crowd in contender.crowds {
            crowd.leave().await;
        }
    }
    Ok(())
}

/// One gateway with its clients.
struct Contender {
    build: &'static str,
    sizes: Sizes,
    /// Each of one transport, with the number of events that it has got.
    crowds: [Crowd; 2],
    got: [u32; 2],
    publishers: Vec<Publisher>,
    server: [RunningServer; 3],
    /// For each operation.
    spent: [Duration; OPERATIONS.len()],
}

impl Contender {
    /// The subscribers of each transport have a gateway of their own, and so have the others: an
    /// event goes to one kind of subscriber or to none.
    async fn start(build: &'static str, launch: &Launch, sizes: Sizes) -> anyhow::Result<Self> {
        let start = || launch.start(Product::Rig);
        let server = [start()?, start()?, start()?];
        let first = event::numbered(0);
        let crowd = |server, transport| Crowd::connect(server, transport, sizes.subscribers, &first, None);
        let crowds = [crowd(&server[0], Streaming::Sse).await?, crowd(&server[1], Streaming::Ws).await?];
        let mut publishers = vec![
            Publisher::connect(server[0].publishing()).await?,
            Publisher::connect(server[1].publishing()).await?,
        ];
        let others = (0..PUBLISHERS).map(|_| Publisher::connect(server[2].publishing()));
        publishers.extend(try_join_all(others).await?);
        Ok(Self { build, sizes, crowds, got: [0; 2], publishers, server, spent: Default::default() })
    }

    async fn turn(&mut self, operation: usize, turn: u32) -> anyhow::Result<Duration> {
        match operation {
            0 | 1 => self.deliver(operation).await,
            2 => self.publish().await,
            _ => self.connect(turn).await,
        }
    }

    async fn deliver(&mut self, which: usize) -> anyhow::Result<Duration> {
        let (server, crowd) = (&self.server[which], &self.crowds[which]);
        let before = server.run_time()?;
        for _ in 0..self.sizes.events {
            let request = server.publication(&event::numbered(self.got[which]));
            self.publishers[which].publish(&request).await?;
            self.got[which] += 1;
            crowd.receive(u64::from(self.got[which]) * u64::from(self.sizes.subscribers)).await?;
        }
        spent(server, before).await
    }

    async fn publish(&mut self) -> anyhow::Result<Duration> {
        let server = &self.server[2];
        let (request, each) = (server.publication(&event::numbered(0)), self.sizes.publications / PUBLISHERS);
        let before = server.run_time()?;
        let publishing = self.publishers[2..].iter_mut().map(async |publisher| {
            for _ in 0..each {
                publisher.publish(&request).await?;
            }
            anyhow::Ok(())
        });
        try_join_all(publishing).await?;
        spent(server, before).await
    }

    async fn connect(&mut self, turn: u32) -> anyhow::Result<Duration> {
        let server = &self.server[0];
        let first = NEWCOMERS + turn * self.sizes.connects;
        let before = server.run_time()?;
        let newcomers = first..first + self.sizes.connects;
        let crowd = Crowd::of(server, Streaming::Sse, newcomers, &event::numbered(0)).await?;
        let spent = spent(server, before).await?;
        crowd.leave().await;
        connect::left(server, self.sizes.subscribers).await?;
        Ok(spent)
    }
}

/// What the gateway has run since then.
async fn spent(server: &RunningServer, before: Duration) -> anyhow::Result<Duration> {
    sleep(COUNTING).await;
    Ok(server.run_time()?.saturating_sub(before))
}
