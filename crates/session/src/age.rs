//! The age of a token: its `iat`, corrected for issuers whose clock is ahead.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tokens of any age.
pub(crate) const ALL: u32 = u32::MAX;

/// Lower bound, in seconds, of how far the clock of an issuer may be ahead before the `iat` of its
/// tokens is ignored.
const SKEW: u32 = 60;

/// A moment at which tokens are judged, in the seconds since 1970 that `iat` counts (RFC 7519,
/// section 4.1.6).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    now: u32,
    /// How far the clocks of issuers may be ahead.
    skew: u32,
}

impl Moment {
    pub(crate) fn new(now: SystemTime, leeway: Duration) -> Self {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let seconds = |seconds: u64| u32::try_from(seconds).unwrap_or(ALL);
        Self { now: seconds(now), skew: seconds(leeway.as_secs()).max(SKEW) }
    }

    /// Returns the current second.
    pub(crate) fn now(self) -> u32 {
        self.now
    }

    /// Returns the earliest second in which a token with this `iat` can have been issued.
    ///
    /// A token that is presented was issued before now. If its `iat` is later, the clock of its
    /// issuer is ahead. If it is ahead by more than clocks may be, the `iat` is ignored and the
    /// token counts as older than all others, like one without `iat`. So a token never escapes a
    /// revocation by its `iat`, and a newer login is accepted as soon as both clocks agree that it
    /// is newer.
    pub(crate) fn earliest(self, issued_at: u32) -> u32 {
        match issued_at.checked_sub(self.now) {
            None | Some(0) => issued_at,
            Some(ahead) if ahead <= self.skew => issued_at.saturating_sub(self.skew),
            Some(_) => 0,
        }
    }

    /// Returns `true` if this `iat` is ahead, but by no more than clocks may be.
    pub(crate) fn is_skewed(self, issued_at: u32) -> bool {
        (1..=self.skew).contains(&issued_at.saturating_sub(self.now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f40_an_iat_ahead_of_the_clock_counts_as_past() {
        let at = |now: u64, leeway: u64| {
            Moment::new(UNIX_EPOCH + Duration::from_millis(now * 1000 + 999), Duration::from_secs(leeway))
        };
        for leeway in [0, 60] {
            for (issued_at, earliest) in
                [(0, 0), (999, 999), (1000, 1000), (1001, 941), (1060, 1000), (1061, 0), (ALL - 1, 0)]
            {
                assert_eq!(at(1000, leeway).earliest(issued_at), earliest, "{issued_at}");
            }
        }
        assert_eq!(at(1000, 300).earliest(1300), 1000);
        assert_eq!(at(10, 0).earliest(20), 0, "nothing is before 1970");
        assert_eq!(
            [1000, 1001, 1060, 1061].map(|iat| at(1000, 0).is_skewed(iat)),
            [false, true, true, false]
        );
    }
}
