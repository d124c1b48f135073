//! The port [`node::Bus`] over the protocol.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use event::Event;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use node::{Bus, IdTaken, Lease, NoQuorum, Node, NodeReach, Offered, Reach, Reservation, Spread, Stamp};
use parking_lot::Mutex;
use session::{Fence, Operation, Revocation, RevocationId, SharedState};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::core::{Confirmation, Outcome, Progress};
use crate::driver::{Command, Driver, Parts, Shown};
use crate::events::{Events, bucket_of};

/// How long a lift that is stored may take to come back.
const LIFT: Duration = Duration::from_secs(5);

/// How long the last beat of a node may take to be stored.
const LEAVE: Duration = Duration::from_secs(2);

/// Returns what the driver of a node needs.
pub(crate) type Start = Box<dyn FnOnce(Node) -> Parts + Send>;

/// The bus of a node of a cluster.
pub(crate) struct ClusterBus {
    pub(crate) events: Arc<Events>,
    pub(crate) shown: Arc<Shown>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) fence: Fence,
    pub(crate) node: OnceLock<Node>,
    /// What the driver needs but the node, until it runs.
    pub(crate) start: Mutex<Option<Start>>,
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

    fn reserve<'b>(&'b self, event: &'b Event) -> BoxFuture<'b, Reservation> {
        self.events.reserve(event).boxed()
    }

    fn bucket_of(&self, event_type: &str) -> Option<u16> {
        Some(bucket_of(event_type))
    }

    fn own_stamps(&self, buckets: &[u16]) -> Vec<Stamp> {
        self.events.own_stamps(buckets)
    }

    fn send_heads(&self, buckets: Vec<u16>) {
        self.events.send_heads(buckets);
    }

    fn flushed(&self) -> BoxFuture<'_, ()> {
        self.events.flushed().boxed()
    }

    fn want<'b>(&'b self, types: Vec<&'b str>) -> BoxFuture<'b, ()> {
        self.events.want(types).boxed()
    }

    fn max_event(&self) -> usize {
        self.events.max_event()
    }

    fn announce(&self, revocation: Revocation) -> BoxFuture<'static, Result<Spread, IdTaken>> {
        let id = revocation.id.clone();
        let mut progress = self.begin(id, Command::Announce(Operation::Revoke(revocation)));
        let fence = self.fence.clone();
        async move {
            let last = progress.wait_for(Progress::is_final).await.map(|progress| progress.clone());
            match last {
                Ok(progress) if progress.outcome == Outcome::Conflict => Err(IdTaken),
                Ok(progress) => Ok(spread_of(&progress, &fence)),
                // A later operation on the same id has taken its place.
                Err(_) => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn spread(&self, id: &RevocationId) -> Option<Spread> {
        self.shown.progress(id).map(|progress| spread_of(&progress, &self.fence))
    }

    fn lift(
        &self,
        id: RevocationId,
        by: Option<String>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Option<Spread>, NoQuorum>> {
        let (shown, commands, fence) = (self.shown.clone(), self.commands.clone(), self.fence.clone());
        let node = self.node.get().cloned();
        async move {
            // Before the node runs, nothing is in the stream.
            let node = node.ok_or(NoQuorum { may_follow: false })?;
            let deadline = Instant::now() + within;
            let state = node.state(id.clone()).await.map_err(|error| {
                tracing::error!(%error, "a revocation that is to be lifted cannot be read");
                NoQuorum { may_follow: false }
            })?;
            if !matches!(state, Some(SharedState { operation: Operation::Revoke(_), .. })) {
                return Ok(None);
            }
            let mut progress = shown.begin(id.clone(), Progress::default());
            // The driver has stopped with the process if it does not listen.
            let _ = commands.send(Command::Announce(Operation::Lift { id, by }));
            let seen = progress.wait_for(|progress| progress.seen || progress.is_final());
            let _ = timeout(LIFT, seen).await;
            // The core gives it up in time, whether or not somebody waits for it. If another
            // operation on the id has taken its place meanwhile, its outcome is not known.
            let decided = progress.wait_for(|progress| progress.outcome != Outcome::Queued).await;
            match decided.map(|progress| progress.outcome) {
                Ok(Outcome::GivenUp { may_be_stored }) => return Err(NoQuorum { may_follow: may_be_stored }),
                Ok(_) => {}
                Err(_) => return Err(NoQuorum { may_follow: true }),
            }
            let complete = progress.wait_for(Progress::is_final);
            let _ = timeout_at(deadline, complete).await;
            let last = progress.borrow().clone();
            Ok(Some(spread_of(&last, &fence)))
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
            // It is set once, since there is one start.
            let _ = self.node.set(node.clone());
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

fn spread_of(progress: &Progress, fence: &Fence) -> Spread {
    let reach = match progress.outcome {
        Outcome::Queued | Outcome::Conflict | Outcome::GivenUp { .. } => Reach::Queued,
        Outcome::Pending => Reach::Pending,
        Outcome::Complete => Reach::Complete,
    };
    let nodes = progress.nodes.iter().map(|(node, confirmation)| {
        let reach = match confirmation {
            Confirmation::Applied(receipt) => NodeReach::Applied(*receipt),
            Confirmation::Expired(since) => {
                NodeReach::Expired(SystemTime::now() - fence.now().saturating_sub(*since))
            }
            Confirmation::Gone => NodeReach::Gone,
            Confirmation::Unconfirmed(policy) => NodeReach::Unconfirmed(*policy),
        };
        (node.clone(), reach)
    });
    Spread { reach, nodes: nodes.collect() }
}
