//! Stores a revocation again that the other nodes take for an earlier change of its id.
//!
//! The stream stores an operation only if its node has seen the one before it on the same id. If
//! the stream has lost a lift, a node that has never heard of the lift can store a revocation as if
//! there had been none. To all others it would be lifted already, and so they would put the lift
//! back. So each of them stores the revocation once more, as the change after the lift.

use std::collections::{HashMap, VecDeque};

use session::{Operation, RevocationId, SharedState};

use super::Core;
use super::own::{Own, Step};
use crate::message::{Shared, Tag};

/// Limit of lifts that are remembered.
const REMEMBERED: usize = 4096;

/// The lifts that this node has read last. They stay when the stream goes back.
#[derive(Default)]
pub(super) struct Lifts {
    /// The last one of each id, and which change of the id it is.
    last: HashMap<RevocationId, (Tag, u32)>,
    /// In the order in which they are forgotten.
    order: VecDeque<RevocationId>,
}

impl Lifts {
    fn add(&mut self, lift: &Shared) {
        let known = self.last.get(lift.id());
        if known.is_some_and(|(_, revision)| *revision >= lift.revision) {
            return;
        }
        if known.is_none() {
            self.order.push_back(lift.id().clone());
        }
        self.last.insert(lift.id().clone(), (lift.tag, lift.revision));
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.last.remove(&oldest);
        }
    }
}

impl Core {
    /// Takes an operation that was read at this sequence. A revocation that was applied here before
    /// is an earlier change, which somebody has stored again; the log puts the later one back.
    pub(super) fn restate(&mut self, shared: &Shared, sequence: u64) {
        let Operation::Revoke(revocation) = &shared.operation else {
            self.lifts.add(shared);
            return;
        };
        let Some((lift, revision)) = self.lifts.last.get(shared.id()).copied() else { return };
        let is_mine = shared.tag.life == self.me.life;
        if is_mine || shared.revision >= revision || !self.members.is_new(shared.tag) {
            return;
        }
        let left = revocation.kept_for();
        let state = SharedState { operation: shared.operation.clone(), revision: revision + 1, left };
        let own = Own::new_repair(state, self.reading.applied(), self.now);
        let own = Own { restates: Some([shared.tag, lift]), ..own };
        // It is compared with what is on its way, after that.
        let waits = self.publishing.unsettled.contains_key(&own.id);
        let number = self.add_repair(own);
        if !waits {
            self.publishing.step(number, Step::PublishAt { at: self.now, expected: sequence });
        }
    }
}

#[cfg(test)]
mod tests;
