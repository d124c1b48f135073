//! Long polling: a mailbox keeps the last events of a client, and its polls wait for more.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use event::Event;
use futures_util::future::select;
use parking_lot::{Mutex, MutexGuard};
use session::{Cause, Fence, Fencing, Notified, Subject};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::farewell::Farewell;
use crate::transport::CloseReason;

/// How many events a mailbox keeps (RIG).
const EVENTS: usize = 200;

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

struct MailboxState {
    events: VecDeque<Event>,
    bytes: usize,
    /// The cursor before the oldest event that is kept.
    before: u64,
    /// How many of these bytes [`Memory`](memory::Memory) has counted.
    counted: usize,
    close_reason: Option<CloseReason>,
    last_poll: Instant,
    /// The number of waiting polls.
    parked: u64,
    /// How many of them came through other nodes.
    relayed: usize,
    /// Answers that hold events and are not fully written.
    in_flight: Vec<Arc<dyn AnswerInFlight>>,
    delivered: u32,
    dropped: u32,
    /// Events handed over although the session was revoked. Must stay zero ("nothing after the
    /// kill").
    late: u32,
    /// When a poll was last answered with an event.
    last_payload: Option<std::time::Instant>,
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
}

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
        let state = MailboxState {
            events: VecDeque::new(),
            bytes: 0,
            // Leaves half of the numbers to count with.
            before: RandomState::new().hash_one(0) >> 1,
            counted: 0,
            close_reason: None,
            last_poll: Instant::now(),
            parked: 0,
            relayed: 0,
            in_flight: Vec::new(),
            delivered: 0,
            dropped: 0,
            late: 0,
            last_payload: None,
        };
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

    /// Keeps an event; the oldest ones are dropped to make room.
    pub(crate) fn put(&self, event: &Event) {
        let mut state = self.state.lock();
        if state.close_reason.is_some() {
            return;
        }
        state.bytes += event.json().len();
        state.events.push_back(event.clone());
        while state.events.len() > EVENTS || (state.bytes > self.limit && state.events.len() > 1) {
            let oldest = state.events.pop_front().expect("there are several events");
            state.bytes -= oldest.json().len();
            state.before += 1;
            state.dropped = state.dropped.saturating_add(1);
        }
        drop(state);
        self.arrived.notify_waiters();
    }

    /// Drops all events; a waiting poll is answered with `last` alone.
    pub(crate) fn terminate(&self, reason: CloseReason, last: Event) -> Notified {
        let mut state = self.state.lock();
        // A mailbox that was drained is emptied too: what is left in it must not be handed over.
        let ended = state.close_reason.is_none();
        if ended || !state.close_reason.is_some_and(CloseReason::is_end_of_session) {
            state.dropped = state.dropped.saturating_add(state.events.len() as u32);
            state.close_reason = Some(reason);
            state.before += state.events.len() as u64;
            state.events.clear();
            state.bytes = 0;
            state.last_poll = Instant::now();
            state.events.push_back(last);
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
        self.state.lock().bytes
    }

    /// Returns how many bytes were counted before, and how many are now.
    pub(crate) fn settle(&self) -> (usize, usize) {
        let mut state = self.state.lock();
        let now = state.bytes;
        (std::mem::replace(&mut state.counted, now), now)
    }

    /// Drops all events and closes the connection: its client must open another one.
    pub(crate) fn empty(&self, reason: CloseReason) {
        let mut state = self.state.lock();
        state.close_reason.get_or_insert(reason);
        state.dropped = state.dropped.saturating_add(state.events.len() as u32);
        state.before += state.events.len() as u64;
        state.events.clear();
        state.bytes = 0;
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
    /// kept events if the cursor is missing, of another mailbox, or older than all of them.
    ///
    /// A revocation answers waiting polls with `rig.session_killed`, and drops what is not written
    /// yet of `answer`; later polls fail. While the fence is closed, there are no events for the
    /// client; those that it has not got yet stay.
    pub(crate) async fn poll(
        &self,
        known: Option<Cursor>,
        wait: Duration,
        answer: Option<Arc<dyn AnswerInFlight>>,
    ) -> Result<Batch, PollError> {
        self.poll_up_to(usize::MAX, known, wait, answer).await
    }

    /// As [`Mailbox::poll`], for a client of another node: the answer has up to `limit` bytes. It
    /// is cut between events, and the rest comes with the next poll.
    pub(crate) async fn poll_from_elsewhere(
        &self,
        limit: usize,
        known: Option<Cursor>,
        wait: Duration,
    ) -> Result<Batch, PollError> {
        let _relayed = Relayed::at(self).ok_or(PollError::TooMany)?;
        self.poll_up_to(limit, known, wait, None).await
    }

    async fn poll_up_to(
        &self,
        limit: usize,
        known: Option<Cursor>,
        wait: Duration,
        answer: Option<Arc<dyn AnswerInFlight>>,
    ) -> Result<Batch, PollError> {
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
            if let Some(batch) = self.state.lock().batch_after(known, false, limit, answer) {
                return Ok(batch);
            }
            if timeout_at(deadline, select(arrived, opened)).await.is_err() {
                let batch = self.state.lock().batch_after(known, true, limit, answer);
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

impl MailboxState {
    /// Returns the answer, if there is one now. With `even_empty`, there always is.
    fn batch_after(
        &mut self,
        known: Option<Cursor>,
        even_empty: bool,
        limit: usize,
        (answer, fencing): (Option<&Arc<dyn AnswerInFlight>>, Option<&Fencing>),
    ) -> Option<Batch> {
        self.last_poll = Instant::now();
        let over = self.close_reason.is_some();
        let known = known.and_then(|Cursor(known)| usize::try_from(known.checked_sub(self.before)?).ok());
        // A client with an older cursor has seen none of the kept events, and misses those that
        // were dropped. RIG returns no events at all then (compatibility.md).
        let start = known.filter(|known| *known <= self.events.len()).unwrap_or(0);
        let is_payload = !self.close_reason.is_some_and(CloseReason::is_end_of_session);
        let held = fencing.filter(|fencing| is_payload && !fencing.payload.is_open());
        let end = if held.is_some() { start } else { self.events.len() };
        if start == end && !even_empty && !over {
            return None;
        }
        if let Some(fencing) = held.filter(|_| even_empty && start < self.events.len()) {
            fencing.payload.note_held();
        }
        let range = self.fitting(start..end, limit);
        self.note_handed_over(range.len() as u32, (answer, fencing));
        // If the answer was cut, the rest comes with the next poll.
        let over = over && range.end == end;
        Some(self.batch(range, over))
    }

    /// Returns the answer with these events. The events behind them stay unread.
    fn batch(&self, range: Range<usize>, over: bool) -> Batch {
        let newest = range.end.checked_sub(1).and_then(|newest| self.events.get(newest));
        Batch {
            cursor: Cursor(self.before + range.end as u64),
            body: body(newest.map_or(NO_EVENT, Event::id), self.events.range(range)),
            over,
        }
    }

    /// Returns the first of these events whose answer has up to `limit` bytes. An event that does
    /// not fit into an answer of its own is dropped, so that those after it are not held up.
    fn fitting(&mut self, events: Range<usize>, limit: usize) -> Range<usize> {
        if limit == usize::MAX || events.is_empty() {
            return events;
        }
        let mut bytes = body(NO_EVENT, [].into_iter()).len();
        let fits = |event: &&Event| {
            bytes += event.json().len() + 1;
            // The id of the last event is in the answer once more.
            bytes + id_json(event.id()).len() <= limit
        };
        match self.events.range(events.clone()).take_while(fits).count() {
            0 => {
                self.dropped = self.dropped.saturating_add(1);
                events.start + 1..events.start + 1
            }
            fitting => events.start..events.start + fitting,
        }
    }

    fn note_handed_over(
        &mut self,
        handed_over: u32,
        (answer, fencing): (Option<&Arc<dyn AnswerInFlight>>, Option<&Fencing>),
    ) {
        if handed_over == 0 {
            return;
        }
        if self.close_reason.is_some_and(CloseReason::is_end_of_session) {
            // The farewell, and nothing else.
            self.late += handed_over - 1;
        } else {
            self.delivered = self.delivered.saturating_add(handed_over);
            self.last_payload = Some(std::time::Instant::now());
            self.in_flight.retain(|answer| !answer.is_over());
            if self.in_flight.len() >= IN_FLIGHT {
                self.in_flight.remove(0).withhold();
            }
            // Under the lock that a termination takes: either it finds this answer, or it came
            // first and dropped the events.
            self.in_flight.extend(answer.inspect(|answer| answer.begin(fencing)).cloned());
        }
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
