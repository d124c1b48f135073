//! The confirmation of stored operations by every node.

use std::time::Duration;

use seal::Incarnation;
use session::{Operation, Receipt};

use super::members::Confirmation;
use super::own::Outcome;
use super::{Action, Core, on_any_clock};
use crate::flaw::Flaw;
use crate::message::{Direct, Shared, Tag};
use session::LostLease;

/// How often an operation is looked at that a node has not confirmed although it beats.
const CHECK: Duration = Duration::from_millis(200);

/// How long to wait before an unconfirmed operation is sent again to a node that beats. Each
/// further time takes twice as long: a node that has much to apply would have more to do.
pub(super) const RESEND: Duration = Duration::from_millis(200);

/// The longest time before it is sent again.
const RESEND_LATER: Duration = Duration::from_secs(4);

/// How long to wait before an operation is looked at again that only silent nodes have not
/// confirmed.
const SILENT: Duration = Duration::from_secs(1);

/// Limit of acknowledgements of one operation.
const ACKNOWLEDGEMENTS: usize = 4096;

impl Core {
    /// A node has acknowledged an operation of this life. If it has acknowledged it as another
    /// change of its id than it has become, that proves nothing: a change that came between may
    /// have undone it there.
    pub(super) fn acknowledged(
        &mut self,
        tag: Tag,
        revision: u32,
        life: Incarnation,
        receipt: Option<Receipt>,
    ) {
        let is_mine = tag.life == self.me.life || self.has(Flaw::AnyAcknowledgement);
        if is_mine
            && let Some(own) = self.publishing.own.get_mut(&tag.number)
            && own.acknowledged.len() < ACKNOWLEDGEMENTS
            && own.revision == revision
        {
            own.acknowledged.insert(life.to_bytes(), receipt);
            self.confirm(tag.number);
        }
    }

    /// Sends the acknowledgement of another life's operation, which is in force here.
    pub(super) fn acknowledge(&mut self, tag: Tag, revision: u32, receipt: Option<Receipt>) {
        let (node, life) = (self.me.node.clone(), self.me.life);
        let message = Direct::Acknowledgement { tag, revision, node, life, receipt };
        self.act(Action::Send { to: tag.life, message });
    }

    pub(super) fn apply_early(&mut self, shared: Shared) {
        if matches!(shared.operation, Operation::Revoke(_)) {
            if self.has(Flaw::EarlyAcknowledgement) {
                self.acknowledge(shared.tag, shared.revision, None);
            }
            self.act(Action::ApplyEarly(shared));
        }
    }

    /// Looks at the operations whose time has come.
    pub(super) fn advance_confirming(&mut self) {
        while let Some((at, number)) = self.publishing.checks.first().copied()
            && at <= self.now
        {
            self.publishing.checks.pop_first();
            self.confirm(number);
        }
    }

    /// A life is gone: it may have been the last one that operations waited for.
    pub(super) fn confirm_all(&mut self) {
        let checks = std::mem::take(&mut self.publishing.checks);
        for (_, number) in checks {
            self.confirm(number);
        }
    }

    /// Looks at an operation in the stream that not every node has confirmed.
    pub(super) fn confirm(&mut self, number: u64) {
        let own_not_seen = self.has(Flaw::OwnNotSeen);
        let (me, now) = (self.me.life, self.now);
        let Some(own) = self.publishing.own.get_mut(&number) else { return };
        let Some((sequence, _)) = own.stored.filter(|_| own.outcome == Outcome::Pending) else { return };
        if own.awaited.is_none() {
            // Whoever joins later has its first beat after the operation, so it has applied it.
            if !own.seen && !own_not_seen {
                return;
            }
            // A beat may have been skipped.
            if self.reading.certain.is_some() {
                own.check = now + CHECK;
                self.publishing.checks.insert((own.check, number));
                return;
            }
            let serving = self.members.serving(now).filter(|(_, life)| *life != me);
            own.awaited = Some(serving.map(|(node, life)| (life.to_bytes(), node.clone())).collect());
        }
        let awaited = own.awaited.clone().unwrap_or_default();
        let mut changed = false;
        let (mut resend, mut waits) = (Vec::new(), false);
        let mut expires = now + SILENT;
        for (life, node) in awaited {
            let life = Incarnation::from_bytes(life);
            let confirmation = self.confirmation(number, life);
            let Some(own) = self.publishing.own.get_mut(&number) else { return };
            if matches!(confirmation, Confirmation::Unconfirmed(_)) {
                waits = true;
                let member = self.members.get(life);
                if let Some((member, (_, stored_at))) = member.zip(own.stored)
                    && let until = stored_at + on_any_clock(member.lease)
                    && until > now
                {
                    expires = expires.min(until);
                }
                if member.is_some_and(|member| member.sequence > sequence || member.seems_well(now)) {
                    resend.push(life);
                }
            } else if let Some(awaited) = &mut own.awaited {
                awaited.remove(&life.to_bytes());
            }
            if own.confirmed.get(&node) != Some(&confirmation) {
                own.confirmed.insert(node, confirmation);
                changed = true;
            }
        }
        let publishing = &mut self.publishing;
        let Some(own) = publishing.own.get_mut(&number) else { return };
        let is_due = now >= own.check;
        if waits {
            if is_due {
                own.check = if resend.is_empty() { expires } else { expires.min(now + CHECK) };
            }
            publishing.checks.insert((own.check, number));
            let is_revocation = matches!(own.operation, Operation::Revoke(_));
            if is_revocation && !resend.is_empty() && now >= own.resend_at {
                own.resend_at = now + own.resend_wait;
                own.resend_wait = RESEND_LATER.min(own.resend_wait * 2);
                let message = Direct::Operation(own.message(me, number, now));
                for life in resend {
                    self.act(Action::Send { to: life, message: message.clone() });
                }
            }
        } else {
            own.outcome = Outcome::Complete;
            publishing.unconfirmed -= 1;
            publishing.checks.remove(&(own.check, number));
            publishing.finish(number);
            changed = true;
        }
        if changed {
            self.report(number);
        }
    }

    /// Returns what is known of a life and an operation in the stream.
    fn confirmation(&self, number: u64, life: Incarnation) -> Confirmation {
        let (from_beat, any_policy) = (self.has(Flaw::ExpiryFromBeat), self.has(Flaw::ExpiredWithoutPolicy));
        let Some(member) = self.members.get(life) else { return Confirmation::Gone };
        let unconfirmed = Confirmation::Unconfirmed(member.policy);
        let Some(own) = self.publishing.own.get(&number) else { return unconfirmed };
        let Some((sequence, stored_at)) = own.stored else { return unconfirmed };
        if let Some(receipt) = own.acknowledged.get(&life.to_bytes()) {
            return Confirmation::Applied(*receipt);
        }
        // A beat that names a later position than its own was sent in a stream that has gone back.
        let applied = member.applied;
        let is_later = (sequence..member.sequence).contains(&applied.sequence);
        if is_later && applied.epoch == self.reading.epoch() {
            return Confirmation::Applied(None);
        }
        if member.is_gone() {
            return Confirmation::Gone;
        }
        // The lease of this node proves that the stream it reads goes on after the operation.
        let silent_since = if from_beat { own.announced } else { stored_at };
        let silent_for = on_any_clock(member.lease);
        let is_silent = member.sequence < sequence && self.now >= silent_since + silent_for;
        let has_lease = self.now < self.lease_until();
        let is_closed = member.policy == LostLease::Closed || any_policy;
        if is_silent && has_lease && is_closed {
            Confirmation::Expired(silent_since + silent_for)
        } else {
            unconfirmed
        }
    }
}
