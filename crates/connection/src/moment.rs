//! A moment in half the bytes: every connection remembers one.

use std::num::NonZeroU64;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A moment on the monotonic clock, in nanoseconds since the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(NonZeroU64);

/// The first moment of the process.
static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Moment {
    /// This moment.
    pub(crate) fn now() -> Self {
        // The first one is a nanosecond late. The last one is after more than 500 years.
        let nanos = FIRST.elapsed().as_nanos() as u64;
        Self(NonZeroU64::new(nanos).unwrap_or(NonZeroU64::MIN))
    }

    /// The same moment as the clock has it.
    pub(crate) fn instant(self) -> Instant {
        *FIRST + Duration::from_nanos(self.0.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_small_and_exact() {
        assert_eq!(size_of::<Option<Moment>>(), 8);
        let (before, moment, after) = (Instant::now(), Moment::now(), Instant::now());
        assert!(
            (before..=after).contains(&moment.instant())
                || moment.instant() <= after + Duration::from_nanos(1)
        );
    }
}
