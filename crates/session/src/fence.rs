//! Until when a node may let sessions receive data.

mod changes;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use changes::Changes;
pub use changes::FenceChanged;

/// The deadline of a node's lease. After it, another node may have revoked a session without this
/// node knowing. Clones are the same fence.
///
/// The fence of a node without peers ([`Fence::default`]) is always open: no other node can revoke
/// a session of it.
///
/// Whoever writes payload of a session asks the fence right before each system call that writes.
/// A thread that is stopped between the two makes the call when it continues, however late that is.
/// So after the deadline, at most one write call of each worker thread is made (over TLS, what one
/// call has encrypted). A machine whose
/// clocks stand still while it is paused is not covered: its node must [close](Fence::close) the
/// fence when it notices.
#[derive(Clone, Default)]
pub struct Fence(Option<Arc<LeaseDeadline>>);

struct LeaseDeadline {
    /// In nanoseconds on `clock`. While the fence is closed, the time since which it is.
    until: AtomicU64,
    clock: FenceClock,
    /// How many writes had to wait until it opens.
    held: AtomicU64,
    changes: Changes,
}

/// The time since some fixed moment.
enum FenceClock {
    /// `CLOCK_BOOTTIME`: it also runs while the machine sleeps.
    SinceBoot,
    Given(Box<dyn Fn() -> Duration + Send + Sync>),
}

impl Fence {
    /// Returns a fence on the time since the machine was booted. It is closed until it is
    /// [extended](Fence::extend).
    pub fn since_boot() -> Self {
        Self::on(FenceClock::SinceBoot)
    }

    /// Returns a fence with a clock of its own, for tests. It is closed until it is
    /// [extended](Fence::extend). `clock` returns the time since some fixed moment, and must never
    /// go back.
    pub fn with_clock(clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self::on(FenceClock::Given(Box::new(clock)))
    }

    fn on(clock: FenceClock) -> Self {
        let (until, held) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Some(Arc::new(LeaseDeadline { until, clock, held, changes: Changes::default() })))
    }

    /// Returns the current time on the fence's clock; zero if the fence is always open.
    pub fn now(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |lease| Duration::from_nanos(lease.clock.now()))
    }

    /// Moves the deadline to `until` on the fence's clock. Never moves it back.
    pub fn extend(&self, until: Duration) {
        let Some(lease) = &self.0 else { return };
        let until = nanos(until);
        let before = lease.until.fetch_max(until, Ordering::SeqCst);
        // The clock is read after the deadline was moved: whoever has found the fence closed read
        // the clock before, so that this finds it closed too, and wakes them.
        if before < until && before <= lease.clock.now() {
            lease.changes.announce();
        }
    }

    /// Drops the lease: the fence is closed until it is extended again.
    pub fn close(&self) {
        let Some(lease) = &self.0 else { return };
        let now = lease.clock.now();
        if lease.until.fetch_min(now, Ordering::SeqCst) > now {
            lease.changes.announce();
        }
    }

    /// Returns `true` before the deadline.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.0.as_ref().is_none_or(|lease| lease.is_open())
    }

    /// Counts a write that waits until the fence opens.
    pub fn note_held(&self) {
        if let Some(lease) = &self.0 {
            lease.held.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns `true` if no deadline can close it.
    #[inline]
    pub fn is_always_open(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the time until it closes, unless it is extended; `None` if it is closed.
    pub fn left(&self) -> Option<Duration> {
        let Some(lease) = &self.0 else { return Some(Duration::MAX) };
        let until = lease.until.load(Ordering::SeqCst);
        let left = until.checked_sub(lease.clock.now()).filter(|left| *left > 0);
        left.map(Duration::from_nanos)
    }

    /// Returns how long it has been closed; zero while it is open.
    pub fn closed_for(&self) -> Duration {
        let Some(lease) = &self.0 else { return Duration::ZERO };
        let until = lease.until.load(Ordering::SeqCst);
        Duration::from_nanos(lease.clock.now().saturating_sub(until))
    }

    /// Returns how many writes had to wait.
    pub fn held(&self) -> u64 {
        self.0.as_ref().map_or(0, |lease| lease.held.load(Ordering::Relaxed))
    }

    /// Returns a future that resolves when the fence has opened again, or was closed before its
    /// deadline, since this call. Nothing announces that the deadline has passed.
    pub fn changed(&self) -> FenceChanged {
        FenceChanged::new(self.0.clone())
    }

    /// Waits until the fence is open.
    pub async fn opened(&self) {
        loop {
            // Created before the fence is asked, so that no change is missed.
            let changed = self.changed();
            if self.is_open() {
                return;
            }
            changed.await;
        }
    }
}

impl LeaseDeadline {
    #[inline]
    fn is_open(&self) -> bool {
        // The clock is read last, right before the caller writes.
        let until = self.until.load(Ordering::SeqCst);
        let now = self.clock.now();
        // The deadline may have been extended before the clock was read.
        now < until || now < self.until.load(Ordering::SeqCst)
    }
}

impl FenceClock {
    #[inline]
    fn now(&self) -> u64 {
        match self {
            Self::SinceBoot => {
                let now = clock_gettime(ClockId::Boottime);
                // Neither is ever negative.
                now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
            }
            Self::Given(clock) => nanos(clock()),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence").field("is_open", &self.is_open()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
