//! One node is cut off from NATS, or stopped, while sessions with connections there are revoked at
//! another one: the answer comes when the node cannot send any more, and nothing comes after it.

use std::time::Duration;

use anyhow::Context;
use futures_util::future::try_join_all;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::{ClusterPlan, Figures, publish_at};
use crate::client::{Publisher, Witness};
use crate::server::Launch;
use crate::server::cluster::{Cluster, ClusterOptions};
use crate::server::link::LinkState;
use crate::stats::millis;

/// Sessions that are revoked in each cut.
const SESSIONS: u32 = 34;

/// Cuts with a lease of 15 s and of 3 s.
const LONG: u32 = 10;
const SHORT: u32 = 20;

/// Stops in the test of stops alone; two nodes are stopped each time.
const STOPS: u32 = 100;

/// Between two events at the node.
const PACE: Duration = Duration::from_millis(5);

/// Between two requests.
const STAGGER: Duration = Duration::from_millis(30);

/// Clients receive what was in a socket this much later.
const PIPE: Duration = Duration::from_millis(5);

/// How a node is kept from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strike {
    Cut,
    BlackHole,
    Stop,
}

/// What was seen in all cuts.
#[derive(Default)]
struct Outcome {
    cuts: u32,
    /// Answers of 201, how long each took.
    answered: Vec<Duration>,
    /// Other answers.
    others: u32,
    /// Payload after the 201: how long after it.
    late: Vec<Duration>,
    /// Cuts with such payload.
    late_cuts: u32,
}

/// Measures.
///
/// # Errors
/// The cluster fails, or a node does not come back.
pub(super) async fn run(launch: &Launch, plan: &ClusterPlan) -> anyhow::Result<Figures> {
    let mut figures = Figures::new(
        "In each cut one of the three nodes, in turns, loses NATS (its connections are closed, or carry \
         nothing any more) or is stopped by SIGSTOP; a publisher at this node sends an event each 5 ms to all \
         of its clients. Sessions with one connection there and one at the node that is asked are revoked \
         within the first second of the cut. Half a second after the last answer the node is let go. Policy \
         `closed`. The limit for the answer is L(1 + 2ρ) + 0.5 s. Payload is judged by when clients \
         received it, which is later than it was sent.",
    );
    let (mut revocations, mut late, mut cuts) = (0, 0, 0);
    for (lease, whole) in [(15, LONG), (3, SHORT)] {
        let count = plan.count(whole, 3);
        let strikes = [Strike::Cut, Strike::BlackHole, Strike::Stop];
        let outcome = strike(launch, lease, count, &strikes, 1).await?;
        let limit = (lease as f64 * 1002.0 + 500.0) / 1000.0;
        let longest = outcome.answered.iter().max().copied().unwrap_or_default().as_secs_f64();
        figures.show(format!("cuts, L = {lease} s"), "", outcome.cuts.into());
        figures.show(format!("answers of 201, L = {lease} s"), "", outcome.answered.len() as f64);
        figures.at_most(format!("other answers, L = {lease} s"), "", outcome.others.into(), 0.0);
        figures.at_most(format!("longest time to 201, L = {lease} s"), "s", longest, limit);
        if let Some(latest) = outcome.late.iter().max() {
            figures.show(format!("latest payload after the 201, L = {lease} s"), "ms", millis(*latest));
        }
        revocations += outcome.answered.len() as u32 + outcome.others;
        late += outcome.late.len();
        cuts += outcome.cuts;
    }
    figures.at_least("revocations", "", revocations.into(), 1000.0);
    figures.at_least("cuts", "", cuts.into(), 30.0);
    figures.at_most("payloads after the 201", "", late as f64, 0.0);
    Ok(figures)
}

/// Measures stops alone.
///
/// # Errors
/// The cluster fails, or a node does not come back.
pub(super) async fn stops(launch: &Launch, plan: &ClusterPlan) -> anyhow::Result<Figures> {
    let count = plan.count(STOPS, 2);
    let mut figures = Figures::new(format!(
        "{count} times two of three nodes are stopped by SIGSTOP until {SESSIONS} sessions that have \
         connections there, with an event each 5 ms, are answered at the third, and half a second longer. L = 3 s. \
         What a thread that was stopped between looking at the clock and its system call still writes is late; \
         each thread can do that once."
    ));
    let outcome = strike(launch, 3, count, &[Strike::Stop], 2).await?;
    let stops = f64::from(outcome.cuts) * 2.0;
    let late = outcome.late.iter().filter(|late| **late > PIPE).count();
    figures.show("stops of a node", "", stops);
    figures.show("revocations answered 201", "", outcome.answered.len() as f64);
    figures.at_most("other answers", "", outcome.others.into(), 0.0);
    figures.show("payloads received after the 201", "", outcome.late.len() as f64);
    figures.show("of them more than 5 ms after it", "", late as f64);
    figures.at_most("stops with late payload", "%", 100.0 * f64::from(outcome.late_cuts) / stops, 2.0);
    Ok(figures)
}

async fn strike(
    launch: &Launch,
    lease: u64,
    count: u32,
    strikes: &[Strike],
    victims: usize,
) -> anyhow::Result<Outcome> {
    let cluster = Cluster::start(launch, ClusterOptions { lease, ..ClusterOptions::default() }).await?;
    let mut outcome = Outcome::default();
    for number in 0..count {
        let strike = strikes[number as usize % strikes.len()];
        eprintln!("L = {lease} s, cut {} of {count}: {strike:?}", number + 1);
        one(&cluster, number, strike, victims, &mut outcome)
            .await
            .with_context(|| format!("cut {number}, {strike:?}"))?;
    }
    Ok(outcome)
}

async fn one(
    cluster: &Cluster,
    number: u32,
    strike: Strike,
    victims: usize,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let origin = number as usize % 3;
    let struck: Vec<_> = (1..=victims).map(|step| (origin + step) % 3).collect();
    let sessions: Vec<_> = (0..SESSIONS).map(|session| number * SESSIONS + session).collect();
    let mut witnesses = Vec::new();
    for session in &sessions {
        let at = struck.iter().chain([&origin]);
        witnesses.push(try_join_all(at.map(|node| Witness::connect(cluster.node(*node), *session))).await?);
    }
    let publishers: Vec<_> = struck.iter().map(|node| publish_at(cluster.node(*node), PACE)).collect();
    for witness in witnesses.iter().flatten() {
        witness.receiving().await?;
    }
    for node in &struck {
        match strike {
            Strike::Cut => cluster.set_links(*node, LinkState::Cut),
            Strike::BlackHole => cluster.set_links(*node, LinkState::BlackHole),
            Strike::Stop => cluster.signal(*node, Signal::STOP)?,
        }
    }
    let asking = sessions.iter().enumerate().map(async |(index, session)| {
        sleep(STAGGER * index as u32).await;
        let mut operator = Publisher::connect(cluster.node(origin).status).await?;
        let asked = Instant::now();
        let (status, _) = operator.ask(&cluster.node(origin).order(*session)).await?;
        anyhow::Ok((status, asked, Instant::now()))
    });
    let answers = try_join_all(asking).await;
    sleep(Duration::from_millis(500)).await;
    for node in &struck {
        match strike {
            Strike::Cut | Strike::BlackHole => cluster.set_links(*node, LinkState::Open),
            Strike::Stop => cluster.signal(*node, Signal::CONT)?,
        }
    }
    for node in &struck {
        cluster.await_ready(*node).await?;
    }
    sleep(Duration::from_secs(1)).await;
    publishers.iter().for_each(tokio::task::AbortHandle::abort);
    let mut late_nodes = vec![false; victims + 1];
    for ((status, asked, answered), witnesses) in answers?.into_iter().zip(&witnesses) {
        if status != 201 {
            outcome.others += 1;
            continue;
        }
        outcome.answered.push(answered - asked);
        for (witness, is_late) in witnesses.iter().zip(&mut late_nodes) {
            let late = witness.payload_after(answered);
            *is_late |= late.iter().any(|at| *at - answered > PIPE);
            outcome.late.extend(late.into_iter().map(|at| at - answered));
        }
    }
    outcome.late_cuts += late_nodes.iter().filter(|late| **late).count() as u32;
    outcome.cuts += 1;
    Ok(())
}
