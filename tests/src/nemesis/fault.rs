//! The faults, and their order in a run.

use std::fmt;
use std::time::Duration;

use crate::cluster::{Direction, LinkState};
use crate::random::Random;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A node is killed.
    KillNode(usize),
    /// A node is stopped, for longer than its lease.
    StopNode(usize),
    /// A node is cut off from all nats-servers.
    CutNode(usize, LinkState),
    /// Everything between a node and the nats-servers is late.
    SlowNode(usize),
    /// The nodes are restarted in order, one after the other.
    RollNodes,
    /// The files of a node cannot grow.
    FullDisk(usize),
    /// The files of a nats-server cannot grow.
    FullServer(usize),
    /// A nats-server starts again without its files.
    EmptyServer(usize),
    /// The leader of the stream is killed.
    KillLeader,
    /// The leader of the stream is stopped.
    StopLeader,
    /// The leader is cut off from the other servers and from all nodes.
    CutLeader(LinkState),
    /// All nats-servers are killed.
    KillServers,
    /// Two of three servers are cut off from everything.
    CutMajority(LinkState),
    /// The nats-servers are restarted in order, one after the other.
    RollServers,
    /// Everything between two servers is late.
    SlowRoute(usize),
    /// The stream is deleted, and made again.
    DeleteStream,
    /// The servers start again with an older copy of their files.
    RestoreStream,
}

/// A fault and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// The fault.
    pub fault: Fault,
    /// From the fault until it is healed.
    pub length: Duration,
}

/// The delay of slow links.
pub(super) const SLOW: Duration = Duration::from_millis(500);

/// Returns an endless schedule: every fault once in random order, then again in another.
pub fn schedule(seed: u64, lease: Duration) -> impl Iterator<Item = Strike> {
    let mut random = Random::new(seed);
    std::iter::repeat_with(move || round(&mut random, lease)).flatten()
}

fn round(random: &mut Random, lease: Duration) -> Vec<Strike> {
    let node = |random: &mut Random| random.below(3);
    let cut = |random: &mut Random| match random.below(4) {
        0 => LinkState::Cut,
        1 => LinkState::HalfOpen(Direction::ToServer),
        2 => LinkState::HalfOpen(Direction::ToClient),
        _ => LinkState::BlackHole,
    };
    let mut faults = vec![
        Fault::KillNode(node(random)),
        Fault::StopNode(node(random)),
        Fault::CutNode(node(random), cut(random)),
        Fault::SlowNode(node(random)),
        Fault::RollNodes,
        Fault::FullDisk(node(random)),
        Fault::FullServer(node(random)),
        Fault::EmptyServer(node(random)),
        Fault::KillLeader,
        Fault::StopLeader,
        Fault::CutLeader(cut(random)),
        Fault::KillServers,
        Fault::CutMajority(cut(random)),
        Fault::RollServers,
        Fault::SlowRoute(node(random)),
        Fault::DeleteStream,
        Fault::RestoreStream,
    ];
    random.shuffle(&mut faults);
    faults.into_iter().map(|fault| Strike { fault, length: length(fault, random, lease) }).collect()
}

fn length(fault: Fault, random: &mut Random, lease: Duration) -> Duration {
    let mut seconds =
        |from: usize, to: usize| Duration::from_secs((from + random.below(to - from + 1)) as u64);
    match fault {
        // Some of them are shorter than the lease.
        Fault::StopNode(_) | Fault::StopLeader | Fault::CutNode(..) => match seconds(0, 9).as_secs() {
            0 => Duration::from_secs(1),
            1 => lease * 4,
            _ => lease * 2,
        },
        Fault::RollNodes | Fault::RollServers => Duration::ZERO,
        Fault::KillServers | Fault::RestoreStream => Duration::from_secs(2),
        _ => seconds(3, 8),
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} for {:?}", self.fault, self.length)
    }
}
