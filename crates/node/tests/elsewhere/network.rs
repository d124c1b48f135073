//! A bus between simulated nodes: what one publisher sends to a receiver keeps its order, is late
//! by any time, and may be lost. Each node receives only the buckets that it has asked for.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use event::Event;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending};
use parking_lot::Mutex;
use rig_node::{Bus, EventOrigin, IdTaken, NoQuorum, Node, Numbers, Offered, Reservation, Spread, Stamp};
use seal::Incarnation;
use session::{Revocation, RevocationId};

/// How a network disturbs what it carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disturbance {
    /// Percent of messages that are lost.
    pub(crate) loss: u8,
    /// The longest time that a message is on its way, in microseconds.
    pub(crate) delay: u64,
}

/// Connects all nodes.
pub(crate) struct Network {
    pub(crate) disturbance: Disturbance,
    lives: Vec<Incarnation>,
    traffic: Mutex<Traffic>,
}

struct Traffic {
    rng: fastrand::Rng,
    numbers: HashMap<(usize, u16), u64>,
    /// By publisher and receiver.
    queues: HashMap<(usize, usize), VecDeque<Message>>,
    wanted: Vec<HashSet<u16>>,
    /// Nodes that nothing comes to.
    cut: HashSet<usize>,
    /// Nodes that everything is late for.
    held: HashSet<usize>,
    handled: usize,
    sent: usize,
}

#[derive(Clone)]
struct Message {
    stamp: Stamp,
    event: Option<Event>,
}

/// The bus of one node.
pub(crate) struct SimulatedBus {
    pub(crate) network: Arc<Network>,
    pub(crate) index: usize,
    /// The node while it runs.
    node: Mutex<Option<Node>>,
    pub(crate) numbers: Numbers,
    wanting: tokio::sync::Mutex<()>,
}

impl Network {
    pub(crate) fn new(lives: Vec<Incarnation>, disturbance: Disturbance, rng: fastrand::Rng) -> Arc<Self> {
        let wanted = vec![HashSet::new(); lives.len()];
        let (numbers, queues, cut, held) = Default::default();
        let traffic = Traffic { rng, numbers, queues, wanted, cut, held, handled: 0, sent: 0 };
        Arc::new(Self { disturbance, lives, traffic: Mutex::new(traffic) })
    }

    /// Nothing comes to a node any more, or everything that is sent from now on does.
    pub(crate) fn set_cut(&self, node: usize, is_cut: bool) {
        let mut traffic = self.traffic.lock();
        _ = if is_cut { traffic.cut.insert(node) } else { traffic.cut.remove(&node) };
    }

    /// What is on its way to a node stays there, or goes on.
    pub(crate) fn set_held(&self, node: usize, is_held: bool) {
        let mut traffic = self.traffic.lock();
        _ = if is_held { traffic.held.insert(node) } else { traffic.held.remove(&node) };
    }

    /// Waits until everything that was sent has been handled.
    pub(crate) async fn settle(&self) {
        loop {
            {
                let traffic = self.traffic.lock();
                if traffic.handled == traffic.sent {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn send(&self, from: usize, bucket: u16, event: Option<Event>, loses: bool) -> Stamp {
        let mut traffic = self.traffic.lock();
        let traffic = &mut *traffic;
        let number = traffic.numbers.entry((from, bucket)).or_default();
        *number += u64::from(event.is_some());
        let stamp = Stamp { life: self.lives[from], bucket, number: *number };
        for to in (0..self.lives.len()).filter(|to| *to != from) {
            let is_lost = traffic.cut.contains(&to) || loses && traffic.rng.u8(..100) < self.disturbance.loss;
            if traffic.wanted[to].contains(&bucket) && !is_lost {
                traffic.sent += 1;
                let message = Message { stamp, event: event.clone() };
                traffic.queues.entry((from, to)).or_default().push_back(message);
            }
        }
        stamp
    }

    fn take(&self, to: usize) -> (Option<Message>, Duration) {
        let mut traffic = self.traffic.lock();
        let senders = 0..self.lives.len();
        let waits = |from: &usize| traffic.queues.get(&(*from, to)).is_some_and(|queue| !queue.is_empty());
        let senders: Vec<usize> = senders.filter(waits).collect();
        let delay = Duration::from_micros(traffic.rng.u64(..=self.disturbance.delay));
        let from = traffic.rng.choice(&senders).copied().filter(|_| !traffic.held.contains(&to));
        let Some(from) = from else { return (None, delay) };
        (traffic.queues.get_mut(&(from, to)).and_then(VecDeque::pop_front), delay)
    }
}

/// Two types share a bucket.
pub(crate) fn bucket_of(event_type: &str) -> u16 {
    u16::from(event_type.as_bytes()[1] - b'0') / 2
}

pub(crate) const TYPES: [&str; 4] = ["t0", "t1", "t2", "t3"];

impl SimulatedBus {
    pub(crate) fn new(network: &Arc<Network>, index: usize) -> Arc<Self> {
        let (node, numbers, wanting) = Default::default();
        Arc::new(Self { network: network.clone(), index, node, numbers, wanting })
    }

    /// Sends a head in each bucket.
    pub(crate) fn send_all_heads(&self) {
        self.send_heads(vec![0, 1]);
    }

    async fn lose(node: &Node, bucket: u16) {
        for name in TYPES.into_iter().filter(|name| bucket_of(name) == bucket) {
            node.lost(Some(name)).await;
        }
    }
}

/// The node that runs holds its bus, so the bus must not hold it for longer.
struct Stopped<'b>(&'b Mutex<Option<Node>>);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

impl Bus for SimulatedBus {
    fn offer(&self, event: &Event) -> Offered {
        let bucket = bucket_of(event.event_type());
        Offered::Taken(Some(self.network.send(self.index, bucket, Some(event.clone()), true)))
    }

    fn reserve<'b>(&'b self, _: &'b Event) -> BoxFuture<'b, Reservation> {
        pending().boxed()
    }

    fn flushed(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn bucket_of(&self, event_type: &str) -> Option<u16> {
        Some(bucket_of(event_type))
    }

    fn own_stamps(&self, buckets: &[u16]) -> Vec<Stamp> {
        let traffic = self.network.traffic.lock();
        let number = |bucket: &u16| Some((*bucket, *traffic.numbers.get(&(self.index, *bucket))?));
        let stamp = |(bucket, number)| Stamp { life: self.network.lives[self.index], bucket, number };
        buckets.iter().filter_map(number).map(stamp).collect()
    }

    fn send_heads(&self, buckets: Vec<u16>) {
        for bucket in buckets {
            self.network.send(self.index, bucket, None, false);
        }
    }

    fn want<'b>(&'b self, types: Vec<&'b str>) -> BoxFuture<'b, ()> {
        async move {
            let _turn = self.wanting.lock().await;
            let mut buckets: Vec<u16> = types.into_iter().map(bucket_of).collect();
            buckets.retain(|bucket| self.network.traffic.lock().wanted[self.index].insert(*bucket));
            if !buckets.is_empty() {
                let node = self.node.lock().clone().expect("the node runs");
                node.begin(&buckets, &self.numbers).await;
            }
        }
        .boxed()
    }

    fn max_event(&self) -> usize {
        usize::MAX
    }

    fn announce(&self, _: Revocation) -> BoxFuture<'static, Result<Spread, IdTaken>> {
        pending().boxed()
    }

    fn spread(&self, _: &RevocationId) -> Option<Spread> {
        None
    }

    fn lift(
        &self,
        _: RevocationId,
        _: Option<String>,
        _: Duration,
    ) -> BoxFuture<'static, Result<Option<Spread>, NoQuorum>> {
        pending().boxed()
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn run(self: Arc<Self>, node: Node) -> BoxFuture<'static, ()> {
        async move {
            *self.node.lock() = Some(node.clone());
            let _stopped = Stopped(&self.node);
            loop {
                let (message, delay) = self.network.take(self.index);
                tokio::time::sleep(delay.max(Duration::from_micros(10))).await;
                let Some(Message { stamp, event }) = message else { continue };
                let missing = match event {
                    Some(_) => self.numbers.receive(stamp),
                    None => self.numbers.pass(stamp),
                };
                if let Some(missing) = missing {
                    if missing > 0 {
                        Self::lose(&node, stamp.bucket).await;
                    }
                    match event {
                        Some(event) => _ = node.publish(event, EventOrigin::Peer(Some(stamp))).await,
                        None => node.passed(stamp),
                    }
                }
                self.network.traffic.lock().handled += 1;
            }
        }
        .boxed()
    }
}
