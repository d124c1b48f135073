//! What a mailbox holds.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;

use event::Event;
use history::EventPosition;
use session::Fencing;
use tokio::time::Instant;

use super::{AnswerInFlight, Batch, Cursor, IN_FLIGHT, NO_EVENT, body, id_json};
use crate::resume::Returned;
use crate::transport::CloseReason;

/// How many events a mailbox keeps (RIG).
pub(super) const EVENTS: usize = 200;

/// What is behind the lock of a mailbox.
pub(super) struct MailboxState {
    held: VecDeque<Held>,
    pub(super) bytes: usize,
    /// The cursor before the oldest event that is held.
    before: u64,
    /// What is known at that cursor.
    base: Places,
    /// The cursor up to which the client has got everything, as it said last.
    read: u64,
    /// Where the client stood when it came.
    start: EventPosition,
    /// Set if the client has come back. While it is behind, events with a position are not kept.
    pub(super) returned: Option<Box<Returned>>,
    /// Set when events had to be dropped that the client had not got, until its next poll.
    overflow: Option<Overflow>,
    /// How many of the bytes [`Memory`](memory::Memory) has counted.
    pub(super) counted: usize,
    pub(super) close_reason: Option<CloseReason>,
    pub(super) last_poll: Instant,
    /// The number of waiting polls.
    pub(super) parked: u64,
    /// How many of them came through other nodes.
    pub(super) relayed: usize,
    /// Answers that hold events and are not fully written.
    pub(super) in_flight: Vec<Arc<dyn AnswerInFlight>>,
    pub(super) delivered: u32,
    pub(super) dropped: u32,
    /// Events handed over although the session was revoked. Must stay zero ("nothing after the
    /// kill").
    pub(super) late: u32,
    /// When a poll was last answered with an event.
    pub(super) last_payload: Option<std::time::Instant>,
}

/// An event, and what is known once the client has it.
struct Held {
    event: Event,
    /// Whether it has a position, so that it can be taken from the ring again.
    is_kept_elsewhere: bool,
    places: Places,
}

/// What is known at a cursor.
#[derive(Clone, Copy, Default)]
struct Places {
    /// The position up to which everything that is for the client is held, or was.
    position: EventPosition,
    /// The position to come back to when the mailbox is gone; 0: that of the earlier connection.
    place: EventPosition,
}

/// What was held when events had to be dropped.
struct Overflow {
    /// The cursor before the first of them.
    before: u64,
    /// The position at that cursor, and with each event.
    positions: Vec<EventPosition>,
    /// The cursors of those that are still held.
    rest: Vec<u64>,
}

impl MailboxState {
    pub(super) fn new() -> Self {
        Self {
            held: VecDeque::new(),
            bytes: 0,
            // Leaves half of the numbers to count with.
            before: RandomState::new().hash_one(0) >> 1,
            base: Places::default(),
            read: 0,
            start: EventPosition::default(),
            returned: None,
            overflow: None,
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
        }
    }

    /// Begins at this position, with the place to come back to.
    pub(super) fn begin(&mut self, position: EventPosition, place: EventPosition) {
        self.base = Places { position, place };
        self.start = place;
    }

    pub(super) fn start(&self) -> EventPosition {
        self.start
    }

    /// Returns `true` if an event at this position is for the client now; 0: it has no position.
    pub(super) fn takes(&self, position: EventPosition) -> bool {
        let is_live = !self.is_behind() && self.overflow.is_none();
        position == EventPosition::default() || (is_live && position > self.position())
    }

    /// Keeps an event at this position; 0: it has none.
    pub(super) fn keep(&mut self, event: Event, position: EventPosition) {
        let is_kept_elsewhere = position != EventPosition::default();
        let place = if self.keeps_cursor() { EventPosition::default() } else { position };
        self.keep_at(event, is_kept_elsewhere, Places { position, place });
    }

    /// Keeps an event that was taken from the ring. After it, the client comes back to `place`; 0:
    /// to where it would have come back before.
    pub(super) fn keep_missed(&mut self, event: Event, place: EventPosition) {
        self.keep_at(event, true, Places { position: EventPosition::default(), place });
    }

    fn keep_at(&mut self, event: Event, is_kept_elsewhere: bool, places: Places) {
        let last = self.last();
        let (position, place) = (places.position.max(last.position), places.place.max(last.place));
        self.bytes += event.json().len();
        self.held.push_back(Held { event, is_kept_elsewhere, places: Places { position, place } });
    }

    /// Drops oldest events until the rest has room. If the client has not got the oldest one, all
    /// that can be taken from the ring again are dropped.
    pub(super) fn make_room(&mut self, limit: usize) {
        while self.held.len() > EVENTS || (self.bytes > limit && self.held.len() > 1) {
            if self.read <= self.before && self.position() != EventPosition::default() {
                return self.overflow();
            }
            self.drop_oldest();
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn overflow(&mut self) {
        let base = self.base;
        let held = std::mem::take(&mut self.held);
        let mut overflow = Overflow { before: self.before, positions: vec![base.position], rest: Vec::new() };
        // The cursors of earlier answers are below those of what comes now.
        self.before += 2 * EVENTS as u64;
        self.bytes = 0;
        for (held, cursor) in held.into_iter().zip(overflow.before + 1..) {
            overflow.positions.push(held.places.position);
            if !held.is_kept_elsewhere {
                overflow.rest.push(cursor);
                self.keep_at(held.event, false, base);
            }
        }
        self.overflow = Some(overflow);
    }

    /// Returns the position after which the client misses events that were dropped, if any were.
    /// What it has got of the others is dropped.
    pub(super) fn take_overflow(&mut self, known: Option<Cursor>) -> Option<EventPosition> {
        let Overflow { before, positions, rest } = self.overflow.take()?;
        let known = known.map(|Cursor(known)| known).filter(|known| *known >= before).unwrap_or(before);
        let read = rest.iter().filter(|cursor| **cursor <= known).count();
        (0..read).for_each(|_| self.drop_oldest());
        let at = usize::try_from(known - before).ok().and_then(|at| positions.get(at));
        at.or(positions.first()).copied()
    }

    /// Records up to which position everything is held, and what the client still misses.
    pub(super) fn enter(&mut self, position: EventPosition, returned: Option<Box<Returned>>) {
        self.raise_position(position);
        self.returned = returned;
    }

    /// Drops what the client has got.
    pub(super) fn drop_known(&mut self, known: Option<Cursor>) {
        for _ in 0..self.known(known) {
            self.drop_oldest();
        }
    }

    /// Returns the bytes that are held, and those of what a client that is behind misses.
    pub(super) fn memory(&self) -> usize {
        self.bytes + self.returned.as_ref().map_or(0, |returned| returned.bytes())
    }

    /// Returns `true` if there is room for more of what the client missed.
    pub(super) fn has_room(&self, limit: usize) -> bool {
        self.held.len() < EVENTS / 4 && self.bytes < limit / 2
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.held.pop_front() {
            self.bytes -= oldest.event.json().len();
            self.before += 1;
            self.base = oldest.places;
        }
    }

    /// Drops everything; the client gets none of it.
    pub(super) fn clear(&mut self) {
        self.before += self.held.len() as u64;
        self.held.clear();
        self.bytes = 0;
        self.returned = None;
        self.overflow = None;
    }

    pub(super) fn is_behind(&self) -> bool {
        self.returned.as_ref().is_some_and(|returned| returned.is_behind())
    }

    /// Returns `true` while the client keeps its cursor.
    fn keeps_cursor(&self) -> bool {
        self.returned.as_ref().is_some_and(|returned| returned.awaits_subscriptions())
    }

    /// Returns the position up to which everything that is for the client is held, or was.
    pub(super) fn position(&self) -> EventPosition {
        self.last().position
    }

    fn last(&self) -> Places {
        self.held.back().map_or(self.base, |held| held.places)
    }

    /// Records what is known with the last event.
    fn raise(&mut self, places: Places) {
        let last = self.held.back_mut().map_or(&mut self.base, |held| &mut held.places);
        last.position = last.position.max(places.position);
        last.place = last.place.max(places.place);
    }

    /// Records that everything up to this position is held.
    pub(super) fn raise_position(&mut self, position: EventPosition) {
        self.raise(Places { position, ..Places::default() });
    }

    /// Returns how many of the held events the client has got.
    fn known(&self, known: Option<Cursor>) -> usize {
        let known = known.and_then(|Cursor(known)| usize::try_from(known.checked_sub(self.before)?).ok());
        // A client with an older cursor has seen none of the kept events, and misses those that
        // were dropped. RIG returns no events at all then (compatibility.md).
        known.filter(|known| *known <= self.held.len()).unwrap_or(0)
    }

    /// Returns the answer, if there is one now, and up to which position the client has got
    /// everything with it. With `settled`, there always is: everything up to that position was
    /// delivered.
    pub(super) fn batch_after(
        &mut self,
        known: Option<Cursor>,
        settled: Option<EventPosition>,
        limit: usize,
        (answer, fencing): (Option<&Arc<dyn AnswerInFlight>>, Option<&Fencing>),
    ) -> Option<(Batch, EventPosition)> {
        self.last_poll = Instant::now();
        let (over, even_empty) = (self.close_reason.is_some(), settled.is_some());
        let start = self.known(known);
        self.read = self.read.max(self.before + start as u64);
        let is_payload = !self.close_reason.is_some_and(CloseReason::is_end_of_session);
        let held = fencing.filter(|fencing| is_payload && !fencing.payload.is_open());
        let end = if held.is_some() { start } else { self.held.len() };
        if start == end && !even_empty && !over {
            return None;
        }
        if let Some(fencing) = held.filter(|_| even_empty && start < self.held.len()) {
            fencing.payload.note_held();
        }
        let range = self.fitting(start..end, limit);
        self.note_handed_over(range.len() as u32, (answer, fencing));
        // If the answer was cut, the rest comes with the next poll.
        let over = over && range.end == end;
        let is_live = !self.is_behind() && !self.keeps_cursor() && self.overflow.is_none();
        if let Some(settled) = settled.filter(|_| is_live && range.end == self.held.len()) {
            self.raise(Places { position: settled, place: settled });
        }
        let last = range.end.checked_sub(1).and_then(|last| self.held.get(last));
        let position = last.map_or(self.base, |held| held.places).place;
        Some((self.batch(range, over), position))
    }

    /// Returns the answer with these events. The events behind them stay unread.
    pub(super) fn batch(&self, range: Range<usize>, over: bool) -> Batch {
        let newest = range.end.checked_sub(1).and_then(|newest| self.held.get(newest));
        Batch {
            cursor: Cursor(self.before + range.end as u64),
            body: body(
                newest.map_or(NO_EVENT, |newest| newest.event.id()),
                self.held.range(range).map(|held| &held.event),
            ),
            over,
            position: None,
        }
    }

    /// Returns the first of these events whose answer has up to `limit` bytes. An event that does
    /// not fit into an answer of its own is dropped, so that those after it are not held up.
    fn fitting(&mut self, events: Range<usize>, limit: usize) -> Range<usize> {
        if limit == usize::MAX || events.is_empty() {
            return events;
        }
        let mut bytes = body(NO_EVENT, [].into_iter()).len();
        let fits = |Held { event, .. }: &&Held| {
            bytes += event.json().len() + 1;
            // The id of the last event is in the answer once more.
            bytes + id_json(event.id()).len() <= limit
        };
        match self.held.range(events.clone()).take_while(fits).count() {
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
