//! Delivers events to their receivers in order, and several in one write if they come faster than
//! they are written.
//!
//! A connection belongs to one of the lanes, and a lane has one deliverer at a time; so the events
//! of one connection stay in order, and the lanes share the work. Events that come while a lane
//! delivers are queued. The lane then takes them together, and each connection gets its share in
//! one vectored write: the cost of a delivery falls as the load rises.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};

use history::EventPosition;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::yield_now;

use crate::connection::Connection;
use crate::frame::Frame;
use crate::sync::{Mutex, parallelism, spawn};
use crate::writer::FRAMES_AT_ONCE;

/// The limit of receivers that the publishing task delivers to itself; for more, a task is spawned.
const FEW: usize = 128;

/// Connections that the task writes to before it yields: some two milliseconds of work. A yield is
/// not free: the scheduler may resume the lane on another thread, with cold caches.
const AT_ONCE: usize = 512;

/// The limit of bytes of events, and of the lists of their receivers, that are under way. Above it,
/// publishers wait.
const UNDER_WAY: usize = 16 << 20;

/// The limit of bytes of events that are delivered together. More in one write saves nothing, and a
/// slow reader gets time to read between two writes.
const BYTES_AT_ONCE: usize = 64 << 10;

/// The limit of deliveries that are made together: each takes 16 bytes meanwhile.
const DELIVERIES_AT_ONCE: usize = 1 << 20;

/// All lanes of a node.
pub(crate) struct Lanes {
    lanes: Box<[Arc<Lane>]>,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct Lane(Mutex<LaneQueue>);

#[derive(Default)]
struct LaneQueue {
    waiting: VecDeque<Load>,
    /// Someone delivers, or is about to.
    busy: bool,
    /// The position of the first event that is being delivered; 0 if none is, or it has none.
    first: EventPosition,
    /// The number of loads that were sent.
    sent: u64,
    /// Who waits until this number of them is delivered.
    settling: Vec<(u64, oneshot::Sender<()>)>,
}

/// An event, and its receivers in one lane.
struct Load {
    sent: Arc<Sent>,
    receivers: Vec<Weak<Connection>>,
}

struct Sent {
    frame: Frame,
    /// Released when all receivers have the event.
    _room: OwnedSemaphorePermit,
    /// The room of the lists of receivers.
    list: OnceLock<OwnedSemaphorePermit>,
}

/// An event that was queued.
pub(crate) struct Queued {
    due: Vec<Due>,
    under_way: Weak<Sent>,
    /// Bytes of the list of its receivers.
    list: usize,
    /// The number of its receivers.
    pub(crate) count: usize,
}

/// What its lane has left to whoever queued it. The lane waits until it is delivered or dropped.
struct Due {
    load: Load,
    lane: Busy,
}

impl Lanes {
    /// Makes one lane for every two cores; the other cores are left for publishing and connecting.
    pub(crate) fn new() -> Self {
        let lanes = parallelism().div_ceil(2);
        Self {
            lanes: (0..lanes).map(|_| Arc::default()).collect(),
            room: Arc::new(Semaphore::new(UNDER_WAY)),
        }
    }

    /// Waits until there is room for this many bytes: while [`UNDER_WAY`] bytes are under way.
    pub(crate) async fn room(&self, bytes: usize) -> OwnedSemaphorePermit {
        let permits = u32::try_from(bytes.min(UNDER_WAY)).expect("a constant that fits");
        self.room.clone().acquire_many_owned(permits).await.expect("never closed")
    }

    /// Queues an event for its receivers; `room` is that of its JSON. Each connection gets the
    /// events of successive calls in order. What is returned must be
    /// [delivered](Lanes::deliver): until then, lanes may wait for it.
    pub(crate) fn queue(
        &self,
        frame: Frame,
        room: OwnedSemaphorePermit,
        receivers: Vec<Weak<Connection>>,
    ) -> Queued {
        let list = size_of_val(&*receivers);
        let sent = Arc::new(Sent { frame, _room: room, list: OnceLock::new() });
        let count = receivers.len();
        let under_way = Arc::downgrade(&sent);
        let due = self
            .split(receivers)
            .filter_map(|(lane, receivers)| lane.queue(Load { sent: sent.clone(), receivers }));
        Queued { due: due.collect(), under_way, list, count }
    }

    /// Delivers what the lanes have left to the caller: events for few receivers whose lanes were
    /// idle. The others may still be under way when this returns. Waits until there is room for the
    /// list of their receivers.
    pub(crate) async fn deliver(&self, queued: Queued) {
        let Queued { due, under_way, list, .. } = queued;
        due.into_iter().for_each(Due::deliver);
        if under_way.strong_count() > 0 {
            // The event is not held meanwhile: its own room is needed by others.
            let room = self.room(list).await;
            if let Some(sent) = under_way.upgrade() {
                let _ = sent.list.set(room);
            }
        }
    }

    /// Returns, for each lane, a position up to which everything was delivered. All events up to
    /// `head` must have been queued.
    pub(crate) fn settled_positions(&self, head: EventPosition) -> Vec<EventPosition> {
        self.lanes.iter().map(|lane| lane.settled_position(head)).collect()
    }

    /// Returns the number of the lane of a connection.
    pub(crate) fn lane_of(&self, connection: &Connection) -> usize {
        lane_of(place(connection), self.lanes.len())
    }

    /// Returns the bytes of events that are under way, with the lists of their receivers.
    pub(crate) fn under_way(&self) -> usize {
        UNDER_WAY - self.room.available_permits()
    }

    /// Resolves when everything that was sent before has been delivered. Does not wait for what is
    /// sent meanwhile, nor holds it up.
    pub(crate) async fn settled(&self) {
        // All are asked first: what one lane gets while another is waited for was sent later.
        let lanes: Vec<_> = self.lanes.iter().map(|lane| lane.settled()).collect();
        for lane in lanes {
            // An error would mean that the lane is gone, with all that it had.
            let _ = lane.await;
        }
    }

    fn split(
        &self,
        receivers: Vec<Weak<Connection>>,
    ) -> impl Iterator<Item = (&Arc<Lane>, Vec<Weak<Connection>>)> {
        let mut parts: Vec<_> = self.lanes.iter().map(|lane| (lane, Vec::new())).collect();
        match &mut parts[..] {
            [(_, only)] => *only = receivers,
            parts => receivers.into_iter().for_each(|receiver| {
                let lane = lane_of(place_of(&receiver), parts.len());
                parts[lane].1.push(receiver);
            }),
        }
        parts.into_iter().filter(|(_, receivers)| !receivers.is_empty())
    }
}

/// Returns what decides on the lane of a connection: its address.
#[cfg(not(feature = "loom"))]
fn place(connection: &Connection) -> usize {
    std::ptr::from_ref(connection).addr()
}

#[cfg(not(feature = "loom"))]
fn place_of(connection: &Weak<Connection>) -> usize {
    connection.as_ptr().addr()
}

/// Returns what decides on the lane of a connection. For loom, it must be the same in each run.
#[cfg(feature = "loom")]
fn place(connection: &Connection) -> usize {
    connection.id().number() as usize
}

#[cfg(feature = "loom")]
fn place_of(connection: &Weak<Connection>) -> usize {
    connection.upgrade().map_or(0, |connection| place(&connection))
}

/// Returns which lane a connection has: its address never changes. Connections lie at equal
/// distances, so neighbours would share a lane where the distance and the number of lanes have a
/// factor in common; the upper bits of the product do not.
fn lane_of(address: usize, lanes: usize) -> usize {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    ((address as u64).wrapping_mul(GOLDEN) >> 32) as usize % lanes
}

impl Lane {
    /// Returns what resolves when everything that was sent before has been delivered.
    fn settled(&self) -> oneshot::Receiver<()> {
        let (settled, receiver) = oneshot::channel();
        let mut state = self.0.lock();
        let sent = state.sent;
        state.settling.push((sent, settled));
        if !state.busy {
            state.tell_settled();
        }
        receiver
    }

    /// Queues a load, or leaves it to the caller.
    fn queue(self: &Arc<Self>, load: Load) -> Option<Due> {
        let mut state = self.0.lock();
        state.sent += 1;
        if state.busy {
            state.waiting.push_back(load);
            return None;
        }
        state.busy = true;
        if load.receivers.len() > FEW {
            state.waiting.push_back(load);
            self.resume(&mut state);
            return None;
        }
        state.first = load.position();
        drop(state);
        Some(Due { load, lane: Busy(self.clone()) })
    }

    /// Returns a position up to which everything was delivered that was queued.
    fn settled_position(&self, head: EventPosition) -> EventPosition {
        let state = self.0.lock();
        let first = match (state.busy, state.first, state.waiting.front()) {
            (false, ..) => return head,
            (true, EventPosition(0), waiting) => waiting.map_or(EventPosition(0), Load::position),
            (true, first, _) => first,
        };
        EventPosition(first.0.saturating_sub(1)).min(head)
    }

    /// Spawns a task for what is queued; if nothing is, the lane is idle.
    fn resume(self: &Arc<Self>, state: &mut LaneQueue) {
        state.first = EventPosition(0);
        state.tell_settled();
        // Without a runtime, no connection is left to deliver to.
        state.busy = !state.waiting.is_empty() && spawn(self.clone().run());
    }

    /// Delivers until nothing waits.
    async fn run(self: Arc<Self>) {
        let _busy = Busy(self.clone());
        while let Some(loads) = self.take() {
            deliver(&loads).await;
        }
    }

    /// Takes the loads to deliver together: at least one, if any is queued.
    fn take(&self) -> Option<Vec<Load>> {
        let mut state = self.0.lock();
        state.first = state.waiting.front().map_or(EventPosition(0), Load::position);
        state.tell_settled();
        let (mut bytes, mut deliveries) = (0, 0);
        let together = state.waiting.iter().take(FRAMES_AT_ONCE).take_while(|load| {
            bytes += load.sent.frame.event().json().len();
            deliveries += load.receivers.len();
            bytes <= BYTES_AT_ONCE && deliveries <= DELIVERIES_AT_ONCE
        });
        let loads = together.count().max(1).min(state.waiting.len());
        (loads > 0).then(|| state.waiting.drain(..loads).collect())
    }
}

impl LaneQueue {
    /// Tells those who wait for what is delivered by now. Called when all that does not wait is.
    fn tell_settled(&mut self) {
        if self.settling.is_empty() {
            return;
        }
        let delivered = self.sent - self.waiting.len() as u64;
        for (_, settled) in self.settling.extract_if(.., |(sent, _)| *sent <= delivered) {
            // Whoever has given up need not know.
            let _ = settled.send(());
        }
    }
}

/// Held by whoever delivers for a lane. When it is dropped, also by a panic, another task takes
/// over what is queued.
struct Busy(Arc<Lane>);

impl Due {
    fn deliver(self) {
        // In this order: the lane goes on afterwards.
        let Self { load, lane: _lane } = self;
        for connection in load.receivers.iter().filter_map(Weak::upgrade) {
            connection.deliver(&load.sent.frame);
        }
        drop(load);
    }
}

impl Load {
    fn position(&self) -> EventPosition {
        self.sent.frame.position()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.resume(&mut self.0.0.lock());
    }
}

/// One load for one of its receivers.
struct Share {
    /// The address of the connection.
    address: usize,
    load: u32,
    receiver: u32,
}

/// Writes to each receiver its events of these loads, in order.
async fn deliver(loads: &[Load]) {
    let shares = shares(loads);
    let mut frames = Vec::with_capacity(loads.len());
    let same = |one: &Share, next: &Share| one.address == next.address;
    for (number, shares) in shares.chunk_by(same).enumerate() {
        if number > 0 && number % AT_ONCE == 0 {
            yield_now().await;
        }
        let Share { load, receiver, .. } = shares[0];
        if let Some(connection) = loads[load as usize].receivers[receiver as usize].upgrade() {
            frames.clear();
            frames.extend(shares.iter().map(|share| &loads[share.load as usize].sent.frame));
            connection.deliver_all(&frames);
        }
    }
}

/// Groups the loads by connection, keeping the order of events. Connections are visited in address
/// order, which is about the order in which they connected: neighbours in memory, in the kernel
/// too, cost fewer cache misses.
fn shares(loads: &[Load]) -> Vec<Share> {
    let mut shares = Vec::with_capacity(loads.iter().map(|load| load.receivers.len()).sum());
    for (load, number) in loads.iter().zip(0..) {
        let of_load = load.receivers.iter().zip(0..);
        shares.extend(of_load.map(|(of, receiver)| Share {
            address: of.as_ptr().addr(),
            load: number,
            receiver,
        }));
    }
    shares.sort_unstable_by_key(|share| (share.address, share.load));
    shares
}

#[cfg(test)]
mod tests;
