//! Time: the monotonic clock on which everything counts down (d08), in ticks, and the time of day
//! that tokens speak of.

use std::time::{Duration, Instant, SystemTime};

/// Where the time comes from: the system, or a test.
pub trait Clock: Send + Sync + 'static {
    /// The moment now; never goes back.
    fn now(&self) -> Instant;

    /// The time of day, in which tokens say when they end. Read once for each token; may be set by
    /// anybody.
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// The system's monotonic clock.
pub(crate) struct Monotonic;

impl Clock for Monotonic {
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// A moment in [`TICK`]s since the sessions were made. Four bytes, because there are ten million of
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) u32);

/// A tenth of a second, in milliseconds: a revocation may last that much longer than asked for,
/// never shorter.
const TICK: u128 = 100;

impl Tick {
    /// Later than anything else: thirteen years and more never expire.
    pub(crate) const NEVER: Self = Self(u32::MAX);

    /// The first tick that begins no earlier than this time.
    pub(crate) fn after(time: Duration) -> Self {
        Self::of(time.as_nanos().div_ceil(TICK * 1_000_000))
    }

    /// The tick that this time lies in.
    pub(crate) fn within(time: Duration) -> Self {
        Self::of(time.as_millis() / TICK)
    }

    fn of(ticks: u128) -> Self {
        u32::try_from(ticks).map_or(Self::NEVER, Self)
    }

    /// The time up to here.
    pub(crate) fn time(self) -> Duration {
        Duration::from_millis(u64::from(self.0) * TICK as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_rounded_up_and_a_moment_down() {
        assert_eq!(Tick::after(Duration::from_millis(101)), Tick(2));
        assert_eq!(Tick::after(Duration::from_millis(100)), Tick(1));
        assert_eq!(Tick::after(Duration::from_nanos(100_000_001)), Tick(2));
        assert_eq!(Tick::within(Duration::from_millis(199)), Tick(1));
        assert_eq!(Tick::after(Duration::MAX), Tick::NEVER);
        assert_eq!(Tick(3).time(), Duration::from_millis(300));
    }
}
