//! The writing side of a streaming connection, as a state machine behind one small lock.
//!
//! `push` and `end` are called with the lock held, so after `end` has returned no payload byte is written: what was
//! queued is gone, and what is half written is cut rather than completed (invariant 3). It writes directly where
//! nothing waits, and queues only what the socket did not take.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use telemetry::CloseReason;

use crate::outbox::Outbox;

/// Where bytes go: a socket, or a stand-in in tests. Never blocks.
pub(crate) trait Sink {
    /// Takes as many bytes as it can, at least one; [`io::ErrorKind::WouldBlock`] where it can take none.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Sends what it holds back (TLS records); whether all is sent.
    fn try_flush(&self) -> io::Result<bool>;
    /// Ends both directions at once; what it holds back is not sent any more.
    fn cut(&self);
}

/// The writer of one connection.
pub(crate) struct Writer {
    outbox: Outbox,
    phase: Phase,
    /// The front of the outbox is the response head, which is not payload.
    head_first: bool,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The farewell is queued; nothing else gets in any more.
    Ending(CloseReason),
    /// Over; the socket is shut.
    Cut(CloseReason),
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Written or queued.
    Taken,
    /// The connection is ending or has ended.
    Refused,
    /// There was no room: the connection has been cut.
    Overflow,
}

/// What the owner of the socket should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing waits to be written.
    Read,
    /// Wait until the socket takes more.
    Write,
    /// The farewell is on its way, `flushed` once all of it has left.
    Farewell { flushed: bool },
    /// Leave.
    Over,
}

/// How many waiting frames leave in one system call.
const FRAMES_AT_ONCE: usize = 16;

impl Writer {
    /// A writer that sends `head` first; empty where somebody else sends it.
    pub(crate) fn new(head: Bytes) -> Self {
        let mut outbox = Outbox::default();
        let head_first = !head.is_empty();
        outbox.push(head, 0);
        Self { outbox, phase: Phase::Open, head_first, waker: None }
    }

    /// Writes a frame, or queues what the socket does not take.
    ///
    /// The outbox holds up to `limit` bytes; a frame larger than that is taken where nothing waits before it.
    pub(crate) fn push(&mut self, frame: Bytes, sink: Option<&impl Sink>, limit: usize) -> Pushed {
        if self.phase != Phase::Open {
            return Pushed::Refused;
        }
        if self.outbox.is_empty() {
            let Some(written) = self.write_through(&frame, sink) else { return Pushed::Refused };
            if written == frame.len() {
                return Pushed::Taken;
            }
            self.outbox.push(frame, written);
        } else if self.outbox.bytes() + frame.len() > limit {
            self.cut(CloseReason::OutboxOverflow, sink);
            return Pushed::Overflow;
        } else {
            self.outbox.push(frame, 0);
        }
        self.wake();
        Pushed::Taken
    }

    /// How much of the frame the socket took at once; `None` where the socket has failed.
    fn write_through(&mut self, frame: &[u8], sink: Option<&impl Sink>) -> Option<usize> {
        let Some(sink) = sink else { return Some(0) };
        match sink.try_write(&[IoSlice::new(frame)]) {
            Ok(written) => {
                if !matches!(sink.try_flush(), Ok(true)) {
                    self.wake();
                }
                Some(written)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(0),
            Err(_) => {
                self.cut(CloseReason::Client, Some(sink));
                None
            }
        }
    }

    /// Ends the stream with `farewell`. With `discard`, what waits is dropped first, and a frame that has left only
    /// in part is not completed: the connection is cut without a farewell.
    ///
    /// Returns false where the connection was ending before.
    pub(crate) fn end(
        &mut self,
        reason: CloseReason,
        farewell: Bytes,
        discard: bool,
        sink: Option<&impl Sink>,
    ) -> bool {
        if self.phase != Phase::Open {
            return false;
        }
        if discard {
            let held_back = sink.is_some_and(|sink| !matches!(sink.try_flush(), Ok(true)));
            if !self.head_first && (self.outbox.inside_a_frame() || held_back) {
                self.cut(reason, sink);
                return true;
            }
            self.outbox.truncate(usize::from(self.head_first));
        }
        self.outbox.push(farewell, 0);
        self.phase = Phase::Ending(reason);
        if let Some(sink) = sink {
            self.flush(sink);
        }
        self.wake();
        true
    }

    /// Ends the connection without another byte.
    pub(crate) fn cut(&mut self, reason: CloseReason, sink: Option<&impl Sink>) {
        if let Phase::Cut(_) = self.phase {
            return;
        }
        let reason = self.reason().unwrap_or(reason);
        self.outbox.truncate(0);
        self.phase = Phase::Cut(reason);
        if let Some(sink) = sink {
            sink.cut();
        }
        self.wake();
    }

    /// Writes what waits, as far as the socket takes it.
    pub(crate) fn flush(&mut self, sink: &impl Sink) -> Next {
        if let Err(error) = self.drain(sink)
            && error.kind() != io::ErrorKind::WouldBlock
        {
            self.cut(CloseReason::Client, Some(sink));
        }
        let flushed = self.outbox.is_empty() && matches!(sink.try_flush(), Ok(true));
        match self.phase {
            Phase::Open if flushed => Next::Read,
            Phase::Open => Next::Write,
            Phase::Ending(_) => Next::Farewell { flushed },
            Phase::Cut(_) => Next::Over,
        }
    }

    fn drain(&mut self, sink: &impl Sink) -> io::Result<()> {
        while !self.outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); FRAMES_AT_ONCE];
            let filled = self.outbox.slices(&mut slices);
            let written = sink.try_write(&slices[..filled])?;
            if self.outbox.advance(written) > 0 {
                self.head_first = false;
            }
        }
        Ok(())
    }

    /// The next piece for a body that pulls (HTTP/2): a frame, the end, or an error where the stream was cut.
    pub(crate) fn poll_pop(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, CloseReason>> {
        if let Some(frame) = self.outbox.pop() {
            self.head_first = false;
            return Poll::Ready(Ok(Some(frame)));
        }
        match self.phase {
            Phase::Open => {
                self.wait(cx);
                Poll::Pending
            }
            Phase::Ending(_) => Poll::Ready(Ok(None)),
            Phase::Cut(reason) => Poll::Ready(Err(reason)),
        }
    }

    /// Whom to wake when there is something to do.
    pub(crate) fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether the connection is open and nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == Phase::Open && self.outbox.is_empty()
    }

    /// Why the connection is ending, or has ended.
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Open => None,
            Phase::Ending(reason) | Phase::Cut(reason) => Some(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use proptest::prelude::*;

    /// A socket that takes `room` bytes and then blocks.
    #[derive(Default)]
    struct Wire {
        room: Cell<usize>,
        taken: RefCell<Vec<u8>>,
        cut: Cell<bool>,
    }

    impl Wire {
        fn with_room(room: usize) -> Self {
            Self { room: Cell::new(room), ..Self::default() }
        }

        fn text(&self) -> String {
            String::from_utf8(self.taken.borrow().clone()).unwrap()
        }
    }

    impl Sink for Wire {
        fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            assert!(!self.cut.get(), "written after the cut");
            let bytes: Vec<u8> = slices.iter().flat_map(|s| s.to_vec()).take(self.room.get()).collect();
            if bytes.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room.set(self.room.get() - bytes.len());
            self.taken.borrow_mut().extend_from_slice(&bytes);
            Ok(bytes.len())
        }

        fn try_flush(&self) -> io::Result<bool> {
            Ok(true)
        }

        fn cut(&self) {
            self.cut.set(true);
        }
    }

    const LIMIT: usize = 10;

    fn open(wire: &Wire) -> Writer {
        let mut writer = Writer::new(Bytes::from_static(b"head;"));
        writer.flush(wire);
        writer
    }

    #[test]
    fn a_kill_discards_what_waits() {
        let wire = Wire::with_room(5);
        let mut writer = open(&wire);
        writer.push(Bytes::from_static(b"payload"), Some(&wire), LIMIT);
        writer.end(CloseReason::SessionKilled, Bytes::from_static(b"killed"), true, Some(&wire));
        wire.room.set(100);
        assert_eq!(writer.flush(&wire), Next::Farewell { flushed: true });
        assert_eq!(wire.text(), "head;killed");
        assert_eq!(writer.push(Bytes::from_static(b"late"), Some(&wire), LIMIT), Pushed::Refused);
    }

    #[test]
    fn a_kill_never_completes_a_frame() {
        let wire = Wire::with_room(8);
        let mut writer = open(&wire);
        writer.push(Bytes::from_static(b"payload"), Some(&wire), LIMIT);
        writer.end(CloseReason::SessionKilled, Bytes::from_static(b"killed"), true, Some(&wire));
        wire.room.set(100);
        assert_eq!(writer.flush(&wire), Next::Over);
        assert_eq!(wire.text(), "head;pay");
        assert!(wire.cut.get());
    }

    #[test]
    fn a_kill_before_the_head_still_sends_the_head() {
        let wire = Wire::with_room(0);
        let mut writer = open(&wire);
        writer.push(Bytes::from_static(b"payload"), Some(&wire), 100);
        writer.end(CloseReason::SessionKilled, Bytes::from_static(b"killed"), true, Some(&wire));
        wire.room.set(100);
        writer.flush(&wire);
        assert_eq!(wire.text(), "head;killed");
    }

    #[test]
    fn an_orderly_end_sends_what_waits() {
        let wire = Wire::with_room(5);
        let mut writer = open(&wire);
        writer.push(Bytes::from_static(b"payload;"), Some(&wire), LIMIT);
        writer.end(CloseReason::Shutdown, Bytes::from_static(b"bye"), false, Some(&wire));
        wire.room.set(100);
        writer.flush(&wire);
        assert_eq!(wire.text(), "head;payload;bye");
    }

    #[test]
    fn d25_a_full_outbox_cuts_the_connection() {
        let wire = Wire::with_room(5);
        let mut writer = open(&wire);
        assert_eq!(writer.push(Bytes::from_static(b"0123456789"), Some(&wire), LIMIT), Pushed::Taken);
        assert_eq!(writer.push(Bytes::from_static(b"x"), Some(&wire), LIMIT), Pushed::Overflow);
        assert!(wire.cut.get());
        assert_eq!(writer.reason(), Some(CloseReason::OutboxOverflow));
    }

    #[test]
    fn one_large_frame_is_taken_where_nothing_waits() {
        let wire = Wire::with_room(5);
        let mut writer = open(&wire);
        assert_eq!(writer.push(Bytes::from(vec![b'x'; 10 * LIMIT]), Some(&wire), LIMIT), Pushed::Taken);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8),
        Room(usize),
        Kill,
    }

    proptest! {
        /// Over any pace of reading: before the kill the frames come in order and whole, after it no payload byte.
        #[test]
        fn nothing_after_the_kill(steps in prop::collection::vec(prop_oneof![
            (0u8..10).prop_map(Step::Push), (0usize..20).prop_map(Step::Room), Just(Step::Kill)], 1..60)) {
            let wire = Wire::default();
            let mut writer = open(&wire);
            let mut sent = String::from("head;");
            let mut at_kill = None;
            for step in steps {
                match step {
                    Step::Push(n) => {
                        let frame = format!("<{n}>");
                        if writer.push(Bytes::from(frame.clone()), Some(&wire), 1000) == Pushed::Taken {
                            sent.push_str(&frame);
                        }
                    }
                    Step::Room(room) => {
                        wire.room.set(wire.room.get() + room);
                        writer.flush(&wire);
                    }
                    Step::Kill => {
                        let before = wire.text();
                        writer.end(CloseReason::SessionKilled, Bytes::from_static(b"K"), true, Some(&wire));
                        at_kill.get_or_insert(before);
                    }
                }
            }
            wire.room.set(10_000);
            writer.flush(&wire);
            let seen = wire.text();
            match at_kill {
                None => prop_assert_eq!(seen, sent),
                Some(before) => {
                    prop_assert!(sent.starts_with(&before));
                    let after = &seen[before.len()..];
                    let rest_of_head = if before.len() < 5 { &"head;"[before.len()..] } else { "" };
                    prop_assert!(after.is_empty() || after == format!("{rest_of_head}K"), "after the kill: {after:?}");
                }
            }
        }
    }
}
