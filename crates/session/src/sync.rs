//! The locks: parking_lot's, or loom's where the model explores every interleaving.

#[cfg(not(feature = "loom"))]
pub(crate) use parking_lot::Mutex;

#[cfg(feature = "loom")]
pub(crate) use model::Mutex;

#[cfg(feature = "loom")]
mod model {
    /// loom's mutex with parking_lot's interface.
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no thread of the model panics with the lock held")
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Self(loom::sync::Mutex::new(T::default()))
        }
    }
}
