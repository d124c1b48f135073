//! The descriptors that clients may take: bounded for the whole process, like the limit of open
//! files.
//!
//! What lies above the bound is the reserve of the internal port, the log, and files. The sockets
//! of the inbound ports count, and so do connections that are opened on behalf of a client: to a
//! service, or to the one that decides what clients may do.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// The bound of descriptors for clients. None until [`bound`] sets one.
static MOST: AtomicUsize = AtomicUsize::new(usize::MAX);
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// The share of the descriptors that must be free for an idle connection to a service to be kept.
const SPARE: usize = 16;

/// A descriptor that is used for a client; free again when dropped.
#[derive(Debug)]
#[must_use]
pub struct Descriptor(());

/// Sets how many descriptors clients may take, once at the start.
pub fn bound(most: usize) {
    MOST.store(most, Relaxed);
}

/// Returns `true` if so few descriptors are free that idle connections to services should be
/// closed.
pub fn are_scarce() -> bool {
    let most = MOST.load(Relaxed);
    TAKEN.load(Relaxed) >= most - most / SPARE
}

impl Descriptor {
    /// Takes a descriptor; `None` if clients have taken all of theirs.
    pub fn take() -> Option<Self> {
        let most = MOST.load(Relaxed);
        let taken = TAKEN.fetch_update(Relaxed, Relaxed, |taken| (taken < most).then(|| taken + 1));
        taken.is_ok().then(|| Self(()))
    }

    /// Frees one that was taken and forgotten.
    pub fn give_back() {
        drop(Self(()));
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Relaxed);
    }
}
