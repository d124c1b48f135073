//! Keeps the log from repeating the same trouble all the time.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long the same trouble is not logged again.
const AGAIN: Duration = Duration::from_secs(60);

/// The trouble that was logged last.
#[derive(Default)]
pub(crate) struct Told(Mutex<Option<(String, Instant)>>);

impl Told {
    /// Returns whether this is to be logged: it is another trouble than the last one, or that was
    /// a minute ago.
    pub(crate) fn is_due(&self, trouble: impl ToString) -> bool {
        let (trouble, now) = (trouble.to_string(), Instant::now());
        let mut last = self.0.lock();
        let is_due = last.as_ref().is_none_or(|(known, at)| *known != trouble || now >= *at + AGAIN);
        if is_due {
            *last = Some((trouble, now));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_trouble_is_told_once_in_a_minute_and_another_one_at_once() {
        let told = Told::default();
        assert!(told.is_due("full") && !told.is_due("full") && told.is_due("away"));
        tokio::time::advance(AGAIN).await;
        assert!(told.is_due("away"));
    }
}
