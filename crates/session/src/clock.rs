//! The monotonic clock on which validities count down (d08).

use std::time::Instant;

/// Where the time comes from: the system, or a test.
pub trait Clock: Send + Sync + 'static {
    /// The moment now; never goes back.
    fn now(&self) -> Instant;
}

/// The system's monotonic clock.
pub(crate) struct Monotonic;

impl Clock for Monotonic {
    fn now(&self) -> Instant {
        Instant::now()
    }
}
