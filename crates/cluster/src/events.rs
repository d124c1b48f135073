//! Events between nodes: core NATS, at most once, in the order of each publisher.
//!
//! Types of events come from clients, so a subject for each would be a table without bound in the
//! server. A type is hashed to one of [`BUCKETS`] subjects instead, and a node subscribes to those
//! for which it has subscriptions. An event that no other node wants then ends at the server.
//!
//! A message is a head of 18 bytes, the JSON of the event as it came, and an authentication code of
//! 16 bytes. The head: version (1), life of the publisher (9), number of the event among those of
//! its publisher and bucket (8, big-endian). A [`Note`](note::Note) may stand for events.
//!
//! A number is given when an event takes its position at its node, so both have one order, and
//! whatever becomes of the event on its way, the other nodes notice that its number is missing.
//! Before a node receives a bucket, it asks the others for the numbers that they have given in it:
//! so the first message of each has a number before it too.

mod arrivals;
mod heads;
mod kept;
mod message;
mod note;
mod outgoing;
mod receiving;
mod sending;

use std::collections::{HashMap, HashSet};
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use event::Event;
use futures_util::future::{BoxFuture, join_all};
use node::{Node, Offered, Reservation, Stamp};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use seal::Incarnation;
use siphasher::sip::SipHasher13;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep;

use crate::keys::{EventKey, Keys};
use arrivals::Arrivals;
use outgoing::{Outgoing, Queued};

metric::families! {
    /// What is counted of events between nodes.
    pub struct EventMetrics {
        /// Events that this node has sent to the other nodes
        sent: Counter = "rig_cluster_events_sent_total";
        /// Events that this node has received from the other nodes
        received: Counter = "rig_cluster_events_received_total";
        /// Events that did not reach this node, or that it could not send to the others
        lost: Counter = "rig_cluster_events_lost_total";
        /// Messages on the subjects of events that no node of this cluster has sent, or that cannot
        /// be read
        refused: Counter = "rig_cluster_events_refused_total";
    }
}

/// Number of subjects that the types of events are hashed to. Part of the protocol.
pub const BUCKETS: u16 = 4096;

/// Length of the head of a message.
pub const HEAD: usize = 1 + Incarnation::BYTES + 8;

/// Limit of events that are queued for the other nodes.
const QUEUED: usize = 16_384;

/// Limit of their bytes.
const QUEUED_BYTES: usize = 16 << 20;

/// The shortest time between two turns that are not full. Events of one turn leave in one write,
/// and wake the other nodes once.
const PACE: Duration = Duration::from_millis(1);

/// Carries events on the subjects of buckets.
pub trait EventWire: Send + Sync + 'static {
    /// Sends a message to all other nodes that are subscribed to the bucket. Resolves when it is
    /// queued for the connection; it may be lost after that. `false` if it certainly is not sent.
    fn publish(&self, bucket: u16, message: Bytes) -> BoxFuture<'_, bool>;

    /// Subscribes to buckets. Resolves when the server knows.
    fn subscribe(&self, buckets: Vec<u16>) -> BoxFuture<'_, ()>;

    /// Removes subscriptions to buckets. Those that are made afterwards stay.
    fn unsubscribe(&self, buckets: Vec<u16>);

    /// Returns the next message of a bucket. Never returns if there is none.
    fn next(&self) -> BoxFuture<'_, (u16, Bytes)>;

    /// Returns whether what is published now is sent.
    fn is_open(&self) -> bool;

    /// Returns how many connections there were, with the present one. What was published over an
    /// earlier one may be lost.
    fn connections(&self) -> u64;

    /// Resolves when the server has received what was published before over the present connection;
    /// `false` if that is not known.
    fn flush(&self) -> BoxFuture<'_, bool>;

    /// Returns a number that changes whenever messages may have been lost on their way to this node
    /// although nothing follows that shows it: there is another connection.
    fn interruptions(&self) -> watch::Receiver<u64>;

    /// Returns the size limit of a message in bytes.
    fn max_message(&self) -> usize;
}

/// Which events a node receives from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventInterest {
    /// Those of the buckets for which it has subscriptions.
    #[default]
    Subscribed,
    /// All.
    All,
    /// None, and it sends none.
    Off,
}

/// Sends the events of this node to the others, and receives theirs.
pub struct Events {
    wire: Arc<dyn EventWire>,
    keys: Arc<Keys>,
    cluster: Arc<str>,
    life: Incarnation,
    interest: EventInterest,
    outgoing: Arc<Outgoing>,
    queued: Mutex<Option<mpsc::Receiver<Queued>>>,
    /// Buckets whose heads other nodes have asked for.
    asked: Mutex<HashSet<u16>>,
    heads_asked: Notify,
    /// Whether anything is queued that must not be lost with a connection.
    keeps: AtomicBool,
    /// How many of the queued events are to be confirmed.
    wanted_flush: watch::Sender<u64>,
    /// How many of them the server has received, or are lost and counted.
    confirmed: watch::Sender<u64>,
    arrivals: Arc<Arrivals>,
    /// The key of the events that this life sends.
    key: EventKey,
    publishers: Mutex<HashMap<Incarnation, EventKey>>,
    metrics: EventMetrics,
}

/// Returns the bucket of a type.
pub fn bucket_of(event_type: &str) -> u16 {
    let mut hasher = SipHasher13::new();
    hasher.write(event_type.as_bytes());
    (hasher.finish() % u64::from(BUCKETS)) as u16
}

impl Events {
    /// Returns the events of a node. Nothing is sent before [`Events::run`].
    pub fn new(
        wire: Arc<dyn EventWire>,
        keys: Arc<Keys>,
        cluster: &str,
        life: Incarnation,
        interest: EventInterest,
        metrics: EventMetrics,
    ) -> Self {
        let (outgoing, queued) = Outgoing::new(life, QUEUED, QUEUED_BYTES);
        let is_selective = interest == EventInterest::Subscribed;
        Self {
            arrivals: Arc::new(Arrivals::new(wire.clone(), is_selective)),
            wire,
            key: keys.event_key(cluster, life),
            publishers: Mutex::default(),
            keys,
            cluster: cluster.into(),
            life,
            interest,
            outgoing: Arc::new(outgoing),
            queued: Mutex::new(Some(queued)),
            asked: Mutex::default(),
            heads_asked: Notify::new(),
            keeps: AtomicBool::new(false),
            wanted_flush: watch::Sender::new(0),
            confirmed: watch::Sender::new(0),
            metrics,
        }
    }

    /// Queues an event of this node for the others, and returns its stamp. Without room, the others
    /// miss it, and notice that. Never blocks.
    pub fn offer(&self, event: &Event) -> Offered {
        if self.interest == EventInterest::Off {
            return Offered::Taken(None);
        }
        let (is_taken, stamp) = self.outgoing.offer(event);
        if is_taken {
            return Offered::Taken(Some(stamp));
        }
        // Its note is due soon, whether or not something follows in the bucket.
        self.asked.lock().insert(stamp.bucket);
        self.metrics.lost.inc();
        Offered::Full(Some(stamp))
    }

    /// Waits until there is a connection and the queue to the other nodes is at most half full.
    /// Returns a place in it for an event of this node. It is sent again over the next connection
    /// if it may be lost with this one.
    pub async fn reserve(&self, event: &Event) -> Reservation {
        if self.interest == EventInterest::Off {
            return Box::new(|| None);
        }
        self.keeps.store(true, Ordering::Relaxed);
        loop {
            while !self.outgoing.is_half_empty() || !self.wire.is_open() {
                sleep(PACE).await;
            }
            if let Some(place) = self.outgoing.reserve(event) {
                return Box::new(move || Some(place.take()));
            }
        }
    }

    /// Returns the stamps that this life has given last in these buckets.
    pub fn own_stamps(&self, buckets: &[u16]) -> Vec<Stamp> {
        if self.interest == EventInterest::Off { Vec::new() } else { self.outgoing.last(buckets) }
    }

    /// Sends the heads of these buckets to the other nodes soon.
    pub fn send_heads(&self, buckets: impl IntoIterator<Item = u16>) {
        self.asked.lock().extend(buckets.into_iter().filter(|bucket| *bucket < BUCKETS));
        self.heads_asked.notify_one();
    }

    /// Resolves when the server has received what was queued before, or it is lost and counted.
    pub async fn flushed(&self) {
        if self.interest == EventInterest::Off {
            return;
        }
        let offered = self.outgoing.offered();
        self.wanted_flush.send_if_modified(|wanted| {
            let is_more = *wanted < offered;
            *wanted = offered.max(*wanted);
            is_more
        });
        // The sender lives as long as this.
        let _ = self.confirmed.subscribe().wait_for(|confirmed| *confirmed >= offered).await;
    }

    /// Makes sure that events of these types come from other nodes from now on, or that their loss
    /// is noticed.
    pub async fn want(&self, types: impl IntoIterator<Item = &str>) {
        if self.interest != EventInterest::Off {
            let buckets = types.into_iter().map(bucket_of).collect();
            join_all(self.arrivals.ask_for(buckets)).await;
        }
    }

    /// Returns the size limit of an event in bytes.
    pub fn max_event(&self) -> usize {
        self.wire.max_message().saturating_sub(4 << 10)
    }

    /// Sends and receives. Never returns.
    pub async fn run(self: Arc<Self>, node: Node) {
        if self.interest == EventInterest::Off {
            return std::future::pending().await;
        }
        if self.interest == EventInterest::All {
            self.wire.subscribe((0..BUCKETS).collect()).await;
        }
        // It is set once, since the node runs once.
        let _ = self.arrivals.node.set(node.clone());
        let queued = self.queued.lock().take();
        tokio::join!(self.send(queued), self.receive(&node), self.find_lost(&node), self.sweep(&node));
    }
}

#[cfg(test)]
mod tests;
