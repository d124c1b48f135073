//! Handles a task that wakes itself while it is polled: it is polled again immediately, without the
//! scheduler.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Polls, and polls again if it was woken meanwhile.
///
/// hyper wakes its own task twice for each body of a request. The runtime puts a task that wakes
/// itself at the end of the queue and wakes another thread to help: useless system calls and a
/// thread switch, which cost more than the request.
pub(crate) struct Repoll {
    own: Arc<SelfWaker>,
    waker: Waker,
}

struct SelfWaker {
    state: AtomicU8,
    task: AtomicWaker,
}

/// Not being polled: a wake-up wakes the task.
const WAITING: u8 = 0;
/// Being polled: a wake-up is only recorded.
const POLLING: u8 = 1;
/// A wake-up was recorded, or the task was woken.
const WOKEN: u8 = 2;

/// Limit of polls in a row before the task yields.
const ROUNDS: usize = 4;

impl Repoll {
    pub(crate) fn new() -> Self {
        let own = Arc::new(SelfWaker { state: AtomicU8::new(WAITING), task: AtomicWaker::new() });
        Self { waker: own.clone().into(), own }
    }

    /// Polls until no wake-up has come meanwhile, at most [`ROUNDS`] times.
    pub(crate) fn poll<T>(
        &self,
        cx: &Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.own.task.register(cx.waker());
        for _ in 0..ROUNDS {
            self.own.state.store(POLLING, Ordering::SeqCst);
            let polled = poll(&mut Context::from_waker(&self.waker));
            if polled.is_ready() || self.own.rest() {
                return polled;
            }
        }
        self.own.state.store(WOKEN, Ordering::SeqCst);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl SelfWaker {
    /// Makes wake-ups wake the task from now on. Returns `false` if one has come before.
    fn rest(&self) -> bool {
        self.state.compare_exchange(POLLING, WAITING, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

impl Wake for SelfWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::SeqCst) == WAITING {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Polls something that wakes itself `wakes` times; returns how often it was polled.
    fn poll(repoll: &Repoll, task: &Arc<Task>, mut wakes: usize) -> usize {
        let mut polls = 0;
        let waker = Waker::from(task.clone());
        let polled = repoll.poll(&Context::from_waker(&waker), |cx| {
            polls += 1;
            if wakes > 0 {
                wakes -= 1;
                cx.waker().wake_by_ref();
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        polls
    }

    fn woken(task: &Task) -> usize {
        task.0.swap(0, Ordering::SeqCst)
    }

    #[test]
    fn what_wakes_itself_goes_on_at_once_and_what_does_so_for_ever_lets_others_go_first() {
        let (repoll, task) = (Repoll::new(), Arc::new(Task::default()));
        assert_eq!((poll(&repoll, &task, 0), woken(&task)), (1, 0));
        assert_eq!((poll(&repoll, &task, 2), woken(&task)), (3, 0));
        assert_eq!((poll(&repoll, &task, usize::MAX), woken(&task)), (ROUNDS, 1));
        assert_eq!((poll(&repoll, &task, 0), woken(&task)), (1, 0));
    }

    #[test]
    fn between_two_polls_the_task_is_woken_once() {
        let (repoll, task) = (Repoll::new(), Arc::new(Task::default()));
        for _ in 0..2 {
            poll(&repoll, &task, 1);
            repoll.waker.wake_by_ref();
            repoll.waker.wake_by_ref();
            assert_eq!(woken(&task), 1);
        }
    }
}
