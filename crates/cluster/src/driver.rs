//! Runs the protocol: passes what happens to the core, and carries out what it decides.

mod log;
mod shown;
mod stream;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use node::Node;
use session::{Epoch, Fence, NodeName, Operation, RevocationId};
use telemetry::Told;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::applier::{Applier, Job};
use crate::codec::Codec;
use crate::core::{Action, Core, Identity, Input, Lost, Progress, WaitsFor};
use crate::definitions::DefinitionsStore;
use crate::message::{Content, Forgery, Shared, Stored};
use crate::metrics::Metrics;
use crate::wire::{Names, Publication, PublishError, Wire};
use log::Overwritten;

pub(crate) use shown::Shown;

/// Interval of ticks.
const TICK: Duration = Duration::from_millis(20);

/// How long a beat is kept in the stream. If the clock of NATS steps by an hour, beats of nodes
/// with a lease are still there.
const BEAT_TTL: Duration = Duration::from_secs(2 * 3600);

/// How far the time of day may run ahead of the time since boot between two ticks.
const JUMP: Duration = Duration::from_secs(1);

/// Limit of operations that wait to be put in force before they come through the stream.
const EARLY: usize = 1024;

/// How long to wait before a connection that fails is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// What the rest of the node asks of the driver.
pub(crate) enum Command {
    /// A revocation is in force here, and stored; or one is to be lifted everywhere.
    Announce(Operation),
    /// The connections are closed.
    Leave,
}

/// What a driver needs.
pub(crate) struct Parts {
    pub(crate) identity: Identity,
    pub(crate) node: Node,
    pub(crate) fence: Fence,
    pub(crate) wire: Arc<dyn Wire>,
    pub(crate) names: Names,
    pub(crate) codec: Arc<Codec>,
    pub(crate) shown: Arc<Shown>,
    pub(crate) definitions: Arc<DefinitionsStore>,
    pub(crate) metrics: Metrics,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) inputs: mpsc::UnboundedSender<Input>,
    pub(crate) received: mpsc::UnboundedReceiver<Input>,
}

/// Runs the protocol of one node.
pub(crate) struct Driver {
    parts: Parts,
    core: Core,
    /// Operations to announce, in the order in which they were accepted.
    announcing: mpsc::UnboundedSender<Operation>,
    jobs: mpsc::UnboundedSender<Job>,
    early: mpsc::Sender<Shared>,
    /// The sequence up to which the stream is applied.
    applied: watch::Sender<u64>,
    /// How many sixteenths of the limit of its size the stream has.
    filled: Arc<AtomicU64>,
    overwritten: Arc<Overwritten>,
    /// The troubles with the stream that were logged.
    told: Arc<Told>,
    /// Reads a long part of the stream.
    replay: Option<JoinHandle<()>>,
    clocks: Clocks,
}

/// Both clocks at the last tick.
struct Clocks {
    since_boot: Duration,
    wall: SystemTime,
}

/// The driver cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fatal {
    /// Another process has the name of this node.
    #[error(
        "another node named \"{node}\" is alive (life {life}): each node needs a name of its own (CLUSTER_NODE) and a folder of its own (DATA_DIR)"
    )]
    Duplicate {
        /// The name.
        node: NodeName,
        /// The other life.
        life: String,
    },
    /// A connection to NATS has ended for good.
    #[error("the client of NATS does not react any more: this node has to be started again")]
    Unconnected,
}

impl Driver {
    /// Returns a driver that has not begun.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { identity, node, fence, inputs, .. } = &parts;
        let (jobs, queue) = mpsc::unbounded_channel();
        let (early, early_queue) = mpsc::channel(EARLY);
        let applier = Applier::new(node.clone(), identity.life, inputs.clone());
        tokio::spawn(applier.run(queue, early_queue));
        let core = Core::new(identity.clone(), node.position(), fence.now());
        let clocks = Clocks { since_boot: fence.now(), wall: SystemTime::now() };
        let (announcing, operations) = mpsc::unbounded_channel();
        tokio::spawn(log::announce(node.clone(), inputs.clone(), operations));
        let overwritten = Arc::<Overwritten>::default();
        let encoding = (parts.codec.clone(), parts.names.clone());
        tokio::spawn(overwritten.clone().put_back(node.clone(), encoding, inputs.clone()));
        let applied = watch::Sender::new(0);
        Self {
            parts,
            core,
            announcing,
            jobs,
            early,
            applied,
            filled: Arc::default(),
            overwritten,
            told: Arc::default(),
            replay: None,
            clocks,
        }
    }

    /// Runs the protocol. Returns only if the node must not go on.
    pub(crate) async fn run(mut self) -> Fatal {
        self.listen();
        self.watch_size();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let wire = self.parts.wire.clone();
        let mut ended = wire.ended();
        loop {
            let input = tokio::select! {
                // Ticks first: beats are sent whatever else there is to do.
                biased;
                _ = ticks.tick() => {
                    if self.clock_jumped() {
                        self.handle(Input::ClockJumped);
                    }
                    self.tick();
                    Some(Input::Tick)
                }
                Some(command) = self.parts.commands.recv() => self.command(command),
                Some(input) = self.parts.received.recv() => Some(input),
                () = &mut ended => return Fatal::Unconnected,
            };
            if let Some(input) = input {
                self.handle(input);
            }
            while let Some(action) = self.core.next_action() {
                if let Some(fatal) = self.act(action) {
                    return fatal;
                }
            }
        }
    }

    fn handle(&mut self, input: Input) {
        let messages: &[Stored] = match &input {
            Input::Live(message) => std::slice::from_ref(message),
            Input::Fetched { messages, .. } => messages,
            _ => &[],
        };
        for message in messages {
            match &message.content {
                Content::Definitions => self.parts.definitions.seen(message.position.sequence),
                Content::Beat(beat) => self.parts.definitions.hear(beat),
                Content::Forged(forgery) => self.forged(forgery),
                Content::Operation(_) | Content::Newer => {}
            }
        }
        let was_following = self.core.is_following();
        self.core.handle(self.parts.fence.now(), input);
        if self.core.is_following() && !was_following {
            // The stream may have lost the definitions, which the core does not store.
            let definitions = self.parts.definitions.clone();
            let replaces_cookie = self.parts.identity.replaces_cookie;
            let shown = self.parts.shown.clone();
            tokio::spawn(async move {
                // Before that, the node may turn out to have another cookie than the others.
                shown.joined().await;
                definitions.restore().await;
                if replaces_cookie {
                    tracing::warn!(
                        "everything is stored under NODE_COOKIE; once each node has said so, NODE_COOKIE_OLD can go"
                    );
                }
            });
        }
        let applied = self.core.position().sequence;
        self.applied.send_if_modified(|shown| std::mem::replace(shown, applied) != applied);
    }

    /// A message of the stream is not authentic.
    fn forged(&self, forgery: &Forgery) {
        self.parts.metrics.forged.inc();
        if let Forgery::Operation(subject) = forgery {
            // Whatever the stream lacks is compared with the log at the moment.
            if !self.core.is_sharing() {
                self.overwritten.add(subject);
            }
        }
        if self.told.is_due("forged") {
            tracing::error!(
                "a message of the stream is not authentic, and is ignored: a node has another NODE_COOKIE, or somebody forges messages"
            );
        }
    }

    fn tick(&mut self) {
        *self.parts.shown.live.lock() =
            self.core.live_others().map(|(node, life)| (node.clone(), life)).collect();
        *self.parts.shown.waits_for.lock() = self.core.waits_for();
        self.parts.codec.write_for(self.core.versions());
        let left = self.parts.fence.left().unwrap_or_default();
        self.parts.metrics.lease_seconds_left.set(left.as_secs_f64());
        self.parts.metrics.members.set(self.core.live_others().count() as i64 + 1);
        self.parts.metrics.queued.set(self.parts.node.unshared_count() as i64);
        self.parts.metrics.unconfirmed.set(self.core.unconfirmed() as i64);
        if let Some(age) = self.core.beat_age() {
            self.parts.metrics.beat_age.set(age.as_secs_f64());
        }
    }

    /// Returns whether the machine may have been asleep with both of its clocks, as a virtual
    /// machine that was paused: the time of day has moved on, and the time since boot has not.
    fn clock_jumped(&mut self) -> bool {
        let now = Clocks { since_boot: self.parts.fence.now(), wall: SystemTime::now() };
        let before = std::mem::replace(&mut self.clocks, now);
        let since_boot = self.clocks.since_boot.saturating_sub(before.since_boot);
        let wall = self.clocks.wall.duration_since(before.wall).unwrap_or_default();
        let jumped = wall > since_boot + JUMP;
        if jumped {
            tracing::warn!(
                seconds = (wall - since_boot).as_secs(),
                "the time of day jumped ahead: the lease is given up until the next beat"
            );
        }
        jumped
    }

    fn command(&mut self, command: Command) -> Option<Input> {
        match command {
            Command::Announce(operation) => {
                // They are announced for as long as the process runs.
                let _ = self.announcing.send(operation);
                None
            }
            Command::Leave => Some(Input::Leave),
        }
    }

    /// Carries out an action.
    fn act(&mut self, action: Action) -> Option<Fatal> {
        match action {
            Action::Inspect => self.inspect(),
            Action::Fetch { from, target } => self.fetch(from, target),
            // The applier stops with the process.
            Action::Apply(batch) => _ = self.jobs.send(Job::Batch(batch)),
            // If there are too many, the stream brings it.
            Action::ApplyEarly(shared) => _ = self.early.try_send(shared),
            Action::Publish { message, expected, kept } => self.publish(&message, expected, kept),
            Action::Beat(mut beat) => {
                beat.definitions = self.parts.definitions.served();
                let subject = self.parts.names.beat(beat.node.as_str());
                let payload = self.parts.codec.beat(&subject, self.epoch(), &beat).into();
                let (ttl, leaving) = (Some(BEAT_TTL), beat.leaving);
                let publication = Publication { subject, payload, expected: None, ttl };
                let (wire, shown) = (self.parts.wire.clone(), self.parts.shown.clone());
                let told = self.told.clone();
                tokio::spawn(async move {
                    match wire.publish(publication).await {
                        Err(PublishError::Refused(reason)) if told.is_due(&reason) => {
                            tracing::warn!(
                                reason,
                                "a beat was not stored: without beats, this node loses its lease"
                            );
                        }
                        Err(error) => tracing::debug!(%error, "a beat was not stored"),
                        Ok(_) => {}
                    }
                    if leaving {
                        shown.left.send_replace(true);
                    }
                });
            }
            Action::Read { number, id, again } => self.read(number, &id, again),
            Action::ReadOldest => self.read_oldest(),
            Action::ReadOld(old) => self.read_old(old),
            Action::Broadcast(message) => {
                let (wire, payload) =
                    (self.parts.wire.clone(), self.parts.codec.direct(None, self.epoch(), &message));
                tokio::spawn(async move { wire.broadcast(payload.into()).await });
            }
            Action::Send { to, message } => {
                let payload = self.parts.codec.direct(Some(to), self.epoch(), &message);
                let wire = self.parts.wire.clone();
                tokio::spawn(async move { wire.send(to, payload.into()).await });
            }
            Action::Supply { to, after, upto, ids } => self.supply(to, after, upto, ids),
            Action::ForgetPosition { recovery } => self.forget_position(recovery),
            Action::ReadStates { recovery, after } => self.read_states(recovery, after),
            Action::ShareQueued(room) => self.share_queued(room),
            Action::Extend(until) => self.parts.fence.extend(until),
            Action::RefreshDefinitions { sequence } => {
                let definitions = self.parts.definitions.clone();
                tokio::spawn(async move { definitions.refresh(sequence).await });
            }
            Action::Waits(what) => self.wait_for(what),
            Action::RolledBack(why) => {
                self.abort_replay();
                self.parts.definitions.forget_seen();
                self.parts.metrics.rollback.inc();
                tracing::error!(
                    why,
                    "the stream is a new one, or has lost messages: no lease until this node has published what it knows"
                );
            }
            Action::CloseFence(why) => self.close_fence(why),
            Action::Joined => {
                tracing::info!(node = %self.parts.identity.node, "joined the cluster");
                self.parts.shown.joined.send_replace(true);
            }
            Action::Progress { number, id, progress } => self.show(number, &id, progress),
            Action::Rotate => {
                tracing::warn!("no own beat came back for 3 s");
                let wire = self.parts.wire.clone();
                tokio::spawn(async move { wire.rotate().await });
            }
            Action::Duplicate(life) => {
                let (node, life) = (self.parts.identity.node.clone(), life.to_string());
                return Some(Fatal::Duplicate { node, life });
            }
        }
        None
    }

    fn wait_for(&mut self, what: WaitsFor) {
        self.abort_replay();
        *self.parts.shown.waits_for.lock() = Some(what);
        match what {
            WaitsFor::Cookie => tracing::error!(
                "a message of another node is not authentic: it has another NODE_COOKIE, so this node does not join"
            ),
            WaitsFor::Adoption => tracing::warn!(
                "the stream is new, and no node that is running knows what was in the one before: this node waits for one that does, or for `rig cluster adopt`"
            ),
        }
    }

    /// It waits until what it has read is applied, which now never is.
    fn abort_replay(&mut self) {
        if let Some(replay) = self.replay.take() {
            replay.abort();
        }
    }

    fn epoch(&self) -> Epoch {
        self.core.position().epoch
    }

    fn close_fence(&self, why: Lost) {
        self.parts.fence.close();
        if why == Lost::Newer {
            tracing::error!(
                "a message of the stream was sent by a newer version of the gateway: no lease until this node is upgraded"
            );
        }
    }

    fn show(&self, number: u64, id: &RevocationId, progress: Progress) {
        for (node, receipt) in progress.receipts() {
            let (own, id, node) = (self.parts.node.clone(), id.clone(), node.clone());
            tokio::spawn(async move { own.receive_receipt(id, node, receipt).await });
        }
        // Whoever waits for a later operation on the id must not take this one for it.
        if self.core.is_latest(id, number)
            && let Some(taken) = self.parts.shown.update(id, progress)
        {
            self.parts.metrics.time_to_cluster.observe(taken.as_secs_f64());
        }
    }
}
