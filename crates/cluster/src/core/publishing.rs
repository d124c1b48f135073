//! The operations of this life: broadcast, stored in the stream, confirmed by every node.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use seal::Incarnation;
use session::{Mode, NodeName, Operation, Receipt, Revocation, RevocationId};

use super::lease::expires_within;
use super::members::Confirmation;
use super::reading::Known;
use super::{Action, Core, Now, Unpublished};
use crate::flaw::Flaw;
use crate::message::{Content, Direct, Shared, Stored, Tag};
use session::LostLease;

/// How long to wait before an operation is published again whose outcome is unknown.
const AGAIN: Duration = Duration::from_millis(500);

/// How long to wait before an unconfirmed operation is sent to a node again.
const RESEND: Duration = Duration::from_millis(200);

/// How often queued operations are looked for.
const QUEUED: Duration = Duration::from_millis(500);

/// Limit of operations whose outcomes are remembered.
const REMEMBERED: usize = 65_536;

/// Limit of queued operations that are published at the same time.
const AT_ONCE: usize = 256;

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
    own: BTreeMap<u64, Own>,
    /// The number of the operation on each id that is not in the stream yet.
    unsettled: HashMap<RevocationId, Vec<u64>>,
    /// All numbers up to this one are in the stream, or never will be.
    settled: u64,
    /// Those in the stream that not every node has confirmed.
    unconfirmed: BTreeSet<u64>,
    /// The latest operation on each id.
    latest: HashMap<RevocationId, u64>,
    queued_at: Now,
}

struct Own {
    id: RevocationId,
    operation: Operation,
    revision: u32,
    /// It brings the stream up to date instead of changing something.
    repairs: bool,
    announced: Now,
    step: Step,
    /// Its sequence, and when the node learned of it.
    stored: Option<(u64, Now)>,
    /// It has come back in order.
    seen: bool,
    /// The lives that have to confirm it; `None` before it is known which.
    awaited: Option<BTreeMap<[u8; Incarnation::BYTES], NodeName>>,
    confirmed: BTreeMap<NodeName, Confirmation>,
    acknowledged: HashMap<Incarnation, Option<Receipt>>,
    resent: Now,
    outcome: Outcome,
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
    pub(super) fn settled(&self) -> u64 {
        self.settled
    }

    /// Returns the number of operations that are not in the stream yet.
    pub(super) fn pending(&self) -> usize {
        self.unsettled.values().map(Vec::len).sum()
    }

    /// Returns the ids of operations that are not in the stream yet.
    pub(super) fn ids(&self) -> impl Iterator<Item = &RevocationId> {
        self.unsettled.keys()
    }

    /// Returns the number of operations in the stream that some node has not confirmed.
    pub(super) fn unconfirmed_count(&self) -> usize {
        self.unconfirmed.len()
    }

    /// Returns the number of repairs that are not in the stream yet.
    pub(super) fn repairs(&self) -> usize {
        let unsettled = self.unsettled.values().flatten();
        unsettled.filter(|number| self.own.get(number).is_some_and(|own| own.repairs)).count()
    }
}

impl Core {
    /// Returns the progress of the latest operation on this id.
    pub fn progress(&self, id: &RevocationId) -> Option<Progress> {
        let number = self.publishing.latest.get(id)?;
        self.publishing.own.get(number).map(Own::progress)
    }

    /// Returns whether an operation on this id is on its way to the stream.
    pub fn is_publishing(&self, id: &RevocationId) -> bool {
        self.publishing.unsettled.contains_key(id)
    }

    pub(super) fn announce(&mut self, operation: Operation, known: u32, repairs: bool) {
        let publishing = &mut self.publishing;
        publishing.last += 1;
        let number = publishing.last;
        let id = crate::message::id_of(&operation).clone();
        let unsettled = publishing.unsettled.entry(id.clone()).or_default();
        let behind = !unsettled.is_empty();
        unsettled.push(number);
        let own = Own {
            id,
            revision: if repairs { known.max(1) } else { known + 1 },
            operation,
            repairs,
            announced: self.now,
            step: Step::Behind,
            stored: None,
            seen: false,
            awaited: None,
            confirmed: BTreeMap::new(),
            acknowledged: HashMap::new(),
            resent: self.now,
            outcome: Outcome::Queued,
        };
        if !repairs && matches!(own.operation, Operation::Revoke(_)) {
            let message = own.message(self.me.life, number, self.now);
            self.act(Action::Broadcast(Direct::Operation(message)));
        }
        self.publishing.latest.insert(own.id.clone(), number);
        self.publishing.own.insert(number, own);
        if !behind {
            self.start(number);
        }
    }

    fn start(&mut self, number: u64) {
        let blind = self.has(Flaw::LiftWithoutRead);
        let may_publish = self.recovery.may_publish();
        let Some(own) = self.publishing.own.get_mut(&number) else { return };
        let is_new = own.revision == 1 || own.repairs;
        own.step = match own.operation {
            _ if !may_publish => Step::ReadAt(self.now + AGAIN),
            Operation::Revoke(_) if is_new => Step::PublishAt { at: self.now, expected: 0 },
            Operation::Lift { .. } if blind => Step::PublishAt { at: self.now, expected: u64::MAX },
            _ => Step::ReadAt(self.now),
        };
    }

    pub(super) fn tick_publishing(&mut self) {
        if self.recovery.is_following() && self.now >= self.publishing.queued_at + QUEUED {
            self.publishing.queued_at = self.now;
            if let Some(room) = AT_ONCE.checked_sub(self.publishing.pending()).filter(|room| *room > 0) {
                self.act(Action::ShareQueued(room));
            }
        }
        let publishing = &mut self.publishing;
        while publishing.own.len() > REMEMBERED {
            let first = publishing.own.first_key_value().map(|(number, own)| (*number, own.is_over()));
            let Some((number, true)) = first else { break };
            if let Some(own) = publishing.own.remove(&number)
                && publishing.latest.get(&own.id) == Some(&number)
            {
                publishing.latest.remove(&own.id);
            }
        }
    }

    /// Does whatever has become due.
    pub(super) fn advance_publishing(&mut self) {
        let may_publish = self.recovery.may_publish();
        let numbers: Vec<u64> = self
            .publishing
            .unsettled
            .values()
            .flatten()
            .copied()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        for number in numbers {
            let Some(own) = self.publishing.own.get_mut(&number) else { continue };
            match own.step {
                Step::PublishAt { at, expected } if may_publish && self.now >= at => {
                    own.step = Step::Publishing { expected };
                    let message = own.message(self.me.life, number, self.now);
                    self.act(Action::Publish { message, expected });
                }
                Step::ReadAt(at) if may_publish && self.now >= at => {
                    own.step = Step::Reading;
                    let id = own.id.clone();
                    self.act(Action::Read { number, id });
                }
                _ => {}
            }
        }
        self.confirm();
    }

    pub(super) fn published(&mut self, number: u64, result: Result<u64, Unpublished>) {
        let Some(own) = self.publishing.own.get_mut(&number) else { return };
        let Step::Publishing { expected } = own.step else { return };
        match result {
            Ok(sequence) => self.stored(number, sequence),
            Err(Unpublished::Conflict) => own.step = Step::ReadAt(self.now),
            Err(Unpublished::Unknown) if self.flaws.has(Flaw::UnknownIsStored) => {
                own.seen = true;
                let sequence = self.reading.taken();
                self.stored(number, sequence);
            }
            Err(Unpublished::Unknown) => own.step = Step::PublishAt { at: self.now + AGAIN, expected },
        }
    }

    pub(super) fn not_read(&mut self, number: u64) {
        if let Some(own) = self.publishing.own.get_mut(&number)
            && own.step == Step::Reading
        {
            own.step = Step::ReadAt(self.now + AGAIN);
        }
    }

    /// Decides what becomes of an operation, from what the stream holds of its id.
    pub(super) fn read(&mut self, number: u64, found: Option<Stored>) {
        let (merges_first, conflict_is_success) =
            (!self.has(Flaw::FirstCopyWins), self.has(Flaw::ConflictIsSuccess));
        let (me, now) = (self.me.life, self.now);
        let Some(own) = self.publishing.own.get_mut(&number) else { return };
        if own.step != Step::Reading {
            return;
        }
        let Some(found) = found else {
            own.step = Step::PublishAt { at: now, expected: 0 };
            return;
        };
        let sequence = found.position.sequence;
        let replace = Step::PublishAt { at: now, expected: sequence };
        let Content::Operation(theirs) = found.content else {
            // Whatever it is, it is no operation.
            own.step = replace;
            return;
        };
        if theirs.tag == (Tag { life: me, number }) {
            self.stored(number, sequence);
            return;
        }
        if own.repairs {
            match own.repair(&theirs, merges_first, now) {
                true => own.step = replace,
                false => self.settle(number),
            }
            return;
        }
        match (&mut own.operation, &theirs.operation) {
            (Operation::Lift { .. }, Operation::Lift { .. }) => {
                // Somebody else was first.
                own.seen |= sequence <= self.reading.applied();
                self.stored(number, sequence);
            }
            (Operation::Lift { .. }, Operation::Revoke(_))
            | (Operation::Revoke(_), Operation::Lift { .. }) => {
                own.revision = theirs.revision + 1;
                own.step = replace;
            }
            (Operation::Revoke(ours), Operation::Revoke(other)) => {
                // The log knew theirs when it accepted ours, so the id is free again. That theirs
                // was read says nothing, since the log learns of it later.
                let was_known = theirs.revision < own.revision;
                if merge(ours, other, own.announced, now) || was_known {
                    own.revision = theirs.revision + 1;
                    own.step = replace;
                } else if conflict_is_success {
                    own.seen = true;
                    self.stored(number, sequence);
                } else {
                    own.outcome = Outcome::Conflict;
                    self.settle(number);
                    self.report(number);
                }
            }
        }
    }

    /// The operation is in the stream at this sequence.
    fn stored(&mut self, number: u64, sequence: u64) {
        // If the sequence was read already, the operation should have been seen there.
        let known = (sequence <= self.reading.taken()).then(|| self.reading.known(sequence));
        let Some(own) = self.publishing.own.get_mut(&number) else { return };
        own.stored = Some((sequence, self.now));
        if own.repairs {
            own.outcome = Outcome::Complete;
        } else if own.outcome == Outcome::Queued {
            own.outcome = Outcome::Pending;
            self.publishing.unconfirmed.insert(number);
        }
        let Some(own) = self.publishing.own.get_mut(&number) else { return };
        // It was replaced by a later operation on its id, which this node has applied.
        own.seen |= known == Some(Known::Replaced) && sequence <= self.reading.applied();
        self.reading.expect(sequence);
        self.settle(number);
        self.report(number);
    }

    /// The operation has come back in order.
    pub(super) fn own_seen(&mut self, number: u64, sequence: u64) {
        let Some(own) = self.publishing.own.get_mut(&number) else { return };
        own.seen = true;
        if own.stored.is_none() {
            self.stored(number, sequence);
        } else {
            self.report(number);
        }
    }

    /// The number is in the stream, or never will be.
    fn settle(&mut self, number: u64) {
        let publishing = &mut self.publishing;
        let Some(own) = publishing.own.get_mut(&number) else { return };
        own.step = Step::Settled;
        let id = own.id.clone();
        let mut next = None;
        if let Some(numbers) = publishing.unsettled.get_mut(&id) {
            numbers.retain(|unsettled| *unsettled != number);
            next = numbers.first().copied();
            if next.is_none() {
                publishing.unsettled.remove(&id);
            }
        }
        let is_settled =
            |number: &u64| publishing.own.get(number).is_none_or(|own| own.step == Step::Settled);
        while publishing.settled < publishing.last && is_settled(&(publishing.settled + 1)) {
            publishing.settled += 1;
        }
        if let Some(next) = next
            && self.publishing.own.get(&next).is_some_and(|own| own.step == Step::Behind)
        {
            // The one before it has changed the revision, so the stream is read first.
            if let Some(own) = self.publishing.own.get_mut(&next) {
                own.step = Step::ReadAt(self.now);
            }
        }
    }

    /// The stream may have lost operations that are not complete.
    pub(super) fn publish_again(&mut self) {
        let publishing = &mut self.publishing;
        let now = self.now;
        for (number, own) in &mut publishing.own {
            if matches!(own.outcome, Outcome::Complete | Outcome::Conflict) || own.repairs {
                continue;
            }
            (own.stored, own.seen, own.awaited) = (None, false, None);
            own.outcome = Outcome::Queued;
            publishing.unconfirmed.remove(number);
            if own.step == Step::Settled {
                let unsettled = publishing.unsettled.entry(own.id.clone()).or_default();
                unsettled.push(*number);
                unsettled.sort_unstable();
            }
            own.step = Step::ReadAt(now);
        }
        // A repair of the stream of before means nothing for the next one.
        let repairs: Vec<u64> = publishing
            .own
            .iter()
            .filter(|(_, own)| own.repairs && own.step != Step::Settled)
            .map(|(number, _)| *number)
            .collect();
        for number in repairs {
            self.settle(number);
        }
    }

    /// A node has acknowledged an operation of this life.
    pub(super) fn acknowledged(
        &mut self,
        tag: Tag,
        _node: &NodeName,
        life: Incarnation,
        receipt: Option<Receipt>,
    ) {
        if tag.life == self.me.life
            && let Some(own) = self.publishing.own.get_mut(&tag.number)
            && own.acknowledged.len() < 4096
        {
            own.acknowledged.insert(life, receipt);
        }
    }

    /// Sends the acknowledgement of another life's operation, which is in force here.
    pub(super) fn acknowledge(&mut self, tag: Tag, receipt: Option<Receipt>) {
        let (node, life) = (self.me.node.clone(), self.me.life);
        let message = Direct::Acknowledgement { tag, node, life, receipt };
        self.act(Action::Send { to: tag.life, message });
    }

    pub(super) fn apply_early(&mut self, shared: Shared) {
        if matches!(shared.operation, Operation::Revoke(_)) {
            if self.has(Flaw::EarlyAcknowledgement) {
                self.acknowledge(shared.tag, None);
            }
            self.act(Action::ApplyEarly(shared));
        }
    }

    pub(super) fn supply(&mut self, to: Incarnation, after: u64) {
        let publishing = &self.publishing;
        let upto = publishing.settled;
        let kept = publishing.own.first_key_value().map_or(publishing.last + 1, |(first, _)| *first);
        let ids: BTreeSet<RevocationId> = publishing
            .own
            .range(after.saturating_add(1)..)
            .take_while(|(number, _)| **number <= upto)
            .map(|(_, own)| own.id.clone())
            .collect();
        let ids = (kept <= after + 1).then(|| ids.into_iter().collect());
        self.act(Action::Supply { to, after, upto, ids });
    }

    /// Looks at every operation in the stream that is not confirmed by all nodes.
    fn confirm(&mut self) {
        for number in self.publishing.unconfirmed.clone() {
            self.confirm_one(number);
        }
    }

    fn confirm_one(&mut self, number: u64) {
        let own_not_seen = self.has(Flaw::OwnNotSeen);
        let from_beat = self.has(Flaw::ExpiryFromBeat);
        let (no_drift, any_policy) = (self.has(Flaw::NoDrift), self.has(Flaw::ExpiredWithoutPolicy));
        let (me, now, epoch) = (self.me.life, self.now, self.reading.epoch());
        let Some(own) = self.publishing.own.get_mut(&number) else { return };
        let Some((sequence, stored_at)) = own.stored else { return };
        let was_seen = own.seen;
        // If it was replaced by a later operation on its id, that one is applied.
        own.seen |= sequence <= self.reading.applied();
        if own.awaited.is_none() {
            // Whoever joins later has its first beat after the operation, so it has applied it.
            if !own.seen && !own_not_seen {
                return;
            }
            let live = self.members.live(now).filter(|(_, life)| *life != me);
            own.awaited = Some(live.map(|(node, life)| (life.to_bytes(), node.clone())).collect());
        }
        let before = own.confirmed.clone();
        let mut resend = Vec::new();
        let awaited = own.awaited.get_or_insert_default();
        awaited.retain(|life, node| {
            let life = Incarnation::from_bytes(*life);
            let member = self.members.get(life);
            let confirmation = if let Some(receipt) = own.acknowledged.get(&life) {
                Confirmation::Applied(*receipt)
            } else if let Some(member) = member {
                let has_applied = member.applied.epoch == epoch && member.applied.sequence >= sequence;
                let silent_for = expires_within(member.lease, no_drift);
                let silent_since = if from_beat { own.announced } else { stored_at };
                let silent = member.sequence < sequence && now >= silent_since + silent_for;
                let closed = member.policy == LostLease::Closed || any_policy;
                match () {
                    () if has_applied => Confirmation::Applied(None),
                    () if member.is_gone() => Confirmation::Gone,
                    () if silent && closed => Confirmation::Expired(silent_since + silent_for),
                    () => Confirmation::Unconfirmed(member.policy),
                }
            } else {
                Confirmation::Gone
            };
            let waits = matches!(confirmation, Confirmation::Unconfirmed(_));
            if waits {
                resend.push(life);
            }
            own.confirmed.insert(node.clone(), confirmation);
            waits
        });
        let complete = awaited.is_empty();
        if complete {
            own.outcome = Outcome::Complete;
            self.publishing.unconfirmed.remove(&number);
        }
        let changed = complete || own.confirmed != before || own.seen != was_seen;
        if !complete && now >= own.resent + RESEND && matches!(own.operation, Operation::Revoke(_)) {
            own.resent = now;
            let message = Direct::Operation(own.message(me, number, now));
            for life in resend {
                self.act(Action::Send { to: life, message: message.clone() });
            }
        }
        if changed {
            self.report(number);
        }
    }

    fn report(&mut self, number: u64) {
        if let Some(own) = self.publishing.own.get(&number)
            && !own.repairs
        {
            let (id, progress) = (own.id.clone(), own.progress());
            self.act(Action::Progress { number, id, progress });
        }
    }
}

impl Own {
    fn progress(&self) -> Progress {
        Progress { outcome: self.outcome, seen: self.seen, nodes: self.confirmed.clone() }
    }

    /// Returns whether nothing more can happen to it.
    fn is_over(&self) -> bool {
        self.step == Step::Settled && self.outcome != Outcome::Pending
    }

    /// Returns the message, with what is left of the validity.
    fn message(&self, life: Incarnation, number: u64, now: Now) -> Shared {
        let mut operation = self.operation.clone();
        if let Operation::Revoke(revocation) = &mut operation {
            revocation.validity = left(revocation.validity, self.announced, now);
        }
        Shared { tag: Tag { life, number }, revision: self.revision, operation }
    }

    /// Merges what the stream holds into this state of the log. Returns whether the stream has to
    /// be changed.
    fn repair(&mut self, theirs: &Shared, merges: bool, now: Now) -> bool {
        if !merges || theirs.revision > self.revision {
            return false;
        }
        if theirs.revision < self.revision {
            return true;
        }
        match (&mut self.operation, &theirs.operation) {
            (Operation::Revoke(ours), Operation::Revoke(other)) => {
                let ends_later = left(ours.validity, self.announced, now) > other.validity + SAME_END;
                merge(ours, other, self.announced, now) && ends_later
            }
            _ => false,
        }
    }
}

/// How far two copies of a revocation may differ in what is left, since it was sent at different
/// times.
const SAME_END: Duration = Duration::from_secs(5);

/// Merges another revocation of the same id into `ours`: both must be the same, or stand for a
/// selector. Returns whether that is so.
fn merge(ours: &mut Revocation, other: &Revocation, announced: Now, now: Now) -> bool {
    let stands_for_selector = ours.extends && other.extends && ours.selector == other.selector;
    if !ours.is_same(other) && !stands_for_selector {
        return false;
    }
    if ours.mode == Mode::Revoke {
        // What is left of theirs is counted from now, which is later than their sending.
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
