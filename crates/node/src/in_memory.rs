//! Several nodes in one process: a bus and a lease in memory, for tests.
//!
//! The network fulfils the contracts of [`Bus`] and [`Lease`], and lets tests disturb it within
//! them: a node can be [cut off](Network::cut), and messages to it can be held back and [let
//! through](Network::let_through) one by one, so that a test controls how they interleave.

mod bus;
mod peers;
mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use event::Event;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use seal::Incarnation;
use session::{Fence, NodeName, Operation, Place, Receipt, RevocationId};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::lease::Lease;
use crate::node::Cluster;
use bus::MemoryBus;
use stream::MemoryStream;

/// Connects nodes. Clones are the same network.
#[derive(Clone)]
pub struct Network(Arc<Wiring>);

struct Wiring {
    traffic: Mutex<Traffic>,
    /// Notified when something changes that a bus or a test may wait for.
    changed: Notify,
    began: Instant,
}

#[derive(Default)]
struct Traffic {
    inboxes: BTreeMap<NodeName, Inbox>,
    stream: MemoryStream,
    /// Number of events that were offered.
    offered: usize,
    /// The lives that answer requests.
    lives: BTreeMap<[u8; Incarnation::BYTES], peers::Reachable>,
}

/// The messages to a node.
struct Inbox {
    queue: VecDeque<Message>,
    fence: Fence,
    /// The last operation of the stream that the node has applied.
    applied: u64,
    /// Whether a message was taken from the queue and is being handled.
    busy: bool,
    cut: bool,
    /// How many more messages are let through; `None` for all.
    budget: Option<usize>,
}

enum Message {
    Event(Event),
    Operation { number: u64, place: Place, from: NodeName, operation: Operation },
    Acknowledgement { number: u64, from: NodeName, id: RevocationId, receipt: Option<Receipt> },
}

impl Default for Network {
    fn default() -> Self {
        let traffic = Mutex::default();
        Self(Arc::new(Wiring { traffic, changed: Notify::new(), began: Instant::now() }))
    }
}

impl Network {
    /// Adds a node of this name, with a lease of this duration. It gets the whole stream before its
    /// first lease.
    pub fn join(&self, name: &NodeName, lease: Duration) -> Cluster {
        let began = self.0.began;
        let fence = Fence::with_clock(move || began.elapsed());
        self.0.traffic.lock().join(name, Inbox::new(fence.clone()));
        let (network, name) = (self.clone(), name.clone());
        let lease = MemoryLease { network: network.clone(), name: name.clone(), fence, duration: lease };
        Cluster { bus: Arc::new(MemoryBus { network, name }), lease: Arc::new(lease), peers: None }
    }

    /// Cuts a node off: operations for it and by it are queued, events for it are lost, and its
    /// lease is not renewed.
    pub fn cut(&self, name: &NodeName) {
        self.change(name, |inbox| inbox.cut = true);
    }

    /// Connects a node again.
    pub fn connect(&self, name: &NodeName) {
        self.change(name, |inbox| inbox.cut = false);
        self.0.traffic.lock().store_queued(name);
        self.0.changed.notify_waiters();
    }

    /// Holds back the messages for a node.
    pub fn hold(&self, name: &NodeName) {
        self.change(name, |inbox| inbox.budget = Some(0));
    }

    /// Lets the next `messages` for a node through; `None` for all, from now on.
    pub fn let_through(&self, name: &NodeName, messages: Option<usize>) {
        self.change(name, |inbox| inbox.budget = messages);
    }

    /// Waits until every message that was let through is handled.
    pub async fn settle(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.0.traffic.lock().inboxes.values().all(Inbox::is_settled) {
                return;
            }
            changed.await;
        }
    }

    /// Waits until the nodes have announced this many operations.
    pub async fn announced(&self, operations: usize) {
        loop {
            let changed = self.0.changed.notified();
            if self.0.traffic.lock().announced() >= operations {
                return;
            }
            changed.await;
        }
    }

    /// Returns how many events the nodes have offered to each other.
    pub fn offered(&self) -> usize {
        self.0.traffic.lock().offered
    }

    fn is_cut(&self, name: &NodeName) -> bool {
        self.0.traffic.lock().inboxes.get(name).is_none_or(|inbox| inbox.cut)
    }

    fn change(&self, name: &NodeName, change: impl FnOnce(&mut Inbox)) {
        if let Some(inbox) = self.0.traffic.lock().inboxes.get_mut(name) {
            change(inbox);
        }
        self.0.changed.notify_waiters();
    }

    /// Takes the next message for a node, which has handled the previous one.
    async fn next(&self, name: &NodeName) -> Message {
        self.change(name, |inbox| inbox.busy = false);
        loop {
            let changed = self.0.changed.notified();
            if let Some(message) = self.0.traffic.lock().inboxes.get_mut(name).and_then(Inbox::take) {
                return message;
            }
            changed.await;
        }
    }
}

impl Inbox {
    fn new(fence: Fence) -> Self {
        Self { queue: VecDeque::new(), fence, applied: 0, busy: false, cut: false, budget: None }
    }

    fn is_settled(&self) -> bool {
        !self.busy && (self.queue.is_empty() || self.cut || self.budget == Some(0))
    }

    fn take(&mut self) -> Option<Message> {
        if self.is_settled() {
            return None;
        }
        if let Some(budget) = &mut self.budget {
            *budget -= 1;
        }
        self.busy = true;
        self.queue.pop_front()
    }
}

struct MemoryLease {
    network: Network,
    name: NodeName,
    fence: Fence,
    duration: Duration,
}

impl Lease for MemoryLease {
    fn fence(&self) -> Fence {
        self.fence.clone()
    }

    fn run(self: Arc<Self>) -> BoxFuture<'static, ()> {
        async move {
            let mut ticks = interval(self.duration / 3);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // Read before the check that the node has applied everything, so that the lease
                // does not outlast what the check covers.
                let asked = self.network.0.began.elapsed();
                let traffic = self.network.0.traffic.lock();
                if traffic.inboxes.get(&self.name).is_some_and(|inbox| !inbox.cut && inbox.knows_everything())
                {
                    self.fence.extend(asked + self.duration);
                }
            }
        }
        .boxed()
    }
}

impl Inbox {
    fn knows_everything(&self) -> bool {
        !self.busy && !self.queue.iter().any(|message| matches!(message, Message::Operation { .. }))
    }
}
