//! What happens in a schedule: derived from the seed alone.

use std::time::Duration;

use fastrand::Rng;
use session::Mode;

use super::{MILLIS, Micros, SECOND};
use session::LostLease;

/// Which faults a schedule has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// None at all.
    Calm,
    /// All that leave the stream one log: nothing that was acknowledged is lost.
    OneLog,
    /// Also those that lose acknowledged messages.
    Lossy,
}

/// A fault. Durations are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The stream has no leader.
    Election { lasts: Micros },
    /// All servers are stopped. What is on its way to them is lost.
    Down { lasts: Micros },
    /// A server is cut off from the others. Its clients stay connected.
    CutServer { server: usize, lasts: Micros },
    /// The connection of a node brings nothing until the node connects to another server.
    Stuck { node: usize },
    /// Nothing reaches or leaves a node.
    CutNode { node: usize, lasts: Micros },
    /// Two nodes do not reach each other by direct messages.
    CutPair { a: usize, b: usize, lasts: Micros },
    /// Each message to or from a node takes this much longer.
    Slow { node: usize, lasts: Micros, delay: Micros },
    /// This percentage of messages of the live path is lost.
    Misses { lasts: Micros, percent: u64 },
    /// Messages take up to this long, so they overtake each other.
    Jitter { lasts: Micros, delay: Micros },
    /// This percentage of acknowledgements of the stream is lost.
    Unknown { lasts: Micros, percent: u64 },
    /// The last message is sent to everyone again.
    Repeat,
    /// A node is cut off after its next beat; between the two, an operator gives this order.
    CutAfterBeat { node: usize, order: usize, lasts: Micros },
    /// SIGSTOP, then SIGCONT.
    Stop { node: usize, lasts: Micros },
    /// SIGKILL, and a new process later.
    Kill { node: usize, lasts: Micros },
    /// SIGTERM, and a new process later.
    Leave { node: usize, lasts: Micros },
    /// SIGTERM, and a process of a newer version later.
    Upgrade { node: usize, lasts: Micros },
    /// The wall clock of a node jumps.
    ClockJump { node: usize },
    /// A node without a log starts.
    Join,
    /// Somebody without the key writes into the stream.
    Forge,
    /// Somebody stores an earlier beat of a node again.
    RepeatBeat { node: usize },
    /// With this percentage of direct messages, one of before comes again.
    Replay { lasts: Micros, percent: u64 },
    /// The clock of NATS steps, forward or back to what it was.
    ClockStep { ahead: bool },
    /// The stream loses its last messages.
    LoseTail { messages: u64 },
    /// The machine of a node and of the only server loses power: the stream loses its last
    /// messages, and the server is back before anybody misses it.
    PowerCut { node: usize, messages: u64, lasts: Micros },
    /// The stream loses its last operation.
    LoseOne,
    /// The stream is restored from an older copy: this percentage of it remains.
    Restore { percent: u64 },
    /// The stream is made anew.
    Anew { adopted: bool },
}

impl Fault {
    /// Returns whether a process starts in its course.
    fn starts(self) -> bool {
        matches!(self, Self::Kill { .. } | Self::Leave { .. } | Self::Upgrade { .. } | Self::Join)
    }
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Revoke {
        session: usize,
        validity: Micros,
        extends: bool,
        mode: Mode,
        /// The age up to which tokens are selected; `None`: all.
        bound: Option<u64>,
    },
    Lift,
}

/// An operator at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) at: Micros,
    pub(super) node: usize,
    /// Which id.
    pub(super) id: usize,
    pub(super) wish: Wish,
}

/// A schedule.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) class: Class,
    pub(super) lease: Duration,
    /// The policy of each node. The last node joins by [`Fault::Join`] only.
    pub(super) policies: Vec<LostLease>,
    pub(super) faults: Vec<(Micros, Fault)>,
    pub(super) orders: Vec<Order>,
    /// All faults have ended.
    pub(super) healed: Micros,
    /// Limit of messages in an answer.
    pub(super) page: usize,
    /// Old revocations are stored again, and all are old.
    pub(super) refreshes: bool,
}

/// Nodes that run from the start.
pub(super) const NODES: usize = 3;

/// Sessions that connect everywhere.
pub(super) const SESSIONS: usize = 4;

/// Ages of their tokens. One of each connects.
pub(super) const AGES: usize = 3;

/// The first id of a standing revocation.
pub(super) const STANDING: usize = 1 << 16;

/// The first fault comes after the nodes have joined.
const CALM: Micros = 2 * SECOND;

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let class = match seed % 10 {
            0 => Class::Calm,
            1..=6 => Class::OneLog,
            _ => Class::Lossy,
        };
        let lease = Duration::from_secs([3, 3, 3, 4, 5, 15][rng.usize(..6)]);
        let policies = (0..=NODES).map(|_| match rng.u8(..10) {
            0 => LostLease::Open,
            1 => LostLease::ClosedNew,
            _ => LostLease::Closed,
        });
        let policies = policies.collect();
        let active = (8 + rng.u64(..8)) * SECOND + micros(lease);
        let mut plan = Self {
            seed,
            class,
            lease,
            policies,
            faults: Vec::new(),
            orders: Vec::new(),
            healed: CALM + active,
            page: 512,
            refreshes: false,
        };
        plan.add_orders(&mut rng, active);
        if class != Class::Calm {
            plan.add_faults(&mut rng, active);
        }
        plan.add_later(&mut Rng::with_seed(!seed), active);
        plan.add_revoked_again(&mut Rng::with_seed(seed ^ 0xa9a1_0000_0000), active);
        if class == Class::Lossy {
            plan.add_power_cut(&mut Rng::with_seed(seed ^ 0x90e3_0000_0000), active);
        }
        plan.add_standing(&mut Rng::with_seed(seed ^ 0x57a0_0000_0000), active);
        plan
    }

    fn add_faults(&mut self, rng: &mut Rng, active: Micros) {
        let many = 1 + rng.usize(..7);
        for _ in 0..many {
            let at = CALM + rng.u64(..active);
            let fault = self.fault(rng, at);
            self.faults.push((at, fault));
        }
        if self.class == Class::Lossy {
            self.add_losses(rng, active);
        }
        // A lease that begins just before a revocation is stored.
        let order = rng.usize(..self.orders.len());
        if rng.bool() && matches!(self.orders[order].wish, Wish::Revoke { .. }) {
            let Order { at, node, .. } = self.orders[order];
            let node = (node + 1 + rng.usize(..2)) % NODES;
            let lasts = (micros(self.lease) * 3 / 2).min(self.healed - at);
            self.faults.push((at, Fault::CutAfterBeat { node, order, lasts }));
        }
        if rng.u8(..4) == 0 {
            self.faults.push((CALM + rng.u64(..active), Fault::Join));
        }
        // What the stream has lost without a trace, a node that starts cannot know.
        if self.faults.iter().any(|(_, fault)| *fault == Fault::LoseOne) {
            self.faults.retain(|(_, fault)| !fault.starts());
        }
        self.faults.sort_by_key(|(at, _)| *at);
    }

    /// Adds what came to the model later, from numbers of its own: a seed keeps its other faults.
    fn add_later(&mut self, rng: &mut Rng, active: Micros) {
        self.page = [1, 2, 7, 512][rng.usize(..4)];
        if self.class == Class::Calm {
            return;
        }
        let mut at = |until: Micros| CALM + rng.u64(..until);
        let (replay, beat, silence) = (at(active), at(active), at(active / 2));
        let mut steps = [at(active), at(active)];
        steps.sort_unstable();
        if rng.u8(..3) == 0 {
            let lasts = rng.u64(..=self.healed - replay);
            self.faults.push((replay, Fault::Replay { lasts, percent: [5, 50][rng.usize(..2)] }));
        }
        if rng.u8(..8) == 0 {
            self.faults.push((beat, Fault::RepeatBeat { node: rng.usize(..NODES) }));
        }
        if rng.u8(..4) == 0 {
            self.faults.push((steps[0], Fault::ClockStep { ahead: true }));
            self.faults.push((steps[1], Fault::ClockStep { ahead: false }));
        }
        if rng.u8(..4) == 0 {
            // All beats expire.
            let lasts = 7 * SECOND + micros(self.lease) + rng.u64(..4 * SECOND);
            let lasts = lasts.min(self.healed - silence);
            let is_down = rng.bool();
            let fault = if is_down { Fault::Down { lasts } } else { Fault::Election { lasts } };
            self.faults.push((silence, fault));
        }
        self.refreshes = rng.u8(..4) == 0;
        self.faults.sort_by_key(|(at, _)| *at);
    }

    /// Returns for how long the stream may store nothing, at most.
    pub(super) fn silence(&self) -> Micros {
        let silences = self.faults.iter().filter_map(|(_, fault)| match fault {
            Fault::Election { lasts } | Fault::Down { lasts } => Some(*lasts),
            _ => None,
        });
        silences.max().unwrap_or_default()
    }

    /// Adds revocations of ids that were lifted. Like all that is added later, they come from
    /// numbers of their own. Faults name orders by their place, so these come last.
    fn add_revoked_again(&mut self, rng: &mut Rng, active: Micros) {
        let until = CALM + active;
        for index in 0..self.orders.len() {
            let Order { at, id, wish: Wish::Lift, .. } = self.orders[index] else { continue };
            let before = self.orders.iter().find(|order| order.id == id && order.wish != Wish::Lift);
            let Some(&Order { wish: Wish::Revoke { session, validity, extends, mode, bound }, .. }) = before
            else {
                continue;
            };
            let later = |rng: &mut Rng| {
                let within = [4 * MILLIS, 500 * MILLIS, active][rng.usize(..3)];
                (at + rng.u64(..within)).min(until)
            };
            let (again, lift) = (later(rng), later(rng));
            let session = if rng.bool() { session } else { rng.usize(..SESSIONS) };
            let wish = Wish::Revoke { session, validity, extends, mode, bound };
            let (node, other) = (rng.usize(..NODES), rng.usize(..NODES));
            if rng.bool() {
                self.orders.push(Order { at: again, node, id, wish });
            }
            if rng.u8(..4) == 0 {
                self.orders.push(Order { at: lift.max(again), node: other, id, wish: Wish::Lift });
            }
        }
    }

    /// Adds a power cut, and a revocation at the node that comes back.
    fn add_power_cut(&mut self, rng: &mut Rng, active: Micros) {
        // A node that starts cannot know what the stream has lost without a trace.
        let loses_one = self.faults.iter().any(|(_, fault)| *fault == Fault::LoseOne);
        if rng.u8(..4) == 0 || loses_one {
            return;
        }
        let at = CALM + rng.u64(..active - 3 * SECOND);
        let (node, lasts) = (rng.usize(..NODES), 200 * MILLIS + rng.u64(..1300 * MILLIS));
        self.faults.push((at, Fault::PowerCut { node, messages: 2 + rng.u64(..10), lasts }));
        let id = SESSIONS + self.orders.len();
        let validity = 60 * SECOND + rng.u64(..60 * SECOND);
        let session = rng.usize(..SESSIONS);
        let wish = Wish::Revoke { session, validity, extends: false, mode: Mode::Revoke, bound: None };
        self.orders.push(Order { at: at + lasts + rng.u64(..SECOND), node, id, wish });
        self.faults.sort_by_key(|(at, _)| *at);
    }

    /// Adds statements of a provider: standing revocations, whose bounds and expiries move, and are
    /// repeated, at several nodes at the same time.
    ///
    /// A statement says when it expires. Nodes that hear of it late take it for longer, so the
    /// expiries of two statements are the same, or far from each other.
    fn add_standing(&mut self, rng: &mut Rng, active: Micros) {
        for _ in 0..=rng.usize(..2) {
            let session = rng.usize(..SESSIONS);
            let (id, mut at) = (STANDING + session, CALM + rng.u64(..active));
            let statement = |rng: &mut Rng| (rng.u64(..AGES as u64), rng.u64(..3));
            let statements = [(); 3].map(|()| statement(rng));
            for _ in 0..2 + rng.usize(..5) {
                let node = rng.usize(..NODES);
                let (bound, end) = statements[rng.usize(..statements.len())];
                let ends = CALM + active + 15 * SECOND + end * 60 * SECOND;
                let wish = match rng.u8(..12) {
                    0 => Wish::Lift,
                    _ => Wish::Revoke {
                        session,
                        validity: ends - at,
                        extends: true,
                        mode: Mode::Revoke,
                        bound: Some(bound),
                    },
                };
                self.orders.push(Order { at, node, id, wish });
                let within = [MILLIS, 4 * MILLIS, 500 * MILLIS, active][rng.usize(..4)];
                at = (at + rng.u64(..within)).min(CALM + active);
            }
        }
    }

    fn add_losses(&mut self, rng: &mut Rng, active: Micros) {
        for _ in 0..=rng.usize(..2) {
            // An election follows.
            let at = CALM + rng.u64(..active - 6 * SECOND);
            let fault = match rng.u8(..8) {
                0..=1 => Fault::LoseTail { messages: 1 + rng.u64(..4) },
                2..=3 => Fault::LoseOne,
                4..=5 => Fault::Restore { percent: 30 + rng.u64(..70) },
                _ => Fault::Anew { adopted: rng.bool() },
            };
            let mut at = at;
            if fault == Fault::LoseOne {
                // What the stream loses has not come everywhere.
                at = self.orders[rng.usize(..self.orders.len())].at + rng.u64(..20 * MILLIS);
                at = at.min(self.healed);
            }
            self.faults.push((at, fault));
            if rng.bool() {
                let lasts = (rng.u64(..12) * SECOND + 400 * MILLIS).min(self.healed - at);
                let early = rng.u64(..300 * MILLIS);
                self.faults.push((at - early, Fault::CutNode { node: rng.usize(..NODES), lasts }));
            }
        }
    }

    fn fault(&self, rng: &mut Rng, at: Micros) -> Fault {
        let rest = self.healed - at;
        let mut lasts = |longest: Micros| rng.u64(..=longest.min(rest));
        let (short, long) = (lasts(9 * SECOND), lasts(micros(self.lease) * 3));
        let short = if rng.u8(..3) == 0 { short / 20 } else { short };
        let node = rng.usize(..NODES);
        match rng.u8(..36) {
            0..=3 => Fault::Election { lasts: short },
            4..=6 => Fault::CutServer { server: rng.usize(..super::SERVERS), lasts: long },
            7 => Fault::Stuck { node },
            8..=10 => Fault::CutNode { node, lasts: long },
            11..=13 => Fault::CutPair { a: node, b: (node + 1 + rng.usize(..2)) % NODES, lasts: long },
            14..=15 => Fault::Slow { node, lasts: short, delay: rng.u64(..600) * MILLIS },
            16..=18 => Fault::Misses { lasts: long, percent: [3, 30, 90][rng.usize(..3)] },
            19..=20 => Fault::Jitter { lasts: long, delay: [3, 40, 300][rng.usize(..3)] * MILLIS },
            21..=22 => Fault::Unknown { lasts: short, percent: [20, 80][rng.usize(..2)] },
            23 => Fault::Repeat,
            24..=26 => Fault::Stop { node, lasts: long },
            27..=29 => Fault::Kill { node, lasts: short },
            30..=31 => Fault::Leave { node, lasts: short },
            32 => Fault::Upgrade { node, lasts: short },
            33 => Fault::ClockJump { node },
            34 => Fault::Forge,
            _ => Fault::Election { lasts: long },
        }
    }

    fn add_orders(&mut self, rng: &mut Rng, active: Micros) {
        let many = 5 + rng.usize(..8);
        for index in 0..many {
            let at = CALM + rng.u64(..active);
            let node = rng.usize(..NODES);
            let session = rng.usize(..SESSIONS);
            let validity = match rng.u8(..4) {
                0 => SECOND + rng.u64(..10 * SECOND),
                _ => 30 * SECOND + rng.u64(..300 * SECOND),
            };
            let mode = if rng.u8(..8) == 0 { Mode::Disconnect } else { Mode::Revoke };
            let revoke = Wish::Revoke { session, validity, extends: false, mode, bound: None };
            self.orders.push(Order { at, node, id: SESSIONS + index, wish: revoke });
            let node = rng.usize(..NODES);
            let within = if rng.bool() { 4 * MILLIS } else { active };
            let later = at + rng.u64(..within);
            let later = later.min(CALM + active);
            match rng.u8(..8) {
                0 | 1 => {
                    let id = SESSIONS + index;
                    self.orders.push(Order { at: later, node, id, wish: Wish::Lift });
                    if rng.bool() {
                        let node = (node + 1) % NODES;
                        let at = (later + rng.u64(..MILLIS)).min(CALM + active);
                        self.orders.push(Order { at, node, id, wish: Wish::Lift });
                    }
                }
                2 => self.orders.push(Order { at: later, node, id: SESSIONS + index, wish: revoke }),
                3 => {
                    let session = rng.usize(..SESSIONS);
                    let wish = Wish::Revoke { session, validity, extends: false, mode, bound: None };
                    self.orders.push(Order { at: later, node, id: SESSIONS + index, wish });
                }
                4 | 5 => {
                    for at in [at, later] {
                        let validity = 20 * SECOND + rng.u64(..100 * SECOND);
                        let mode = Mode::Revoke;
                        let wish = Wish::Revoke { session, validity, extends: true, mode, bound: None };
                        self.orders.push(Order { at, node: rng.usize(..NODES), id: session, wish });
                    }
                }
                _ => {}
            }
        }
        self.orders.sort_by_key(|order| order.at);
    }
}

/// Returns a duration in microseconds.
pub(super) fn micros(duration: Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4)
}
