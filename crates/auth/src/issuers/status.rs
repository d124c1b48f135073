//! Token status lists: whether a token was revoked after it was issued
//! (draft-ietf-oauth-status-list-20).
//!
//! A token names a list and its index in it. The list is fetched when a token first names it, and
//! again as long as one that has named it has connections. All of this is bounded: where the lists
//! may be, their size, their number, and the number of tokens that are watched. What exceeds a
//! bound is refused, since a token counts only as long as its status is known.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::{Issuer, ListsConfig, OpenConnections};
use crate::claims::Claims;
use crate::token_error::TokenError;

mod entry;
mod fetch;
mod list;
mod list_token;
mod place;
mod reference;
mod store;
mod task;
#[cfg(test)]
mod tests;

pub use list::{ListFlaw, StatusList};
pub use list_token::StatusListToken;
pub use place::PrefixError;

use fetch::Remote;
use reference::Reference;
use store::{Store, Verdict};

/// Limit of a status list as it is fetched, in bytes.
pub(super) const MAX_LIST: usize = 8 << 20;

/// The status lists of an issuer. Shared by the task that fetches and those that verify tokens.
pub(super) struct StatusLists {
    config: ListsConfig,
    store: Mutex<Store>,
    /// Wakes the task, since a list is wanted.
    wake: Notify,
    /// Changes whenever a fetch has ended.
    rounds: watch::Sender<()>,
}

/// A status list, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListState {
    /// Where it is, without the query.
    pub uri: String,
    /// Its number of entries; `None` if it is not known, or no longer valid.
    pub entries: Option<u64>,
    /// Time since it was fetched.
    pub age: Option<Duration>,
    /// Why the last fetch failed; `None` if it did not.
    pub last_error: Option<String>,
}

impl StatusLists {
    /// Creates a store without lists.
    pub(super) fn new(config: ListsConfig) -> Self {
        let rounds = watch::Sender::new(());
        Self { config, store: Mutex::default(), wake: Notify::new(), rounds }
    }

    /// Returns the lists, by their URIs.
    pub(super) fn state(&self) -> Vec<ListState> {
        let state = |(uri, entry): (&Arc<str>, &entry::Entry)| ListState {
            uri: shown(uri),
            entries: entry.known.as_ref().map(|known| known.list.entries()),
            age: entry.known.as_ref().map(|known| known.fetched_at.elapsed()),
            last_error: entry.error.clone(),
        };
        let mut lists: Vec<_> = self.store.lock().entries.iter().map(state).collect();
        lists.sort_by(|a, b| a.uri.cmp(&b.uri));
        lists
    }

    /// Returns the number of lists in force.
    pub(super) fn len(&self) -> usize {
        self.store.lock().entries.values().filter(|entry| entry.known.is_some()).count()
    }

    /// Returns the status of a token, as far as it is known.
    fn status(&self, token: Reference<'_>) -> Verdict {
        let mut store = self.store.lock();
        let verdict = store.status(token, Instant::now());
        if store.is_full {
            self.wake.notify_one();
        }
        verdict
    }

    /// Returns until when a token is valid. Waits for its list if it is not known. All who need the
    /// same list wait for the same fetch, which goes on if this future is dropped.
    async fn status_fetched(&self, token: Reference<'_>, deadline: Instant) -> Result<Instant, TokenError> {
        let mut rounds = self.rounds.subscribe();
        let mut awaited = None;
        loop {
            rounds.mark_unchanged();
            match self.status_or_fetch(token, awaited) {
                Ok(decided) => return decided,
                Err(number) => awaited = Some(number),
            }
            match timeout_at(deadline, rounds.changed()).await {
                Ok(Ok(())) => {}
                _ => return Err(TokenError::Unavailable),
            }
        }
    }

    /// Returns until when a token is valid, as [`status`](Self::status) does.
    ///
    /// # Errors
    /// Fails with the number of the fetch to wait for: `awaited`, or a new one.
    fn status_or_fetch(
        &self,
        token: Reference<'_>,
        awaited: Option<u64>,
    ) -> Result<Result<Instant, TokenError>, u64> {
        // Under one lock, so that no fetch finishes between the two steps.
        let mut store = self.store.lock();
        let verdict = store.status(token, Instant::now());
        if store.is_full || verdict == Verdict::Unknown {
            self.wake.notify_one();
        }
        match verdict {
            Verdict::Valid(until) => return Ok(Ok(until)),
            Verdict::Refused(error) => return Ok(Err(error)),
            Verdict::Unknown => {}
        }
        let number = match awaited {
            Some(number) if store.has_finished(token.uri, number) => None,
            Some(number) => Some(number),
            None => store.want(token.uri, Instant::now()),
        };
        number.map_or(Ok(Err(TokenError::Unavailable)), Err)
    }

    /// Notes that a fetch has ended.
    fn notify(&self) {
        self.rounds.send_replace(());
    }
}

impl Issuer {
    /// Checks the status of a token, if it refers to a list. Never waits.
    ///
    /// # Errors
    /// [`TokenError::Unasked`] if the list is to be fetched.
    pub(super) fn with_status(&self, mut claims: Claims) -> Result<Claims, TokenError> {
        let Some((lists, token)) = self.status_of(&claims)? else { return Ok(claims) };
        let (verdict, mark) = (lists.status(token), token.mark());
        match verdict {
            Verdict::Valid(until) => {
                claims.note_status(mark, until);
                Ok(claims)
            }
            Verdict::Refused(error) => Err(error),
            Verdict::Unknown => Err(TokenError::Unasked),
        }
    }

    /// Checks the status of a token, if it refers to a list. Fetches the list if it is not known,
    /// for at most `within` this time.
    pub(super) async fn with_status_fetched(
        &self,
        mut claims: Claims,
        within: Duration,
    ) -> Result<Claims, TokenError> {
        let Some((lists, token)) = self.status_of(&claims)? else { return Ok(claims) };
        // Boxed, since most tokens have no status, and each would have the space for it.
        let until = Box::pin(lists.status_fetched(token, Instant::now() + within)).await?;
        let mark = token.mark();
        claims.note_status(mark, until);
        Ok(claims)
    }

    /// Returns the entry that is the status of a token, if its status counts and it has one.
    fn status_of<'c>(&self, claims: &'c Claims) -> Result<Option<(&StatusLists, Reference<'c>)>, TokenError> {
        let Some(lists) = &self.lists else { return Ok(None) };
        let Some(token) = Reference::of(claims)? else { return Ok(None) };
        lists.config.allowed(token.uri).ok_or(TokenError::Status)?;
        Ok(Some((lists, token)))
    }
}

impl Claims {
    /// Notes the entry of a status list that says that the token is valid, and until when.
    fn note_status(&mut self, mark: String, until: Instant) {
        self.marks.push(("status", mark.into()));
        self.checked_until = Some(self.checked_until.map_or(until, |other| other.min(until)));
    }
}

/// Fetches the status lists of an issuer, when a token refers to one and then as long as it has
/// connections, until `leaving` resolves. There must be one such task for each issuer with status
/// lists.
///
/// Terminates the connections of tokens whose status is no longer valid, and those of lists that
/// can no longer be had.
pub async fn keep_lists(
    issuer: Arc<Issuer>,
    connections: Arc<dyn OpenConnections>,
    leaving: impl Future<Output = ()>,
) {
    match &issuer.lists {
        Some(lists) => {
            let source = Remote::new(issuer.clone(), lists.config.clone());
            task::keep(&issuer, lists, source, &*connections, leaving).await;
        }
        None => leaving.await,
    }
}

/// Returns a URI for logs: without its query, which may contain a secret, and cut.
fn shown(uri: &str) -> String {
    uri.parse::<Uri>().map(|uri| super::fetch::shown(&uri)).unwrap_or_default()
}
