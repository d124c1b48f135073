//! The clients: sessions with streams and polls at all nodes, publishers, and who revokes.
//!
//! One thread reads everything. When it has read the answer to a revocation, it reads what has
//! arrived for that session, and judges all that comes later. So a busy machine delays the verdict,
//! and does not change it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{interval, sleep};

use super::judge::{PIPE, Verdict};
use super::session::{Session, State};
use super::socket::Order;
use super::{publisher, revoker, streams};
use crate::random::Random;

/// The number of types of events; each session wants one.
pub(super) const GROUPS: usize = 5;

/// The ports of the nodes, as far as they listen.
pub(super) type Ports = [Option<NodePorts>; 3];

/// The ports of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodePorts {
    pub(super) inbound: SocketAddr,
    pub(super) internal: SocketAddr,
}

/// What the nemesis tells the crowd.
#[derive(Default)]
pub(super) struct Stage {
    pub(super) ports: Mutex<Ports>,
    /// The number of the phase without faults; 0 while there are faults.
    pub(super) calm: AtomicU64,
    /// Set when no more revocations are to begin.
    pub(super) last_call: AtomicU64,
}

/// How many there are, and how much they do.
#[derive(Clone, Copy)]
pub(super) struct CrowdOptions {
    pub(super) seed: u64,
    /// Sessions that are not revoked, at any time.
    pub(super) sessions: usize,
    /// Revocations in a second.
    pub(super) revocations: u32,
    /// After this time without a beat, a node has no lease on any clock.
    pub(super) bound: Duration,
}

/// What all clients share.
pub(super) struct World {
    pub(super) stage: Arc<Stage>,
    pub(super) options: CrowdOptions,
    pub(super) verdict: RefCell<Verdict>,
    pub(super) random: RefCell<Random>,
    /// The sessions that no request to revoke was sent for, the oldest first.
    sessions: RefCell<VecDeque<Rc<Session>>>,
    created: Cell<usize>,
}

impl World {
    /// Returns the ports of a node; `None` while it does not listen.
    pub(super) fn ports(&self, node: usize) -> Option<NodePorts> {
        self.stage.ports.lock()[node]
    }

    /// Returns the number of the present phase without faults; `None` in a fault.
    pub(super) fn calm(&self) -> Option<u64> {
        Some(self.stage.calm.load(Ordering::SeqCst)).filter(|calm| *calm > 0)
    }

    pub(super) fn violation(&self, what: impl Into<String>) {
        self.verdict.borrow_mut().violation(what);
    }

    pub(super) fn below(&self, end: usize) -> usize {
        self.random.borrow_mut().below(end)
    }

    /// Waits for a random time up to this one.
    pub(super) async fn pause(&self, most: Duration) {
        let part = self.below(1000) as u32;
        sleep(most * part / 1000).await;
    }

    /// Judges a payload of a session.
    pub(super) fn payload(&self, session: &Session, order: &mut Order, publisher: u64, number: u64) {
        let mut verdict = self.verdict.borrow_mut();
        verdict.payloads += 1;
        if let State::Silent(since, why) = session.state() {
            let late = since.elapsed();
            if late <= PIPE {
                verdict.in_the_pipe += 1;
            } else {
                verdict.late += 1;
                verdict.violation(format!(
                    "payload {publisher}-{number} of {} came {late:?} after {why}",
                    session.name
                ));
            }
        }
        if let Some(before) = order.insert(publisher, number) {
            if number <= before {
                let name = &session.name;
                verdict.violation(format!(
                    "{name}: event {number} of publisher {publisher} came after {before}"
                ));
            }
            verdict.missed += number.saturating_sub(before + 1);
        }
    }

    fn create(self: &Rc<Self>) {
        let number = self.created.replace(self.created.get() + 1);
        let session = Rc::new(Session::new(format!("s{number}"), number % GROUPS));
        // A connection at each of two nodes or three, with another transport each.
        for (offset, transport) in streams::Transport::of(number).iter().enumerate() {
            spawn_local(streams::run(self.clone(), session.clone(), (number + offset) % 3, *transport));
        }
        self.sessions.borrow_mut().push_back(session);
    }

    /// Takes the oldest session out, and puts a new one in.
    fn next_to_revoke(self: &Rc<Self>) -> Option<Rc<Session>> {
        let session = self.sessions.borrow_mut().pop_front()?;
        self.create();
        Some(session)
    }
}

/// Runs until the last call, and until all revocations are answered.
pub(super) fn run(stage: Arc<Stage>, options: CrowdOptions) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let world = Rc::new(World {
        stage,
        options,
        verdict: RefCell::new(Verdict::new()),
        random: RefCell::new(Random::new(options.seed)),
        sessions: RefCell::default(),
        created: Cell::new(0),
    });
    let all = LocalSet::new();
    all.block_on(&runtime, play(world.clone()));
    // Drops the clients, which hold the world.
    drop(all);
    drop(runtime);
    Rc::into_inner(world).expect("all clients are gone").verdict.into_inner()
}

async fn play(world: Rc<World>) {
    for _ in 0..world.options.sessions {
        world.create();
    }
    for node in 0..3 {
        spawn_local(publisher::run(world.clone(), node));
    }
    let waiting = Rc::new(Cell::new(0_usize));
    let mut beat = interval(Duration::from_secs(1) / world.options.revocations);
    while world.stage.last_call.load(Ordering::SeqCst) == 0 || waiting.get() > 0 {
        beat.tick().await;
        if world.stage.last_call.load(Ordering::SeqCst) == 0
            && let Some(session) = world.next_to_revoke()
        {
            let (world, waiting) = (world.clone(), waiting.clone());
            waiting.set(waiting.get() + 1);
            spawn_local(async move {
                revoker::revoke(&world, &session).await;
                waiting.set(waiting.get() - 1);
            });
        }
    }
}
