//! Counts the bytes that a group of holders has in memory, and evicts holders when the total
//! exceeds a limit.
//!
//! Each outbox and each body has its own limit. This does not limit the memory of the process,
//! since any number of clients may be slow at once. So their total has a limit as well, and the
//! fullest holder is evicted first. This crate does not know connections or bodies, only how much
//! they hold and how to evict them.
//!
//! Bytes that wait for several clients are counted for each of them, although they are in memory
//! only once.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicIsize, AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

/// Holds bytes for a client.
pub trait Holder: Send + Sync {
    /// Returns how many bytes it holds now.
    fn bytes(&self) -> usize;
    /// Frees all of them.
    fn evict(&self);
}

/// Lists the holders.
type Lister = Box<dyn Fn() -> Vec<Arc<dyn Holder>> + Send + Sync>;

/// The bytes that wait, and their limit.
pub struct Memory {
    bound: usize,
    /// Briefly negative if a decrease is recorded before the increase that precedes it, since
    /// neither takes a lock.
    waiting: AtomicIsize,
    evicted: AtomicU64,
    /// Lists the holders that are too many to be stored here, such as connections.
    source: OnceLock<Lister>,
    held: Mutex<HashMap<u64, Arc<Holding>>>,
    next: AtomicU64,
    /// Calls of [`Memory::make_room`] that are not served yet.
    calls: AtomicUsize,
}

/// Bytes that are held until this is dropped.
pub struct Held {
    share: Arc<Holding>,
    id: u64,
}

struct Holding {
    memory: Arc<Memory>,
    bytes: AtomicUsize,
    evict: Box<dyn Fn() + Send + Sync>,
}

impl Memory {
    /// Creates a memory with a limit of `bound` bytes.
    pub fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self {
            bound: bound.min(isize::MAX.unsigned_abs()),
            waiting: AtomicIsize::new(0),
            evicted: AtomicU64::new(0),
            source: OnceLock::new(),
            held: Mutex::default(),
            next: AtomicU64::new(0),
            calls: AtomicUsize::new(0),
        })
    }

    /// Sets the list of holders that report their bytes by [`Memory::change`]. Only the first call
    /// has an effect.
    pub fn holders(&self, source: impl Fn() -> Vec<Arc<dyn Holder>> + Send + Sync + 'static) {
        let _ = self.source.set(Box::new(source));
    }

    /// Records that a holder has more or fewer bytes now. If this returns `true`, the limit is
    /// exceeded: the caller must call [`Memory::make_room`] once it holds no locks.
    #[must_use]
    pub fn change(&self, before: usize, after: usize) -> bool {
        let more = after.wrapping_sub(before).cast_signed();
        let waiting = self.waiting.fetch_add(more, Relaxed).wrapping_add(more);
        more > 0 && waiting > self.bound.cast_signed()
    }

    /// Holds bytes until [`Held`] is dropped, or `evict` is called to free them.
    pub fn hold(self: &Arc<Self>, bytes: usize, evict: impl Fn() + Send + Sync + 'static) -> Held {
        let (memory, bytes_now) = (self.clone(), AtomicUsize::new(0));
        let share = Arc::new(Holding { memory, bytes: bytes_now, evict: Box::new(evict) });
        let id = self.next.fetch_add(1, Relaxed);
        self.held.lock().insert(id, share.clone());
        let held = Held { share, id };
        held.add(bytes);
        held
    }

    /// Evicts the fullest holders until an eighth of the limit is free, because finding them costs
    /// more than evicting them. Only one caller does this at a time; a concurrent call makes that
    /// caller check again.
    pub fn make_room(&self) {
        if self.calls.fetch_add(1, AcqRel) > 0 {
            return;
        }
        loop {
            let calls = self.calls.load(Acquire);
            self.evict();
            if self.calls.fetch_sub(calls, AcqRel) == calls {
                return;
            }
        }
    }

    /// Evicts the fullest of the current holders.
    fn evict(&self) {
        let enough = self.bound - self.bound / 8;
        let mut holders = self.source.get().map_or_else(Vec::new, |source| source());
        holders.extend(self.held.lock().values().map(|share| share.clone() as Arc<dyn Holder>));
        let mut holders: Vec<_> = holders
            .into_iter()
            .map(|holder| (holder.bytes(), holder))
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        holders.sort_unstable_by_key(|(bytes, _)| *bytes);
        let mut count = 0_u64;
        while self.waiting() > enough
            && let Some((bytes, holder)) = holders.pop()
        {
            holder.evict();
            tracing::debug!(bytes, "evicted: too many bytes wait in memory");
            count += 1;
        }
        if count > 0 {
            self.evicted.fetch_add(count, Relaxed);
            tracing::warn!(
                evicted = count,
                bound = self.bound,
                "too many bytes waited: the largest were evicted"
            );
        }
    }

    /// Returns how many bytes wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed).max(0).unsigned_abs()
    }

    /// Returns how many evictions there were so far.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }
}

impl Held {
    /// Holds more bytes.
    pub fn add(&self, bytes: usize) {
        if let Some(memory) = self.add_locked(bytes) {
            memory.make_room();
        }
    }

    /// Holds more bytes, for a caller that holds a lock which the eviction takes too. If this
    /// returns the memory, the limit is exceeded: call [`Memory::make_room`] once that lock is
    /// released.
    #[must_use]
    pub fn add_locked(&self, bytes: usize) -> Option<Arc<Memory>> {
        self.share.bytes.fetch_add(bytes, Relaxed);
        self.share.memory.change(0, bytes).then(|| self.share.memory.clone())
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("bound", &self.bound)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("bytes", &self.share.bytes).finish_non_exhaustive()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.share.let_go();
        let listed = self.share.memory.held.lock().remove(&self.id);
        // Dropped outside the lock, since dropping its `evict` may call this again.
        drop(listed);
    }
}

impl Holding {
    fn let_go(&self) {
        let _ = self.memory.change(self.bytes.swap(0, Relaxed), 0);
    }
}

impl Holder for Holding {
    fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    fn evict(&self) {
        // Subtracted at once, although the owner frees the bytes later; otherwise other holders
        // would be evicted needlessly.
        self.let_go();
        (self.evict)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_may_be_noted_before_the_more_that_it_follows() {
        let memory = Memory::new(1000);
        assert!(!memory.change(300, 0));
        assert_eq!(memory.waiting(), 0);
        assert!(!memory.change(0, 900), "600 wait");
        assert!(!memory.change(0, 300), "900 wait");
        assert_eq!(memory.waiting(), 900);
        assert!(memory.change(0, 101));
    }

    #[test]
    fn f03_the_fullest_goes_first_and_leaves_room_for_others() {
        let memory = Memory::new(1000);
        let gone = Arc::new(Mutex::new(Vec::new()));
        let held = Arc::new(Mutex::new(HashMap::new()));
        for (name, bytes) in [("small", 100), ("fullest", 500), ("full", 300), ("last", 200)] {
            let (gone, others) = (gone.clone(), Arc::downgrade(&held));
            let new = memory.hold(bytes, move || {
                gone.lock().push(name);
                let others = others.upgrade().unwrap();
                let evicted: Option<Held> = others.lock().remove(name);
                drop(evicted);
            });
            held.lock().insert(name, new);
        }
        assert_eq!((memory.waiting(), memory.evicted()), (600, 1));
        assert_eq!(*gone.lock(), ["fullest"]);
        held.lock().clear();
        assert_eq!(memory.waiting(), 0);
    }
    /// A caller that arrives while another one is evicting leaves it to that one.
    #[test]
    fn f03_room_is_made_for_those_too_who_come_meanwhile() {
        let memory = Memory::new(1000);
        let late = Arc::new(Mutex::new(None));
        let (memory_of_evicted, late_of_evicted) = (memory.clone(), late.clone());
        let first = memory.hold(600, move || {
            let last = memory_of_evicted.hold(1001, || {});
            late_of_evicted.lock().get_or_insert(last);
        });
        let second = memory.hold(500, || {});
        assert_eq!((memory.waiting(), memory.evicted()), (0, 3), "one pass would have left 1001");
        drop((first, second, late));
    }
}
