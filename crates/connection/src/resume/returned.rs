//! What is known of a client that has come back.

use std::time::Instant;

use history::{EventPosition, Gap, Kept, Ring};
use session::Subject;
use subscription::{Extractors, Subscription};

use super::LATE;
use super::behind::{Behind, End, Taken};
use super::pull::Missed;
use super::selections::Selections;
use crate::sequencer::Sequencer;

/// The limit of subscriptions, old and new together, of which the added ones are looked for. They
/// are compared with the ring locked.
const MOST_COMPARED: usize = 512;

/// A client that has come back with a cursor.
pub(crate) struct Returned {
    /// The position of the cursor; `None` if it is one of another node.
    cursor: Option<EventPosition>,
    /// Until when it can add subscriptions.
    until: Instant,
    /// Whether it has named all of its subscriptions when it came.
    is_complete: bool,
    /// The subscriptions for which it gets, or has got, what was missed.
    subscriptions: Vec<Subscription>,
    /// Set while it is behind.
    behind: Option<Behind>,
}

impl Returned {
    /// Returns what is known of a client that has come back with this cursor; `None` if it is one
    /// of another node.
    pub(super) fn back(
        cursor: Option<EventPosition>,
        is_complete: bool,
        subscriptions: &[Subscription],
        behind: Behind,
    ) -> Self {
        let (until, subscriptions) = (Instant::now() + LATE, subscriptions.to_vec());
        Self { cursor, until, is_complete, subscriptions, behind: Some(behind) }
    }

    /// Returns what is known of a client that has not come back, but misses something.
    pub(crate) fn anew() -> Self {
        Self {
            cursor: None,
            until: Instant::now(),
            is_complete: true,
            subscriptions: Vec::new(),
            behind: None,
        }
    }

    /// Returns `true` while the client is behind.
    pub(crate) const fn is_behind(&self) -> bool {
        self.behind.is_some()
    }

    /// Returns `true` as long as the client has not set its subscriptions, and may still do so: it
    /// keeps its cursor meanwhile, so what it gets has no id.
    pub(crate) fn awaits_subscriptions(&self) -> bool {
        !self.is_complete && Instant::now() < self.until
    }

    #[cfg(test)]
    pub(super) fn expire(&mut self) {
        self.until = Instant::now();
    }

    /// Returns `true` if all of this can be forgotten.
    pub(crate) fn is_over(&self) -> bool {
        self.behind.is_none() && Instant::now() >= self.until
    }

    /// Returns `true` if it has come back, and has not got all that it missed meanwhile.
    pub(super) fn ends_resume(&self) -> bool {
        self.behind.as_ref().is_some_and(|behind| behind.end().0 != End::Silence)
    }

    /// The client gets what is selected after this position from the ring, or a gap.
    pub(crate) fn fall_behind(&mut self, position: EventPosition, all: Selections, gap: Option<Gap>) {
        let behind = self.behind.get_or_insert_with(|| Behind::silent(position, all));
        gap.into_iter().for_each(|gap| behind.give_up(gap));
    }

    /// Returns the bytes of memory that what it misses takes.
    pub(crate) fn bytes(&self) -> usize {
        self.behind.as_ref().map_or(0, Behind::bytes)
    }

    /// The client has got everything, or a gap.
    pub(crate) fn catch_up_ends(&mut self) {
        self.behind = None;
    }

    /// Sets all subscriptions of a client that has got everything up to this position, unless it
    /// is behind. Those that are added soon enough get what they missed; later, they count from now
    /// on. Returns `true` if it is behind now.
    ///
    /// # Errors
    /// Fails if they cannot get it.
    pub(crate) fn select(
        &mut self,
        sequencer: &Sequencer,
        ring: &mut Ring,
        position: EventPosition,
        subscriptions: &[Subscription],
        (subjects, extractors): (&[Subject], &Extractors),
    ) -> Result<bool, Gap> {
        let select = |list: &[Subscription]| sequencer.keys().select(list, extractors);
        let position = self.behind.as_ref().map_or(position, Behind::position);
        let now = Instant::now();
        if now >= self.until {
            self.subscriptions = Vec::new();
            if let Some(behind) = &mut self.behind {
                behind.select(ring.last(), select(subscriptions));
            }
            return Ok(self.is_behind());
        }
        if self.subscriptions.len() + subscriptions.len() > MOST_COMPARED {
            return Err(Gap::TooMany);
        }
        let is_added = |subscription: &&Subscription| !self.subscriptions.contains(subscription);
        let added: Vec<_> = subscriptions.iter().filter(is_added).cloned().collect();
        let late = if added.is_empty() {
            None
        } else {
            let cursor = self.cursor.ok_or(Gap::Elsewhere)?;
            let keys = sequencer.revocation_keys(subjects);
            let (old, limits) = (select(&self.subscriptions), sequencer.options().limits);
            let search = || ring.added(cursor, position, select(&added), &old, &keys, limits, now);
            Some(sequencer.search_late(search)?)
        };
        self.subscriptions.extend(added);
        self.is_complete = true;
        if self.behind.is_none() && late.is_some() {
            // What was not delivered yet comes from the ring.
            self.behind = Some(Behind::silent(position, Selections::default()));
        }
        if let Some(behind) = &mut self.behind {
            behind.go_on(late, position, select(subscriptions));
        }
        Ok(self.is_behind())
    }

    /// Returns the next events for the client.
    pub(super) fn next(&mut self, sequencer: &Sequencer, ring: &mut Ring, limits: (usize, usize)) -> Next {
        let keeps_cursor = self.awaits_subscriptions();
        let Some(behind) = &mut self.behind else { return Next::CaughtUp(End::Silence, 0) };
        let kept = match behind.next(ring, limits) {
            Ok(kept) => kept,
            Err(gap) => return Next::Gap(gap),
        };
        let of_cursor = self.cursor.map(|cursor| sequencer.id(cursor));
        let own = |kept: Kept| {
            let place = (!keeps_cursor).then_some(kept.position);
            Missed { id: place.map(|place| sequencer.id(place)), place, kept }
        };
        let events: Vec<_> = match kept {
            Taken::Own(kept) => kept.into_iter().map(own).collect(),
            Taken::Late(kept) => {
                kept.into_iter().map(|kept| Missed { id: of_cursor, place: self.cursor, kept }).collect()
            }
            Taken::Elsewhere(events) => {
                events.into_iter().map(|(id, kept)| Missed { id: Some(id), place: None, kept }).collect()
            }
        };
        if events.is_empty() {
            let (end, events) = behind.end();
            Next::CaughtUp(end, events)
        } else {
            Next::Events(events, behind.position())
        }
    }
}

/// What comes next for a client that is behind.
pub(super) enum Next {
    /// These events with their ids; it has got everything up to this position with them.
    Events(Vec<Missed>, EventPosition),
    /// What is sent when it has caught up, and the number of events that it has got.
    CaughtUp(End, u64),
    Gap(Gap),
}
