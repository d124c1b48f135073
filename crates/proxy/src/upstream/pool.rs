//! The idle connections to a server.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::link::Link;
use super::streams::Streams;

/// Limit of the idle connections.
const MOST: usize = 1024;

/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Pool {
    /// A stack: the connection used last is reused first, so that unneeded ones time out.
    idle: Mutex<Vec<(Box<Link>, Instant)>>,
    /// The HTTP/2 connections, if the server supports it.
    pub(super) streams: Streams,
    /// Number of times that the credentials of new connections have changed.
    epoch: AtomicU32,
}

impl Pool {
    /// Returns an HTTP/1 connection that is ready.
    pub(super) fn take(&self) -> Option<Box<Link>> {
        loop {
            let (mut link, _) = self.idle.lock().pop()?;
            if link.is_ready() {
                return Some(link);
            }
        }
    }

    /// Takes a connection back. Closes it if it cannot be reused, or too many are idle.
    pub(super) fn put(&self, mut link: Box<Link>) {
        if !link.is_ready() || descriptors::are_scarce() {
            return;
        }
        link.fresh = false;
        let mut idle = self.idle.lock();
        if idle.len() < MOST && link.epoch == self.epoch() {
            idle.push((link, Instant::now()));
        }
    }

    /// Returns the epoch of the credentials. Must be called before these are looked up.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Closes all idle connections, and accepts none that was made before: the credentials have
    /// changed.
    pub(super) fn renew(&self) {
        let old = {
            let mut idle = self.idle.lock();
            self.epoch.fetch_add(1, Ordering::Release);
            std::mem::take(&mut *idle)
        };
        drop(old);
        self.streams.forget();
    }

    /// Closes connections that are idle for too long, are too old, or were closed by the server.
    pub(super) fn sweep(&self) {
        let old: Vec<_> = {
            let mut idle = self.idle.lock();
            idle.extract_if(.., |(link, since)| since.elapsed() > IDLE || !link.is_ready()).collect()
        };
        drop(old);
        self.streams.sweep();
    }

    /// Returns the number of idle connections.
    pub(super) fn idle(&self) -> usize {
        self.idle.lock().len()
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("idle", &self.idle()).finish_non_exhaustive()
    }
}
