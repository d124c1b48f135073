//! The lives that beat in the stream, and what is known of each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use seal::Incarnation;
use session::Position;
use session::{NodeName, Receipt};

use super::{Now, on_any_clock};
use crate::message::{Beat, Tag};
use session::LostLease;

/// How long a life without a beat is remembered: for longer than the longest lease, an hour, on any
/// clock, and as long as the stream keeps its last beat.
const REMEMBERED: Duration = Duration::from_secs(2 * 3600);

/// How long to wait for operations that another life was asked for. Each further time takes twice
/// as long: thousands of operations take their time, and to ask for them again would take more.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The longest time between two questions. A node without the answer has no lease, so it is a lease
/// at most.
const ASK_LATER: Duration = Duration::from_secs(8);

/// Limit of operation numbers of one life that are kept beyond a missing one.
const OUT_OF_ORDER: usize = 65_536;

/// Why a node cannot send payload of a revoked session any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// It has applied the revocation.
    Applied(Option<Receipt>),
    /// Its lease has expired by this time of this node, and without one it sends nothing.
    Expired(Now),
    /// Its process has ended, or it has left with all connections closed.
    Gone,
    /// It may still send payload, for one of the reasons that its policy allows.
    Unconfirmed(LostLease),
}

/// All lives.
#[derive(Default)]
pub(super) struct Members(BTreeMap<[u8; Incarnation::BYTES], Member>);

/// What is known of one life.
pub(super) struct Member {
    pub(super) node: NodeName,
    /// The newest version of messages that it reads.
    version: u32,
    /// The number of its last beat.
    count: u64,
    /// The sequence of its last beat.
    pub(super) sequence: u64,
    /// When that beat was applied here.
    received: Now,
    pub(super) lease: Duration,
    pub(super) policy: LostLease,
    /// Up to where it had applied the stream when it sent its last beat.
    pub(super) applied: Position,
    settled: u64,
    has_history: bool,
    /// It has left.
    left: bool,
    /// A later life of its node has said that it has ended. If it beats all the same, two processes
    /// use copies of one folder.
    ended: bool,
    numbers: Numbers,
    asked: Option<Asked>,
}

/// A life was asked for its operations after a number.
struct Asked {
    after: u64,
    /// When it is asked again, unless it has answered.
    again: Now,
    /// How long it has to answer.
    wait: Duration,
}

/// What a beat has changed.
#[derive(Default)]
pub(super) struct News {
    /// The life was not known.
    pub(super) is_new: bool,
    /// A life has ended.
    pub(super) gone: bool,
    /// Operations of the life are missing here.
    pub(super) is_missing: bool,
}

/// Which operations of a life are applied here.
#[derive(Default)]
struct Numbers {
    /// All up to this one.
    upto: u64,
    /// Some beyond.
    beyond: BTreeSet<u64>,
}

impl Numbers {
    fn has(&self, number: u64) -> bool {
        number <= self.upto || self.beyond.contains(&number)
    }

    fn add(&mut self, number: u64) {
        if number > self.upto && self.beyond.len() < OUT_OF_ORDER {
            self.beyond.insert(number);
        }
        while self.beyond.first().is_some_and(|first| *first <= self.upto + 1) {
            self.upto = self.upto.max(self.beyond.pop_first().unwrap_or_default());
        }
    }

    fn fill(&mut self, upto: u64) {
        self.upto = self.upto.max(upto);
        self.add(0);
    }
}

impl Members {
    /// Takes a beat that was applied now.
    pub(super) fn beat(&mut self, beat: &Beat, sequence: u64, now: Now) -> News {
        let mut news = News::default();
        for ended in &beat.ends {
            if let Some(member) = self.0.get_mut(&ended.to_bytes()) {
                news.gone |= !member.is_gone();
                member.ended = true;
            }
        }
        let life = beat.life.to_bytes();
        news.is_new = !self.0.contains_key(&life);
        let member = self.0.entry(life).or_insert_with(|| Member {
            node: beat.node.clone(),
            version: beat.version,
            count: 0,
            sequence,
            received: now,
            lease: beat.lease,
            policy: beat.policy,
            applied: beat.applied,
            settled: 0,
            has_history: beat.has_history,
            left: false,
            ended: false,
            // Whatever it has published before is in the part of the stream that was read.
            numbers: Numbers { upto: beat.settled, beyond: BTreeSet::new() },
            asked: None,
        });
        // A beat that somebody has stored again may have taken the place of a later one, so it
        // counts like that one. It does not prove that a life has not ended.
        if beat.count > member.count {
            member.count = beat.count;
            member.ended = false;
        }
        member.sequence = member.sequence.max(sequence);
        member.received = now;
        member.lease = beat.lease;
        member.policy = beat.policy;
        member.applied = beat.applied;
        member.settled = member.settled.max(beat.settled);
        member.has_history |= beat.has_history;
        news.gone |= beat.leaving && !member.left;
        member.left |= beat.leaving;
        news.is_missing = member.is_missing();
        news
    }

    /// Forgets the sequences of beats: they belong to a stream that is gone. The lives stay.
    pub(super) fn forget_sequences(&mut self) {
        for member in self.0.values_mut() {
            member.sequence = 0;
            member.applied = Position::default();
        }
    }

    pub(super) fn forget_old(&mut self, now: Now) {
        self.0.retain(|_, member| now.saturating_sub(member.received) < REMEMBERED);
    }

    pub(super) fn get(&self, life: Incarnation) -> Option<&Member> {
        self.0.get(&life.to_bytes())
    }

    /// Returns the lives that may have a lease.
    pub(super) fn live(&self, now: Now) -> impl Iterator<Item = (&NodeName, Incarnation)> {
        let live = self.0.iter().filter(move |(_, member)| member.is_live(now));
        live.map(|(life, member)| (&member.node, Incarnation::from_bytes(*life)))
    }

    /// Returns the newest version of messages that each live member reads.
    pub(super) fn versions(&self, now: Now) -> impl Iterator<Item = u32> {
        self.0.values().filter(move |member| member.is_live(now)).map(|member| member.version)
    }

    /// Returns the lives that may serve sessions: those that may have a lease, and those that go on
    /// without one.
    pub(super) fn serving(&self, now: Now) -> impl Iterator<Item = (&NodeName, Incarnation)> {
        let serving = self.0.iter().filter(move |(_, member)| {
            !member.is_gone() && (member.policy != LostLease::Closed || member.is_live(now))
        });
        serving.map(|(life, member)| (&member.node, Incarnation::from_bytes(*life)))
    }

    /// Returns the place of a life among all that may be running, and how many those are.
    pub(super) fn rank(&self, me: Incarnation) -> (usize, usize) {
        let me = me.to_bytes();
        let others = self.0.iter().filter(|(life, member)| !member.is_gone() && **life != me);
        let before = others.clone().filter(|(life, _)| **life < me);
        (before.count(), others.count() + 1)
    }

    /// Returns whether a live member has a history.
    pub(super) fn any_with_history(&self, now: Now) -> bool {
        self.0.values().any(|member| member.has_history && member.is_live(now))
    }

    /// Returns whether this is an operation of a known life that was never applied here.
    pub(super) fn is_new(&self, tag: Tag) -> bool {
        let member = self.0.get(&tag.life.to_bytes()).filter(|_| tag.number < Tag::REPAIRS);
        member.is_some_and(|member| !member.numbers.has(tag.number))
    }

    /// Records that an operation is applied here.
    pub(super) fn has_applied(&mut self, tag: Tag) {
        if let Some(member) = self.0.get_mut(&tag.life.to_bytes())
            && tag.number < Tag::REPAIRS
        {
            member.numbers.add(tag.number);
        }
    }

    /// Records that all operations of a life up to this number are applied here.
    pub(super) fn complete(&mut self, life: Incarnation, upto: u64, now: Now) {
        let Some(member) = self.0.get_mut(&life.to_bytes()) else { return };
        member.numbers.fill(upto);
        match &mut member.asked {
            // A part of the answer, and others follow.
            Some(asked) if asked.after == upto => asked.again = now + asked.wait,
            _ => member.asked = None,
        }
    }

    /// Returns whether operations of a live member are missing here.
    pub(super) fn is_behind(&self, now: Now, me: Incarnation) -> bool {
        self.0
            .iter()
            .any(|(life, member)| *life != me.to_bytes() && member.is_live(now) && member.is_missing())
    }

    /// Returns the lives to ask for missing operations, with the number after which they are
    /// missing.
    pub(super) fn ask(&mut self, now: Now, me: Incarnation) -> Vec<(Incarnation, u64)> {
        let mut ask = Vec::new();
        for (life, member) in &mut self.0 {
            if *life == me.to_bytes() || !member.is_live(now) || !member.is_missing() {
                continue;
            }
            let after = member.numbers.upto;
            let before = member.asked.as_ref().filter(|asked| asked.after == after);
            if before.is_none_or(|asked| asked.again <= now) {
                let wait = before.map_or(ASK_AGAIN, |asked| ASK_LATER.min(member.lease).min(asked.wait * 2));
                member.asked = Some(Asked { after, again: now + wait, wait });
                ask.push((Incarnation::from_bytes(*life), after));
            }
        }
        ask
    }

    /// Returns whether this life was asked for its operations after this number.
    pub(super) fn has_asked(&self, life: Incarnation, after: u64) -> bool {
        let asked = self.0.get(&life.to_bytes()).and_then(|member| member.asked.as_ref());
        asked.is_some_and(|asked| asked.after == after)
    }
}

impl Member {
    fn is_live(&self, now: Now) -> bool {
        !self.is_gone() && now < self.received + on_any_clock(self.lease)
    }

    /// Returns whether the life has sent a beat lately.
    pub(super) fn seems_well(&self, now: Now) -> bool {
        now < self.received + self.lease * 2 / 5
    }

    pub(super) fn is_gone(&self) -> bool {
        self.left || self.ended
    }

    fn is_missing(&self) -> bool {
        self.settled > self.numbers.upto
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ServedDefinitions;

    const LEASE: Duration = Duration::from_secs(3600);

    fn beat(life: Incarnation) -> Beat {
        Beat {
            version: 1,
            life,
            node: NodeName::from("n"),
            count: 1,
            applied: Position::default(),
            newest: 0,
            settled: 0,
            pending: 0,
            lease: LEASE,
            policy: LostLease::Closed,
            ends: Vec::new(),
            has_history: true,
            leaving: false,
            definitions: ServedDefinitions::default(),
        }
    }

    #[test]
    fn a_silent_life_is_remembered_for_longer_than_any_lease() {
        let life = Incarnation::from_bytes([2; Incarnation::BYTES]);
        let mut members = Members::default();
        let begin = Duration::from_secs(100);
        members.beat(&beat(life), 1, begin);
        let expired = begin + on_any_clock(LEASE);
        members.forget_old(expired);
        assert!(members.get(life).is_some_and(|member| !member.is_live(expired)));
        members.forget_old(begin + REMEMBERED);
        assert!(members.get(life).is_none());
    }

    /// No node waits for it any more, although its lease would last.
    #[test]
    fn a_life_that_has_left_or_ended_has_no_lease() {
        let [one, other, next] = [1, 2, 3].map(|byte| Incarnation::from_bytes([byte; Incarnation::BYTES]));
        let mut members = Members::default();
        let now = Duration::from_secs(100);
        let is_live = |members: &Members, life| members.get(life).is_some_and(|member| member.is_live(now));
        members.beat(&beat(one), 1, now);
        members.beat(&beat(other), 2, now);
        assert!(is_live(&members, one) && is_live(&members, other));
        assert!(members.beat(&Beat { count: 2, leaving: true, ..beat(one) }, 3, now).gone);
        assert!(members.beat(&Beat { ends: vec![other], ..beat(next) }, 4, now).gone);
        assert!(!is_live(&members, one) && !is_live(&members, other) && is_live(&members, next));
        // A beat that somebody has stored again brings neither back.
        members.beat(&beat(one), 5, now);
        members.beat(&beat(other), 6, now);
        assert!(!is_live(&members, one) && !is_live(&members, other));
    }
}
