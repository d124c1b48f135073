//! Reads the last operations of this life again when the stream may have got another leader: NATS
//! has been seen to lose messages then that it had acknowledged. The other nodes that were there
//! have applied them; a node that starts would not know them.

use std::collections::VecDeque;
use std::time::Duration;

use session::Operation;

use super::comparing::left;
use super::own::{Outcome, Own, Step};
use super::{Action, Core, Now};
use crate::message::{Content, Stored, Tag};

/// How long an operation may be in the stream to be read again.
const RECENT: Duration = Duration::from_secs(600);

/// Limit of operations that are read again at the same time.
const AT_ONCE: usize = 64;

/// What is read again.
#[derive(Default)]
pub(super) struct Rereading {
    /// The stream may have another leader since it answered last.
    due: bool,
    queue: VecDeque<u64>,
    reading: usize,
}

impl Rereading {
    /// The stream has not answered in time.
    pub(super) fn is_due(&mut self) {
        self.due = true;
    }

    /// Forgets what is to be read: the stream is another one.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }
}

impl Core {
    /// The stream answers.
    pub(super) fn begin_rereading(&mut self) {
        if !std::mem::take(&mut self.publishing.rereading.due) {
            return;
        }
        let now = self.now;
        let recent =
            self.publishing.own.range(..Tag::REPAIRS).rev().take_while(|(_, own)| {
                own.stored.is_none_or(|(_, stored)| now.saturating_sub(stored) < RECENT)
            });
        let queue = recent.filter(|(_, own)| own.is_in_stream(now)).map(|(number, _)| *number).collect();
        self.publishing.rereading.queue = queue;
    }

    pub(super) fn advance_rereading(&mut self) {
        while self.publishing.rereading.reading < AT_ONCE
            && let Some(number) = self.publishing.rereading.queue.pop_front()
        {
            let Some(own) = self.publishing.own.get(&number).filter(|own| own.is_in_stream(self.now)) else {
                continue;
            };
            let id = own.id.clone();
            self.publishing.rereading.reading += 1;
            self.act(Action::Read { number, id, again: true });
        }
    }

    /// An operation was read again; `None` if the stream has not answered.
    pub(super) fn reread(&mut self, number: u64, found: Option<Option<Stored>>) {
        let (now, publishing) = (self.now, &mut self.publishing);
        publishing.rereading.reading -= 1;
        let Some(found) = found else {
            publishing.rereading.queue.clear();
            publishing.rereading.due = true;
            return;
        };
        let Some(own) = publishing.own.get_mut(&number).filter(|own| own.is_in_stream(now)) else { return };
        let is_there = found.is_some_and(|found| match &found.content {
            Content::Operation(theirs) => theirs.revision >= own.revision,
            Content::Newer => true,
            Content::Beat(_) | Content::Definitions | Content::Forged(_) => false,
        });
        if !is_there && self.recovery.is_following() {
            // If it was replaced before it has come back, the log has to learn of it all the same.
            own.may_be_stored = true;
            if let Some((sequence, _)) = own.stored.take() {
                publishing.returning.remove(&(sequence, number));
            }
            publishing.unsettle(number);
            publishing.step(number, Step::ReadAt(now));
        }
    }
}

impl Own {
    /// Returns whether the stream has to hold it.
    fn is_in_stream(&self, now: Now) -> bool {
        let lasts = match &self.operation {
            Operation::Revoke(revocation) => !left(revocation.kept_for(), self.announced, now).is_zero(),
            Operation::Lift { .. } => true,
        };
        let is_there = self.step == Step::Settled && self.stored.is_some();
        lasts && is_there && matches!(self.outcome, Outcome::Pending | Outcome::Complete)
    }
}

#[cfg(test)]
mod tests;
