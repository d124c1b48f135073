//! What becomes of faults, and the end of processes.

use super::plan::{Fault, NODES};
use super::stream::{Publication, Subject};
use super::world::{Event, Step, World, note};
use super::{MILLIS, Micros, SECOND};
use crate::core::Input;
use crate::message::{Content, Forgery};
use session::Epoch;

/// After this time a node has left a connection that brings nothing.
const STUCK: Micros = 4 * SECOND;

impl World {
    fn kill(&mut self, node: usize) {
        let here = &mut self.nodes[node];
        (here.run, here.stopped, here.has_crashed) = (None, false, true);
        here.inbox.clear();
    }

    /// Makes the process end in order.
    fn leave(&mut self, node: usize) {
        let here = &mut self.nodes[node];
        if here.stopped {
            return;
        }
        if let Some(run) = &mut here.run {
            run.joined = false;
            run.connected = Default::default();
            let run = run.number;
            self.feed(node, Input::Leave);
            self.schedule(self.now + 20 * MILLIS, Event::Process { node, run, step: Step::Exit });
        }
    }

    /// The process has ended in order.
    pub(super) fn exit(&mut self, node: usize) {
        let here = &mut self.nodes[node];
        if let Some(run) = here.run.take() {
            here.disk = run.log;
        }
    }

    pub(super) fn resume(&mut self, node: usize, stop: u64) {
        let here = &mut self.nodes[node];
        if !here.stopped || here.stops != stop {
            return;
        }
        here.stopped = false;
        note!(self, "{node} continues");
        // Clients write before anything else happens.
        self.judge_node(node);
        let inbox = std::mem::take(&mut self.nodes[node].inbox);
        for step in inbox {
            if self.nodes[node].run.is_some() {
                self.step(node, step);
                self.judge_node(node);
            }
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        note!(self, "FAULT {fault:?}");
        let now = self.now;
        match fault {
            Fault::Stop { node, lasts } => {
                let here = &mut self.nodes[node];
                if here.run.is_some() && !here.stopped {
                    here.stopped = true;
                    here.stops += 1;
                    let stop = here.stops;
                    self.schedule(now + lasts, Event::Continue { node, stop });
                }
            }
            Fault::Kill { node, lasts } => {
                self.kill(node);
                self.schedule(now + lasts, Event::Start { node });
            }
            Fault::Leave { node, lasts } | Fault::Upgrade { node, lasts } => {
                self.leave(node);
                let here = &mut self.nodes[node];
                // A process that is stopped does not end, so no newer one takes its place.
                if matches!(fault, Fault::Upgrade { .. }) && !here.stopped {
                    here.version = 2;
                }
                self.schedule(now + lasts.max(30 * MILLIS), Event::Start { node });
            }
            Fault::ClockJump { node } => {
                let here = &self.nodes[node];
                if here.run.is_some() && !here.stopped {
                    self.feed(node, Input::ClockJumped);
                }
            }
            Fault::Join => self.start(NODES),
            Fault::CutAfterBeat { node, order, lasts } => self.trap = Some((node, order, lasts)),
            Fault::Stuck { node } => self.nodes[node].stuck = true,
            Fault::Repeat => {
                let last = self.stream.last();
                self.republish(last);
            }
            Fault::Forge => {
                let epoch = self.stream.epoch;
                self.forge(Some((Subject::Other, epoch, Content::Forged(Forgery::Other))));
            }
            Fault::ClockStep { ahead } => {
                self.stream.set_clock(ahead);
                if ahead {
                    self.judge.clock_stepped();
                }
            }
            Fault::RepeatBeat { node } => {
                let content = self.stream.any_beat(node, &mut self.rng);
                self.forge(content);
            }
            Fault::LoseTail { messages } => self.lose(self.stream.last().saturating_sub(messages)),
            Fault::LoseOne => {
                if let Some(sequence) = self.stream.last_operation() {
                    self.judge.lossy_from(now);
                    self.stream.lose(sequence);
                }
            }
            Fault::PowerCut { node, messages, lasts } => {
                self.kill(node);
                self.schedule(now + lasts, Event::Start { node });
                self.truncate(self.stream.last().saturating_sub(messages), lasts / 2);
                for other in 0..self.nodes.len() {
                    let after = self.rng.u64(..lasts);
                    self.later(other, after, Step::Input(Box::new(Input::Reconnected)));
                }
            }
            Fault::Restore { percent } => self.lose(self.stream.last() * percent / 100),
            Fault::Anew { adopted } => {
                self.lose(0);
                self.stream.make_anew(adopted);
            }
            _ => self.network.fault(fault, now, &self.stream),
        }
    }

    /// Somebody without the key writes into the stream: what a node has written there before, or
    /// what no node has.
    fn forge(&mut self, message: Option<(Subject, Epoch, Content)>) {
        let Some((subject, epoch, content)) = message else { return };
        let publication = Publication { subject, epoch, content, version: 1, expected: None, ttl: None };
        if let Ok(sequence) = self.stream.publish(self.now, publication) {
            self.republish(sequence);
        }
    }

    /// The stream goes back, and the servers have to start and to elect a leader.
    fn lose(&mut self, last: u64) {
        let lasts = 4 * SECOND + self.rng.u64(..2 * SECOND);
        self.truncate(last, lasts);
    }

    /// The stream goes back, and stores nothing for a while.
    fn truncate(&mut self, last: u64, lasts: Micros) {
        self.judge.lossy_from(self.now);
        note!(self, "the stream goes back from {} to {last}", self.stream.last());
        self.stream.truncate(last);
        self.network.fault(Fault::Election { lasts }, self.now, &self.stream);
    }

    /// All faults end.
    pub(super) fn heal(&mut self) {
        note!(self, "HEALED");
        self.network.heal();
        self.trap = None;
        let version = self.nodes.iter().map(|node| node.version).max().unwrap_or_default();
        for node in 0..self.nodes.len() {
            if self.nodes[node].runs == 0 {
                continue;
            }
            let stop = self.nodes[node].stops;
            self.resume(node, stop);
            if self.nodes[node].version < version {
                self.kill(node);
                self.nodes[node].version = version;
            }
            self.start(node);
        }
        // A connection that brings nothing is a fault until its node leaves it.
        if self.nodes.iter().any(|node| node.stuck) {
            self.end += STUCK;
        }
        // No node has a log that could say what the new stream lacks, so an operator says that
        // nothing is missing: `rig cluster adopt`.
        let mut running = self.nodes.iter().filter_map(|node| node.run.as_ref());
        self.stream.adopted |= !running.any(|run| run.core.has_history());
    }
}
