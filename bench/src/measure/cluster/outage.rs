//! The leader of the stream fails, and the servers are restarted one by one, while no node does:
//! clients must not notice, and revocations are in force at once.

use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{ClusterPlan, Figures, publish_at};
use crate::client::{Publisher, Witness, get};
use crate::server::Launch;
use crate::server::cluster::{Cluster, ClusterOptions, STREAM};
use crate::server::link::LinkState;
use crate::server::nats::Sync;

/// Times that the leader fails in each way.
const ROUNDS: u32 = 3;

/// How long it stays away.
const AWAY: Duration = Duration::from_secs(20);

/// Between two revocations.
const STAGGER: Duration = Duration::from_millis(500);

/// Clients at each node that must notice nothing.
const BYSTANDERS: u32 = 10;

/// Seconds.
const LEASE: f64 = 15.0;

/// Within this time from the fault, a node that used the server has not found another one.
const ROTATION: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Stop,
    Cut,
}

/// What was seen of the revocations.
#[derive(Default)]
struct Seen {
    /// From the request to the end of the session's connection, at each node: while a node may
    /// still be connected to the server that failed, and after that.
    early: Vec<Duration>,
    closed: Vec<Duration>,
    answered: Vec<Duration>,
    others: u32,
    /// Clients that were not let in.
    refused: usize,
}

/// One revocation.
struct Shot {
    since_fault: Duration,
    status: u16,
    answered: Duration,
    closed: Vec<Duration>,
}

/// Measures.
///
/// # Errors
/// The cluster fails, or a bystander is lost.
pub(super) async fn run(launch: &Launch, plan: &ClusterPlan) -> anyhow::Result<Figures> {
    let rounds = plan.count(ROUNDS, 1);
    let mut figures = Figures::new(format!(
        "L = 15 s. The leader of the stream is killed (SIGKILL), stopped (SIGSTOP) or cut off (its \
         connections to servers and nodes carry nothing), each {rounds} times for {} s, while every half second \
         a session with a connection at each node is revoked, at the nodes in turns. A node that was connected to the failed server needs \
         3 s to go to another one, so revocations within the first {} s are shown apart. Then the servers are \
         restarted one by one (SIGTERM), with the same revocations. {BYSTANDERS} other sessions at each node \
         get an event each 20 ms.",
        AWAY.as_secs(),
        ROTATION.as_secs()
    ));
    let mut cluster = Cluster::start(launch, ClusterOptions::default()).await?;
    let mut session = 1_000_000;
    let mut bystanders = Vec::new();
    for node in 0..3 {
        for _ in 0..BYSTANDERS {
            session += 1;
            bystanders.push(Witness::connect(cluster.node(node), session).await?);
        }
    }
    let publishers: Vec<_> =
        (0..3).map(|node| publish_at(cluster.node(node), Duration::from_millis(20))).collect();
    for fault in [Fault::Kill, Fault::Stop, Fault::Cut] {
        let (mut seen, mut least) = (Seen::default(), f64::MAX);
        for round in 0..rounds {
            eprintln!("{fault:?} of the leader, {} of {rounds}", round + 1);
            let leader = cluster.nats.await_leader(STREAM).await?;
            strike(&mut cluster, leader, fault, true)?;
            let until = Instant::now() + AWAY;
            least = least.min(revoke_until(&cluster, &mut session, until, &mut seen).await?);
            strike(&mut cluster, leader, fault, false)?;
            cluster.nats.ready().await?;
        }
        report(&mut figures, &format!("leader {}", fault.name()), &mut seen, least);
    }
    restart(&mut cluster, &mut session, &mut figures).await?;
    publishers.iter().for_each(tokio::task::AbortHandle::abort);
    let lost = bystanders.iter().filter(|witness| witness.closed().is_some()).count();
    figures.at_most("connections lost", "", lost as f64, 0.0);
    let mut fenced = 0.0;
    for node in 0..3 {
        fenced += gauge(&cluster, node, "rig_cluster_fenced_writes_total").await.context("no such metric")?;
    }
    figures.at_most("writes that were held back", "", fenced, 0.0);
    Ok(figures)
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Stop => "stopped",
            Self::Cut => "cut off",
        }
    }
}

fn strike(cluster: &mut Cluster, leader: usize, fault: Fault, begins: bool) -> anyhow::Result<()> {
    match (fault, begins) {
        (Fault::Kill, true) => cluster.nats.kill(leader),
        (Fault::Kill, false) => cluster.nats.launch(leader, Sync::Always),
        (Fault::Stop, true) => cluster.nats.signal(leader, Signal::STOP),
        (Fault::Stop, false) => cluster.nats.signal(leader, Signal::CONT),
        (Fault::Cut, true) => {
            cluster.set_server_links(leader, LinkState::BlackHole);
            Ok(())
        }
        (Fault::Cut, false) => {
            cluster.set_server_links(leader, LinkState::Open);
            Ok(())
        }
    }
}

fn report(figures: &mut Figures, what: &str, seen: &mut Seen, least: f64) {
    let applied = "applied at every node";
    figures.times(&format!("{what}, first 4 s: {applied}"), &mut seen.early, 0.5, None);
    figures.times(&format!("{what}, first 4 s: {applied}"), &mut seen.early, 1.0, None);
    figures.times(&format!("{what}, later: {applied}"), &mut seen.closed, 0.5, None);
    figures.times(&format!("{what}, later: {applied}"), &mut seen.closed, 0.99, Some(50.0));
    figures.times(&format!("{what}: 201"), &mut seen.answered, 0.5, None);
    figures.times(&format!("{what}: 201"), &mut seen.answered, 1.0, Some(12_000.0));
    figures.at_most(format!("{what}: other answers"), "", seen.others.into(), 0.0);
    figures.at_most(format!("{what}: clients refused"), "", seen.refused as f64, 0.0);
    figures.at_least(format!("{what}: least lease left"), "s", least, 0.001);
}

/// Revokes sessions until then, waits for the answers; returns the least lease that a node had
/// left.
async fn revoke_until(
    cluster: &Cluster,
    session: &mut u32,
    until: Instant,
    seen: &mut Seen,
) -> anyhow::Result<f64> {
    let (fault, mut shots, mut least) = (Instant::now(), JoinSet::new(), f64::MAX);
    while Instant::now() < until {
        *session += 1;
        let number = *session;
        let connecting = (0..3).map(|node| Witness::connect(cluster.node(node), number));
        let witnesses: Vec<_> = join_all(connecting).await.into_iter().flatten().collect();
        seen.refused += 3 - witnesses.len();
        let node = cluster.node(number as usize % 3);
        let (address, request) = (node.status, node.order(number));
        shots.spawn(shoot(address, request, witnesses, fault));
        sleep(STAGGER).await;
        least = least.min(least_lease(cluster).await);
    }
    while let Some(shot) = shots.join_next().await {
        let Shot { since_fault, status, answered, closed } = shot??;
        if since_fault < ROTATION { &mut seen.early } else { &mut seen.closed }.extend(closed);
        if status == 201 {
            seen.answered.push(answered);
        } else {
            seen.others += 1;
        }
        least = least.min(least_lease(cluster).await);
    }
    Ok(least)
}

async fn shoot(
    address: std::net::SocketAddr,
    request: Vec<u8>,
    witnesses: Vec<Witness>,
    fault: Instant,
) -> anyhow::Result<Shot> {
    let mut operator = Publisher::connect(address).await?;
    let asked = Instant::now();
    let (status, _) = operator.ask(&request).await?;
    let answered = asked.elapsed();
    let mut closed = Vec::new();
    for witness in &witnesses {
        witness.closing().await?;
        closed.extend(witness.closed().map(|at| at - asked));
    }
    Ok(Shot { since_fault: asked - fault, status, answered, closed })
}

async fn restart(cluster: &mut Cluster, session: &mut u32, figures: &mut Figures) -> anyhow::Result<()> {
    let (mut seen, mut least) = (Seen::default(), f64::MAX);
    for server in 0..cluster.nats.len() {
        eprintln!("server {server} is restarted");
        cluster.nats.await_leader(STREAM).await?;
        cluster.nats.stop(server);
        cluster.nats.launch(server, Sync::Always)?;
        let until = Instant::now() + Duration::from_secs(6);
        least = least.min(revoke_until(cluster, session, until, &mut seen).await?);
        cluster.nats.ready().await?;
    }
    figures.times("rolling restart: 201", &mut seen.answered, 0.5, None);
    figures.times("rolling restart: 201", &mut seen.answered, 1.0, None);
    figures.at_most("rolling restart: clients refused", "", seen.refused as f64, 0.0);
    figures.at_most("rolling restart: other answers", "", seen.others.into(), 0.0);
    figures.at_least("rolling restart: least lease left", "s", least, LEASE - 4.0);
    Ok(())
}

async fn least_lease(cluster: &Cluster) -> f64 {
    let left = (0..3).map(|node| gauge(cluster, node, "rig_cluster_lease_seconds_left"));
    join_all(left).await.into_iter().flatten().fold(f64::MAX, f64::min)
}

async fn gauge(cluster: &Cluster, node: usize, name: &str) -> Option<f64> {
    let metrics = get(cluster.node(node).status, "/metrics").await.ok()?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}
