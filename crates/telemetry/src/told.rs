//! Keeps the log from repeating the same trouble all the time.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long the same trouble is not logged again.
const AGAIN: Duration = Duration::from_secs(60);

/// When each trouble of the last minute was logged.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashMap<String, Instant>>);

impl Told {
    /// Returns whether this is to be logged: it was not within the last minute.
    pub fn is_due(&self, trouble: impl ToString) -> bool {
        let now = Instant::now();
        let mut logged = self.0.lock();
        logged.retain(|_, at| now < *at + AGAIN);
        let trouble = trouble.to_string();
        let is_due = !logged.contains_key(&trouble);
        if is_due {
            logged.insert(trouble, now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_trouble_is_told_once_in_a_minute() {
        let told = Told::default();
        assert!(told.is_due("full") && !told.is_due("full") && told.is_due("away"));
        assert!(!told.is_due("full"), "also if they alternate");
        tokio::time::advance(AGAIN).await;
        assert!(told.is_due("away") && told.is_due("full"));
    }
}
