//! Decides between an operation of this life and the one that the stream holds on its id.

use std::time::Duration;

use session::{LIFT_KEPT, Mode, Operation, Revocation};

use super::Now;
use super::own::Own;
use crate::flaw::{Flaw, Flaws};
use crate::message::{Shared, Tag};

/// How far two copies of a revocation may differ in what is left, since it was sent at different
/// times.
pub(super) const SAME_END: Duration = Duration::from_secs(1);

/// What becomes of an operation, since the stream holds another one on its id.
pub(super) enum Verdict {
    /// It takes the place of the other one.
    Replace,
    /// The other one does the same, or has undone it.
    Covered,
    /// The stream has a later state than the repair.
    Needless,
    /// The other one had the id first.
    Conflict,
}

impl Own {
    /// Decides between this operation and the one that the stream holds.
    pub(super) fn compare(
        &mut self,
        theirs: &Shared,
        (sequence, stored_at): (u64, u64),
        now: Now,
        flaws: Flaws,
    ) -> Verdict {
        if self.repairs {
            return self.repair(theirs, now, flaws);
        }
        if self.was_stored && theirs.revision > self.revision {
            return Verdict::Covered;
        }
        // A node has put it back already. As one change more, it would undo a lift that comes next.
        if self.was_stored && theirs.revision == self.revision && self.is_done_by(theirs, now) {
            return Verdict::Covered;
        }
        let is_later = sequence > self.accepted_at;
        match (&mut self.operation, &theirs.operation) {
            // This node has seen a revocation after their lift: either the server that answered
            // lags behind, so theirs is not the last message and cannot be replaced, or the stream
            // has lost it.
            (Operation::Lift { .. }, Operation::Lift { .. }) if theirs.revision + 1 < self.revision => {
                Verdict::Replace
            }
            (Operation::Lift { .. }, Operation::Lift { .. }) => Verdict::Covered,
            // It was in the stream, and somebody has lifted it. A lift from before it was accepted
            // is one of another operation.
            (Operation::Revoke(_), Operation::Lift { .. })
                if self.may_be_stored
                    && is_later
                    && theirs.revision > self.revision
                    && self.announced_at.is_before(stored_at) =>
            {
                Verdict::Covered
            }
            (Operation::Lift { .. }, Operation::Revoke(lifted)) => {
                // Whoever has the revocation has to learn of the lift, however late.
                self.lift_kept = self.lift_kept.max(lifted.kept_for().saturating_add(LIFT_KEPT));
                self.becomes(theirs.revision + 1);
                Verdict::Replace
            }
            (Operation::Revoke(_), Operation::Lift { .. }) => {
                self.becomes(theirs.revision + 1);
                Verdict::Replace
            }
            (Operation::Revoke(ours), Operation::Revoke(other)) => {
                // The log knew theirs when it accepted ours, so the id is free again. That theirs
                // was read alone says nothing, since the log learns of it later.
                let was_known = theirs.revision < self.revision && !is_later;
                let has_expired = other.mode == Mode::Revoke && other.validity.is_zero();
                if merge(ours, other, self.announced, now, flaws) || was_known || !is_later && has_expired {
                    self.becomes(theirs.revision + 1);
                    Verdict::Replace
                } else if flaws.has(Flaw::ConflictIsSuccess) {
                    Verdict::Covered
                } else {
                    Verdict::Conflict
                }
            }
        }
    }

    /// Returns whether theirs is the same revocation, for as long and for tokens of the same ages.
    fn is_done_by(&self, theirs: &Shared, now: Now) -> bool {
        match (&self.operation, &theirs.operation) {
            (Operation::Revoke(ours), Operation::Revoke(other)) => {
                let left = left(ours.validity, self.announced, now);
                let lasts = ours.mode == Mode::Disconnect || left <= other.validity.saturating_add(SAME_END);
                ours.is_same(other) && other.covers_ages_of(ours) && lasts
            }
            _ => false,
        }
    }

    /// The operation will be this change of its id, or a later one: the stream may have lost
    /// changes that this node has seen, and other nodes may bring them back. Whoever has
    /// acknowledged it as an earlier one may apply another one first, which undoes it there.
    pub(super) fn becomes(&mut self, revision: u32) {
        let revision = revision.max(self.revision).max(self.follows + 1);
        if self.revision != revision {
            self.acknowledged.clear();
        }
        self.revision = revision;
    }

    /// Merges what the stream holds into this state of the log.
    fn repair(&mut self, theirs: &Shared, now: Now, flaws: Flaws) -> Verdict {
        if flaws.has(Flaw::FirstCopyWins) || theirs.revision > self.revision {
            return Verdict::Needless;
        }
        // Whoever has stored theirs has seen the revocation, and has changed it since.
        let has_changed = |tags: [Tag; 2]| theirs.tag.number < Tag::REPAIRS && !tags.contains(&theirs.tag);
        if self.restates.is_some_and(has_changed) {
            return Verdict::Needless;
        }
        if theirs.revision < self.revision {
            // The stream may have a later end that this node does not know yet.
            if let (Operation::Revoke(ours), Operation::Revoke(other)) =
                (&mut self.operation, &theirs.operation)
            {
                merge(ours, other, self.announced, now, flaws);
            }
            return Verdict::Replace;
        }
        match (&mut self.operation, &theirs.operation) {
            (Operation::Revoke(ours), Operation::Revoke(other))
                if ours.mode == Mode::Revoke
                    && (left(ours.validity, self.announced, now)
                        > other.validity.saturating_add(SAME_END)
                        || !other.covers_ages_of(ours)) =>
            {
                if merge(ours, other, self.announced, now, flaws) {
                    Verdict::Replace
                } else {
                    Verdict::Needless
                }
            }
            _ => Verdict::Needless,
        }
    }
}

/// Merges another revocation of the same id into `ours`, if both are the same: the later end
/// counts, and the later bound. Returns whether they were merged.
fn merge(ours: &mut Revocation, other: &Revocation, announced: Now, now: Now, flaws: Flaws) -> bool {
    if !ours.is_same(other) {
        return false;
    }
    if ours.mode == Mode::Revoke {
        let theirs = other.validity.saturating_add(now.saturating_sub(announced));
        ours.validity = ours.validity.max(theirs);
    }
    if !flaws.has(Flaw::OwnBoundWins) {
        ours.extend_bound(other);
    }
    true
}

/// Returns what is left of a validity.
pub(super) fn left(validity: Duration, since: Now, now: Now) -> Duration {
    if validity == Duration::MAX { validity } else { validity.saturating_sub(now.saturating_sub(since)) }
}

#[cfg(test)]
mod tests {
    use session::SessionName;

    use super::*;

    #[test]
    fn a_revocation_that_another_node_has_put_back_is_not_one_change_more() {
        let now = Duration::from_secs(100);
        let session = SessionName::try_from("s").unwrap();
        let revoke = |seconds| {
            let revocation = Revocation::blacklist(&session, Duration::from_secs(seconds));
            Operation::Revoke(Revocation { extends: false, ..revocation })
        };
        let life = seal::Incarnation::from_bytes([2; seal::Incarnation::BYTES]);
        let theirs = |revision, seconds| {
            let tag = Tag { life, number: Tag::REPAIRS + 1 };
            Shared { tag, revision, operation: revoke(seconds) }
        };
        let compare = |was_stored, theirs: Shared| {
            let mut own = Own { was_stored, ..Own::new(revoke(60), 0, 0, now) };
            let verdict = own.compare(&theirs, (1, 0), now, Flaws::default());
            (matches!(verdict, Verdict::Covered), own.revision)
        };
        assert_eq!(compare(true, theirs(1, 60)), (true, 1));
        assert_eq!(compare(true, theirs(1, 30)), (false, 2), "theirs expires earlier");
        assert_eq!(compare(false, theirs(1, 60)), (false, 2), "theirs came first");
    }
}
