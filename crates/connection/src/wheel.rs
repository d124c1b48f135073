//! Heartbeats without a timer per connection: a wheel whose turn is the heartbeat interval.

use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::connection::Connection;
use crate::hub::Hub;

/// Connections by the time of their next heartbeat. A connection stays in its slot: one turn is one
/// interval.
pub(crate) struct Wheel {
    slots: Vec<Mutex<Vec<Weak<Connection>>>>,
    now: AtomicUsize,
    tick: Duration,
}

/// How finely a turn is divided: an interval of 15 s gives slots of 250 ms.
const SLOTS: u32 = 60;

/// Heartbeats sent before the wheel yields.
const AT_ONCE: usize = 256;

impl Wheel {
    pub(crate) fn new(interval: Duration) -> Self {
        let slots = (0..SLOTS).map(|_| Mutex::default()).collect();
        Self { slots, now: AtomicUsize::new(0), tick: (interval / SLOTS).max(Duration::from_millis(1)) }
    }

    /// Adds a connection to the current slot; its first heartbeat is one turn away.
    pub(crate) fn add(&self, connection: Weak<Connection>) {
        self.slots[self.now.load(Ordering::Relaxed)].lock().push(connection);
    }

    /// Turns the wheel of this hub. Never returns.
    pub(crate) async fn run(&self, hub: &Hub) {
        let mut ticks = interval(self.tick);
        // The first tick of an interval is immediate.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let slot = (self.now.load(Ordering::Relaxed) + 1) % self.slots.len();
            // The slot is swept before connections are added to it, so that a new one waits a whole
            // turn.
            self.sweep(slot, hub).await;
            self.now.store(slot, Ordering::Relaxed);
        }
    }

    async fn sweep(&self, slot: usize, hub: &Hub) {
        let mut connections = std::mem::take(&mut *self.slots[slot].lock());
        connections.retain(|connection| connection.strong_count() > 0);
        for chunk in connections.chunks(AT_ONCE) {
            let settled = hub.settled_positions();
            for connection in chunk {
                if let Some(connection) = connection.upgrade() {
                    connection.heartbeat(settled[hub.lanes().lane_of(&connection)]);
                }
            }
            tokio::task::yield_now().await;
        }
        connections.shrink_to_fit();
        self.slots[slot].lock().append(&mut connections);
    }
}

/// Returns ticks of which the first is immediate. A tick that is late delays those after it.
pub(crate) fn interval(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}
