//! A cluster of real processes: gateways, nats-servers, and a [`Link`] in each way between them.

mod link;
mod nats;
mod node;

use std::process::{Command, Output};

pub use link::{Direction, Link, LinkState};
pub use nats::Nats;
pub use node::Node;

use crate::client::{Request, Response};
use crate::gateway::Gateway;
use crate::wire::eventually;

/// The name of the cluster, and with it of the stream.
const NAME: &str = "test";

/// The secret that the nodes share.
const COOKIE: &str = "a-test-cookie-of-thirty-two-bytes";

/// How a cluster is started.
#[derive(Clone, Copy)]
pub struct ClusterOptions<'a> {
    /// The number of nats-servers: 1, or 3 with a copy of the stream each.
    pub servers: usize,
    /// `CLUSTER_LEASE`.
    pub lease: &'a str,
    /// Further settings of all gateways.
    pub settings: &'a [(&'a str, &'a str)],
}

impl Default for ClusterOptions<'_> {
    fn default() -> Self {
        Self { servers: 1, lease: "15s", settings: &[] }
    }
}

/// Three gateways named `a`, `b` and `c`, and their nats-servers.
pub struct Cluster {
    // Stopped before the servers.
    nodes: Vec<Node>,
    /// The nats-servers.
    pub nats: Nats,
}

impl Cluster {
    /// Starts a cluster and waits until all of its nodes have a lease.
    ///
    /// # Panics
    /// Panics if that takes too long.
    pub fn start(options: ClusterOptions<'_>) -> Self {
        let mut cluster = Self::prepare(options);
        for node in 0..cluster.nodes.len() {
            cluster.launch(node);
        }
        cluster.await_ready();
        cluster
    }

    /// Starts the nats-servers and makes the stream.
    ///
    /// # Panics
    /// Panics if that takes too long.
    pub fn prepare(options: ClusterOptions<'_>) -> Self {
        let nats = Nats::start(options.servers);
        let nodes = ["a", "b", "c"].map(|name| Node::new(name, &nats, options)).into();
        let cluster = Self { nodes, nats };
        cluster.init(&[]);
        cluster
    }

    /// Makes the stream; `arguments` follow `rig cluster init`.
    ///
    /// # Panics
    /// Panics if the servers do not store it in time.
    pub fn init(&self, arguments: &[&str]) {
        // The servers may still elect their leader.
        eventually("rig cluster init", || {
            let output = self.command(&[&["init"], arguments].concat());
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_ne!(output.status.code(), Some(2), "{error}");
            output.status.success().then_some(())
        });
    }

    /// Runs `rig cluster` with these arguments.
    ///
    /// # Panics
    /// Panics if there is no binary.
    pub fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(Gateway::binary());
        command.env_clear().arg("cluster").args(arguments);
        let replicas = self.nats.len().to_string();
        command.envs([
            ("CLUSTER_NATS", self.nats.urls().as_str()),
            ("CLUSTER_NAME", NAME),
            ("CLUSTER_REPLICAS", &replicas),
            ("NODE_COOKIE", COOKIE),
        ]);
        command.output().expect("the binary is there")
    }

    /// Returns the name of the stream.
    pub fn stream(&self) -> String {
        format!("RIG_{NAME}")
    }

    /// Returns a node.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Returns the gateway of a node.
    ///
    /// # Panics
    /// Panics if it is not running.
    pub fn gateway(&self, index: usize) -> &Gateway {
        self.nodes[index].gateway().expect("the node runs")
    }

    /// Starts a node and does not wait for it. An earlier process of it is killed.
    pub fn launch(&mut self, index: usize) {
        self.nodes[index].launch();
    }

    /// Gives a node a setting, from its next launch on.
    pub fn set(&mut self, index: usize, name: &str, value: &str) {
        self.nodes[index].set(name, value);
    }

    /// Kills a node.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index].kill();
    }

    /// Stops a node in order.
    ///
    /// # Panics
    /// Panics if it does not exit.
    pub fn stop(&mut self, index: usize) {
        self.nodes[index].stop();
    }

    /// Returns the last lines of the log of a node that has exited without being asked to.
    pub fn exited(&mut self, index: usize) -> Option<String> {
        self.nodes[index].exited()
    }

    /// Sets the state of all links of a node.
    pub fn set_links(&self, node: usize, state: LinkState) {
        self.nodes[node].set_links(state);
    }

    /// Sets the state of all links of a nats-server: to the others, and from the nodes.
    pub fn set_server_links(&self, server: usize, state: LinkState) {
        self.nats.set_routes(server, state);
        self.nodes.iter().for_each(|node| node.set_link(server, state));
    }

    /// Opens all links.
    pub fn heal_links(&self) {
        for server in 0..self.nats.len() {
            self.set_server_links(server, LinkState::Open);
        }
    }

    /// Returns `true` if this node has a lease and accepts clients.
    pub fn is_ready(&self, node: usize) -> bool {
        self.nodes[node].is_ready()
    }

    /// Waits until all nodes have a lease and accept clients.
    ///
    /// # Panics
    /// Panics if that takes too long.
    pub fn await_ready(&mut self) {
        for node in &mut self.nodes {
            node.await_ready();
        }
    }

    /// Waits until these nodes have a lease and accept clients.
    ///
    /// # Panics
    /// Panics if that takes too long.
    pub fn await_ready_of(&mut self, nodes: &[usize]) {
        nodes.iter().for_each(|node| self.nodes[*node].await_ready());
    }

    /// Revokes a session for two hours at a node; the answer waits for the cluster.
    pub fn revoke(&self, node: usize, session: &str) -> Response {
        let body = serde_json::json!({ "id": session, "session": session, "validityInSeconds": 7200 });
        self.gateway(node).ask_internal(&Request::post_json("/v4/revocations", body.to_string()))
    }
}
