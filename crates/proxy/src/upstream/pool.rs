//! The connections to a server that wait for their next exchange.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::link::Link;
use super::streams::Streams;

/// The most that wait at once.
const MOST: usize = 1024;

/// How long each waits.
const IDLE: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Pool {
    /// The last to come is the first to go: those that are not needed grow old.
    idle: Mutex<Vec<(Box<Link>, Instant)>>,
    /// The HTTP/2 connections, if the server speaks it.
    pub(super) streams: Streams,
    /// How often the credentials of new connections have changed.
    epoch: AtomicU32,
}

impl Pool {
    /// An HTTP/1 connection that is ready.
    pub(super) fn take(&self) -> Option<Box<Link>> {
        loop {
            let (mut link, _) = self.idle.lock().pop()?;
            if link.is_ready() {
                return Some(link);
            }
        }
    }

    /// Takes a connection back; it is closed where it cannot be used again, or too many wait.
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

    /// Returns which credentials new connections have. Ask before these are looked up.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Closes all that wait, and keeps none that was made before: there are new credentials.
    pub(super) fn renew(&self) {
        let old = {
            let mut idle = self.idle.lock();
            self.epoch.fetch_add(1, Ordering::Release);
            std::mem::take(&mut *idle)
        };
        drop(old);
        self.streams.forget();
    }

    /// Closes what has waited for too long, has grown too old, or was closed by the server.
    pub(super) fn sweep(&self) {
        let old: Vec<_> = {
            let mut idle = self.idle.lock();
            idle.extract_if(.., |(link, since)| since.elapsed() > IDLE || !link.is_ready()).collect()
        };
        drop(old);
        self.streams.sweep();
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
