//! What is known of the status lists of an issuer, and which tokens are in use. No I/O; takes the
//! time as an argument.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::entry::{Entry, LISTED_FOR};
use super::reference::Reference;
use crate::token_error::TokenError;

/// Limit of the lists of one issuer that are kept.
pub(super) const MAX_LISTS: usize = 32;

/// Limit of their size when they are unpacked, in bytes.
pub(super) const MAX_BYTES: usize = 64 << 20;

/// Limit of the URIs of lists: those of [`MAX_LISTS`], those that requests wait for, and those of
/// lists that were given up while tokens of them may still be in use.
const MAX_URIS: usize = 128;

/// Limit of the tokens of one issuer whose status is watched.
const MAX_INDEXES: usize = 1 << 18;

/// Limit of the URIs whose latest list is known by its time.
const MAX_TIMES: usize = 1024;

/// The pause after a failure before a request causes another fetch.
const REQUEST_PAUSE: Duration = Duration::from_secs(5);

/// The status lists of one issuer.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) entries: HashMap<Arc<str>, Entry>,
    /// The `iat` of the latest list of each URI, also of those that are no longer kept: an old list
    /// would make tokens valid again.
    times: HashMap<Arc<str>, f64>,
    /// The URIs of these, in the order in which they are forgotten.
    timed: VecDeque<Arc<str>>,
    /// Limit of the indexes in use, of all lists.
    pub(super) most_indexes: usize,
    /// A token was refused since too many others are in use.
    pub(super) is_full: bool,
}

/// What the status of a token is, as far as the gateway knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is valid. This counts until then.
    Valid(Instant),
    /// It is not.
    Refused(TokenError),
    /// The list is not known, or no longer fresh.
    Unknown,
}

impl Default for Store {
    fn default() -> Self {
        let (entries, times, timed) = Default::default();
        Self { entries, times, timed, most_indexes: MAX_INDEXES, is_full: false }
    }
}

impl Store {
    /// Returns the status of a token. If it is valid, its index is watched from now on.
    pub(super) fn status(&mut self, token: Reference<'_>, now: Instant) -> Verdict {
        let is_full = self.indexes() >= self.most_indexes;
        let Some(entry) = self.entries.get_mut(token.uri) else { return Verdict::Unknown };
        let Some(known) = entry.known.as_ref().filter(|known| now < known.fresh_until) else {
            return Verdict::Unknown;
        };
        let fresh_until = known.fresh_until;
        match known.list.get(token.index) {
            None => Verdict::Refused(TokenError::Status),
            Some(1..) => Verdict::Refused(TokenError::Inactive),
            // It could not be terminated if its status changed.
            Some(0) if is_full && !entry.uses(token.index) => {
                self.is_full = true;
                Verdict::Refused(TokenError::Unavailable)
            }
            Some(0) => {
                entry.use_index(token.index, fresh_until, now);
                Verdict::Valid(fresh_until)
            }
        }
    }

    /// Returns `true` if a list with this `iat` is older than one that was in force.
    pub(super) fn is_old(&self, uri: &str, issued_at: f64) -> bool {
        self.times.get(uri).is_some_and(|latest| *latest > issued_at)
    }

    /// Notes the `iat` of a list that is in force.
    pub(super) fn note_time(&mut self, uri: &Arc<str>, issued_at: f64) {
        if self.times.insert(uri.clone(), issued_at).is_none() {
            self.timed.push_back(uri.clone());
        }
        if self.timed.len() > MAX_TIMES
            && let Some(oldest) = self.timed.pop_front()
        {
            self.times.remove(&oldest);
        }
    }

    /// Requests a fetch of a list that is not fresh. Returns its number, to wait for; `None` if it
    /// failed a short while ago, or too many lists are waited for.
    pub(super) fn want(&mut self, uri: &str, now: Instant) -> Option<u64> {
        if !self.entries.contains_key(uri) {
            if self.entries.len() >= MAX_URIS {
                return None;
            }
            self.entries.insert(uri.into(), Entry::new(now));
        }
        let entry = self.entries.get_mut(uri)?;
        entry.asked_at = now;
        if !entry.is_running && !entry.is_wanted {
            if entry.failing.is_some_and(|failing| now < failing.last + REQUEST_PAUSE) {
                return None;
            }
            entry.is_wanted = true;
        }
        Some(entry.finished + 1)
    }

    /// Returns `true` if the fetch of this number has ended, or will never begin.
    pub(super) fn has_finished(&self, uri: &str, number: u64) -> bool {
        self.entries.get(uri).is_none_or(|entry| entry.finished >= number)
    }

    /// Returns the next time that something is to be done. Fetches count only if one `may_fetch`.
    pub(super) fn next(&self, may_fetch: bool, max_stale: Duration) -> Option<Instant> {
        self.entries.values().flat_map(|entry| entry.times(may_fetch, max_stale)).flatten().min()
    }

    /// Returns the URIs of lists that are to be fetched now: those that requests wait for first.
    pub(super) fn due(&self, now: Instant) -> Vec<Arc<str>> {
        let idle = || self.entries.iter().filter(|(_, entry)| !entry.is_running);
        let wanted = idle().filter(|(_, entry)| entry.is_wanted);
        let is_due = |entry: &Entry| !entry.is_wanted && entry.due.is_some_and(|due| due <= now);
        let due = idle().filter(|(_, entry)| is_due(entry));
        wanted.chain(due).map(|(uri, _)| uri.clone()).collect()
    }

    /// Takes lists out of force that are too old, and returns their URIs.
    pub(super) fn expire(&mut self, max_stale: Duration, now: Instant) -> Vec<Arc<str>> {
        let mut expired = Vec::new();
        for (uri, entry) in &mut self.entries {
            if entry.expire(now, max_stale) {
                expired.push(uri.clone());
            }
        }
        expired
    }

    /// Returns the URIs of lists whose indexes in use are to be looked at now.
    pub(super) fn to_look_at(&self, now: Instant) -> Vec<Arc<str>> {
        let is_due = |entry: &Entry| entry.look_at.is_some_and(|at| at <= now);
        self.entries.iter().filter(|(_, entry)| is_due(entry)).map(|(uri, _)| uri.clone()).collect()
    }

    /// Returns the lists that are kept, or being fetched, without this one: the one that was asked
    /// for longest ago first.
    pub(super) fn others(&self, than: &str) -> Vec<Arc<str>> {
        let is_kept = |entry: &Entry| entry.known.is_some() || entry.is_running;
        let others = self.entries.iter().filter(|(uri, entry)| ***uri != *than && is_kept(entry));
        let mut others: Vec<_> = others.map(|(uri, entry)| (entry.asked_at, uri.clone())).collect();
        others.sort_unstable_by_key(|(asked_at, _)| *asked_at);
        others.into_iter().map(|(_, uri)| uri).collect()
    }

    /// Returns the memory that the lists take, without this one, in bytes.
    pub(super) fn bytes_of_others(&self, than: &str) -> usize {
        let others = self.entries.iter().filter(|(uri, _)| ***uri != *than);
        others.filter_map(|(_, entry)| entry.known.as_ref()).map(|known| known.list.size()).sum()
    }

    /// Removes lists that no token uses. A list is kept as long as it is fresh, for the next one.
    pub(super) fn forget(&mut self, now: Instant) {
        self.entries.retain(|_, entry| {
            let is_fresh = entry.known.as_ref().is_some_and(|known| now < known.fresh_until);
            let is_recent = now < entry.asked_at + LISTED_FOR;
            entry.is_running || entry.is_wanted || is_fresh || is_recent || !entry.in_use.is_empty()
        });
    }

    /// Returns the number of indexes in use.
    fn indexes(&self) -> usize {
        self.entries.values().map(|entry| entry.in_use.len()).sum()
    }
}
