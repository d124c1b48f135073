//! The port [`node::Bus`] over the protocol.

use std::sync::Arc;

use event::Event;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use node::{Bus, Lease, Node, NodeReach, NotShared, Offered, Reach, Spread};
use parking_lot::Mutex;
use session::{Fence, Operation, Revocation, RevocationId};
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, timeout};

use crate::core::{Confirmation, Outcome, Progress};
use crate::driver::{Command, Driver, Parts, Shown};
use crate::events::Events;

/// How long a lift may take to be stored.
const LIFT: Duration = Duration::from_secs(5);

/// How long the last beat of a node may take to be stored.
const LEAVE: Duration = Duration::from_secs(2);

/// The bus of a node of a cluster.
pub(crate) struct ClusterBus {
    pub(crate) events: Arc<Events>,
    pub(crate) shown: Arc<Shown>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    /// What the driver needs but the node, until it runs.
    pub(crate) start: Mutex<Option<Box<dyn FnOnce(Node) -> Parts + Send>>>,
}

/// The lease of a node of a cluster. The driver extends its fence.
pub(crate) struct ClusterLease(pub(crate) Fence);

impl ClusterBus {
    /// Has the driver publish an operation; returns its progress.
    fn begin(&self, id: RevocationId, command: Command) -> watch::Receiver<Progress> {
        let progress = self.shown.begin(id, Progress::default());
        // The driver has stopped with the process if it does not listen.
        let _ = self.commands.send(command);
        progress
    }
}

impl Bus for ClusterBus {
    fn offer(&self, event: &Event) -> Offered {
        self.events.offer(event)
    }

    fn want<'b>(&'b self, types: Vec<&'b str>) -> BoxFuture<'b, ()> {
        self.events.want(types).boxed()
    }

    fn max_event(&self) -> Option<usize> {
        Some(self.events.max_event())
    }

    fn announce(&self, revocation: Revocation) -> BoxFuture<'static, Result<Spread, NotShared>> {
        let id = revocation.id.clone();
        let mut progress = self.begin(id, Command::Announce(Operation::Revoke(revocation)));
        async move {
            let last = progress.wait_for(Progress::is_final).await.map(|progress| progress.clone());
            match last {
                Ok(progress) if progress.outcome == Outcome::Conflict => Err(NotShared::Conflict),
                Ok(progress) => Ok(spread_of(&progress)),
                // A later operation on the same id has taken its place.
                Err(_) => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn spread(&self, id: &RevocationId) -> Option<Spread> {
        self.shown.progress(id).as_ref().map(spread_of)
    }

    fn lift(&self, id: RevocationId, by: Option<String>) -> BoxFuture<'static, Result<(), NotShared>> {
        let command = Command::Lift(Operation::Lift { id: id.clone(), by });
        let mut progress = self.begin(id, command);
        async move {
            let seen = progress.wait_for(|progress| progress.seen);
            match timeout(LIFT, seen).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) | Err(_) => Err(NotShared::NoQuorum),
            }
        }
        .boxed()
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        async move {
            let _ = self.commands.send(Command::Leave);
            if timeout(LEAVE, self.shown.left()).await.is_err() {
                tracing::warn!(
                    "the last beat was not stored: revocations wait until the lease of this node has expired"
                );
            }
        }
        .boxed()
    }

    fn run(self: Arc<Self>, node: Node) -> BoxFuture<'static, ()> {
        async move {
            let Some(start) = self.start.lock().take() else { return };
            let driver = Driver::new(start(node.clone()));
            tokio::select! {
                fatal = driver.run() => tracing::error!("{fatal}"),
                () = self.events.clone().run(node) => {}
            }
        }
        .boxed()
    }
}

impl Lease for ClusterLease {
    fn fence(&self) -> Fence {
        self.0.clone()
    }

    fn run(self: Arc<Self>) -> BoxFuture<'static, ()> {
        std::future::pending().boxed()
    }
}

fn spread_of(progress: &Progress) -> Spread {
    let reach = match progress.outcome {
        Outcome::Queued | Outcome::Conflict => Reach::Queued,
        Outcome::Pending => Reach::Pending,
        Outcome::Complete => Reach::Complete,
    };
    let nodes = progress.nodes.iter().map(|(node, confirmation)| {
        let reach = match confirmation {
            Confirmation::Applied(receipt) => NodeReach::Applied(*receipt),
            Confirmation::Expired => NodeReach::Expired,
            Confirmation::Gone => NodeReach::Gone,
            Confirmation::Unconfirmed(policy) => {
                NodeReach::Unconfirmed { policy: crate::policy::policy_name(*policy) }
            }
        };
        (node.clone(), reach)
    });
    Spread { reach, nodes: nodes.collect() }
}
