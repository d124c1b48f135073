//! The HTTP/2 connections to a server, and who may open another stream on them.
//!
//! A connection has as many streams as its server allows (RFC 9113, section 5.1.2). If all are in
//! use, another connection is opened, one at a time, so that requests that arrive together share
//! it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{MutexGuard, Notify};

use super::failure::Failure;
use super::http2::Http2;

/// Limit of the shared connections to one server, and of those that are not shared.
pub(super) const MOST: usize = 128;

/// How often a request that waits for a stream checks again: the server may have raised its limit.
pub(super) const RECHECK: Duration = Duration::from_millis(100);

/// The connections to a server.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: Mutex<Vec<Arc<SharedConnection>>>,
    /// Held while a connection is being opened.
    opening: tokio::sync::Mutex<()>,
    /// Number of finished attempts to open a connection, and the last failure with the number of
    /// its attempt.
    attempts: AtomicU64,
    failure: Mutex<Option<(u64, Failure)>>,
    freed: Arc<Notify>,
    /// Each connection that is not shared holds a clone.
    unshared: Arc<()>,
    /// Whether the server was offered HTTP/2 and has chosen HTTP/1.1.
    declined: AtomicBool,
}

/// One shared connection.
pub(super) struct SharedConnection {
    sender: Http2,
    /// Number of open streams.
    streams: AtomicUsize,
    /// The limit that refused streams have shown, if it is lower than the announced one.
    learned: AtomicUsize,
    /// When it becomes too old for another stream.
    until: Instant,
}

/// A place for one stream on a connection; freed when dropped.
pub(crate) struct StreamPermit {
    connection: Arc<SharedConnection>,
    freed: Arc<Notify>,
}

impl SharedConnection {
    fn limit(&self) -> usize {
        self.sender.limit().min(self.learned.load(Ordering::Relaxed))
    }
}

impl Streams {
    /// Returns a place on a connection with room; `None` if another connection is needed. Removes
    /// connections that are closed, going away or too old; their open streams continue.
    pub(super) fn take(&self) -> Option<(Http2, StreamPermit)> {
        let mut open = self.open.lock();
        let now = Instant::now();
        open.retain(|connection| {
            !connection.sender.is_closed()
                && now < connection.until
                && connection.learned.load(Ordering::Relaxed) > 0
        });
        // Places are only taken under this lock, so a limit is never exceeded.
        let room = |connection: &&Arc<SharedConnection>| {
            connection.streams.load(Ordering::Relaxed) < connection.limit()
        };
        let connection = open.iter().find(room)?.clone();
        Some((connection.sender.clone(), self.place(connection)))
    }

    /// Takes a place on a new connection. Keeps the connection for others if it `is_current`: made
    /// with the current credentials. `None` if the server does not accept a stream on it yet.
    pub(super) fn add(
        &self,
        sender: Http2,
        until: Instant,
        is_current: impl FnOnce() -> bool,
    ) -> Option<StreamPermit> {
        let connection = Arc::new(SharedConnection {
            sender,
            streams: AtomicUsize::new(0),
            learned: AtomicUsize::new(usize::MAX),
            until,
        });
        let mut open = self.open.lock();
        // Checked under the lock: connections added before the credentials change are removed by
        // that change.
        if is_current() {
            open.push(connection.clone());
        }
        let place = (connection.limit() > 0).then(|| self.place(connection));
        drop(open);
        place
    }

    fn place(&self, connection: Arc<SharedConnection>) -> StreamPermit {
        connection.streams.fetch_add(1, Ordering::Relaxed);
        StreamPermit { connection, freed: self.freed.clone() }
    }

    /// Returns whether another connection may be opened: not beyond [`MOST`], and not if the newest
    /// accepts no stream at all, since the next one would not either.
    pub(super) fn may_open(&self) -> bool {
        let open = self.open.lock();
        open.len() < MOST && open.last().is_none_or(|newest| newest.limit() > 0)
    }

    /// Returns the token that a connection which is not shared must hold; `None` if there are
    /// [`MOST`] of them already.
    pub(super) fn unshared(&self) -> Option<Arc<()>> {
        (Arc::strong_count(&self.unshared) <= MOST).then(|| self.unshared.clone())
    }

    /// Waits for the permission to open a connection.
    pub(super) async fn opening(&self) -> MutexGuard<'_, ()> {
        self.opening.lock().await
    }

    /// Returns the number of finished attempts to open a connection.
    pub(super) fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Acquire)
    }

    /// Notes the result of an attempt.
    pub(super) fn attempted(&self, failure: Option<&Failure>) {
        let number = self.attempts.fetch_add(1, Ordering::AcqRel) + 1;
        *self.failure.lock() = failure.map(|failure| (number, failure.clone()));
        self.freed.notify_one();
    }

    /// Returns the last failure if its attempt is later than this number: requests that waited for
    /// the attempt share its result.
    pub(super) fn failure_after(&self, attempts: u64) -> Option<Failure> {
        self.failure
            .lock()
            .as_ref()
            .filter(|(number, _)| *number > attempts)
            .map(|(_, failure)| failure.clone())
    }

    /// Waits until a place may be free.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Notes whether the server has chosen HTTP/1.1 instead of HTTP/2.
    pub(super) fn has_declined(&self, declined: bool) {
        self.declined.store(declined, Ordering::Relaxed);
    }

    /// Returns whether the server has chosen HTTP/1.1.
    pub(super) fn declined(&self) -> bool {
        self.declined.load(Ordering::Relaxed)
    }

    /// Removes all connections; their open streams continue.
    pub(super) fn forget(&self) {
        let old = std::mem::take(&mut *self.open.lock());
        drop(old);
    }

    /// Removes connections that are closed or too old.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.open.lock().retain(|connection| !connection.sender.is_closed() && now < connection.until);
    }
}

impl StreamPermit {
    /// Notes that the server has refused this stream: from now on the connection gets fewer, and
    /// none if this was its only one.
    pub(super) fn refused(&self) {
        let taken = self.connection.streams.load(Ordering::Relaxed).saturating_sub(1);
        self.connection.learned.fetch_min(taken, Ordering::Relaxed);
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.connection.streams.fetch_sub(1, Ordering::Relaxed);
        self.freed.notify_one();
    }
}

impl std::fmt::Debug for SharedConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedConnection").field("streams", &self.streams).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for StreamPermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamPermit").finish_non_exhaustive()
    }
}
