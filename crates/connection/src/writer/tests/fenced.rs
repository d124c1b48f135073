//! The writer at the fence: nothing of a session is written while it is closed, and everything in
//! order when it is open again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Wake;
use std::time::Duration;

use super::*;

const ROOM: usize = 10_000;

/// A socket that takes `room` bytes, and checks at each system call that no payload is written
/// while the fence is closed.
struct Guarded {
    fence: Fence,
    room: Cell<usize>,
    taken: RefCell<Vec<u8>>,
    /// Whether bytes are kept in records that are sent later, as TLS does.
    buffers: bool,
    records: RefCell<Vec<u8>>,
    calls: Cell<u32>,
    cut: Cell<bool>,
}

/// The bytes of payload in these tests: `<n>`.
fn is_payload(byte: u8) -> bool {
    byte == b'<' || byte == b'>' || byte.is_ascii_digit()
}

impl Guarded {
    fn new(fence: &Fence, buffers: bool) -> Self {
        Self {
            fence: fence.clone(),
            room: Cell::new(ROOM),
            taken: RefCell::default(),
            buffers,
            records: RefCell::default(),
            calls: Cell::new(0),
            cut: Cell::new(false),
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!self.cut.get(), "written after the cut");
        let bytes = &bytes[..bytes.len().min(self.room.get())];
        if bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let late = !self.fence.is_open() && bytes.iter().copied().any(is_payload);
        assert!(!late, "written while the fence is closed: {:?}", String::from_utf8_lossy(bytes));
        self.calls.set(self.calls.get() + 1);
        self.room.set(self.room.get() - bytes.len());
        self.taken.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn text(&self) -> String {
        String::from_utf8(self.taken.borrow().clone()).unwrap()
    }
}

impl Sink for Guarded {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        if !self.buffers {
            return self.send(&bytes);
        }
        if !self.try_flush()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = &bytes[..bytes.len().min(7)];
        self.records.borrow_mut().extend_from_slice(bytes);
        self.try_flush()?;
        Ok(bytes.len())
    }

    fn try_flush(&self) -> io::Result<bool> {
        let mut records = self.records.borrow_mut();
        while !records.is_empty() {
            match self.send(&records) {
                Ok(sent) => drop(records.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn is_flushed(&self) -> bool {
        self.records.borrow().is_empty()
    }

    fn abort(&self) {
        // The socket is shut down: records can no longer be sent.
        self.records.borrow_mut().clear();
        self.cut.set(true);
    }
}

/// A fence that is opened and closed by hand.
fn fence() -> Fence {
    let fence = Fence::with_clock(|| Duration::ZERO);
    open(&fence);
    fence
}

fn open(fence: &Fence) {
    fence.extend(Duration::from_secs(1));
}

/// A writer of a session that has sent its head.
fn fenced(wire: &Guarded) -> Writer {
    let mut writer = Writer::new(Bytes::from_static(b"head;"));
    writer.fence();
    writer.flush(wire, &wire.fence);
    writer
}

fn push(writer: &mut Writer, wire: &Guarded, kind: Kind, text: &str) -> Pushed {
    let frame = Bytes::copy_from_slice(text.as_bytes());
    writer.push(&[frame], kind, Some(wire), (ROOM, &wire.fence))
}

fn payload(writer: &mut Writer, wire: &Guarded, text: &str) -> Pushed {
    push(writer, wire, Kind::Payload, text)
}

fn lose_lease(writer: &mut Writer, wire: &Guarded) -> bool {
    let farewell = Bytes::from_static(b"K");
    let terminated = writer.terminate(CloseReason::LeaseLost, farewell, Some(wire), &wire.fence);
    writer.send_farewell(Some(wire), &wire.fence);
    terminated
}

#[test]
fn payload_waits_while_the_fence_is_closed_and_leaves_in_order_when_it_opens() {
    let fence = fence();
    let wire = Guarded::new(&fence, false);
    let mut writer = fenced(&wire);
    payload(&mut writer, &wire, "<1>");
    fence.close();
    assert_eq!(payload(&mut writer, &wire, "<2>"), Pushed::Taken);
    payload(&mut writer, &wire, "<3>");
    assert_eq!(writer.flush(&wire, &fence), Next::Hold, "the socket is not waited for");
    assert_eq!((wire.text().as_str(), writer.held(), fence.held()), ("head;<1>", 6, 1));
    open(&fence);
    payload(&mut writer, &wire, "<4>");
    assert_eq!(wire.text(), "head;<1>", "nothing overtakes what waits");
    writer.release();
    assert_eq!(writer.flush(&wire, &fence), Next::Read);
    assert_eq!((wire.text().as_str(), writer.held()), ("head;<1><2><3><4>", 0));
    payload(&mut writer, &wire, "<5>");
    assert_eq!(wire.text(), "head;<1><2><3><4><5>");
}

#[test]
fn a_connection_without_a_session_is_not_fenced() {
    let fence = fence();
    fence.close();
    let wire = Wire::with_room(100);
    let mut writer = Writer::new(Bytes::new());
    writer.push(&[Bytes::from_static(b"<1>")], Kind::Payload, Some(&wire), (ROOM, &fence));
    assert_eq!((wire.text().as_str(), writer.is_fenced(), fence.held()), ("<1>", false, 0));
}

#[test]
fn heartbeats_overtake_what_waits_but_not_a_frame_that_is_half_written() {
    for (room, expected) in [(0, "head;::::<1><2>"), (1, "head;<1><2>::"), (3, "head;<1>::::<2>")] {
        let fence = fence();
        let wire = Guarded::new(&fence, false);
        let mut writer = fenced(&wire);
        wire.room.set(room);
        payload(&mut writer, &wire, "<1>");
        fence.close();
        payload(&mut writer, &wire, "<2>");
        wire.room.set(ROOM);
        writer.flush(&wire, &fence);
        for _ in 0..2 {
            if writer.takes_heartbeat() {
                push(&mut writer, &wire, Kind::Control, "::");
                writer.flush(&wire, &fence);
            }
        }
        if room == 1 {
            assert!(!writer.takes_heartbeat());
            push(&mut writer, &wire, Kind::Control, "::");
            assert_eq!(writer.flush(&wire, &fence), Next::Hold);
        }
        open(&fence);
        writer.flush(&wire, &fence);
        assert_eq!(wire.text(), expected);
    }
}

#[test]
fn a_client_that_is_held_for_too_long_gets_a_farewell_and_no_payload() {
    let fence = fence();
    let wire = Guarded::new(&fence, false);
    let mut writer = fenced(&wire);
    fence.close();
    payload(&mut writer, &wire, "<1>");
    assert!(lose_lease(&mut writer, &wire));
    assert_eq!(wire.text(), "head;K");
    assert_eq!(writer.flush(&wire, &fence), Next::Farewell { flushed: true });
    open(&fence);
    assert_eq!(payload(&mut writer, &wire, "<2>"), Pushed::Refused);
}

#[test]
fn a_frame_that_is_half_written_is_neither_completed_nor_followed() {
    for buffers in [false, true] {
        let fence = fence();
        let wire = Guarded::new(&fence, buffers);
        let mut writer = fenced(&wire);
        wire.room.set(2);
        payload(&mut writer, &wire, "<1>");
        fence.close();
        wire.room.set(ROOM);
        assert_eq!(writer.flush(&wire, &fence), Next::Hold, "buffers: {buffers}");
        lose_lease(&mut writer, &wire);
        assert_eq!((wire.text().as_str(), wire.cut.get()), ("head;<1", true));
    }
}

#[test]
fn a_drain_waits_for_the_fence_and_the_loss_of_the_lease_ends_it_without_payload() {
    let fence = fence();
    let wire = Guarded::new(&fence, false);
    let mut writer = fenced(&wire);
    fence.close();
    payload(&mut writer, &wire, "<1>");
    assert!(writer.drain(CloseReason::Shutdown, Bytes::from_static(b"L")));
    assert_eq!(writer.flush(&wire, &fence), Next::Hold);
    let woken = Arc::new(Woken::default());
    writer.wait(&Context::from_waker(&woken.clone().into()));
    assert!(!writer.terminate(CloseReason::LeaseLost, Bytes::from_static(b"K"), Some(&wire), &fence));
    assert!(woken.0.load(Ordering::SeqCst), "the owner sends the farewell");
    assert_eq!(writer.flush(&wire, &fence), Next::Farewell { flushed: true });
    assert_eq!((wire.text().as_str(), writer.reason()), ("head;L", Some(CloseReason::Shutdown)));
}

/// Whether a task was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_full_outbox_cuts_the_connection_also_at_the_fence() {
    let fence = fence();
    let wire = Guarded::new(&fence, false);
    let mut writer = fenced(&wire);
    fence.close();
    let push = |writer: &mut Writer| {
        writer.push(&[Bytes::from_static(b"<1>")], Kind::Payload, Some(&wire), (6, &fence))
    };
    assert_eq!([(); 3].map(|()| push(&mut writer)), [Pushed::Taken, Pushed::Taken, Pushed::Overflow]);
    assert_eq!((wire.text().as_str(), writer.reason()), ("head;", Some(CloseReason::OutboxOverflow)));
}

#[test]
fn a_body_that_pulls_gets_no_payload_while_the_fence_is_closed() {
    let fence = fence();
    let mut writer = Writer::new(Bytes::from_static(b"head;"));
    writer.fence();
    let pop = |writer: &mut Writer| {
        let mut cx = Context::from_waker(Waker::noop());
        match writer.poll_pop(&mut cx, &fence) {
            Poll::Ready(Ok(Some(frame))) => String::from_utf8(frame.to_vec()).unwrap(),
            other => format!("{other:?}"),
        }
    };
    fence.close();
    let frames = frames(&["<1>", "<2>"]);
    writer.push(&frames, Kind::Payload, None::<&Guarded>, (ROOM, &fence));
    assert_eq!([pop(&mut writer), pop(&mut writer)], ["head;", "Pending"]);
    writer.push(&[Bytes::from_static(b"::")], Kind::Control, None::<&Guarded>, (ROOM, &fence));
    assert_eq!([pop(&mut writer), pop(&mut writer)], ["::", "Pending"]);
    open(&fence);
    assert_eq!([pop(&mut writer), pop(&mut writer)], ["<1>", "<2>"]);
}

#[test]
fn the_fence_is_asked_once_for_each_system_call() {
    let asked = Arc::new(AtomicU64::new(0));
    let clock = asked.clone();
    let fence = Fence::with_clock(move || Duration::from_nanos(clock.fetch_add(1, Ordering::SeqCst)));
    fence.extend(Duration::from_secs(1));
    // The wire of this test asks once as well.
    let asked = || asked.swap(0, Ordering::SeqCst) - 1;
    let wire = Guarded::new(&fence, false);
    let mut writer = fenced(&wire);
    asked();
    let all = vec![Bytes::from_static(b"<1>"); FRAMES_AT_ONCE];
    writer.push(&all, Kind::Payload, Some(&wire), (ROOM, &fence));
    assert_eq!(asked(), 1);
    wire.room.set(3);
    writer.push(&all, Kind::Payload, Some(&wire), (ROOM, &fence));
    wire.room.set(ROOM);
    asked();
    assert_eq!(writer.flush(&wire, &fence), Next::Read);
    assert_eq!(asked(), 1);
}

#[derive(Clone, Debug)]
enum Move {
    Push(Vec<u8>),
    Room(usize),
    Beat,
    /// The owner of the socket has work to do.
    Flush,
    Open,
    Close,
    Leave,
    Lose,
    Kill,
}

/// Splits a stream into its frames. Fails if one is not whole, other than at the end.
fn tokens(mut text: &str) -> (Vec<&str>, &str) {
    let mut tokens = Vec::new();
    loop {
        let length = match text.as_bytes() {
            [b'<', _, b'>', ..] => 3,
            [b':', b':', ..] => 2,
            [b'L' | b'K', ..] => 1,
            [b'h', ..] if text.starts_with("head;") => 5,
            _ => return (tokens, text),
        };
        tokens.push(&text[..length]);
        text = &text[length..];
    }
}

proptest! {
    /// Over any pace of reading, and any times of closing and opening: the wire sees no payload
    /// while the fence is closed, each frame is whole, and the payload is in order and complete
    /// unless the connection was terminated.
    #[test]
    fn nothing_while_closed_and_everything_in_order_after(buffers: bool, moves in prop::collection::vec(prop_oneof![
        6 => prop::collection::vec(0u8..10, 1..5).prop_map(Move::Push), 4 => (0usize..20).prop_map(Move::Room),
        2 => Just(Move::Beat), 2 => Just(Move::Flush), 3 => Just(Move::Open), 4 => Just(Move::Close),
        1 => Just(Move::Leave), 1 => Just(Move::Lose), 1 => Just(Move::Kill)], 1..80)) {
        let fence = fence();
        let wire = Guarded::new(&fence, buffers);
        wire.room.set(0);
        let mut writer = fenced(&wire);
        let (mut pushed, mut closing, mut terminated) = (Vec::new(), false, false);
        for one in moves {
            match one {
                Move::Push(numbers) => {
                    let frames: Vec<_> = numbers.iter().map(|n| Bytes::from(format!("<{n}>"))).collect();
                    let taken = writer.push(&frames, Kind::Payload, Some(&wire), (ROOM, &fence));
                    prop_assert_eq!(taken == Pushed::Taken, !closing);
                    if taken == Pushed::Taken {
                        pushed.extend(numbers.iter().map(|n| format!("<{n}>")));
                    }
                }
                Move::Room(room) => {
                    wire.room.set(wire.room.get() + room);
                    writer.flush(&wire, &fence);
                }
                Move::Beat => drop(push(&mut writer, &wire, Kind::Control, "::")),
                Move::Flush => drop(writer.flush(&wire, &fence)),
                Move::Open => {
                    open(&fence);
                    writer.release();
                    writer.flush(&wire, &fence);
                }
                Move::Close => fence.close(),
                Move::Leave => {
                    writer.drain(CloseReason::Shutdown, Bytes::from_static(b"L"));
                    writer.send_farewell(Some(&wire), &fence);
                    closing = true;
                }
                Move::Lose if fence.is_open() => {}
                Move::Lose | Move::Kill => {
                    lose_lease(&mut writer, &wire);
                    (closing, terminated) = (true, true);
                }
            }
        }
        wire.room.set(ROOM);
        writer.flush(&wire, &fence);
        let was_held = writer.flush(&wire, &fence) == Next::Hold;
        prop_assert!(!was_held || !fence.is_open());
        open(&fence);
        writer.release();
        writer.flush(&wire, &fence);
        let seen = wire.text();
        let (tokens, rest) = tokens(&seen);
        let payload: Vec<_> = tokens.iter().filter(|token| token.starts_with('<')).collect();
        if terminated {
            prop_assert!(payload.iter().zip(&pushed).all(|(seen, pushed)| *seen == pushed));
            prop_assert!(payload.len() <= pushed.len() && (rest.is_empty() || wire.cut.get()), "{seen:?}");
        } else {
            prop_assert_eq!((payload.len(), rest), (pushed.len(), ""), "{:?}", seen);
            prop_assert!(payload.iter().zip(&pushed).all(|(seen, pushed)| *seen == pushed), "{:?}", seen);
        }
        prop_assert!(tokens.first() == Some(&"head;") || wire.cut.get(), "{seen:?}");
        prop_assert_eq!(writer.tally().late, 0);
    }
}
