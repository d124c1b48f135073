//! The invariants of the cluster, judged while the simulation runs and at its end.
//!
//! 1, 2, 5, 8 and 9 assume that the stream is one log. After a fault that loses acknowledged
//! messages they are not judged: a node may have a lease by a stream that lacks a revocation, and a
//! longer end may come back later than a shorter one. What holds then is that everybody has
//! everything in the end (3, 4), and that leases come from own beats alone (part of 5). 10 concerns
//! events, which do not pass through the core.

mod end;

use std::collections::BTreeMap;

use seal::Incarnation;
use session::{Mode, Position, RevocationId};

use super::driver::{id_of, session_of};
use super::log::{State, bound_of};
use super::plan::{AGES, Class, Order, Plan, SESSIONS, Wish, micros};
use super::stream::Subject;
use super::world::{Event, World};
use super::{MILLIS, Micros, SECOND, STEP};
use crate::core::{Lost, on_any_clock};
use crate::flaw::Flaw;
use crate::message::{Content, Tag};
use session::LostLease;
use session::Operation;

/// How much the end of a revocation may differ from what was promised.
const SLACK: Micros = 2 * SECOND;

/// A revocation that a node has accepted.
struct Obligation {
    order: usize,
    id: RevocationId,
    session: usize,
    mode: Mode,
    /// Up to which age of tokens.
    bound: u64,
    accepted: Micros,
    /// Until then it must be in force.
    until: Micros,
    stored: Option<Micros>,
    /// Which change of its id it was stored as.
    revision: u32,
    complete: Option<Micros>,
    /// It was answered with 201 or 202.
    binds: bool,
    /// It was lifted, or its id stands for several revocations.
    void: bool,
    /// It was complete when a lift was ordered that was answered with 204, so that nothing of it
    /// can come back.
    over: bool,
    /// The lives that its node had forgotten when it answered.
    forgotten: Vec<Incarnation>,
}

impl Obligation {
    /// Returns the age of the youngest tokens that it selects.
    fn age(&self) -> u64 {
        self.bound.min(AGES as u64 - 1)
    }

    /// Returns when it took its id.
    fn taken(&self) -> Micros {
        self.stored.unwrap_or(self.accepted)
    }
}

/// What was promised to operators.
pub(super) struct Judge {
    class: Class,
    bound: Micros,
    policies: Vec<LostLease>,
    obligations: Vec<Obligation>,
    /// When each lift was ordered.
    lifts: BTreeMap<usize, Micros>,
    /// The status of each order.
    statuses: Vec<Option<(Micros, u16)>>,
    orders: Vec<Order>,
    lossy_from: Micros,
    /// How much earlier revocations may end.
    step: Micros,
    /// The lifts that were answered with 503, and whether each may be stored all the same.
    given_up: BTreeMap<([u8; Incarnation::BYTES], u64), bool>,
    pub(super) violation: Option<String>,
}

impl Judge {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            class: plan.class,
            bound: micros(on_any_clock(plan.lease)),
            policies: plan.policies.clone(),
            obligations: Vec::new(),
            lifts: BTreeMap::new(),
            statuses: vec![None; plan.orders.len()],
            orders: plan.orders.clone(),
            lossy_from: Micros::MAX,
            step: 0,
            given_up: BTreeMap::new(),
            violation: None,
        }
    }

    pub(super) fn violate(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }

    pub(super) fn lossy_from(&mut self, now: Micros) {
        self.lossy_from = self.lossy_from.min(now);
    }

    /// The clock of NATS has stepped forward. A node that reads a revocation later counts its age
    /// by that clock, so it expires there earlier by the step.
    pub(super) fn clock_stepped(&mut self) {
        if self.step > 0 {
            return;
        }
        self.step = STEP;
        for obligation in &mut self.obligations {
            obligation.until = obligation.until.saturating_sub(STEP);
        }
    }

    pub(super) fn is_lossy(&self, now: Micros) -> bool {
        now >= self.lossy_from
    }

    /// Returns whether nodes have accepted different revocations with this id.
    fn is_contested(&self, id: &RevocationId) -> bool {
        let mut same = self.obligations.iter().filter(|other| other.id == *id);
        let first = same.next().map(|first| (first.session, first.mode));
        same.any(|other| Some((other.session, other.mode)) != first)
    }

    /// Returns whether somebody was to lift this id. A node that has missed a lift keeps what was
    /// lifted, if the same is in force again.
    fn may_be_lifted(&self, id: &RevocationId) -> bool {
        self.lifts.keys().any(|lift| id_of(self.orders[*lift].id) == *id)
    }

    /// A node has accepted a revocation.
    pub(super) fn accepted(&mut self, order: usize, id: &RevocationId, now: Micros, what: Order) {
        let Wish::Revoke { session, validity, mode, bound, .. } = what.wish else { return };
        // A lift that is not answered yet, or may be stored after its answer, may come after it.
        let mut void = self.lifts.keys().any(|lift| {
            let status = self.statuses[*lift].map(|(_, status)| status);
            id_of(self.orders[*lift].id) == *id && !matches!(status, Some(204))
        });
        for other in self.obligations.iter_mut().filter(|other| other.id == *id && !other.over) {
            if (other.session, other.mode) != (session, mode) || other.void {
                (other.void, void) = (true, true);
            }
        }
        self.obligations.push(Obligation {
            order,
            id: id.clone(),
            session,
            mode,
            bound: bound.unwrap_or(u64::MAX),
            accepted: now,
            until: (now + validity - validity / 1000).saturating_sub(self.step),
            stored: None,
            revision: 0,
            complete: None,
            binds: false,
            void,
            over: false,
            forgotten: Vec::new(),
        });
    }

    /// A lift was answered with 503.
    pub(super) fn given_up(&mut self, life: Incarnation, number: u64, may_be_stored: bool) {
        self.given_up.insert((life.to_bytes(), number), may_be_stored);
    }

    /// A node publishes an operation.
    pub(super) fn published(&mut self, tag: Tag) {
        if self.given_up.contains_key(&(tag.life.to_bytes(), tag.number)) {
            self.violate(format!("3: {tag:?} is published after the answer 503"));
        }
    }

    /// An operator lifts an id: nothing is promised any more of what was accepted for it before.
    pub(super) fn lift_ordered(&mut self, order: usize, id: &RevocationId, now: Micros) {
        self.lifts.insert(order, now);
        for obligation in self.obligations.iter_mut().filter(|other| other.id == *id) {
            obligation.void = true;
        }
    }

    fn lifted(&mut self, order: usize) {
        let Some(ordered) = self.lifts.get(&order) else { return };
        let id = id_of(self.orders[order].id);
        for obligation in self.obligations.iter_mut().filter(|other| other.id == id) {
            obligation.over |= obligation.complete.is_some_and(|complete| complete <= *ordered);
        }
    }

    pub(super) fn answered(&mut self, order: usize, now: Micros, status: u16) {
        self.statuses[order] = Some((now, status));
        if status == 204 {
            self.lifted(order);
        }
        if self.class == Class::Calm {
            let took = now - self.orders[order].at;
            if matches!(status, 202 | 503) || took > 3 * SECOND {
                self.violate(format!("11: order {order} got {status} after {took} µs without a fault"));
            }
        }
        for obligation in self.obligations.iter_mut().filter(|other| other.order == order) {
            obligation.binds = matches!(status, 200..=202);
            if status == 201 {
                obligation.complete = Some(now);
            }
        }
        let mine = self.obligations.iter().find(|mine| mine.order == order && status == 201);
        if let Some(mine) = mine.filter(|_| !self.is_lossy(now)) {
            // An id is free again when its revocation has expired or was lifted, be it while the
            // next one waited for the stream, which decides between the two.
            let lifted =
                self.orders.iter().any(|lift| lift.id == self.orders[order].id && lift.wish == Wish::Lift);
            let conflict = self.obligations.iter().find(|other| {
                let differs = (other.session, other.mode) != (mine.session, mine.mode);
                let overlaps = mine.taken() < other.until && other.taken() < mine.until;
                other.id == mine.id && differs && overlaps && other.complete.is_some() && !lifted
            });
            if let Some(other) = conflict {
                let text = format!("9: orders {} and {order} got 201", other.order);
                self.violation.get_or_insert(text);
            }
        }
    }

    pub(super) fn lease_lost(&mut self, node: usize, now: Micros, why: Lost) {
        if self.class == Class::Calm {
            self.violate(format!("11: node {node} gives up its lease at {now} without a fault: {why:?}"));
        }
    }

    /// The state of an id was replaced on a node.
    pub(super) fn replaced(
        &mut self,
        node: usize,
        now: Micros,
        local: Micros,
        id: &RevocationId,
        before: Option<&State>,
        after: &State,
    ) {
        let Some(before) = before.filter(|before| before.is_in_force(local)) else { return };
        if self.is_lossy(now) {
            return;
        }
        for obligation in &self.obligations {
            let applies = obligation.id == *id && !obligation.void && now < obligation.until;
            if !applies {
                continue;
            }
            let left = obligation.until - now;
            // A node that catches up may have an earlier one of the same id, and then its lift.
            let knew = match obligation.stored {
                Some(_) => before.place.revision.max(before.early_revision) >= obligation.revision,
                // What came early and is not a later change than this one was another revocation.
                None => before.is_early && before.early_revision > after.place.revision,
            };
            let had = (knew || node == self.orders[obligation.order].node)
                && before.ends_for(obligation.age()) + MILLIS >= local + left;
            let has = after.is_in_force(local) && after.ends_for(obligation.age()) + SLACK >= local + left;
            if had && !has {
                let text = format!("8: node {node} shortens order {}", obligation.order);
                self.violation.get_or_insert(text);
            }
        }
    }
}

impl World {
    /// The stream has stored an operation.
    pub(super) fn judge_stored(&mut self, sequence: u64) {
        let Some(entry) = self.stream.entry(sequence) else { return };
        let Content::Operation(shared) = &entry.stored.content else { return };
        let tag = shared.tag;
        if self.judge.given_up.get(&(tag.life.to_bytes(), tag.number)) == Some(&false) {
            self.judge.violate(format!("3: {tag:?} is stored after an answer that rules it out"));
            return;
        }
        if let Some(before) = self.stream.entry(entry.replaces)
            && let Content::Operation(before) = &before.stored.content
            && before.revision >= shared.revision + u32::from(shared.tag.number >= Tag::REPAIRS)
            && !self.judge.is_lossy(self.now)
        {
            self.judge.violate(format!("9: {sequence} replaces what its sender has not seen"));
            return;
        }
        let Operation::Revoke(revocation) = &shared.operation else { return };
        let mut bounds = false;
        for obligation in &mut self.judge.obligations {
            let ends = self.now + micros(revocation.kept_for());
            let covers = obligation.session == session_of(revocation)
                && bound_of(revocation) >= obligation.bound
                && (obligation.mode == Mode::Disconnect || ends + MILLIS >= obligation.until);
            if obligation.id == *shared.id() && covers && obligation.stored.is_none() {
                obligation.stored = Some(self.now);
                obligation.revision = shared.revision;
                bounds = true;
            }
        }
        if bounds {
            self.schedule(self.now + self.judge.bound + 1, Event::Bound);
        }
    }

    /// An order is about to be answered with 201. A node that serves without a lease is waited for
    /// only while it is known: one that was silent until its beats had expired from the stream is
    /// not, if whoever answers has started since (docs/cluster.md, "forgotten").
    pub(super) fn judge_known(&mut self, order: usize) {
        self.stream.expire(self.now);
        let origin = self.plan.orders[order].node;
        let Some(origin) = &self.nodes[origin].run else { return };
        let serving = self.plan.policies.iter().map(|policy| *policy != LostLease::Closed);
        let lives = self.nodes.iter().enumerate().zip(serving).filter_map(|((node, here), serves)| {
            let life = here.run.as_ref().filter(|_| serves)?.life;
            let beat = self.stream.last_on(&Subject::Beat(node), self.stream.last());
            let beats = beat.is_some_and(|beat| match &beat.stored.content {
                Content::Beat(beat) => beat.life == life,
                _ => false,
            });
            (!beats && !origin.core.knows(life)).then_some(life)
        });
        let lives: Vec<_> = lives.collect();
        for obligation in self.judge.obligations.iter_mut().filter(|one| one.order == order) {
            obligation.forgotten.clone_from(&lives);
        }
    }

    pub(super) fn judge_all(&mut self) {
        for node in 0..self.nodes.len() {
            self.judge_node(node);
        }
    }

    /// Judges what a node can write now. Clients connect wherever they are let in.
    pub(super) fn judge_node(&mut self, node: usize) {
        let (now, no_fence) = (self.now, self.has(Flaw::NoFence));
        let policy = self.plan.policies[node];
        let here = &mut self.nodes[node];
        let local = here.local(now);
        if here.stopped {
            return;
        }
        let Some(run) = &mut here.run else { return };
        let is_open = run.joined && (local < run.fence || no_fence);
        let mut admitted = [[false; AGES]; SESSIONS];
        let mut writes = [[false; AGES]; SESSIONS];
        for (session, age) in (0..SESSIONS).flat_map(|session| (0..AGES).map(move |age| (session, age))) {
            let revoked = local < run.revoked[session][age];
            let lets_in = run.joined && !revoked && (is_open || policy == LostLease::Open);
            admitted[session][age] = lets_in;
            let connected = &mut run.connected[session][age];
            *connected = !revoked && (*connected || lets_in);
            writes[session][age] = match policy {
                LostLease::Closed => *connected && is_open,
                LostLease::ClosedNew | LostLease::Open => *connected && run.joined,
            };
        }
        if self.judge.class == Class::Calm && run.joined && !is_open {
            self.judge.violate(format!("11: node {node} holds payload without a fault"));
        }
        if self.judge.is_lossy(now) {
            return;
        }
        for obligation in &self.judge.obligations {
            if obligation.void || now >= obligation.until || obligation.mode == Mode::Disconnect {
                continue;
            }
            let (order, session) = (obligation.order, obligation.session);
            let selected = |of: &[[bool; AGES]; SESSIONS]| {
                of[session].iter().zip(0..=obligation.bound).any(|(does, _)| *does)
            };
            let is_known = !obligation.forgotten.contains(&run.life);
            if selected(&writes) && obligation.complete.is_some() && is_known {
                self.judge
                    .violation
                    .get_or_insert(format!("1: node {node} writes after 201 of order {order}"));
                return;
            }
            let bound = obligation.stored.is_some_and(|stored| now > stored + self.judge.bound);
            let breaks = match self.judge.policies[node] {
                LostLease::Closed => selected(&writes),
                LostLease::ClosedNew => selected(&admitted),
                LostLease::Open => false,
            };
            if bound && breaks {
                self.judge
                    .violation
                    .get_or_insert(format!("2: node {node} writes after the bound of order {order}"));
                return;
            }
        }
    }

    /// Judges a lease: it must come from an own beat, and everything stored before the beat must be
    /// applied.
    pub(super) fn judge_lease(&mut self, node: usize, until: Micros) {
        let lease = micros(self.plan.lease);
        let version = self.nodes[node].version;
        let Some(run) = &mut self.nodes[node].run else { return };
        let beat = run.beats.values().rev().find(|beat| beat.at + lease == until);
        let Some(Position { epoch, sequence }) = beat.and_then(|beat| beat.stored) else {
            self.judge.violate(format!("5: node {node} has a lease that no own beat gave"));
            return;
        };
        if run.core.position().epoch != epoch {
            self.judge.violate(format!("5: node {node} has a lease by a beat of another epoch"));
            return;
        }
        if self.judge.is_lossy(self.now) {
            return;
        }
        for before in run.judged + 1..sequence {
            let Some(entry) = self.stream.entry(before) else { continue };
            let Content::Operation(shared) = &entry.stored.content else { continue };
            // What has replaced it is judged in its place, and may have expired.
            if entry.replaced_by < sequence || entry.over <= self.now + self.judge.step {
                continue;
            }
            let revision = run.states.get(shared.id()).map_or(0, |state| state.place.revision);
            let accepted_anew = run.states.get(shared.id()).is_some_and(|state| state.unshared);
            if (revision < shared.revision && !accepted_anew) || entry.version > version {
                let text = format!("5: node {node} has a lease by {sequence} without applying {before}");
                self.judge.violation.get_or_insert(text);
                return;
            }
        }
        run.judged = sequence;
    }
}
