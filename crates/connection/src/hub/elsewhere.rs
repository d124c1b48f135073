//! What the other nodes ask for, and what this one needs to make use of the answer.

use std::time::Instant;

use history::{EventId, EventPosition, Gap, Kept, ResumeLimits, Series};
use serde_json::Value;
use subscription::Subscription;

use super::Hub;

/// Events that a client has missed that goes on at another node.
#[derive(Debug)]
pub struct Missed<T> {
    /// The position of its cursor.
    pub cursor: EventPosition,
    /// The events after it, in order, with their ids.
    pub events: Vec<(EventId, Kept)>,
    /// What was read when these were all events; `None` if there are more.
    pub at_head: Option<T>,
}

impl Hub {
    /// Returns the series that a cursor belongs to, if it is not that of this node.
    pub fn series_of(&self, cursor: &str) -> Option<Series> {
        self.commons.config.history.as_ref()?.series_of(cursor)
    }

    /// Returns whether this node continues a series.
    pub fn is_series(&self, series: Series) -> bool {
        self.commons.config.history.as_ref().is_some_and(|sequencer| sequencer.is_own(series))
    }

    /// Returns the most that a client may have missed; `None` if no events are kept.
    pub fn resume_limits(&self) -> Option<ResumeLimits> {
        Some(self.commons.config.history.as_ref()?.options().limits)
    }

    /// Reads subscriptions as a client would send them.
    ///
    /// # Errors
    /// Fails if they are not valid with the extractors of this node.
    pub fn read_subscriptions(&self, list: &Value) -> Result<Vec<Subscription>, Gap> {
        Subscription::parse_list(list, self.commons.index.extractors()).map_err(|_| Gap::Elsewhere)
    }

    /// Returns the next events after a cursor of this node that subscriptions select, up to these
    /// limits. Calls `at_head` if these are all, before the next event takes its
    /// position; it must not call the hub.
    ///
    /// # Errors
    /// Fails if something after the cursor is not kept, or was lost, or a type has had no
    /// subscriber here.
    pub fn missed<T>(
        &self,
        cursor: &str,
        subscriptions: &[Subscription],
        (events, bytes): (usize, usize),
        at_head: impl FnOnce() -> T,
    ) -> Result<Missed<T>, Gap> {
        let sequencer = self.commons.config.history.as_ref().ok_or(Gap::Elsewhere)?;
        let cursor = sequencer.ids().read(cursor).map_err(|_| Gap::Elsewhere)?;
        let selection = sequencer.keys().select(subscriptions, self.commons.index.extractors());
        let limits = sequencer.options().limits;
        let mut ring = sequencer.lock();
        if !sequencer.receives(subscriptions, &self.commons.index) {
            return Err(Gap::Expired);
        }
        let now = Instant::now();
        let mut catch_up = ring.catch_up(cursor, selection, &[], limits, now)?;
        let kept = ring.next(&mut catch_up, events, bytes, now)?;
        let at_head = (catch_up.position() == ring.last()).then(at_head);
        drop(ring);
        let events = kept.into_iter().map(|kept| (sequencer.id(kept.position), kept)).collect();
        Ok(Missed { cursor, events, at_head })
    }

    /// Returns the positions of the events after a position that subscriptions select, and the
    /// newest position. Calls `at_head` before the next event takes its position; it must not call
    /// the hub.
    ///
    /// # Errors
    /// Fails if something after the position is not kept, or was lost.
    pub fn positions_since<T>(
        &self,
        position: EventPosition,
        subscriptions: &[Subscription],
        at_head: impl FnOnce() -> T,
    ) -> Result<(Vec<EventPosition>, EventPosition, T), Gap> {
        let sequencer = self.commons.config.history.as_ref().ok_or(Gap::Elsewhere)?;
        let selection = sequencer.keys().select(subscriptions, self.commons.index.extractors());
        let limits = sequencer.options().limits;
        let mut ring = sequencer.lock();
        let kept = ring.since(position, selection, &[], limits, Instant::now())?;
        Ok((kept.into_iter().map(|kept| kept.position).collect(), ring.last(), at_head()))
    }
}
