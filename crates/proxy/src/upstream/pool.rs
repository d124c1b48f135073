//! The connections to a server that wait for their next exchange.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::link::{Http2, Link};

/// The most that wait at once.
const MOST: usize = 1024;

/// How long each waits.
const IDLE: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Pool {
    /// The last to come is the first to go: those that are not needed grow old.
    idle: Mutex<Vec<(Box<Link>, Instant)>>,
    /// The one HTTP/2 connection, where it is spoken.
    shared: Mutex<Option<Http2>>,
    /// How often the credentials of new connections have changed. Changes with both locks held.
    epoch: AtomicU32,
}

impl Pool {
    /// A connection that is ready.
    pub(super) fn take(&self) -> Option<Box<Link>> {
        if let Some(http2) = &*self.shared.lock()
            && !http2.is_closed()
        {
            let mut link = Link::over(http2.clone());
            link.fresh = false;
            link.epoch = self.epoch();
            return Some(Box::new(link));
        }
        loop {
            let (mut link, _) = self.idle.lock().pop()?;
            if link.is_ready() {
                return Some(link);
            }
        }
    }

    /// Takes a connection back; it is closed where it cannot be used again, or too many wait.
    pub(super) fn put(&self, mut link: Box<Link>) {
        if !link.is_ready() || listener::descriptors::are_scarce() {
            return;
        }
        link.fresh = false;
        let mut idle = self.idle.lock();
        if idle.len() < MOST && link.epoch == self.epoch() {
            idle.push((link, Instant::now()));
        }
    }

    /// Every exchange goes over this new connection from now on, where it is HTTP/2.
    pub(super) fn share(&self, link: &Link) {
        if let Some(http2) = link.http2() {
            let mut shared = self.shared.lock();
            if link.epoch == self.epoch() {
                *shared = Some(http2.clone());
            }
        }
    }

    /// Which credentials new connections have: to be asked before these are looked up.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Closes all that wait, and keeps none that was made before: there are new credentials.
    pub(super) fn renew(&self) {
        let (old, shared) = {
            let (mut idle, mut shared) = (self.idle.lock(), self.shared.lock());
            self.epoch.fetch_add(1, Ordering::Release);
            (std::mem::take(&mut *idle), shared.take())
        };
        drop((old, shared));
    }

    /// Closes what has waited for too long, or was closed by the server.
    pub(super) fn sweep(&self) {
        let old: Vec<_> = {
            let mut idle = self.idle.lock();
            idle.extract_if(.., |(link, since)| since.elapsed() > IDLE || !link.is_ready()).collect()
        };
        drop(old);
        let mut shared = self.shared.lock();
        if shared.as_ref().is_some_and(Http2::is_closed) {
            *shared = None;
        }
    }

    /// How many wait.
    pub(super) fn idle(&self) -> usize {
        self.idle.lock().len()
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("idle", &self.idle()).finish_non_exhaustive()
    }
}
