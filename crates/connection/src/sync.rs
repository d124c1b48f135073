//! What orders events: the locks of parking_lot and the tasks of tokio, or their stand-ins where
//! loom explores every interleaving.

#[cfg(not(feature = "loom"))]
pub(crate) use native::{AtomicU64, Mutex, MutexGuard, parallelism, spawn, uses_index};

#[cfg(feature = "loom")]
pub(crate) use model::{AtomicU64, Mutex, MutexGuard, parallelism, spawn, uses_index};

#[cfg(not(feature = "loom"))]
mod native {
    use std::num::NonZero;
    use std::thread::available_parallelism;

    pub(crate) use std::sync::atomic::AtomicU64;

    pub(crate) use parking_lot::{Mutex, MutexGuard};
    use tokio::runtime::Handle;

    /// Returns the number of processors that the process may use.
    pub(crate) fn parallelism() -> usize {
        available_parallelism().map_or(1, NonZero::get)
    }

    /// Spawns a task. Returns `false` if there is no runtime.
    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> bool {
        Handle::try_current().inspect(|runtime| drop(runtime.spawn(task))).is_ok()
    }

    /// Called right before the subscription index is read or changed, for the model.
    #[inline(always)] // it does nothing
    pub(crate) const fn uses_index() {}
}

#[cfg(feature = "loom")]
pub(crate) mod model {
    use std::cell::RefCell;
    use std::pin::Pin;

    #[cfg(test)]
    use futures_util::FutureExt;

    pub(crate) use loom::sync::MutexGuard;
    pub(crate) use loom::sync::atomic::AtomicU64;

    /// loom's mutex with parking_lot's interface.
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("no thread of the model panics with the lock held")
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }

    /// Two lanes.
    pub(crate) fn parallelism() -> usize {
        4
    }

    loom::lazy_static! {
        static ref INDEX: Mutex<()> = Mutex::default();
    }

    /// Lets other threads run before the subscription index is used, whose locks loom does not
    /// see.
    pub(crate) fn uses_index() {
        drop(INDEX.lock());
    }

    type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

    thread_local! {
        // loom runs all threads of a model on one.
        static SPAWNED: RefCell<Vec<Task>> = const { RefCell::new(Vec::new()) };
    }

    /// Keeps a task until a thread of the model runs it.
    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> bool {
        SPAWNED.with_borrow_mut(|spawned| spawned.push(Box::pin(task)));
        true
    }

    /// Runs what was spawned, also by other threads. None of these tasks waits for another.
    #[cfg(test)]
    pub(crate) fn run_spawned() {
        while let Some(task) = SPAWNED.with_borrow_mut(Vec::pop) {
            task.now_or_never().expect("a task that does not wait");
        }
    }
}
