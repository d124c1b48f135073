//! When the fence is open, and who learns that it has opened.

use std::pin::pin;
use std::sync::{OnceLock, Weak};
use std::task::{Context, Poll, Wake, Waker};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A clock that a test sets, and a fence on it.
fn fence() -> (Arc<AtomicU64>, Fence) {
    let now = Arc::new(AtomicU64::new(0));
    let clock = now.clone();
    (now, Fence::with_clock(move || Duration::from_secs(clock.load(Ordering::SeqCst))))
}

#[derive(Default)]
struct Wakes(AtomicU64);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn it_is_open_up_to_the_deadline_which_never_moves_back() {
    let (now, fence) = fence();
    assert!(!fence.is_open(), "no lease yet");
    fence.extend(15 * SECOND);
    fence.extend(9 * SECOND);
    now.store(14, Ordering::SeqCst);
    assert_eq!((fence.is_open(), fence.left(), fence.closed_for()), (true, Some(SECOND), Duration::ZERO));
    now.store(15, Ordering::SeqCst);
    assert_eq!((fence.is_open(), fence.left(), fence.closed_for()), (false, None, Duration::ZERO));
    now.store(18, Ordering::SeqCst);
    assert_eq!((fence.closed_for(), fence.now()), (3 * SECOND, 18 * SECOND));
}

#[test]
fn a_lease_that_was_dropped_is_back_with_the_next_extension() {
    let (now, fence) = fence();
    fence.extend(15 * SECOND);
    now.store(5, Ordering::SeqCst);
    fence.close();
    assert!(!fence.is_open());
    now.store(7, Ordering::SeqCst);
    fence.close();
    assert_eq!(fence.closed_for(), 2 * SECOND, "since the first time");
    fence.extend(6 * SECOND);
    assert!(!fence.is_open(), "extended to a time that is past");
    fence.extend(8 * SECOND);
    assert!(fence.is_open());
}

#[test]
fn the_fence_of_a_node_without_peers_is_open_whatever_is_done() {
    let fence = Fence::default();
    fence.close();
    fence.note_held();
    assert!(fence.is_open() && fence.is_always_open());
    assert_eq!((fence.left(), fence.closed_for(), fence.held()), (Some(Duration::MAX), Duration::ZERO, 0));
}

#[test]
fn the_time_since_boot_goes_on() {
    let fence = Fence::since_boot();
    assert!(!fence.is_open());
    let before = fence.now();
    fence.extend(before + 3600 * SECOND);
    assert!(fence.is_open() && fence.now() >= before);
}

#[test]
fn a_task_is_woken_when_the_fence_opens_and_when_it_is_closed_by_hand() {
    let (now, fence) = fence();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut cx = Context::from_waker(&waker);
    let woken = || wakes.0.swap(0, Ordering::SeqCst);
    let (mut opened, mut changed) = (pin!(fence.opened()), pin!(fence.changed()));
    assert!(opened.as_mut().poll(&mut cx).is_pending() && changed.as_mut().poll(&mut cx).is_pending());
    fence.extend(15 * SECOND);
    assert_eq!(woken(), 2);
    assert!(opened.poll(&mut cx).is_ready() && changed.poll(&mut cx).is_ready());

    let mut changed = pin!(fence.changed());
    assert!(changed.as_mut().poll(&mut cx).is_pending());
    fence.extend(20 * SECOND);
    assert!(changed.as_mut().poll(&mut cx).is_pending());
    assert_eq!(woken(), 0, "it was open before");
    now.store(20, Ordering::SeqCst);
    fence.extend(30 * SECOND);
    assert_eq!((woken(), changed.poll(&mut cx)), (1, Poll::Ready(())), "it was closed for a moment");

    let mut changed = pin!(fence.changed());
    assert!(changed.as_mut().poll(&mut cx).is_pending());
    fence.close();
    assert_eq!((woken(), changed.poll(&mut cx)), (1, Poll::Ready(())));

    let mut gone = Box::pin(fence.changed());
    assert!(gone.as_mut().poll(&mut cx).is_pending());
    drop(gone);
    fence.extend(40 * SECOND);
    assert_eq!(woken(), 0, "a task that waits no more");
}

/// What another thread does while the clock is read.
type Meanwhile = Arc<crate::sync::Mutex<Option<Box<dyn FnOnce(&Fence) + Send>>>>;

/// Returns a clock, a fence on it, and what happens during the next reading. The reading returns
/// the time after that if `late`, otherwise the time before it.
fn interrupted(late: bool) -> (Arc<AtomicU64>, Fence, Meanwhile) {
    let (now, meanwhile, own) =
        (Arc::new(AtomicU64::new(0)), Meanwhile::default(), Arc::new(OnceLock::new()));
    let (clock, next, known) = (now.clone(), meanwhile.clone(), own.clone());
    let fence = Fence::with_clock(move || {
        let early = clock.load(Ordering::SeqCst);
        let meanwhile = next.lock().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile(Weak::upgrade(known.get().unwrap()).map(|lease| Fence(Some(lease))).as_ref().unwrap());
        }
        Duration::from_secs(if late { clock.load(Ordering::SeqCst) } else { early })
    });
    own.set(Arc::downgrade(fence.0.as_ref().unwrap())).unwrap();
    (now, fence, meanwhile)
}

#[test]
fn a_writer_that_finds_the_fence_closed_while_it_is_extended_learns_that_it_is_open() {
    let (now, fence, meanwhile) = interrupted(false);
    fence.extend(15 * SECOND);
    now.store(14, Ordering::SeqCst);
    let changed = fence.changed();
    let found = Arc::new(AtomicU64::new(0));
    let writer = found.clone();
    // The deadline passes while the fence is extended, and the writer asks at that moment.
    *meanwhile.lock() = Some(Box::new(move |fence| {
        now.store(15, Ordering::SeqCst);
        writer.store(1 + u64::from(fence.is_open()), Ordering::SeqCst);
    }));
    fence.extend(30 * SECOND);
    let told = pin!(changed).poll(&mut Context::from_waker(Waker::noop())).is_ready();
    let found = found.load(Ordering::SeqCst);
    assert!(found == 2 || (found == 1 && told), "found {found}, told {told}");
}

#[test]
fn an_extension_that_comes_while_a_writer_asks_lets_it_pass() {
    let (now, fence, meanwhile) = interrupted(true);
    fence.extend(15 * SECOND);
    now.store(14, Ordering::SeqCst);
    // The writer has read the deadline and is about to read the clock.
    *meanwhile.lock() = Some(Box::new(move |fence| {
        fence.extend(30 * SECOND);
        now.store(15, Ordering::SeqCst);
    }));
    assert!(fence.is_open());
}
