//! The queue of events.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use fastrand::Rng;
use seal::Incarnation;
use session::{NodeName, Position, Receipt, RevocationId};

use super::judge::Judge;
use super::log::{Log, State};
use super::network::{Network, Request};
use super::plan::{AGES, Fault, NODES, Plan, SESSIONS, micros};
use super::stream::Stream;
use super::{MILLIS, Micros, SECOND};
use crate::core::{Core, Identity, Input};
use crate::flaw::{Flaw, Flaws};
use crate::message::{Direct, Shared};
use session::Place;

/// What happens at a moment.
pub(super) enum Event {
    /// A process goes on; nothing happens to it while it is stopped.
    Process {
        node: usize,
        run: u64,
        step: Step,
    },
    /// A request of a node has come to the servers.
    Request {
        node: usize,
        run: u64,
        token: Option<u64>,
        request: Request,
    },
    /// A direct message has come to the receiver.
    Direct {
        from: usize,
        to: usize,
        life: Option<Incarnation>,
        message: Direct,
    },
    Order(usize),
    Fault(usize),
    Cut {
        node: usize,
        lasts: Micros,
    },
    Continue {
        node: usize,
        stop: u64,
    },
    Start {
        node: usize,
    },
    /// After the bound, no node may write payload of a revoked session.
    Bound,
    Heal,
}

/// What a process does next.
pub(super) enum Step {
    Tick,
    Input(Box<Input>),
    /// The answer to a request, or its timeout.
    Reply {
        token: u64,
        input: Box<Input>,
    },
    Enforce(Vec<(Shared, Place)>),
    Record {
        operations: Vec<(Shared, Place)>,
        receipts: Vec<Option<Receipt>>,
    },
    Sync,
    /// The client of an order waits no longer.
    Timeout {
        order: usize,
    },
    Exit,
}

/// A node: its machine, and the process on it.
pub(super) struct Node {
    pub(super) name: NodeName,
    /// How much faster its clock runs, in millionths.
    rate: i64,
    offset: Micros,
    pub(super) server: usize,
    pub(super) stuck: bool,
    pub(super) version: u8,
    /// What a crash leaves of the log.
    pub(super) disk: Log,
    pub(super) runs: u64,
    pub(super) earlier: Vec<Incarnation>,
    pub(super) run: Option<Run>,
    /// The process is stopped.
    pub(super) stopped: bool,
    pub(super) stops: u64,
    pub(super) inbox: Vec<Step>,
    pub(super) has_crashed: bool,
}

/// A process.
pub(super) struct Run {
    pub(super) number: u64,
    pub(super) life: Incarnation,
    pub(super) core: Core,
    pub(super) log: Log,
    pub(super) is_synced: bool,
    /// What is in force, with what is known of ids that are not.
    pub(super) states: BTreeMap<RevocationId, State>,
    /// Until when each session is revoked, for tokens of each age.
    pub(super) revoked: [[Micros; AGES]; SESSIONS],
    /// Ids that are enforced, but not recorded.
    pub(super) unrecorded: BTreeSet<RevocationId>,
    /// The orders whose clients wait, by the numbers of their operations.
    pub(super) orders: BTreeMap<u64, usize>,
    pub(super) pending: BTreeSet<u64>,
    pub(super) fence: Micros,
    pub(super) joined: bool,
    /// Connections that were let in, for policies that keep them without a lease.
    pub(super) connected: [[bool; AGES]; SESSIONS],
    /// When each beat was sent, and its sequence in the stream.
    pub(super) beats: BTreeMap<u64, SentBeat>,
    /// Up to this sequence, the judge has seen that everything is applied.
    pub(super) judged: u64,
}

/// A beat of a process.
pub(super) struct SentBeat {
    /// When it was sent, on the clock of the node.
    pub(super) at: Micros,
    /// Where it is stored.
    pub(super) stored: Option<Position>,
}

/// The whole simulation.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) now: Micros,
    /// Two leases after the last fault has ended.
    pub(super) end: Micros,
    pub(super) rng: Rng,
    queue: BinaryHeap<Reverse<(Micros, u64, usize)>>,
    slots: Vec<Option<Event>>,
    free: Vec<usize>,
    events: u64,
    pub(super) tokens: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) stream: Stream,
    pub(super) network: Network,
    pub(super) judge: Judge,
    /// The next beat of this node is its last one for a while; then the order is given.
    pub(super) trap: Option<(usize, usize, Micros)>,
    pub(super) flaw: Option<Flaw>,
    pub(super) trace: Option<Vec<String>>,
}

/// Adds a line to the trace.
macro_rules! note {
    ($world:expr, $($text:tt)*) => {
        if let Some(trace) = &mut $world.trace {
            let now = $world.now;
            trace.push(format!("{:>10.6} {}", now as f64 / 1e6, format!($($text)*)));
        }
    };
}
pub(super) use note;

impl Node {
    fn new(index: usize, rng: &mut Rng) -> Self {
        Self {
            name: NodeName::from(["a", "b", "c", "d"][index]),
            rate: rng.i64(-500..=500),
            offset: 10 * SECOND + rng.u64(..1000 * SECOND),
            server: index % super::SERVERS,
            stuck: false,
            version: 1,
            disk: Log::default(),
            runs: 0,
            earlier: Vec::new(),
            run: None,
            stopped: false,
            stops: 0,
            inbox: Vec::new(),
            has_crashed: false,
        }
    }

    /// Returns the time on the clock of the node.
    pub(super) fn local(&self, now: Micros) -> Micros {
        let drift = i64::try_from(now).unwrap_or(i64::MAX) / 1000 * self.rate / 1000;
        (self.offset + now).saturating_add_signed(drift)
    }
}

impl World {
    pub(super) fn new(plan: Plan, flaw: Option<Flaw>, traced: bool) -> Self {
        let mut rng = Rng::with_seed(plan.seed ^ 0x5eed_0000_0000);
        let nodes = (0..=NODES).map(|index| Node::new(index, &mut rng)).collect();
        let mut world = Self {
            judge: Judge::new(&plan),
            now: 0,
            end: plan.healed + 2 * micros(plan.lease),
            queue: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            events: 0,
            tokens: 0,
            nodes,
            stream: Stream::new(),
            network: Network::new(&plan),
            trap: None,
            flaw,
            trace: traced.then(Vec::new),
            plan,
            rng,
        };
        for node in 0..NODES {
            let at = world.rng.u64(..300 * MILLIS);
            world.schedule(at, Event::Start { node });
        }
        for fault in 0..world.plan.faults.len() {
            world.schedule(world.plan.faults[fault].0, Event::Fault(fault));
        }
        for order in 0..world.plan.orders.len() {
            world.schedule(world.plan.orders[order].at, Event::Order(order));
        }
        world.schedule(world.plan.healed, Event::Heal);
        world
    }

    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    pub(super) fn schedule(&mut self, at: Micros, event: Event) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        self.slots[slot] = Some(event);
        self.events += 1;
        self.queue.push(Reverse((at, self.events, slot)));
    }

    /// Runs the schedule to its end. Returns the number of events.
    ///
    /// # Errors
    /// Fails with the invariant that does not hold.
    pub(super) fn run(&mut self) -> Result<u64, String> {
        while let Some(Reverse((at, _, slot))) = self.queue.pop() {
            if at > self.end {
                break;
            }
            self.now = at;
            let event = self.slots[slot].take();
            self.free.push(slot);
            if let Some(event) = event {
                self.happen(event);
            }
            if let Some(violation) = self.judge.violation.take() {
                note!(self, "VIOLATION {violation}");
                return Err(violation);
            }
        }
        self.now = self.end;
        self.judge_end();
        match self.judge.violation.take() {
            Some(violation) => {
                note!(self, "VIOLATION {violation}");
                Err(violation)
            }
            None => Ok(self.events),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Process { node, run, step } => self.process(node, run, step),
            Event::Request { node, run, token, request } => self.serve(node, run, token, request),
            Event::Direct { from, to, life, message } => self.deliver(from, to, life, message),
            // An order that waits for a trap comes later.
            Event::Order(order) if self.trap.is_some_and(|(_, trapped, _)| trapped == order) => {}
            Event::Order(order) => self.order(order),
            Event::Fault(fault) => self.fault(self.plan.faults[fault].1),
            Event::Cut { node, lasts } => self.fault(Fault::CutNode { node, lasts }),
            Event::Continue { node, stop } => self.resume(node, stop),
            Event::Start { node } => self.start(node),
            Event::Bound => (0..self.nodes.len()).for_each(|node| self.judge_node(node)),
            Event::Heal => self.heal(),
        }
    }

    fn process(&mut self, node: usize, run: u64, step: Step) {
        let here = &mut self.nodes[node];
        if here.run.as_ref().is_none_or(|here| here.number != run) {
            return;
        }
        if here.stopped {
            here.inbox.push(step);
            return;
        }
        self.step(node, step);
        self.judge_node(node);
    }

    pub(super) fn start(&mut self, node: usize) {
        let (now, plan, flaw) = (self.now, &self.plan, self.flaw);
        let here = &mut self.nodes[node];
        if here.run.is_some() {
            return;
        }
        here.runs += 1;
        let mut bytes = [0; Incarnation::BYTES];
        bytes[0] = u8::try_from(node).unwrap_or_default();
        bytes[8] = u8::try_from(here.runs).unwrap_or_default();
        let life = Incarnation::from_bytes(bytes);
        let identity = Identity {
            life,
            node: here.name.clone(),
            earlier: here.earlier.clone(),
            lease: plan.lease,
            policy: plan.policies[node],
            replaces_cookie: false,
        };
        let local = Duration::from_micros(here.local(now));
        let core = Core::new(identity, here.disk.position, local).with_flaws(Flaws(flaw));
        here.earlier.push(life);
        here.stuck = false;
        here.run = Some(Run {
            number: here.runs,
            life,
            core,
            log: here.disk.clone(),
            is_synced: true,
            states: here.disk.states.clone(),
            revoked: Default::default(),
            unrecorded: BTreeSet::new(),
            orders: BTreeMap::new(),
            pending: BTreeSet::new(),
            fence: 0,
            joined: false,
            connected: Default::default(),
            beats: BTreeMap::new(),
            judged: 0,
        });
        note!(
            self,
            "{node} starts, version {}, at {:?}",
            self.nodes[node].version,
            self.nodes[node].disk.position
        );
        self.changed(node);
        self.step(node, Step::Tick);
    }
}
