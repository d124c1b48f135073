//! One client's connection: where its events go, and how it is closed.

use std::borrow::Borrow;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use event::Event;
use history::{EventId, EventPosition};
use memory::Holder;
use session::{Ending, Fence, Notified};

use crate::client::{Client, CompactClient};
use crate::commons::Commons;
use crate::encoding::Encoding;
use crate::farewell::{Farewell, reconnect_delay};
use crate::frame::Frame;
use crate::id::ConnectionId;
use crate::longpolling::Mailbox;
use crate::outbox::Kind;
use crate::resume::{Pulled, Returned, Start};
use crate::sequencer::Sequencer;
use crate::socket::Socket;
use crate::sync::Mutex;
use crate::ties::Ties;
use crate::transport::{CloseReason, Transport};
use crate::writer::{Next, Pushed, Writer};

/// One client's connection. Dropping it undoes all of its registrations.
pub struct Connection {
    id: ConnectionId,
    commons: Arc<Commons<Self>>,
    client: CompactClient,
    /// When it was opened, in microseconds since 1970.
    since: u64,
    outlet: Outlet,
    ties: Mutex<Ties>,
}

/// Where events go.
pub(crate) enum Outlet {
    /// Into a stream of bytes (SSE, WebSocket).
    Stream { encoding: Encoding, writer: Mutex<Writer>, socket: OnceLock<Socket> },
    /// Into a mailbox that the client polls.
    Mailbox(Box<Mailbox>),
}

impl Outlet {
    /// Returns a stream that begins with `head`; empty if hyper sends the head.
    pub(crate) fn stream(encoding: Encoding, head: Bytes) -> Self {
        Self::Stream { encoding, writer: Mutex::new(Writer::new(head)), socket: OnceLock::new() }
    }
}

impl Connection {
    pub(crate) fn new(commons: Arc<Commons<Self>>, id: ConnectionId, client: Client, outlet: Outlet) -> Self {
        let since = UNIX_EPOCH.elapsed().unwrap_or_default().as_micros() as u64;
        if let Outlet::Stream { writer, .. } = &outlet {
            // The head of the stream. Whoever writes next makes room, if that is needed.
            let _ = commons.config.memory.change(0, writer.lock().waiting());
        }
        Self { id, commons, client: client.into(), since, outlet, ties: Mutex::default() }
    }

    /// Hands an event to the client: written at once where nothing waits before it, queued where
    /// the client is slow.
    ///
    /// Does nothing once the connection is closing. A client whose outbox is full is aborted; it
    /// blocks no other client.
    pub fn deliver(&self, frame: &Frame) {
        self.deliver_all(&[frame]);
    }

    /// Hands several events to the client, in their order, with as few writes as possible.
    pub(crate) fn deliver_all(&self, frames: &[&Frame]) {
        match &self.outlet {
            Outlet::Mailbox(mailbox) => {
                frames.iter().for_each(|frame| mailbox.put_frame(frame));
                self.settle(mailbox.settle());
            }
            Outlet::Stream { encoding, .. } => {
                let ids = self.commons.config.history.as_deref().map(Sequencer::ids);
                let pushed = match frames {
                    [frame] => self.push_event(frame.bytes(*encoding, ids), frame),
                    frames => self.push_events(frames, |frame| frame.bytes(*encoding, ids)),
                };
                if pushed == Pushed::Overflow {
                    tracing::info!(transport = self.transport().as_str(), "outbox full, connection aborted");
                }
            }
        }
    }

    /// Sends a heartbeat if nothing is queued for the client to read, so that proxies do not take
    /// the stream for idle. All events up to `settled` were delivered to its lane.
    pub(crate) fn heartbeat(&self, settled: EventPosition) {
        let Outlet::Stream { encoding, .. } = &self.outlet else { return };
        self.write(|writer, socket| {
            if writer.takes_heartbeat() {
                let sequencer = self.commons.config.history.as_ref();
                let id =
                    sequencer.and_then(|sequencer| Some(sequencer.id(writer.heartbeat_position(settled)?)));
                let heartbeat = (encoding.wire_format().heartbeat)(id.as_ref().map(EventId::as_bytes));
                let limit = self.commons.config.outbox_bytes;
                writer.push(&[heartbeat], Kind::Control, socket, (limit, self.payload_fence()));
            }
        });
    }

    /// Queues or writes the encoded event of this frame, if it is for the client now.
    #[inline(always)] // into `deliver_all`: it is called for every event of every client
    fn push_event(&self, bytes: &Bytes, frame: &Frame) -> Pushed {
        let limit = (self.commons.config.outbox_bytes, self.payload_fence());
        let pushed = self.write(|writer, socket| {
            if !writer.takes_plainly(frame.position()) {
                if !writer.takes(frame.position()) {
                    return Pushed::Refused;
                }
                if writer.awaits_subscriptions() {
                    return writer.push(&self.without_ids(&[frame]), Kind::Payload, socket, limit);
                }
            }
            writer.push(&[bytes], Kind::Payload, socket, limit)
        });
        pushed.unwrap_or(Pushed::Refused)
    }

    /// Queues or writes the encoded events of these frames, as far as they are for the client now.
    fn push_events<'f>(&self, frames: &[&'f Frame], bytes: impl Fn(&'f Frame) -> &'f Bytes) -> Pushed {
        let limit = (self.commons.config.outbox_bytes, self.payload_fence());
        let all: Vec<_> = frames.iter().map(|frame| bytes(frame)).collect();
        let pushed = self.write(|writer, socket| {
            // Positions rise, so those that it has got are the first ones.
            let first = frames.iter().position(|frame| writer.takes(frame.position()));
            let Some(first) = first else { return Pushed::Refused };
            frames.last().inspect(|last| writer.note_position(last.position()));
            if writer.awaits_subscriptions() {
                let bytes = self.without_ids(&frames[first..]);
                return writer.push(&bytes, Kind::Payload, socket, limit);
            }
            writer.push(&all[first..], Kind::Payload, socket, limit)
        });
        pushed.unwrap_or(Pushed::Refused)
    }

    /// Encodes events for a client that keeps its cursor.
    #[cold]
    fn without_ids(&self, frames: &[&Frame]) -> Vec<Bytes> {
        let Outlet::Stream { encoding, .. } = &self.outlet else { return Vec::new() };
        let format = encoding.wire_format();
        let events = frames.iter().map(|frame| frame.event());
        events.map(|event| format.encode(event.event_type(), event.json(), None)).collect()
    }

    /// Queues or writes bytes.
    #[inline(always)] // into `deliver_all`: it is called for every event of every client
    pub(crate) fn push(&self, frames: &[impl Borrow<Bytes>], kind: Kind) -> Pushed {
        let limit = self.commons.config.outbox_bytes;
        let fence = self.payload_fence();
        self.write(|writer, socket| writer.push(frames, kind, socket, (limit, fence)))
            .unwrap_or(Pushed::Refused)
    }

    /// Runs `act` on the writer of a stream, then counts the change of the bytes that wait.
    #[inline(always)] // into `push`: it is called for every event of every client
    fn write<T>(&self, act: impl FnOnce(&mut Writer, Option<&Socket>) -> T) -> Option<T> {
        let Outlet::Stream { writer, socket, .. } = &self.outlet else { return None };
        let mut writer = writer.lock();
        let before = writer.waiting();
        let done = act(&mut writer, socket.get());
        let after = writer.waiting();
        drop(writer);
        if before != after {
            self.settle((before, after));
        }
        Some(done)
    }

    /// Counts a change of the bytes that wait. Most events are written at once and change nothing.
    #[cold]
    fn settle(&self, (before, after): (usize, usize)) {
        let memory = &self.commons.config.memory;
        if before != after && memory.change(before, after) {
            memory.make_room();
        }
    }

    /// Terminates the connection because its session was revoked or its token expired: queued
    /// payload is dropped.
    fn terminate(&self, farewell: &Farewell) -> Notified {
        match &self.outlet {
            Outlet::Mailbox(mailbox) => {
                let notified = mailbox.terminate(farewell.reason, Event::of_rig(farewell.event, None));
                self.settle(mailbox.settle());
                notified
            }
            Outlet::Stream { encoding, .. } => {
                // Whoever was revoked does not come back for what was before.
                let forgets = self.commons.config.history.is_some() && farewell.reason.is_revocation();
                let last = (encoding.wire_format().farewell)(farewell, forgets.then_some(&[][..]));
                self.terminate_stream(farewell.reason, last)
            }
        }
    }

    fn terminate_stream(&self, reason: CloseReason, farewell: Bytes) -> Notified {
        let terminated = self.write(|writer, socket| {
            let ended = writer.terminate(reason, farewell, socket, self.payload_fence());
            (ended, writer.last_payload())
        });
        let Some((ended, last_payload)) = terminated else { return Notified::default() };
        if ended && self.commons.closing.now_or_later(self.id) {
            self.send_farewell();
        }
        Notified { ended, requests: 0, last_payload }
    }

    /// Asks the fence from now on, before payload is written: it belongs to a session.
    pub(crate) fn fence(&self) {
        let fencing = &self.commons.config.fencing;
        if fencing.payload.is_always_open() {
            return;
        }
        match &self.outlet {
            Outlet::Stream { writer, .. } => writer.lock().fence(),
            Outlet::Mailbox(mailbox) => mailbox.fence(fencing),
        }
    }

    /// Continues to write what has waited for the fence, which has opened.
    pub(crate) fn release(&self) {
        // Polls wait for the fence themselves.
        if let Outlet::Stream { writer, .. } = &self.outlet {
            writer.lock().release();
        }
    }

    /// Returns the bytes that wait for the fence; of mailboxes, none are counted.
    pub(crate) fn held(&self) -> usize {
        match &self.outlet {
            Outlet::Stream { writer, .. } => writer.lock().held(),
            Outlet::Mailbox(_) => 0,
        }
    }

    /// Terminates the connection, if it belongs to a session, because the node has no lease.
    pub(crate) fn lose_lease(&self) {
        match &self.outlet {
            Outlet::Stream { writer, .. } => {
                if writer.lock().is_fenced() {
                    self.terminate(&Farewell::LEASE_LOST);
                }
            }
            Outlet::Mailbox(mailbox) => {
                if mailbox.is_fenced() {
                    // Empty: a client that polls with its cookies gets no event, and connects anew.
                    mailbox.empty(CloseReason::LeaseLost);
                    self.settle(mailbox.settle());
                }
            }
        }
    }

    /// Returns the fence of payload of sessions.
    fn payload_fence(&self) -> &Fence {
        &self.commons.config.fencing.payload
    }

    /// Sends the farewell of a connection that was terminated, and wakes the owner of the socket.
    pub(crate) fn send_farewell(&self) {
        self.write(|writer, socket| writer.send_farewell(socket, self.payload_fence()));
    }

    /// Drains the connection, because the node shuts down.
    pub(crate) fn drain(&self) {
        match &self.outlet {
            Outlet::Mailbox(mailbox) => mailbox.drain(),
            Outlet::Stream { encoding, .. } => {
                let delay = reconnect_delay(self.commons.config.reconnect_spread);
                self.drain_with(CloseReason::Shutdown, (encoding.wire_format().going_away)(delay));
            }
        }
    }

    /// Terminates a stream with a farewell of its own, at once.
    pub(crate) fn terminate_with(&self, reason: CloseReason, farewell: Bytes) {
        self.write(|writer, socket| {
            let fence = self.payload_fence();
            if writer.terminate(reason, farewell, socket, fence) {
                writer.send_farewell(socket, fence);
            }
        });
    }

    /// Drains a stream with a farewell of its own.
    pub(crate) fn drain_with(&self, reason: CloseReason, farewell: Bytes) {
        self.write(|writer, socket| {
            if writer.drain(reason, farewell) {
                writer.send_farewell(socket, self.payload_fence());
            }
        });
    }

    /// Closes the connection without another byte.
    pub(crate) fn abort(&self, reason: CloseReason) {
        self.write(|writer, socket| writer.abort(reason, socket));
    }

    /// Gives a stream its socket; from now on deliveries write directly.
    pub(crate) fn attach(&self, socket: Socket) {
        if let Outlet::Stream { socket: place, .. } = &self.outlet {
            let attached = place.set(socket).is_ok();
            debug_assert!(attached, "a connection has one socket");
        }
    }

    /// Returns the socket of a stream, once it is attached.
    pub(crate) fn socket(&self) -> Option<&Socket> {
        match &self.outlet {
            Outlet::Stream { socket, .. } => socket.get(),
            Outlet::Mailbox(_) => None,
        }
    }

    /// Writes what is queued and returns what to wait for; wakes `cx` when that changes.
    pub(crate) fn flush(&self, cx: &Context<'_>) -> Next {
        let flushed = self.write(|writer, socket| {
            let socket = socket?;
            writer.wait(cx);
            Some(writer.flush(socket, self.payload_fence()))
        });
        flushed.flatten().unwrap_or(Next::Over)
    }

    /// Returns the next frame of a stream that is pulled (HTTP/2).
    pub(crate) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, CloseReason>> {
        loop {
            let popped = self.write(|writer, _| {
                let popped = writer.poll_pop(cx, self.payload_fence());
                (popped.is_pending() && writer.pulls(), popped)
            });
            match popped {
                Some((true, _)) if self.pull() => {}
                popped => return popped.map_or(Poll::Ready(Ok(None)), |(_, popped)| popped),
            }
        }
    }

    /// Lets `next` take the next missed events of a connection that is behind, and sends them.
    /// Nothing is delivered meanwhile. Returns `false` if it is not behind, or has closed.
    pub(crate) fn pull_with(&self, next: impl FnOnce(&mut Returned) -> Pulled) -> bool {
        match &self.outlet {
            Outlet::Mailbox(mailbox) => {
                let pulled = mailbox.pull_with(next);
                self.settle(mailbox.settle());
                pulled
            }
            Outlet::Stream { encoding, .. } => {
                let format = encoding.wire_format();
                let pulled = self.write(|writer, socket| {
                    if !writer.pulls() {
                        return false;
                    }
                    let Some(returned) = writer.returned() else { return false };
                    let frames: Vec<Bytes> = match next(returned) {
                        Pulled::Events(events, position) => {
                            writer.note_position(position);
                            format.encode_missed(&events)
                        }
                        Pulled::Live(position, event, id) => {
                            returned.catch_up_ends();
                            writer.note_position(position);
                            let id = id.as_ref().map(EventId::as_bytes);
                            let encode = |event: Event| format.encode(event.event_type(), event.json(), id);
                            event.map(encode).into_iter().collect()
                        }
                    };
                    // What was taken at once is bounded, and nothing else is queued.
                    let limit = (usize::MAX, self.payload_fence());
                    writer.push(&frames, Kind::Payload, socket, limit) == Pushed::Taken
                });
                pulled.unwrap_or(false)
            }
        }
    }

    /// Begins as decided.
    pub(crate) fn begin_at(&self, start: &Start) {
        match &self.outlet {
            Outlet::Stream { writer, .. } => writer.lock().enter(start.position, None),
            Outlet::Mailbox(mailbox) => mailbox.begin(start),
        }
    }

    /// Records what the client has got, and what it still misses if it has come back.
    pub(crate) fn set_position(&self, position: EventPosition, returned: Option<Box<Returned>>) {
        match &self.outlet {
            Outlet::Stream { .. } => {
                self.write(|writer, _| writer.enter(position, returned));
            }
            Outlet::Mailbox(mailbox) => {
                mailbox.enter(position, returned);
                self.settle(mailbox.settle());
            }
        }
    }

    /// Calls `act` with what is known of a client that has come back, and with the position up to
    /// which it has got everything, unless it is behind.
    pub(crate) fn with_returned<T>(&self, act: impl FnOnce(&mut Returned, EventPosition) -> T) -> Option<T> {
        match &self.outlet {
            Outlet::Stream { .. } => {
                let acted = self.write(|writer, _| {
                    let position = writer.position();
                    writer.returned().map(|returned| act(returned, position))
                });
                acted.flatten()
            }
            Outlet::Mailbox(mailbox) => {
                let acted = mailbox.with_returned(act);
                self.settle(mailbox.settle());
                acted
            }
        }
    }

    /// Gives heartbeats ids.
    pub(crate) fn give_ids(&self) {
        if let Outlet::Stream { writer, .. } = &self.outlet {
            writer.lock().give_ids();
        }
    }

    /// Returns `true` if a stream is closing or closed; otherwise wakes `cx` when it starts
    /// closing.
    pub fn is_ending(&self, cx: &Context<'_>) -> bool {
        let ending = self.write(|writer, _| {
            writer.wait(cx);
            writer.reason().is_some()
        });
        ending.unwrap_or(true)
    }

    /// Returns the mailbox of a long-polling connection.
    pub(crate) fn mailbox(&self) -> Option<&Mailbox> {
        match &self.outlet {
            Outlet::Mailbox(mailbox) => Some(mailbox),
            Outlet::Stream { .. } => None,
        }
    }

    /// Drops the registrations with sessions and event types, where the connection must outlive
    /// them.
    pub(crate) fn untie(&self) {
        drop(std::mem::take(&mut *self.ties.lock()));
    }

    pub(crate) fn ties(&self) -> &Mutex<Ties> {
        &self.ties
    }

    pub(crate) fn commons(&self) -> &Commons<Self> {
        &self.commons
    }

    pub(crate) fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    pub(crate) fn client(&self) -> Client {
        (&self.client).into()
    }

    /// Returns when it was opened.
    pub fn since(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.since)
    }

    /// Returns its name on this node.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Wakes the owner of a stream.
    pub(crate) fn wake(&self) {
        if let Outlet::Stream { writer, .. } = &self.outlet {
            writer.lock().wake();
        }
    }

    /// Returns the framing of a stream.
    pub(crate) fn encoding(&self) -> Option<Encoding> {
        match &self.outlet {
            Outlet::Mailbox(_) => None,
            Outlet::Stream { encoding, .. } => Some(*encoding),
        }
    }

    /// Returns its transport.
    pub fn transport(&self) -> Transport {
        match &self.outlet {
            Outlet::Mailbox(_) => Transport::LongPolling,
            Outlet::Stream { encoding, .. } => encoding.wire_format().transport,
        }
    }

    /// Returns why it is closing or closed; `None` while it is open.
    pub fn close_reason(&self) -> Option<CloseReason> {
        match &self.outlet {
            Outlet::Stream { writer, .. } => writer.lock().reason(),
            Outlet::Mailbox(mailbox) => mailbox.close_reason(),
        }
    }
}

impl session::Connection for Connection {
    fn session_killed(&self, ending: &Arc<Ending>) -> Notified {
        let notified = self.terminate(&Farewell::of(ending.cause()));
        // A mailbox has no socket that must close first: the next poll gets the farewell.
        if notified.ended
            && let Outlet::Stream { writer, .. } = &self.outlet
        {
            writer.lock().hold(ending);
        }
        notified
    }

    fn session_expiring(&self, left: Duration) {
        let data = format!(r#"{{"expires_in_seconds":{}}}"#, left.as_secs());
        let data = serde_json::value::RawValue::from_string(data).expect("a number is JSON");
        self.deliver(&Frame::new(Event::of_rig("rig.session_expiring", Some(&data))));
    }
}

impl Holder for Connection {
    fn bytes(&self) -> usize {
        match &self.outlet {
            Outlet::Stream { writer, .. } => writer.lock().waiting(),
            Outlet::Mailbox(mailbox) => mailbox.bytes(),
        }
    }

    fn evict(&self) {
        self.abort(CloseReason::Memory);
        if let Outlet::Mailbox(mailbox) = &self.outlet {
            mailbox.empty(CloseReason::Memory);
            self.settle(mailbox.settle());
            self.commons.emptied.notify_one();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let reason = self.close_reason().unwrap_or(CloseReason::Client);
        let (late, waiting) = match &self.outlet {
            Outlet::Stream { writer, .. } => {
                let writer = writer.lock();
                (writer.tally().late, writer.waiting())
            }
            Outlet::Mailbox(mailbox) => (mailbox.late(), mailbox.settle().0),
        };
        let _ = self.commons.config.memory.change(waiting, 0);
        self.commons.directory.remove(self.id);
        self.commons.metrics.closed(self.transport(), reason, late.into());
    }
}
