//! Limits log lines about clients to one per second: enough to notice a problem, and too few to
//! fill the log.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Allows one line per second.
#[derive(Debug, Default)]
pub struct LogLimiter {
    /// The second in which the next line may be written.
    next: AtomicU64,
}

static BEGIN: OnceLock<Instant> = OnceLock::new();

impl LogLimiter {
    /// Creates a limiter that allows the first line.
    pub const fn new() -> Self {
        Self { next: AtomicU64::new(0) }
    }

    /// Returns `true` if a line may be written now.
    pub fn allows(&self) -> bool {
        let now = BEGIN.get_or_init(Instant::now).elapsed().as_secs();
        let next = self.next.load(Relaxed);
        now >= next && self.next.compare_exchange(next, now + 1, Relaxed, Relaxed).is_ok()
    }
}
