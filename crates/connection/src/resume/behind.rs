//! What a client that is behind gets before it is live.

use std::collections::VecDeque;
use std::time::Instant;

use history::{CatchUp, EventId, EventPosition, Gap, Kept, ResumeLimits, Ring, Selection};

use super::selections::Selections;

/// What a connection still gets before it is live. Nothing is delivered to it meanwhile.
pub(super) struct Behind {
    /// Why it gets nothing of all that, if it does not.
    gap: Option<Gap>,
    /// What another node had kept.
    elsewhere: VecDeque<(EventId, Kept)>,
    /// What subscriptions have missed that were added late. These events have the id of the cursor
    /// instead of their own: if the connection breaks meanwhile, the client comes back to the
    /// cursor.
    late: VecDeque<CatchUp>,
    then: Pace,
    /// What was selected later.
    later: Selections,
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
pub(super) enum End {
    /// `rig.resumed`.
    Resumed {
        /// Whether it has the newest id: nothing before it can be missed any more.
        has_id: bool,
    },
    /// Nothing.
    Silence,
}

/// Events that were taken for a client that is behind.
pub(super) enum Taken {
    Elsewhere(Vec<(EventId, Kept)>),
    Late(Vec<Kept>),
    Own(Vec<Kept>),
}

impl Behind {
    /// Begins with what another node had kept, and goes on with what this one has. When it has
    /// caught up, the client gets `rig.resumed`, with the newest id if its subscriptions are
    /// complete.
    pub(super) fn back(elsewhere: VecDeque<(EventId, Kept)>, then: CatchUp, is_complete: bool) -> Self {
        let (then, end) = (Pace::OnItsWay(then), End::Resumed { has_id: is_complete });
        let (late, later) = Default::default();
        Self { gap: None, elsewhere, late, then, later, events: 0, end }
    }

    /// Begins at this position. Nothing says when it has caught up.
    pub(super) fn silent(position: EventPosition, mut all: Selections) -> Self {
        let (elsewhere, late) = Default::default();
        let (_, first) = all.take().unwrap_or_default();
        let then = Pace::From(position, first);
        Self { gap: None, elsewhere, late, then, later: all, events: 0, end: End::Silence }
    }

    /// What it still gets is replaced by a gap.
    pub(super) fn give_up(&mut self, gap: Gap) {
        *self =
            Self { gap: Some(gap), end: self.end, ..Self::silent(self.position(), Selections::default()) };
    }

    /// Goes on from this position with what all subscriptions select, after what was added late.
    pub(super) fn go_on(&mut self, late: Option<CatchUp>, position: EventPosition, all: Selection) {
        self.late.extend(late);
        self.then = Pace::From(position, all);
        self.later = Selections::default();
    }

    /// After this position, events are selected by these.
    pub(super) fn select(&mut self, from: EventPosition, all: Selection) {
        self.later.set(from, all);
        if self.later.has_forgotten() {
            self.give_up(Gap::TooMany);
        }
    }

    /// Returns what is sent when it has caught up, and the number of events that it has got.
    pub(super) const fn end(&self) -> (End, u64) {
        (self.end, self.events)
    }

    pub(super) fn bytes(&self) -> usize {
        let elsewhere: usize = self.elsewhere.iter().map(|(_, kept)| kept.json.len()).sum();
        let late: usize = self.late.iter().map(CatchUp::bytes).sum();
        let then = if let Pace::OnItsWay(catch_up) = &self.then { catch_up.bytes() } else { 0 };
        elsewhere + late + then
    }

    /// Returns the position up to which it has got everything, apart from what comes first.
    pub(super) fn position(&self) -> EventPosition {
        match &self.then {
            Pace::OnItsWay(catch_up) => catch_up.position(),
            Pace::From(position, _) => *position,
        }
    }

    /// Returns the next events for the client; none if it has caught up.
    pub(super) fn next(&mut self, ring: &mut Ring, limits: (usize, usize)) -> Result<Taken, Gap> {
        let taken = self.take(ring, limits)?;
        self.events += taken.len() as u64;
        Ok(taken)
    }

    fn take(&mut self, ring: &mut Ring, (events, bytes): (usize, usize)) -> Result<Taken, Gap> {
        if let Some(gap) = self.gap {
            return Err(gap);
        }
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
        loop {
            let mut kept = match &mut self.then {
                Pace::OnItsWay(catch_up) => ring.next(catch_up, events, bytes, now)?,
                Pace::From(position, selection) => {
                    self.then = Pace::OnItsWay(follow(ring, *position, std::mem::take(selection))?);
                    continue;
                }
            };
            if let Some(until) = self.later.next_from() {
                let selected = kept.partition_point(|kept| kept.position <= until);
                if (selected < kept.len() || kept.is_empty())
                    && let Some((from, all)) = self.later.take()
                {
                    self.then = Pace::From(from, all);
                    kept.truncate(selected);
                    if kept.is_empty() {
                        continue;
                    }
                }
            }
            return Ok(Taken::Own(kept));
        }
    }
}

impl Taken {
    fn len(&self) -> usize {
        match self {
            Self::Elsewhere(events) => events.len(),
            Self::Late(kept) | Self::Own(kept) => kept.len(),
        }
    }
}

/// Goes on from a position, however much has come since.
fn follow(ring: &mut Ring, position: EventPosition, selection: Selection) -> Result<CatchUp, Gap> {
    let limits = ResumeLimits { events: usize::MAX, bytes: usize::MAX };
    ring.catch_up(position, selection, &[], limits, Instant::now())
}
