//! Publishes what the stream lacks of the log, after it has lost messages.
//!
//! All nodes do so at the same time. Each publishes its share of the ids first, and then what the
//! stream still lacks, so that most states are published once, and those of a node that is away
//! come too.

use std::collections::BTreeMap;
use std::time::Duration;

use session::{Operation, RevocationId, SharedState, StateCursor};

use super::comparing::SAME_END;
use super::own::Own;
use super::{Action, Core, Now};
use crate::message::Shared;

/// From this number of repairs on their way to the stream on, no further states are read.
const REPAIRS: usize = 256;

/// A recovery of the stream.
pub(super) struct Sharing {
    /// Tells answers from those to an earlier recovery.
    number: u64,
    /// What the stream has of each id.
    stream: BTreeMap<RevocationId, StreamState>,
    share: Share,
    pages: Pages,
}

/// What the stream has of an id.
#[derive(Clone, Copy, Debug)]
struct StreamState {
    revision: u32,
    /// When it expires.
    until: Now,
    /// Up to when the tokens were issued that it selects; `None`: all, or it is a lift.
    bound: Option<u64>,
}

/// Which ids are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// One of several parts.
    Part {
        index: usize,
        of: usize,
    },
    All,
}

/// How far the log is read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pages {
    /// Up to here.
    After(Option<StateCursor>),
    /// Some states are being read.
    Reading,
    /// To its end.
    Read,
}

impl Sharing {
    pub(super) fn new(number: u64) -> Self {
        Self { number, stream: BTreeMap::new(), share: Share::All, pages: Pages::Reading }
    }

    /// Records what the stream has of an id.
    pub(super) fn has_read(&mut self, shared: &Shared, now: Now) {
        let (until, bound) = match &shared.operation {
            Operation::Revoke(revocation) => {
                (now.saturating_add(revocation.validity), revocation.issued_up_to)
            }
            Operation::Lift { .. } => (Now::MAX, None),
        };
        self.stream.insert(shared.id().clone(), StreamState { revision: shared.revision, until, bound });
    }

    /// Returns whether the stream lacks a state of the log.
    fn lacks(&self, state: &SharedState, now: Now) -> bool {
        let Some(has) = self.stream.get(state.operation.id()) else { return true };
        let (left, bound) = match &state.operation {
            Operation::Revoke(revocation) => (revocation.validity, revocation.issued_up_to),
            Operation::Lift { .. } => (Duration::ZERO, Some(0)),
        };
        let ends_later = now.saturating_add(left) > has.until.saturating_add(SAME_END);
        let is_wider = has.bound.is_some_and(|has| bound.is_none_or(|bound| bound > has));
        state.revision > has.revision || state.revision == has.revision && (ends_later || is_wider)
    }
}

impl Share {
    /// Returns the share of a node with this place among this number of nodes.
    pub(super) fn of((index, of): (usize, usize)) -> Self {
        Self::Part { index, of }
    }

    /// Returns whether an id belongs to it. All nodes divide the ids alike.
    pub(super) fn has(self, id: &RevocationId) -> bool {
        match self {
            Self::Part { index, of } => {
                let sum: usize = id.as_str().bytes().map(usize::from).sum();
                sum % of == index
            }
            Self::All => true,
        }
    }
}

impl Core {
    /// The stream is read: the node begins to publish what it lacks.
    pub(super) fn begin_sharing(&mut self) {
        let share = Share::of(self.members.rank(self.me.life));
        if let Some(sharing) = &mut self.recovery.sharing {
            sharing.share = share;
            let recovery = sharing.number;
            self.act(Action::ForgetPosition { recovery });
        }
    }

    pub(super) fn position_forgotten(&mut self, recovery: u64) {
        if let Some(sharing) = self.sharing(recovery) {
            sharing.pages = Pages::After(None);
        }
    }

    /// Publishes those of some states of the log that the stream lacks.
    pub(super) fn states_read(&mut self, recovery: u64, states: Vec<SharedState>, next: Option<StateCursor>) {
        let Some(sharing) = self.sharing(recovery) else { return };
        let share = sharing.share;
        sharing.pages = match (next, share) {
            (Some(next), _) => Pages::After(Some(next)),
            (None, Share::Part { .. }) => {
                sharing.share = Share::All;
                Pages::After(None)
            }
            (None, Share::All) => Pages::Read,
        };
        for state in states {
            if share.has(state.operation.id()) {
                self.repair(state);
            }
        }
    }

    fn sharing(&mut self, recovery: u64) -> Option<&mut Sharing> {
        self.recovery.sharing.as_mut().filter(|sharing| sharing.number == recovery)
    }

    /// Reads the next states, unless too many are on their way. After the last, the node follows
    /// the stream.
    pub(super) fn advance_sharing(&mut self) {
        let repairs = self.publishing.repairs();
        let Some(sharing) = &mut self.recovery.sharing else { return };
        match &sharing.pages {
            Pages::After(after) if repairs < REPAIRS => {
                let (recovery, after) = (sharing.number, after.clone());
                sharing.pages = Pages::Reading;
                self.act(Action::ReadStates { recovery, after });
            }
            Pages::Read if repairs == 0 => self.follow(),
            Pages::After(_) | Pages::Reading | Pages::Read => {}
        }
    }

    /// Publishes a state of the log that the stream may have lost.
    pub(super) fn repair(&mut self, state: SharedState) {
        if self.recovery.sharing.as_ref().is_some_and(|sharing| !sharing.lacks(&state, self.now)) {
            return;
        }
        let own = Own::new_repair(state, self.reading.applied(), self.now);
        if let Some(own) = self.publishing.renew_repair(own) {
            self.add_repair(own);
        }
    }
}
