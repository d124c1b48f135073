//! The time that is left to look for what subscriptions have missed that are added late.

use std::time::{Duration, Instant};

/// The part of the time that such searches may take, of all connections together: no event takes
/// its position meanwhile.
const SHARE: u32 = 4;
/// What they may take at once after a while without any.
const MOST: Duration = Duration::from_secs(1);

/// The time that is left for searches.
#[derive(Debug)]
pub(crate) struct SearchTime {
    /// When everything that they took is within their part of the time.
    due: Instant,
}

impl SearchTime {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { due: now }
    }

    /// Returns `true` if a search may begin.
    pub(crate) fn is_left(&self, now: Instant) -> bool {
        self.due.saturating_duration_since(now) < MOST * SHARE
    }

    /// Counts what a search took that began then.
    pub(crate) fn spend(&mut self, began: Instant, taken: Duration) {
        self.due = self.due.max(began) + taken * SHARE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_take_a_quarter_of_the_time() {
        let start = Instant::now();
        let mut time = SearchTime::new(start);
        let search = Duration::from_millis(4);
        let mut spent = Duration::ZERO;
        // One is tried each millisecond, for a minute.
        for millisecond in 0..60_000 {
            let now = start + Duration::from_millis(millisecond);
            if time.is_left(now) {
                time.spend(now, search);
                spent += search;
            }
        }
        let most = MOST + Duration::from_secs(60) / SHARE;
        assert!(spent <= most + search && spent > most * 9 / 10, "{spent:?}");
    }

    #[test]
    fn time_that_is_not_used_is_not_saved_for_ever() {
        let start = Instant::now();
        let mut time = SearchTime::new(start);
        let later = start + Duration::from_secs(3600);
        assert!(time.is_left(later));
        time.spend(later, MOST);
        assert!(!time.is_left(later));
        assert!(time.is_left(later + Duration::from_millis(1)));
    }
}
