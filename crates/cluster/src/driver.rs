//! Runs the protocol: passes what happens to the core, and carries out what it decides.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt;
use node::Node;
use parking_lot::Mutex;
use seal::Incarnation;
use session::{
    Epoch, Fence, LogError, NodeName, Operation, Record, Revocation, RevocationId, SharedState, StateCursor,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::applier::{Applier, Job};
use crate::codec::Codec;
use crate::core::{Action, Core, Identity, Input, Lost, Old, Outcome, Progress, StreamState, Unpublished};
use crate::definitions::DefinitionsStore;
use crate::message::{Content, Direct, Shared, Stored, Tag};
use crate::metrics::Metrics;
use crate::wire::{Link, Live, Names, Publication, PublishError, StreamMessage, Wire, WireError};

/// Interval of ticks.
const TICK: Duration = Duration::from_millis(20);

/// Number of messages of one fetch.
const PAGE: usize = 2000;

/// From how many missing messages on the stream is replayed instead of fetched.
const REPLAY: u64 = 10_000;

/// How long a beat is kept in the stream. If the clock of NATS steps by an hour, beats of nodes
/// with a lease are still there.
const BEAT_TTL: Duration = Duration::from_secs(2 * 3600);

/// How long a lift is kept in the stream beyond what was left of its revocation.
const LIFT_KEPT: Duration = Duration::from_secs(24 * 3600);

/// How much longer the stream keeps a revocation than it is in force, at least: the clock of NATS
/// may be set.
const KEPT_LONGER: Duration = Duration::from_secs(3600);

/// How far the time of day may run ahead of the time since boot between two ticks.
const JUMP: Duration = Duration::from_secs(1);

/// How far a replay may be ahead of what is applied, in messages.
const UNAPPLIED: u64 = 20_000;

/// Limit of operations that wait to be put in force before they come through the stream.
const EARLY: usize = 1024;

/// Number of states of the log that are read at once.
const STATES: usize = 256;

/// A revocation that was accepted less than this ago is announced by whoever has accepted it.
const NEW: Duration = Duration::from_secs(2);

/// How long to wait before a connection that fails is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// What the rest of the node asks of the driver.
pub(crate) enum Command {
    /// A revocation is in force here, and stored; or one is to be lifted everywhere.
    Announce(Operation),
    /// The connections are closed.
    Leave,
}

/// What the rest of the node sees of the driver.
pub(crate) struct Shown {
    /// How far the operations of this life have got.
    progress: Mutex<HashMap<RevocationId, ShownProgress>>,
    /// The other lives that may have a lease.
    live: Mutex<Vec<(NodeName, Incarnation)>>,
    /// Whether this node has had a lease.
    joined: watch::Sender<bool>,
    /// Whether the last beat was sent.
    left: watch::Sender<bool>,
}

/// The progress of an operation, and when it began.
struct ShownProgress {
    since: Instant,
    last: watch::Sender<Progress>,
}

/// Limit of operations whose progress is shown.
const SHOWN: usize = 65_536;

impl Default for Shown {
    fn default() -> Self {
        let (joined, left) = (watch::Sender::new(false), watch::Sender::new(false));
        Self { progress: Mutex::default(), live: Mutex::default(), joined, left }
    }
}

impl Shown {
    /// Returns the other lives that may have a lease.
    pub(crate) fn live(&self) -> Vec<(NodeName, Incarnation)> {
        self.live.lock().clone()
    }

    /// Returns whether another life may have a lease.
    pub(crate) fn is_live(&self, life: Incarnation) -> bool {
        self.live.lock().iter().any(|(_, live)| *live == life)
    }

    /// Waits until the node has had its first lease.
    pub(crate) async fn joined(&self) {
        // The sender lives as long as this.
        let _ = self.joined.subscribe().wait_for(|joined| *joined).await;
    }

    /// Waits until the last beat was sent.
    pub(crate) async fn left(&self) {
        let _ = self.left.subscribe().wait_for(|left| *left).await;
    }

    /// Returns the progress of the last operation on an id.
    pub(crate) fn progress(&self, id: &RevocationId) -> Option<Progress> {
        self.progress.lock().get(id).map(|shown| shown.last.borrow().clone())
    }

    /// Shows the progress of an operation that begins now.
    pub(crate) fn begin(&self, id: RevocationId, progress: Progress) -> watch::Receiver<Progress> {
        let mut shown = self.progress.lock();
        if shown.len() >= SHOWN {
            shown.retain(|_, shown| !shown.last.borrow().is_final());
        }
        let (last, receiver) = watch::channel(progress);
        shown.insert(id, ShownProgress { since: Instant::now(), last });
        receiver
    }

    /// Shows progress. Returns how long the operation took, if it is complete now.
    fn update(&self, id: &RevocationId, progress: Progress) -> Option<Duration> {
        let shown = self.progress.lock();
        let shown = shown.get(id)?;
        let complete = progress.outcome == Outcome::Complete;
        let before = shown.last.send_replace(progress).outcome;
        (complete && before != Outcome::Complete).then(|| shown.since.elapsed())
    }
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
    identity: Identity,
    core: Core,
    node: Node,
    fence: Fence,
    wire: Arc<dyn Wire>,
    names: Names,
    codec: Arc<Codec>,
    shown: Arc<Shown>,
    definitions: Arc<DefinitionsStore>,
    metrics: Metrics,
    commands: mpsc::UnboundedReceiver<Command>,
    inputs: mpsc::UnboundedSender<Input>,
    received: mpsc::UnboundedReceiver<Input>,
    jobs: mpsc::UnboundedSender<Job>,
    early: mpsc::Sender<Shared>,
    /// The sequence up to which the stream is applied.
    applied: watch::Sender<u64>,
    is_replaying: Arc<AtomicBool>,
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
}

impl Driver {
    /// Returns a driver that has not begun.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            identity,
            node,
            fence,
            wire,
            names,
            codec,
            shown,
            definitions,
            metrics,
            commands,
            inputs,
            received,
        } = parts;
        let (jobs, queue) = mpsc::unbounded_channel();
        let (early, early_queue) = mpsc::channel(EARLY);
        let applier = Applier::new(node.clone(), identity.life, inputs.clone());
        tokio::spawn(applier.run(queue, early_queue));
        let core = Core::new(identity.clone(), node.position(), fence.now());
        let clocks = Clocks { since_boot: fence.now(), wall: SystemTime::now() };
        Self {
            identity,
            core,
            node,
            fence,
            wire,
            names,
            codec,
            shown,
            definitions,
            metrics,
            commands,
            inputs,
            received,
            jobs,
            early,
            applied: watch::Sender::new(0),
            is_replaying: Arc::default(),
            clocks,
        }
    }

    /// Runs the protocol. Returns only if the node must not go on.
    pub(crate) async fn run(mut self) -> Fatal {
        self.listen();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                Some(command) = self.commands.recv() => self.command(command),
                Some(input) = self.received.recv() => Some(input),
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
                Content::Definitions => self.definitions.seen(message.position.sequence),
                Content::Beat(beat) => self.definitions.hear(beat),
                _ => {}
            }
        }
        let was_following = self.core.is_following();
        self.core.handle(self.fence.now(), input);
        if self.core.is_following() && !was_following {
            let definitions = self.definitions.clone();
            tokio::spawn(async move { definitions.restore().await });
        }
        let applied = self.core.position().sequence;
        self.applied.send_if_modified(|shown| std::mem::replace(shown, applied) != applied);
    }

    fn tick(&mut self) {
        *self.shown.live.lock() = self.core.live_others().map(|(node, life)| (node.clone(), life)).collect();
        self.codec.write_for(self.core.versions());
        let left = self.fence.left().unwrap_or_default();
        self.metrics.lease_seconds_left.set(left.as_secs_f64());
        self.metrics.members.set(self.core.live_others().count() as i64 + 1);
        self.metrics.queued.set(self.node.unshared_count() as i64);
        self.metrics.unconfirmed.set(self.core.unconfirmed() as i64);
        if let Some(age) = self.core.beat_age() {
            self.metrics.beat_age.set(age.as_secs_f64());
        }
    }

    /// Returns whether the machine may have been asleep with both of its clocks, as a virtual
    /// machine that was paused: the time of day has moved on, and the time since boot has not.
    fn clock_jumped(&mut self) -> bool {
        let now = Clocks { since_boot: self.fence.now(), wall: SystemTime::now() };
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
                let (node, inputs) = (self.node.clone(), self.inputs.clone());
                tokio::spawn(async move {
                    let known = revision_before(&node, &operation).await;
                    let _ = inputs.send(Input::Announce { operation, known, queued: false });
                });
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
            Action::Publish { message, expected } => self.publish(&message, expected),
            Action::Beat(mut beat) => {
                beat.definitions = self.definitions.served();
                let subject = self.names.beat(beat.node.as_str());
                let payload = self.codec.beat(&subject, self.epoch(), &beat).into();
                let (ttl, leaving) = (Some(BEAT_TTL), beat.leaving);
                let publication = Publication { subject, payload, expected: None, message_id: None, ttl };
                let (wire, shown) = (self.wire.clone(), self.shown.clone());
                tokio::spawn(async move {
                    if let Err(error) = wire.publish(publication).await {
                        tracing::debug!(%error, "a beat was not stored");
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
                let (wire, payload) = (self.wire.clone(), self.codec.direct(None, self.epoch(), &message));
                tokio::spawn(async move { wire.broadcast(payload.into()).await });
            }
            Action::Send { to, message } => {
                let payload = self.codec.direct(Some(to), self.epoch(), &message);
                let wire = self.wire.clone();
                tokio::spawn(async move { wire.send(to, payload.into()).await });
            }
            Action::Supply { to, after, upto, ids } => self.supply(to, after, upto, ids),
            Action::ForgetPosition { recovery } => self.forget_position(recovery),
            Action::ReadStates { recovery, after } => self.read_states(recovery, after),
            Action::ShareQueued(room) => self.share_queued(room),
            Action::Extend(until) => self.fence.extend(until),
            Action::RolledBack(why) => {
                self.metrics.rollback.inc();
                tracing::error!(
                    why,
                    "the stream is a new one, or has lost messages: no lease until this node has published what it knows"
                );
            }
            Action::CloseFence(why) => self.close_fence(why),
            Action::Joined => {
                tracing::info!(node = %self.identity.node, "joined the cluster");
                self.shown.joined.send_replace(true);
            }
            Action::Progress { number, id, progress } => self.show(number, &id, progress),
            Action::Rotate => {
                tracing::warn!("no own beat came back for 3 s");
                let wire = self.wire.clone();
                tokio::spawn(async move { wire.rotate().await });
            }
            Action::Duplicate(life) => {
                let (node, life) = (self.identity.node.clone(), life.to_string());
                return Some(Fatal::Duplicate { node, life });
            }
        }
        None
    }

    fn epoch(&self) -> Epoch {
        self.core.position().epoch
    }

    fn close_fence(&self, why: Lost) {
        self.fence.close();
        match why {
            Lost::Newer => tracing::error!(
                "a message of the stream was sent by a newer version of the gateway: no lease until this node is upgraded"
            ),
            Lost::Rollback | Lost::Clock | Lost::Leaving => {}
        }
    }

    fn show(&self, number: u64, id: &RevocationId, progress: Progress) {
        for (node, receipt) in progress.receipts() {
            let (own, id, node) = (self.node.clone(), id.clone(), node.clone());
            tokio::spawn(async move { own.receive_receipt(id, node, receipt).await });
        }
        // Whoever waits for a later operation on the id must not take this one for it.
        if self.core.is_latest(id, number)
            && let Some(taken) = self.shown.update(id, progress)
        {
            self.metrics.time_to_cluster.observe(taken.as_secs_f64());
        }
    }

    fn inspect(&self) {
        let (wire, inputs) = (self.wire.clone(), self.inputs.clone());
        let (codec, beats) = (self.codec.clone(), self.names.beats());
        tokio::spawn(async move {
            let inspected = async {
                let info = wire.info().await?;
                for deviation in &info.deviations {
                    tracing::warn!("the stream is not as `rig cluster init` makes it: {deviation}");
                }
                let beats = wire.latest(beats).await?;
                let beats = beats.iter().map(|message| decode(&codec, message)).collect();
                Ok::<_, WireError>(StreamState {
                    epoch: info.epoch,
                    last: info.last,
                    adopted: info.adopted,
                    beats,
                    now: info.now,
                })
            };
            let input = match inspected.await {
                Ok(stream) => Input::Inspected(stream),
                Err(error) => {
                    tracing::warn!(%error, "the stream cannot be inspected");
                    Input::NotInspected
                }
            };
            let _ = inputs.send(input);
        });
    }

    fn fetch(&self, from: u64, target: u64) {
        let (wire, codec, inputs) = (self.wire.clone(), self.codec.clone(), self.inputs.clone());
        if self.is_replaying.load(Ordering::Relaxed) {
            return;
        }
        if target.saturating_sub(from) > REPLAY && !self.core.is_following() {
            self.is_replaying.store(true, Ordering::Relaxed);
            let (applied, is_replaying) = (self.applied.subscribe(), self.is_replaying.clone());
            tokio::spawn(async move {
                let next = replay(&*wire, &codec, &inputs, applied, from).await;
                is_replaying.store(false, Ordering::Relaxed);
                let _ = inputs.send(fetch_page(&*wire, &codec, next).await);
            });
            return;
        }
        if self.core.is_following() {
            self.metrics.gap.inc();
        }
        tokio::spawn(async move {
            let _ = inputs.send(fetch_page(&*wire, &codec, from).await);
        });
    }

    fn publish(&self, message: &Shared, expected: u64) {
        let subject = self.names.operation(&self.codec.subject_of(message.id()));
        let payload = Bytes::from(self.codec.operation(&subject, self.epoch(), message));
        let kept = match &message.operation {
            Operation::Revoke(revocation) => revocation.kept_for(),
            Operation::Lift { .. } => LIFT_KEPT,
        };
        let kept = kept.checked_add(KEPT_LONGER.max(kept / 10));
        let ttl = kept.filter(|kept| *kept < Duration::from_secs(10 * 365 * 24 * 3600));
        let number = message.tag.number;
        // The expected sequence tells a repeated publication. An id would do harm: NATS answers a
        // known id with the sequence of a message that it may have lost since.
        let publication = Publication { subject, payload, expected: Some(expected), message_id: None, ttl };
        let (wire, inputs) = (self.wire.clone(), self.inputs.clone());
        let round_trip = self.metrics.round_trip.clone();
        tokio::spawn(async move {
            let began = Instant::now();
            let result = wire.publish(publication).await;
            round_trip.observe(began.elapsed().as_secs_f64());
            let result = result.map_err(|error| match error {
                PublishError::Conflict => Unpublished::Conflict,
                PublishError::Refused(reason) => {
                    tracing::warn!(reason, "NATS refuses an operation; it is tried again");
                    Unpublished::Unknown
                }
                PublishError::Unknown => Unpublished::Unknown,
            });
            let _ = inputs.send(Input::Published { number, result });
        });
    }

    fn read(&self, number: u64, id: &RevocationId, again: bool) {
        let subject = self.names.operation(&self.codec.subject_of(id));
        let (wire, codec, inputs) = (self.wire.clone(), self.codec.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let input = match wire.last(subject).await {
                Ok(found) => {
                    Input::Read { number, again, found: found.map(|message| decode(&codec, &message)) }
                }
                Err(error) => {
                    tracing::debug!(%error, "the state of an id cannot be read");
                    Input::NotRead { number, again }
                }
            };
            let _ = inputs.send(input);
        });
    }

    /// Reads the first messages of the stream. If it does not answer, they are read the next time.
    fn read_oldest(&self) {
        let (wire, codec, inputs) = (self.wire.clone(), self.codec.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let Ok(info) = wire.info().await else { return };
            let Ok(fetched) = wire.fetch(info.first, PAGE).await else { return };
            let messages = fetched.messages.iter().map(|message| decode(&codec, message)).collect();
            let missing = (info.last + 1).saturating_sub(info.first).saturating_sub(info.messages);
            let _ = inputs.send(Input::Oldest { messages, missing });
        });
    }

    /// Reads what the log has of these ids.
    fn read_old(&self, old: Vec<Old>) {
        let (node, inputs) = (self.node.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let mut states = Vec::with_capacity(old.len());
            for old in old {
                match node.state(old.id.clone()).await {
                    Ok(state) => states.extend(state.map(|state| (old, state))),
                    Err(error) => {
                        tracing::error!(%error, "old revocations are not stored in the stream again");
                        return;
                    }
                }
            }
            let _ = inputs.send(Input::Refresh(states));
        });
    }

    fn supply(&self, to: Incarnation, after: u64, upto: u64, ids: Option<Vec<RevocationId>>) {
        let (node, wire, codec) = (self.node.clone(), self.wire.clone(), self.codec.clone());
        let inputs = self.inputs.clone();
        let (life, epoch) = (self.identity.life, self.epoch());
        tokio::spawn(async move {
            let states = match states(&node, ids).await {
                Ok(states) => states,
                Err(error) => {
                    tracing::error!(%error, "operations that another node misses cannot be read");
                    return;
                }
            };
            // In parts, so that each fits into a message; only the last one completes the number.
            let mut rest = states.as_slice();
            loop {
                let (part, behind) = rest.split_at(SUPPLIED.min(rest.len()));
                rest = behind;
                let upto = if rest.is_empty() { upto } else { after };
                let tag = Tag { life, number: 0 };
                let operations = part.iter().map(|SharedState { operation, revision, .. }| Shared {
                    tag,
                    revision: *revision,
                    operation: operation.clone(),
                });
                let message = Direct::Supplied { life, after, upto, operations: operations.collect() };
                let payload = codec.direct(Some(to), epoch, &message);
                let _ = wire.send(to, payload.into()).await;
                if rest.is_empty() {
                    break;
                }
            }
            let _ = inputs.send(Input::Repair(states));
        });
    }

    fn share_queued(&self, room: usize) {
        if self.node.unshared_count() == 0 {
            return;
        }
        let (node, inputs) = (self.node.clone(), self.inputs.clone());
        let publishing: HashSet<RevocationId> = self.core.publishing().cloned().collect();
        tokio::spawn(async move {
            let unshared = match node.unshared(0, room + publishing.len()).await {
                Ok(unshared) => unshared,
                Err(error) => {
                    tracing::error!(%error, "queued operations cannot be read");
                    return;
                }
            };
            for Record { revocation, left, accepted_at, .. } in unshared {
                // Those are about to be announced.
                let is_new = accepted_at.elapsed().is_ok_and(|age| age < NEW);
                if !is_new && !publishing.contains(&revocation.id) {
                    let known = revision(&node, &revocation.id).await;
                    let operation = Operation::Revoke(Revocation { validity: left, ..revocation });
                    let _ = inputs.send(Input::Announce { operation, known, queued: true });
                }
            }
        });
    }

    /// Forgets the position of the log, behind everything that was applied before.
    fn forget_position(&self, recovery: u64) {
        let (inputs, (forget, forgotten)) = (self.inputs.clone(), oneshot::channel());
        // The applier stops with the process.
        let _ = self.jobs.send(Job::ForgetPosition(forget));
        tokio::spawn(async move {
            if forgotten.await.is_ok() {
                let _ = inputs.send(Input::PositionForgotten { recovery });
            }
        });
    }

    /// Reads some states of the log.
    fn read_states(&self, recovery: u64, after: Option<StateCursor>) {
        let (node, inputs) = (self.node.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let page = loop {
                match node.states(after.clone(), STATES).await {
                    Ok(page) => break page,
                    Err(error) => tracing::error!(%error, "the log cannot be compared with the stream"),
                }
                sleep(AGAIN).await;
            };
            let _ = inputs.send(Input::States { recovery, states: page.states, next: page.next });
        });
    }

    /// Passes what comes from NATS to the core, for as long as the process runs.
    fn listen(&self) {
        let (wire, codec, inputs) = (self.wire.clone(), self.codec.clone(), self.inputs.clone());
        tokio::spawn(async move {
            loop {
                match wire.live().await {
                    Ok(mut live) => {
                        while let Some(live) = live.next().await {
                            match live {
                                Live::Message(message) => {
                                    let _ = inputs.send(Input::Live(decode(&codec, &message)));
                                }
                                Live::Link(link) => {
                                    tracing::info!(?link, "connection to NATS");
                                    if matches!(link, Link::Connected(_)) {
                                        let _ = inputs.send(Input::Reconnected);
                                    }
                                }
                            }
                        }
                    }
                    Err(error) => tracing::warn!(%error, "no subscription to the stream"),
                }
                sleep(AGAIN).await;
            }
        });
        let (wire, codec, inputs) = (self.wire.clone(), self.codec.clone(), self.inputs.clone());
        tokio::spawn(async move {
            loop {
                if let Ok(mut broadcasts) = wire.broadcasts().await {
                    while let Some(payload) = broadcasts.next().await {
                        match codec.read_direct(None, &payload) {
                            Ok(message) => _ = inputs.send(Input::Direct(message)),
                            Err(error) => tracing::debug!(%error, "a broadcast is not used"),
                        }
                    }
                }
                sleep(AGAIN).await;
            }
        });
    }
}

/// Limit of operations in one answer to a node that misses some.
const SUPPLIED: usize = 500;

/// Returns the revision that this node knew when it accepted an operation: 0 if another revocation
/// has taken its place in the log meanwhile.
async fn revision_before(node: &Node, operation: &Operation) -> u32 {
    let known = revision(node, operation.id()).await;
    let present = node.state(operation.id().clone()).await;
    match (operation, present.map(|state| state.map(|state| state.operation))) {
        (Operation::Revoke(ours), Ok(Some(Operation::Revoke(other))))
            if !ours.is_same(&other) && !ours.extends =>
        {
            0
        }
        _ => known,
    }
}

/// Returns how many changes of an id the stream has had, as far as this node knows.
async fn revision(node: &Node, id: &RevocationId) -> u32 {
    node.revision(id.clone()).await.unwrap_or_else(|error| {
        // The stream tells if it has one: it refuses a first change of the id then.
        tracing::warn!(%error, "the revision of an id cannot be read");
        0
    })
}

/// Returns the present states of these ids; of all, without ids.
async fn states(node: &Node, ids: Option<Vec<RevocationId>>) -> Result<Vec<SharedState>, LogError> {
    let mut states = Vec::new();
    let Some(ids) = ids else {
        let mut after = None;
        loop {
            let page = node.states(after, STATES).await?;
            states.extend(page.states);
            after = page.next;
            if after.is_none() {
                return Ok(states);
            }
        }
    };
    for id in ids {
        states.extend(node.state(id).await?);
    }
    Ok(states)
}

fn decode(codec: &Codec, message: &StreamMessage) -> Stored {
    codec.stored(&message.subject, message.sequence, message.stored_at, &message.payload)
}

async fn fetch_page(wire: &dyn Wire, codec: &Codec, from: u64) -> Input {
    match wire.fetch(from, PAGE).await {
        Ok(fetched) => {
            let messages = fetched.messages.iter().map(|message| decode(codec, message)).collect();
            Input::Fetched { from, messages, upto: fetched.upto }
        }
        Err(error) => {
            tracing::debug!(%error, "messages of the stream cannot be fetched");
            Input::NotFetched
        }
    }
}

/// Reads the stream from `from` on, not faster than it is applied. Returns the sequence from which
/// on the rest is to be fetched.
async fn replay(
    wire: &dyn Wire,
    codec: &Codec,
    inputs: &mpsc::UnboundedSender<Input>,
    mut applied: watch::Receiver<u64>,
    from: u64,
) -> u64 {
    let mut next = from;
    let mut replay = match wire.replay(from).await {
        Ok(replay) => replay,
        Err(error) => {
            tracing::warn!(%error, "the stream cannot be replayed; it is fetched");
            return next;
        }
    };
    let mut page = Vec::with_capacity(PAGE);
    loop {
        let message = replay.next().await;
        let is_last = !matches!(message, Some(Ok(_)));
        match message {
            Some(Ok(message)) => page.push(decode(codec, &message)),
            Some(Err(error)) => {
                tracing::warn!(%error, "the replay of the stream has stopped; the rest is fetched")
            }
            None => {}
        }
        if (page.len() == PAGE || is_last)
            && let Some(last) = page.last()
        {
            let (first, upto) = (next, last.position.sequence);
            next = upto + 1;
            let messages = std::mem::replace(&mut page, Vec::with_capacity(PAGE));
            let _ = inputs.send(Input::Fetched { from: first, messages, upto });
            // The driver has stopped if this fails.
            let _ = applied.wait_for(|applied| next.saturating_sub(*applied) < UNAPPLIED).await;
        }
        if is_last {
            return next;
        }
    }
}
