//! What holds after all faults have ended.

use std::collections::BTreeMap;

use session::{Mode, RevocationId};

use super::SLACK;
use crate::core::Outcome;
use crate::sim::driver::{id_of, session_of};
use crate::sim::log::{State, bound_of};
use crate::sim::world::World;

/// The states of a node: the revision, the session and the bound of each id, and whether it is in
/// force.
type Set = BTreeMap<RevocationId, (u32, Option<(usize, u64)>, bool)>;

fn selected_in(state: &State) -> Option<(usize, u64)> {
    state.revocation.as_ref().map(|revocation| (session_of(revocation), bound_of(revocation)))
}

impl World {
    /// Judges the end: all faults have ended two leases ago.
    pub(in crate::sim) fn judge_end(&mut self) {
        let now = self.now;
        let mut sets: Vec<(usize, Set)> = Vec::new();
        for node in 0..self.nodes.len() {
            let here = &self.nodes[node];
            let local = here.local(now);
            let Some(run) = &here.run else { continue };
            if !run.joined || local >= run.fence {
                self.judge.violate(format!("4: node {node} has no lease in the end"));
                return;
            }
            for obligation in &self.judge.obligations {
                let due = obligation.binds && !obligation.void && now + SLACK < obligation.until;
                if !due || obligation.mode == Mode::Disconnect {
                    continue;
                }
                let left = obligation.until - now;
                for (states, place) in [(&run.states, "memory"), (&run.log.states, "log")] {
                    let has = states.get(&obligation.id).is_some_and(|state| {
                        state.is_in_force(local) && state.ends_for(obligation.age()) + SLACK >= local + left
                    });
                    if !has {
                        let order = obligation.order;
                        let text = format!("3: node {node} lacks order {order} in its {place}");
                        self.judge.violate(text);
                        return;
                    }
                }
            }
            for (order, what) in self.judge.orders.iter().enumerate() {
                let lifted = self.judge.statuses[order].is_some_and(|(_, status)| status == 204);
                let id = id_of(what.id);
                // A revocation that was not complete when the lift was asked for may come after it,
                // and a crash of its origin may lose that the stream has it.
                let may_follow = self.judge.obligations.iter().any(|other| {
                    let crashes = self.nodes[self.judge.orders[other.order].node].has_crashed;
                    other.id == id && (crashes || other.complete.is_none_or(|complete| complete >= what.at))
                });
                if lifted && !may_follow && run.states.get(&id).is_some_and(|state| state.is_in_force(local))
                {
                    self.judge.violate(format!("3: node {node} still has what order {order} lifted"));
                    return;
                }
                let pending = run
                    .core
                    .progress(&id)
                    .is_some_and(|progress| matches!(progress.outcome, Outcome::Queued | Outcome::Pending));
                if pending {
                    self.judge.violate(format!("4: node {node} has not completed {id}"));
                    return;
                }
            }
            // Expiries may differ by the time that a message was on its way, the rest may not. A
            // node that reads a revocation after a silence knows no later time of NATS than that of
            // the newest message, so it takes the revocation for younger by the silence.
            let may_differ = 2 * SLACK + self.plan.silence();
            let in_force = |state: &State| state.is_in_force(local + may_differ);
            for (other, theirs) in &sets {
                let theirs_in_force = theirs.iter().filter(|(_, (_, _, in_force))| *in_force);
                let ours_in_force = run.states.iter().filter(|(_, state)| in_force(state));
                for id in theirs_in_force.map(|(id, _)| id).chain(ours_in_force.map(|(id, _)| id)) {
                    let ours = run.states.get(id).map(|state| (state.place.revision, selected_in(state)));
                    let theirs = theirs.get(id).map(|(revision, session, _)| (*revision, *session));
                    // A stream that has lost one of two revocations with the same id may know
                    // either.
                    let is_contested = self.judge.is_lossy(now) && self.judge.is_contested(id);
                    let without_bound = |state: Option<(u32, Option<(usize, u64)>)>| {
                        state.map(|(revision, of)| (revision, of.map(|(session, _)| session)))
                    };
                    let is_lifted =
                        self.judge.may_be_lifted(id) && without_bound(ours) == without_bound(theirs);
                    if ours != theirs && !is_contested && !is_lifted {
                        let text = format!("4: nodes {other} and {node} differ in {id}: {theirs:?} {ours:?}");
                        self.judge.violate(text);
                        return;
                    }
                }
            }
            let set = run
                .states
                .iter()
                .map(|(id, state)| (id.clone(), (state.place.revision, selected_in(state), in_force(state))));
            sets.push((node, set.collect()));
        }
    }
}
