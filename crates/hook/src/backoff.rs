//! How long to wait between two attempts.

use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_secs(1);

/// The longest pause, also if the recipient asks for a longer one: otherwise one answer could keep
/// events away from it for days.
const LONGEST: Duration = Duration::from_secs(60);

/// Doubles the pause with each failure in a row.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self(FIRST)
    }

    /// Returns the pause after a failure: no shorter than the recipient asks for, if it does.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let pause = self.0.max(asked.unwrap_or_default()).min(LONGEST);
        self.0 = (self.0 * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_whatever_the_recipient_asks_for() {
        let seconds = |asked: [Option<u64>; 9]| {
            let mut backoff = Backoff::new();
            asked.map(|asked| backoff.next(asked.map(Duration::from_secs)).as_secs())
        };
        assert_eq!(seconds([None; 9]), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        let asked = [Some(0), Some(10), Some(u64::MAX), None, None, None, None, Some(61), Some(3)];
        assert_eq!(seconds(asked), [1, 10, 60, 8, 16, 32, 60, 60, 60]);
    }
}
