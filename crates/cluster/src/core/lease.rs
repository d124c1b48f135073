//! The lease: the own beat that comes back through the stream renews it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use seal::Incarnation;
use session::Position;

use super::{Action, Core, Identity, Lost, Now};
use crate::codec::NEWEST;
use crate::flaw::Flaw;
use crate::message::{Beat, Direct, ServedDefinitions};

/// The longest interval of beats.
const BEAT: Duration = Duration::from_secs(2);

/// The shortest interval of beats that are sent because something has changed.
const BEAT_AGAIN: Duration = Duration::from_millis(50);

/// How long no own beat may come back before the node asks for another server
/// ([`Action::Rotate`]), and inspects the stream.
const SILENCE: Duration = Duration::from_secs(3);

/// Limit of beats whose times of sending are kept.
const IN_FLIGHT: usize = 64;

/// The beats of this node, and its lease.
pub(super) struct Lease {
    every: Duration,
    count: u64,
    /// When each beat was sent. Kept here: nothing that comes over the network can change it.
    sent: BTreeMap<u64, Now>,
    /// When the last beat was sent that has come back, unless it has renewed the lease already.
    returned: Option<Now>,
    last_sent: Option<Now>,
    /// When an own beat last came back.
    last_returned: Now,
    /// When the server last showed that it works: an own beat, the state of the stream, or messages
    /// that were asked for.
    last_heard: Now,
    /// When the server last answered a publication.
    last_answer: Option<Now>,
    last_sequence: u64,
    last_rotated: Now,
    /// A beat is to be sent soon.
    due: bool,
    until: Now,
    was_held: bool,
    join: Join,
    left: bool,
    /// Another life of this node's name, and the count of its last beat.
    rival: Option<(Incarnation, u64)>,
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
            returned: None,
            last_sent: None,
            last_returned: now,
            last_heard: now,
            last_answer: None,
            last_sequence: 0,
            last_rotated: now,
            due: false,
            until: Duration::ZERO,
            was_held: false,
            join: Join::Out,
            left: false,
            rival: None,
        }
    }

    /// Returns whether this life has had a lease.
    pub(super) fn was_held(&self) -> bool {
        self.was_held
    }

    pub(super) fn last_returned(&self) -> Now {
        self.last_returned
    }

    /// Beats that are on their way renew nothing any more.
    pub(super) fn forget_beats(&mut self) {
        self.sent.clear();
        self.returned = None;
    }
}

impl Core {
    /// Returns until when the node has a lease, on its own clock.
    pub fn lease_until(&self) -> Now {
        self.lease.until
    }

    pub(super) fn tick_lease(&mut self) {
        if self.lease.left {
            return;
        }
        let quiet_since = self.lease.last_heard.max(self.lease.last_rotated);
        if self.now >= quiet_since + SILENCE {
            self.lease.last_rotated = self.now;
            if !self.is_occupied() {
                self.act(Action::Rotate);
            }
            self.suspect();
        }
        if !self.recovery.is_following() {
            self.beat_behind_expired();
            return;
        }
        if self.reading.compares.is_some() {
            self.beat_behind_expired();
        }
        if self.lease.last_sent.is_none_or(|sent| self.now >= sent + self.lease.every) {
            self.lease.due = true;
        }
        self.ask();
        self.members.forget_old(self.now);
    }

    /// The last messages may have expired, and then nothing proves that a server does not just lag
    /// behind, until there is a message behind them. If no node follows the stream, none will come.
    fn beat_behind_expired(&mut self) {
        let again = self.lease.last_sent.is_none_or(|sent| self.now >= sent + self.lease.every);
        let reads = self.recovery.is_catching_up() || self.recovery.is_following();
        let waits = reads && !self.reading.in_doubt && self.reading.is_stalled(self.now);
        if waits && again && !self.has(Flaw::WaitsForExpired) {
            self.send_beat(false);
            // It was sent before the node has read everything, so it renews nothing.
            self.lease.forget_beats();
            if self.reading.compares.is_some() {
                // It hides whether the last one was lost meanwhile, so all is compared again.
                self.reading.compare();
            }
        }
    }

    /// Returns whether no own beat can be expected yet although the server works: what has come
    /// before it is still being applied, or the server stores what the stream lacks. To connect to
    /// another server would lose what is on its way, and with many operations, without end.
    fn is_occupied(&self) -> bool {
        let stores = self.lease.last_answer.is_some_and(|at| self.now < at + SILENCE);
        self.reading.is_applying() || !self.recovery.is_following() && stores
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
        self.renew();
        let again = self.lease.last_sent.is_none_or(|sent| self.now >= sent + BEAT_AGAIN);
        // A beat in a stream that has gone back would hide that the node's last one is lost.
        let may_beat = self.recovery.is_following() && !self.reading.is_doubtful() && !self.lease.left;
        if self.lease.due && again && may_beat {
            self.send_beat(false);
        }
    }

    fn send_beat(&mut self, leaving: bool) {
        let is_current = self.recovery.is_following() && !self.reading.is_doubtful();
        let lease = &mut self.lease;
        lease.due = false;
        lease.count += 1;
        lease.last_sent = Some(self.now);
        lease.sent.insert(lease.count, self.now);
        while lease.sent.len() > IN_FLIGHT {
            lease.sent.pop_first();
        }
        let beat = Beat {
            version: NEWEST,
            life: self.me.life,
            node: self.me.node.clone(),
            count: lease.count,
            applied: self.reading.certain_position(),
            // What was sent before everything was read must not prove a position in this stream.
            newest: if is_current { self.reading.newest() } else { 0 },
            settled: self.publishing.settled(),
            pending: self.publishing.pending() as u64,
            lease: self.me.lease,
            policy: self.me.policy,
            ends: self.me.earlier.clone(),
            has_history: self.recovery.has_history(),
            leaving,
            // Filled in by the driver.
            definitions: ServedDefinitions::default(),
        };
        self.act(Action::Beat(beat));
    }

    /// Takes a beat that was applied in its order.
    pub(super) fn beat_applied(&mut self, beat: &Beat, position: Position, stored_at: u64) {
        if position.epoch != self.reading.epoch() && !self.has(Flaw::NoEpoch) {
            return;
        }
        let news = self.members.beat(beat, position.sequence, self.now);
        if news.gone {
            self.confirm_all();
        }
        if beat.life == self.me.life {
            self.own_beat(beat, position.sequence);
            return;
        }
        // A later life of this node runs on a copy of its folder.
        let is_replaced = beat.ends.contains(&self.me.life);
        if is_replaced {
            self.close_fence(Lost::Replaced);
        }
        if is_replaced || beat.node == self.me.node && self.is_rival(beat, stored_at) {
            self.act(Action::Duplicate(beat.life));
            return;
        }
        if news.is_missing && self.recovery.is_following() {
            self.ask();
        }
        if news.is_new && beat.count == 1 {
            // It waits for a beat of each member before its first lease.
            self.lease.due = true;
        }
    }

    /// Returns whether a life of this node's name runs beside this one, and this one has to stop:
    /// two that began at the same time have not seen each other before. One beat shows nothing,
    /// since it may come late from a life that has ended.
    fn is_rival(&mut self, beat: &Beat, stored_at: u64) -> bool {
        let has_ended = self.me.earlier.contains(&beat.life) || beat.leaving || beat.is_stale(stored_at);
        if has_ended || !self.recovery.is_following() {
            return false;
        }
        let before = self.lease.rival.replace((beat.life, beat.count));
        let beats_again = before.is_some_and(|(life, count)| life == beat.life && beat.count > count);
        beats_again && beat.life.to_bytes() < self.me.life.to_bytes()
    }

    /// The server has answered.
    pub(super) fn heard(&mut self) {
        self.lease.last_heard = self.now;
    }

    /// The server has stored an operation, or has one that is in conflict with it.
    pub(super) fn answered(&mut self) {
        self.lease.last_answer = Some(self.now);
    }

    /// Returns the sequence of the last own beat that came back.
    pub(super) fn last_beat(&self) -> u64 {
        self.lease.last_sequence
    }

    fn own_beat(&mut self, beat: &Beat, sequence: u64) {
        self.heard();
        self.lease.last_returned = self.now;
        self.lease.last_sequence = sequence;
        if !self.recovery.is_following() || self.lease.left {
            return;
        }
        if self.lease.join == Join::Out {
            let me = self.me.life;
            let others = self.members.live(self.now).filter(|(_, life)| *life != me);
            let lives = others.map(|(_, life)| life.to_bytes()).collect();
            self.lease.join = Join::Waiting { after: sequence, lives };
            self.advance_lease();
        }
        let sent = if self.has(Flaw::LeaseFromReturn) {
            Some(self.now)
        } else {
            self.lease.sent.remove(&beat.count)
        };
        if sent.is_some() && self.reading.certain.take().is_some() {
            self.confirm_all();
        }
        self.lease.returned = self.lease.returned.max(sent);
        self.renew();
        self.begin_rereading();
    }

    /// Renews the lease by the last beat that came back, if nothing is missing.
    fn renew(&mut self) {
        let Some(sent) = self.lease.returned else { return };
        let missing = self.members.is_behind(self.now, self.me.life) && !self.has(Flaw::NoNumbers);
        if missing || self.reading.is_doubtful() || self.lease.join != Join::In {
            return;
        }
        self.lease.returned = None;
        let until = sent + self.me.lease;
        if until <= self.lease.until.max(self.now) {
            return;
        }
        let first = self.lease.until == Duration::ZERO;
        self.lease.until = until;
        self.lease.was_held = true;
        self.act(Action::Extend(until));
        if first {
            self.act(Action::Joined);
        }
    }

    /// Asks other lives for operations that are missing here.
    fn ask(&mut self) {
        if self.has(Flaw::NoNumbers) {
            return;
        }
        for (life, after) in self.members.ask(self.now, self.me.life) {
            let message = Direct::Missing { life: self.me.life, after };
            self.act(Action::Send { to: life, message });
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
        self.lease.last_sequence = 0;
        self.lease.join = Join::Out;
    }

    /// Leaves: no other node has to wait for this one any more.
    pub(super) fn leave(&mut self) {
        self.close_fence(Lost::Leaving);
        if !self.lease.left {
            self.send_beat(true);
            self.lease.left = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use session::{Operation, RevocationId};

    use super::*;
    use crate::core::alone::Alone;

    #[test]
    fn the_age_of_a_beat_is_that_of_an_own_one() {
        let mut node = Alone::new();
        node.pass(Duration::from_secs(4));
        assert!(node.core.beat_age().is_some_and(|age| age <= BEAT));
        // No beat is stored any more, but the node gets what others have stored.
        node.answers(false);
        for revision in 1..11 {
            let lift = Operation::Lift { id: RevocationId::new(&format!("r{revision}")).unwrap(), by: None };
            node.store_unheard(lift.clone(), revision);
            node.store_heard(lift, revision + 1);
            node.pass(Duration::from_secs(1));
        }
        assert_eq!(node.core.position().sequence, node.last, "all is applied");
        assert!(node.core.beat_age().is_some_and(|age| age >= Duration::from_secs(10)));
    }
}
