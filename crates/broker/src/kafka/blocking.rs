//! Waiting in what the library calls, which is no future: while it polls, in a thread of the
//! runtime, or while a consumer is closed, in one that may wait.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Blocks this thread with something. Lets others do its other work, if the runtime has others.
pub(super) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match runtime() {
        Some(_) => block_in_place(work),
        None => work(),
    }
}

/// Blocks this thread until there is a result; `None` at once if nothing else could do the work
/// meanwhile.
pub(super) fn wait<T>(work: impl Future<Output = T>) -> Option<T> {
    let runtime = runtime()?;
    Some(block_in_place(|| runtime.block_on(work)))
}

/// Returns the runtime of this thread if it has several threads.
fn runtime() -> Option<Handle> {
    Handle::try_current().ok().filter(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}
