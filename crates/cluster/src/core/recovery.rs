//! What a node does when it starts, and when the stream is new or has lost messages.
//!
//! A node keeps every operation in its own log, so the nodes repair the stream, not the other way
//! round. The union of what they know is safe: it can only revoke too much.

use std::time::Duration;

use seal::Incarnation;
use session::{Epoch, Position};

use super::sharing::Sharing;
use super::{Action, Core, Lost, Now, StreamState, on_any_clock};
use crate::flaw::Flaw;
use crate::message::{Content, Shared, Stored};

/// How long to wait before the stream is inspected again.
const INSPECT_AGAIN: Duration = Duration::from_millis(500);

/// How long the stream must seem to have lost messages before a node believes it. A leader that was
/// just elected may not count the last messages yet, and a server that lags behind answers for the
/// beats; both have been seen to make up for it within a second.
const BEHIND: Duration = Duration::from_secs(2);

/// A beat that is stored later than this after the newest message that its sender knew was late, in
/// milliseconds. An election takes 4 s at least, and nodes beat each 2 s.
const LATE: u64 = 3_500;

/// How far the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It asks NATS for the state of the stream.
    Inspecting,
    /// It does not join yet, and asks again.
    Waiting(WaitsFor),
    /// It reads the stream up to this sequence, which was the last one.
    CatchingUp { last: u64 },
    /// It publishes what the stream lacks.
    Sharing,
    /// It follows the stream.
    Following,
}

/// Why a node does not join yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// The stream is new, and an operator or another node has to say that nothing is missing.
    Adoption,
    /// Another node has sent a beat that is not authentic: it has another cookie, so neither would
    /// learn of the revocations of the other.
    Cookie,
}

/// The state of the recovery.
pub(super) struct Recovery {
    phase: Phase,
    inspected: Option<Now>,
    /// Inspection is asked for, and not answered yet.
    inspecting: bool,
    /// What the node had read when it asked: what came meanwhile may be missing in the answer.
    asked: Read,
    /// Since when the stream has seemed to have lost messages that this node has read.
    behind_since: Option<Now>,
    /// The position that the log had at the start.
    stored: Position,
    /// The node has known a stream of this cluster completely.
    has_history: bool,
    /// What the stream has, from the first message that is read until everything it lacks is
    /// published; `None` if it lacks nothing.
    pub(super) sharing: Option<Sharing>,
    /// How often the stream had to be brought up to date.
    recoveries: u64,
    /// Another life of the name of this node, which may have ended.
    suspect: Option<Suspect>,
    /// The node has followed the stream, so its name is its own.
    has_followed: bool,
}

/// What a node knows of the stream.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    /// It has read everything up to this sequence.
    taken: u64,
    /// The last sequence that it has heard of.
    known: u64,
    /// Its last beat.
    beat: u64,
}

/// A life whose last beat was in the stream when this one began.
struct Suspect {
    life: Incarnation,
    /// The sequence of that beat.
    beat: u64,
    since: Now,
}

impl Recovery {
    pub(super) fn new(stored: Position) -> Self {
        let has_history = stored.epoch != Epoch::default();
        let phase = Phase::Inspecting;
        Self {
            phase,
            inspected: None,
            inspecting: true,
            asked: Read::default(),
            behind_since: None,
            stored,
            has_history,
            sharing: None,
            recoveries: 0,
            suspect: None,
            has_followed: false,
        }
    }

    /// Returns whether messages of the stream can be taken.
    pub(super) fn is_reading(&self) -> bool {
        !matches!(self.phase, Phase::Inspecting | Phase::Waiting(_))
    }

    /// Records what the stream has of an id.
    pub(super) fn has_read(&mut self, shared: &Shared, now: Now) {
        if let Some(sharing) = &mut self.sharing {
            sharing.has_read(shared, now);
        }
    }

    pub(super) fn is_catching_up(&self) -> bool {
        matches!(self.phase, Phase::CatchingUp { .. })
    }

    pub(super) fn is_following(&self) -> bool {
        self.phase == Phase::Following
    }

    /// Returns whether everything in the log is compared with the stream.
    pub(super) fn is_sharing(&self) -> bool {
        self.sharing.is_some()
    }

    /// Returns what the node waits for before it reads the stream.
    pub(super) fn waits_for(&self) -> Option<WaitsFor> {
        match self.phase {
            Phase::Waiting(what) => Some(what),
            _ => None,
        }
    }

    /// Returns whether own operations may be published.
    pub(super) fn may_publish(&self) -> bool {
        matches!(self.phase, Phase::Following | Phase::Sharing)
    }

    /// Returns whether the node has a log of an earlier life of the cluster.
    pub(super) fn has_history(&self) -> bool {
        self.has_history
    }
}

impl Core {
    pub(super) fn tick_recovery(&mut self) {
        let waits =
            matches!(self.recovery.phase, Phase::Inspecting | Phase::Waiting(_)) || self.reading.in_doubt;
        let due = self.recovery.inspected.is_none_or(|at| self.now >= at + INSPECT_AGAIN);
        if waits && due && !self.recovery.inspecting {
            self.recovery.inspecting = true;
            let (taken, known) = (self.reading.taken(), self.reading.target());
            self.recovery.asked = Read { taken, known, beat: self.last_beat() };
            self.act(Action::Inspect);
        }
    }

    pub(super) fn not_inspected(&mut self) {
        self.recovery.inspecting = false;
        self.recovery.inspected = Some(self.now);
    }

    pub(super) fn inspected(&mut self, stream: StreamState) {
        self.not_inspected();
        self.heard();
        if self.recovery.is_reading() {
            self.inspected_again(&stream);
            return;
        }
        if self.has_other_cookie(&stream) {
            self.wait_for(WaitsFor::Cookie);
            return;
        }
        if self.may_be_duplicate(&stream) {
            return;
        }
        for message in &stream.beats {
            if let Content::Beat(beat) = &message.content
                && message.position.epoch == stream.epoch
            {
                self.members.beat(beat, message.position.sequence, self.now);
            }
        }
        let has_history = self.recovery.has_history();
        if !stream.adopted && !has_history && !self.members.any_with_history(self.now) {
            self.wait_for(WaitsFor::Adoption);
            return;
        }
        let position = self.recovery.stored;
        let trusted = position.epoch == stream.epoch
            && stream.last >= position.sequence
            && self.has_beaten_after(position, &stream);
        // A position that cannot be trusted means that the stream may have lost what the log has.
        let has_read = has_history || position.sequence == u64::MAX;
        let may_lack = has_read && !trusted || self.me.replaces_cookie;
        let shares = may_lack && !self.has(Flaw::NoRepair);
        self.recovery.recoveries += u64::from(shares);
        self.recovery.sharing = shares.then(|| Sharing::new(self.recovery.recoveries));
        // How long ago a message was stored is counted from then, at least.
        let newest = stream.beats.iter().map(|beat| beat.stored_at).max().unwrap_or_default().max(stream.now);
        let from = if trusted && !shares { position.sequence } else { 0 };
        self.reading.begin(stream.epoch, from, stream.last, newest);
        self.recovery.phase = Phase::CatchingUp { last: stream.last };
    }

    fn wait_for(&mut self, what: WaitsFor) {
        let phase = Phase::Waiting(what);
        if self.recovery.phase != phase {
            self.recovery.phase = phase;
            self.act(Action::Waits(what));
        }
    }

    /// Takes a beat that is not authentic. Of two nodes with different cookies that begin together,
    /// one reads the other's beat before its own has come back.
    pub(super) fn forged_beat(&mut self, stored_at: u64) {
        let is_young = self.reading.age(stored_at) < on_any_clock(self.me.lease);
        if is_young && !self.lease.was_held() {
            self.wait_for(WaitsFor::Cookie);
            self.join_again();
        }
    }

    /// Returns whether a node that has another cookie seems to run. Only a node that has not had a
    /// lease asks, so that forged beats cannot stop others.
    fn has_other_cookie(&self, stream: &StreamState) -> bool {
        let lease = on_any_clock(self.me.lease);
        let is_young = |stored_at| Duration::from_millis(stream.now.saturating_sub(stored_at)) < lease;
        let mut beats = stream.beats.iter();
        let forged = |beat: &Stored| matches!(beat.content, Content::Forged(_)) && is_young(beat.stored_at);
        !self.lease.was_held() && beats.any(forged)
    }

    /// Returns whether another life of this node's name may be running. It runs if it beats again,
    /// and does not if it has not beaten for its lease: a beat stays in the stream for longer than
    /// the process that has sent it runs, and only lives that this one knows are known to have
    /// ended.
    fn may_be_duplicate(&mut self, stream: &StreamState) -> bool {
        let other = stream.beats.iter().find_map(|message| match &message.content {
            Content::Beat(beat)
                if message.position.epoch == stream.epoch
                    && !beat.is_stale(message.stored_at)
                    && beat.node == self.me.node
                    && beat.life != self.me.life
                    && !self.me.earlier.contains(&beat.life)
                    && !beat.leaving =>
            {
                Some((beat.life, message.position.sequence, beat.lease))
            }
            _ => None,
        });
        let Some((life, beat, lease)) = other.filter(|_| !self.recovery.has_followed) else { return false };
        let since = match &self.recovery.suspect {
            Some(suspect) if suspect.beat == beat && suspect.life == life => suspect.since,
            Some(_) => {
                self.act(Action::Duplicate(life));
                return true;
            }
            None => self.now,
        };
        self.recovery.suspect = Some(Suspect { life, beat, since });
        self.now < since + on_any_clock(lease)
    }

    /// The stream may be another one; this is its state.
    fn inspected_again(&mut self, stream: &StreamState) {
        let own = stream.beats.iter().find_map(|message| match &message.content {
            Content::Beat(beat) if beat.life == self.me.life => Some(message.position.sequence),
            _ => None,
        });
        // The stream lacks messages that this node has read.
        let asked = self.recovery.asked;
        let is_shorter = stream.last < asked.taken;
        let lacks_beat = own.unwrap_or_default() < asked.beat;
        let is_other = stream.epoch != self.reading.epoch();
        if (is_other || is_shorter || lacks_beat) && !(is_other && self.has(Flaw::NoEpoch)) {
            let since = *self.recovery.behind_since.get_or_insert(self.now);
            if !is_other && self.now < since + BEHIND {
                // Inspected again soon; no beat renews the lease before that.
                self.reading.in_doubt = true;
            } else if !self.has(Flaw::NoRollback) {
                self.rolled_back(match (is_other, is_shorter) {
                    (true, _) => "it is another stream",
                    (_, true) => "its last message is an earlier one than was read",
                    (false, false) => "the last beat of this node is missing",
                });
            }
            return;
        }
        if self.catches_up_from_log() && !self.has_beaten_after(self.recovery.stored, stream) {
            self.rolled_back("what proved the position of the log is missing");
            return;
        }
        self.recovery.behind_since = None;
        self.reading.in_doubt = false;
        self.reading.compare();
        if stream.last < asked.known {
            self.reading.expect_no_more_than(stream.last, asked.known);
        }
        if let Phase::CatchingUp { last } = &mut self.recovery.phase {
            *last = (*last).min(stream.last);
        }
        self.lease_is_due();
    }

    /// The node has heard nothing for long: it inspects the stream before it renews its lease.
    pub(super) fn suspect(&mut self) {
        if self.recovery.is_reading() {
            self.reading.in_doubt = true;
            self.publishing.rereading.is_due();
            self.lease.forget_beats();
        }
    }

    /// Returns whether the node catches up from the position of its log. It has read nothing before
    /// it that could be compared, so a stream that has gone back meanwhile, and grown again past
    /// the position, shows only in that it does not prove the position any more.
    fn catches_up_from_log(&self) -> bool {
        let recovery = &self.recovery;
        let has_position = recovery.sharing.is_none() && (1..u64::MAX).contains(&recovery.stored.sequence);
        recovery.is_catching_up() && has_position && !self.has(Flaw::NoRepair)
    }

    /// Returns whether the position of the log is to be proved again before the node follows the
    /// stream: since it was, the stream may have gone back, and may have grown again past it. What
    /// was stored up to there meanwhile would never be read.
    fn doubts_log(&self) -> bool {
        self.reading.in_doubt && self.catches_up_from_log()
    }

    /// Returns whether the last beat of this node shows that the stream still is the one in which
    /// the node had this position: a stream that went back has lost that beat too. A beat that was
    /// stored late shows nothing, since the stream may have gone back while it was on its way.
    fn has_beaten_after(&self, position: Position, stream: &StreamState) -> bool {
        stream.beats.iter().any(|message| match &message.content {
            Content::Beat(beat) => {
                beat.node == self.me.node
                    && message.stored_at.saturating_sub(beat.newest) < LATE
                    && beat.applied.epoch == position.epoch
                    && (position.sequence..message.position.sequence).contains(&beat.applied.sequence)
            }
            _ => false,
        })
    }

    pub(super) fn advance_recovery(&mut self) {
        match self.recovery.phase {
            Phase::CatchingUp { last } if self.reading.applied() >= last && !self.doubts_log() => {
                if self.recovery.sharing.is_some() {
                    self.recovery.phase = Phase::Sharing;
                    self.begin_sharing();
                } else {
                    self.follow();
                }
            }
            Phase::Sharing => self.advance_sharing(),
            _ => {}
        }
    }

    pub(super) fn follow(&mut self) {
        self.recovery.phase = Phase::Following;
        self.recovery.sharing = None;
        self.recovery.has_history = true;
        self.recovery.has_followed = true;
        self.recovery.stored = self.reading.position();
        self.lease_is_due();
    }

    /// The stream has lost messages, or is another one. Until this node has published what it knows
    /// and has read everything, it has no lease.
    pub(super) fn rolled_back(&mut self, why: &'static str) {
        self.recovery.behind_since = None;
        self.act(Action::RolledBack(why));
        self.close_fence(Lost::Rollback);
        self.join_again();
        self.members.forget_sequences();
        self.publish_again();
        // Whatever is read now may be missing parts, so the position is not trusted.
        self.recovery.stored = Position { sequence: u64::MAX, ..self.reading.position() };
        self.recovery.phase = Phase::Inspecting;
        self.recovery.inspecting = true;
        self.reading.in_doubt = false;
        self.reading.abandon();
        self.act(Action::Inspect);
    }
}

#[cfg(test)]
mod tests;
