//! How what reads from a broker runs: its client in a task of its own, another one whenever that
//! has ended, until the gateway stops.

use std::fmt::Display;
use std::time::Duration;

use futures_util::future::pending;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// A client that was of use for a shorter time counts as an attempt that has failed.
const SHORT: Duration = Duration::from_secs(5);

/// The first pause before another attempt. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// From the start to the end of what reads from a broker.
pub(crate) struct Lifecycle(watch::Sender<Stage>);

/// Shows a part of it, such as a client, how far it is.
#[derive(Clone)]
pub(crate) struct StageWatch(watch::Receiver<Stage>);

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    /// Nothing more is to be received.
    Leaving,
    /// What was received is published, and how far this is is stored.
    Left,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Stage::Running))
    }

    pub(crate) fn stage(&self) -> StageWatch {
        StageWatch(self.0.subscribe())
    }

    pub(crate) fn is_leaving(&self) -> bool {
        *self.0.borrow() != Stage::Running
    }

    /// Resolves when nothing more is to be received.
    pub(crate) async fn leaves(&self) {
        self.stage().leaves().await;
    }

    /// Resolves when what was received is published.
    pub(crate) async fn has_left(&self) {
        self.stage().reaches(|stage| stage == Stage::Left).await;
    }

    /// Has everything that is received from now on left aside.
    pub(crate) fn leave(&self) {
        self.0.send_replace(Stage::Leaving);
    }

    /// Runs one client after the other, until this [leaves](Self::leave). Never returns.
    ///
    /// Calls `lost` whenever a client has ended, and `failed` with the reason if another one
    /// follows. `most` is the limit of the pause before it.
    pub(crate) async fn run<C, E>(
        &self,
        most: Duration,
        client: impl Fn() -> C,
        lost: impl Fn(),
        failed: impl Fn(&dyn Display),
    ) where
        C: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let mut failures = 0;
        while !self.is_leaving() {
            let began = Instant::now();
            // A panic, here or in the library, costs what was received, and a new client.
            let mut task = JoinSet::new();
            task.spawn(client());
            let ended = task.join_next().await;
            lost();
            if self.is_leaving() {
                break;
            }
            match ended {
                Some(Ok(Err(error))) => failed(&error),
                Some(Err(panic)) => failed(&panic),
                Some(Ok(Ok(()))) | None => failed(&"the client has stopped"),
            }
            failures = if began.elapsed() < SHORT { failures + 1 } else { 1 };
            // An error means that the time is up.
            let _ = timeout(pause(failures, most), self.leaves()).await;
        }
        self.0.send_replace(Stage::Left);
        pending().await
    }
}

impl StageWatch {
    #[cfg(any(feature = "kafka", feature = "kinesis"))]
    pub(crate) fn is_leaving(&self) -> bool {
        *self.0.borrow() != Stage::Running
    }

    /// Resolves when nothing more is to be received.
    pub(crate) async fn leaves(&self) {
        self.reaches(|stage| stage != Stage::Running).await;
    }

    async fn reaches(&self, is_reached: impl Fn(Stage) -> bool) {
        // An error means that all is gone, which is after the last stage.
        let _ = self.0.clone().wait_for(|stage| is_reached(*stage)).await;
    }
}

/// Returns the pause after a number of failures in a row, with jitter: many gateways that have lost
/// the same broker do not come back in step.
pub(crate) fn pause(failures: u32, most: Duration) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(most).mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio::task::yield_now;

    use super::*;

    #[test]
    fn pauses_grow_up_to_their_limit() {
        for (failures, least, most) in [(0, 50, 100), (1, 50, 100), (2, 100, 200), (9, 5000, 10_000)] {
            let pause = pause(failures, Duration::from_secs(10)).as_millis();
            assert!((least..=most).contains(&pause), "{failures}: {pause}");
        }
        assert!(pause(u32::MAX, Duration::from_secs(10)) <= Duration::from_secs(10));
    }

    /// Runs clients that end as their numbers say, and returns what is noted of them.
    fn run(
        ends: impl Fn(usize) -> Result<(), &'static str> + Send + Sync + 'static,
    ) -> (Arc<Lifecycle>, Notes) {
        let (lifecycle, notes, ends) = (Arc::new(Lifecycle::new()), Notes::default(), Arc::new(ends));
        let (of, to) = (lifecycle.clone(), notes.clone());
        tokio::spawn(async move {
            let number = Mutex::new(0);
            let client = || {
                let (count, ends, stage) = (*number.lock(), ends.clone(), of.clone());
                *number.lock() += 1;
                to.lock().push("client".to_owned());
                async move {
                    match ends(count) {
                        Ok(()) => stage.leaves().await,
                        Err("panic") => panic!("a test"),
                        Err(reason) => return Err(reason),
                    }
                    Ok(())
                }
            };
            let lost = || to.lock().push("lost".to_owned());
            let failed = |reason: &dyn Display| to.lock().push(reason.to_string());
            of.run(Duration::from_secs(10), client, lost, failed).await;
        });
        (lifecycle, notes)
    }

    type Notes = Arc<Mutex<Vec<String>>>;

    #[tokio::test(start_paused = true)]
    async fn another_client_follows_one_that_fails_or_panics() {
        let (lifecycle, notes) = run(|number| match number {
            0 => Err("away"),
            1 => Err("panic"),
            _ => Ok(()),
        });
        while notes.lock().len() < 7 {
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        lifecycle.leave();
        lifecycle.has_left().await;
        let mut notes = notes.lock();
        let panic = notes.remove(5);
        assert!(panic.contains("panicked"), "{panic}");
        assert_eq!(notes[..], ["client", "lost", "away", "client", "lost", "client", "lost"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_during_a_pause_starts_no_other_client() {
        let (lifecycle, notes) = run(|_| Err("away"));
        while notes.lock().len() < 3 {
            yield_now().await;
        }
        let began = Instant::now();
        lifecycle.leave();
        lifecycle.has_left().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(notes.lock()[..], ["client", "lost", "away"]);
    }
}
