//! Gateways that form a cluster, and their nats-servers. Each gateway reaches each server through a
//! link of its own.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;
use tokio::time::sleep;

use super::link::{Link, LinkState};
use super::nats::{Nats, Sync};
use super::place::TempFolder;
use super::{Launch, RunningServer};
use crate::client::get;

/// The name of the cluster, and that of its stream.
const NAME: &str = "bench";
pub(crate) const STREAM: &str = "RIG_bench";

/// For a node to get a lease. A node that joins reads a large stream first.
const JOIN: Duration = Duration::from_secs(180);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// How a cluster is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClusterOptions {
    pub(crate) nodes: usize,
    /// 1, or 3 with a copy of the stream each.
    pub(crate) servers: usize,
    /// Seconds.
    pub(crate) lease: u64,
    pub(crate) sync: Sync,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { nodes: 3, servers: 3, lease: 15, sync: Sync::Always }
    }
}

/// The gateways and the servers. Dropping it stops all.
#[derive(Debug)]
pub(crate) struct Cluster {
    // Stopped before the servers.
    nodes: Vec<Node>,
    pub(crate) nats: Nats,
}

#[derive(Debug)]
struct Node {
    /// `None`: it was stopped.
    server: Option<RunningServer>,
    /// One for each nats-server.
    links: Vec<Link>,
    launch: Launch,
    folder: TempFolder,
}

impl Cluster {
    /// Starts the servers and the gateways, and waits until all have a lease.
    ///
    /// # Errors
    /// One of them does not start.
    pub(crate) async fn start(launch: &Launch, options: ClusterOptions) -> anyhow::Result<Self> {
        let mut cluster = Self::prepare(launch, options).await?;
        for node in 0..options.nodes {
            cluster.launch(node)?;
        }
        for node in 0..options.nodes {
            cluster.await_ready(node).await?;
        }
        Ok(cluster)
    }

    /// Starts the servers and makes the stream.
    ///
    /// # Errors
    /// One of them does not start.
    pub(crate) async fn prepare(launch: &Launch, options: ClusterOptions) -> anyhow::Result<Self> {
        let nats = Nats::start(launch, options.servers, options.sync).await?;
        let nodes = (0..options.nodes).map(|number| Node::new(launch, number, &nats, options));
        let cluster = Self { nodes: nodes.collect::<anyhow::Result<_>>()?, nats };
        let init = &cluster.nodes[0];
        let deadline = Instant::now() + JOIN;
        loop {
            let mut command = Command::new(init.launch.program());
            command.env_clear().args(["cluster", "init"]);
            command.envs(init.launch.environment.iter().map(|(name, value)| (name, value)));
            let output = command.output()?;
            if output.status.success() {
                return Ok(cluster);
            }
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            anyhow::ensure!(Instant::now() < deadline, "rig cluster init: {said}");
            sleep(LOOK).await;
        }
    }

    /// A node that runs.
    ///
    /// # Panics
    /// Panics if it was stopped.
    pub(crate) fn node(&self, node: usize) -> &RunningServer {
        self.nodes[node].server.as_ref().expect("the node runs")
    }

    /// Starts a node; returns when its internal port listens.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn launch(&mut self, node: usize) -> anyhow::Result<()> {
        let Node { server, launch, .. } = &mut self.nodes[node];
        *server = None;
        *server = Some(launch.start_within(JOIN).with_context(|| format!("node {node}"))?);
        Ok(())
    }

    /// Copies the folder of a node that was stopped. A node that was alone with its own folder
    /// compares everything with the stream when it is back.
    ///
    /// # Errors
    /// It cannot be copied.
    pub(crate) fn copy_folder(&self, node: usize) -> anyhow::Result<TempFolder> {
        let copy = TempFolder::new("alone")?;
        let copied = Command::new("cp").args(["-a", &data(&self.nodes[node].folder), &data(&copy)]).status();
        anyhow::ensure!(copied?.success(), "the folder of node {node} cannot be copied");
        Ok(copy)
    }

    /// Starts a gateway alone, with the copied folder of a node.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn launch_alone(alone: &Launch, folder: &TempFolder) -> anyhow::Result<RunningServer> {
        alone.with(&[("CLUSTER", "single"), ("DATA_DIR", &data(folder))]).start_within(JOIN)
    }

    /// Stops a node in order.
    pub(crate) fn stop(&mut self, node: usize) {
        self.nodes[node].server = None;
    }

    /// Kills a node.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn kill(&mut self, node: usize) -> anyhow::Result<()> {
        self.signal(node, Signal::KILL)?;
        self.stop(node);
        Ok(())
    }

    /// # Errors
    /// It does not run.
    pub(crate) fn signal(&self, node: usize, signal: Signal) -> anyhow::Result<()> {
        let server = self.nodes[node].server.as_ref().context("the node does not run")?;
        server.child.signal(signal)
    }

    /// Sets the state of the links of a node to all nats-servers.
    pub(crate) fn set_links(&self, node: usize, state: LinkState) {
        self.nodes[node].links.iter().for_each(|link| link.set(state));
    }

    /// Sets the state of all links of a nats-server: to the others, and from the nodes.
    pub(crate) fn set_server_links(&self, server: usize, state: LinkState) {
        self.nats.set_routes(server, state);
        self.nodes.iter().for_each(|node| node.links[server].set(state));
    }

    /// Waits until a node has a lease.
    ///
    /// # Errors
    /// It takes too long.
    pub(crate) async fn await_ready(&self, node: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + JOIN;
        while get(self.node(node).status, "/readyz").await.is_err() {
            anyhow::ensure!(Instant::now() < deadline, "node {node} has no lease");
            sleep(LOOK).await;
        }
        Ok(())
    }
}

impl Node {
    fn new(launch: &Launch, number: usize, nats: &Nats, options: ClusterOptions) -> anyhow::Result<Self> {
        let folder = TempFolder::new("node")?;
        let links = nats.addresses().map(Link::to).collect::<anyhow::Result<Vec<_>>>()?;
        let urls: Vec<_> = links.iter().map(|link| format!("nats://{}", link.address)).collect();
        let launch = launch.with(&[
            ("CLUSTER_NATS", &urls.join(",")),
            ("CLUSTER_NAME", NAME),
            ("CLUSTER_NODE", &format!("node-{number}")),
            ("CLUSTER_LEASE", &format!("{}s", options.lease)),
            ("CLUSTER_REPLICAS", &nats.len().to_string()),
            ("NODE_COOKIE", "a-cookie-of-the-benchmark-and-of-nothing-else"),
            ("DATA_DIR", &data(&folder)),
        ]);
        Ok(Self { server: None, links, launch, folder })
    }
}

fn data(folder: &TempFolder) -> String {
    folder.join("data").to_string_lossy().into_owned()
}
