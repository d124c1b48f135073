//! Revocations while all nodes are well: how soon all have confirmed, and how soon a client at
//! another node gets nothing more.

use std::time::{Duration, Instant as StdInstant};

use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};

use super::{ClusterPlan, Figures, publish_at, syncs};
use crate::client::{Publisher, Witness};
use crate::server::Launch;
use crate::server::cluster::{Cluster, ClusterOptions};

/// Revocations of each kind.
const CONFIRMED: u32 = 1000;
const WITH_EVENTS: u32 = 300;

/// The interval of each of two publishers, so that each client gets an event every millisecond.
const PACE: Duration = Duration::from_millis(2);

/// Measures.
///
/// # Errors
/// The cluster fails, or does not confirm a revocation.
pub(super) async fn run(launch: &Launch, plan: &ClusterPlan) -> anyhow::Result<Figures> {
    let (confirmed, with_events) = (plan.count(CONFIRMED, 20), plan.count(WITH_EVENTS, 10));
    let mut figures = Figures::new(format!(
        "{confirmed} revocations one after the other, at each of the nodes in turns, with one connection of \
         the session at each node. All processes share one disk; what a sync of 300 bytes takes there alone is \
         shown. Then {with_events} revocations while two publishers at the other nodes send an event each \
         {} ms that all clients get; times are those of the clients.",
        PACE.as_millis()
    ));
    let mut sync = syncs(confirmed)?;
    for part in [0.5, 0.99] {
        figures.times("sync of the disk alone", &mut sync, part, None);
    }
    let cluster = Cluster::start(launch, ClusterOptions::default()).await?;
    let mut operators = Vec::new();
    for node in 0..3 {
        operators.push(Publisher::connect(cluster.node(node).status).await?);
    }
    let mut stage = Stage { cluster, operators, session: 0 };
    let mut answered = Vec::new();
    for _ in 0..confirmed {
        let (round, _) = stage.round(false).await?;
        answered.push(round);
    }
    figures.times("201 with three live nodes", &mut answered, 0.5, Some(8.0));
    figures.times("201 with three live nodes", &mut answered, 0.99, Some(30.0));

    let (mut last, mut late) = (Vec::new(), 0);
    let mut answered = Vec::new();
    for _ in 0..with_events {
        let (round, payload) = stage.round(true).await?;
        answered.push(round);
        late += payload.after_answer;
        last.extend(payload.last);
    }
    for part in [0.5, 0.99, 1.0] {
        let target = (part == 0.99).then_some(15.0);
        figures.times("last payload at another node after the request", &mut last, part, target);
    }
    figures.times("201 meanwhile", &mut answered, 0.5, None);
    figures.times("201 meanwhile", &mut answered, 0.99, None);
    figures.at_most("payloads received after the 201", "", late as f64, 0.0);
    Ok(figures)
}

struct Stage {
    cluster: Cluster,
    operators: Vec<Publisher>,
    session: u32,
}

/// What clients received after the request.
#[derive(Default)]
struct Payload {
    /// How long after it, at each of the other nodes.
    last: Vec<Duration>,
    after_answer: usize,
}

impl Stage {
    async fn round(&mut self, with_events: bool) -> anyhow::Result<(Duration, Payload)> {
        self.session += 1;
        let (session, origin) = (self.session, self.session as usize % 3);
        let others = [(origin + 1) % 3, (origin + 2) % 3];
        let witnesses =
            try_join_all((0..3).map(|node| Witness::connect(self.cluster.node(node), session))).await?;
        let publishers = others.map(|node| with_events.then(|| publish_at(self.cluster.node(node), PACE)));
        if with_events {
            for witness in &witnesses {
                witness.receiving().await?;
            }
            // Long enough for the flow to be even.
            sleep(Duration::from_millis(40 + u64::from(session % 20))).await;
        }
        let request = self.cluster.node(origin).order(session);
        let (asked, clock) = (Instant::now(), StdInstant::now());
        let (status, body) = self.operators[origin].ask(&request).await?;
        let (answered, took) = (Instant::now(), clock.elapsed());
        anyhow::ensure!(status == 201, "answered {status}: {}", String::from_utf8_lossy(&body));
        for witness in &witnesses {
            witness.closing().await?;
        }
        publishers.into_iter().flatten().for_each(|publisher| publisher.abort());
        let mut payload = Payload::default();
        if with_events {
            let last = others.iter().map(|node| witnesses[*node].last_payload(asked));
            payload.last = last.map(|at| at.map_or(Duration::ZERO, |at| at - asked)).collect();
            payload.after_answer =
                witnesses.iter().map(|witness| witness.payload_after(answered).len()).sum();
        }
        Ok((took, payload))
    }
}
