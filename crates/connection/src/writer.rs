//! The writing side of a streaming connection, as a state machine behind one small lock.
//!
//! `push`, `terminate` and `drain` are called with the lock held, so after `terminate` has returned
//! no payload byte is written: what was queued is gone, and a frame that is half written is aborted
//! rather than completed ("nothing after the kill" in ARCHITECTURE.md). It writes directly if
//! nothing is queued, and queues only what the socket did not take.
//!
//! Payload of a session is written only while the [`Fence`] is open, which is asked right before
//! each system call. While it is closed, payload stays queued, a frame that is half written too.
//! Heads, heartbeats and farewells overtake it.

use std::borrow::Borrow;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use history::EventPosition;
use session::{Ending, Fence};

use crate::compact_instant::CompactInstant;
use crate::outbox::{Kind, Outbox};
use crate::resume::Returned;
use crate::transport::CloseReason;

/// Where bytes go: a socket, or a stand-in in tests. Never blocks.
pub(crate) trait Sink {
    /// Takes as many bytes as it can, at least one. Fails with [`io::ErrorKind::WouldBlock`] if it
    /// can take none.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Sends what is buffered (TLS records). Returns `true` if all of it is sent.
    fn try_flush(&self) -> io::Result<bool>;
    /// Returns `true` if nothing is buffered.
    fn is_flushed(&self) -> bool;
    /// Shuts both directions down at once; what is buffered is not sent.
    fn abort(&self);
}

/// The writer of one connection.
pub(crate) struct Writer {
    outbox: Outbox,
    phase: Phase,
    waker: Option<Waker>,
    guard: Guard,
    tally: Tally,
    /// When the last byte of an event was handed to the socket.
    last_payload: Option<CompactInstant>,
    /// The termination of the session, held until the client is gone: its duration counts up to
    /// then.
    ending: Option<Arc<Ending>>,
    /// The latest position of which the client has got everything. Events up to it are not for it.
    position: EventPosition,
    /// Set for a while if the client has come back. While it is behind, events with a position are
    /// not delivered.
    returned: Option<Box<Returned>>,
    /// Whether heartbeats have ids.
    ids_in_heartbeats: bool,
}

/// What has happened to the events of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Taken for the client.
    pub(crate) delivered: u32,
    /// Dropped: still queued when the connection closed, or without room in the outbox.
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
    /// The socket is shut down.
    Aborted(CloseReason),
}

/// What decides whether payload may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    /// Nothing: it belongs to no session.
    None,
    /// No payload may be written any more.
    Terminated,
    /// The fence, which was open when it was asked last.
    Fence,
    /// The fence, which was closed when it was asked last. Something waits until it opens.
    ClosedFence,
}

/// The result of pushing frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Written or queued.
    Taken,
    /// The connection is closing or closed.
    Refused,
    /// The outbox is full: the connection was aborted.
    Overflow,
}

/// What the owner of the socket should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing is queued.
    Read,
    /// Nothing is queued, and the client is behind: take more from the ring.
    Pull,
    /// Wait until the socket takes more.
    Write,
    /// Wait until the fence opens, or the connection is closed: the owner is woken then.
    Hold,
    /// The farewell is being sent; `flushed` once all of it has left.
    Farewell { flushed: bool },
    /// Stop: the connection is closed.
    Over,
}

/// A part of a payload has left, and the rest must not follow.
struct HalfSent;

/// How far what is queued was written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    All,
    /// The rest waits until the socket takes more.
    UpToBlock,
    /// The rest waits until the fence opens.
    UpToFence,
}

/// The limit of frames in one system call.
pub(crate) const FRAMES_AT_ONCE: usize = 64;

impl Writer {
    /// Returns a writer that sends `head` first; empty if hyper sends the head.
    pub(crate) fn new(head: Bytes) -> Self {
        let mut outbox = Outbox::default();
        outbox.push(head, Kind::Head, 0);
        Self {
            outbox,
            phase: Phase::Open,
            waker: None,
            guard: Guard::None,
            tally: Tally::default(),
            last_payload: None,
            ending: None,
            position: EventPosition::default(),
            returned: None,
            ids_in_heartbeats: false,
        }
    }

    /// Asks the fence from now on, before payload is written.
    pub(crate) fn fence(&mut self) {
        if self.guard == Guard::None {
            self.guard = Guard::Fence;
        }
    }

    /// Returns `true` if its payload is fenced.
    pub(crate) fn is_fenced(&self) -> bool {
        matches!(self.guard, Guard::Fence | Guard::ClosedFence)
    }

    /// Wakes the owner of the socket if anything waits for the fence, which has opened.
    pub(crate) fn release(&mut self) {
        if self.guard == Guard::ClosedFence {
            self.guard = Guard::Fence;
            self.wake();
        }
    }

    /// Returns the bytes that wait for the fence.
    pub(crate) fn held(&self) -> usize {
        if self.guard == Guard::ClosedFence { self.outbox.bytes() } else { 0 }
    }

    /// Returns `true` if payload may be written now. Called right before each write.
    fn may_write(&mut self, fence: &Fence) -> bool {
        !self.is_fenced() || self.passes(fence)
    }

    fn passes(&mut self, fence: &Fence) -> bool {
        let open = fence.is_open();
        if !open && self.guard == Guard::Fence {
            fence.note_held();
        }
        self.guard = if open { Guard::Fence } else { Guard::ClosedFence };
        open
    }

    /// Writes frames in one call if nothing is queued, and queues what the socket does not take.
    /// Control frames overtake payload that waits for the fence.
    ///
    /// The outbox holds up to `limit` bytes; a larger frame is taken only if nothing is queued.
    pub(crate) fn push(
        &mut self,
        frames: &[impl Borrow<Bytes>],
        kind: Kind,
        sink: Option<&impl Sink>,
        (limit, fence): (usize, &Fence),
    ) -> Pushed {
        if self.phase != Phase::Open {
            return Pushed::Refused;
        }
        let mut written = 0;
        if self.outbox.is_empty() {
            match self.write_through(frames, kind, sink, fence) {
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
                self.enqueue(frame.clone(), kind, written);
            }
            written = written.saturating_sub(frame.len());
        }
        if !self.outbox.is_empty() {
            self.wake();
        }
        Pushed::Taken
    }

    fn enqueue(&mut self, frame: Bytes, kind: Kind, written: usize) {
        if kind == Kind::Control && self.guard == Guard::ClosedFence && written == 0 {
            self.outbox.push_before_payload(frame, kind);
        } else {
            self.outbox.push(frame, kind, written);
        }
    }

    /// Returns how many bytes of the frames the socket took; `None` if the socket failed.
    fn write_through(
        &mut self,
        frames: &[impl Borrow<Bytes>],
        kind: Kind,
        sink: Option<&impl Sink>,
        fence: &Fence,
    ) -> Option<usize> {
        let Some(sink) = sink else { return Some(0) };
        let fenced = self.is_fenced();
        if fenced && !self.may_send(kind, sink, fence) {
            return Some(0);
        }
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
                let may_flush = !fenced || self.may_send(Kind::Control, sink, fence);
                if !may_flush || !matches!(sink.try_flush(), Ok(true)) {
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

    /// Records a write, and whether it held payload.
    fn note_written(&mut self, payload: bool) {
        if payload {
            self.last_payload = Some(CompactInstant::now());
            self.tally.late += u32::from(self.guard == Guard::Terminated);
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
        fence: &Fence,
    ) -> bool {
        let closing = self.phase != Phase::Open;
        if self.discard_payload(sink, fence).is_err() {
            self.abort(reason, sink);
            return !closing;
        }
        if closing {
            // The farewell of the drain no longer waits for the fence.
            self.wake();
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
        self.returned = None;
        self.outbox.push(farewell, Kind::Control, 0);
        self.phase = Phase::Closing(reason);
        true
    }

    /// Sends what is queued, and wakes the owner of the socket.
    pub(crate) fn send_farewell(&mut self, sink: Option<&impl Sink>, fence: &Fence) {
        if let Some(sink) = sink {
            self.flush(sink, fence);
        }
        self.wake();
    }

    /// Drops queued payload. Fails if a frame was written in part.
    fn discard_payload(&mut self, sink: Option<&impl Sink>, fence: &Fence) -> Result<(), HalfSent> {
        // A response head is not payload, and the farewell needs it.
        let half_sent = self.outbox.first() != Some(Kind::Head)
            && (self.outbox.inside(Kind::Payload) || sink.is_some_and(|sink| !self.flush_sink(sink, fence)));
        self.guard = Guard::Terminated;
        if half_sent {
            return Err(HalfSent);
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
        self.returned = None;
        self.tally.dropped = self.tally.dropped.saturating_add(self.outbox.clear() as u32);
        self.phase = Phase::Aborted(reason);
        if let Some(sink) = sink {
            sink.abort();
        }
        self.wake();
    }

    /// Writes what is queued, as far as the socket takes it.
    pub(crate) fn flush(&mut self, sink: &impl Sink, fence: &Fence) -> Next {
        if let Phase::Aborted(_) = self.phase {
            return Next::Over;
        }
        let written = self.write_queued(sink, fence).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::WouldBlock {
                self.abort(CloseReason::Client, Some(sink));
            }
            Written::UpToBlock
        });
        match (self.phase, written) {
            (Phase::Aborted(_), _) => Next::Over,
            (_, Written::UpToFence) => Next::Hold,
            (Phase::Open, Written::All) if self.is_behind() => Next::Pull,
            (Phase::Open, Written::All) => Next::Read,
            (Phase::Open, Written::UpToBlock) => Next::Write,
            (Phase::Closing(_), written) => Next::Farewell { flushed: written == Written::All },
        }
    }

    fn write_queued(&mut self, sink: &impl Sink, fence: &Fence) -> io::Result<Written> {
        while !self.outbox.is_empty() {
            let open = self.may_write(fence);
            let mut slices = [IoSlice::new(&[]); FRAMES_AT_ONCE];
            // Nothing overtakes payload that is buffered.
            let filled = if open || sink.is_flushed() { self.outbox.slices(&mut slices, open) } else { 0 };
            if filled == 0 {
                return Ok(Written::UpToFence);
            }
            let written = sink.try_write(&slices[..filled])?;
            let payload = self.outbox.advance(written);
            self.note_written(payload);
        }
        Ok(match self.flush_sink(sink, fence) {
            true => Written::All,
            false if self.guard == Guard::ClosedFence => Written::UpToFence,
            false => Written::UpToBlock,
        })
    }

    /// Sends what the sink has buffered, which may be payload. Returns `true` if all of it is sent.
    fn flush_sink(&mut self, sink: &impl Sink, fence: &Fence) -> bool {
        if self.is_fenced() && !self.may_send(Kind::Control, sink, fence) {
            return false;
        }
        matches!(sink.try_flush(), Ok(true))
    }

    /// Asks the fence whether a frame can be sent, with what the sink has buffered before it.
    #[inline(never)] // out of `push`: a node without peers never calls it
    fn may_send(&mut self, kind: Kind, sink: &impl Sink, fence: &Fence) -> bool {
        // What is buffered may be payload.
        let is_asked = kind == Kind::Payload || !sink.is_flushed();
        !is_asked || self.passes(fence)
    }

    /// Returns the next frame for a body that pulls (HTTP/2), `None` at its end, or an error if the
    /// stream was aborted.
    pub(crate) fn poll_pop(
        &mut self,
        cx: &mut Context<'_>,
        fence: &Fence,
    ) -> Poll<Result<Option<Bytes>, CloseReason>> {
        if self.outbox.first() == Some(Kind::Payload) && !self.may_write(fence) {
            self.wait(cx);
            return Poll::Pending;
        }
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

    /// As [`Writer::takes`], for a client that has not come back a moment ago; `false` for others.
    #[inline(always)] // into `deliver_all`: it is called for every event of every client
    pub(crate) fn takes_plainly(&mut self, position: EventPosition) -> bool {
        let is_new = position > self.position || position == EventPosition::default();
        let is_taken = self.returned.is_none() && is_new;
        if is_taken {
            self.position = self.position.max(position);
        }
        is_taken
    }

    /// Returns `true` if an event at this position is for the client now, and records that it gets
    /// it; 0: it has no position.
    pub(crate) fn takes(&mut self, position: EventPosition) -> bool {
        if position == EventPosition::default() {
            return true;
        }
        let is_taken = position > self.position && !self.is_behind();
        if is_taken {
            self.position = position;
        }
        is_taken
    }

    /// Records that the client has got everything up to this position.
    pub(crate) fn enter(&mut self, position: EventPosition, returned: Option<Box<Returned>>) {
        self.position = self.position.max(position);
        self.returned = returned;
    }

    #[inline(always)] // into `deliver_all`: it is called for every event of every client
    fn is_behind(&self) -> bool {
        self.returned.as_ref().is_some_and(|returned| returned.is_behind())
    }

    /// Returns `true` if the client keeps its cursor for now: see
    /// [`Returned::awaits_subscriptions`].
    #[inline(always)] // into `deliver_all`: it is called for every event of every client
    pub(crate) fn awaits_subscriptions(&self) -> bool {
        self.returned.as_ref().is_some_and(|returned| returned.awaits_subscriptions())
    }

    /// Records that the client has got the event at this position; 0: it has no position.
    #[inline(always)] // into `deliver_all`: it is called for every event of every client
    pub(crate) fn note_position(&mut self, position: EventPosition) {
        self.position = self.position.max(position);
    }

    /// Returns the latest position of which the client has got everything.
    pub(crate) fn position(&self) -> EventPosition {
        self.position
    }

    pub(crate) fn returned(&mut self) -> Option<&mut Returned> {
        self.returned.as_deref_mut()
    }

    /// Returns `true` if the client is behind, and more can be taken from the ring for it.
    pub(crate) fn pulls(&self) -> bool {
        self.is_behind() && self.outbox.is_empty() && self.phase == Phase::Open
    }

    /// Gives heartbeats ids.
    pub(crate) fn give_ids(&mut self) {
        self.ids_in_heartbeats = true;
    }

    /// Returns the position of a heartbeat, if it has one: all events up to `settled` were
    /// delivered to the connections that want them.
    pub(crate) fn heartbeat_position(&mut self, settled: EventPosition) -> Option<EventPosition> {
        self.returned.take_if(|returned| returned.is_over());
        let returned = self.returned.as_ref();
        let waits = returned.is_some_and(|returned| returned.is_behind() || returned.awaits_subscriptions());
        if !self.ids_in_heartbeats || waits || !self.outbox.is_empty() {
            return None;
        }
        self.position = self.position.max(settled);
        Some(self.position)
    }

    /// Wakes `cx` when there is something to do.
    pub(crate) fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }

    /// Wakes the owner of the socket.
    pub(crate) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Returns the bytes that are queued, and those of what a client that is behind misses.
    pub(crate) fn waiting(&self) -> usize {
        self.outbox.bytes() + self.returned.as_ref().map_or(0, |returned| returned.bytes())
    }

    /// Returns `true` if a heartbeat can be sent now: the connection is open, and nothing is queued
    /// except payload that waits for the fence.
    pub(crate) fn takes_heartbeat(&self) -> bool {
        let waits = self.guard == Guard::ClosedFence
            && self.outbox.first() == Some(Kind::Payload)
            && !self.outbox.inside(Kind::Payload);
        self.phase == Phase::Open && (self.outbox.is_empty() || waits)
    }

    /// Keeps `ending` until the client is gone; the first one counts.
    pub(crate) fn hold(&mut self, ending: &Arc<Ending>) {
        self.ending.get_or_insert_with(|| ending.clone());
    }

    /// Returns when the last byte of an event was handed to the socket.
    pub(crate) fn last_payload(&self) -> Option<Instant> {
        self.last_payload.map(CompactInstant::instant)
    }

    /// Returns what has happened to its events.
    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Returns why the connection is closing or closed; `None` while it is open.
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Open => None,
            Phase::Closing(reason) | Phase::Aborted(reason) => Some(reason),
        }
    }
}

#[cfg(test)]
mod tests;
