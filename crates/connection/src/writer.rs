//! The writing side of a streaming connection, as a state machine behind one small lock.
//!
//! `push`, `terminate` and `drain` are called with the lock held, so after `terminate` has returned
//! no payload byte is written: what was queued is gone, and a frame that is half written is aborted
//! rather than completed ("nothing after the kill" in ARCHITECTURE.md). It writes directly where
//! nothing waits, and queues only what the socket did not take.

use std::borrow::Borrow;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use session::Ending;

use crate::moment::Moment;
use crate::outbox::{Kind, Outbox};
use crate::transport::CloseReason;

/// Where bytes go: a socket, or a stand-in in tests. Never blocks.
pub(crate) trait Sink {
    /// Takes as many bytes as it can, at least one; [`io::ErrorKind::WouldBlock`] where it can take
    /// none.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Sends what it holds back (TLS records); whether all is sent.
    fn try_flush(&self) -> io::Result<bool>;
    /// Ends both directions at once; what it holds back is not sent any more.
    fn abort(&self);
}

/// The writer of one connection.
pub(crate) struct Writer {
    outbox: Outbox,
    phase: Phase,
    waker: Option<Waker>,
    /// Payload must not leave any more.
    terminated: bool,
    tally: Tally,
    /// When the last byte of an event was handed to the socket.
    last_payload: Option<Moment>,
    /// The revocation that has ended the connection, held until the client is gone.
    ending: Option<Arc<Ending>>,
}

/// What has happened to the events of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Taken for the client.
    pub(crate) delivered: u32,
    /// Thrown away: they waited when the connection ended, or found no room.
    pub(crate) dropped: u32,
    /// Written although the connection was terminated. Always zero, or "nothing after the kill" is
    /// broken.
    pub(crate) late: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The farewell is queued; nothing else gets in any more.
    Closing(CloseReason),
    /// Over; the socket is shut.
    Aborted(CloseReason),
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

/// How many frames leave in one system call.
pub(crate) const FRAMES_AT_ONCE: usize = 64;

impl Writer {
    /// A writer that sends `head` first; empty where somebody else sends it.
    pub(crate) fn new(head: Bytes) -> Self {
        let mut outbox = Outbox::default();
        outbox.push(head, Kind::Head, 0);
        Self {
            outbox,
            phase: Phase::Open,
            waker: None,
            terminated: false,
            tally: Tally::default(),
            last_payload: None,
            ending: None,
        }
    }

    /// Writes frames, all in one call where nothing waits before them, and queues what the socket
    /// does not take.
    ///
    /// The outbox holds up to `limit` bytes; a frame larger than that is taken where nothing waits
    /// before it.
    pub(crate) fn push(
        &mut self,
        frames: &[impl Borrow<Bytes>],
        kind: Kind,
        sink: Option<&impl Sink>,
        limit: usize,
    ) -> Pushed {
        if self.phase != Phase::Open {
            return Pushed::Refused;
        }
        let mut written = 0;
        if self.outbox.is_empty() {
            match self.write_through(frames, kind, sink) {
                Some(taken) => written = taken,
                None => return Pushed::Refused,
            }
        }
        for (number, frame) in frames.iter().map(Borrow::borrow).enumerate() {
            if !self.outbox.is_empty() && self.outbox.bytes() + frame.len() > limit {
                let lost = if kind == Kind::Payload { frames.len() - number } else { 0 };
                self.tally.dropped = self.tally.dropped.saturating_add(lost as u32);
                self.abort(CloseReason::OutboxOverflow, sink);
                return Pushed::Overflow;
            }
            self.tally.delivered = self.tally.delivered.saturating_add(u32::from(kind == Kind::Payload));
            if written < frame.len() {
                self.outbox.push(frame.clone(), kind, written);
            }
            written = written.saturating_sub(frame.len());
        }
        if !self.outbox.is_empty() {
            self.wake();
        }
        Pushed::Taken
    }

    /// How many bytes of the frames the socket took at once; `None` where the socket has failed.
    fn write_through(
        &mut self,
        frames: &[impl Borrow<Bytes>],
        kind: Kind,
        sink: Option<&impl Sink>,
    ) -> Option<usize> {
        let Some(sink) = sink else { return Some(0) };
        let tried = if let [frame] = frames {
            sink.try_write(&[IoSlice::new(frame.borrow())])
        } else {
            let mut slices = [IoSlice::new(&[]); FRAMES_AT_ONCE];
            for (slice, frame) in slices.iter_mut().zip(frames) {
                *slice = IoSlice::new(frame.borrow());
            }
            sink.try_write(&slices[..frames.len().min(FRAMES_AT_ONCE)])
        };
        match tried {
            Ok(written) => {
                self.note_written(kind == Kind::Payload);
                if !matches!(sink.try_flush(), Ok(true)) {
                    self.wake();
                }
                Some(written)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(0),
            Err(_) => {
                self.abort(CloseReason::Client, Some(sink));
                None
            }
        }
    }

    /// Notes that bytes have left, and whether some of them were payload.
    fn note_written(&mut self, payload: bool) {
        if payload {
            self.last_payload = Some(Moment::now());
            self.tally.late += u32::from(self.terminated);
        }
    }

    /// Terminates the stream: drops queued payload, also if the stream is being drained already,
    /// and queues `farewell`. A frame that was written in part is not completed: the connection is
    /// aborted without a farewell.
    ///
    /// The farewell waits until the next [`Writer::flush`] or [`Writer::send_farewell`].
    ///
    /// Returns `false` if the stream was closing before.
    pub(crate) fn terminate(
        &mut self,
        reason: CloseReason,
        farewell: Bytes,
        sink: Option<&impl Sink>,
    ) -> bool {
        let closing = self.phase != Phase::Open;
        if self.discard_payload(sink).is_err() {
            self.abort(reason, sink);
            return !closing;
        }
        self.drain(reason, farewell)
    }

    /// Drains the stream: queues `farewell` behind what is queued.
    ///
    /// The farewell waits until the next [`Writer::flush`] or [`Writer::send_farewell`].
    ///
    /// Returns `false` if the stream was closing before.
    pub(crate) fn drain(&mut self, reason: CloseReason, farewell: Bytes) -> bool {
        if self.phase != Phase::Open {
            return false;
        }
        self.outbox.push(farewell, Kind::Control, 0);
        self.phase = Phase::Closing(reason);
        true
    }

    /// Sends what is queued, and wakes the owner of the socket.
    pub(crate) fn send_farewell(&mut self, sink: Option<&impl Sink>) {
        if let Some(sink) = sink {
            self.flush(sink);
        }
        self.wake();
    }

    /// Drops queued payload. Fails if a frame was written in part.
    fn discard_payload(&mut self, sink: Option<&impl Sink>) -> Result<(), HalfSent> {
        self.terminated = true;
        let held_back = || sink.is_some_and(|sink| !matches!(sink.try_flush(), Ok(true)));
        match self.outbox.first() {
            // It is not payload, and a farewell without it would be none.
            Some(Kind::Head) => {}
            _ if self.outbox.inside(Kind::Payload) || held_back() => return Err(HalfSent),
            _ => {}
        }
        self.tally.dropped = self.tally.dropped.saturating_add(self.outbox.discard_payload() as u32);
        Ok(())
    }

    /// Closes the connection without another byte.
    pub(crate) fn abort(&mut self, reason: CloseReason, sink: Option<&impl Sink>) {
        if let Phase::Aborted(_) = self.phase {
            return;
        }
        let reason = self.reason().unwrap_or(reason);
        self.tally.dropped = self.tally.dropped.saturating_add(self.outbox.clear() as u32);
        self.phase = Phase::Aborted(reason);
        if let Some(sink) = sink {
            sink.abort();
        }
        self.wake();
    }

    /// Writes what is queued, as far as the socket takes it.
    pub(crate) fn flush(&mut self, sink: &impl Sink) -> Next {
        if let Err(error) = self.write_queued(sink)
            && error.kind() != io::ErrorKind::WouldBlock
        {
            self.abort(CloseReason::Client, Some(sink));
        }
        let flushed = self.outbox.is_empty() && matches!(sink.try_flush(), Ok(true));
        match self.phase {
            Phase::Open if flushed => Next::Read,
            Phase::Open => Next::Write,
            Phase::Closing(_) => Next::Farewell { flushed },
            Phase::Aborted(_) => Next::Over,
        }
    }

    fn write_queued(&mut self, sink: &impl Sink) -> io::Result<()> {
        while !self.outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); FRAMES_AT_ONCE];
            let filled = self.outbox.slices(&mut slices);
            let written = sink.try_write(&slices[..filled])?;
            let payload = self.outbox.advance(written);
            self.note_written(payload);
        }
        Ok(())
    }

    /// The next piece for a body that pulls (HTTP/2): a frame, the end, or an error where the
    /// stream was cut.
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
            Phase::Closing(_) => Poll::Ready(Ok(None)),
            Phase::Aborted(reason) => Poll::Ready(Err(reason)),
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

    /// Bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.outbox.bytes()
    }

    /// Whether the connection is open and nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == Phase::Open && self.outbox.is_empty()
    }

    /// Keeps the revocation that has ended the connection for as long as there is a client; the
    /// first one counts.
    pub(crate) fn hold(&mut self, ending: &Arc<Ending>) {
        self.ending.get_or_insert_with(|| ending.clone());
    }

    /// When the last byte of an event was handed to the socket.
    pub(crate) fn last_payload(&self) -> Option<Instant> {
        self.last_payload.map(Moment::instant)
    }

    /// What has happened to its events.
    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Why the connection is ending, or has ended.
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Open => None,
            Phase::Closing(reason) | Phase::Aborted(reason) => Some(reason),
        }
    }
}

#[cfg(test)]
mod tests;
