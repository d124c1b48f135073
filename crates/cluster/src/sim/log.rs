//! The log of a node, with the rules of [`session::Log`].

use std::collections::BTreeMap;

use std::time::Duration;

use session::{
    KnownState, Mode, Operation, Place, Position, Revocation, RevocationId, SharedState, StateChange,
};

use super::Micros;
use crate::message::Shared;

/// The state of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// `None` if it was lifted.
    pub(super) revocation: Option<Revocation>,
    /// When it expires, on the clock of the node, but for what came early.
    pub(super) until: Micros,
    /// Where the stream has the id, up to the last change that is applied here.
    pub(super) place: Place,
    /// The stream does not have it, or not until this end.
    pub(super) unshared: bool,
    /// Until when an operation has put it in force that is not in the stream yet. In memory only.
    pub(super) early: Micros,
    /// Which change of the id that operation is.
    pub(super) early_revision: u32,
    /// Up to which age of tokens it is in force.
    pub(super) early_bound: u64,
    /// Nothing but that operation has put it in force.
    pub(super) is_early: bool,
}

/// What a node keeps. A crash loses whatever was changed since the last sync.
#[derive(Clone, Default)]
pub(super) struct Log {
    pub(super) states: BTreeMap<RevocationId, State>,
    pub(super) position: Position,
}

/// Returns up to which age of tokens a revocation is in force.
pub(super) fn bound_of(revocation: &Revocation) -> u64 {
    revocation.issued_up_to.unwrap_or(u64::MAX)
}

impl State {
    pub(super) fn new(operation: &Operation, place: Place, now: Micros) -> Self {
        let (revocation, until) = match operation {
            Operation::Revoke(revocation) => {
                let kept = u64::try_from(revocation.kept_for().as_micros()).unwrap_or(u64::MAX / 4);
                (Some(revocation.clone()), now + kept)
            }
            Operation::Lift { .. } => (None, u64::MAX / 4),
        };
        Self {
            revocation,
            until,
            place,
            unshared: false,
            early: 0,
            early_revision: 0,
            early_bound: 0,
            is_early: false,
        }
    }

    pub(super) fn is_in_force(&self, now: Micros) -> bool {
        self.revocation.as_ref().is_some_and(|known| known.mode == Mode::Revoke) && now < self.ends()
    }

    /// Returns until when it is in force for tokens of any age, with what came early.
    pub(super) fn ends(&self) -> Micros {
        self.until.max(self.early)
    }

    /// Returns until when it is in force for tokens of this age.
    pub(super) fn ends_for(&self, age: u64) -> Micros {
        let of_state = self.revocation.as_ref().filter(|known| age <= bound_of(known)).map(|_| self.until);
        let of_early = (age <= self.early_bound).then_some(self.early);
        of_state.max(of_early).unwrap_or_default()
    }

    /// Returns the bound of its revocation.
    pub(super) fn bound(&self) -> Option<u64> {
        self.revocation.as_ref().map(bound_of)
    }

    /// Returns the operation that brings another log to this state.
    pub(super) fn operation(&self, id: &RevocationId, now: Micros) -> Operation {
        match &self.revocation {
            Some(revocation) => {
                let mut revocation = revocation.clone();
                if revocation.mode == Mode::Revoke {
                    revocation.validity = Duration::from_micros(self.until.saturating_sub(now));
                }
                Operation::Revoke(revocation)
            }
            None => Operation::Lift { id: id.clone(), by: None },
        }
    }

    /// Returns what a node puts back into a stream that has lost this state.
    pub(super) fn shared(&self, id: &RevocationId, now: Micros) -> SharedState {
        SharedState {
            operation: self.operation(id, now),
            revision: self.place.revision + u32::from(self.unshared),
            left: Duration::from_micros(self.until.saturating_sub(now)),
        }
    }

    /// Returns whether both are the same revocation, until whenever.
    pub(super) fn is_same(&self, operation: &Operation) -> bool {
        match (&self.revocation, operation) {
            (Some(ours), Operation::Revoke(theirs)) => ours.is_same(theirs),
            (None, Operation::Lift { .. }) => true,
            _ => false,
        }
    }

    /// Returns the state after an operation of the stream.
    pub(super) fn after(&self, operation: &Operation, place: Place, now: Micros) -> Self {
        let (mut next, is_replaced) = self.changed(operation, place, now);
        let is_same = self.is_same(operation);
        let is_later = self.early > now && self.early_revision > place.revision;
        let known = self.revocation.as_ref().filter(|_| !self.is_early && !is_replaced);
        if is_later && known.zip(next.revocation.as_ref()).is_some_and(|(known, next)| known.is_same(next)) {
            // Beside the early one, what the log has stays in force.
            next.take_early(self);
            return next;
        }
        if !is_same && is_later {
            // The early one stays in force.
            let early = self.clone().early();
            return Self { until: self.early, place: next.place, is_early: true, ..early };
        }
        if is_same && !is_replaced && (is_later || self.has_more_than(&next)) {
            next.take_early(self);
        } else if next.revocation.is_none() || matches!(operation, Operation::Lift { .. }) {
            (next.early, next.early_revision) = (0, 0);
        }
        next
    }

    /// Returns the state after the log has recorded an operation: what the log has, and what came
    /// early and is still to be decided by the stream.
    pub(super) fn recorded(&self, recorded: Self, place: Place, now: Micros) -> Self {
        let is_later = self.early > now && self.early_revision > place.revision;
        if self.is_early && is_later {
            return Self { place: recorded.place, ..self.clone().early() };
        }
        let is_same = match (&self.revocation, &recorded.revocation) {
            (Some(ours), Some(theirs)) => ours.is_same(theirs),
            _ => false,
        };
        let mut next = recorded;
        if is_same && (is_later || self.has_more_than(&next)) {
            next.take_early(self);
        }
        next
    }

    /// Returns whether what came early is in force for longer, or for younger tokens.
    fn has_more_than(&self, next: &Self) -> bool {
        let is_wider = next.bound().is_some_and(|bound| self.early_bound > bound);
        self.early > next.until || self.early > 0 && is_wider
    }

    /// Takes over what came early to another state of the same id.
    pub(super) fn take_early(&mut self, from: &Self) {
        (self.early, self.early_revision) = (from.early, from.early_revision);
        self.early_bound = from.early_bound;
    }

    /// Has the revocation the bound of what came early.
    fn early(mut self) -> Self {
        if let Some(revocation) = self.revocation.as_mut().filter(|known| known.issued_up_to.is_some()) {
            revocation.issued_up_to = Some(self.early_bound);
        }
        self
    }

    /// Also returns whether another revocation was replaced that the log had.
    fn changed(&self, operation: &Operation, place: Place, now: Micros) -> (Self, bool) {
        let left = Duration::from_micros(self.until.saturating_sub(now));
        // A log forgets what has expired.
        if left.is_zero() || self.is_early && place.revision >= self.place.revision {
            return (Self::new(operation, place, now), false);
        }
        if self.is_early {
            return (self.clone(), false);
        }
        let revocation = self.revocation.as_ref().map(|revocation| (revocation, left));
        let known = KnownState { revocation, place: self.place, in_stream: !self.unshared };
        let (given, place) = (place, place.latest(self.place));
        let change = known.change(operation, given);
        let is_replaced = change == StateChange::Taken && self.revocation.is_some();
        let next = match change {
            StateChange::Nothing => self.clone(),
            StateChange::Noted { in_stream } => Self { place, unshared: !in_stream, ..self.clone() },
            StateChange::Extended { in_stream } => {
                let mut next = Self::new(operation, place, now);
                if let Some((known, theirs)) = self.revocation.as_ref().zip(next.revocation.as_mut()) {
                    theirs.extend_bound(known);
                }
                Self { until: next.until.max(self.until), unshared: !in_stream, ..next }
            }
            StateChange::Taken => Self::new(operation, place, now),
        };
        (next, is_replaced)
    }
}

impl Log {
    /// Records an operation of the stream.
    pub(super) fn record(&mut self, shared: &Shared, place: Place, now: Micros) {
        if place.position.supersedes(self.position) {
            self.position = place.position;
        }
        let next = match self.states.get(shared.id()) {
            Some(known) => known.after(&shared.operation, place, now),
            None => State::new(&shared.operation, place, now),
        };
        self.states.insert(shared.id().clone(), next);
    }
}
