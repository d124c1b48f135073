//! What a mailbox holds.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;

use event::Event;
use history::{EventId, EventPosition, Gap, Selection};
use session::Fencing;
use tokio::time::Instant;

use super::{AnswerInFlight, Batch, Cursor, IN_FLIGHT, NO_EVENT, Polled, body, id_json};
use crate::resume::{Returned, Selections, Start, gap_event};
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
    /// The id with which the client comes back if it never gets an event.
    start: Option<EventId>,
    /// Set if the client has come back, or was behind. While it is behind, events with a position
    /// are not kept: it gets them from the ring.
    pub(super) returned: Option<Box<Returned>>,
    /// What its subscriptions select, for when it gets behind.
    selections: Selections,
    /// The cursor before the first event of all.
    first: u64,
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

impl MailboxState {
    pub(super) fn new() -> Self {
        // Leaves half of the numbers to count with.
        let before = RandomState::new().hash_one(0) >> 1;
        Self {
            held: VecDeque::new(),
            bytes: 0,
            before,
            base: Places::default(),
            read: 0,
            start: None,
            returned: None,
            selections: Selections::default(),
            first: before,
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

    /// Begins as decided, with the place to come back to.
    pub(super) fn begin(&mut self, start: &Start) {
        self.base = Places { position: start.position, place: start.place };
        self.start = Some(start.id);
    }

    pub(super) const fn start(&self) -> Option<EventId> {
        self.start
    }

    /// Records what its subscriptions select after this position.
    pub(super) fn select(&mut self, from: EventPosition, all: Selection) {
        self.selections.reach(self.position());
        self.selections.set(from, all);
    }

    /// Keeps an event at this position, if it is for the client now; 0: it has none. Returns
    /// `false` if it is not.
    ///
    /// For want of room, the oldest events are dropped. If events have positions, only those are
    /// that the client has got; if there is still no room, the client is behind from now on.
    pub(super) fn put(&mut self, event: &Event, position: EventPosition, limit: usize) -> bool {
        let has_position = position != EventPosition::default();
        if has_position && (self.is_behind() || position <= self.position()) {
            return false;
        }
        let bytes = event.json().len();
        let are_in_ring = self.are_in_ring();
        while !self.has_room_for(bytes, (EVENTS, limit)) && (!are_in_ring || self.before < self.read) {
            self.dropped = self.dropped.saturating_add(u32::from(self.before >= self.read));
            self.drop_oldest();
        }
        if are_in_ring && !self.has_room_for(bytes, (EVENTS, limit)) {
            if has_position {
                self.fall_behind(None);
                return true;
            }
            // Events without a position are few, unless the client itself causes them.
            if !self.has_room_for(bytes, (2 * EVENTS, 2 * limit)) {
                self.drop_all();
                self.fall_behind(Some(Gap::TooMany));
            }
        }
        self.keep(event.clone(), position);
        true
    }

    fn has_room_for(&self, bytes: usize, (events, limit): (usize, usize)) -> bool {
        self.held.is_empty() || (self.held.len() < events && self.bytes + bytes <= limit)
    }

    /// Lets the client be behind after what is held, or what was: then it gets a gap.
    fn fall_behind(&mut self, gap: Option<Gap>) {
        let position = self.position();
        let is_known = self.selections.reach(position);
        let gap = gap.or((!is_known).then_some(Gap::TooMany));
        let returned = self.returned.get_or_insert_with(|| Box::new(Returned::anew()));
        returned.fall_behind(position, self.selections.clone(), gap);
    }

    /// Keeps an event at this position; 0: it has none.
    pub(super) fn keep(&mut self, event: Event, position: EventPosition) {
        let place = if self.keeps_cursor() { EventPosition::default() } else { position };
        let last = self.last();
        let (position, place) = (position.max(last.position), place.max(last.place));
        self.keep_at(event, Places { position, place });
    }

    /// Keeps an event that was taken from the ring. After it, the client comes back to `place`,
    /// which may be before that of the event before; `None`: to where it would have come back
    /// before.
    pub(super) fn keep_missed(&mut self, event: Event, place: Option<EventPosition>) {
        let last = self.last();
        self.keep_at(event, Places { place: place.unwrap_or(last.place), ..last });
    }

    fn keep_at(&mut self, event: Event, places: Places) {
        self.bytes += event.json().len();
        self.held.push_back(Held { event, places });
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

    #[cfg(test)]
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

    /// Drops everything for good; the client gets none of it.
    pub(super) fn clear(&mut self) {
        self.drop_all();
        self.returned = None;
    }

    fn drop_all(&mut self) {
        // The place to come back to is behind what it has got.
        while self.before < self.read && !self.held.is_empty() {
            self.drop_oldest();
        }
        self.before += self.held.len() as u64;
        self.dropped = self.dropped.saturating_add(self.held.len() as u32);
        self.held.clear();
        self.bytes = 0;
    }

    pub(super) fn is_behind(&self) -> bool {
        self.returned.as_ref().is_some_and(|returned| returned.is_behind())
    }

    /// Returns `true` while the client keeps its cursor.
    fn keeps_cursor(&self) -> bool {
        self.returned.as_ref().is_some_and(|returned| returned.awaits_subscriptions())
    }

    /// Returns `true` if events have positions, with which they can be taken from the ring again.
    fn are_in_ring(&self) -> bool {
        self.position() != EventPosition::default()
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

    /// Records that the client comes back to this position after what is held.
    pub(super) fn raise_place(&mut self, place: EventPosition) {
        self.raise(Places { place, ..Places::default() });
    }

    /// Returns `true` if events were dropped after this cursor, of which nothing else says so:
    /// another client has read them.
    fn misses_dropped(&self, known: Option<Cursor>) -> bool {
        let is_dropped = |Cursor(known)| (self.first..self.before).contains(&known);
        self.close_reason.is_none() && self.are_in_ring() && known.is_some_and(is_dropped)
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
    ) -> Option<Polled> {
        self.last_poll = Instant::now();
        let (over, even_empty) = (self.close_reason.is_some(), settled.is_some());
        let start = self.known(known);
        let gap = self.misses_dropped(known).then_some(Gap::Expired);
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
        let is_live = !self.is_behind() && !self.keeps_cursor();
        if let Some(settled) = settled.filter(|_| is_live && range.end == self.held.len()) {
            self.raise(Places { position: settled, place: settled });
        }
        let last = range.end.checked_sub(1).and_then(|last| self.held.get(last));
        let position = last.map_or(self.base, |held| held.places).place;
        Some((self.batch(gap, range, over), position, gap))
    }

    /// Returns the answer with these events, after a gap if there is one. The events behind them
    /// stay unread.
    pub(super) fn batch(&self, gap: Option<Gap>, range: Range<usize>, over: bool) -> Batch {
        let gap = gap.map(|gap| gap_event(gap, None));
        let newest = range.end.checked_sub(1).and_then(|newest| self.held.get(newest));
        Batch {
            cursor: Cursor(self.before + range.end as u64),
            body: body(
                newest.map_or(NO_EVENT, |newest| newest.event.id()),
                gap.iter().chain(self.held.range(range).map(|held| &held.event)),
            ),
            over,
            position: None,
        }
    }

    /// Returns the first of these events whose answer has up to `limit` bytes. An event that does
    /// not fit into an answer of its own is dropped, so that those after it are not held up. If
    /// events have positions, the client gets a gap in its place.
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
                let are_in_ring = self.are_in_ring();
                if let Some(held) = self.held.get_mut(events.start).filter(|_| are_in_ring) {
                    self.bytes -= held.event.json().len();
                    held.event = gap_event(Gap::TooMany, None);
                    self.bytes += held.event.json().len();
                    return events.start..events.start + 1;
                }
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
