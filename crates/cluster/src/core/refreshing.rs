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
use crate::message::{Content, Stored, Tag};

/// How often the oldest messages are looked at.
const EVERY: Duration = Duration::from_secs(60);

/// From this age on, a revocation is stored again by the node whose share it is in.
const OLD: Duration = Duration::from_secs(12 * 3600);

/// From this age on, by any node.
const OVERDUE: Duration = Duration::from_secs(13 * 3600);

/// From this number of missing sequences on, the oldest messages are stored again whatever their
/// age.
const MISSING: u64 = 500_000;

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
        let share = Share::of(self.members.rank(self.me.life));
        let old = messages.iter().filter_map(|message| {
            let age = self.reading.age(message.stored_at);
            let Content::Operation(shared) = &message.content else { return None };
            // The others expire soon by themselves.
            let Operation::Revoke(revocation) = &shared.operation else { return None };
            let lasts = revocation.mode == Mode::Revoke && revocation.validity > age;
            let is_due = age >= OLD || missing > MISSING;
            let is_mine = share.has(shared.id()) || age >= OVERDUE;
            let sequence = message.position.sequence;
            let is_applied = sequence <= self.reading.certain_position().sequence;
            (lasts && is_due && is_mine && is_applied).then(|| Old {
                id: shared.id().clone(),
                revision: shared.revision,
                sequence,
            })
        });
        let old: Vec<_> = old.collect();
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
            self.publishing.last_repair += 1;
            let number = Tag::REPAIRS + self.publishing.last_repair;
            self.add(number, own);
            self.publishing.step(number, Step::PublishAt { at: self.now, expected: sequence });
        }
    }
}

#[cfg(test)]
mod tests;
