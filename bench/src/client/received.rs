//! What all subscribers have received together.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::event;

/// Which of its events a subscriber has got, the first one is 0, and when.
pub(crate) type Arrival = (u32, Instant);

/// What all subscribers have received together.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) events: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Connections that were closed.
    pub(super) lost: AtomicU64,
    /// The number of events that a waiter waits for.
    pub(super) wanted: AtomicU64,
    /// Notified when `wanted` is reached, and of each lost connection.
    pub(super) changed: Notify,
    /// Receives every arrival.
    pub(super) arrivals: Option<UnboundedSender<Arrival>>,
}

impl Received {
    /// Counts the events in these bytes, which come after `known` others. Returns their number.
    pub(super) fn count(&self, bytes: &[u8], known: u32) -> u32 {
        self.bytes.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        let new = event::count(bytes);
        if let Some(arrivals) = &self.arrivals {
            let now = Instant::now();
            // The receiver is gone once the measurement is complete.
            for number in known..known + new as u32 {
                let _ = arrivals.send((number, now));
            }
        }
        let before = self.events.fetch_add(new, Ordering::SeqCst);
        let wanted = self.wanted.load(Ordering::SeqCst);
        if before < wanted && wanted <= before + new {
            self.changed.notify_one();
        }
        new as u32
    }

    /// Counts a connection that was closed.
    pub(super) fn note_lost(&self) {
        self.lost.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
    }
}
