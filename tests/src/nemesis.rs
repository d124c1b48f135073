//! Faults of a cluster of real processes, while clients watch that no revoked session receives
//! anything.

mod crowd;
mod fault;
mod judge;
mod publisher;
mod revoker;
mod session;
mod socket;
mod streams;
mod strike;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use fault::{Fault, Strike, schedule};
pub use judge::Verdict;

use crate::client::Request;
use crate::cluster::{Cluster, ClusterOptions};
use crate::folder::Folder;
use crowd::{CrowdOptions, NodePorts, Stage};

/// The lease of the nodes.
const LEASE: Duration = Duration::from_secs(3);

/// After a stream's acknowledgement and this time, a node that has not applied the revocation has
/// no lease: the lease, on clocks that differ by 0.1 % each.
const BOUND: Duration = Duration::from_micros(3_006_000);

/// For all nodes to have a lease after a fault.
const RECOVER: Duration = Duration::from_secs(90);

/// How long no fault follows after one is healed, at least.
const CALM: Duration = Duration::from_secs(2);

/// Between two looks at the cluster.
const LOOK: Duration = Duration::from_millis(20);

/// How a run is done.
#[derive(Clone, Copy, Debug)]
pub struct NemesisOptions {
    /// Determines the faults, their order and length, and who is revoked where.
    pub seed: u64,
    /// How long faults are made.
    pub length: Duration,
    /// Sessions that are not revoked, at any time; each has two connections or three.
    pub sessions: usize,
    /// Revocations in a second.
    pub revocations: u32,
}

/// A run.
pub struct Nemesis {
    cluster: Cluster,
    stage: Arc<Stage>,
    crowd: Option<JoinHandle<Verdict>>,
    options: NemesisOptions,
    start: Instant,
    calms: u64,
    /// How often each fault was made.
    faults: BTreeMap<String, u32>,
    /// Nodes that have exited without being asked to.
    exits: Vec<String>,
    /// What else must not be.
    violations: Vec<String>,
    /// An older copy of the servers' files.
    copy: Option<Folder>,
}

impl Nemesis {
    /// Starts a cluster and its clients.
    ///
    /// # Panics
    /// Panics if the cluster does not start.
    pub fn start(options: NemesisOptions) -> Self {
        let lease = format!("{}s", LEASE.as_secs());
        let settings = [("CLUSTER_HOLD", "2s"), ("LOG_LEVEL", "info")];
        let cluster = Cluster::start(ClusterOptions { servers: 3, lease: &lease, settings: &settings });
        let stage = Arc::new(Stage::default());
        let crowd_options = CrowdOptions {
            seed: options.seed,
            sessions: options.sessions,
            revocations: options.revocations,
            bound: BOUND,
        };
        let crowd = std::thread::spawn({
            let stage = stage.clone();
            move || crowd::run(stage, crowd_options)
        });
        Self {
            cluster,
            stage,
            crowd: Some(crowd),
            options,
            start: Instant::now(),
            calms: 0,
            faults: BTreeMap::new(),
            exits: Vec::new(),
            violations: Vec::new(),
            copy: None,
        }
    }

    /// Makes faults for the length of the run, heals the cluster after each, and returns what must
    /// not be. Prints what it does.
    ///
    /// # Panics
    /// Panics if a client panics.
    pub fn run(mut self) -> Outcome {
        println!("seed {}", self.options.seed);
        self.recover();
        for strike in schedule(self.options.seed, LEASE) {
            if self.start.elapsed() > self.options.length {
                break;
            }
            self.say(&format!("{strike}"));
            self.stage.calm.store(0, Ordering::SeqCst);
            let name = format!("{:?}", strike.fault);
            let name = name.split('(').next().unwrap_or_default().to_owned();
            *self.faults.entry(name).or_default() += 1;
            self.strike(strike);
            self.recover();
        }
        self.finish()
    }

    fn say(&self, what: &str) {
        println!("{:8.3} {what}", self.start.elapsed().as_secs_f64());
    }

    /// Waits until the cluster works again, then for a while in which nothing may be lost.
    fn recover(&mut self) {
        let healed = Instant::now();
        if !self.await_settled() || !self.await_ready() {
            let what = self.describe();
            self.say(&what);
            self.violations.push(format!("not ready {RECOVER:?} after a fault: {what}"));
            return;
        }
        self.say(&format!("ready after {:.1} s", healed.elapsed().as_secs_f64()));
        // Elections may follow once more, and clients connect again.
        self.wait(LEASE);
        if !self.await_ready() {
            return;
        }
        self.calms += 1;
        self.stage.calm.store(self.calms, Ordering::SeqCst);
        self.wait(CALM);
    }

    /// Describes what is not ready.
    fn describe(&self) -> String {
        let nodes = (0..3).map(|node| {
            let node = self.cluster.node(node);
            let ready = node.internal().and_then(|internal| Request::get("/readyz").status(internal));
            let log = node.gateway().map(crate::gateway::Gateway::log).unwrap_or_default();
            let last = log.lines().rev().filter(|line| !line.contains("\"INFO\"")).take(10);
            format!("{}: {ready:?}\n{}", node.name(), last.collect::<Vec<_>>().join("\n"))
        });
        let nodes = nodes.collect::<Vec<_>>().join("\n");
        format!("{}\n{nodes}", self.cluster.nats.describe(&self.cluster.stream()))
    }

    /// Waits until all servers have the whole stream.
    fn await_settled(&mut self) -> bool {
        let stream = self.cluster.stream();
        self.wait_for(|nemesis| nemesis.cluster.nats.is_settled(&stream))
    }

    fn await_ready(&mut self) -> bool {
        self.wait_for(|nemesis| (0..3).all(|node| nemesis.cluster.is_ready(node)))
    }

    fn wait(&mut self, time: Duration) {
        let end = Instant::now() + time;
        self.wait_for(|_| Instant::now() >= end);
    }

    /// Waits until `done`; `false` if it takes too long. Meanwhile, the crowd learns of ports, and
    /// nodes that have exited are started again, as a supervisor does.
    fn wait_for(&mut self, done: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + RECOVER;
        loop {
            for node in 0..3 {
                if let Some(log) = self.cluster.exited(node) {
                    self.say(&format!("node {node} has exited: {log}"));
                    self.exits.push(log);
                    self.cluster.launch(node);
                }
            }
            let ports = [0, 1, 2].map(|node| self.cluster.node(node)).map(|node| {
                let (inbound, internal) = (node.inbound()?, node.internal()?);
                Some(NodePorts { inbound, internal })
            });
            *self.stage.ports.lock() = ports;
            if done(self) {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            std::thread::park_timeout(LOOK);
        }
    }

    /// Stops the crowd and compares what was acknowledged with what is in force.
    fn finish(mut self) -> Outcome {
        self.say("the last revocations");
        self.stage.last_call.store(1, Ordering::SeqCst);
        self.wait_for(|nemesis| nemesis.crowd.as_ref().is_none_or(JoinHandle::is_finished));
        let crowd = self.crowd.take().expect("it ends once");
        let mut verdict = crowd.join().expect("no client panics");
        self.say("what is in force");
        for node in 0..3 {
            let gateway = self.cluster.gateway(node);
            for id in &verdict.acknowledged.clone() {
                let answer = gateway.ask_internal(&Request::get(format!("/v4/revocations/{id}")));
                if answer.status != 200 {
                    verdict.violation(format!("{id} was acknowledged; node {node}: {}", answer.status));
                } else if answer.json()["remainingSeconds"] == Value::Null {
                    verdict.violation(format!("{id}: node {node} has it without its time"));
                }
            }
        }
        self.violations.iter().for_each(|what| verdict.violation(what.clone()));
        self.exits.iter().for_each(|log| verdict.violation(format!("a node has exited: {log}")));
        Outcome { seed: self.options.seed, faults: self.faults, calms: self.calms, verdict }
    }
}

/// What came out of a run.
#[derive(Debug)]
pub struct Outcome {
    seed: u64,
    /// How often each fault was made.
    pub faults: BTreeMap<String, u32>,
    /// Phases without faults.
    pub calms: u64,
    /// What the clients have seen.
    pub verdict: Verdict,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let faults: Vec<_> = self.faults.iter().map(|(fault, times)| format!("{fault} {times}")).collect();
        writeln!(f, "seed {}, {} phases without faults", self.seed, self.calms)?;
        writeln!(f, "{} faults: {}", self.faults.values().sum::<u32>(), faults.join(", "))?;
        write!(f, "{}", self.verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Gateway;

    /// Runs the clients for a while against gateways that share nothing.
    fn crowd_at(gateways: [&Gateway; 3]) -> Verdict {
        let stage = Arc::new(Stage::default());
        let ports =
            |gateway: &Gateway| NodePorts { inbound: gateway.inbound(), internal: gateway.internal() };
        *stage.ports.lock() = gateways.map(|gateway| Some(ports(gateway)));
        let options = CrowdOptions { seed: 1, sessions: 20, revocations: 20, bound: BOUND };
        std::thread::scope(|scope| {
            let crowd = scope.spawn(|| crowd::run(stage.clone(), options));
            std::thread::park_timeout(Duration::from_secs(4));
            stage.last_call.store(1, Ordering::SeqCst);
            crowd.join().expect("no client panics")
        })
    }

    fn gateway() -> Gateway {
        Gateway::start(&[("MAX_CONNECTIONS_PER_MINUTE", "1000000")])
    }

    #[test]
    fn the_judge_finds_nothing_at_one_node() {
        let one = gateway();
        let verdict = crowd_at([&one; 3]);
        assert!(verdict.payloads > 1000 && verdict.answered("201 -") > 20, "{verdict}");
        assert_eq!(verdict.violations(), 0, "{verdict}");
    }

    #[test]
    fn the_judge_finds_nodes_that_do_not_share_revocations() {
        let gateways = [gateway(), gateway(), gateway()];
        let verdict = crowd_at(gateways.each_ref());
        assert!(verdict.violations() > 10, "{verdict}");
        assert!(verdict.to_string().contains("after 201"), "{verdict}");
    }
}
