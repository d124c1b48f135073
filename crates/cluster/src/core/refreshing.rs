//! Stores old revocations in the stream again, with what is left of them.
//!
//! So the first sequence of the stream moves on: a server of NATS keeps a record of each number
//! that is missing behind it. And the clock of NATS, from which a node that starts learns how old
//! a revocation is, is trusted for no longer than that.

use std::time::Duration;

use session::{Mode, Operation, SharedState};

use super::own::{Own, Step};
use super::sharing::Share;
use super::{Action, Core};
use crate::message::{Content, Shared, Stored, Tag};

/// How often the oldest messages are looked at.
const EVERY: Duration = Duration::from_secs(60);

/// From this age on, a revocation is stored again by the node whose share it is in.
const OLD: Duration = Duration::from_secs(12 * 3600);

/// From this age on, by any node.
const OVERDUE: Duration = Duration::from_secs(13 * 3600);

/// From this number of missing sequences on, the oldest messages are stored again whatever their
/// age.
const MISSING: u64 = 500_000;

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
    pub(super) fn oldest_read(&mut self, messages: Vec<Stored>, missing: u64) {
        if !self.recovery.is_following() {
            return;
        }
        let share = Share::of(self.members.rank(self.me.life));
        for message in messages {
            let age = self.reading.age(message.stored_at);
            let Content::Operation(shared) = message.content else { continue };
            // The others expire soon by themselves.
            let Operation::Revoke(revocation) = &shared.operation else { continue };
            if revocation.mode != Mode::Revoke || revocation.validity <= age {
                continue;
            }
            let is_due = age >= OLD || missing > MISSING;
            if is_due && (share.has(shared.id()) || age >= OVERDUE) {
                self.refresh(shared.aged(age), message.position.sequence);
            }
        }
    }

    fn refresh(&mut self, Shared { revision, operation, .. }: Shared, sequence: u64) {
        let left = Duration::ZERO;
        let own =
            Own::new_repair(SharedState { operation, revision, left }, self.reading.applied(), self.now);
        // What is on its way replaces it anyway.
        if self.publishing.unsettled.contains_key(&own.id) {
            return;
        }
        self.publishing.last_repair += 1;
        let number = Tag::REPAIRS + self.publishing.last_repair;
        self.add(number, own);
        self.publishing.step(number, Step::PublishAt { at: self.now, expected: sequence });
    }
}
