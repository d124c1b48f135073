//! Stores old revocations in the stream again, with what is left of them.
//!
//! So the first sequence of the stream moves on: a server of NATS keeps a record of each number
//! that is missing behind it. And the clock of NATS, from which a node that starts learns how old
//! a revocation is, is trusted for no longer than that.

use std::time::Duration;

use session::{Mode, Operation, RevocationId, SharedState};

use super::own::{Own, Step};
use super::sharing::Share;
use super::{Action, Core};
use crate::message::{Content, Stored};

/// How often the oldest messages are looked at.
const EVERY: Duration = Duration::from_secs(60);

/// From this age on, a revocation is stored again by the node whose share it is in.
const OLD: Duration = Duration::from_secs(12 * 3600);

/// From this age on, by any node.
const OVERDUE: Duration = Duration::from_secs(13 * 3600);

/// From this number of missing sequences on, the oldest messages are stored again whatever their
/// age.
const MISSING: u64 = 500_000;

/// Returns whether an operation that was stored this long ago is in force. Others expire by
/// themselves.
fn lasts(operation: &Operation, age: Duration) -> bool {
    match operation {
        Operation::Revoke(revocation) => revocation.mode == Mode::Revoke && revocation.validity > age,
        Operation::Lift { .. } => false,
    }
}

/// A message of the stream that is old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Old {
    /// The id.
    pub id: RevocationId,
    /// The change of the id that it is.
    pub revision: u32,
    /// Its sequence.
    pub sequence: u64,
}

impl Core {
    pub(super) fn tick_refreshing(&mut self) {
        let due = self.refreshed.is_none_or(|at| self.now >= at + EVERY);
        if due && self.recovery.is_following() {
            self.refreshed = Some(self.now);
            self.act(Action::ReadOldest);
        }
    }

    /// Stores those of the oldest messages again that are old. `missing` is the number of sequences
    /// behind the first message that the stream does not hold any more.
    pub(super) fn oldest_read(&mut self, messages: &[Stored], missing: u64) {
        let (index, of) = self.members.rank(self.me.life);
        let share = Share::of((index, of));
        let mut old = Vec::new();
        // To store the messages behind one again that stays would leave as many missing.
        let mut moves_on = missing > MISSING;
        for message in messages {
            // Its replacement is stored elsewhere, so it stays where it is.
            if message.outdated {
                moves_on = false;
                continue;
            }
            let (sequence, age) = (message.position.sequence, self.reading.age(message.stored_at));
            let is_due = age >= OLD || moves_on;
            match &message.content {
                Content::Operation(shared) if lasts(&shared.operation, age) => {
                    let is_mine = share.has(shared.id()) || age >= OVERDUE;
                    let is_applied = sequence <= self.reading.certain_position().sequence;
                    if is_due && is_mine && is_applied {
                        let (id, revision) = (shared.id().clone(), shared.revision);
                        old.push(Old { id, revision, sequence });
                    }
                }
                Content::Definitions if is_due && (index == 0 || age >= OVERDUE) => {
                    self.act(Action::RefreshDefinitions { sequence });
                }
                Content::Definitions | Content::Beat(_) => {}
                Content::Operation(_) | Content::Newer | Content::Forged(_) => moves_on = false,
            }
        }
        if !old.is_empty() {
            self.act(Action::ReadOld(old));
        }
    }

    /// Stores states of the log in place of the messages with these sequences. The log has measured
    /// what is left; the clock of NATS may have been set since it has stored them.
    pub(super) fn refresh(&mut self, states: Vec<(Old, SharedState)>) {
        for (Old { sequence, .. }, state) in
            states.into_iter().filter(|(old, state)| state.revision == old.revision)
        {
            let own = Own::new_repair(state, self.reading.applied(), self.now);
            // What is on its way replaces it anyway.
            let is_changing = self.publishing.unsettled.contains_key(&own.id);
            if is_changing || !matches!(own.operation, Operation::Revoke(_)) || !self.recovery.is_following()
            {
                continue;
            }
            let number = self.add_repair(own);
            self.publishing.step(number, Step::PublishAt { at: self.now, expected: sequence });
        }
    }
}

#[cfg(test)]
mod tests;
