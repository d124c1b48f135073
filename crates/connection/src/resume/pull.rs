//! How a connection that is behind takes what it misses from the ring.

use event::Event;
use history::{EventId, EventPosition, Gap, Kept};

use super::behind::End;
use super::returned::Next;
use super::{Start, Then, gap_event, raw};
use crate::connection::{Connection, Outlet};
use crate::metrics::ResumeResult;
use crate::outbox::Kind;
use crate::sequencer::Sequencer;

/// Limits of what is taken from the ring at once.
pub(super) const EVENTS_AT_ONCE: usize = 64;
const BYTES_AT_ONCE: usize = 64 << 10;
/// For each this many bytes of an outbox, one event is taken at once.
const OUTBOX_BYTES_PER_EVENT: usize = 512;

impl Connection {
    /// Enters what a connection begins with, after its first events.
    pub(crate) fn enter(&self, sequencer: &Sequencer, Start { position, then, .. }: Start) {
        match then {
            Then::Live => {}
            Then::Return(returned) => self.set_position(position, Some(returned)),
            Then::Gap(gap, since) => {
                self.count_gap(gap, true);
                self.say(&gap_event(gap, since.as_deref()), Some(&sequencer.id(position)), position);
            }
        }
    }

    /// Takes the next missed events from the ring. If there are none, the connection is live from
    /// now on. Returns `false` if it was not behind, or has closed.
    pub(crate) fn pull(&self) -> bool {
        let Some(sequencer) = &self.commons().config.history else { return false };
        let limit = self.commons().config.outbox_bytes;
        let events = EVENTS_AT_ONCE.min(limit / OUTBOX_BYTES_PER_EVENT).max(1);
        let bytes = BYTES_AT_ONCE.min(limit / 4);
        let mut ring = sequencer.lock();
        self.pull_with(|returned| {
            let next = returned.next(sequencer, &mut ring, (events, bytes));
            let head = ring.last();
            // What is published now is delivered after this: the connection is locked.
            drop(ring);
            let metrics = &self.commons().metrics;
            match next {
                Next::Events(events, position) => {
                    metrics.replayed(events.len());
                    Pulled::Events(events, position)
                }
                Next::CaughtUp(End::Silence, _) => Pulled::Live(head, None, None),
                Next::CaughtUp(End::Resumed { has_id }, events) => {
                    metrics.came_back(ResumeResult::Resumed);
                    Pulled::Live(head, Some(resumed(events)), has_id.then(|| sequencer.id(head)))
                }
                Next::Gap(gap) => {
                    self.count_gap(gap, returned.ends_resume());
                    Pulled::Live(head, Some(gap_event(gap, None)), Some(sequencer.id(head)))
                }
            }
        })
    }

    /// Tells the client that it cannot get what it missed.
    pub(crate) fn say_gap(&self, sequencer: &Sequencer, gap: Gap, position: EventPosition) {
        self.count_gap(gap, false);
        self.say(&gap_event(gap, None), Some(&sequencer.id(position)), position);
    }

    /// Counts a gap, and whether it is the result of a resume.
    fn count_gap(&self, gap: Gap, is_resume: bool) {
        let metrics = &self.commons().metrics;
        metrics.gaps(gap, 1);
        if is_resume {
            metrics.came_back(ResumeResult::Gap);
        }
    }

    /// Sends one of the gateway's own events, with this id, whose position is `place`; 0: it is not
    /// one to come back to.
    pub(crate) fn say(&self, event: &Event, id: Option<&EventId>, place: EventPosition) {
        match self.outlet() {
            Outlet::Mailbox(mailbox) => mailbox.say(event, place),
            Outlet::Stream { encoding, .. } => {
                let format = encoding.wire_format();
                let bytes = format.encode(event.event_type(), event.json(), id.map(EventId::as_bytes));
                self.push(&[bytes], Kind::Payload);
            }
        }
    }
}

/// An event that was missed.
pub(crate) struct Missed {
    /// Its id; `None` if the client keeps the one that it has.
    pub(crate) id: Option<EventId>,
    /// The position of that id; `None` if the client comes back to where it would have come back
    /// before.
    pub(crate) place: Option<EventPosition>,
    pub(crate) kept: Kept,
}

/// What was pulled for a connection.
pub(crate) enum Pulled {
    /// Events with their ids. It has got everything up to this position with them.
    Events(Vec<Missed>, EventPosition),
    /// It is live after this position, and gets this event first.
    Live(EventPosition, Option<Event>, Option<EventId>),
}

fn resumed(events: u64) -> Event {
    Event::of_rig("rig.resumed", Some(&raw(format!(r#"{{"events":{events}}}"#))))
}
