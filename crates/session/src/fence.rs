//! Until when a node may let sessions receive data.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The deadline of a node's lease. After it, another node may have revoked a session without this
/// node knowing. Clones are the same fence.
///
/// The fence of a node without peers ([`Fence::default`]) is always open: no other node can revoke
/// a session of it.
#[derive(Clone, Default)]
pub struct Fence(Option<Arc<LeaseDeadline>>);

struct LeaseDeadline {
    /// In nanoseconds on `clock`.
    until: AtomicU64,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
}

impl Fence {
    /// Returns a fence that is closed until it is [extended](Fence::extend). `clock` returns the
    /// time since some fixed moment. It must never go back, and must not stand still while the
    /// machine sleeps (`CLOCK_BOOTTIME`).
    pub fn new(clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(LeaseDeadline { until: AtomicU64::new(0), clock: Box::new(clock) })))
    }

    /// Moves the deadline to `until` on the fence's clock. Never moves it back.
    pub fn extend(&self, until: Duration) {
        if let Some(deadline) = &self.0 {
            let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
            deadline.until.fetch_max(until, Ordering::SeqCst);
        }
    }

    /// Returns `true` before the deadline.
    pub fn is_open(&self) -> bool {
        self.0.as_ref().is_none_or(|deadline| {
            (deadline.clock)().as_nanos() < deadline.until.load(Ordering::SeqCst).into()
        })
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence").field("is_open", &self.is_open()).finish_non_exhaustive()
    }
}
