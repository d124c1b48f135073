//! Delivers events to their receivers in order, and several in one write if they come faster than
//! they are written.
//!
//! A connection belongs to one of the lanes, and a lane has one deliverer at a time; so the events
//! of one connection stay in order, and the lanes share the work. Events that come while a lane
//! delivers are queued. The lane then takes them together, and each connection gets its share in
//! one vectored write: the cost of a delivery falls as the load rises.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::{Arc, Weak};
use std::thread::available_parallelism;

use event::Event;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::yield_now;

use crate::connection::Connection;
use crate::frame::Frame;
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
    /// A task delivers.
    busy: bool,
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
}

impl Lanes {
    /// Makes one lane for every two cores; the other cores are left for publishing and connecting.
    pub(crate) fn new() -> Self {
        let lanes = available_parallelism().map_or(1, NonZero::get).div_ceil(2);
        Self {
            lanes: (0..lanes).map(|_| Arc::default()).collect(),
            room: Arc::new(Semaphore::new(UNDER_WAY)),
        }
    }

    /// Sends an event to its receivers. Each connection gets the events of successive calls in
    /// order. If the receivers are few and their lanes idle, they have it when this returns;
    /// otherwise it may still be under way.
    ///
    /// Waits while [`UNDER_WAY`] bytes are under way.
    pub(crate) async fn send(&self, event: Event, receivers: Vec<Weak<Connection>>) {
        let size = event.json().len() + size_of_val(&*receivers);
        let permits = u32::try_from(size.min(UNDER_WAY)).expect("a constant that fits");
        let room = self.room.clone().acquire_many_owned(permits).await.expect("never closed");
        let sent = Arc::new(Sent { frame: Frame::new(event), _room: room });
        for (lane, receivers) in self.split(receivers) {
            lane.send(Load { sent: sent.clone(), receivers });
        }
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
                let lane = lane_of(receiver.as_ptr().addr(), parts.len());
                parts[lane].1.push(receiver);
            }),
        }
        parts.into_iter().filter(|(_, receivers)| !receivers.is_empty())
    }
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

    fn send(self: &Arc<Self>, load: Load) {
        let mut state = self.0.lock();
        state.sent += 1;
        if state.busy {
            return state.waiting.push_back(load);
        }
        state.busy = true;
        if load.receivers.len() > FEW {
            state.waiting.push_back(load);
            return self.resume(&mut state);
        }
        drop(state);
        let _busy = Busy(self);
        for connection in load.receivers.iter().filter_map(Weak::upgrade) {
            connection.deliver(&load.sent.frame);
        }
    }

    /// Spawns a task for what is queued; if nothing is, the lane is idle.
    fn resume(self: &Arc<Self>, state: &mut LaneQueue) {
        state.tell_settled();
        // Without a runtime, no connection is left to deliver to.
        let runtime = Handle::try_current().ok().filter(|_| !state.waiting.is_empty());
        state.busy = runtime.is_some();
        runtime.inspect(|runtime| drop(runtime.spawn(self.clone().run())));
    }

    /// Delivers until nothing waits.
    async fn run(self: Arc<Self>) {
        let _busy = Busy(&self);
        while let Some(loads) = self.take() {
            deliver(&loads).await;
        }
    }

    /// Takes the loads to deliver together: at least one, if any is queued.
    fn take(&self) -> Option<Vec<Load>> {
        let mut state = self.0.lock();
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

/// Held by the task that delivers for a lane. When it is dropped, also by a panic, another task
/// takes over what is queued.
struct Busy<'a>(&'a Arc<Lane>);

impl Drop for Busy<'_> {
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
