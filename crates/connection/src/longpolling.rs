//! Long polling: a mailbox keeps the last events of a client, and its polls wait for more.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use event::{Event, ExtensionNames};
use futures_util::future::select;
use history::{EventId, EventPosition, Gap, Selection};
use session::{Cause, Fence, Fencing, Notified, Subject};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::farewell::Farewell;
use crate::frame::Frame;
use crate::resume::{Missed, Pulled, Returned, Start, gap_event};
use crate::sync::{Mutex, MutexGuard};
use crate::transport::CloseReason;

mod state;

use state::MailboxState;

/// How far a client has read its mailbox. Events are numbered in the order in which they arrive: an
/// event's id is not enough, because two sources may use the same id, and one source may use it
/// twice.
///
/// A mailbox counts from a random number, so that it does not take the cursor of another mailbox
/// for its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(u64);

impl Cursor {
    /// Reads what [`Display`](fmt::Display) writes: decimal digits. `None` for everything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().map(Self)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The events of one long-polling client.
pub(crate) struct Mailbox {
    state: Mutex<MailboxState>,
    arrived: Notify,
    /// The limit of bytes it keeps.
    limit: usize,
    /// Set if it belongs to a session.
    fencing: OnceLock<Fencing>,
    /// The tokens of the connection: see [`ConnectionTraces`](crate::ConnectionTraces).
    tokens: Mutex<Vec<Subject>>,
}

/// An answer while its bytes are on their way to the client.
pub trait AnswerInFlight: Send + Sync {
    /// Records that the answer holds events, and what decides when they may be written: `None` if
    /// they belong to no session.
    fn begin(&self, fencing: Option<&Fencing>);
    /// Drops what is not written yet; when this returns, no more of it is written. Returns `true`
    /// if anything was dropped.
    fn withhold(&self) -> bool;
    /// Returns `true` if all of it is written or dropped.
    fn is_over(&self) -> bool;
}

/// The limit of answers of one mailbox that are being written: more than a client has sockets.
const IN_FLIGHT: usize = 16;

/// The limit of waiting polls of one mailbox that came through other nodes. They hold no socket of
/// this node, and wait on when their client has left.
const RELAYED: usize = 16;

/// The answer to one poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How far the client has read with this answer; its next poll sends it back.
    pub cursor: Cursor,
    /// The answer: a JSON document.
    pub body: Bytes,
    /// The connection is closed; the client's cookies are of no further use.
    pub over: bool,
    /// The id of the latest event that the client has got with this answer, for when the connection
    /// is gone; `None` if events are not kept.
    pub position: Option<EventId>,
}

/// The answer to one poll, with the position up to which the client has got everything with it, and
/// the gap that it contains.
pub(crate) type Polled = (Batch, EventPosition, Option<Gap>);

/// Why a poll cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PollError {
    /// The session of the connection was revoked, and the client has got the farewell.
    #[error("Session killed.")]
    SessionKilled,
    /// The token of the connection has expired, and the client has got the farewell.
    #[error("Session expired.")]
    SessionExpired,
    /// The connection is of another transport.
    #[error("the connection is not a long-polling one")]
    NotLongPolling,
    /// As many polls of the connection that came through other nodes wait as may.
    #[error("too many polls of the connection are waiting")]
    TooMany,
}

impl Mailbox {
    pub(crate) fn new(limit: usize) -> Self {
        let state = MailboxState::new();
        let (fencing, tokens) = Default::default();
        Self { state: Mutex::new(state), arrived: Notify::new(), limit, fencing, tokens }
    }

    /// Hands events over only while the fence is open, from now on.
    pub(crate) fn fence(&self, fencing: &Fencing) {
        self.fencing.get_or_init(|| fencing.clone());
    }

    /// Returns `true` if it belongs to a session.
    pub(crate) fn is_fenced(&self) -> bool {
        self.fencing.get().is_some()
    }

    pub(crate) fn tokens(&self) -> MutexGuard<'_, Vec<Subject>> {
        self.tokens.lock()
    }

    /// Keeps an event without a position, as [`MailboxState::put`] says.
    #[cfg(test)]
    pub(crate) fn put(&self, event: &Event) {
        self.say(event, EventPosition::default());
    }

    /// Keeps one of the gateway's own events, after which the client comes back to `place`; 0: to
    /// where it would have come back before.
    pub(crate) fn say(&self, event: &Event, place: EventPosition) {
        self.put_at(event, EventPosition::default(), place);
    }

    /// Keeps an event, if it is for the client now, as [`MailboxState::put`] says.
    pub(crate) fn put_frame(&self, frame: &Frame) {
        self.put_at(frame.event(), frame.position(), EventPosition::default());
    }

    fn put_at(&self, event: &Event, position: EventPosition, place: EventPosition) {
        let mut state = self.state.lock();
        let is_put = state.close_reason.is_none() && state.put(event, position, self.limit);
        if is_put {
            state.raise_place(place);
        }
        drop(state);
        if is_put {
            self.arrived.notify_waiters();
        }
    }

    /// Records what the client has got, and what it still misses.
    pub(crate) fn enter(&self, position: EventPosition, returned: Option<Box<Returned>>) {
        let mut state = self.state.lock();
        state.enter(position, returned);
        drop(state);
        self.arrived.notify_waiters();
    }

    /// Returns the id with which the client comes back if it never gets an event; `None` if events
    /// are not kept.
    pub(crate) fn start(&self) -> Option<EventId> {
        self.state.lock().start()
    }

    pub(crate) fn with_returned<T>(&self, act: impl FnOnce(&mut Returned, EventPosition) -> T) -> Option<T> {
        let mut state = self.state.lock();
        let position = state.position();
        state.returned.as_mut().map(|returned| act(returned, position))
    }

    /// Records what the client's subscriptions select after this position.
    pub(crate) fn select(&self, from: EventPosition, all: Selection) {
        self.state.lock().select(from, all);
    }

    /// Begins as decided, with the place to come back to when the mailbox is gone.
    pub(crate) fn begin(&self, start: &Start) {
        self.state.lock().begin(start);
    }

    /// Returns `true` if the client is behind, and there is room for more of what it missed. What
    /// it has read is dropped to make room.
    pub(crate) fn pulls(&self, known: Option<Cursor>) -> bool {
        let mut state = self.state.lock();
        if !state.is_behind() || state.close_reason.is_some() {
            return false;
        }
        state.drop_known(known);
        state.has_room(self.limit)
    }

    /// Lets `next` take the next missed events of a client that is behind. Returns `false` if it is
    /// not behind, or the connection is closed.
    pub(crate) fn pull_with(&self, next: impl FnOnce(&mut Returned) -> Pulled) -> bool {
        let mut state = self.state.lock();
        if !state.is_behind() || state.close_reason.is_some() {
            return false;
        }
        let Some(returned) = &mut state.returned else { return false };
        match next(returned) {
            Pulled::Events(events, position) => {
                for Missed { kept, place, .. } in events {
                    // A part of the ring's memory would stay in use with it.
                    let json = Bytes::copy_from_slice(&kept.json);
                    // It was accepted once, by rules that may be stricter now.
                    let event = Event::from_json_with(json, ExtensionNames::Any);
                    state.keep_missed(event.unwrap_or_else(|_| gap_event(Gap::Lost, None)), place);
                }
                state.raise_position(position);
            }
            Pulled::Live(position, event, id) => {
                returned.catch_up_ends();
                let place = id.map(|_| position);
                event.into_iter().for_each(|event| state.keep_missed(event, place));
                state.raise_position(position);
            }
        }
        drop(state);
        self.arrived.notify_waiters();
        true
    }

    /// Drops all events; a waiting poll is answered with `last` alone.
    pub(crate) fn terminate(&self, reason: CloseReason, last: Event) -> Notified {
        let mut state = self.state.lock();
        // A mailbox that was drained is emptied too: what is left in it must not be handed over.
        let ended = state.close_reason.is_none();
        if ended || !state.close_reason.is_some_and(CloseReason::is_end_of_session) {
            state.close_reason = Some(reason);
            state.clear();
            state.last_poll = Instant::now();
            state.keep(last, EventPosition::default());
            state.bytes = 0;
        }
        let withheld = state.in_flight.drain(..).filter(|answer| answer.withhold()).count() as u64;
        let requests = withheld + if ended { state.parked } else { 0 };
        let notified = Notified { ended, requests, last_payload: state.last_payload };
        drop(state);
        self.arrived.notify_waiters();
        notified
    }

    /// Returns the bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.state.lock().memory()
    }

    /// Returns how many bytes were counted before, and how many are now.
    pub(crate) fn settle(&self) -> (usize, usize) {
        let mut state = self.state.lock();
        let now = state.memory();
        (std::mem::replace(&mut state.counted, now), now)
    }

    /// Drops all events and closes the connection: its client must open another one.
    pub(crate) fn empty(&self, reason: CloseReason) {
        let mut state = self.state.lock();
        state.close_reason.get_or_insert(reason);
        state.clear();
        drop(state);
        self.arrived.notify_waiters();
    }

    /// Answers the waiting polls; events are kept until the mailbox is dropped.
    pub(crate) fn drain(&self) {
        self.state.lock().close_reason.get_or_insert(CloseReason::Shutdown);
        self.arrived.notify_waiters();
    }

    /// Marks a mailbox that was not polled for `idle`; returns `true` if it is abandoned for any
    /// reason, or idle.
    pub(crate) fn is_abandoned(&self, idle: Duration, killed_for: Duration) -> bool {
        let mut state = self.state.lock();
        match state.close_reason {
            // The client is not notified: its next poll opens another connection.
            Some(CloseReason::Memory | CloseReason::LeaseLost) => true,
            Some(_) => state.last_poll.elapsed() >= killed_for,
            None if state.last_poll.elapsed() >= idle => {
                state.close_reason = Some(CloseReason::Idle);
                true
            }
            None => false,
        }
    }

    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.state.lock().close_reason
    }

    /// Returns the numbers of events that were handed over, and dropped.
    pub(crate) fn counts(&self) -> (u32, u32) {
        let state = self.state.lock();
        (state.delivered, state.dropped)
    }

    /// Returns the number of events handed over after the session was revoked.
    pub(crate) fn late(&self) -> u32 {
        self.state.lock().late
    }

    /// Returns the events after `known` as soon as there are any, or none after `wait`. Returns all
    /// kept events if the cursor is missing, of another mailbox, or older than all of them: then
    /// with a gap before them, if events have positions.
    ///
    /// A revocation answers waiting polls with `rig.session_killed`, and drops what is not written
    /// yet of `answer`; later polls fail. While the fence is closed, there are no events for the
    /// client; those that it has not got yet stay.
    pub(crate) async fn poll(
        &self,
        known: Option<Cursor>,
        wait: Duration,
        answer: Option<Arc<dyn AnswerInFlight>>,
        settled: impl Fn() -> EventPosition,
    ) -> Result<Polled, PollError> {
        self.poll_up_to(usize::MAX, (known, wait), answer, settled).await
    }

    /// As [`Mailbox::poll`], for a client of another node: the answer has up to `limit` bytes. It
    /// is cut between events, and the rest comes with the next poll.
    pub(crate) async fn poll_from_elsewhere(
        &self,
        limit: usize,
        known: Option<Cursor>,
        wait: Duration,
        settled: impl Fn() -> EventPosition,
    ) -> Result<Polled, PollError> {
        let _relayed = Relayed::at(self).ok_or(PollError::TooMany)?;
        self.poll_up_to(limit, (known, wait), None, settled).await
    }

    async fn poll_up_to(
        &self,
        limit: usize,
        (known, wait): (Option<Cursor>, Duration),
        answer: Option<Arc<dyn AnswerInFlight>>,
        settled: impl Fn() -> EventPosition,
    ) -> Result<Polled, PollError> {
        match self.close_reason() {
            Some(CloseReason::TokenExpired) => return Err(PollError::SessionExpired),
            Some(reason) if reason.is_end_of_session() => return Err(PollError::SessionKilled),
            _ => {}
        }
        let deadline = Instant::now() + wait;
        let _parked = Parked::at(self);
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            // From here on, an event that arrives before the wait is not missed, nor is the fence
            // that opens.
            arrived.as_mut().enable();
            let fencing = self.fencing.get();
            let opened = fencing.map_or_else(Fence::default, |fencing| fencing.payload.clone()).changed();
            let answer = (answer.as_ref(), fencing);
            if let Some(batch) = self.state.lock().batch_after(known, None, limit, answer) {
                return Ok(batch);
            }
            if timeout_at(deadline, select(arrived, opened)).await.is_err() {
                // Before the mailbox is looked at: what was delivered up to then is in it.
                let settled = settled();
                let batch = self.state.lock().batch_after(known, Some(settled), limit, answer);
                return Ok(batch.expect("a forced batch is never none"));
            }
        }
    }
}

/// Counts a waiting poll, until it is answered or dropped.
struct Parked<'m>(&'m Mailbox);

impl<'m> Parked<'m> {
    fn at(mailbox: &'m Mailbox) -> Self {
        mailbox.state.lock().parked += 1;
        Self(mailbox)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.state.lock().parked -= 1;
    }
}

/// Counts a poll that came through another node, until it is answered or dropped.
struct Relayed<'m>(&'m Mailbox);

impl<'m> Relayed<'m> {
    /// Returns `None` if the limit is reached.
    fn at(mailbox: &'m Mailbox) -> Option<Self> {
        let mut state = mailbox.state.lock();
        if state.relayed >= RELAYED {
            return None;
        }
        state.relayed += 1;
        Some(Self(mailbox))
    }
}

impl Drop for Relayed<'_> {
    fn drop(&mut self) {
        self.0.state.lock().relayed -= 1;
    }
}

/// The `last_event_id` of a mailbox without events (RIG).
const NO_EVENT: &str = "first_event";

/// Returns RIG's document: the id of the newest event, and the events.
fn body<'a>(last_event_id: &str, events: impl Iterator<Item = &'a Event>) -> Bytes {
    let mut body = BytesMut::new();
    body.put_slice(b"{\"last_event_id\":");
    body.put_slice(&id_json(last_event_id));
    body.put_slice(b",\"events\":[");
    for (n, event) in events.enumerate() {
        if n > 0 {
            body.put_u8(b',');
        }
        body.put_slice(event.json());
    }
    body.put_slice(b"]}");
    body.freeze()
}

fn id_json(id: &str) -> Vec<u8> {
    serde_json::to_vec(id).expect("a string is JSON")
}

/// Returns the answer to a poll that waits while its session is terminated: the farewell alone.
pub fn last_batch(cause: Cause) -> Bytes {
    let farewell = Event::of_rig(Farewell::of(cause).event, None);
    body(farewell.id(), [&farewell].into_iter())
}

#[cfg(test)]
mod tests;
