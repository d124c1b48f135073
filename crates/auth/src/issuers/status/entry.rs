//! A status list as it was last fetched, and the tokens that use it. No I/O; takes the time as an
//! argument.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::list::StatusList;
use super::list_token::{DEFAULT_TTL, StatusListToken};

/// How long a token counts as in use after it was verified, although it has no connection: it may
/// be about to get one.
pub(super) const LISTED_FOR: Duration = Duration::from_secs(60);

/// When the indexes in use are looked at again after a change: a connection may be registered a
/// moment after its token was verified with the old list.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The pause after the first failure. Each further one is twice as long, up to the `ttl`.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// How much a pause may deviate, so that the fetches of many nodes do not coincide.
const JITTER: f64 = 0.1;

/// How long before its `exp` a list is fetched again, if it is that long valid.
const BEFORE_EXPIRY: Duration = Duration::from_secs(10);

/// The shortest pause between two good fetches, for lists that expire at once.
const SHORTEST: Duration = Duration::from_secs(1);

/// One status list of an issuer.
#[derive(Debug)]
pub(super) struct Entry {
    /// The list; `None` if it was never fetched, has become too old, or had to make room.
    pub(super) known: Option<Known>,
    /// The tokens that were valid and may have connections, by index.
    pub(super) in_use: HashMap<u64, Use>,
    /// When a token last referred to the list.
    pub(super) asked_at: Instant,
    /// A request waits for a fetch that has not begun.
    pub(super) is_wanted: bool,
    pub(super) is_running: bool,
    /// Number of fetches that have ended, good or not.
    pub(super) finished: u64,
    pub(super) failing: Option<Failing>,
    /// When the next fetch begins; `None` if no token in use needs it.
    pub(super) due: Option<Instant>,
    /// When the indexes in use are looked at.
    pub(super) look_at: Option<Instant>,
    /// They are looked at once more afterwards, whatever is found.
    pub(super) looks_again: bool,
    /// Why all indexes in use are terminated; `None` if the list decides.
    pub(super) lost: Option<String>,
    /// Why the last fetch failed; `None` if it did not.
    pub(super) error: Option<String>,
}

/// A list in force.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) list: StatusList,
    ttl: Duration,
    pub(super) fetched_at: Instant,
    /// Until when new tokens are accepted by it.
    pub(super) fresh_until: Instant,
    /// Until when connections stay by it. Later than its `exp` by the difference of clocks, so that
    /// a list can be replaced that expires at the moment when the next one is published.
    expires_at: Option<Instant>,
}

/// A token in use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    verified_at: Instant,
    /// Until when the token may get a connection without being verified again.
    until: Instant,
}

/// Fetches fail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failing {
    /// The end of the first one that failed.
    since: Instant,
    /// The end of the last one.
    pub(super) last: Instant,
    /// The pause after it.
    pause: Duration,
}

impl Entry {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            known: None,
            in_use: HashMap::new(),
            asked_at: now,
            is_wanted: false,
            is_running: false,
            finished: 0,
            failing: None,
            due: None,
            look_at: None,
            looks_again: false,
            lost: None,
            error: None,
        }
    }

    /// Returns `true` if a token with this index is in use.
    pub(super) fn uses(&self, index: u64) -> bool {
        self.in_use.contains_key(&index)
    }

    /// Notes that a token was verified, and when it must be verified again.
    pub(super) fn use_index(&mut self, index: u64, fresh_until: Instant, now: Instant) {
        self.asked_at = now;
        self.in_use.insert(index, Use { verified_at: now, until: fresh_until });
        if self.due.is_none() {
            self.due = self.known.as_ref().map(Known::due);
        }
    }

    /// Notes that a fetch begins. It serves all requests that wait for one.
    pub(super) fn begin(&mut self) {
        self.is_wanted = false;
        self.is_running = true;
        self.due = None;
    }

    /// Puts a list in force. Its indexes in use are looked at from now on.
    pub(super) fn succeeded(&mut self, token: StatusListToken, leeway: Duration, now: Instant) {
        self.end();
        let known = Known::new(token, leeway, now);
        self.due = Some(known.due());
        self.known = Some(known);
        (self.failing, self.lost, self.error) = (None, None, None);
        self.look(now);
    }

    /// Notes a fetch that failed. The list before stays in force.
    pub(super) fn failed(&mut self, error: String, now: Instant) {
        self.end();
        self.error = Some(error);
        let ttl = self.known.as_ref().map_or(DEFAULT_TTL, |known| known.ttl);
        let pause = self.failing.map_or(FIRST_PAUSE, |failing| (failing.pause * 2).min(ttl));
        let since = self.failing.map_or(now, |failing| failing.since);
        self.failing = Some(Failing { since, last: now, pause });
        self.due = (!self.in_use.is_empty()).then(|| now + jittered(pause));
    }

    fn end(&mut self) {
        self.is_running = false;
        self.finished += 1;
    }

    /// Answers the requests for a fetch that cannot begin.
    pub(super) fn give_up(&mut self, error: &str, now: Instant) {
        self.is_wanted = false;
        self.failed(error.to_owned(), now);
    }

    /// Drops the list to make room. The indexes in use are kept: one may yet get a connection.
    pub(super) fn drop_list(&mut self) {
        (self.known, self.due) = (None, None);
    }

    /// Takes the list out of force if it is too old, and returns `true` if it is.
    pub(super) fn expire(&mut self, now: Instant, max_stale: Duration) -> bool {
        let Some((_, is_expired)) = self.expiry(max_stale).filter(|(at, _)| *at <= now) else { return false };
        self.known = None;
        self.lost = Some(if is_expired {
            "status list: it has expired".to_owned()
        } else {
            format!("status list: it could not be fetched for {} s", max_stale.as_secs())
        });
        self.look(now);
        true
    }

    /// Looks at the indexes in use from now on.
    pub(super) fn look(&mut self, now: Instant) {
        self.look_at = Some(now);
        self.looks_again = true;
    }

    /// Returns when the list is taken out of force, and whether that is because of its `exp`. The
    /// tokens of a list that had to make room are not kept longer than those of others.
    fn expiry(&self, max_stale: Duration) -> Option<(Instant, bool)> {
        if self.known.is_none() && (self.lost.is_some() || self.in_use.is_empty()) {
            return None;
        }
        let stale = self.failing.map(|failing| (failing.since + max_stale, false));
        let expired = self.known.as_ref().and_then(|known| Some((known.expires_at?, true)));
        stale.into_iter().chain(expired).min_by_key(|(at, _)| *at)
    }

    /// Returns the times when something is to be done.
    pub(super) fn times(&self, may_fetch: bool, max_stale: Duration) -> [Option<Instant>; 3] {
        let due = self.due.filter(|_| may_fetch && !self.is_running);
        [due, self.look_at, self.expiry(max_stale).map(|(at, _)| at)]
    }

    /// Returns why the connections of a token are terminated; `None` if they are not.
    fn verdict(&self, index: u64) -> Option<String> {
        let Some(known) = &self.known else { return self.lost.clone() };
        match known.list.get(index) {
            Some(0) => None,
            Some(1) => Some("status list: revoked".to_owned()),
            Some(2) => Some("status list: suspended".to_owned()),
            Some(other) => Some(format!("status list: status {other}")),
            None => Some("status list: no such entry".to_owned()),
        }
    }

    /// Returns the indexes in use that are not valid, each with the reason.
    pub(super) fn invalid(&self) -> Vec<(u64, String)> {
        let reason = |index: &u64| self.verdict(*index).map(|reason| (*index, reason));
        self.in_use.keys().filter_map(reason).collect()
    }

    /// Returns the indexes in use, those that were verified last first.
    pub(super) fn indexes(&self) -> Vec<u64> {
        let mut indexes: Vec<_> = self.in_use.iter().map(|(index, of)| (of.verified_at, *index)).collect();
        indexes.sort_unstable_by(|a, b| b.cmp(a));
        indexes.into_iter().map(|(_, index)| index).collect()
    }

    /// Returns `true` if a token was verified within the last minute.
    pub(super) fn is_recent(&self, now: Instant) -> bool {
        self.in_use.values().any(|of| now < of.verified_at + LISTED_FOR)
    }

    /// Returns the indexes that are in use only if they have connections.
    pub(super) fn old_indexes(&self, now: Instant) -> Vec<u64> {
        let old = self.in_use.iter().filter(|(_, of)| of.is_old(now));
        old.map(|(index, _)| *index).collect()
    }

    /// Removes an index that has no connection, unless its token was verified meanwhile.
    pub(super) fn remove(&mut self, index: u64, now: Instant) {
        if self.in_use.get(&index).is_some_and(|of| of.is_old(now)) {
            self.in_use.remove(&index);
        }
    }
}

impl Known {
    fn new(token: StatusListToken, leeway: Duration, now: Instant) -> Self {
        let fresh_for = token.expires_in.map_or(token.ttl, |left| left.min(token.ttl));
        Self {
            list: token.list,
            ttl: token.ttl,
            fetched_at: now,
            fresh_until: now + fresh_for,
            expires_at: token.expires_in.map(|left| now + left + leeway),
        }
    }

    /// Returns when the list is fetched again: after `ttl`, but early enough before `exp` that
    /// connections need not wait for a slow server.
    fn due(&self) -> Instant {
        let left = self.fresh_until - self.fetched_at;
        let early = if left < self.ttl { (left / 2).max(left.saturating_sub(BEFORE_EXPIRY)) } else { left };
        self.fetched_at + early.max(SHORTEST)
    }
}

impl Use {
    fn is_old(&self, now: Instant) -> bool {
        now >= self.until.max(self.verified_at) + LISTED_FOR
    }
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64())
}
