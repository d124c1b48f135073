//! The feeds of one issuer, and their limits.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use auth::SecretFile;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use identity::{FeedConfig, SeenSessions};
use listener::LogLimiter;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::feeds::Feed;
use crate::metrics::{FeedName, StatementResult};
use crate::signatures::Signatures;

/// Limit of statements of an issuer that are checked at once. Others wait.
const CHECKS: usize = 64;

/// Limit of statements of an issuer that wait for its keys. Others wait for these.
const FETCHES: usize = 64;

/// Limit of statements that are refused without delay, each second. Senders of further ones wait
/// for [`PENALTY`]: so guessing is slow, and a valid statement is never refused because of others.
const FAILURES: NonZeroU32 = NonZeroU32::new(20).expect("not zero");

/// How long the answer to a refused statement waits beyond the limit.
const PENALTY: Duration = Duration::from_secs(1);

/// The feeds of one issuer.
pub(crate) struct IssuerFeeds {
    pub(crate) config: FeedConfig,
    pub(crate) signatures: Arc<dyn Signatures>,
    pub(crate) seen: Arc<SeenSessions>,
    pub(crate) checks: Semaphore,
    pub(crate) fetches: Semaphore,
    /// The token of a transmitter that pushes, if it must present one.
    pub(crate) bearer: Option<SecretFile>,
    /// The secret of the client that fetches.
    pub(crate) poll_secret: Option<SecretFile>,
    pub(crate) log: LogLimiter,
    /// Limits lines about statements that could not be taken: forged ones do not hide them.
    pub(crate) log_of_unavailable: LogLimiter,
    failures: DefaultDirectRateLimiter,
    last: Mutex<BTreeMap<FeedName, LastStatement>>,
}

/// The last statement of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastStatement {
    /// The feed.
    pub feed: FeedName,
    /// When it was answered.
    pub at: SystemTime,
    /// What became of it.
    pub result: StatementResult,
}

impl IssuerFeeds {
    /// Reads the files with secrets.
    pub(crate) fn new(Feed { config, signatures, seen }: Feed) -> Self {
        let events = config.events.as_ref();
        let bearer = events.and_then(|events| events.bearer_file.clone()).map(SecretFile::new);
        let poll = events.and_then(|events| events.poll.as_ref());
        let poll_secret = poll.map(|poll| SecretFile::new(poll.client_secret_file.clone()));
        Self {
            config,
            signatures,
            seen,
            checks: Semaphore::new(CHECKS),
            fetches: Semaphore::new(FETCHES),
            bearer,
            poll_secret,
            log: LogLimiter::new(),
            log_of_unavailable: LogLimiter::new(),
            failures: RateLimiter::direct(Quota::per_second(FAILURES)),
            last: Mutex::default(),
        }
    }

    /// Returns whether the issuer has this feed.
    pub(crate) fn has(&self, feed: FeedName) -> bool {
        match feed {
            FeedName::Logout => self.config.has_logout(),
            FeedName::Events => self.config.has_events(),
            FeedName::GlobalTokenRevocation => self.config.has_global_revocation(),
            FeedName::Poll => self.poll_secret.is_some(),
        }
    }

    /// Delays the answer to a refused statement if there are too many.
    pub(crate) async fn slow_down(&self) {
        if self.failures.check().is_err() {
            sleep(PENALTY).await;
        }
    }

    /// Notes what became of a statement.
    pub(crate) fn note(&self, feed: FeedName, result: StatementResult) {
        let last = LastStatement { feed, at: SystemTime::now(), result };
        self.last.lock().insert(feed, last);
    }

    /// Returns the last statement of each feed that has had any.
    pub(crate) fn last(&self) -> Vec<LastStatement> {
        self.last.lock().values().copied().collect()
    }

    /// Reads the files with secrets again.
    pub(crate) fn refresh(&self, forced: bool) {
        for file in [&self.bearer, &self.poll_secret].into_iter().flatten() {
            file.refresh(forced);
        }
    }
}
