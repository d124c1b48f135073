//! Time in steps that fit four bytes.

use std::time::{Duration, Instant};

/// A moment in [`STEP`]s. Four bytes, since each event has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u32);

/// The length of a step. An event is kept less than two steps longer than asked for, never shorter.
const STEP: Duration = Duration::from_millis(MILLIS as u64);
const MILLIS: u32 = 100;
const STEPS_PER_SECOND: u64 = 1000 / MILLIS as u64;

/// Converts the monotonic time. Never goes back, whatever it is given.
#[derive(Debug)]
pub(crate) struct Clock {
    /// The instant of the moment `keep`, so that there are moments for all that may have been
    /// loaded.
    origin: Instant,
    keep: u32,
    latest: Moment,
}

impl Clock {
    /// The longest time that anything can be kept: 6 years.
    const LONGEST: u32 = u32::MAX / 2;

    pub(crate) fn new(now: Instant, keep: Duration) -> Self {
        let steps = keep.as_millis().div_ceil(STEP.as_millis());
        let keep = u32::try_from(steps).unwrap_or(Self::LONGEST).min(Self::LONGEST);
        Self { origin: now, keep, latest: Moment(keep) }
    }

    /// Returns the moment of now. An earlier instant than before counts as the one before.
    pub(crate) fn at(&mut self, now: Instant) -> Moment {
        // Not by `as_millis`: a division of 128 bits takes as long as the rest of a push.
        let elapsed = now.saturating_duration_since(self.origin);
        let steps = elapsed.as_secs() * STEPS_PER_SECOND + u64::from(elapsed.subsec_millis() / MILLIS);
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.latest = self.latest.max(Moment(self.keep.saturating_add(steps)));
        self.latest
    }

    /// Returns `true` if what is of `moment` is too old to be kept.
    pub(crate) const fn is_past(&self, moment: Moment) -> bool {
        self.latest.0.saturating_sub(moment.0) > self.keep
    }

    /// Returns how long ago a moment was.
    pub(crate) fn age(&self, moment: Moment) -> Duration {
        STEP * self.latest.0.saturating_sub(moment.0)
    }

    /// Returns the moment this long ago; `None` if that is too old to be kept.
    pub(crate) fn ago(&self, age: Duration) -> Option<Moment> {
        let steps = u32::try_from(age.as_millis().div_ceil(STEP.as_millis())).ok()?;
        (steps <= self.keep).then(|| Moment(self.latest.0.saturating_sub(steps)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_past_before_its_time() {
        let start = Instant::now();
        for late in [0, 1, 50, 99] {
            let mut clock = Clock::new(start, Duration::from_millis(1050));
            let moment = clock.at(start + Duration::from_millis(late));
            clock.at(start + Duration::from_millis(late + 1050));
            assert!(!clock.is_past(moment), "{late}");
            clock.at(start + Duration::from_millis(late + 1250));
            assert!(clock.is_past(moment), "{late}");
        }
    }

    #[test]
    fn r29_an_earlier_instant_changes_nothing() {
        let start = Instant::now();
        let mut clock = Clock::new(start, Duration::from_secs(1));
        let later = clock.at(start + Duration::from_secs(5));
        assert_eq!(clock.at(start), later);
        assert_eq!(clock.latest, later);
    }

    #[test]
    fn an_age_leads_back_to_its_moment() {
        let start = Instant::now();
        let mut clock = Clock::new(start, Duration::from_secs(10));
        clock.at(start + Duration::from_secs(3));
        for age in [0, 1, 4, 10].map(Duration::from_secs) {
            assert_eq!(clock.ago(age).map(|moment| clock.age(moment)), Some(age));
        }
        assert_eq!(clock.ago(Duration::from_millis(10_001)), None);
        assert_eq!(clock.ago(Duration::MAX), None);
    }
}
