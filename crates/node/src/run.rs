//! The background tasks of a node, and its shutdown.

use std::time::Duration;

use connection::Admission;
use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::node::Node;
use crate::revoke::terminate;
use crate::tasks::Tasks;

/// Interval of the search for expired tokens. Their connections are terminated at most this long
/// after the expiry, plus a tick of the session room.
const SWEEP: Duration = Duration::from_millis(100);

/// The holder's name for restricting admission during a shutdown.
const SHUTDOWN: &str = "shutdown";

impl Node {
    /// Spawns the node's background tasks. None of them ever returns.
    pub fn spawn(&self, tasks: &mut Tasks) {
        let node = self.clone();
        tasks.spawn("connections", async move { node.hub().run().await });
        let node = self.clone();
        tasks.spawn("expiry of tokens", async move { node.terminate_expired().await });
        if let Some(bus) = self.bus() {
            tasks.spawn("bus", bus.clone().run(self.clone()));
        }
        if let Some(peers) = self.peers() {
            tasks.spawn("peers", peers.clone().run(self.clone()));
        }
        if let Some(lease) = self.lease() {
            tasks.spawn("lease", lease.clone().run());
        }
        for source in self.sources() {
            tasks.spawn(source.name(), source.clone().run(self.clone()));
        }
    }

    /// Terminates connections when their tokens expire. Never returns.
    async fn terminate_expired(&self) {
        let mut ticks = interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for kill in self.sessions().sweep() {
                terminate(kill).await;
            }
        }
    }

    /// Makes the node not ready, so that load balancers send no new clients. It still serves all
    /// clients until it is [shut down](Node::shut_down).
    pub fn announce_shutdown(&self) {
        self.set_admission(SHUTDOWN, Admission::Unready);
    }

    /// Receives no more events of its sources, and publishes those that were received, at most for
    /// this time.
    pub async fn leave_sources(&self, within: Duration) {
        join_all(self.sources().iter().map(|source| source.leave(within))).await;
    }

    /// Refuses new connections and drains the open ones. Returns when all are closed. Aborts those
    /// that are still open at the deadline.
    pub async fn shut_down(&self, deadline: Instant) {
        self.set_admission(SHUTDOWN, Admission::ClosedForNew);
        self.hub().drain(deadline).await;
    }

    /// Tells the other nodes that this one leaves. All connections and requests of clients must be
    /// closed: revocations do not wait for this node any more.
    pub async fn leave(&self) {
        if let Some(bus) = self.bus() {
            bus.leave().await;
        }
    }
}
