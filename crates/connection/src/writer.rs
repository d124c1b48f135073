//! The writing side of a streaming connection, as a state machine behind one small lock.
//!
//! `push` and `end` are called with the lock held, so after `end` has returned no payload byte is written: what was
//! queued is gone, and what is half written is cut rather than completed (invariant 3). It writes directly where
//! nothing waits, and queues only what the socket did not take.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use telemetry::CloseReason;

use crate::outbox::{Kind, Outbox};

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
    waker: Option<Waker>,
    /// Payload must not leave any more.
    silenced: bool,
    tally: Tally,
}

/// What has happened to the events of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Taken for the client.
    pub(crate) delivered: u32,
    /// Thrown away: they waited when the connection ended, or found no room.
    pub(crate) dropped: u32,
    /// Written although the connection was silenced. Always zero, or invariant 3 is broken.
    pub(crate) late: u32,
    /// When the last byte of one was handed to the socket.
    pub(crate) last_payload: Option<Instant>,
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

/// A piece of payload has left, and the rest must not.
struct HalfSent;

/// How many waiting frames leave in one system call.
const FRAMES_AT_ONCE: usize = 16;

impl Writer {
    /// A writer that sends `head` first; empty where somebody else sends it.
    pub(crate) fn new(head: Bytes) -> Self {
        let mut outbox = Outbox::default();
        outbox.push(head, Kind::Head, 0);
        Self { outbox, phase: Phase::Open, waker: None, silenced: false, tally: Tally::default() }
    }

    /// Writes a frame, or queues what the socket does not take.
    ///
    /// The outbox holds up to `limit` bytes; a frame larger than that is taken where nothing waits before it.
    pub(crate) fn push(
        &mut self,
        frame: Bytes,
        kind: Kind,
        sink: Option<&impl Sink>,
        limit: usize,
    ) -> Pushed {
        if self.phase != Phase::Open {
            return Pushed::Refused;
        }
        let mut written = 0;
        if self.outbox.is_empty() {
            match self.write_through(&frame, kind, sink) {
                Some(taken) => written = taken,
                None => return Pushed::Refused,
            }
        } else if self.outbox.bytes() + frame.len() > limit {
            self.tally.dropped += u32::from(kind == Kind::Payload);
            self.cut(CloseReason::OutboxOverflow, sink);
            return Pushed::Overflow;
        }
        self.tally.delivered = self.tally.delivered.saturating_add(u32::from(kind == Kind::Payload));
        if written < frame.len() {
            self.outbox.push(frame, kind, written);
            self.wake();
        }
        Pushed::Taken
    }

    /// How much of the frame the socket took at once; `None` where the socket has failed.
    fn write_through(&mut self, frame: &[u8], kind: Kind, sink: Option<&impl Sink>) -> Option<usize> {
        let Some(sink) = sink else { return Some(0) };
        match sink.try_write(&[IoSlice::new(frame)]) {
            Ok(written) => {
                self.note_written(kind == Kind::Payload);
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

    /// Notes that bytes have left, and whether some of them were payload.
    fn note_written(&mut self, payload: bool) {
        if payload {
            self.tally.last_payload = Some(Instant::now());
            self.tally.late += u32::from(self.silenced);
        }
    }

    /// Ends the stream with `farewell`. With `discard`, what waits is dropped first, also where the stream is ending
    /// already, and a frame that has left only in part is not completed: the connection is cut without a farewell.
    ///
    /// The farewell waits until the next [`Writer::flush`], or [`Writer::go_on`].
    ///
    /// Returns false where the connection was ending before.
    pub(crate) fn end(
        &mut self,
        reason: CloseReason,
        farewell: Bytes,
        discard: bool,
        sink: Option<&impl Sink>,
    ) -> bool {
        let ending = self.phase != Phase::Open;
        if discard && self.silence(sink).is_err() {
            self.cut(reason, sink);
            return !ending;
        }
        if ending {
            return false;
        }
        self.outbox.push(farewell, Kind::Control, 0);
        self.phase = Phase::Ending(reason);
        true
    }

    /// Sends what waits, and lets the owner of the socket go on with it.
    pub(crate) fn go_on(&mut self, sink: Option<&impl Sink>) {
        if let Some(sink) = sink {
            self.flush(sink);
        }
        self.wake();
    }

    /// Drops the payload that waits. Fails where some of it is half gone.
    fn silence(&mut self, sink: Option<&impl Sink>) -> Result<(), HalfSent> {
        self.silenced = true;
        let held_back = || sink.is_some_and(|sink| !matches!(sink.try_flush(), Ok(true)));
        match self.outbox.first() {
            // It is not payload, and a farewell without it would be none.
            Some(Kind::Head) => {}
            _ if self.outbox.inside(Kind::Payload) || held_back() => return Err(HalfSent),
            _ => {}
        }
        self.tally.dropped += self.outbox.discard_payload() as u32;
        Ok(())
    }

    /// Ends the connection without another byte.
    pub(crate) fn cut(&mut self, reason: CloseReason, sink: Option<&impl Sink>) {
        if let Phase::Cut(_) = self.phase {
            return;
        }
        let reason = self.reason().unwrap_or(reason);
        self.tally.dropped += self.outbox.clear() as u32;
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
            let frames = self.outbox.frames_within(written);
            let payload = self.outbox.has_payload_within(frames);
            self.note_written(payload);
            self.outbox.advance(written);
        }
        Ok(())
    }

    /// The next piece for a body that pulls (HTTP/2): a frame, the end, or an error where the stream was cut.
    pub(crate) fn poll_pop(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, CloseReason>> {
        if let Some((frame, kind)) = self.outbox.pop() {
            self.note_written(kind == Kind::Payload);
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

    /// What has happened to its events.
    pub(crate) fn tally(&self) -> Tally {
        self.tally
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

    fn end(writer: &mut Writer, reason: CloseReason, farewell: Bytes, discard: bool, wire: &Wire) -> bool {
        let ended = writer.end(reason, farewell, discard, Some(wire));
        writer.go_on(Some(wire));
        ended
    }

    #[test]
    fn a_kill_discards_what_waits() {
        let wire = Wire::with_room(5);
        let mut writer = open(&wire);
        writer.push(Bytes::from_static(b"payload"), Kind::Payload, Some(&wire), LIMIT);
        end(&mut writer, CloseReason::SessionKilled, Bytes::from_static(b"killed"), true, &wire);
        wire.room.set(100);
        assert_eq!(writer.flush(&wire), Next::Farewell { flushed: true });
        assert_eq!(wire.text(), "head;killed");
        assert_eq!(
            writer.push(Bytes::from_static(b"late"), Kind::Payload, Some(&wire), LIMIT),
            Pushed::Refused
        );
    }

    #[test]
    fn the_farewell_waits_until_it_goes_on_and_payload_does_not_come() {
        let wire = Wire::with_room(5);
        let mut writer = open(&wire);
        wire.room.set(100);
        assert!(writer.end(CloseReason::SessionKilled, Bytes::from_static(b"killed"), true, Some(&wire)));
        let late = writer.push(Bytes::from_static(b"late"), Kind::Payload, Some(&wire), LIMIT);
        assert_eq!((late, wire.text().as_str()), (Pushed::Refused, "head;"));
        writer.go_on(Some(&wire));
        assert_eq!(wire.text(), "head;killed");
    }

    #[test]
    fn a_kill_never_completes_a_frame() {
        let wire = Wire::with_room(8);
        let mut writer = open(&wire);
        writer.push(Bytes::from_static(b"payload"), Kind::Payload, Some(&wire), LIMIT);
        end(&mut writer, CloseReason::SessionKilled, Bytes::from_static(b"killed"), true, &wire);
        wire.room.set(100);
        assert_eq!(writer.flush(&wire), Next::Over);
        assert_eq!(wire.text(), "head;pay");
        assert!(wire.cut.get());
    }

    #[test]
    fn a_kill_discards_what_waits_for_an_orderly_end() {
        let wire = Wire::with_room(5);
        let mut writer = open(&wire);
        writer.push(Bytes::from_static(b"payload"), Kind::Payload, Some(&wire), LIMIT);
        end(&mut writer, CloseReason::Shutdown, Bytes::from_static(b"bye"), false, &wire);
        assert!(!end(&mut writer, CloseReason::SessionKilled, Bytes::from_static(b"killed"), true, &wire));
        wire.room.set(100);
        writer.flush(&wire);
        assert_eq!(wire.text(), "head;bye");
        assert_eq!((writer.tally().delivered, writer.tally().dropped), (1, 1));
    }

    #[test]
    fn a_kill_completes_a_heartbeat() {
        let wire = Wire::with_room(6);
        let mut writer = open(&wire);
        writer.push(Bytes::from_static(b"::"), Kind::Control, Some(&wire), LIMIT);
        writer.push(Bytes::from_static(b"payload"), Kind::Payload, Some(&wire), LIMIT);
        end(&mut writer, CloseReason::SessionKilled, Bytes::from_static(b"killed"), true, &wire);
        wire.room.set(100);
        writer.flush(&wire);
        assert_eq!(wire.text(), "head;::killed");
    }

    #[test]
    fn a_kill_before_the_head_still_sends_the_head() {
        let wire = Wire::with_room(0);
        let mut writer = open(&wire);
        writer.push(Bytes::from_static(b"payload"), Kind::Payload, Some(&wire), 100);
        end(&mut writer, CloseReason::SessionKilled, Bytes::from_static(b"killed"), true, &wire);
        wire.room.set(100);
        writer.flush(&wire);
        assert_eq!(wire.text(), "head;killed");
    }

    #[test]
    fn an_orderly_end_sends_what_waits() {
        let wire = Wire::with_room(5);
        let mut writer = open(&wire);
        writer.push(Bytes::from_static(b"payload;"), Kind::Payload, Some(&wire), LIMIT);
        end(&mut writer, CloseReason::Shutdown, Bytes::from_static(b"bye"), false, &wire);
        wire.room.set(100);
        writer.flush(&wire);
        assert_eq!(wire.text(), "head;payload;bye");
    }

    #[test]
    fn d25_a_full_outbox_cuts_the_connection() {
        let wire = Wire::with_room(5);
        let mut writer = open(&wire);
        assert_eq!(
            writer.push(Bytes::from_static(b"0123456789"), Kind::Payload, Some(&wire), LIMIT),
            Pushed::Taken
        );
        assert_eq!(
            writer.push(Bytes::from_static(b"x"), Kind::Payload, Some(&wire), LIMIT),
            Pushed::Overflow
        );
        assert!(wire.cut.get());
        assert_eq!(writer.reason(), Some(CloseReason::OutboxOverflow));
    }

    #[test]
    fn one_large_frame_is_taken_where_nothing_waits() {
        let wire = Wire::with_room(5);
        let mut writer = open(&wire);
        assert_eq!(
            writer.push(Bytes::from(vec![b'x'; 10 * LIMIT]), Kind::Payload, Some(&wire), LIMIT),
            Pushed::Taken
        );
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8),
        Room(usize),
        Beat,
        Leave,
        Kill,
    }

    proptest! {
        /// Over any pace of reading: before the kill the frames come in order and whole, after it no payload byte.
        #[test]
        fn nothing_after_the_kill(steps in prop::collection::vec(prop_oneof![
            (0u8..10).prop_map(Step::Push), (0usize..20).prop_map(Step::Room),
            Just(Step::Beat), Just(Step::Leave), Just(Step::Kill)], 1..60)) {
            let wire = Wire::default();
            let mut writer = open(&wire);
            let mut sent = String::from("head;");
            let mut at_kill = None;
            for step in steps {
                match step {
                    Step::Push(n) => {
                        let frame = format!("<{n}>");
                        if writer.push(Bytes::from(frame.clone()), Kind::Payload, Some(&wire), 1000) == Pushed::Taken {
                            sent.push_str(&frame);
                        }
                    }
                    Step::Room(room) => {
                        wire.room.set(wire.room.get() + room);
                        writer.flush(&wire);
                    }
                    Step::Beat => {
                        if writer.push(Bytes::from_static(b"::"), Kind::Control, Some(&wire), 1000) == Pushed::Taken {
                            sent.push_str("::");
                        }
                    }
                    Step::Leave => {
                        if end(&mut writer, CloseReason::Shutdown, Bytes::from_static(b"L"), false, &wire) {
                            sent.push('L');
                        }
                    }
                    Step::Kill => {
                        let before = wire.text();
                        end(&mut writer, CloseReason::SessionKilled, Bytes::from_static(b"K"), true, &wire);
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
                    // What is no payload may still come, the rest of the head and of a heartbeat first.
                    let after = &seen[before.len()..];
                    let after = after.trim_start_matches(|c| "head;".contains(c) && before.len() < 5);
                    prop_assert!(after.bytes().all(|b| b":LK".contains(&b)), "after the kill: {after:?}");
                    prop_assert!(!wire.cut.get() || after.is_empty(), "after the cut: {after:?}");
                }
            }
            prop_assert_eq!(writer.tally().late, 0);
        }
    }
}
