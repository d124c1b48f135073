//! What the gateway does with the actions of the core.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, SystemTime};

use session::{Mode, Operation, Receipt, Revocation, RevocationId};

use super::log::{State, bound_of};
use super::network::Request;
use super::plan::{SESSIONS, STANDING, micros};
use super::world::{Event, Run, SentBeat, Step, World, note};
use super::{MILLIS, Micros, SERVERS};
use crate::core::{Action, Input};
use crate::flaw::Flaw;
use crate::message::{Direct, Shared};
use session::{Epoch, Place, Position, SharedState, StateCursor};

/// How often the core gets the time.
const TICK: Micros = 100 * MILLIS;

/// Returns the id of an order: the first ones stand for a session, and so do the last ones.
pub(super) fn id_of(index: usize) -> RevocationId {
    let text = match index {
        0..SESSIONS => format!("blacklist/{index}"),
        STANDING.. => format!("issuer/{}", index - STANDING),
        _ => format!("r{index}"),
    };
    RevocationId::new(&text).expect("it is short")
}

/// Returns the session that a revocation selects.
pub(super) fn session_of(revocation: &Revocation) -> usize {
    revocation.selector.value().as_str().parse().unwrap_or_default()
}

fn receipt() -> Receipt {
    let applied_at = SystemTime::UNIX_EPOCH;
    Receipt { applied_at, connections: 0, requests: 0, last_payload_at: None }
}

impl World {
    /// Returns a process that runs.
    pub(super) fn running(&mut self, node: usize) -> Option<&mut Run> {
        let here = &mut self.nodes[node];
        here.run.as_mut().filter(|_| !here.stopped)
    }

    pub(super) fn later(&mut self, node: usize, after: Micros, step: Step) {
        if let Some(run) = &self.nodes[node].run {
            let run = run.number;
            self.schedule(self.now + after, Event::Process { node, run, step });
        }
    }

    pub(super) fn step(&mut self, node: usize, step: Step) {
        match step {
            Step::Tick => {
                self.feed(node, Input::Tick);
                if self.plan.refreshes && self.rng.u8(..16) == 0 {
                    self.request(node, Request::Oldest);
                }
                let jitter = self.rng.u64(..5 * MILLIS);
                self.later(node, TICK + jitter, Step::Tick);
            }
            Step::Input(input) => self.feed(node, *input),
            Step::Reply { token, input } => {
                let run = self.nodes[node].run.as_mut();
                if run.is_some_and(|run| run.pending.remove(&token)) {
                    self.feed(node, *input);
                }
            }
            Step::Enforce(operations) => self.enforce(node, operations),
            Step::Record { operations, receipts } => self.record(node, operations, receipts),
            Step::Sync => {
                let here = &mut self.nodes[node];
                if let Some(run) = &mut here.run {
                    here.disk = run.log.clone();
                    run.is_synced = true;
                }
            }
            Step::Timeout { order } => self.timeout(order),
            Step::Exit => self.exit(node),
        }
    }

    /// Gives the core an input, and does what it asks for.
    pub(super) fn feed(&mut self, node: usize, input: Input) {
        let local = self.nodes[node].local(self.now);
        if self.trace.is_some() && !matches!(input, Input::Tick) {
            let text = format!("{input:?}");
            note!(self, "{node} <- {text}");
        }
        let Some(run) = &mut self.nodes[node].run else { return };
        run.core.handle(Duration::from_micros(local), input);
        while let Some(run) = &mut self.nodes[node].run
            && let Some(action) = run.core.next_action()
        {
            if self.trace.is_some() {
                let text = format!("{action:?}");
                note!(self, "{node} -> {text}");
            }
            self.act(node, action, local);
        }
    }

    fn act(&mut self, node: usize, action: Action, local: Micros) {
        match action {
            Action::Inspect => self.request(node, Request::Inspect),
            Action::Fetch { from, .. } => self.request(node, Request::Fetch { from }),
            Action::Publish { message, expected, .. } => {
                self.judge.published(message.tag);
                self.request(node, Request::Publish { message, expected });
            }
            Action::Read { number, id, again } => self.request(node, Request::Read { number, id, again }),
            // A minute is too long here: the plan says how often.
            Action::ReadOldest => {}
            Action::ReadOld(old) => {
                let Some(run) = &self.nodes[node].run else { return };
                let states = old.into_iter().filter_map(|old| {
                    let state = run.log.states.get(&old.id).filter(|state| local < state.until)?;
                    let state = state.shared(&old.id, local);
                    Some((old, state))
                });
                let input = Input::Refresh(states.collect());
                self.later(node, MILLIS, Step::Input(Box::new(input)));
            }
            Action::Beat(beat) => {
                if let Some(run) = &mut self.nodes[node].run {
                    run.beats.insert(beat.count, SentBeat { at: local, stored: None });
                }
                self.request(node, Request::Beat(beat));
            }
            Action::Apply(operations) => {
                let takes = match self.rng.u8(..32) {
                    0 => self.rng.u64(..300 * MILLIS),
                    _ => self.rng.u64(..2 * MILLIS),
                };
                self.later(node, takes, Step::Enforce(operations));
            }
            Action::ApplyEarly(shared) => self.apply_early(node, &shared, local),
            Action::Broadcast(message) => self.send(node, None, &message),
            Action::Send { to, message } => self.send(node, Some(to), &message),
            Action::Supply { to, after, upto, ids } => {
                let Some(run) = &self.nodes[node].run else { return };
                let ids = ids.unwrap_or_else(|| run.log.states.keys().cloned().collect());
                let tag = |number| crate::message::Tag { life: run.life, number };
                let states = ids.iter().filter_map(|id| {
                    let state = run.log.states.get(id).filter(|state| local < state.until)?;
                    Some(state.shared(id, local))
                });
                let states: Vec<SharedState> = states.collect();
                let operations = states.iter().map(|SharedState { operation, revision, .. }| Shared {
                    tag: tag(0),
                    revision: *revision,
                    operation: operation.clone(),
                });
                let operations = operations.collect();
                let message = Direct::Supplied { life: run.life, after, upto, operations };
                self.send(node, Some(to), &message);
                self.feed(node, Input::Repair(states));
            }
            Action::ForgetPosition { recovery } => self.forget_position(node, recovery),
            Action::ReadStates { recovery, after } => self.read_states(node, recovery, after, local),
            Action::ShareQueued(limit) => self.share_queued(node, limit, local),
            Action::Extend(until) => self.extend(node, micros(until)),
            Action::CloseFence(why) => {
                if let Some(run) = &mut self.nodes[node].run {
                    run.fence = 0;
                }
                self.judge.lease_lost(node, self.now, why);
            }
            Action::RefreshDefinitions { .. } | Action::Waits(_) | Action::RolledBack(_) => {}
            Action::Joined => self.join(node),
            Action::Progress { number, progress, .. } => self.progress(node, number, progress.outcome),
            Action::Rotate => {
                let here = &mut self.nodes[node];
                here.server = (here.server + 1) % SERVERS;
                here.stuck = false;
            }
            Action::Duplicate(life) => {
                self.judge.violate(format!("node {node} takes {life:?} for another process"));
            }
        }
    }

    /// Puts operations of the stream in force.
    fn enforce(&mut self, node: usize, operations: Vec<(Shared, Place)>) {
        let local = self.nodes[node].local(self.now);
        let takes = match self.rng.u8(..16) {
            0 => self.rng.u64(..200 * MILLIS),
            _ => self.rng.u64(..3 * MILLIS),
        };
        let Some(run) = &mut self.nodes[node].run else { return };
        let (mut receipts, mut before) = (Vec::new(), BTreeMap::new());
        for (shared, place) in &operations {
            let next = match run.states.get(shared.id()) {
                Some(known) => known.after(&shared.operation, *place, local),
                None => State::new(&shared.operation, *place, local),
            };
            let is_revocation = next.revocation.is_some();
            receipts.push(is_revocation.then(receipt));
            run.unrecorded.insert(shared.id().clone());
            if let Some(trace) = &mut self.trace {
                let (id, kind) = (shared.id(), next.revocation.as_ref().map(session_of));
                trace.push(format!("{node} enforces {id} revision {} {kind:?}", place.revision));
            }
            let known = run.states.insert(shared.id().clone(), next);
            before.entry(shared.id().clone()).or_insert(known);
        }
        for (id, before) in before {
            self.judge.replaced(node, self.now, local, &id, before.as_ref(), &run.states[&id]);
        }
        self.changed(node);
        self.later(node, takes, Step::Record { operations, receipts });
    }

    fn record(&mut self, node: usize, operations: Vec<(Shared, Place)>, receipts: Vec<Option<Receipt>>) {
        let local = self.nodes[node].local(self.now);
        let Some(run) = &mut self.nodes[node].run else { return };
        let (mut places, mut later) = (BTreeMap::new(), Vec::new());
        for (shared, place) in &operations {
            run.log.record(shared, *place, local);
            places.insert(shared.id(), *place);
            // The stream has lost what the log knows.
            let state = &run.log.states[shared.id()];
            if !state.unshared && state.place.revision > place.revision {
                later.push(state.shared(shared.id(), local));
            }
        }
        for (id, place) in places {
            run.unrecorded.remove(id);
            // The log decides, so a difference of milliseconds between the two counts for nothing.
            let Some(before) = run.states.get(id).cloned() else { continue };
            let next = before.recorded(run.log.states[id].clone(), place, local);
            self.judge.replaced(node, self.now, local, id, Some(&before), &next);
            run.states.insert(id.clone(), next);
        }
        self.changed(node);
        self.sync_soon(node);
        if !later.is_empty() {
            self.feed(node, Input::Repair(later));
        }
        self.feed(node, Input::Applied(receipts));
    }

    fn sync_soon(&mut self, node: usize) {
        let takes = 20 * MILLIS + self.rng.u64(..300 * MILLIS);
        if let Some(run) = &mut self.nodes[node].run
            && run.is_synced
        {
            run.is_synced = false;
            self.later(node, takes, Step::Sync);
        }
    }

    fn apply_early(&mut self, node: usize, shared: &Shared, local: Micros) {
        let flawed = self.has(Flaw::EarlyIgnoresRevision);
        let Some(run) = &mut self.nodes[node].run else { return };
        let Operation::Revoke(revocation) = &shared.operation else { return };
        let id = shared.id();
        if run.unrecorded.contains(id) {
            return;
        }
        let mut next = State::new(&shared.operation, Place::default(), local);
        next.is_early = true;
        (next.early, next.early_revision) = (next.until, shared.revision);
        next.early_bound = bound_of(revocation);
        if let Some(known) = run.states.get(id) {
            let is_same = known.is_same(&shared.operation);
            let revision = known.place.revision;
            let is_known = revision > 0 && revision >= shared.revision;
            let is_early = (revision == 0 || known.is_early) && local < known.ends();
            if !is_same && (is_known || is_early) && !flawed {
                return;
            }
            if is_same {
                if local < known.early {
                    next.early_bound = next.early_bound.max(known.early_bound);
                }
                (next.until, next.early) = (known.until, next.early.max(known.early));
                next.early_revision = next.early_revision.max(known.early_revision);
                (next.unshared, next.is_early) = (known.unshared, known.is_early);
                next.revocation.clone_from(&known.revocation);
            }
            next.place = known.place;
        }
        if revocation.mode == Mode::Revoke || !run.states.contains_key(id) {
            run.states.insert(id.clone(), next);
        }
        self.changed(node);
        self.feed(
            node,
            Input::AppliedEarly { tag: shared.tag, revision: shared.revision, receipt: receipt() },
        );
    }

    fn forget_position(&mut self, node: usize, recovery: u64) {
        let here = &mut self.nodes[node];
        let Some(run) = &mut here.run else { return };
        run.log.position = Position { epoch: Epoch::NONE, sequence: 0 };
        here.disk = run.log.clone();
        self.feed(node, Input::PositionForgotten { recovery });
    }

    /// Returns some states of the log to the core. The cursor is the id of the last one.
    fn read_states(&mut self, node: usize, recovery: u64, after: Option<StateCursor>, local: Micros) {
        let page = self.plan.page;
        let Some(run) = &self.nodes[node].run else { return };
        let after = match after {
            Some(StateCursor::Lift(id)) => Bound::Excluded(id),
            Some(StateCursor::Revocation(_)) | None => Bound::Unbounded,
        };
        let mut rest =
            run.log.states.range((after, Bound::Unbounded)).filter(|(_, state)| local < state.until);
        let page: Vec<_> = rest.by_ref().take(page).collect();
        let last = page.last().map(|(id, _)| StateCursor::Lift((*id).clone()));
        let next = last.filter(|_| rest.next().is_some());
        let states = page.into_iter().map(|(id, state)| state.shared(id, local)).collect();
        self.later(node, MILLIS, Step::Input(Box::new(Input::States { recovery, states, next })));
    }

    fn share_queued(&mut self, node: usize, limit: usize, local: Micros) {
        let Some(run) = &self.nodes[node].run else { return };
        let queued = run
            .log
            .states
            .iter()
            .filter(|(id, state)| state.unshared && local < state.until && !run.core.is_publishing(id));
        let queued: Vec<_> = queued
            .take(limit)
            .map(|(id, state)| Input::Announce {
                operation: state.operation(id, local),
                known: state.place.revision,
                queued: true,
            })
            .collect();
        for input in queued {
            self.feed(node, input);
        }
    }

    fn extend(&mut self, node: usize, until: Micros) {
        self.judge_lease(node, until);
        if let Some(run) = &mut self.nodes[node].run {
            run.fence = run.fence.max(until);
        }
    }

    fn join(&mut self, node: usize) {
        let local = self.nodes[node].local(self.now);
        if let Some(run) = &mut self.nodes[node].run {
            run.joined = true;
            if run.fence <= local {
                self.judge.violate(format!("6: node {node} listens without a lease"));
            }
        }
    }

    /// Computes anew which sessions are revoked.
    pub(super) fn changed(&mut self, node: usize) {
        let Some(run) = &mut self.nodes[node].run else { return };
        run.revoked = Default::default();
        for state in run.states.values() {
            if let Some(revocation) = &state.revocation {
                let session = session_of(revocation);
                // A revocation that disconnects does so at once; it is not in force.
                if revocation.mode == Mode::Revoke {
                    for (age, until) in run.revoked[session].iter_mut().enumerate() {
                        *until = (*until).max(state.ends_for(age as u64));
                    }
                }
            }
        }
    }
}
