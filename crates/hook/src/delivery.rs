//! Takes changes out of an outbox and hands them to a recipient, in their order.

use std::convert::Infallible;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use journal::{Change, Outbox};
use parking_lot::Mutex;
use session::LogError;
use telemetry::Told;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use crate::backoff::Backoff;
use crate::event::{Event, Source};
use crate::metrics::{ByRecipient, Metrics, Outcome, To};
use crate::recipient::{Failure, Recipient};

/// How long a change is kept while its recipient does not take it.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// How many changes are read at a time.
const AT_ONCE: usize = 64;

/// How long to wait if the outbox cannot be read, or the recipient has panicked.
const AGAIN: Duration = Duration::from_secs(1);

/// Delivers the changes of an outbox to one recipient, each at least once. One is sent at a time,
/// and the next one when the recipient has it.
///
/// A change that the recipient does not take is sent again after a second, then after two, up to
/// once a minute. It is given up when it has been queued for a day and nothing could be sent for a
/// day: what is queued when a node starts, however long it was down, has a day as well.
pub struct Delivery {
    to: To,
    outbox: Arc<dyn Outbox>,
    recipient: Arc<dyn Recipient>,
    source: Source,
    metrics: Metrics,
    state: Arc<State>,
    told: Told,
}

/// What outlives one attempt, or is shown.
#[derive(Default)]
struct State {
    /// How long the oldest change had been queued when it was read, and when that was.
    oldest: Mutex<Option<(Duration, Instant)>>,
    /// Whether the last attempt has failed.
    is_failing: AtomicBool,
    /// Notified when a change has left the outbox, or an attempt has failed.
    moved: Notify,
    /// How many of the changes that the outbox had no room for are counted.
    full: AtomicU64,
}

/// Failures in a row.
struct Failing {
    since: Instant,
    cause: String,
    backoff: Backoff,
}

impl Delivery {
    /// Returns a delivery to `recipient`; it sends when it is [run](Delivery::run).
    pub fn new(
        to: To,
        outbox: Arc<dyn Outbox>,
        recipient: Arc<dyn Recipient>,
        source: Source,
        metrics: Metrics,
    ) -> Self {
        let state = Arc::<State>::default();
        Self { to, outbox, recipient, source, metrics, state, told: Told::default() }
    }

    /// Begins to show what is queued for these recipients.
    ///
    /// # Panics
    /// Panics if it is called twice with the same metrics.
    pub fn watch(metrics: &Metrics, deliveries: &[Arc<Self>]) {
        let outboxes: Vec<_> = deliveries
            .iter()
            .map(|delivery| (delivery.to, delivery.outbox.clone(), delivery.state.clone()))
            .collect();
        let shown = outboxes.clone();
        metrics.queue.sample_with(move |queue| {
            for (to, outbox, _) in &shown {
                let queued = i64::try_from(outbox.counts().queued).unwrap_or(i64::MAX);
                queue.get_or_create(&ByRecipient { to: *to }).set(queued);
            }
        });
        metrics.oldest.sample_with(move |oldest| {
            for (to, outbox, state) in &outboxes {
                let read = state.oldest.lock().filter(|_| outbox.counts().queued > 0);
                let age = read.map_or(Duration::ZERO, |(age, at)| age + at.elapsed());
                oldest.get_or_create(&ByRecipient { to: *to }).set(age.as_secs_f64());
            }
        });
        for delivery in deliveries {
            for result in [Outcome::Sent, Outcome::Failed, Outcome::Dropped] {
                metrics.count(delivery.to, result, 0);
            }
        }
    }

    /// Delivers. Never returns; what is queued stays in the outbox if it is dropped. If the
    /// recipient panics, its event is sent again.
    pub async fn run(&self) -> Infallible {
        loop {
            // The panic hook has reported the panic.
            let Err(_) = AssertUnwindSafe(self.deliver()).catch_unwind().await;
            sleep(AGAIN).await;
        }
    }

    /// Waits until everything that is queued was delivered, or an attempt fails, but no longer than
    /// `within`.
    pub async fn leave(&self, within: Duration) {
        let delivered = async {
            loop {
                let moved = self.state.moved.notified();
                if self.outbox.counts().queued == 0 || self.state.is_failing.load(Ordering::Relaxed) {
                    return;
                }
                moved.await;
            }
        };
        let _ = timeout(within, delivered).await;
        let queued = self.outbox.counts().queued;
        if queued > 0 {
            let to = self.to.as_str();
            tracing::warn!(to, queued, "not all revocations were reported before this gateway stops");
        }
    }

    async fn deliver(&self) -> Infallible {
        let mut failing: Option<Failing> = None;
        loop {
            self.count_full();
            let changes = match self.oldest().await {
                Ok(changes) => changes,
                Err(error) => {
                    if self.told.is_due("read") {
                        tracing::error!(to = self.to.as_str(), %error, "revocations that are to be reported cannot be read");
                    }
                    sleep(AGAIN).await;
                    continue;
                }
            };
            *self.state.oldest.lock() = changes.first().map(|first| (first.age, Instant::now()));
            let too_old = |change: &&Change| {
                change.age >= KEPT && failing.as_ref().is_some_and(|failing| failing.since.elapsed() >= KEPT)
            };
            match changes.iter().take_while(too_old).count() {
                0 if changes.is_empty() => self.outbox.added().notified().await,
                0 => self.send(&changes, &mut failing).await,
                count => self.give_up(&changes[..count]),
            }
        }
    }

    async fn oldest(&self) -> Result<Vec<Change>, LogError> {
        let outbox = self.outbox.clone();
        let read = spawn_blocking(move || outbox.oldest(AT_ONCE)).await;
        read.unwrap_or_else(|panicked| Err(LogError(panicked.into())))
    }

    /// Sends changes up to the first that is not taken, and waits before that one is sent again.
    async fn send(&self, changes: &[Change], failing: &mut Option<Failing>) {
        for change in changes {
            let Ok(event) = Event::new(change, &self.source) else {
                // No version of this program has queued it.
                tracing::error!(sequence = change.sequence, "a revocation that is to be reported is damaged");
                self.give_up(std::slice::from_ref(change));
                return;
            };
            if let Err(failure) = self.recipient.send(&event).await {
                self.metrics.count(self.to, Outcome::Failed, 1);
                let pause = self.failed(failure, failing);
                sleep(pause).await;
                return;
            }
            self.metrics.count(self.to, Outcome::Sent, 1);
            self.outbox.sent(change);
            self.state.is_failing.store(false, Ordering::Relaxed);
            self.state.moved.notify_waiters();
            if let Some(failed) = failing.take() {
                let (to, seconds) = (self.to.as_str(), failed.since.elapsed().as_secs());
                let queued = self.outbox.counts().queued;
                tracing::info!(to, seconds, queued, "revocations are reported again");
            }
        }
    }

    /// Notes a failure, and logs it if it is the first one or has another cause than the one
    /// before. Returns how long to wait.
    fn failed(&self, failure: Failure, failing: &mut Option<Failing>) -> Duration {
        let Failure { cause, retry_after } = failure;
        let is_new = failing.as_ref().is_none_or(|failing| failing.cause != cause);
        if is_new {
            let queued = self.outbox.counts().queued;
            tracing::warn!(to = self.to.as_str(), cause, queued, "revocations are not reported");
        }
        let failing = failing.get_or_insert_with(|| Failing {
            since: Instant::now(),
            cause: String::new(),
            backoff: Backoff::new(),
        });
        failing.cause = cause;
        self.state.is_failing.store(true, Ordering::Relaxed);
        self.state.moved.notify_waiters();
        failing.backoff.next(retry_after)
    }

    fn give_up(&self, changes: &[Change]) {
        self.outbox.give_up(changes);
        self.state.moved.notify_waiters();
        self.lost(changes.len() as u64, "not taken for a day");
    }

    /// Counts the changes that the outbox had no room for.
    fn count_full(&self) {
        let full = self.outbox.counts().full;
        let counted = self.state.full.swap(full, Ordering::Relaxed);
        if full > counted {
            self.lost(full - counted, "the queue is full");
        }
    }

    fn lost(&self, count: u64, reason: &'static str) {
        self.metrics.count(self.to, Outcome::Dropped, count);
        if self.told.is_due(reason) {
            tracing::error!(
                to = self.to.as_str(),
                count,
                reason,
                "revocations are not reported, and never will be"
            );
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("to", &self.to).finish_non_exhaustive()
    }
}
