//! Events between nodes: core NATS, at most once, in the order of each publisher.
//!
//! Types of events come from clients, so a subject for each would be a table without bound in the
//! server. A type is hashed to one of [`BUCKETS`] subjects instead, and a node subscribes to those
//! for which it has subscriptions. An event that no other node wants then ends at the server.
//!
//! A message is a head of 18 bytes, the JSON of the event as it came, and an authentication code of
//! 16 bytes. The head: version (1), life of the publisher (9), number of the event among those of
//! its publisher and bucket (8, big-endian).

mod kept;

use std::collections::{HashMap, HashSet};
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use event::{Event, ExtensionNames};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, join_all};
use node::{EventOrigin, Node, Offered};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use seal::Incarnation;
use siphasher::sip::SipHasher13;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use crate::keys::{EVENT_MAC, EventKey, Keys};
use kept::Kept;

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

const VERSION: u8 = 1;

/// Limit of events that are queued for the other nodes.
const QUEUED: usize = 16_384;

/// Limit of their bytes.
const QUEUED_BYTES: usize = 16 << 20;

/// Limit of events that are sent in one turn.
const TURN: usize = 64;

/// The shortest time between two turns that are not full. Events of one turn leave in one write,
/// and wake the other nodes once.
const PACE: Duration = Duration::from_millis(1);

/// How long a node stays subscribed to a bucket without subscriptions.
const LINGER: Duration = Duration::from_secs(60);

/// How often subscriptions to buckets are compared with those of clients.
const SWEEP: Duration = Duration::from_secs(20);

/// Limit of publishers and buckets whose numbers are kept. A number that was forgotten is not
/// checked once.
const NUMBERS: usize = 1 << 18;

/// Limit of publishers whose keys are kept. A key that was forgotten is derived again.
const PUBLISHERS: usize = 1 << 10;

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
    queue: mpsc::Sender<Event>,
    queued: Mutex<Option<mpsc::Receiver<Event>>>,
    queued_bytes: AtomicUsize,
    /// How many events were queued since this life began.
    offered: Mutex<u64>,
    /// Whether anything is queued that must not be lost with a connection.
    keeps: AtomicBool,
    /// How many of the queued events are to be confirmed.
    wanted_flush: watch::Sender<u64>,
    /// How many of them the server has received, or are lost and counted.
    confirmed: watch::Sender<u64>,
    wanted: Mutex<HashMap<u16, Wanted>>,
    numbers: Mutex<Numbers>,
    /// The key of the events that this life sends.
    key: EventKey,
    publishers: Mutex<HashMap<Incarnation, EventKey>>,
    metrics: EventMetrics,
}

/// A bucket that this node is subscribed to.
struct Wanted {
    /// When it was asked for last.
    asked: Instant,
    /// Resolves when the server knows.
    subscribed: Shared<BoxFuture<'static, ()>>,
}

/// What is known of the numbers of publishers.
#[derive(Default)]
struct Numbers(HashMap<(Incarnation, u16), u64>);

/// A message that was received.
struct Received {
    life: Incarnation,
    number: u64,
    json: Bytes,
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
        let (queue, queued) = mpsc::channel(QUEUED);
        Self {
            wire,
            key: keys.event_key(cluster, life),
            publishers: Mutex::default(),
            keys,
            cluster: cluster.into(),
            life,
            interest,
            queue,
            queued: Mutex::new(Some(queued)),
            queued_bytes: AtomicUsize::new(0),
            offered: Mutex::default(),
            keeps: AtomicBool::new(false),
            wanted_flush: watch::Sender::new(0),
            confirmed: watch::Sender::new(0),
            wanted: Mutex::default(),
            numbers: Mutex::default(),
            metrics,
        }
    }

    /// Queues an event of this node for the others. Never blocks.
    pub fn offer(&self, event: &Event) -> Offered {
        if self.interest == EventInterest::Off || self.try_queue(event) {
            return Offered::Taken;
        }
        self.metrics.lost.inc();
        Offered::Full
    }

    fn try_queue(&self, event: &Event) -> bool {
        let bytes = event.json().len();
        if self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= QUEUED_BYTES {
            // Counted in the order of the queue.
            let mut offered = self.offered.lock();
            if self.queue.try_send(event.clone()).is_ok() {
                *offered += 1;
                return true;
            }
        }
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        false
    }

    /// Queues an event of this node for the others, as soon as there is a connection and the queue
    /// is at most half full. It is sent again over the next connection if it may be lost with this
    /// one.
    pub async fn queue(&self, event: &Event) {
        if self.interest == EventInterest::Off {
            return;
        }
        self.keeps.store(true, Ordering::Relaxed);
        loop {
            while self.queue.capacity() < QUEUED / 2
                || self.queued_bytes.load(Ordering::Relaxed) > QUEUED_BYTES / 2
                || !self.wire.is_open()
            {
                sleep(PACE).await;
            }
            if self.try_queue(event) {
                return;
            }
        }
    }

    /// Resolves when the server has received what was queued before, or it is lost and counted.
    pub async fn flushed(&self) {
        if self.interest == EventInterest::Off {
            return;
        }
        let offered = *self.offered.lock();
        self.wanted_flush.send_if_modified(|wanted| {
            let is_more = *wanted < offered;
            *wanted = offered.max(*wanted);
            is_more
        });
        // The sender lives as long as this.
        let _ = self.confirmed.subscribe().wait_for(|confirmed| *confirmed >= offered).await;
    }

    /// Makes sure that events of these types come from other nodes from now on.
    pub async fn want(&self, types: impl IntoIterator<Item = &str>) {
        if self.interest != EventInterest::Subscribed {
            return;
        }
        let buckets = types.into_iter().map(bucket_of).collect();
        join_all(self.ask_for(buckets)).await;
    }

    /// Subscribes to the buckets that are not known yet. The futures resolve when the server knows
    /// all of them.
    fn ask_for(&self, buckets: HashSet<u16>) -> Vec<Shared<BoxFuture<'static, ()>>> {
        let now = Instant::now();
        let mut wanted = self.wanted.lock();
        let mut new = Vec::new();
        let mut pending = Vec::new();
        for bucket in buckets {
            match wanted.get_mut(&bucket) {
                Some(known) => {
                    known.asked = now;
                    // Another client may have asked a moment ago.
                    pending.extend(Some(&known.subscribed).filter(|known| known.peek().is_none()).cloned());
                }
                None => new.push(bucket),
            }
        }
        if !new.is_empty() {
            let (wire, buckets) = (self.wire.clone(), new.clone());
            let subscribed = async move { wire.subscribe(buckets).await }.boxed().shared();
            let wants = |bucket| (bucket, Wanted { asked: now, subscribed: subscribed.clone() });
            wanted.extend(new.into_iter().map(wants));
            pending.push(subscribed);
        }
        pending
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
        let queued = self.queued.lock().take();
        tokio::join!(self.send(queued), self.receive(&node), self.sweep(&node));
    }

    async fn send(&self, queued: Option<mpsc::Receiver<Event>>) {
        let mut numbers = vec![0_u64; BUCKETS.into()];
        let Some(mut queued) = queued else { return std::future::pending().await };
        let mut turn = Vec::with_capacity(TURN);
        let mut kept = Kept::new(&*self.wire);
        let (mut handled, mut wanted_flush) = (0, self.wanted_flush.subscribe());
        loop {
            let begun = Instant::now();
            tokio::select! {
                count = queued.recv_many(&mut turn, TURN) => if count == 0 {
                    return;
                },
                // The sender lives as long as this.
                _ = wanted_flush.changed() => {}
            }
            handled += turn.len() as u64;
            let (is_full, is_empty) = (turn.len() == TURN, turn.is_empty());
            for event in turn.drain(..) {
                self.queued_bytes.fetch_sub(event.json().len(), Ordering::Relaxed);
                let bucket = bucket_of(event.event_type());
                let number = &mut numbers[usize::from(bucket)];
                let message = self.encode(bucket, *number + 1, event.json());
                if kept.publish(bucket, message, self.keeps.load(Ordering::Relaxed)).await {
                    *number += 1;
                    self.metrics.sent.inc();
                } else {
                    // Counted here, once. With a number of its own, each receiver would count it
                    // too.
                    self.metrics.lost.inc();
                }
            }
            let wanted = *wanted_flush.borrow_and_update();
            if kept.is_full() || (wanted > *self.confirmed.borrow() && handled >= wanted) {
                kept.confirm().await;
                self.confirmed.send_replace(handled);
            }
            if !is_full && !is_empty {
                sleep_until(begun + PACE).await;
            }
        }
    }

    async fn receive(&self, node: &Node) {
        loop {
            let (bucket, message) = self.wire.next().await;
            let Some(json) = self.accept(bucket, &message) else { continue };
            // The node where it was published has checked it by its own rules.
            match Event::from_json_with(json, ExtensionNames::Any) {
                Ok(event) => {
                    self.metrics.received.inc();
                    node.publish(event, EventOrigin::Peer).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "an event of another node cannot be read");
                    self.metrics.refused.inc();
                }
            }
        }
    }

    /// Returns the event in a message, unless it is not authentic or was received before.
    fn accept(&self, bucket: u16, message: &Bytes) -> Option<Bytes> {
        let Some(Received { life, number, json }) = self.decode(bucket, message) else {
            self.metrics.refused.inc();
            return None;
        };
        // A server that was stopped sends back what it had got on an earlier connection of this
        // node.
        if life == self.life {
            return None;
        }
        let lost = self.numbers.lock().check((life, bucket), number)?;
        self.metrics.lost.inc_by(lost);
        Some(json)
    }

    /// Removes the subscriptions to buckets that no client wants any more.
    async fn sweep(&self, node: &Node) {
        let mut ticks = interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.interest != EventInterest::Subscribed {
                continue;
            }
            let present = node.event_types().iter().map(|name| bucket_of(name)).collect();
            join_all(self.ask_for(present)).await;
            self.forget_unwanted();
        }
    }

    fn forget_unwanted(&self) {
        let now = Instant::now();
        let mut wanted = self.wanted.lock();
        let old = wanted.extract_if(|_, wanted| now >= wanted.asked + LINGER);
        let unwanted: Vec<u16> = old.map(|(bucket, _)| bucket).collect();
        if !unwanted.is_empty() {
            // Under the lock: a client may ask for one of them again at any time.
            self.wire.unsubscribe(unwanted.clone());
            // What comes until somebody asks again is not lost.
            self.numbers.lock().forget(&unwanted);
        }
    }

    /// A number must be used once: see [`EventKey`]. That of an event which certainly was not sent
    /// is free.
    fn encode(&self, bucket: u16, number: u64, json: &[u8]) -> Bytes {
        let mut message = BytesMut::with_capacity(HEAD + json.len() + EVENT_MAC);
        message.put_u8(VERSION);
        message.put_slice(&self.life.to_bytes());
        message.put_u64(number);
        message.put_slice(json);
        let code = self.key.mac(bucket, number, &message);
        message.put_slice(&code);
        message.freeze()
    }

    /// Returns `None` if the message is not authentic, or of another version.
    fn decode(&self, bucket: u16, message: &Bytes) -> Option<Received> {
        let (event, code) = message.split_last_chunk::<EVENT_MAC>()?;
        let (version, rest) = event.split_first()?;
        let (life, rest) = rest.split_first_chunk::<{ Incarnation::BYTES }>()?;
        let (number, json) = rest.split_first_chunk()?;
        let (life, number) = (Incarnation::from_bytes(*life), u64::from_be_bytes(*number));
        if *version != VERSION || !self.is_authentic(life, |key| key.verify(bucket, number, event, *code)) {
            return None;
        }
        Some(Received { life, number, json: message.slice_ref(json) })
    }

    /// Returns whether `verify` succeeds with the key of a publisher.
    fn is_authentic(&self, life: Incarnation, verify: impl Fn(&EventKey) -> bool) -> bool {
        let mut publishers = self.publishers.lock();
        if let Some(key) = publishers.get(&life) {
            return verify(key);
        }
        let Some(key) = self.keys.event_keys(&self.cluster, life).find(verify) else { return false };
        if publishers.len() >= PUBLISHERS {
            publishers.clear();
        }
        publishers.insert(life, key);
        true
    }
}

impl Numbers {
    fn forget(&mut self, buckets: &[u16]) {
        let buckets: HashSet<&u16> = buckets.iter().collect();
        self.0.retain(|(_, bucket), _| !buckets.contains(bucket));
    }

    /// Returns how many events were lost before this one; `None` if it was received before.
    fn check(&mut self, of: (Incarnation, u16), number: u64) -> Option<u64> {
        if self.0.len() >= NUMBERS && !self.0.contains_key(&of) {
            self.0.clear();
        }
        match self.0.insert(of, number) {
            None => Some(0),
            Some(last) if number > last => Some(number - last - 1),
            Some(last) => {
                self.0.insert(of, last);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
