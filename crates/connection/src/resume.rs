//! How a connection begins that comes back, and how one that is behind gets what it missed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use event::Event;
use history::{CatchUp, EventId, EventPosition, Gap, InvalidId, Kept, ResumeLimits, Ring, Selection};
use serde_json::value::RawValue;
use session::Subject;
use subscription::{Extractors, Subscription};

use crate::commons::Commons;
use crate::connection::{Connection, Outlet};
use crate::elsewhere::Elsewhere;
use crate::metrics::ResumeResult;
use crate::outbox::Kind;
use crate::sequencer::Sequencer;

/// What a client says about an earlier connection.
#[derive(Debug, Default)]
pub struct Resume {
    /// The id of the last event that it has got, as it was sent: it may be anything.
    pub cursor: Option<Box<str>>,
    /// Whether it wants ids in heartbeats without a cursor.
    pub ids_in_heartbeats: bool,
    /// Whether it has named all of its subscriptions. If not, it will set them in a moment, as
    /// RIG's examples do.
    pub is_complete: bool,
    /// What the node has kept that the cursor is of; `None` if it was not asked.
    pub elsewhere: Option<Result<Elsewhere, Gap>>,
}

/// How long after it came back a client may add subscriptions whose missed events it gets too.
pub(crate) const LATE: Duration = Duration::from_secs(10);

/// The limit of subscriptions, old and new together, of which the added ones are looked for. They
/// are compared with the ring locked.
const MOST_COMPARED: usize = 512;

/// Limits of what is taken from the ring at once.
const EVENTS_AT_ONCE: usize = 64;
const BYTES_AT_ONCE: usize = 64 << 10;
/// For each this many bytes of an outbox, one event is taken at once.
const OUTBOX_BYTES_PER_EVENT: usize = 512;

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

/// What a connection still gets before it is live. Nothing is delivered to it meanwhile.
struct Behind {
    /// What another node had kept.
    elsewhere: VecDeque<(EventId, Kept)>,
    /// What subscriptions have missed that were added late. These events have the id of the cursor
    /// instead of their own: if the connection breaks meanwhile, the client comes back to the
    /// cursor.
    late: VecDeque<CatchUp>,
    then: Pace,
    /// The number of events that it has got.
    events: u64,
    end: End,
}

/// How it gets what all of its subscriptions have missed.
enum Pace {
    /// It is on its way.
    OnItsWay(CatchUp),
    /// It begins at this position, after what comes first.
    From(EventPosition, Selection),
}

/// What a connection gets when it has caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// `rig.resumed`.
    Resumed {
        /// Whether it has the newest id: nothing before it can be missed any more.
        has_id: bool,
    },
    /// Nothing.
    Silence,
}

/// What a connection begins with.
pub(crate) struct Start {
    /// The id of its first event.
    pub(crate) id: EventId,
    /// The position up to which it has got everything.
    pub(crate) position: EventPosition,
    /// The position of the id; 0 if it is of another node.
    pub(crate) place: EventPosition,
    then: Then,
}

enum Then {
    Live,
    Return(Box<Returned>),
    Gap(Gap, Option<Box<str>>),
}

impl Sequencer {
    /// Decides what a connection begins with.
    pub(crate) fn start(
        &self,
        ring: &mut Ring,
        resume: &mut Resume,
        subjects: &[Subject],
        subscriptions: &[Subscription],
        extractors: &Extractors,
    ) -> Start {
        let head = ring.last();
        let at_head = |then| Start { id: self.id(head), position: head, place: head, then };
        let Some(text) = resume.cursor.take() else { return at_head(Then::Live) };
        let cursor = match (self.ids().read(&text), resume.elsewhere.take()) {
            (Ok(cursor), _) => Ok((cursor, None)),
            (Err(InvalidId::Unknown), _) => return at_head(Then::Gap(Gap::Unknown, None)),
            (Err(InvalidId::Elsewhere(_)), Some(elsewhere)) => {
                elsewhere.map(|elsewhere| (elsewhere.position, Some(elsewhere.events)))
            }
            (Err(InvalidId::Elsewhere(_)), None) => {
                Err(if self.options().has_peers { Gap::Elsewhere } else { Gap::Restarted })
            }
        };
        let caught_up = cursor.and_then(|(cursor, elsewhere)| {
            let keys = self.revocation_keys(subjects);
            // Nothing is known of when the other node has applied them.
            if elsewhere.is_some() && ring.is_revoked_since(EventPosition::default(), &keys) {
                return Err(Gap::Revoked);
            }
            let selection = self.keys().select(subscriptions, extractors);
            let catch_up = ring.catch_up(cursor, selection, &keys, self.options().limits, Instant::now())?;
            Ok((cursor, elsewhere, catch_up))
        });
        match caught_up {
            Ok((cursor, elsewhere, catch_up)) => {
                let own = elsewhere.is_none().then_some(cursor);
                // The id of another node is given back as it came.
                let id = own.map_or_else(|| EventId::from_text(&text), |own| Some(self.id(own)));
                let Some(id) = id else { return at_head(Then::Gap(Gap::Unknown, None)) };
                let behind = Behind {
                    late: VecDeque::new(),
                    then: Pace::OnItsWay(catch_up),
                    events: 0,
                    end: End::Resumed { has_id: resume.is_complete },
                    elsewhere: elsewhere.unwrap_or_default(),
                };
                let returned = Returned {
                    cursor: own,
                    until: Instant::now() + LATE,
                    is_complete: resume.is_complete,
                    subscriptions: subscriptions.to_vec(),
                    behind: Some(behind),
                };
                let place = own.unwrap_or_default();
                Start { id, position: cursor, place, then: Then::Return(Box::new(returned)) }
            }
            Err(gap) => at_head(Then::Gap(gap, Some(text))),
        }
    }
}

impl Returned {
    /// Returns what is known of a client that has not come back, but misses something.
    fn anew() -> Self {
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

    /// Returns `true` if all of this can be forgotten.
    pub(crate) fn is_over(&self) -> bool {
        self.behind.is_none() && Instant::now() >= self.until
    }

    fn ends_resume(&self) -> bool {
        self.behind.as_ref().is_some_and(|behind| behind.end != End::Silence)
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
    /// is behind. Those that are added soon enough get what they missed. Returns `true` if it is
    /// behind now.
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
        let mut added = Vec::new();
        if now >= self.until {
            self.subscriptions = Vec::new();
        } else if self.subscriptions.len() + subscriptions.len() > MOST_COMPARED {
            return Err(Gap::TooMany);
        } else {
            let is_added = |subscription: &&Subscription| !self.subscriptions.contains(subscription);
            added.extend(subscriptions.iter().filter(is_added).cloned());
        }
        let late = if added.is_empty() {
            None
        } else {
            let cursor = self.cursor.ok_or(Gap::Elsewhere)?;
            let keys = sequencer.revocation_keys(subjects);
            let (old, limits) = (select(&self.subscriptions), sequencer.options().limits);
            Some(ring.added(cursor, position, select(&added), &old, &keys, limits, now)?)
        };
        self.subscriptions.extend(added);
        self.is_complete = true;
        if self.behind.is_none() && late.is_some() {
            // What was not delivered yet comes from the ring.
            self.behind = Some(Behind::silent(position, select(&[])));
        }
        if let Some(behind) = &mut self.behind {
            behind.late.extend(late);
            behind.then = Pace::From(position, select(subscriptions));
        }
        Ok(self.is_behind())
    }

    /// Returns the next events for the client.
    fn next(&mut self, sequencer: &Sequencer, ring: &mut Ring, limits: (usize, usize)) -> Next {
        let keeps_cursor = self.awaits_subscriptions();
        let Some(behind) = &mut self.behind else { return Next::CaughtUp(End::Silence, 0) };
        let kept = match behind.next(ring, limits) {
            Ok(kept) => kept,
            Err(gap) => return Next::Gap(gap),
        };
        let of_cursor = self.cursor.map(|cursor| sequencer.id(cursor));
        let none = EventPosition::default();
        let own = |kept: Kept| {
            let place = if keeps_cursor { none } else { kept.position };
            Missed { id: (!keeps_cursor).then(|| sequencer.id(kept.position)), place, kept }
        };
        let events: Vec<_> = match kept {
            Taken::Own(kept) => kept.into_iter().map(own).collect(),
            Taken::Late(kept) => {
                kept.into_iter().map(|kept| Missed { id: of_cursor, place: none, kept }).collect()
            }
            Taken::Elsewhere(events) => {
                events.into_iter().map(|(id, kept)| Missed { id: Some(id), place: none, kept }).collect()
            }
        };
        behind.events += events.len() as u64;
        if events.is_empty() {
            Next::CaughtUp(behind.end, behind.events)
        } else {
            Next::Events(events, behind.position())
        }
    }
}

/// What comes next for a client that is behind.
enum Next {
    /// These events with their ids; it has got everything up to this position with them.
    Events(Vec<Missed>, EventPosition),
    /// What is sent when it has caught up, and the number of events that it has got.
    CaughtUp(End, u64),
    Gap(Gap),
}

/// Events that were taken for a client that is behind.
enum Taken {
    Elsewhere(Vec<(EventId, Kept)>),
    Late(Vec<Kept>),
    Own(Vec<Kept>),
}

impl Behind {
    /// Begins at this position. Nothing says when it has caught up.
    fn silent(position: EventPosition, all: Selection) -> Self {
        Self {
            elsewhere: VecDeque::new(),
            late: VecDeque::new(),
            then: Pace::From(position, all),
            events: 0,
            end: End::Silence,
        }
    }

    fn bytes(&self) -> usize {
        let elsewhere: usize = self.elsewhere.iter().map(|(_, kept)| kept.json.len()).sum();
        let late: usize = self.late.iter().map(CatchUp::bytes).sum();
        let then = if let Pace::OnItsWay(catch_up) = &self.then { catch_up.bytes() } else { 0 };
        elsewhere + late + then
    }

    /// Returns the position up to which it has got everything, apart from what comes first.
    fn position(&self) -> EventPosition {
        match &self.then {
            Pace::OnItsWay(catch_up) => catch_up.position(),
            Pace::From(position, _) => *position,
        }
    }

    fn next(&mut self, ring: &mut Ring, (events, bytes): (usize, usize)) -> Result<Taken, Gap> {
        let now = Instant::now();
        if !self.elsewhere.is_empty() {
            let mut taken = 0;
            let fitting = self.elsewhere.iter().take(events).take_while(|(_, kept)| {
                taken += kept.json.len();
                taken <= bytes
            });
            let fitting = fitting.count().max(1);
            return Ok(Taken::Elsewhere(self.elsewhere.drain(..fitting).collect()));
        }
        while let Some(late) = self.late.front_mut() {
            let kept = ring.next(late, events, bytes, now)?;
            if !kept.is_empty() {
                return Ok(Taken::Late(kept));
            }
            self.late.pop_front();
        }
        if let Pace::From(position, selection) = &self.then {
            self.then = Pace::OnItsWay(follow(ring, *position, selection.clone())?);
        }
        Ok(Taken::Own(match &mut self.then {
            Pace::OnItsWay(catch_up) => ring.next(catch_up, events, bytes, now)?,
            Pace::From(..) => Vec::new(),
        }))
    }
}

/// Goes on from a position, however much has come since.
fn follow(ring: &mut Ring, position: EventPosition, selection: Selection) -> Result<CatchUp, Gap> {
    let limits = ResumeLimits { events: usize::MAX, bytes: usize::MAX };
    ring.catch_up(position, selection, &[], limits, Instant::now())
}

impl Connection {
    /// Enters what a connection begins with, after its first events.
    pub(crate) fn enter(&self, sequencer: &Sequencer, Start { position, then, .. }: Start) {
        match then {
            Then::Live => {}
            Then::Return(returned) => self.set_position(position, Some(returned)),
            Then::Gap(gap, since) => {
                self.count_gap(gap, true);
                self.say(&gap_event(gap, since.as_deref()), Some(&sequencer.id(position)));
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
        self.say(&gap_event(gap, None), Some(&sequencer.id(position)));
    }

    /// Lets a long-polling client get what it missed after a position: more than its mailbox could
    /// hold.
    pub(crate) fn fall_behind(&self, position: EventPosition) {
        let Commons { config, index, .. } = self.commons();
        let (Some(sequencer), Some(mailbox)) = (&config.history, self.mailbox()) else { return };
        let ties = self.ties().lock();
        let list = serde_json::from_str(&ties.subscriptions).unwrap_or_default();
        let list = Subscription::parse_list(&list, index.extractors()).unwrap_or_default();
        let all = sequencer.keys().select(&list, index.extractors());
        mailbox.fall_behind(|returned| {
            let mut returned = returned.unwrap_or_else(|| Box::new(Returned::anew()));
            returned.behind = Some(Behind::silent(position, all));
            returned
        });
    }

    /// Counts a gap, and whether it is the result of a resume.
    fn count_gap(&self, gap: Gap, is_resume: bool) {
        let metrics = &self.commons().metrics;
        metrics.gaps(gap, 1);
        if is_resume {
            metrics.came_back(ResumeResult::Gap);
        }
    }

    /// Sends one of the gateway's own events, with this id.
    pub(crate) fn say(&self, event: &Event, id: Option<&EventId>) {
        match self.outlet() {
            Outlet::Mailbox(mailbox) => mailbox.put(event),
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
    /// The position of that id; 0 if it is not one to come back to without what comes before.
    pub(crate) place: EventPosition,
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

/// Returns the event that stands in place of what was missed since a cursor.
pub(crate) fn gap_event(gap: Gap, since: Option<&str>) -> Event {
    // The text of an id needs no escapes.
    let since = since.map_or_else(|| "null".to_owned(), |since| format!(r#""{since}""#));
    let data = format!(r#"{{"reason":"{}","since":{since}}}"#, gap.as_str());
    Event::of_rig("rig.gap", Some(&raw(data)))
}

fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).expect("numbers, names and ids are JSON")
}

#[cfg(test)]
mod tests;
