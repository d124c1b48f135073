//! The membership of the node in a cluster.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use cluster::definitions::DefinitionsStore;
use cluster::identity::NodeIdentity;
use cluster::nats::{NatsConfig, NatsEvents, NatsWire};
use cluster::{Joined, Member};
use metric::Registry;
use node::Cluster;
use seal::Incarnation;
use session::{Fencing, LostLease, NodeName};

use super::definitions::ClusterStore;
use crate::settings::ClusterSettings;

/// A node that is one of several.
pub(super) struct Membership {
    pub(super) node: NodeName,
    pub(super) life: Incarnation,
    pub(super) cluster: Cluster,
    /// What the lease guards.
    pub(super) fencing: Fencing,
    pub(super) joining: Joining,
    definitions: Arc<DefinitionsStore>,
}

/// Tells when the node may let clients in.
#[derive(Clone)]
pub(super) struct Joining {
    joined: Joined,
    policy: LostLease,
}

/// How long a node that goes on without a lease waits for its first one.
const OPEN_AFTER: Duration = Duration::from_secs(30);

impl Membership {
    /// Begins a new life of the node whose folder this is. NATS is connected in the background.
    ///
    /// # Errors
    /// Fails if the name of the node cannot be kept, or NATS cannot be used as configured.
    pub(super) async fn begin(
        settings: ClusterSettings,
        folder: &Path,
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        let ClusterSettings { nats, member: config, node, hold, .. } = settings;
        let identity = NodeIdentity::begin(folder, node.as_deref()).context("the node of the cluster")?;
        let nats = NatsConfig { node: identity.node.as_str().to_owned(), ..nats };
        let events = NatsEvents::open(&nats, identity.life).await.context("CLUSTER_NATS")?;
        let wire = NatsWire::open_beside(&events, &nats, identity.life).await.context("CLUSTER_NATS")?;
        tracing::info!(node = %identity.node, life = %identity.life, cluster = config.name, "joining a cluster");
        let member = Member::new(&config, &identity, Arc::new(wire), Arc::new(events), registry);
        let fencing = config.lost_lease.fencing(&member.cluster.lease.fence(), hold);
        Ok(Self {
            node: identity.node,
            life: identity.life,
            cluster: member.cluster,
            fencing,
            joining: Joining { joined: member.joined, policy: config.lost_lease },
            definitions: member.definitions,
        })
    }

    /// Returns the store of definitions that all nodes share. `folder` keeps a copy for when NATS
    /// cannot be reached.
    pub(super) fn store(&self, folder: &Path) -> ClusterStore {
        ClusterStore::new(self.definitions.clone(), folder)
    }
}

impl Joining {
    /// Waits until the node has had its first lease. A node that goes on without one waits for a
    /// while only.
    pub(super) async fn wait(&self) {
        if self.policy != LostLease::Open {
            return self.joined.wait().await;
        }
        if tokio::time::timeout(OPEN_AFTER, self.joined.wait()).await.is_err() {
            tracing::warn!(
                "no lease after {OPEN_AFTER:?}: clients are let in with the revocations that this node knows (CLUSTER_LOST_LEASE=open)"
            );
        }
    }
}
