//! The key set of an issuer, as it was last fetched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::IssuerConfig;
use super::demand::Demand;
use super::metrics::Counts;
use crate::key_set::KeySet;
use crate::provider_client::ProviderClient;

/// The keys of an issuer, what is known of the fetches, and the client that makes them. Shared by
/// the task that fetches and those that verify tokens.
pub(crate) struct IssuerKeys {
    current: ArcSwapOption<KeySet>,
    epoch: AtomicU64,
    /// Requests for a fetch now.
    pub(super) demand: Demand,
    /// Reaches the issuer.
    pub(super) client: ProviderClient,
    pub(super) counts: Arc<Counts>,
    fetches: Mutex<Fetches>,
}

/// What is known of the fetches.
#[derive(Clone, Debug, Default)]
pub(super) struct Fetches {
    /// The end of the last good one.
    pub(super) good_at: Option<Instant>,
    /// Why the last one failed, or what is wrong although it did not; `None` if nothing is.
    pub(super) error: Option<String>,
    /// When the next regular one begins. `None` if no task fetches.
    pub(super) next: Option<Instant>,
    /// How many keys were withdrawn.
    pub(super) withdrawn: u64,
}

impl IssuerKeys {
    /// Creates a store without keys. Opens nothing.
    pub(crate) fn new(config: &IssuerConfig) -> Self {
        Self {
            current: ArcSwapOption::empty(),
            epoch: AtomicU64::new(0),
            demand: Demand::default(),
            client: ProviderClient::new(config.access()),
            counts: Arc::default(),
            fetches: Mutex::default(),
        }
    }

    /// Returns the keys; `None` if none were ever fetched, or the last good set is too old.
    pub(crate) fn current(&self) -> Option<Arc<KeySet>> {
        self.current.load_full()
    }

    /// Returns how many times the keys changed: tokens verified in an earlier epoch must be
    /// verified again. The epoch changes after the keys, so a caller that reads it first never
    /// takes the result of older keys for one of this epoch.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Puts a key set in force. Returns `true` if it differs from the current one: if not, the
    /// results of earlier tokens stay valid.
    pub(crate) fn put(&self, set: Arc<KeySet>) -> bool {
        let is_same = self.current.load().as_ref().is_some_and(|current| **current == *set);
        self.current.store(Some(set));
        if !is_same {
            self.epoch.fetch_add(1, Ordering::Release);
        }
        !is_same
    }

    /// Takes the keys out of force, since they are too old.
    pub(super) fn expire(&self) {
        if self.current.swap(None).is_some() {
            self.epoch.fetch_add(1, Ordering::Release);
        }
    }

    pub(super) fn fetches(&self) -> Fetches {
        self.fetches.lock().clone()
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut Fetches)) {
        change(&mut self.fetches.lock());
    }
}
