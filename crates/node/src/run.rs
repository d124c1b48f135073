//! What a node does all the time, and how it shuts down.

use std::time::Duration;

use connection::Admission;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::node::Node;
use crate::revoke::terminate;
use crate::tasks::Tasks;

/// How often the node looks for tokens that have expired. Their connections are terminated that
/// much later at most, and a tick of the session room more.
const SWEEP: Duration = Duration::from_millis(100);

/// Under which name a node that shuts down restricts its admission.
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
        if let Some(lease) = self.lease() {
            tasks.spawn("lease", lease.clone().run());
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

    /// Tells load balancers to send no new clients. The node serves everybody until it is
    /// [shut down](Node::shut_down).
    pub fn announce_shutdown(&self) {
        self.set_admission(SHUTDOWN, Admission::Unready);
    }

    /// Refuses new connections and drains the open ones. Returns when all are closed; aborts those
    /// that are left at the deadline.
    pub async fn shut_down(&self, deadline: Instant) {
        self.set_admission(SHUTDOWN, Admission::ClosedForNew);
        self.hub().drain(deadline).await;
    }
}
