//! Servers and links: what reaches whom, and what becomes of requests.

use std::collections::{BTreeMap, VecDeque};

use super::plan::{Fault, Plan, micros};
use super::stream::{Publication, Stream, Subject};
use super::world::{Event, Step, World, note};
use super::{MILLIS, Micros, SECOND, SERVERS, STEP};
use crate::core::{Input, StreamState, Unpublished};
use crate::flaw::Flaw;
use crate::message::{Beat, Content, Direct, Shared};
use seal::Incarnation;
use session::{Operation, Position, RevocationId};

/// How long a node waits for the answer to a request.
const TIMEOUT: Micros = SECOND;

/// How many direct messages can come again.
const HEARD: usize = 256;

/// A request to the servers.
pub(super) enum Request {
    Inspect,
    Fetch { from: u64 },
    Publish { message: Shared, expected: u64 },
    Read { number: u64, id: RevocationId, again: bool },
    Oldest,
    Beat(Beat),
}

/// The faults of servers and links. Each lasts until a moment.
#[derive(Default)]
pub(super) struct Network {
    election: Micros,
    down: Micros,
    /// Until when a server is cut off, with the last sequence that it has.
    servers: [(Micros, u64); SERVERS],
    nodes: [Micros; 4],
    pairs: BTreeMap<(usize, usize), Micros>,
    slow: [(Micros, Micros); 4],
    misses: (Micros, u64),
    jitter: (Micros, Micros),
    unknown: (Micros, u64),
    replay: (Micros, u64),
    /// Limit of messages in an answer.
    page: usize,
    /// The latest direct messages.
    heard: VecDeque<(usize, Option<Incarnation>, Direct)>,
}

impl Network {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { page: plan.page, ..Self::default() }
    }

    pub(super) fn fault(&mut self, fault: Fault, now: Micros, stream: &Stream) {
        match fault {
            Fault::Election { lasts } => self.election = self.election.max(now + lasts),
            Fault::Down { lasts } => self.down = self.down.max(now + lasts),
            Fault::CutServer { server, lasts } => {
                let (until, last) = self.servers[server];
                let last = if now < until { last } else { stream.last() };
                self.servers[server] = (until.max(now + lasts), last);
            }
            Fault::CutNode { node, lasts } => self.nodes[node] = self.nodes[node].max(now + lasts),
            Fault::CutPair { a, b, lasts } => {
                let until = self.pairs.entry((a.min(b), a.max(b))).or_default();
                *until = (*until).max(now + lasts);
            }
            Fault::Slow { node, lasts, delay } => self.slow[node] = (now + lasts, delay),
            Fault::Misses { lasts, percent } => self.misses = (now + lasts, percent),
            Fault::Jitter { lasts, delay } => self.jitter = (now + lasts, delay),
            Fault::Unknown { lasts, percent } => self.unknown = (now + lasts, percent),
            Fault::Replay { lasts, percent } => self.replay = (now + lasts, percent),
            _ => {}
        }
    }

    pub(super) fn heal(&mut self) {
        *self = Self { page: self.page, ..Self::default() };
    }
}

impl World {
    fn server_is_cut(&self, node: usize) -> bool {
        self.now < self.network.servers[self.nodes[node].server].0
    }

    fn is_cut(&self, node: usize) -> bool {
        self.now < self.network.nodes[node]
    }

    /// Returns how long a message from or to this node takes.
    fn delay(&mut self, node: usize) -> Micros {
        let mut delay = 150 + self.rng.u64(..400);
        if self.rng.u8(..) == 0 {
            delay += self.rng.u64(..20 * MILLIS);
        }
        let (until, slow) = self.network.slow[node];
        if self.now < until {
            delay += slow;
        }
        let (until, jitter) = self.network.jitter;
        if self.now < until {
            delay += self.rng.u64(..=jitter);
        }
        delay
    }

    /// Sends a request; the node gets an answer or, after a while, a failure.
    pub(super) fn request(&mut self, node: usize, request: Request) {
        let Some(run) = &mut self.nodes[node].run else { return };
        let number = run.number;
        let failure = match &request {
            Request::Inspect => Some(Input::NotInspected),
            Request::Fetch { .. } => Some(Input::NotFetched),
            Request::Publish { message, .. } => {
                let result = Err(Unpublished::Unknown);
                Some(Input::Published { number: message.tag.number, result })
            }
            Request::Read { number, again, .. } => Some(Input::NotRead { number: *number, again: *again }),
            Request::Beat(_) | Request::Oldest => None,
        };
        let mut token = None;
        if let Some(failure) = failure {
            self.tokens += 1;
            run.pending.insert(self.tokens);
            token = Some(self.tokens);
            let step = Step::Reply { token: self.tokens, input: Box::new(failure) };
            self.schedule(self.now + TIMEOUT, Event::Process { node, run: number, step });
        }
        if !self.is_cut(node) {
            let at = self.now + self.delay(node);
            self.schedule(at, Event::Request { node, run: number, token, request });
        }
    }

    /// A request has come to the servers.
    pub(super) fn serve(&mut self, node: usize, run: u64, token: Option<u64>, request: Request) {
        if self.now < self.network.down {
            return;
        }
        self.stream.expire(self.now);
        let horizon = self.horizon(node);
        match request {
            Request::Fetch { from } => {
                let version = self.nodes[node].version;
                let messages = self.stream.range(from, horizon, horizon).take(self.network.page);
                let messages: Vec<_> = messages.map(|entry| entry.read_by(version)).collect();
                let upto = match messages.last() {
                    Some(last) => last.position.sequence,
                    // Only the leader says what the first message is.
                    None if self.server_is_cut(node) || self.now < self.network.election => {
                        from.saturating_sub(1)
                    }
                    None => self.stream.first().max(from.max(1)) - 1,
                };
                self.answer(node, run, token, Input::Fetched { from, messages, upto });
            }
            Request::Read { number, id, again } => {
                let version = self.nodes[node].version;
                let found = self.stream.last_on(&Subject::Operation(id), horizon);
                let found = found.map(|entry| entry.read_by(version));
                self.answer(node, run, token, Input::Read { number, again, found });
            }
            Request::Oldest => {
                let version = self.nodes[node].version;
                let messages = self.stream.range(0, horizon, horizon).take(self.network.page);
                let messages = messages.map(|entry| entry.read_by(version)).collect();
                if !self.is_cut(node) {
                    // The number is so high that all revocations are stored again.
                    let input = Box::new(Input::Oldest { messages, missing: u64::MAX });
                    let at = self.now + self.delay(node);
                    self.schedule(at, Event::Process { node, run, step: Step::Input(input) });
                }
            }
            Request::Inspect => {
                // A leader that is cut off may answer for a while, with what it has.
                if (self.server_is_cut(node) && self.rng.bool()) || self.now < self.network.election {
                    return;
                }
                let cut = self.server_is_cut(node);
                let version = self.nodes[node].version;
                let subjects = (0..self.nodes.len()).map(Subject::Beat);
                let beats = subjects.filter_map(|subject| self.stream.last_on(&subject, horizon));
                let state = StreamState {
                    epoch: self.stream.epoch,
                    last: if cut { horizon } else { self.stream.last() },
                    adopted: self.stream.adopted,
                    beats: beats.map(|entry| entry.read_by(version)).collect(),
                    now: self.stream.clock(self.now),
                };
                self.answer(node, run, token, Input::Inspected(state));
            }
            Request::Publish { .. } | Request::Beat(_) => {
                if self.server_is_cut(node) {
                    return;
                }
                if self.now < self.network.election {
                    if self.rng.u8(..5) < 2 {
                        let at = self.network.election + self.rng.u64(..50 * MILLIS);
                        self.schedule(at, Event::Request { node, run, token, request });
                    }
                    return;
                }
                self.store(node, run, token, request);
            }
        }
    }

    fn store(&mut self, node: usize, run: u64, token: Option<u64>, request: Request) {
        let version = self.nodes[node].version;
        let epoch = self.epoch_of(node);
        match request {
            Request::Publish { message, expected } => {
                let tag = message.tag;
                let (id, revision) = (message.id().clone(), message.revision);
                let ttl = self.ttl(&message.operation);
                let publication = Publication {
                    subject: Subject::Operation(message.id().clone()),
                    epoch,
                    content: Content::Operation(message),
                    version,
                    expected: (expected != u64::MAX).then_some(expected),
                    ttl,
                };
                let result = self.stream.publish(self.now, publication);
                note!(
                    self,
                    "{node} publishes {} on {id} with revision {revision}, expecting {expected}: {result:?}",
                    tag.number
                );
                if let Ok(sequence) = result {
                    self.judge_stored(sequence);
                    self.republish(sequence);
                }
                let (until, percent) = self.network.unknown;
                if self.now < until && self.rng.u64(..100) < percent {
                    return;
                }
                self.answer(node, run, token, Input::Published { number: tag.number, result });
            }
            Request::Beat(beat) => {
                let (life, count) = (beat.life, beat.count);
                let publication = Publication {
                    subject: Subject::Beat(node),
                    epoch: beat.applied.epoch,
                    content: Content::Beat(beat),
                    version: 1,
                    expected: None,
                    // After a step, the beat of a life is there for longer than its lease.
                    ttl: Some(STEP + micros(self.plan.lease) + SECOND),
                };
                if let Ok(sequence) = self.stream.publish(self.now, publication) {
                    note!(self, "{node} beat {count} is stored at {sequence}");
                    if let Some(run) = &mut self.nodes[node].run
                        && run.life == life
                        && let Some(beat) = run.beats.get_mut(&count)
                    {
                        beat.stored = Some(Position { epoch: self.stream.epoch, sequence });
                    }
                    self.republish(sequence);
                    self.spring(node);
                }
            }
            _ => {}
        }
    }

    /// Returns how long an operation is kept. Lifts are kept for a day longer, so they all are
    /// here.
    fn ttl(&self, operation: &Operation) -> Option<Micros> {
        let Operation::Revoke(revocation) = operation else { return None };
        let kept = micros(revocation.kept_for());
        Some(if self.has(Flaw::ShortTtl) { kept / 2 } else { kept + STEP.max(kept / 10) })
    }

    /// A beat of a node is stored: cuts the node off as soon as the beat has come back, and gives
    /// an order meanwhile.
    fn spring(&mut self, node: usize) {
        if let Some((trapped, order, lasts)) = self.trap
            && trapped == node
        {
            self.trap = None;
            let lasts = lasts.min(self.plan.healed.saturating_sub(self.now));
            self.schedule(self.now + 20, Event::Order(order));
            self.schedule(self.now + MILLIS, Event::Cut { node, lasts });
        }
    }

    /// Returns the epoch in which a node believes to be.
    fn epoch_of(&self, node: usize) -> session::Epoch {
        self.nodes[node].run.as_ref().map(|run| run.core.position().epoch).unwrap_or_default()
    }

    /// Returns the last sequence that the server of a node knows.
    fn horizon(&mut self, node: usize) -> u64 {
        if self.server_is_cut(node) {
            return self.network.servers[self.nodes[node].server].1.min(self.stream.last());
        }
        let lag = match self.rng.u8(..16) {
            0 => self.rng.u64(..300 * MILLIS),
            1..=7 => self.rng.u64(..2 * MILLIS),
            _ => 0,
        };
        self.stream.last_at(self.now.saturating_sub(lag))
    }

    fn answer(&mut self, node: usize, run: u64, token: Option<u64>, input: Input) {
        if self.is_cut(node) || self.nodes[node].stuck {
            return;
        }
        let at = self.now + self.delay(node);
        if let Some(token) = token {
            let step = Step::Reply { token, input: Box::new(input) };
            self.schedule(at, Event::Process { node, run, step });
        }
    }

    /// Sends a message of the stream to everyone.
    pub(super) fn republish(&mut self, sequence: u64) {
        for node in 0..self.nodes.len() {
            let (until, percent) = self.network.misses;
            let misses = self.now < until && self.rng.u64(..100) < percent;
            let here = &self.nodes[node];
            let Some(run) = here.run.as_ref().map(|run| run.number) else { continue };
            if misses || here.stuck || self.is_cut(node) || self.server_is_cut(node) {
                continue;
            }
            let version = here.version;
            let Some(entry) = self.stream.entry(sequence) else { continue };
            let input = Box::new(Input::Live(entry.read_by(version)));
            let at = self.now + self.delay(node);
            self.schedule(at, Event::Process { node, run, step: Step::Input(input) });
        }
    }

    /// Sends a direct message to one life, or to all.
    pub(super) fn send(&mut self, from: usize, life: Option<Incarnation>, message: &Direct) {
        if self.is_cut(from) {
            return;
        }
        for to in 0..self.nodes.len() {
            let runs = self.nodes[to].run.as_ref();
            if to == from || runs.is_none_or(|run| life.is_some_and(|life| life != run.life)) {
                continue;
            }
            let at = self.now + self.delay(from) + self.delay(to);
            let message = message.clone();
            self.schedule(at, Event::Direct { from, to, life, message });
        }
        self.network.heard.push_back((from, life, message.clone()));
        if self.network.heard.len() > HEARD {
            self.network.heard.pop_front();
        }
        let (until, percent) = self.network.replay;
        if self.now < until && self.rng.u64(..100) < percent {
            self.replay();
        }
    }

    /// Sends a direct message of before again.
    fn replay(&mut self) {
        let heard = &self.network.heard;
        let Some((from, life, message)) = heard.get(self.rng.usize(..heard.len())).cloned() else { return };
        for to in 0..self.nodes.len() {
            let at = self.now + self.delay(to);
            let message = message.clone();
            self.schedule(at, Event::Direct { from, to, life, message });
        }
    }

    pub(super) fn deliver(&mut self, from: usize, to: usize, life: Option<Incarnation>, message: Direct) {
        let pair = self.network.pairs.get(&(from.min(to), from.max(to)));
        let pair_is_cut = pair.is_some_and(|until| self.now < *until);
        let servers_are_apart = self.nodes[from].server != self.nodes[to].server
            && (self.server_is_cut(from) || self.server_is_cut(to));
        // A newer version writes what an older one cannot read.
        let is_newer = self.nodes[from].version > self.nodes[to].version;
        if is_newer || pair_is_cut || servers_are_apart || self.is_cut(to) || self.nodes[to].stuck {
            return;
        }
        let Some(run) = &self.nodes[to].run else { return };
        let any_life =
            self.has(Flaw::AnyAcknowledgement) && matches!(message, Direct::Acknowledgement { .. });
        if any_life || life.is_none_or(|life| life == run.life) {
            let (run, step) = (run.number, Step::Input(Box::new(Input::Direct(message))));
            self.schedule(self.now, Event::Process { node: to, run, step });
        }
    }
}
