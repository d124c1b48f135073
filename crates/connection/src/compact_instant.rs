//! An instant in 8 bytes: every connection keeps one.

use std::num::NonZeroU64;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// An instant of the monotonic clock, in nanoseconds since the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompactInstant(NonZeroU64);

/// The first instant of the process.
static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);

impl CompactInstant {
    /// Returns the current instant.
    #[inline] // into the writer: it is called for every event of every client
    pub(crate) fn now() -> Self {
        // The first one is a nanosecond late. 64 bits last for more than 500 years.
        let nanos = FIRST.elapsed().as_nanos() as u64;
        Self(NonZeroU64::new(nanos).unwrap_or(NonZeroU64::MIN))
    }

    /// Returns the same instant in the standard library's type.
    pub(crate) fn instant(self) -> Instant {
        *FIRST + Duration::from_nanos(self.0.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_small_and_exact() {
        assert_eq!(size_of::<Option<CompactInstant>>(), 8);
        let (before, moment, after) = (Instant::now(), CompactInstant::now(), Instant::now());
        assert!(
            (before..=after).contains(&moment.instant())
                || moment.instant() <= after + Duration::from_nanos(1)
        );
    }
}
