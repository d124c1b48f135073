//! An instant in 8 bytes: every connection keeps one.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// An instant of the monotonic clock, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompactInstant(NonZeroU64);

impl CompactInstant {
    /// Returns the current instant.
    #[inline] // into the writer: it is called for every event of every client
    pub(crate) fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        // Neither is ever negative, and 64 bits last for more than 500 years.
        let nanos = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
        Self(NonZeroU64::new(nanos).unwrap_or(NonZeroU64::MIN))
    }

    /// Returns the same instant in the standard library's type; never an earlier one.
    pub(crate) fn instant(self) -> Instant {
        let ago = Self::now().0.get() - self.0.get();
        Instant::now() - Duration::from_nanos(ago)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_small_and_is_that_of_the_standard_clock() {
        assert_eq!(size_of::<Option<CompactInstant>>(), 8);
        let (before, moment, after) = (Instant::now(), CompactInstant::now(), Instant::now());
        let (asked, converted) = (Instant::now(), moment.instant());
        assert!(converted >= before);
        // Later only by the time that the conversion takes.
        assert!(converted <= after + asked.elapsed());
    }
}
