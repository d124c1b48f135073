//! The task that keeps the status lists of an issuer new.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::select;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::entry::{Entry, LOOK_AGAIN};
use super::fetch::FetchList;
use super::list_token::StatusListToken;
use super::reference::Reference;
use super::store::{MAX_BYTES, MAX_LISTS};
use super::{StatusLists, shown};
use crate::issuers::fetch::Failure;
use crate::issuers::metrics::{FetchResult, What};
use crate::issuers::{EndedMark, Issuer, Mark, OpenConnections};

/// How often tokens without connections are forgotten, and connections looked for that were
/// registered late.
const SWEEP: Duration = Duration::from_secs(60);

/// How often that may happen if no more tokens can be watched.
const SHORTEST_SWEEP: Duration = Duration::from_secs(5);

/// Limit of the fetches at once.
const AT_ONCE: usize = 16;

/// How many connections are looked for before other tasks may run.
const CHUNK: usize = 64;

/// Fetches the lists that requests wait for, and those of open connections whenever they are no
/// longer fresh, until `leaving` resolves. There must be one such task for each issuer.
pub(super) async fn keep(
    issuer: &Issuer,
    lists: &StatusLists,
    source: impl FetchList,
    connections: &dyn OpenConnections,
    leaving: impl Future<Output = ()>,
) {
    let task = Task { issuer, lists, connections };
    let mut leaving = pin!(leaving);
    let mut running = FuturesUnordered::new();
    let mut swept_at = Instant::now();
    loop {
        task.expire();
        let since = swept_at.elapsed();
        if since >= SWEEP || (since >= SHORTEST_SWEEP && task.is_full()) {
            task.sweep().await;
            swept_at = Instant::now();
        }
        task.look().await;
        for uri in task.due() {
            if running.len() >= AT_ONCE {
                break;
            }
            if task.begin(&uri).await {
                let source = &source;
                running.push(async move {
                    let fetched = source.fetch(&uri).await;
                    (uri, fetched)
                });
            }
        }
        let sweep_at = swept_at + SWEEP;
        let next = task.next(running.len() < AT_ONCE).map_or(sweep_at, |next| next.min(sweep_at));
        select! {
            biased;
            () = &mut leaving => return,
            Some((uri, fetched)) = running.next() => task.fetched(&uri, fetched).await,
            () = sleep_until(next) => {}
            () = lists.wake.notified() => {}
        }
    }
}

struct Task<'i> {
    issuer: &'i Issuer,
    lists: &'i StatusLists,
    connections: &'i dyn OpenConnections,
}

impl Task<'_> {
    fn next(&self, may_fetch: bool) -> Option<Instant> {
        self.lists.store.lock().next(may_fetch, self.issuer.config.keys_max_stale)
    }

    fn due(&self) -> Vec<Arc<str>> {
        self.lists.store.lock().due(Instant::now())
    }

    /// Returns `true` once after a token was refused since too many are in use.
    fn is_full(&self) -> bool {
        let is_full = std::mem::take(&mut self.lists.store.lock().is_full);
        if is_full {
            let issuer = &self.issuer.config.id;
            tracing::warn!(%issuer, "tokens with a status are refused: too many of them have connections");
        }
        is_full
    }

    /// Takes lists out of force that are too old.
    fn expire(&self) {
        for uri in self.lists.store.lock().expire(self.issuer.config.keys_max_stale, Instant::now()) {
            let (issuer, list) = (&self.issuer.config.id, shown(&uri));
            tracing::error!(%issuer, %list, "a status list is too old: the connections of its tokens are terminated");
        }
    }

    /// Begins a fetch, if the list is needed and there is room for it.
    async fn begin(&self, uri: &Arc<str>) -> bool {
        if !self.is_needed(uri).await {
            self.with(uri, |entry| entry.due = None);
            return false;
        }
        if !self.make_room_for(uri, |others, _| others < MAX_LISTS).await {
            let error = format!("{MAX_LISTS} other status lists are in use");
            self.complain(uri, &error);
            self.with(uri, |entry| entry.give_up(&error, Instant::now()));
            self.lists.notify();
            return false;
        }
        self.with(uri, Entry::begin).is_some()
    }

    /// Returns `true` if a request waits for the list, or a token of it has a connection or was
    /// verified within the last minute.
    async fn is_needed(&self, uri: &Arc<str>) -> bool {
        let now = Instant::now();
        let is_wanted = |entry: &mut Entry| entry.is_wanted || entry.is_recent(now);
        self.with(uri, is_wanted).unwrap_or(false) || self.has_connections(uri).await
    }

    async fn has_connections(&self, uri: &Arc<str>) -> bool {
        let indexes = self.with(uri, |entry| entry.indexes()).unwrap_or_default();
        for chunk in indexes.chunks(CHUNK) {
            if chunk.iter().any(|index| self.connections.have(&self.mark(uri, *index))) {
                return true;
            }
            yield_now().await;
        }
        false
    }

    /// Drops lists without connections until there is room: their number, without this one, and
    /// their bytes are arguments of `fits`. Returns `false` if there is none.
    async fn make_room_for(&self, uri: &Arc<str>, fits: impl Fn(usize, usize) -> bool) -> bool {
        let fits = || {
            let store = self.lists.store.lock();
            fits(store.others(uri).len(), store.bytes_of_others(uri))
        };
        if fits() {
            return true;
        }
        let others = self.lists.store.lock().others(uri);
        for other in others {
            let is_running = self.with(&other, |entry| entry.is_running).unwrap_or(false);
            if !is_running && !self.has_connections(&other).await {
                self.with(&other, Entry::drop_list);
                if fits() {
                    return true;
                }
            }
        }
        false
    }

    async fn fetched(&self, uri: &Arc<str>, fetched: Result<StatusListToken, Failure>) {
        let fetched = match fetched {
            Ok(token) => self.fitting(uri, token).await,
            Err(failure) => Err(failure),
        };
        let result = fetched.as_ref().map_or_else(|failure| failure.result, |_| FetchResult::Ok);
        self.issuer.keys.counts.fetched(What::StatusList, result);
        let (now, leeway) = (Instant::now(), self.issuer.config.leeway);
        match fetched {
            Ok(token) => {
                self.lists.store.lock().note_time(uri, token.issued_at);
                let failed_before = self.with(uri, |entry| {
                    let failed_before = entry.error.is_some();
                    entry.succeeded(token, leeway, now);
                    failed_before
                });
                if failed_before == Some(true) {
                    let (issuer, list) = (&self.issuer.config.id, shown(uri));
                    tracing::info!(%issuer, %list, "a status list can be fetched again");
                }
            }
            Err(failure) => {
                let error = failure.to_string();
                self.complain(uri, &error);
                self.with(uri, |entry| entry.failed(error, now));
            }
        }
        self.lists.notify();
    }

    /// Checks that a list can take the place of the one before.
    async fn fitting(&self, uri: &Arc<str>, token: StatusListToken) -> Result<StatusListToken, Failure> {
        // A copy of an old list would make tokens valid again that are revoked.
        if self.lists.store.lock().is_old(uri, token.issued_at) {
            let reason = format!("{}: the list is older than one before", shown(uri));
            return Err(Failure::new(FetchResult::Invalid, reason));
        }
        let size = token.list.size();
        if !self.make_room_for(uri, |_, bytes| bytes + size <= MAX_BYTES).await {
            let reason = format!("{}: the status lists in use take more than {MAX_BYTES} bytes", shown(uri));
            return Err(Failure::new(FetchResult::TooLarge, reason));
        }
        Ok(token)
    }

    /// Logs why a list cannot be fetched, unless that was logged before.
    fn complain(&self, uri: &Arc<str>, error: &str) {
        if self.with(uri, |entry| entry.error.as_deref() == Some(error)) != Some(true) {
            let (issuer, list) = (&self.issuer.config.id, shown(uri));
            tracing::warn!(%issuer, %list, error, "a status list cannot be fetched");
        }
    }

    /// Terminates the connections of tokens that are no longer valid, where that is due.
    async fn look(&self) {
        let due = self.lists.store.lock().to_look_at(Instant::now());
        for uri in due {
            let looked = self.with(&uri, |entry| {
                entry.look_at = None;
                (entry.invalid(), std::mem::take(&mut entry.looks_again))
            });
            let Some((invalid, mut looks_again)) = looked else { continue };
            for chunk in invalid.chunks(CHUNK) {
                for (index, reason) in chunk {
                    let mark = self.mark(&uri, *index);
                    if self.connections.have(&mark) {
                        looks_again = true;
                        self.connections.end(EndedMark { mark, reason: reason.clone() });
                    }
                }
                yield_now().await;
            }
            if looks_again && !invalid.is_empty() {
                self.with(&uri, |entry| {
                    entry.look_at.get_or_insert(Instant::now() + LOOK_AGAIN);
                });
            }
        }
    }

    /// Forgets tokens without connections, and looks at all others.
    async fn sweep(&self) {
        let uris: Vec<_> = self.lists.store.lock().entries.keys().cloned().collect();
        for uri in uris {
            let now = Instant::now();
            let old = self.with(&uri, |entry| entry.old_indexes(now)).unwrap_or_default();
            for chunk in old.chunks(CHUNK) {
                for index in chunk.iter().filter(|index| !self.connections.have(&self.mark(&uri, **index))) {
                    self.with(&uri, |entry| entry.remove(*index, now));
                }
                yield_now().await;
            }
            // A token may have got a connection after its list was found not to be needed.
            let is_idle = self.with(&uri, |entry| {
                entry.look_at = Some(now);
                entry.due.is_none() && !entry.is_running && !entry.in_use.is_empty()
            });
            if is_idle == Some(true) && self.has_connections(&uri).await {
                self.with(&uri, |entry| entry.due = Some(now));
            }
        }
        self.lists.store.lock().forget(Instant::now());
    }

    /// Does something with a list that is known.
    fn with<T>(&self, uri: &Arc<str>, work: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.lists.store.lock().entries.get_mut(uri).map(work)
    }

    fn mark(&self, uri: &str, index: u64) -> Mark {
        let value = Reference { uri, index }.mark().into();
        Mark { issuer: self.issuer.config.issuer.clone(), kind: "status", value }
    }
}
