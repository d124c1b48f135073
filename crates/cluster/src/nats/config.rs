//! The connections of a node to NATS.

use std::time::Duration;

use ::nats::{AccessError, NatsAccess, pause};
use async_nats::ConnectOptions;

use crate::wire::Names;

/// How often the server is asked for a sign of life. The library closes the connection when two are
/// unanswered and the next is due.
const PING: Duration = Duration::from_secs(1);

/// Limit of the pause between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(500);

/// Where NATS is, and which node of which cluster this is.
#[derive(Clone)]
pub struct NatsConfig {
    /// Where NATS is.
    pub access: NatsAccess,
    /// The name of the cluster: one token of a subject.
    pub cluster: String,
    /// The name of this node: one token of a subject.
    pub node: String,
    /// How many servers have to store the stream.
    pub replicas: usize,
}

impl NatsConfig {
    /// Returns the names of the cluster.
    pub fn names(&self) -> Names {
        Names::new(&self.cluster)
    }

    /// Returns the options of a connection.
    pub(super) async fn options(&self, purpose: &str) -> Result<ConnectOptions, AccessError> {
        let options = self.access.options().await?;
        Ok(options
            .name(format!("rig {} {} {purpose}", self.cluster, self.node))
            .custom_inbox_prefix(self.names().inbox(&self.node))
            .ping_interval(PING)
            .request_timeout(None)
            .retain_servers_order()
            .reconnect_delay_callback(|attempts| pause(attempts, PAUSE)))
    }
}
