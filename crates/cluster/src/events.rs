//! Events between nodes: core NATS, at most once, in the order of each publisher.
//!
//! Types of events come from clients, so a subject for each would be a table without bound in the
//! server. A type is hashed to one of [`BUCKETS`] subjects instead, and a node subscribes to those
//! for which it has subscriptions. An event that no other node wants then ends at the server.
//!
//! A message is a head of 18 bytes, the JSON of the event as it came, and an authentication code of
//! 16 bytes. The head: version (1), life of the publisher (9), number of the event among those of
//! its publisher and bucket (8, big-endian). A [`Note`] has numbers of the same row.
//!
//! A number is given when an event takes its position at its node, so both have one order, and
//! whatever becomes of the event on its way, the other nodes notice that its number is missing,
//! once they know an earlier one of the same publisher and bucket.

mod heads;
mod kept;
mod note;
mod numbers;
mod outgoing;

use std::collections::{HashMap, HashSet};
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use event::{Event, ExtensionNames};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, join_all};
use node::{EventOrigin, Node, Offered, Reservation, Stamp};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use seal::Incarnation;
use siphasher::sip::SipHasher13;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use crate::keys::{EVENT_MAC, EventKey, Keys};
use heads::{Heads, LOOK};
use kept::Kept;
use note::Note;
use numbers::Numbers;
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

/// The version of events.
const VERSION: u8 = 1;
/// The version of notes. Nodes that do not know them refuse them.
const NOTES: u8 = 2;

/// Limit of events that are queued for the other nodes.
const QUEUED: usize = 16_384;

/// Limit of their bytes.
const QUEUED_BYTES: usize = 16 << 20;

/// Limit of events that are sent in one turn.
const TURN: usize = 64;

/// The shortest time between two turns that are not full. Events of one turn leave in one write,
/// and wake the other nodes once.
const PACE: Duration = Duration::from_millis(1);

/// How long a node stays subscribed to a bucket that it was not asked for. Longer than the pause
/// between two sweeps: a type whose events are kept is asked for by each, though its last
/// subscriber has left.
const LINGER: Duration = Duration::from_secs(60);
const _: () = assert!(LINGER.as_secs() >= 2 * SWEEP.as_secs());

/// How often subscriptions to buckets are compared with those of clients.
const SWEEP: Duration = Duration::from_secs(20);

/// Limit of the types of a bucket that are named when an event of it was lost. With more, all are
/// meant.
const NAMED: usize = 64;

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

    /// Returns a number that changes whenever messages may have been lost on their way to this node
    /// without a trace: there is another connection.
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

/// A message that was received.
struct Received {
    stamp: Stamp,
    content: Content,
}

/// What is in a message.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    /// The JSON of an event.
    Event(Bytes),
    Note(Note),
}

/// A message that was received for the first time.
struct Accepted {
    received: Received,
    /// Whether events before it are missing, or it says so itself.
    is_gap: bool,
    /// Whether numbers of others were forgotten to make room for this one.
    has_forgotten: bool,
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
        Self {
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
            wanted: Mutex::default(),
            numbers: Mutex::default(),
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

    async fn send(&self, queued: Option<mpsc::Receiver<Queued>>) {
        let Some(mut queued) = queued else { return std::future::pending().await };
        let mut turn = Vec::with_capacity(TURN);
        let mut kept = Kept::new(&*self.wire);
        let mut heads = Heads::new(self.wire.connections());
        let (mut handled, mut wanted_flush) = (0, self.wanted_flush.subscribe());
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let begun = Instant::now();
            tokio::select! {
                count = queued.recv_many(&mut turn, TURN) => if count == 0 {
                    return;
                },
                // The sender lives as long as this.
                _ = wanted_flush.changed() => {}
                _ = looks.tick() => self.send_heads_due(&mut heads, &mut kept).await,
                () = self.heads_asked.notified() => self.send_heads_due(&mut heads, &mut kept).await,
            }
            handled += turn.len() as u64;
            let (is_full, is_empty) = (turn.len() == TURN, turn.is_empty());
            for queued in turn.drain(..) {
                self.send_one(&queued, &mut kept).await;
                heads.sent(queued.bucket, begun);
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

    async fn send_one(&self, queued: &Queued, kept: &mut Kept<'_>) {
        let Queued { event, bucket, number, .. } = queued;
        let keeps = self.keeps.load(Ordering::Relaxed);
        for (last, count) in self.outgoing.unsent_before(*bucket, *number) {
            self.send_note(*bucket, last, Note::Unsent(count), kept).await;
        }
        let message = self.encode(*bucket, *number, event.json());
        let is_sent = kept.publish(*bucket, message, keeps).await;
        self.outgoing.handled(*bucket, *number, event.json().len());
        if is_sent {
            self.metrics.sent.inc();
        } else {
            // Counted here: the note that takes its number says so.
            self.outgoing.not_sent(*bucket, *number, 1);
            self.metrics.lost.inc();
        }
    }

    /// Tells the other nodes which numbers were given in buckets where nothing follows, so that
    /// they notice if the last events were lost.
    async fn send_heads_due(&self, heads: &mut Heads, kept: &mut Kept<'_>) {
        if !self.wire.is_open() {
            return;
        }
        let asked = std::mem::take(&mut *self.asked.lock());
        let now = Instant::now();
        if heads.reconnected(self.wire.connections()) {
            heads.ask(self.outgoing.used(), now);
        }
        heads.ask(asked, now);
        for bucket in heads.due(now) {
            for (last, count) in self.outgoing.unsent_now(bucket) {
                self.send_note(bucket, last, Note::Unsent(count), kept).await;
            }
            // If more is queued, that tells it.
            if let Some(number) = self.outgoing.head(bucket) {
                self.send_note(bucket, number, Note::Head, kept).await;
            }
        }
    }

    async fn send_note(&self, bucket: u16, number: u64, note: Note, kept: &mut Kept<'_>) {
        let message = self.sealed(NOTES, bucket, number, &note.to_bytes());
        if !kept.publish(bucket, message, self.keeps.load(Ordering::Relaxed)).await {
            self.outgoing.not_sent(bucket, number, note.unsent().max(1));
        }
    }

    async fn receive(&self, node: &Node) {
        let mut interruptions = self.wire.interruptions();
        loop {
            let (bucket, message) = tokio::select! {
                message = self.wire.next() => message,
                Ok(()) = interruptions.changed() => {
                    node.lost(None).await;
                    continue;
                }
            };
            let Some(Accepted { received, is_gap, has_forgotten }) = self.accept(bucket, &message) else {
                continue;
            };
            if has_forgotten {
                node.forget(None);
                node.lost(None).await;
            } else if is_gap {
                lose(node, bucket).await;
            }
            let Content::Event(json) = received.content else {
                node.passed(received.stamp);
                continue;
            };
            // The node where it was published has checked it by its own rules.
            match Event::from_json_with(json, ExtensionNames::Any) {
                Ok(event) => {
                    self.metrics.received.inc();
                    node.publish(event, EventOrigin::Peer(Some(received.stamp))).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "an event of another node cannot be read");
                    self.metrics.refused.inc();
                    lose(node, bucket).await;
                    node.passed(received.stamp);
                }
            }
        }
    }

    /// Returns what is in a message, unless it is not authentic or was received before.
    fn accept(&self, bucket: u16, message: &Bytes) -> Option<Accepted> {
        let Some(received) = self.decode(bucket, message) else {
            self.metrics.refused.inc();
            return None;
        };
        // A server that was stopped sends back what it had got on an earlier connection of this
        // node.
        let Stamp { life, number, .. } = received.stamp;
        if life == self.life {
            return None;
        }
        let (missing, has_forgotten) = self.numbers.lock().check((life, bucket), number)?;
        let unsent = match &received.content {
            Content::Note(note) => note.unsent(),
            Content::Event(_) => 0,
        };
        // The note itself stands for an event. Its publisher has counted them.
        self.metrics.lost.inc_by((missing + unsent.min(1)).saturating_sub(unsent));
        Some(Accepted { received, is_gap: missing + unsent > 0, has_forgotten })
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
            self.forget_unwanted(Some(node));
        }
    }

    fn forget_unwanted(&self, node: Option<&Node>) {
        let now = Instant::now();
        let mut wanted = self.wanted.lock();
        let old = wanted.extract_if(|_, wanted| now >= wanted.asked + LINGER);
        let unwanted: Vec<u16> = old.map(|(bucket, _)| bucket).collect();
        if !unwanted.is_empty() {
            // Under the lock: a client may ask for one of them again at any time.
            self.wire.unsubscribe(unwanted.clone());
            // What comes until somebody asks again is not lost.
            self.numbers.lock().forget(&unwanted);
            node.inspect(|node| node.forget(Some(&unwanted)));
        }
    }

    fn encode(&self, bucket: u16, number: u64, json: &[u8]) -> Bytes {
        self.sealed(VERSION, bucket, number, json)
    }

    /// A number must be used once: see [`EventKey`]. That of an event which certainly was not sent
    /// is free.
    fn sealed(&self, version: u8, bucket: u16, number: u64, content: &[u8]) -> Bytes {
        let mut message = BytesMut::with_capacity(HEAD + content.len() + EVENT_MAC);
        message.put_u8(version);
        message.put_slice(&self.life.to_bytes());
        message.put_u64(number);
        message.put_slice(content);
        let code = self.key.mac(bucket, number, &message);
        message.put_slice(&code);
        message.freeze()
    }

    /// Returns `None` if the message is not authentic, or of another version.
    fn decode(&self, bucket: u16, message: &Bytes) -> Option<Received> {
        let (event, code) = message.split_last_chunk::<EVENT_MAC>()?;
        let (version, rest) = event.split_first()?;
        let (life, rest) = rest.split_first_chunk::<{ Incarnation::BYTES }>()?;
        let (number, content) = rest.split_first_chunk()?;
        let (life, number) = (Incarnation::from_bytes(*life), u64::from_be_bytes(*number));
        if !self.is_authentic(life, |key| key.verify(bucket, number, event, *code)) {
            return None;
        }
        let content = match *version {
            VERSION => Content::Event(message.slice_ref(content)),
            NOTES => Content::Note(Note::from_bytes(content)?),
            _ => return None,
        };
        Some(Received { stamp: Stamp { life, bucket, number }, content })
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

/// Records that events of a bucket were lost.
async fn lose(node: &Node, bucket: u16) {
    let types = node.event_types();
    let of_bucket = types.iter().filter(|name| bucket_of(name) == bucket);
    let named: Vec<_> = of_bucket.take(NAMED + 1).collect();
    if named.len() > NAMED {
        return node.lost(None).await;
    }
    for name in named {
        node.lost(Some(name)).await;
    }
}

#[cfg(test)]
mod tests;
