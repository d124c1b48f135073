//! The buckets of a rate limit: a bounded map, and one shared bucket for all keys that do not fit.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use parking_lot::Mutex;

/// Buckets by key. A bucket is stored as the time at which it will be full, since the limiter was
/// created.
pub(super) struct BucketStore<K> {
    buckets: Mutex<FillTimes<K>>,
    most: usize,
    /// Number of keys. Read for each request, so it does not take the lock.
    len: AtomicUsize,
}

struct FillTimes<K> {
    own: HashMap<K, Nanos>,
    /// The bucket that all other keys share.
    shared: Option<Nanos>,
}

impl<K> BucketStore<K> {
    /// Creates a store for at most `most` keys.
    pub(super) fn new(most: usize) -> Self {
        let buckets = FillTimes { own: HashMap::new(), shared: None };
        Self { buckets: Mutex::new(buckets), most, len: AtomicUsize::new(0) }
    }
}

#[cfg(test)]
impl<K> BucketStore<K> {
    pub(super) fn capacity(&self) -> usize {
        self.buckets.lock().own.capacity()
    }
}

impl<K: Clone + Eq + Hash> StateStore for BucketStore<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut buckets = self.buckets.lock();
        if let Some(bucket) = buckets.own.get_mut(key) {
            let (outcome, full_at) = decide(Some(*bucket))?;
            *bucket = full_at;
            return Ok(outcome);
        }
        if buckets.own.len() >= self.most {
            let (outcome, full_at) = decide(buckets.shared)?;
            buckets.shared = Some(full_at);
            return Ok(outcome);
        }
        let (outcome, full_at) = decide(None)?;
        buckets.own.insert(key.clone(), full_at);
        self.len.store(buckets.own.len(), Ordering::Relaxed);
        Ok(outcome)
    }
}

impl<K: Clone + Eq + Hash> ShrinkableKeyedStateStore<K> for BucketStore<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        let mut buckets = self.buckets.lock();
        buckets.own.retain(|_, full_at| *full_at > drop_below);
        let len = buckets.own.len();
        self.len.store(len, Ordering::Relaxed);
        if len < buckets.own.capacity() / 4 {
            buckets.own.shrink_to(2 * len);
        }
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
