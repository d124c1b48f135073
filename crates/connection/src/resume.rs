//! How a connection begins that comes back, and how one that is behind gets what it missed.

use std::time::{Duration, Instant};

use event::Event;
use history::{EventId, EventPosition, Gap, InvalidId, Ring};
use serde_json::value::RawValue;
use session::Subject;
use subscription::{Extractors, Subscription};

use crate::elsewhere::Elsewhere;
use crate::sequencer::Sequencer;

mod behind;
mod late;
mod pull;
mod returned;
mod selections;

use behind::Behind;
pub(crate) use late::SearchTime;
pub(crate) use pull::{Missed, Pulled};
pub(crate) use returned::Returned;
pub(crate) use selections::Selections;

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

/// What a connection begins with.
pub(crate) struct Start {
    /// The id of its first event. Before a gap it is the cursor: a client that is cut off between
    /// both comes back with it, and gets the gap again.
    pub(crate) id: EventId,
    /// The position up to which it has got everything.
    pub(crate) position: EventPosition,
    /// The position of the id; 0 if it has none on this node.
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
        let Some(text) = resume.cursor.take() else {
            return Start { id: self.id(head), position: head, place: head, then: Then::Live };
        };
        let gap = |gap, since| {
            // What cannot be an id is replaced by one that names nothing either.
            let id = EventId::from_text(&text).unwrap_or_else(|| self.id(EventPosition(u64::MAX)));
            Start { id, position: head, place: EventPosition::default(), then: Then::Gap(gap, since) }
        };
        let cursor = match (self.ids().read(&text), resume.elsewhere.take()) {
            (Ok(cursor), _) => Ok((cursor, None)),
            (Err(InvalidId::Unknown), _) => return gap(Gap::Unknown, None),
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
                let Some(id) = id else { return gap(Gap::Unknown, None) };
                let behind = Behind::back(elsewhere.unwrap_or_default(), catch_up, resume.is_complete);
                let returned = Returned::back(own, resume.is_complete, subscriptions, behind);
                let place = own.unwrap_or_default();
                Start { id, position: cursor, place, then: Then::Return(Box::new(returned)) }
            }
            Err(reason) => gap(reason, Some(text.clone())),
        }
    }
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
