//! The operations of this life: which there are, and how far each has got.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use seal::Incarnation;
use session::{LIFT_KEPT, Mode, NodeName, Operation, Receipt, RevocationId, SharedState};

use super::Now;
use super::comparing::left;
use super::confirming::RESEND;
use super::members::Confirmation;
use super::rereading::Rereading;
use super::stream_clock::StreamTime;
use crate::message::{Shared, Tag};

/// How long to wait before an operation is published again whose outcome is unknown.
pub(super) const AGAIN: Duration = Duration::from_millis(500);

/// Limit of finished operations that are remembered.
const REMEMBERED: usize = 65_536;

/// Limit of repairs that are published or read at the same time.
const REPAIRING: usize = 256;

/// Up to this number of operations on their way to the stream, all are tried again at the same
/// time.
const FEW: usize = 64;

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
    /// A lift that the stream has not stored in time. It is not published again.
    GivenUp {
        /// It was published, and the outcome is not known: the stream may store it.
        may_be_stored: bool,
    },
}

/// The operations of this life.
#[derive(Default)]
pub(super) struct Publishing {
    pub(super) last: u64,
    pub(super) last_repair: u64,
    pub(super) own: BTreeMap<u64, Own>,
    /// The numbers of operations on each id that are not in the stream yet, in order.
    pub(super) unsettled: HashMap<RevocationId, VecDeque<u64>>,
    /// How many those are, and how many of them are repairs.
    pub(super) pending: usize,
    pub(super) repairs: usize,
    /// All numbers up to this one are in the stream, or never will be.
    pub(super) settled: u64,
    /// How many operations are in the stream that some node has not confirmed.
    pub(super) unconfirmed: usize,
    /// When to publish or to read for an operation.
    pub(super) steps: BTreeSet<(Now, u64)>,
    /// The same for repairs, which wait until the operations are on their way.
    pub(super) repair_steps: BTreeSet<(Now, u64)>,
    /// How many repairs are being published or read.
    repairing: usize,
    /// After a failure, one operation of many is tried at a time, from this moment on, until the
    /// stream answers: to try them all would keep the node from everything else.
    pub(super) held: Option<Now>,
    /// When to look at an operation in the stream that not every node has confirmed.
    pub(super) checks: BTreeSet<(Now, u64)>,
    /// The sequences of stored operations that have not come back, with their numbers.
    pub(super) returning: BTreeSet<(u64, u64)>,
    /// The latest operation on each id.
    pub(super) latest: HashMap<RevocationId, u64>,
    /// Finished operations, in the order in which they are forgotten.
    pub(super) finished: VecDeque<u64>,
    /// The highest number that is forgotten.
    pub(super) forgotten: u64,
    /// When queued operations were read last, and whether there were any.
    pub(super) queued_at: Now,
    pub(super) has_queued: bool,
    pub(super) rereading: Rereading,
    /// When each life has asked for what it misses after a number.
    pub(super) asked: HashMap<([u8; Incarnation::BYTES], u64), Now>,
    /// When lifts are given up, in the order of their numbers.
    pub(super) lifts: VecDeque<(Now, u64)>,
}

/// An operation of this life.
pub(super) struct Own {
    pub(super) id: RevocationId,
    pub(super) operation: Operation,
    pub(super) revision: u32,
    /// It brings the stream up to date instead of changing something.
    pub(super) repairs: bool,
    /// If it [restates](super::restating) a revocation: the tags of the revocation and of the lift
    /// that the stream has lost.
    pub(super) restates: Option<[Tag; 2]>,
    /// Where the node had applied the stream when it accepted the operation.
    pub(super) accepted_at: u64,
    pub(super) announced: Now,
    /// The same, by the clock of NATS.
    pub(super) announced_at: StreamTime,
    pub(super) step: Step,
    /// Up to where the node had read the stream when it first sent the operation there; `None` if
    /// it has not.
    pub(super) attempted: Option<u64>,
    /// If it is a lift: for how long nodes have to know of it.
    pub(super) lift_kept: Duration,
    /// The sequence of the operation on the same id that this node has stored before it.
    pub(super) behind: u64,
    /// Which change of the id that operation was.
    pub(super) follows: u32,
    /// The sequence that it has tried to replace.
    pub(super) tried: Option<u64>,
    /// A publication of it had no answer.
    pub(super) may_be_stored: bool,
    /// Its sequence, and when the node learned of it.
    pub(super) stored: Option<(u64, Now)>,
    /// Another operation at that sequence stands for it.
    pub(super) is_covered: bool,
    /// It was in the stream, as far as the node knows.
    pub(super) was_stored: bool,
    /// It has come back in order.
    pub(super) seen: bool,
    /// The lives that have to confirm it; `None` before it is known which.
    pub(super) awaited: Option<BTreeMap<[u8; Incarnation::BYTES], NodeName>>,
    pub(super) confirmed: BTreeMap<NodeName, Confirmation>,
    pub(super) acknowledged: BTreeMap<[u8; Incarnation::BYTES], Option<Receipt>>,
    pub(super) check: Now,
    /// When it may be sent again to nodes that have not acknowledged it.
    pub(super) resend_at: Now,
    pub(super) resend_wait: Duration,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
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

impl Step {
    /// Returns whether the stream has been asked, and has not answered.
    fn is_on_its_way(self) -> bool {
        matches!(self, Self::Reading | Self::Publishing { .. })
    }
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
    pub(super) fn step(&mut self, number: u64, step: Step) {
        let Some(own) = self.own.get_mut(&number) else { return };
        let steps = if own.repairs { &mut self.repair_steps } else { &mut self.steps };
        if let Step::PublishAt { at, .. } | Step::ReadAt(at) = own.step {
            steps.remove(&(at, number));
        }
        if let Step::PublishAt { at, .. } | Step::ReadAt(at) = step {
            steps.insert((at, number));
        }
        if own.repairs {
            self.repairing -= usize::from(own.step.is_on_its_way());
            self.repairing += usize::from(step.is_on_its_way());
        }
        own.step = step;
    }

    /// Returns the operation whose step is due, if one may be tried now. Repairs come last.
    pub(super) fn next_due(&mut self, now: Now) -> Option<u64> {
        let is_due = |(at, _): &&(Now, u64)| *at <= now;
        let repair = self.repair_steps.first().filter(is_due).filter(|_| self.repairing < REPAIRING);
        let (_, number) = *self.steps.first().filter(is_due).or(repair)?;
        self.may_try(now).then_some(number)
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

    /// Returns whether an operation on this id is on its way to the stream, or to the other nodes.
    pub(super) fn is_announced(&self, id: &RevocationId) -> bool {
        let latest = self.latest.get(id).and_then(|number| self.own.get(number));
        latest.is_some_and(|own| !own.outcome.is_final())
    }

    /// The operation waits for the stream.
    pub(super) fn unsettle(&mut self, number: u64) {
        let Some(own) = self.own.get(&number) else { return };
        self.pending += 1;
        self.repairs += usize::from(own.repairs);
        let numbers = self.unsettled.entry(own.id.clone()).or_default();
        let at = numbers.partition_point(|other| *other < number);
        numbers.insert(at, number);
    }

    /// The number is in the stream, or never will be.
    pub(super) fn settle(&mut self, number: u64, now: Now) {
        let Some(own) = self.own.get(&number) else { return };
        if own.step == Step::Settled {
            return;
        }
        let (id, repairs) = (own.id.clone(), own.repairs);
        let (stored, revision) = own.stored.map_or((0, 0), |(sequence, _)| (sequence, own.revision));
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
            && let Some(own) = self.own.get_mut(&next).filter(|own| own.step == Step::Behind)
        {
            own.behind = stored;
            own.follows = revision;
            // The one before it has changed the revision, so the stream is read first.
            self.step(next, Step::ReadAt(now));
        }
    }

    /// Gives a repair that waits the state of a newer one. Returns the newer one if none waits.
    pub(super) fn renew_repair(&mut self, newer: Own) -> Option<Own> {
        let last = self.unsettled.get(&newer.id).and_then(VecDeque::back);
        let waiting =
            last.and_then(|last| self.own.get_mut(last)).filter(|own| own.repairs && own.restates.is_none());
        match waiting {
            // What may be stored already is the older state.
            Some(own) if !own.may_be_stored && !matches!(own.step, Step::Publishing { .. }) => {
                (own.operation, own.revision, own.announced) =
                    (newer.operation, newer.revision, newer.announced);
                None
            }
            _ => Some(newer),
        }
    }

    /// Nothing more can happen to the operation. A repair is never asked for later.
    pub(super) fn finish(&mut self, number: u64) {
        if number >= Tag::REPAIRS {
            self.own.remove(&number);
            return;
        }
        self.finished.push_back(number);
        while self.finished.len() > REMEMBERED
            && let Some(number) = self.finished.pop_front()
        {
            // The stream had lost it, and it is stored again.
            if self.own.get(&number).is_some_and(|own| own.step != Step::Settled) {
                self.finished.push_back(number);
                break;
            }
            self.forgotten = self.forgotten.max(number);
            if let Some(own) = self.own.remove(&number)
                && self.latest.get(&own.id) == Some(&number)
            {
                self.latest.remove(&own.id);
            }
        }
    }
}

impl Own {
    /// Returns a state of the log that waits, as this change of its id.
    pub(super) fn new_repair(state: SharedState, applied: u64, now: Now) -> Self {
        let lift_kept = LIFT_KEPT.max(state.left);
        let own = Self::new(state.operation, state.revision.max(1) - 1, applied, now);
        Self { repairs: true, lift_kept, ..own }
    }

    /// Returns an operation that waits. The node knew `known` changes of its id, and had applied
    /// the stream up to `accepted_at`.
    pub(super) fn new(operation: Operation, known: u32, accepted_at: u64, now: Now) -> Self {
        Self {
            id: operation.id().clone(),
            revision: known + 1,
            operation,
            repairs: false,
            restates: None,
            accepted_at,
            announced: now,
            announced_at: StreamTime::default(),
            step: Step::Behind,
            attempted: None,
            lift_kept: LIFT_KEPT,
            behind: 0,
            follows: 0,
            tried: None,
            may_be_stored: false,
            stored: None,
            is_covered: false,
            was_stored: false,
            seen: false,
            awaited: None,
            confirmed: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            check: Duration::ZERO,
            resend_at: now + RESEND,
            resend_wait: RESEND,
            outcome: Outcome::Queued,
        }
    }

    pub(super) fn progress(&self) -> Progress {
        Progress { outcome: self.outcome, seen: self.seen, nodes: self.confirmed.clone() }
    }

    /// Returns for how long nodes have to know of it.
    pub(super) fn kept(&self, now: Now) -> Duration {
        match &self.operation {
            Operation::Revoke(revocation) if revocation.mode == Mode::Revoke => {
                left(revocation.validity, self.announced, now)
            }
            Operation::Revoke(revocation) => revocation.kept_for(),
            Operation::Lift { .. } => self.lift_kept,
        }
    }

    /// Returns the message, with what is left of the validity.
    pub(super) fn message(&self, life: Incarnation, number: u64, now: Now) -> Shared {
        let mut operation = self.operation.clone();
        if let Operation::Revoke(revocation) = &mut operation {
            revocation.validity = left(revocation.validity, self.announced, now);
        }
        Shared { tag: Tag { life, number }, revision: self.revision, operation }
    }
}
