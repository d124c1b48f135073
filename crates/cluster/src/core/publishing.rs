//! The operations of this life, on their way into the stream.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use seal::Incarnation;
use session::{Mode, NodeName, Operation, Receipt, Revocation, RevocationId};

use super::members::Confirmation;
use super::reading::Known;
use super::{Action, Core, Now, Unpublished};
use crate::flaw::Flaw;
use crate::message::{Content, Direct, Shared, Stored, Tag};

/// How long to wait before an operation is published again whose outcome is unknown.
const AGAIN: Duration = Duration::from_millis(500);

/// How long to wait before the stream is read again after a conflict: the server that answered may
/// lag behind.
const READ_AGAIN: Duration = Duration::from_millis(50);

/// How often queued operations are looked for.
const QUEUED: Duration = Duration::from_millis(500);

/// Limit of finished operations that are remembered.
const REMEMBERED: usize = 65_536;

/// Limit of queued operations that are published at the same time.
const AT_ONCE: usize = 256;

/// Up to this number of operations on their way to the stream, all are tried again at the same time.
const FEW: usize = 64;

/// How far two copies of a revocation may differ in what is left, since it was sent at different
/// times.
const SAME_END: Duration = Duration::from_secs(1);

/// How far an operation has got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The outcome so far.
    pub outcome: Outcome,
    /// Whether this node has applied it from the stream.
    pub seen: bool,
    /// What is known of each node but this one.
    pub nodes: BTreeMap<NodeName, Confirmation>,
}

/// The outcome of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It is not in the stream yet.
    #[default]
    Queued,
    /// It is in the stream. Some nodes have not confirmed it.
    Pending,
    /// No node can act against it any more.
    Complete,
    /// Another revocation had its id first, so it is not in the stream.
    Conflict,
}

/// The operations of this life.
#[derive(Default)]
pub(super) struct Publishing {
    last: u64,
    last_repair: u64,
    pub(super) own: BTreeMap<u64, Own>,
    /// The numbers of operations on each id that are not in the stream yet, in order.
    unsettled: HashMap<RevocationId, VecDeque<u64>>,
    /// How many those are, and how many of them are repairs.
    pending: usize,
    repairs: usize,
    /// All numbers up to this one are in the stream, or never will be.
    settled: u64,
    /// How many operations are in the stream that some node has not confirmed.
    pub(super) unconfirmed: usize,
    /// When to publish or to read for an operation.
    steps: BTreeSet<(Now, u64)>,
    /// After a failure, one operation of many is tried at a time, from this moment on, until the
    /// stream answers: to try them all would keep the node from everything else.
    held: Option<Now>,
    /// When to look at an operation in the stream that not every node has confirmed.
    pub(super) checks: BTreeSet<(Now, u64)>,
    /// The sequences of stored operations that have not come back, with their numbers.
    returning: BTreeSet<(u64, u64)>,
    /// The latest operation on each id.
    latest: HashMap<RevocationId, u64>,
    /// Finished operations, in the order in which they are forgotten.
    finished: VecDeque<u64>,
    /// The highest number that is forgotten.
    forgotten: u64,
    queued_at: Now,
}

/// An operation of this life.
pub(super) struct Own {
    pub(super) id: RevocationId,
    pub(super) operation: Operation,
    pub(super) revision: u32,
    /// It brings the stream up to date instead of changing something.
    pub(super) repairs: bool,
    /// Where the node had applied the stream when it accepted the operation.
    accepted_at: u64,
    pub(super) announced: Now,
    step: Step,
    /// Up to where the node had read the stream when it first sent the operation there; `None` if
    /// it has not.
    attempted: Option<u64>,
    /// The sequence that it has tried to replace.
    tried: Option<u64>,
    /// Its sequence, and when the node learned of it.
    pub(super) stored: Option<(u64, Now)>,
    /// Another operation at that sequence stands for it.
    is_covered: bool,
    /// It was in the stream, as far as the node knows.
    was_stored: bool,
    /// It has come back in order.
    pub(super) seen: bool,
    /// The lives that have to confirm it; `None` before it is known which.
    pub(super) awaited: Option<BTreeMap<[u8; Incarnation::BYTES], NodeName>>,
    pub(super) confirmed: BTreeMap<NodeName, Confirmation>,
    pub(super) acknowledged: BTreeMap<[u8; Incarnation::BYTES], Option<Receipt>>,
    pub(super) check: Now,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It waits for an earlier one on the same id.
    Behind,
    Reading,
    Publishing {
        expected: u64,
    },
    /// To be published again then.
    PublishAt {
        at: Now,
        expected: u64,
    },
    /// To be read then.
    ReadAt(Now),
    /// It is in the stream, or never will be.
    Settled,
}

impl Publishing {
    /// Returns the number up to which all operations are in the stream, or never will be.
    pub(super) fn settled(&self) -> u64 {
        self.settled
    }

    /// Returns the number of operations that are not in the stream yet.
    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    /// Returns the ids of operations that are on their way to the stream, or back from it.
    pub(super) fn ids(&self) -> impl Iterator<Item = &RevocationId> {
        let returning = self.returning.iter().filter_map(|(_, number)| self.own.get(number));
        self.unsettled.keys().chain(returning.map(|own| &own.id))
    }

    /// Returns the number of operations in the stream that some node has not confirmed.
    pub(super) fn unconfirmed_count(&self) -> usize {
        self.unconfirmed
    }

    /// Returns the number of repairs that are not in the stream yet.
    pub(super) fn repairs(&self) -> usize {
        self.repairs
    }

    /// Sets the next step of an operation.
    fn step(&mut self, number: u64, step: Step) {
        let Some(own) = self.own.get_mut(&number) else { return };
        if let Step::PublishAt { at, .. } | Step::ReadAt(at) = own.step {
            self.steps.remove(&(at, number));
        }
        if let Step::PublishAt { at, .. } | Step::ReadAt(at) = step {
            self.steps.insert((at, number));
        }
        own.step = step;
    }

    /// Returns whether an operation may be tried now.
    fn may_try(&mut self, now: Now) -> bool {
        match self.held.filter(|_| self.pending > FEW) {
            Some(from) if now < from => false,
            Some(_) => {
                self.held = Some(now + AGAIN);
                true
            }
            None => true,
        }
    }

    /// The operation waits for the stream.
    fn unsettle(&mut self, number: u64) {
        let Some(own) = self.own.get(&number) else { return };
        self.pending += 1;
        self.repairs += usize::from(own.repairs);
        let numbers = self.unsettled.entry(own.id.clone()).or_default();
        let at = numbers.partition_point(|other| *other < number);
        numbers.insert(at, number);
    }

    /// The number is in the stream, or never will be.
    fn settle(&mut self, number: u64, now: Now) {
        let Some(own) = self.own.get(&number) else { return };
        if own.step == Step::Settled {
            return;
        }
        let (id, repairs) = (own.id.clone(), own.repairs);
        self.step(number, Step::Settled);
        self.pending -= 1;
        self.repairs -= usize::from(repairs);
        let mut next = None;
        if let Some(numbers) = self.unsettled.get_mut(&id) {
            numbers.retain(|unsettled| *unsettled != number);
            next = numbers.front().copied();
            if next.is_none() {
                self.unsettled.remove(&id);
            }
        }
        while self.settled < self.last
            && self.own.get(&(self.settled + 1)).is_none_or(|own| own.step == Step::Settled)
        {
            self.settled += 1;
        }
        if let Some(next) = next
            && self.own.get(&next).is_some_and(|own| own.step == Step::Behind)
        {
            // The one before it has changed the revision, so the stream is read first.
            self.step(next, Step::ReadAt(now));
        }
    }

    /// Nothing more can happen to the operation.
    pub(super) fn finish(&mut self, number: u64) {
        self.finished.push_back(number);
        while self.finished.len() > REMEMBERED {
            let Some(number) = self.finished.pop_front() else { return };
            if number < Tag::REPAIRS {
                self.forgotten = self.forgotten.max(number);
            }
            if let Some(own) = self.own.remove(&number)
                && self.latest.get(&own.id) == Some(&number)
            {
                self.latest.remove(&own.id);
            }
        }
    }
}

impl Core {
    /// Returns the progress of the latest operation on this id.
    pub fn progress(&self, id: &RevocationId) -> Option<Progress> {
        let number = self.publishing.latest.get(id)?;
        self.publishing.own.get(number).map(Own::progress)
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

    pub(super) fn announce(&mut self, operation: Operation, known: u32, repairs: bool) {
        let publishing = &mut self.publishing;
        let last = if repairs { &mut publishing.last_repair } else { &mut publishing.last };
        *last += 1;
        let number = if repairs { Tag::REPAIRS + *last } else { *last };
        let own = Own {
            id: operation.id().clone(),
            revision: if repairs { known.max(1) } else { known + 1 },
            operation,
            repairs,
            accepted_at: self.reading.applied(),
            announced: self.now,
            step: Step::Behind,
            attempted: None,
            tried: None,
            stored: None,
            is_covered: false,
            was_stored: false,
            seen: false,
            awaited: None,
            confirmed: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            check: Duration::ZERO,
            outcome: Outcome::Queued,
        };
        let behind = publishing.unsettled.contains_key(&own.id);
        if !repairs {
            publishing.latest.insert(own.id.clone(), number);
        }
        let broadcast = (!repairs && matches!(own.operation, Operation::Revoke(_)))
            .then(|| own.message(self.me.life, number, self.now));
        publishing.own.insert(number, own);
        publishing.unsettle(number);
        if let Some(message) = broadcast {
            self.act(Action::Broadcast(Direct::Operation(message)));
        }
        if !behind {
            self.start(number);
        }
    }

    fn start(&mut self, number: u64) {
        let blind = self.has(Flaw::LiftWithoutRead);
        let Some(own) = self.publishing.own.get(&number) else { return };
        let is_new = own.revision == 1 || own.repairs;
        let step = match own.operation {
            Operation::Revoke(_) if is_new => Step::PublishAt { at: self.now, expected: 0 },
            Operation::Lift { .. } if blind => Step::PublishAt { at: self.now, expected: u64::MAX },
            _ => Step::ReadAt(self.now),
        };
        self.publishing.step(number, step);
    }

    pub(super) fn tick_publishing(&mut self) {
        if self.recovery.is_following() && self.now >= self.publishing.queued_at + QUEUED {
            self.publishing.queued_at = self.now;
            if let Some(room) = AT_ONCE.checked_sub(self.publishing.pending()).filter(|room| *room > 0) {
                self.act(Action::ShareQueued(room));
            }
        }
    }

    /// Does whatever has become due.
    pub(super) fn advance_publishing(&mut self) {
        while self.recovery.may_publish()
            && let Some((at, number)) = self.publishing.steps.first().copied()
            && at <= self.now
            && self.publishing.may_try(self.now)
        {
            self.publishing.steps.pop_first();
            let Some(own) = self.publishing.own.get_mut(&number) else { continue };
            match own.step {
                Step::PublishAt { expected, .. } => {
                    own.step = Step::Publishing { expected };
                    own.attempted.get_or_insert(self.reading.taken());
                    let message = own.message(self.me.life, number, self.now);
                    self.act(Action::Publish { message, expected });
                }
                Step::ReadAt(_) => {
                    own.step = Step::Reading;
                    let id = own.id.clone();
                    self.act(Action::Read { number, id });
                }
                Step::Behind | Step::Reading | Step::Publishing { .. } | Step::Settled => {}
            }
        }
        self.look_for_lost();
        self.advance_confirming();
    }

    pub(super) fn published(&mut self, number: u64, result: Result<u64, Unpublished>) {
        if result == Err(Unpublished::Unknown) {
            self.publishing.held = Some(self.now + AGAIN);
        } else {
            self.publishing.held = None;
            self.answered();
        }
        let Some(own) = self.publishing.own.get_mut(&number) else { return };
        let Step::Publishing { expected } = own.step else { return };
        match result {
            // It was stored behind messages that the stream has lost since.
            Ok(sequence) if own.attempted.is_some_and(|taken| sequence <= taken) => self.rolled_back(),
            // A repetition: it was stored before, and what is expected has replaced it since.
            Ok(sequence) if sequence < expected && expected < u64::MAX => {
                self.stored(number, expected, true);
            }
            Ok(sequence) => self.stored(number, sequence, false),
            Err(Unpublished::Conflict) => self.publishing.step(number, Step::ReadAt(self.now)),
            Err(Unpublished::Unknown) if self.flaws.has(Flaw::UnknownIsStored) => {
                let sequence = self.reading.applied();
                self.stored(number, sequence, true);
            }
            Err(Unpublished::Unknown) => {
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
        let age = found.as_ref().map_or(Duration::ZERO, |found| self.reading.age(found.stored_at));
        let replace = Step::PublishAt { at: self.now, expected: sequence };
        let theirs = match found.map(|found| found.content) {
            Some(Content::Operation(theirs)) => theirs.aged(age),
            // This node cannot tell whether it would undo what a newer one has decided.
            Some(Content::Newer) => {
                self.publishing.step(number, Step::ReadAt(self.now + AGAIN));
                return;
            }
            // Whatever it is, it is no operation.
            Some(_) | None => {
                self.publishing.step(number, replace);
                return;
            }
        };
        if theirs.tag == (Tag { life: self.me.life, number }) {
            self.stored(number, sequence, false);
            return;
        }
        match own.compare(&theirs, sequence, self.now, self.flaws) {
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
            own.outcome = Outcome::Complete;
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
        match own.stored {
            None => self.stored(number, sequence, false),
            Some((stored, _)) => {
                self.publishing.returning.remove(&(stored, number));
                self.confirm(number);
            }
        }
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
            } else if self.reading.known(sequence) == Known::Replaced {
                // A later operation on its id has replaced it, or the stream has lost it.
                own.stored = None;
                self.publishing.unsettle(number);
                self.publishing.step(number, Step::ReadAt(self.now));
            } else {
                self.rolled_back();
                return;
            }
        }
    }

    /// The stream may have lost operations that are not complete.
    pub(super) fn publish_again(&mut self) {
        let (now, publishing) = (self.now, &mut self.publishing);
        publishing.returning.clear();
        publishing.checks.clear();
        let numbers: Vec<u64> = publishing.own.keys().copied().collect();
        for number in numbers {
            let Some(own) = publishing.own.get_mut(&number) else { continue };
            if own.repairs {
                // A repair of the stream of before means nothing for the next one.
                publishing.settle(number, now);
                continue;
            }
            if matches!(own.outcome, Outcome::Complete | Outcome::Conflict) {
                continue;
            }
            (own.stored, own.seen, own.awaited, own.tried) = (None, false, None, None);
            publishing.unconfirmed -= usize::from(own.outcome == Outcome::Pending);
            own.outcome = Outcome::Queued;
            own.accepted_at = 0;
            own.was_stored = false;
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

/// What becomes of an operation, since the stream holds another one on its id.
enum Verdict {
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
    fn progress(&self) -> Progress {
        Progress { outcome: self.outcome, seen: self.seen, nodes: self.confirmed.clone() }
    }

    /// Returns the message, with what is left of the validity.
    pub(super) fn message(&self, life: Incarnation, number: u64, now: Now) -> Shared {
        let mut operation = self.operation.clone();
        if let Operation::Revoke(revocation) = &mut operation {
            revocation.validity = left(revocation.validity, self.announced, now);
        }
        Shared { tag: Tag { life, number }, revision: self.revision, operation }
    }

    /// Decides between this operation and the one that the stream holds.
    fn compare(&mut self, theirs: &Shared, sequence: u64, now: Now, flaws: crate::flaw::Flaws) -> Verdict {
        if self.repairs {
            return self.repair(theirs, !flaws.has(Flaw::FirstCopyWins), now);
        }
        if self.was_stored && theirs.revision > self.revision {
            return Verdict::Covered;
        }
        let is_later = sequence > self.accepted_at;
        match (&mut self.operation, &theirs.operation) {
            (Operation::Lift { .. }, Operation::Lift { .. }) => Verdict::Covered,
            // It was in the stream, and somebody has lifted it.
            (Operation::Revoke(_), Operation::Lift { .. })
                if self.attempted.is_some() && is_later && theirs.revision > self.revision =>
            {
                Verdict::Covered
            }
            (Operation::Lift { .. }, Operation::Revoke(_))
            | (Operation::Revoke(_), Operation::Lift { .. }) => {
                self.revision = theirs.revision + 1;
                Verdict::Replace
            }
            (Operation::Revoke(ours), Operation::Revoke(other)) => {
                // The log knew theirs when it accepted ours, so the id is free again. That theirs
                // was read alone says nothing, since the log learns of it later.
                let was_known = theirs.revision < self.revision && !is_later;
                let has_expired = other.mode == Mode::Revoke && other.validity.is_zero();
                if merge(ours, other, self.announced, now) || was_known || !is_later && has_expired {
                    self.revision = theirs.revision + 1;
                    Verdict::Replace
                } else if flaws.has(Flaw::ConflictIsSuccess) {
                    Verdict::Covered
                } else {
                    Verdict::Conflict
                }
            }
        }
    }

    /// Merges what the stream holds into this state of the log.
    fn repair(&mut self, theirs: &Shared, merges: bool, now: Now) -> Verdict {
        if !merges || theirs.revision > self.revision {
            return Verdict::Needless;
        }
        if theirs.revision < self.revision {
            // The stream may have a later end that this node does not know yet.
            if let (Operation::Revoke(ours), Operation::Revoke(other)) =
                (&mut self.operation, &theirs.operation)
            {
                merge(ours, other, self.announced, now);
            }
            return Verdict::Replace;
        }
        match (&mut self.operation, &theirs.operation) {
            (Operation::Revoke(ours), Operation::Revoke(other))
                if ours.mode == Mode::Revoke
                    && left(ours.validity, self.announced, now) > other.validity.saturating_add(SAME_END) =>
            {
                if merge(ours, other, self.announced, now) {
                    Verdict::Replace
                } else {
                    Verdict::Needless
                }
            }
            _ => Verdict::Needless,
        }
    }
}

/// Merges another revocation of the same id into `ours`: both must be the same, or stand for a
/// selector. Returns whether they were merged.
fn merge(ours: &mut Revocation, other: &Revocation, announced: Now, now: Now) -> bool {
    let stands_for_selector = ours.extends && other.extends && ours.selector == other.selector;
    if !ours.is_same(other) && !stands_for_selector {
        return false;
    }
    if ours.mode == Mode::Revoke {
        let theirs = other.validity.saturating_add(now.saturating_sub(announced));
        ours.validity = ours.validity.max(theirs);
    }
    ours.issued_up_to = match (ours.issued_up_to, other.issued_up_to) {
        (Some(ours), Some(theirs)) => Some(ours.max(theirs)),
        _ => None,
    };
    true
}

/// Returns what is left of a validity.
fn left(validity: Duration, since: Now, now: Now) -> Duration {
    if validity == Duration::MAX { validity } else { validity.saturating_sub(now.saturating_sub(since)) }
}
