//! The lease: the own beat that comes back through the stream renews it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use seal::Incarnation;
use session::Position;

use super::{Action, Core, Identity, Lost, Now, on_any_clock};
use crate::flaw::Flaw;
use crate::message::Beat;

/// The longest interval of beats.
const BEAT: Duration = Duration::from_secs(2);

/// The shortest interval of beats that are sent because something has changed.
const BEAT_AGAIN: Duration = Duration::from_millis(50);

/// How long no own beat may come back before the node connects to another server.
const SILENCE: Duration = Duration::from_secs(3);

/// Limit of beats whose times of sending are kept.
const IN_FLIGHT: usize = 64;

/// The beats of this node, and its lease.
pub(super) struct Lease {
    every: Duration,
    count: u64,
    /// When each beat was sent. Kept here: nothing that comes over the network can change it.
    sent: BTreeMap<u64, Now>,
    last_sent: Option<Now>,
    last_returned: Now,
    last_rotated: Now,
    /// A beat is to be sent soon.
    due: bool,
    until: Now,
    join: Join,
    left: bool,
}

/// How far a node is with joining.
#[derive(Debug, PartialEq, Eq)]
enum Join {
    /// It has not seen a beat of its own in this stream.
    Out,
    /// It waits for a beat of each of these, stored after its own first one.
    Waiting { after: u64, lives: BTreeSet<[u8; Incarnation::BYTES]> },
    /// Its beats renew the lease.
    In,
}

impl Lease {
    pub(super) fn new(me: &Identity, now: Now) -> Self {
        Self {
            every: BEAT.min(me.lease / 5),
            count: 0,
            sent: BTreeMap::new(),
            last_sent: None,
            last_returned: now,
            last_rotated: now,
            due: false,
            until: Duration::ZERO,
            join: Join::Out,
            left: false,
        }
    }

    pub(super) fn last_returned(&self) -> Now {
        self.last_returned
    }

    /// Beats that are on their way renew nothing any more.
    pub(super) fn forget_beats(&mut self) {
        self.sent.clear();
    }
}

impl Core {
    /// Returns until when the node has a lease, on its own clock.
    pub fn lease_until(&self) -> Now {
        self.lease.until
    }

    pub(super) fn tick_lease(&mut self) {
        if !self.recovery.is_following() || self.lease.left {
            self.lease.last_returned = self.now;
            return;
        }
        if self.lease.last_sent.is_none_or(|sent| self.now >= sent + self.lease.every) {
            self.lease.due = true;
        }
        let quiet_since = self.lease.last_returned.max(self.lease.last_rotated);
        if self.now >= quiet_since + SILENCE {
            self.lease.last_rotated = self.now;
            self.act(Action::Rotate);
        }
        for (life, after) in self.members.ask(self.now, self.me.life) {
            let message = crate::message::Direct::Missing { life: self.me.life, after };
            self.act(Action::Send { to: life, message });
        }
        self.members.forget_old(self.now);
    }

    pub(super) fn advance_lease(&mut self) {
        if let Join::Waiting { after, lives } = &mut self.lease.join {
            let (members, now, after) = (&self.members, self.now, *after);
            lives.retain(|life| {
                let life = Incarnation::from_bytes(*life);
                members.live(now).any(|(_, live)| live == life)
                    && members.get(life).is_none_or(|member| member.sequence <= after)
            });
            if lives.is_empty() {
                self.lease.join = Join::In;
                self.lease.due = true;
            }
        }
        let again = self.lease.last_sent.is_none_or(|sent| self.now >= sent + BEAT_AGAIN);
        if self.lease.due && again && self.recovery.is_following() && !self.lease.left {
            self.send_beat(false);
        }
    }

    fn send_beat(&mut self, leaving: bool) {
        let lease = &mut self.lease;
        lease.due = false;
        lease.count += 1;
        lease.last_sent = Some(self.now);
        lease.sent.insert(lease.count, self.now);
        while lease.sent.len() > IN_FLIGHT {
            lease.sent.pop_first();
        }
        let beat = Beat {
            life: self.me.life,
            node: self.me.node.clone(),
            count: lease.count,
            applied: self.reading.position(),
            settled: self.publishing.settled(),
            pending: self.publishing.pending() as u64,
            lease: self.me.lease,
            policy: self.me.policy,
            ends: self.me.earlier.into_iter().collect(),
            has_history: self.recovery.has_history(),
            leaving,
        };
        self.act(Action::Beat(beat));
    }

    /// Takes a beat that was applied in its order.
    pub(super) fn beat_applied(&mut self, beat: &Beat, position: Position) {
        if position.epoch != self.reading.epoch() && !self.has(Flaw::NoEpoch) {
            return;
        }
        let new = self.members.beat(beat, position.sequence, self.now);
        let is_own =
            beat.life == self.me.life || (self.has(Flaw::BeatOfOlderLife) && beat.node == self.me.node);
        if is_own {
            self.own_beat(beat, position.sequence);
        } else if new && beat.count == 1 {
            // It waits for a beat of each member before its first lease.
            self.lease.due = true;
        }
    }

    fn own_beat(&mut self, beat: &Beat, sequence: u64) {
        self.lease.last_returned = self.now;
        if !self.recovery.is_following() || self.lease.left {
            return;
        }
        if self.lease.join == Join::Out {
            let me = self.me.life;
            let at_once = self.has(Flaw::JoinAtOnce);
            let others = self.members.live(self.now).filter(|(_, life)| *life != me && !at_once);
            let lives = others.map(|(_, life)| life.to_bytes()).collect();
            self.lease.join = Join::Waiting { after: sequence, lives };
            self.advance_lease();
        }
        let sent = if self.has(Flaw::LeaseFromReturn) || beat.life != self.me.life {
            Some(self.now)
        } else {
            self.lease.sent.remove(&beat.count)
        };
        let missing = self.members.is_behind(self.now, self.me.life) && !self.has(Flaw::NoNumbers);
        let Some(sent) = sent.filter(|_| self.lease.join == Join::In) else { return };
        if missing || self.reading.in_doubt {
            return;
        }
        let first = self.lease.until == Duration::ZERO;
        self.lease.until = self.lease.until.max(sent + self.me.lease);
        self.act(Action::Extend(self.lease.until));
        if first {
            self.act(Action::Joined);
        }
    }

    /// Sends a beat soon.
    pub(super) fn lease_is_due(&mut self) {
        self.lease.due = true;
    }

    /// Gives up the lease. A later beat renews it.
    pub(super) fn close_fence(&mut self, why: Lost) {
        self.lease.forget_beats();
        if self.lease.until > Duration::ZERO {
            self.lease.until = Duration::ZERO;
            self.act(Action::CloseFence(why));
        }
    }

    /// The stream is another one: the node joins it as if it had just started.
    pub(super) fn join_again(&mut self) {
        self.lease.forget_beats();
        self.lease.join = Join::Out;
    }

    /// Leaves: nobody has to wait for this node any more.
    pub(super) fn leave(&mut self) {
        self.close_fence(Lost::Leaving);
        if !self.lease.left {
            self.send_beat(true);
            self.lease.left = true;
        }
    }
}

/// Returns how long after the storing of an operation a silent life has no lease any more.
pub(super) fn expires_within(lease: Duration, flawed: bool) -> Duration {
    if flawed { lease } else { on_any_clock(lease) }
}
