//! How far a revocation has got in a cluster.

use std::collections::BTreeMap;
use std::time::SystemTime;

use session::{LostLease, NodeName, Receipt, Record};

/// How far a revocation, or a lift, has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The summary.
    pub reach: Reach,
    /// What is known of each node but this one. Empty while it is not known which nodes there are.
    pub nodes: BTreeMap<NodeName, NodeReach>,
}

/// How far a revocation has got, in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// No node sends anything to the sessions that it selects: each has applied it, or cannot have
    /// a lease.
    Complete,
    /// It is in the stream, so every node will apply it. Some have not confirmed that.
    Pending,
    /// It is not in the stream yet. Nodes that can be reached directly have applied it.
    Queued,
}

/// How far a revocation has got at one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeReach {
    /// The node has applied it. `None` if it has not said what that did.
    Applied(Option<Receipt>),
    /// The node has not applied it, but has had no lease since this time at the latest, so it sends
    /// nothing to any session.
    Expired(SystemTime),
    /// The process of the node has exited, or has closed all connections and left.
    Gone,
    /// The node may still send payload. What it does when its lease expires is its own policy.
    Unconfirmed(LostLease),
}

impl Reach {
    /// Returns the name of the reach in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Pending => "pending",
            Self::Queued => "queued",
        }
    }
}

impl Spread {
    /// Returns a spread that has not begun.
    pub fn queued() -> Self {
        Self { reach: Reach::Queued, nodes: BTreeMap::new() }
    }

    /// Adds the receipts of the other nodes to a record.
    pub(crate) fn add_receipts(&self, record: &mut Record) {
        for (node, reach) in &self.nodes {
            if let NodeReach::Applied(Some(receipt)) = reach {
                record.receipts.insert(node.clone(), *receipt);
            }
        }
    }
}
