//! The operations of this life, on their way into the stream.

use std::collections::BTreeSet;
use std::time::Duration;

use seal::Incarnation;
use session::{Operation, RevocationId};

use super::comparing::Verdict;
use super::own::{AGAIN, Outcome, Own, Progress, Step};
use super::reading::Known;
use super::{Action, Core, Unpublished};
use crate::flaw::Flaw;
use crate::message::{Content, Direct, Shared, Stored, Tag};

/// How long to wait before the stream is read again after a conflict: the server that answered may
/// lag behind.
const READ_AGAIN: Duration = Duration::from_millis(50);

/// How long a server may lag behind what this node has stored.
const LAG: Duration = Duration::from_secs(4);

/// How long the stream may take to store a lift.
const LIFT: Duration = Duration::from_secs(5);

/// How often queued operations are looked for.
const QUEUED: Duration = Duration::from_millis(500);

/// How long the same question of a life is not answered again. Lives ask again after a second.
const ASKED_AGAIN: Duration = Duration::from_millis(500);

/// Limit of queued operations that are published at the same time.
const AT_ONCE: usize = 256;

impl Core {
    /// Returns the progress of the latest operation on this id.
    pub fn progress(&self, id: &RevocationId) -> Option<Progress> {
        let number = self.publishing.latest.get(id)?;
        self.publishing.own.get(number).map(Own::progress)
    }

    /// Returns whether this is the number of the latest operation on this id.
    pub fn is_latest(&self, id: &RevocationId, number: u64) -> bool {
        self.publishing.latest.get(id) == Some(&number)
    }

    /// Returns whether an operation on this id is on its way to the stream, or back from it.
    pub fn is_publishing(&self, id: &RevocationId) -> bool {
        let publishing = &self.publishing;
        let is_returning =
            |(_, number): &(u64, u64)| publishing.own.get(number).is_some_and(|own| own.id == *id);
        publishing.unsettled.contains_key(id) || publishing.returning.iter().any(is_returning)
    }

    /// Returns the number of the operation that was announced last.
    pub fn last_number(&self) -> u64 {
        self.publishing.last
    }

    pub(super) fn announce(&mut self, operation: Operation, known: u32, queued: bool) {
        if queued && self.publishing.is_announced(operation.id()) {
            return;
        }
        self.publishing.has_queued |= queued;
        let own = Own::new(operation, known, self.reading.applied(), self.now);
        let own = Own { announced_at: self.clock.at(self.now), ..own };
        let publishing = &mut self.publishing;
        publishing.last += 1;
        let number = publishing.last;
        publishing.latest.insert(own.id.clone(), number);
        match own.operation {
            Operation::Revoke(_) => {
                let message = own.message(self.me.life, number, self.now);
                self.act(Action::Broadcast(Direct::Operation(message)));
            }
            Operation::Lift { .. } => publishing.lifts.push_back((self.now + LIFT, number)),
        }
        self.add(number, own);
    }

    /// Takes a repair; returns its number.
    pub(super) fn add_repair(&mut self, own: Own) -> u64 {
        self.publishing.last_repair += 1;
        let number = Tag::REPAIRS + self.publishing.last_repair;
        self.add(number, own);
        number
    }

    /// Takes an operation that is to come into the stream.
    fn add(&mut self, number: u64, own: Own) {
        let publishing = &mut self.publishing;
        let behind = publishing.unsettled.contains_key(&own.id);
        publishing.own.insert(number, own);
        publishing.unsettle(number);
        if !behind {
            self.start(number);
        }
    }

    fn start(&mut self, number: u64) {
        let blind = self.has(Flaw::LiftWithoutRead);
        let Some(own) = self.publishing.own.get(&number) else { return };
        // A node that follows the stream was asked for what another one misses. Most often, the
        // stream has it.
        let repairs_lost = own.repairs && !self.recovery.is_following();
        let is_new = own.revision == 1 && !own.repairs;
        let step = match own.operation {
            Operation::Revoke(_) if is_new || repairs_lost => Step::PublishAt { at: self.now, expected: 0 },
            Operation::Lift { .. } if blind => Step::PublishAt { at: self.now, expected: u64::MAX },
            _ => Step::ReadAt(self.now),
        };
        self.publishing.step(number, step);
    }

    pub(super) fn tick_publishing(&mut self) {
        self.give_up_lifts();
        let room = AT_ONCE.saturating_sub(self.publishing.pending() - self.publishing.repairs());
        // After some of many, the next are read as soon as half of them are stored.
        let goes_on = self.publishing.has_queued && room >= AT_ONCE / 2;
        let is_due = goes_on || self.now >= self.publishing.queued_at + QUEUED;
        if self.recovery.is_following() && is_due && room > 0 {
            self.publishing.queued_at = self.now;
            self.publishing.has_queued = false;
            self.act(Action::ShareQueued(room));
        }
    }

    /// Gives up the lifts that the stream has not stored in time. What is on its way then may still
    /// be stored, and counts at every node as the stream says.
    fn give_up_lifts(&mut self) {
        while let Some((_, number)) = self.publishing.lifts.pop_front_if(|(at, _)| *at <= self.now) {
            let Some(own) = self.publishing.own.get_mut(&number) else { continue };
            if own.outcome != Outcome::Queued {
                continue;
            }
            let is_on_its_way = matches!(own.step, Step::Publishing { .. });
            own.outcome = Outcome::GivenUp { may_be_stored: own.may_be_stored || is_on_its_way };
            if !self.flaws.has(Flaw::LiftGoesOn) {
                self.publishing.settle(number, self.now);
            }
            self.publishing.finish(number);
            self.report(number);
        }
    }

    /// Does whatever has become due.
    pub(super) fn advance_publishing(&mut self) {
        while self.recovery.may_publish()
            && let Some(number) = self.publishing.next_due(self.now)
        {
            let Some(own) = self.publishing.own.get_mut(&number) else { return };
            if let Step::PublishAt { expected, .. } = own.step {
                own.attempted.get_or_insert(self.reading.taken());
                let (message, kept) = (own.message(self.me.life, number, self.now), own.kept(self.now));
                self.publishing.step(number, Step::Publishing { expected });
                self.act(Action::Publish { message, expected, kept });
            } else {
                let id = own.id.clone();
                self.publishing.step(number, Step::Reading);
                self.act(Action::Read { number, id, again: false });
            }
        }
        self.look_for_lost();
        self.advance_rereading();
        self.advance_confirming();
    }

    pub(super) fn published(&mut self, number: u64, result: Result<u64, Unpublished>) {
        match result {
            Err(Unpublished::Unknown) => {
                self.publishing.held = Some(self.now + AGAIN);
                self.publishing.rereading.is_due();
            }
            Err(Unpublished::Full) => self.publishing.held = Some(self.now + AGAIN),
            Ok(_) | Err(Unpublished::Conflict) => {
                self.publishing.held = None;
                self.answered();
            }
        }
        let Some(own) = self.publishing.own.get_mut(&number) else { return };
        let Step::Publishing { expected } = own.step else { return };
        match result {
            // It was stored behind messages that the stream has lost since.
            Ok(sequence) if own.attempted.is_some_and(|taken| sequence <= taken) => {
                self.rolled_back("it has stored a message behind fewer than were read");
            }
            // The answer to a publication in the stream of before.
            Ok(sequence) if sequence < expected && expected < u64::MAX => {
                self.publishing.step(number, Step::ReadAt(self.now));
            }
            Ok(sequence) => self.stored(number, sequence, false),
            Err(Unpublished::Conflict) => self.publishing.step(number, Step::ReadAt(self.now)),
            Err(Unpublished::Unknown) if self.flaws.has(Flaw::UnknownIsStored) => {
                let sequence = self.reading.applied();
                self.stored(number, sequence, true);
            }
            Err(unpublished @ (Unpublished::Unknown | Unpublished::Full)) => {
                own.may_be_stored |= unpublished == Unpublished::Unknown;
                let at = self.now + AGAIN;
                self.publishing.step(number, Step::PublishAt { at, expected });
            }
        }
    }

    pub(super) fn not_read(&mut self, number: u64) {
        self.publishing.held = Some(self.now + AGAIN);
        if self.publishing.own.get(&number).is_some_and(|own| own.step == Step::Reading) {
            self.publishing.step(number, Step::ReadAt(self.now + AGAIN));
        }
    }

    /// Decides what becomes of an operation, from what the stream holds of its id.
    pub(super) fn read(&mut self, number: u64, found: Option<Stored>) {
        self.publishing.held = None;
        let Some(own) = self.publishing.own.get_mut(&number) else { return };
        if own.step != Step::Reading {
            return;
        }
        let sequence = found.as_ref().map_or(0, |found| found.position.sequence);
        if sequence < own.behind && self.now < own.announced + LAG {
            // The server that has answered lags behind.
            self.publishing.step(number, Step::ReadAt(self.now + READ_AGAIN));
            return;
        }
        let age = found.as_ref().map_or(Duration::ZERO, |found| self.reading.age(found.stored_at));
        let replace = Step::PublishAt { at: self.now, expected: sequence };
        let stored_at = found.as_ref().map_or(0, |found| found.stored_at);
        let theirs = match found.map(|found| found.content) {
            Some(Content::Operation(theirs)) => theirs.aged(age),
            // This node cannot tell whether it would undo what a newer one has decided.
            Some(Content::Newer) => {
                self.publishing.step(number, Step::ReadAt(self.now + AGAIN));
                return;
            }
            // Whatever it is, it is no operation; or the stream has lost the one before it.
            Some(_) | None => {
                own.becomes(own.revision);
                self.publishing.step(number, replace);
                return;
            }
        };
        self.recovery.has_read(&theirs, self.now);
        if theirs.tag == (Tag { life: self.me.life, number }) {
            // It was skipped when it was read, or that is too long ago to tell: only a later copy
            // would show.
            let is_behind = sequence <= self.reading.applied() && !own.seen;
            if is_behind && !matches!(self.reading.known(sequence), Known::Digest(_)) {
                self.publishing.step(number, replace);
            } else {
                self.stored(number, sequence, false);
            }
            return;
        }
        match own.compare(&theirs, (sequence, stored_at), self.now, self.flaws) {
            Verdict::Replace => {
                // Until the stream has caught up, the same conflict would come again at once.
                let tried = own.tried == Some(sequence);
                own.tried = (!tried).then_some(sequence);
                let again = Step::ReadAt(self.now + READ_AGAIN);
                self.publishing.step(number, if tried { again } else { replace });
            }
            Verdict::Covered => self.stored(number, sequence, true),
            Verdict::Needless => {
                self.publishing.settle(number, self.now);
                self.publishing.finish(number);
            }
            Verdict::Conflict => {
                self.publishing.unconfirmed -= usize::from(own.outcome == Outcome::Pending);
                own.outcome = Outcome::Conflict;
                self.publishing.settle(number, self.now);
                self.publishing.finish(number);
                self.report(number);
            }
        }
    }

    /// The operation is in the stream at this sequence, or another one that covers it.
    fn stored(&mut self, number: u64, sequence: u64, is_covered: bool) {
        let now = self.now;
        let Some(own) = self.publishing.own.get_mut(&number) else { return };
        own.stored = Some((sequence, now));
        own.is_covered = is_covered;
        own.was_stored = true;
        self.reading.expect(sequence);
        if own.repairs {
            let message = own.message(self.me.life, number, now);
            self.recovery.has_read(&message, now);
            self.publishing.settle(number, now);
            self.publishing.finish(number);
            return;
        }
        if own.outcome == Outcome::Queued {
            own.outcome = Outcome::Pending;
            self.publishing.unconfirmed += 1;
        }
        if !own.seen {
            self.publishing.returning.insert((sequence, number));
        }
        self.publishing.settle(number, now);
        self.report(number);
        self.confirm(number);
    }

    /// The operation has come back in order.
    pub(super) fn own_seen(&mut self, number: u64, sequence: u64) {
        let Some(own) = self.publishing.own.get_mut(&number) else { return };
        own.seen = true;
        if matches!(own.outcome, Outcome::GivenUp { .. }) {
            return;
        }
        match own.stored {
            None => self.stored(number, sequence, false),
            Some((stored, _)) => {
                self.publishing.returning.remove(&(stored, number));
                self.confirm(number);
            }
        }
    }

    /// Returns the own operations on an id that were stored before the message with this sequence,
    /// and have not been read, with their sequences.
    pub(super) fn stored_before(&self, id: &RevocationId, sequence: u64) -> Vec<(u64, Shared)> {
        let publishing = &self.publishing;
        let stored = publishing.returning.range(..=(sequence, u64::MAX)).filter_map(|(stored, number)| {
            // What covers an operation that may have been stored has replaced it.
            let was_stored = |own: &&Own| match own.is_covered {
                true => own.may_be_stored && *stored == sequence,
                false => *stored < sequence,
            };
            let own = publishing.own.get(number).filter(|own| own.id == *id).filter(was_stored)?;
            Some((*stored, own.message(self.me.life, *number, self.now)))
        });
        stored.collect()
    }

    /// Returns the own revocation that comes after this lift in the stream.
    pub(super) fn revoked_after(&self, lift: &Shared) -> Option<Shared> {
        if !matches!(lift.operation, Operation::Lift { .. }) {
            return None;
        }
        let number = *self.publishing.latest.get(lift.id())?;
        let own = self.publishing.own.get(&number)?;
        let comes_after =
            own.revision > lift.revision && matches!(own.outcome, Outcome::Pending | Outcome::Complete);
        let revokes = matches!(own.operation, Operation::Revoke(_));
        (comes_after && revokes).then(|| own.message(self.me.life, number, self.now))
    }

    /// Finds stored operations that have not come back although everything up to them is applied.
    fn look_for_lost(&mut self) {
        while let Some((sequence, number)) = self.publishing.returning.first().copied()
            && sequence <= self.reading.applied()
        {
            self.publishing.returning.pop_first();
            let Some(own) = self.publishing.own.get_mut(&number) else { continue };
            if own.is_covered {
                own.seen = true;
                self.confirm(number);
            } else if matches!(self.reading.known(sequence), Known::Digest(_)) {
                self.rolled_back("it has another message of the sequence of an operation");
                return;
            } else {
                // A later operation on its id has replaced it, or the stream has lost it.
                own.stored = None;
                self.publishing.unsettle(number);
                self.publishing.step(number, Step::ReadAt(self.now));
            }
        }
    }

    /// The stream may have lost operations that are not complete.
    pub(super) fn publish_again(&mut self) {
        let (now, publishing) = (self.now, &mut self.publishing);
        publishing.returning.clear();
        publishing.checks.clear();
        publishing.rereading.clear();
        let numbers: Vec<u64> = publishing.own.keys().copied().collect();
        for number in numbers {
            let Some(own) = publishing.own.get_mut(&number) else { continue };
            if own.repairs {
                // A repair of the stream of before means nothing for the next one.
                publishing.settle(number, now);
                publishing.finish(number);
                continue;
            }
            if own.outcome.is_final() {
                // If it was being put back, the log does that now, and nothing waits behind it.
                publishing.settle(number, now);
                continue;
            }
            // The answer to what is on its way will not be looked at.
            own.may_be_stored |= own.was_stored || matches!(own.step, Step::Publishing { .. });
            (own.stored, own.seen, own.awaited, own.tried) = (None, false, None, None);
            own.behind = 0;
            publishing.unconfirmed -= usize::from(own.outcome == Outcome::Pending);
            own.outcome = Outcome::Queued;
            own.accepted_at = 0;
            own.was_stored = false;
            own.acknowledged.clear();
            own.attempted = own.attempted.map(|_| 0);
            if own.step == Step::Settled {
                publishing.unsettle(number);
            }
            let is_first = publishing
                .own
                .get(&number)
                .and_then(|own| publishing.unsettled.get(&own.id))
                .is_some_and(|numbers| numbers.front() == Some(&number));
            publishing.step(number, if is_first { Step::ReadAt(now) } else { Step::Behind });
        }
    }

    pub(super) fn supply(&mut self, to: Incarnation, after: u64) {
        let asked = &mut self.publishing.asked;
        asked.retain(|_, at| self.now < *at + ASKED_AGAIN);
        if asked.contains_key(&(to.to_bytes(), after)) {
            return;
        }
        asked.insert((to.to_bytes(), after), self.now);
        let publishing = &self.publishing;
        let upto = publishing.settled;
        let own = publishing.own.range(after.saturating_add(1)..);
        let ids: BTreeSet<RevocationId> =
            own.take_while(|(number, _)| **number <= upto).map(|(_, own)| own.id.clone()).collect();
        let ids = (after >= publishing.forgotten).then(|| ids.into_iter().collect());
        self.act(Action::Supply { to, after, upto, ids });
    }

    pub(super) fn report(&mut self, number: u64) {
        if let Some(own) = self.publishing.own.get(&number)
            && !own.repairs
        {
            let (id, progress) = (own.id.clone(), own.progress());
            self.act(Action::Progress { number, id, progress });
        }
    }
}

#[cfg(test)]
mod tests;
