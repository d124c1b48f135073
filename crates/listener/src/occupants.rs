//! The connections of a port that makes room for newcomers, and the choice of the one to evict.
//!
//! Idle connections must not keep an operator out of the internal port: unfinished heads and
//! handshakes, idle sockets, answers that are not read. Such a connection is evicted; a connection
//! with a request in progress never is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// How long a new connection has for its first request before it can be evicted. Without this, the
/// connections of a flood would evict each other and the operator before any of them is read.
const YOUNG: Duration = Duration::from_millis(10);

/// The connections of one port. Their number is limited, so a list is sufficient.
#[derive(Debug, Default)]
pub(crate) struct Occupants(Mutex<Vec<Arc<Occupant>>>);

/// One connection.
#[derive(Debug)]
pub(crate) struct Occupant {
    /// Requests in progress in the application.
    calls: AtomicUsize,
    last: Mutex<Last>,
    evicted: AtomicBool,
    leave: Notify,
}

/// Connections that have never been answered go first, then those that have been idle for longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Last {
    was_answered: bool,
    since: Instant,
}

/// The result of an attempt to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// One connection was evicted.
    Made,
    /// Every idle connection is new; the first of them can be evicted after this time.
    Later(Duration),
    /// Every connection has a request in progress.
    None,
}

/// A request in progress in the application.
pub(crate) struct BusyGuard<'a>(&'a Occupant);

impl Occupants {
    pub(crate) fn enter(&self) -> Arc<Occupant> {
        let last = Last { was_answered: false, since: Instant::now() };
        let occupant = Arc::new(Occupant {
            calls: AtomicUsize::new(0),
            last: Mutex::new(last),
            evicted: AtomicBool::new(false),
            leave: Notify::new(),
        });
        self.0.lock().push(occupant.clone());
        occupant
    }

    pub(crate) fn leave(&self, occupant: &Arc<Occupant>) {
        let mut occupants = self.0.lock();
        if let Some(at) = occupants.iter().position(|other| Arc::ptr_eq(other, occupant)) {
            occupants.swap_remove(at);
        }
    }

    /// Evicts the least useful connection.
    pub(crate) fn evict(&self) -> Eviction {
        let occupants = self.0.lock();
        let idle = occupants.iter().filter(|occupant| occupant.is_idle());
        let Some((occupant, last)) = idle.map(|one| (one, *one.last.lock())).min_by_key(|(_, last)| *last)
        else {
            return Eviction::None;
        };
        let young = YOUNG.saturating_sub(last.since.elapsed());
        if !last.was_answered && !young.is_zero() {
            return Eviction::Later(young);
        }
        occupant.evicted.store(true, Ordering::Relaxed);
        occupant.leave.notify_one();
        Eviction::Made
    }
}

impl Occupant {
    /// Keeps the connection from being evicted until the guard is dropped.
    pub(crate) fn call(&self) -> BusyGuard<'_> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        BusyGuard(self)
    }

    /// Returns when the connection is evicted.
    pub(crate) async fn evicted(&self) {
        self.leave.notified().await;
    }

    fn is_idle(&self) -> bool {
        self.calls.load(Ordering::Relaxed) == 0 && !self.evicted.load(Ordering::Relaxed)
    }
}

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        *self.0.last.lock() = Last { was_answered: true, since: Instant::now() };
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aged(occupants: &Occupants, by: Duration) -> Arc<Occupant> {
        let occupant = occupants.enter();
        occupant.last.lock().since -= by;
        occupant
    }

    #[test]
    fn f03_who_asks_for_nothing_leaves_first_and_who_is_served_stays() {
        const SECOND: Duration = Duration::from_secs(1);
        let occupants = Occupants::default();
        assert_eq!(occupants.evict(), Eviction::None);
        let busy = aged(&occupants, 9 * SECOND);
        let _call = busy.call();
        let idle = aged(&occupants, 8 * SECOND);
        drop(idle.call());
        let silent = aged(&occupants, 2 * SECOND);
        let more_silent = aged(&occupants, 3 * SECOND);
        let new = occupants.enter();
        for (occupant, name) in [(&more_silent, "more silent"), (&silent, "silent")] {
            assert_eq!(occupants.evict(), Eviction::Made);
            assert!(occupant.evicted.load(Ordering::Relaxed), "{name}");
        }
        assert!(matches!(occupants.evict(), Eviction::Later(_)), "a new connection cannot be evicted yet");
        occupants.leave(&new);
        assert_eq!(occupants.evict(), Eviction::Made);
        assert!(idle.evicted.load(Ordering::Relaxed));
        assert_eq!(occupants.evict(), Eviction::None);
    }
}
