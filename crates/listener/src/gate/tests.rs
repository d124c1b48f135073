//! Which bytes of an answer pass.

use session::LostLease;
use tokio::time::Instant;

use super::*;

fn pass<T>(
    gate: &Gate,
    write: impl FnOnce(&mut Option<Box<Interim>>) -> Poll<io::Result<T>>,
) -> Poll<io::Result<T>> {
    gate.pass(&mut Context::from_waker(Waker::noop()), true, |_, interim| write(interim))
}

fn writes(gate: &Gate) -> bool {
    matches!(pass(gate, |_| Poll::Ready(Ok(()))), Poll::Ready(Ok(())))
}

#[test]
fn what_belongs_to_an_answer_is_kept_until_it_has_left() {
    let gate = Gate::default();
    let kept = Arc::new(());
    gate.begin();
    gate.hold(kept.clone());
    assert_eq!(Arc::strong_count(&kept), 2);
    gate.flushed();
    assert_eq!(Arc::strong_count(&kept), 1);
    gate.begin();
    gate.hold(kept.clone());
    gate.withhold();
    assert_eq!(Arc::strong_count(&kept), 2, "the socket is still open");
    gate.closed();
    assert_eq!(Arc::strong_count(&kept), 1);
}

#[test]
fn f14_a_retracted_informational_answer_closes_the_socket_if_it_was_partly_written() {
    let sent = |gate: &Gate, bytes| {
        pass(gate, |interim| {
            interim.as_mut().unwrap().advance(bytes);
            Poll::Ready(Ok(()))
        })
    };
    let gate = Gate::default();
    gate.interim(b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec(), &Fence::default());
    gate.retract();
    let is_none = pass(&gate, |interim| Poll::Ready(Ok(interim.is_none())));
    assert!(matches!(is_none, Poll::Ready(Ok(true))));
    assert!(writes(&gate), "the refusal can be written");
    gate.interim(b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec(), &Fence::default());
    assert!(sent(&gate, 5).is_ready());
    gate.retract();
    assert!(!writes(&gate), "nothing may follow an incomplete head");
}

#[test]
fn f14_informational_answers_are_bounded_and_wait_for_no_earlier_answer() {
    let gate = Gate::default();
    let waiting = || {
        let mut waiting = 0;
        let _ = pass(&gate, |interim| {
            waiting = interim.as_ref().map_or(0, |interim| interim.rest().len());
            Poll::Ready(Ok(()))
        });
        waiting
    };
    let stuck: Poll<io::Result<()>> = pass(&gate, |_| Poll::Pending);
    assert!(stuck.is_pending());
    gate.interim(vec![b'x'; 100], &Fence::default());
    assert_eq!(waiting(), 0, "the socket is in the middle of something else");
    (0..1000).for_each(|_| gate.interim(vec![b'x'; 100], &Fence::default()));
    assert!((INTERIM - 100..=INTERIM).contains(&waiting()));
}

#[test]
fn what_is_on_its_way_can_be_kept_back_and_what_has_left_is_let_alone() {
    let gate = Gate::default();
    assert!(!gate.withhold() && writes(&gate), "there is nothing to hold back");
    gate.begin();
    assert!(writes(&gate) && !gate.is_idle());
    gate.flushed();
    assert!(!gate.withhold() && writes(&gate) && gate.is_idle());
    gate.begin();
    assert!(gate.withhold());
    assert!(!writes(&gate) && gate.is_idle() && !gate.withhold());
    gate.begin();
    gate.flushed();
    assert!(!writes(&gate), "for good");
}

/// A gate with an answer of a session that waits up to 10 s at the fence, which is closed.
fn at_the_fence() -> (Gate, Fence) {
    let (gate, fence) = (Gate::default(), Fence::with_clock(|| Duration::ZERO));
    gate.begin_fenced(&LostLease::Closed.fencing(&fence, Duration::from_secs(10)));
    (gate, fence)
}

async fn written(gate: &Gate) -> io::Result<()> {
    poll_fn(|cx| gate.pass(cx, true, |_, _| Poll::Ready(Ok(())))).await
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_session_waits_until_the_fence_opens() {
    let (gate, fence) = at_the_fence();
    let writing = tokio::spawn({
        let gate = gate.clone();
        async move { written(&gate).await }
    });
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(!writing.is_finished() && gate.is_held());
    let opened = Instant::now();
    fence.extend(Duration::from_secs(1));
    assert!(writing.await.unwrap().is_ok() && !gate.is_held());
    assert_eq!((opened.elapsed(), fence.held()), (Duration::ZERO, 1), "the fence wakes the writer");
    fence.close();
    let flushed = gate.pass(&mut Context::from_waker(Waker::noop()), false, |_, _| Poll::Ready(Ok(())));
    assert!(flushed.is_ready(), "a flush that sends nothing does not wait");
    gate.flushed();
    gate.begin();
    assert!(writes(&gate), "the next answer belongs to no session");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_waits_too_long_at_the_fence_is_cut_off() {
    let (gate, fence) = at_the_fence();
    let began = Instant::now();
    assert!(written(&gate).await.is_err());
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    fence.extend(Duration::from_secs(1));
    assert!(gate.is_withheld() && !writes(&gate), "for good");
}

#[test]
fn an_informational_answer_of_a_session_is_dropped_at_the_fence() {
    const HEAD: &[u8] = b"HTTP/1.1 103 Early Hints\r\n\r\n";
    let fence = Fence::with_clock(|| Duration::ZERO);
    let waiting = |gate: &Gate| {
        let waiting =
            pass(gate, |interim| Poll::Ready(Ok(interim.as_ref().map_or(0, |one| one.rest().len()))));
        match waiting {
            Poll::Ready(Ok(waiting)) => waiting,
            other => panic!("{other:?}"),
        }
    };
    let gate = Gate::default();
    gate.interim(HEAD.to_vec(), &fence);
    assert_eq!(waiting(&gate), 0, "closed when it came");
    fence.extend(Duration::from_secs(1));
    gate.interim(HEAD.to_vec(), &fence);
    fence.close();
    assert_eq!(waiting(&gate), 0, "closed before it was written");
    fence.extend(Duration::from_secs(1));
    gate.interim(HEAD.to_vec(), &fence);
    let sent: Poll<io::Result<()>> = pass(&gate, |interim| {
        interim.as_mut().unwrap().advance(5);
        Poll::Pending
    });
    assert!(sent.is_pending());
    fence.close();
    assert!(!writes(&gate), "nothing may follow an incomplete head");
}
