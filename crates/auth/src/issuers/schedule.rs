//! When the key set of an issuer is fetched, and which keys count as withdrawn. No I/O.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{IssuerConfig, KeysFrom};
use crate::key_set::KeySet;

/// How much a pause may deviate, so that the fetches of many nodes do not coincide.
const JITTER: f64 = 0.1;

/// The shortest interval: an issuer can ask for it with `max-age`, and refused requests for keys
/// cause it.
const SHORTEST: Duration = Duration::from_secs(60);

/// The pause after the first failure. Each further one is twice as long, up to the interval.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// How often a file is looked at.
const FILE_INTERVAL: Duration = Duration::from_secs(5);

/// How far apart two good fetches without a key are for it to count as withdrawn: the servers of an
/// issuer may disagree for a while.
const CONFIRMATION: Duration = Duration::from_secs(30);

/// The times of fetches, and what they have brought. Takes the time as an argument.
#[derive(Debug)]
pub(super) struct Schedule {
    interval: Duration,
    max_stale: Duration,
    /// When the next regular fetch begins.
    next: Instant,
    /// The last good key set, even if it is no longer in force.
    last: Option<Arc<KeySet>>,
    failing: Option<Failing>,
    /// Keys that were absent at the last good fetch, and since when: at most those of the few
    /// fetches within [`CONFIRMATION`].
    absent: Vec<(Arc<str>, Instant)>,
}

/// Fetches fail.
#[derive(Clone, Copy, Debug)]
struct Failing {
    /// The end of the first fetch that failed.
    since: Instant,
    /// The pause after the last one.
    pause: Duration,
    /// The last key set is no longer in force.
    has_expired: bool,
}

/// A fetch, as far as its time matters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) begun: Instant,
    pub(super) ended: Instant,
    /// It was due, not requested for a token.
    pub(super) is_regular: bool,
}

impl Schedule {
    /// Creates a schedule whose first fetch is due now.
    pub(super) fn new(config: &IssuerConfig, now: Instant) -> Self {
        let interval = match config.keys {
            KeysFrom::File(_) => FILE_INTERVAL,
            KeysFrom::Discovery | KeysFrom::Uri(_) => config.keys_refresh,
        };
        let max_stale = config.keys_max_stale;
        Self { interval, max_stale, next: now, last: None, failing: None, absent: Vec::new() }
    }

    /// Returns when the next regular fetch begins.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Returns when the last key set becomes too old; `None` if fetches succeed, or if it already
    /// is. Counts from the first failure: until then, the set was as new as the interval demands.
    pub(super) fn expires_at(&self) -> Option<Instant> {
        let failing = self.failing.filter(|failing| !failing.has_expired && self.last.is_some())?;
        Some(failing.since + self.max_stale)
    }

    /// Brings the next regular fetch forward: keys were asked for that could not be looked for.
    pub(super) fn hasten(&mut self, now: Instant) {
        self.next = self.next.min(now + SHORTEST);
    }

    /// Notes that the last key set was taken out of force.
    pub(super) fn expired(&mut self) {
        if let Some(failing) = &mut self.failing {
            failing.has_expired = true;
        }
    }

    /// Notes a good fetch; `set` is `None` if nothing has changed. Returns the key set to put in
    /// force, and the thumbprints of the keys that count as withdrawn from now on.
    pub(super) fn succeeded(
        &mut self,
        set: Option<KeySet>,
        fresh_for: Option<Duration>,
        times: Times,
    ) -> (Option<Arc<KeySet>>, Vec<Arc<str>>) {
        let set = match set {
            Some(set) => {
                self.compare(&set, times.ended);
                Some(Arc::new(set))
            }
            None => self.last.clone(),
        };
        self.last.clone_from(&set);
        let is_confirmed = |absent: &mut (Arc<str>, Instant)| {
            times.begun.saturating_duration_since(absent.1) >= CONFIRMATION
        };
        let withdrawn = self.absent.extract_if(.., is_confirmed).map(|(key, _)| key).collect();
        if self.failing.take().is_some() || times.is_regular {
            self.next = times.ended + self.pause(fresh_for);
        }
        if let Some(earliest) = self.absent.iter().map(|(_, since)| *since).min() {
            self.next = self.next.min(earliest + CONFIRMATION);
        }
        (set, withdrawn)
    }

    /// Notes which keys of before are absent now, and which are back.
    fn compare(&mut self, set: &KeySet, now: Instant) {
        let has = |key: &str| set.thumbprints().any(|other| other == key);
        self.absent.retain(|(key, _)| !has(key));
        for key in self.last.iter().flat_map(|last| last.thumbprints()) {
            if !has(key) && self.absent.iter().all(|(absent, _)| **absent != *key) {
                self.absent.push((key.into(), now));
            }
        }
    }

    /// Notes a fetch that failed. Returns `true` if the one before did not.
    pub(super) fn failed(&mut self, times: Times) -> bool {
        let is_first = self.failing.is_none();
        let shortest = FIRST_PAUSE.min(self.interval);
        let failing =
            self.failing.get_or_insert(Failing { since: times.ended, pause: shortest, has_expired: false });
        if times.is_regular {
            if !is_first {
                failing.pause = (failing.pause * 2).min(self.interval);
            }
            self.next = times.ended + jittered(failing.pause);
        } else if is_first {
            self.next = self.next.min(times.ended + jittered(failing.pause));
        }
        is_first
    }

    /// Returns the pause until the next regular fetch. A server may only shorten it.
    fn pause(&self, fresh_for: Option<Duration>) -> Duration {
        match fresh_for.map(|time| time.max(SHORTEST)) {
            Some(time) if time < self.interval => jittered(time).max(SHORTEST),
            _ => jittered(self.interval),
        }
    }
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64())
}
