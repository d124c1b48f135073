//! Wakes whoever waits for a fence to change.

use std::collections::HashMap;
use std::future::Future;
use std::mem::take;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::LeaseDeadline;
use crate::sync::Mutex;

/// The changes of a fence, and the tasks that wait for the next one.
#[derive(Default)]
pub(super) struct Changes(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// How many changes there were.
    changes: u64,
    /// The tasks by their number.
    wakers: HashMap<u64, Waker>,
    next: u64,
}

impl Changes {
    /// Counts a change, and wakes all tasks that wait for one.
    pub(super) fn announce(&self) {
        let mut waiting = self.0.lock();
        waiting.changes += 1;
        let wakers = take(&mut waiting.wakers);
        drop(waiting);
        wakers.into_values().for_each(Waker::wake);
    }
}

/// Resolves when a fence has changed; see [`Fence::changed`](super::Fence::changed).
pub struct FenceChanged {
    /// `None` for the fence that never changes.
    lease: Option<Arc<LeaseDeadline>>,
    /// How many changes there were when this was created.
    before: u64,
    number: u64,
}

impl FenceChanged {
    pub(super) fn new(lease: Option<Arc<LeaseDeadline>>) -> Self {
        let (before, number) = lease.as_ref().map_or((0, 0), |lease| {
            let mut waiting = lease.changes.0.lock();
            waiting.next += 1;
            (waiting.changes, waiting.next)
        });
        Self { lease, before, number }
    }
}

impl Future for FenceChanged {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(lease) = &self.lease else { return Poll::Pending };
        let mut waiting = lease.changes.0.lock();
        if waiting.changes != self.before {
            return Poll::Ready(());
        }
        waiting.wakers.insert(self.number, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for FenceChanged {
    fn drop(&mut self) {
        if let Some(lease) = &self.lease {
            let waker = lease.changes.0.lock().wakers.remove(&self.number);
            drop(waker);
        }
    }
}
