//! Time: the monotonic clock on which every validity counts down (d08), in ticks, and the time of
//! day that tokens refer to.

use std::time::{Duration, Instant, SystemTime};

/// A source of time: the system, or a test.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current moment; never goes back.
    fn now(&self) -> Instant;

    /// Returns the time of day, in which tokens state when they were issued and when they expire.
    /// It may be set at any time, so the expiry of a token is converted only once.
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

/// A moment in [`TICK`]s since the sessions were created. Four bytes, because there may be ten
/// million of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) u32);

/// A tenth of a second, in milliseconds: a revocation may last that much longer than asked for,
/// never shorter.
const TICK: u128 = 100;

impl Tick {
    /// Later than every other tick. A time of thirteen years or more never expires.
    pub(crate) const NEVER: Self = Self(u32::MAX);

    /// Returns the first tick that begins no earlier than this time.
    pub(crate) fn after(time: Duration) -> Self {
        Self::of(time.as_nanos().div_ceil(TICK * 1_000_000))
    }

    /// Returns the tick that contains this time.
    pub(crate) fn within(time: Duration) -> Self {
        Self::of(time.as_millis() / TICK)
    }

    fn of(ticks: u128) -> Self {
        u32::try_from(ticks).map_or(Self::NEVER, Self)
    }

    /// Returns the time from the first tick to this one.
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
