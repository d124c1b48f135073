//! The end of a crowd: how long it takes until all connections of one session are closed, and what
//! others notice of it.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, Interval, interval, sleep};

use crate::Streaming;
use crate::client::{Crowd, Publisher, Throng, get};
use crate::event;
use crate::server::{Launch, Product, RunningServer};
use crate::stats::{Spread, millis, quantile};

/// The first session that is revoked; the bystanders count from zero.
const FIRST: u32 = 1_000_000;

/// Between two events to the bystanders.
const PACE: Duration = Duration::from_millis(20);

/// Between the last connect and the first of these events, so that the work that connecting leaves
/// behind does not delay them.
const SETTLE: Duration = Duration::from_secs(1);

/// Events before each revocation, to compare with.
const BEFORE: u32 = 150;

/// What must stay zero.
const PAYLOAD_AFTER_KILL: &str = "rig_revocation_payload_after_kill_total 0\n";

/// The session that is revoked, and the clients beside it.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct RevokedSession {
    #[arg(long, value_enum, default_value = "sse")]
    pub(crate) transport: Streaming,
    /// Connections of the session that is revoked.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    pub(crate) connections: u32,
    /// Each in a session of its own.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pub(crate) bystanders: u32,
    /// Each with new connections.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Revoke {
    pub(crate) transport: Streaming,
    pub(crate) connections: u32,
    pub(crate) bystanders: u32,
    pub(crate) rounds: Vec<Round>,
    /// All rounds together: from the request to the end of a connection, as its client sees it.
    pub(crate) closed_p50_milliseconds: f64,
    pub(crate) closed_p99_milliseconds: f64,
    /// Each round: to the end of the last connection.
    pub(crate) last_closed_milliseconds: Spread,
    /// Each round: to the answer.
    pub(crate) answered_milliseconds: Spread,
    /// All rounds together: from the time for an event to a bystander having it, while no session
    /// is being revoked.
    pub(crate) before_p50_milliseconds: f64,
    pub(crate) before_p99_milliseconds: f64,
    /// The same of the events whose time was between the request and the end of the last
    /// connection.
    pub(crate) during_p50_milliseconds: f64,
    pub(crate) during_p99_milliseconds: f64,
    /// `during_p99` by `before_p99`.
    pub(crate) ratio: f64,
}

/// One revocation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) last_closed_milliseconds: f64,
    pub(crate) answered_milliseconds: f64,
    /// Events to the bystanders while connections were ending.
    pub(crate) events_during: usize,
    pub(crate) before_p99_milliseconds: f64,
    pub(crate) during_p99_milliseconds: f64,
}

/// Measures.
///
/// # Errors
/// The server fails, a bystander loses its connection or an event, or payload was written after a
/// kill.
pub(crate) async fn run(launch: &Launch, plan: RevokedSession) -> anyhow::Result<Revoke> {
    let RevokedSession { transport, connections, bystanders, rounds } = plan;
    let server = launch.start(Product::Rig)?;
    let (sender, arrivals) = unbounded_channel();
    let crowd = Crowd::connect(&server, transport, bystanders, &event::numbered(0), Some(sender)).await?;
    let publisher = Publisher::connect(server.address).await?;
    let mut stage = Stage { server: &server, crowd, publisher, arrivals, plan, due: Vec::new() };

    let (mut all, mut closed, mut before, mut during) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let times = stage.round(FIRST + round).await.with_context(|| format!("round {round}"))?;
        all.push(times.summary());
        closed.extend(times.closed);
        before.extend(times.before);
        during.extend(times.during);
    }
    let metrics = get(server.status, "/metrics").await?;
    anyhow::ensure!(metrics.contains(PAYLOAD_AFTER_KILL), "payload after the kill: {metrics}");
    stage.crowd.leave().await;
    for times in [&mut closed, &mut before, &mut during] {
        times.sort_unstable();
    }
    let spread = |value: fn(&Round) -> f64| Spread::of(all.iter().map(value)).context("no rounds");
    let at = |times: &[Duration], part| millis(quantile(times, part));
    Ok(Revoke {
        transport,
        connections,
        bystanders,
        closed_p50_milliseconds: at(&closed, 0.5),
        closed_p99_milliseconds: at(&closed, 0.99),
        last_closed_milliseconds: spread(|round| round.last_closed_milliseconds)?,
        answered_milliseconds: spread(|round| round.answered_milliseconds)?,
        before_p50_milliseconds: at(&before, 0.5),
        before_p99_milliseconds: at(&before, 0.99),
        during_p50_milliseconds: at(&during, 0.5),
        during_p99_milliseconds: at(&during, 0.99),
        ratio: at(&during, 0.99) / at(&before, 0.99),
        rounds: all,
    })
}

struct Stage<'a> {
    server: &'a RunningServer,
    crowd: Crowd,
    publisher: Publisher,
    arrivals: UnboundedReceiver<(u32, Instant)>,
    plan: RevokedSession,
    /// When it was time for each event.
    due: Vec<Instant>,
}

/// The times of one round, each list in ascending order.
struct Times {
    closed: Vec<Duration>,
    answered: Duration,
    before: Vec<Duration>,
    during: Vec<Duration>,
    events_during: usize,
}

impl Stage<'_> {
    async fn round(&mut self, number: u32) -> anyhow::Result<Times> {
        let RevokedSession { transport, connections, .. } = self.plan;
        let handshake = self.server.handshake(transport);
        let request = self.server.unsubscribed(transport, number)?;
        let mut throng = Throng::connect(handshake, request, connections).await?;
        sleep(SETTLE).await;
        let mut pace = interval(PACE);
        let first = self.due.len();
        for _ in 0..BEFORE {
            self.publish(&mut pace).await?;
        }
        let revocation = self.server.revocation(number);
        let mut operator = Publisher::connect(self.server.status).await?;
        let asked = Instant::now();
        let answered =
            tokio::spawn(async move { operator.publish(&revocation).await.map(|()| asked.elapsed()) });
        while !throng.is_over() {
            self.publish(&mut pace).await?;
        }
        let answered = answered.await??;
        let ends = throng.ends()?;
        let last = ends.iter().max().copied().context("no connections")?;
        let (before, during) = self.deliveries(first, asked, last).await?;
        let mut closed: Vec<_> = ends.iter().map(|end| *end - asked).collect();
        closed.sort_unstable();
        let events_during = self.due[first..].iter().filter(|due| (asked..=last).contains(due)).count();
        Ok(Times { closed, answered, before, during, events_during })
    }

    /// Publishes the next event when it is time for it. Where the last one took longer, this one is
    /// late, and that counts.
    async fn publish(&mut self, pace: &mut Interval) -> anyhow::Result<()> {
        let due = pace.tick().await;
        let number = u32::try_from(self.due.len())?;
        self.due.push(due);
        self.publisher.publish(&self.server.publication(&event::numbered(number))).await
    }

    /// How long each event since `first` took to each bystander: before `asked`, and up to `last`.
    async fn deliveries(
        &mut self,
        first: usize,
        asked: Instant,
        last: Instant,
    ) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
        let all = self.due.len() as u64 * u64::from(self.plan.bystanders);
        self.crowd.receive(all).await?;
        let (mut before, mut during) = (Vec::new(), Vec::new());
        while let Ok((number, arrived)) = self.arrivals.try_recv() {
            let due = self.due[number as usize];
            if due < asked && number as usize >= first {
                before.push(arrived - due);
            } else if (asked..=last).contains(&due) {
                during.push(arrived - due);
            }
        }
        before.sort_unstable();
        during.sort_unstable();
        Ok((before, during))
    }
}

impl Times {
    fn summary(&self) -> Round {
        Round {
            last_closed_milliseconds: millis(quantile(&self.closed, 1.0)),
            answered_milliseconds: millis(self.answered),
            events_during: self.events_during,
            before_p99_milliseconds: millis(quantile(&self.before, 0.99)),
            during_p99_milliseconds: millis(quantile(&self.during, 0.99)),
        }
    }
}
