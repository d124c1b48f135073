//! How many clients may connect within a minute.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// The limit of clients that come back, in limits of new ones.
const RETURNING: NonZeroU32 = NonZeroU32::new(10).expect("it is not 0");

/// The limits of connects within a minute, over all transports.
///
/// A browser closes its `EventSource` for good if a reconnect is answered with 429, and after a
/// restart all clients come back at once. So those that bring an id of the gateway have a limit of
/// their own. It is limited as well, because an id is no secret and can be sent any number of
/// times: whoever replays one has ten times as many connects, and no more.
pub(crate) struct ConnectLimits {
    new: DefaultDirectRateLimiter,
    returning: DefaultDirectRateLimiter,
}

impl ConnectLimits {
    /// Returns the limits for this many new clients within a minute.
    pub(crate) fn new(per_minute: NonZeroU32) -> Self {
        let limit = |limit| RateLimiter::direct(Quota::per_minute(limit));
        Self { new: limit(per_minute), returning: limit(per_minute.saturating_mul(RETURNING)) }
    }

    /// Counts a connect. A client that comes back counts as a new one only if the limit of those
    /// that come back is reached.
    ///
    /// # Errors
    /// Fails if the limit is reached, with the time until a connect is admitted.
    pub(crate) fn check(&self, is_returning: bool) -> Result<(), Duration> {
        if is_returning && self.returning.check().is_ok() {
            return Ok(());
        }
        self.new.check().map_err(|until| until.wait_time_from(self.new.clock().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: NonZeroU32 = NonZeroU32::new(2).unwrap();

    fn admitted(limits: &ConnectLimits, is_returning: bool) -> usize {
        (0..100).take_while(|_| limits.check(is_returning).is_ok()).count()
    }

    #[test]
    fn clients_that_come_back_are_admitted_when_new_ones_are_not() {
        let limits = ConnectLimits::new(TWO);
        assert_eq!(admitted(&limits, false), 2);
        let wait = limits.check(false).unwrap_err();
        assert!(wait > Duration::from_secs(20) && wait <= Duration::from_secs(30), "{wait:?}");
        assert_eq!(admitted(&limits, true), 20);
    }

    #[test]
    fn clients_that_come_back_take_nothing_from_new_ones_within_their_limit() {
        let limits = ConnectLimits::new(TWO);
        for _ in 0..20 {
            assert_eq!(limits.check(true), Ok(()));
        }
        assert_eq!(admitted(&limits, false), 2);
    }

    #[test]
    fn beyond_their_limit_they_count_as_new_ones() {
        let limits = ConnectLimits::new(TWO);
        assert_eq!(admitted(&limits, true), 22);
        assert!(limits.check(false).is_err());
    }

    #[test]
    fn the_greatest_limit_stays_one() {
        let limits = ConnectLimits::new(NonZeroU32::MAX);
        assert_eq!((limits.check(true), limits.check(false)), (Ok(()), Ok(())));
    }
}
