//! What operators ask for, and what they are answered.

use std::time::Duration;

use session::{Appending, Operation, Place, Revocation, RevocationId, Selector, SessionName};

use super::SECOND;
use super::driver::id_of;
use super::log::State;
use super::plan::{Wish, micros};
use super::world::{Step, World, note};
use crate::core::{Input, Outcome, on_any_clock};

impl World {
    /// An operator asks for something.
    pub(super) fn order(&mut self, index: usize) {
        let order = self.plan.orders[index];
        let (node, id) = (order.node, id_of(order.id));
        let local = self.nodes[node].local(self.now);
        let Some(run) = self.running(node) else { return };
        let is_certain = local < run.fence;
        // What is enforced but not recorded counts: it is about to be in the log.
        let states = if run.unrecorded.contains(&id) { &run.states } else { &run.log.states };
        let known = states.get(&id).filter(|state| local < state.until).cloned();
        let place = known.as_ref().map_or(Place::default(), |state| state.place);
        let revision = place.revision;
        let operation = match order.wish {
            Wish::Lift => {
                if known.is_none_or(|state| state.revocation.is_none()) {
                    return;
                }
                self.judge.lift_ordered(index, &id, self.now);
                Operation::Lift { id: id.clone(), by: None }
            }
            Wish::Revoke { session, validity, extends, mode, bound } => {
                let session = session.to_string();
                let selector = Selector::session(SessionName::try_from(&*session).expect("short"));
                let slack = if bound.is_some() { Revocation::SAME_END } else { Duration::ZERO };
                let mut revocation = Revocation {
                    id: id.clone(),
                    selector: selector.issued_by(bound.map(|_| "i".into())),
                    issued_up_to: bound,
                    mode,
                    validity: Duration::from_micros(validity) + slack,
                    by: None,
                    reason: None,
                    extends,
                };
                let known = known.and_then(|known| Some((known.revocation.clone()?, known)));
                let appending = known.as_ref().map(|(before, known)| {
                    revocation.appending(before, Duration::from_micros(known.until - local))
                });
                let stays = match appending {
                    Some(Appending::Conflict) => {
                        self.judge.answered(index, self.now, 409);
                        return;
                    }
                    Some(Appending::Known) if revocation.is_standing() && is_certain => {
                        self.judge.accepted(index, &id, self.now, order);
                        self.judge.answered(index, self.now, 200);
                        return;
                    }
                    Some(Appending::Known) if !extends => return,
                    // It is stored again: another node may have lifted it without this one knowing.
                    Some(Appending::Known) => known.map(|(_, known)| known),
                    Some(Appending::Extended(extended)) => {
                        revocation = extended;
                        None
                    }
                    None => None,
                };
                let (operation, state) = match stays {
                    Some(known) => (known.operation(&id, local), known),
                    None => {
                        let operation = Operation::Revoke(revocation);
                        let state = State::new(&operation, place, local);
                        (operation, state)
                    }
                };
                self.accept(index, &id, State { unshared: true, ..state });
                operation
            }
        };
        let wait = micros(on_any_clock(self.plan.lease)) + SECOND;
        self.later(node, wait, Step::Timeout { order: index });
        if let Some(run) = self.running(node) {
            run.orders.insert(run.core.last_number() + 1, index);
        }
        self.feed(node, Input::Announce { operation, known: revision, queued: false });
        self.judge_node(node);
    }

    /// The log of the node has stored a revocation, and it is in force there.
    fn accept(&mut self, index: usize, id: &RevocationId, state: State) {
        let node = self.plan.orders[index].node;
        self.judge.accepted(index, id, self.now, self.plan.orders[index]);
        let here = &mut self.nodes[node];
        let Some(run) = &mut here.run else { return };
        run.log.states.insert(id.clone(), state.clone());
        here.disk = run.log.clone();
        let early = run.states.get(id).filter(|known| {
            state
                .revocation
                .as_ref()
                .is_some_and(|ours| known.revocation.as_ref().is_some_and(|theirs| ours.is_same(theirs)))
        });
        let mut state = state;
        match early.cloned() {
            Some(known) => state.take_early(&known),
            None => (state.early, state.early_revision, state.early_bound) = (0, 0, 0),
        }
        run.states.insert(id.clone(), state);
        self.changed(node);
    }

    pub(super) fn progress(&mut self, node: usize, number: u64, outcome: Outcome) {
        let Some(run) = &mut self.nodes[node].run else { return };
        let Some(index) = run.orders.get(&number).copied() else { return };
        let is_lift = self.plan.orders[index].wish == Wish::Lift;
        let status = match outcome {
            Outcome::Complete if is_lift => 204,
            Outcome::Complete => 201,
            Outcome::Conflict => 409,
            Outcome::GivenUp { may_be_stored } => {
                self.judge.given_up(run.life, number, may_be_stored);
                503
            }
            Outcome::Queued | Outcome::Pending => return,
        };
        run.orders.remove(&number);
        if status == 201 {
            self.judge_known(index);
        }
        note!(self, "{node} answers order {index} with {status}");
        self.judge.answered(index, self.now, status);
        self.judge_all();
    }

    pub(super) fn timeout(&mut self, index: usize) {
        let order = self.plan.orders[index];
        let Some(run) = self.running(order.node) else { return };
        let number = run.orders.iter().find(|(_, waiting)| **waiting == index).map(|(number, _)| *number);
        if let Some(number) = number {
            let progress = run.core.progress(&id_of(order.id));
            let is_queued = progress.is_some_and(|progress| progress.outcome == Outcome::Queued);
            // The core gives up a lift in time.
            if order.wish == Wish::Lift && is_queued {
                self.later(order.node, SECOND, Step::Timeout { order: index });
                return;
            }
            run.orders.remove(&number);
            let status = 202;
            note!(self, "{} answers order {index} with {status}", order.node);
            self.judge.answered(index, self.now, status);
        }
    }
}
