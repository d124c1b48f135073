//! Requests that another node answers, and lists of the sessions of all nodes.

use std::time::{Duration, Instant};

use super::{ClusterPlan, Figures};
use crate::Streaming;
use crate::client::{Crowd, Publisher, Witness};
use crate::event;
use crate::server::cluster::{Cluster, ClusterOptions};
use crate::server::{Launch, RunningServer};
use crate::token;

const REQUESTS: u32 = 1000;
const TO_THE_DEAD: u32 = 100;
const SESSIONS: u32 = 10_000;
const PAGES: u32 = 300;

/// Measures.
///
/// # Errors
/// The cluster fails, or does not answer as it must.
pub(super) async fn run(launch: &Launch, plan: &ClusterPlan) -> anyhow::Result<Figures> {
    let (requests, sessions) = (plan.count(REQUESTS, 50), plan.count(SESSIONS, 150));
    let pages = plan.count(PAGES, 10);
    let mut figures = Figures::new(format!(
        "{requests} times `PUT subscriptions` at a node for a connection of another one, one after the \
         other; {pages} pages of 100 of `GET /v4/sessions`, with {sessions} sessions over three nodes; then the \
         node of the connection is killed, and {TO_THE_DEAD} further requests are sent within its lease."
    ));
    let mut cluster = Cluster::start(launch, ClusterOptions::default()).await?;
    let witness = Witness::connect(cluster.node(1), SESSIONS + 1).await?;
    let (mut times, statuses) = put(cluster.node(0), &witness, requests).await?;
    anyhow::ensure!(statuses.iter().all(|status| *status == 204), "answered {statuses:?}");
    figures.times("PUT subscriptions at another node", &mut times, 0.5, Some(2.0));
    figures.times("PUT subscriptions at another node", &mut times, 0.99, Some(10.0));

    let mut crowds = Vec::new();
    for node in 0..3 {
        // Sessions have numbers of their own at each node only if the crowds do not overlap.
        let numbers = sessions / 3 * node..sessions / 3 * (node + 1);
        crowds.push(
            Crowd::of(cluster.node(node as usize), Streaming::Sse, numbers, &event::numbered(0)).await?,
        );
    }
    let mut times = list(cluster.node(2), pages).await?;
    figures.times("page of sessions", &mut times, 0.5, None);
    figures.times("page of sessions", &mut times, 0.99, Some(50.0));
    for crowd in crowds {
        crowd.leave().await;
    }

    cluster.kill(1)?;
    let (mut times, mut statuses) = put(cluster.node(0), &witness, TO_THE_DEAD).await?;
    statuses.dedup();
    eprintln!("a dead node is answered {statuses:?}");
    figures.times("PUT subscriptions at a dead node", &mut times, 0.5, None);
    figures.times("PUT subscriptions at a dead node", &mut times, 0.99, Some(5.0));
    Ok(figures)
}

async fn put(
    node: &RunningServer,
    witness: &Witness,
    count: u32,
) -> anyhow::Result<(Vec<Duration>, Vec<u16>)> {
    let body = r#"{"subscriptions":[{"eventType":"greeting"}]}"#;
    let request = format!(
        "PUT /_rig/v1/connection/sse/{}/subscriptions HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        witness.connection_token,
        node.address,
        token::mint(SESSIONS + 1)?,
        body.len()
    );
    ask(&mut Publisher::connect(node.address).await?, request.as_bytes(), count).await
}

async fn list(node: &RunningServer, count: u32) -> anyhow::Result<Vec<Duration>> {
    let request = format!("GET /v4/sessions?limit=100 HTTP/1.1\r\nHost: {}\r\n\r\n", node.status);
    let mut client = Publisher::connect(node.status).await?;
    let (times, statuses) = ask(&mut client, request.as_bytes(), count).await?;
    anyhow::ensure!(statuses.iter().all(|status| *status == 200), "answered {statuses:?}");
    Ok(times)
}

async fn ask(
    client: &mut Publisher,
    request: &[u8],
    count: u32,
) -> anyhow::Result<(Vec<Duration>, Vec<u16>)> {
    let (mut times, mut statuses) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let asked = Instant::now();
        statuses.push(client.ask(request).await?.0);
        times.push(asked.elapsed());
    }
    Ok((times, statuses))
}
