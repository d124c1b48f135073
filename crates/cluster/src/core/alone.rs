//! A single node, and a stream and a log for it, for the tests of the core's parts.

use std::collections::BTreeMap;
use std::time::Duration;

use seal::Incarnation;
use session::{
    Epoch, LostLease, NodeName, Operation, Position, Revocation, RevocationId, SessionName, SharedState,
};

use super::{Action, Core, Identity, Input, Lost, Now, StreamState, Unpublished, WaitsFor};
use crate::codec::NEWEST;
use crate::message::{Beat, Content, Direct, Forgery, ServedDefinitions, Shared, Stored, Tag};

const LEASE: Duration = Duration::from_secs(15);
const EPOCH: Epoch = Epoch(7);

/// The only node of a cluster, with its stream and its log.
pub(super) struct Alone {
    pub(super) core: Core,
    pub(super) now: Now,
    /// The last sequence that the stream has given out.
    pub(super) last: u64,
    /// The last message of each subject, by sequence.
    stream: BTreeMap<u64, Stored>,
    /// What the log has of each id, and when it was recorded.
    log: BTreeMap<RevocationId, (SharedState, Now)>,
    /// The server stores and answers.
    works: bool,
    pub(super) rollbacks: usize,
    /// It has answered what it was asked for.
    supplied: bool,
    /// What it waits for before it joins.
    pub(super) waits_for: Option<WaitsFor>,
    /// It has to stop, since another life of its node runs.
    pub(super) is_duplicate: bool,
    /// What it has applied.
    pub(super) applied: Vec<Shared>,
    /// It has not finished the last ones.
    is_applying: bool,
    /// How often each id was stored.
    pub(super) publications: BTreeMap<RevocationId, usize>,
    /// For how long the last message of each id has to be known.
    pub(super) kept: BTreeMap<RevocationId, Duration>,
}

impl Alone {
    /// Follows the stream, with a lease.
    pub(super) fn new() -> Self {
        Self::begin(false, None)
    }

    /// Has two cookies. The stream holds this revocation under the older one; the log has it too.
    pub(super) fn replacing_cookie(revocation: Revocation) -> Self {
        Self::begin(true, Some(revocation))
    }

    /// Begins when another node with another cookie has just sent its first beat.
    pub(super) fn beside_another_cookie() -> Self {
        let mut alone = Self::stopped(false);
        alone.store(Content::Forged(Forgery::Beat));
        alone
    }

    fn begin(replaces_cookie: bool, outdated: Option<Revocation>) -> Self {
        let mut alone = Self::stopped(replaces_cookie);
        if let Some(revocation) = outdated {
            let (id, left) = (revocation.id.clone(), revocation.validity);
            let operation = Operation::Revoke(revocation);
            let state = SharedState { operation: operation.clone(), revision: 1, left };
            alone.log.insert(id, (state, alone.now));
            let sequence = alone.store_unheard(operation, 1);
            alone.stream.get_mut(&sequence).expect("it was just stored").outdated = true;
        }
        alone.pass(Duration::from_secs(5));
        assert!(alone.has_lease());
        alone
    }

    fn stopped(replaces_cookie: bool) -> Self {
        let now = Duration::from_secs(100);
        let me = Identity {
            life: Incarnation::from_bytes([1; Incarnation::BYTES]),
            node: NodeName::default(),
            earlier: Vec::new(),
            lease: LEASE,
            policy: LostLease::Closed,
            replaces_cookie,
        };
        Self {
            core: Core::new(me, Position::default(), now),
            now,
            last: 0,
            stream: BTreeMap::new(),
            log: BTreeMap::new(),
            works: true,
            rollbacks: 0,
            supplied: false,
            waits_for: None,
            is_duplicate: false,
            applied: Vec::new(),
            is_applying: false,
            publications: BTreeMap::new(),
            kept: BTreeMap::new(),
        }
    }

    pub(super) fn has_lease(&self) -> bool {
        self.now < self.core.lease_until()
    }

    /// Lets time pass, with ticks.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(100);
            self.handle(Input::Tick);
        }
    }

    /// Lets much time pass, in which only its beats come and go.
    pub(super) fn pass_long(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_secs(2);
            self.handle(Input::Tick);
        }
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(self.now, input);
        while let Some(action) = self.core.next_action() {
            if let Some(input) = self.answer(action) {
                self.core.handle(self.now, input);
            }
        }
    }

    /// Revokes a session, and returns the id.
    pub(super) fn revoke(&mut self, session: &str, validity: Duration) -> RevocationId {
        let session = SessionName::try_from(session).expect("it is short");
        let revocation = Revocation { extends: false, ..Revocation::blacklist(&session, validity) };
        let id = revocation.id.clone();
        let operation = Operation::Revoke(revocation);
        let state = SharedState { operation: operation.clone(), revision: 1, left: validity };
        self.log.insert(id.clone(), (state, self.now));
        self.handle(Input::Announce { operation, known: 0, queued: false });
        id
    }

    /// Lifts a revocation.
    pub(super) fn lift(&mut self, id: &RevocationId) {
        let operation = Operation::Lift { id: id.clone(), by: None };
        self.handle(Input::Announce { operation, known: 1, queued: false });
    }

    /// The node reads these oldest messages.
    pub(super) fn oldest(&mut self, messages: &[Stored], missing: u64) {
        self.handle(Input::Oldest { messages: messages.to_vec(), missing });
    }

    /// Another node stores an operation, and this one does not hear of it yet.
    /// Returns its sequence.
    pub(super) fn store_unheard(&mut self, operation: Operation, revision: u32) -> u64 {
        let life = Incarnation::from_bytes([2; Incarnation::BYTES]);
        let tag = Tag { life, number: revision.into() };
        self.store_as(tag, operation, revision)
    }

    fn store_as(&mut self, tag: Tag, operation: Operation, revision: u32) -> u64 {
        self.store(Content::Operation(Shared { tag, revision, operation })).position.sequence
    }

    /// A life stores the operation with this number, and this node hears of it.
    pub(super) fn store_heard_as(&mut self, (life, number): (u8, u64), operation: Operation, revision: u32) {
        let tag = Tag { life: Incarnation::from_bytes([life; Incarnation::BYTES]), number };
        let sequence = self.store_as(tag, operation, revision);
        let message = self.stream[&sequence].clone();
        self.handle(Input::Live(message));
    }

    /// Another node stores an operation, and this one hears of it.
    pub(super) fn store_heard(&mut self, operation: Operation, revision: u32) {
        let sequence = self.store_unheard(operation, revision);
        let message = self.stream[&sequence].clone();
        self.handle(Input::Live(message));
    }

    /// Another life beats for the second time, and says that these have ended.
    pub(super) fn hear_beat(&mut self, life: u8, node: &str, ends: &[u8]) {
        self.hear_beat_of((life, 2), node, ends, self.now_of_nats());
    }

    fn now_of_nats(&self) -> u64 {
        u64::try_from(self.now.as_millis()).expect("not that long")
    }

    /// Another life beats for the `count`th time; it was sent at `newest`.
    pub(super) fn hear_beat_of(&mut self, (life, count): (u8, u64), node: &str, ends: &[u8], newest: u64) {
        let incarnation = |life: &u8| Incarnation::from_bytes([*life; Incarnation::BYTES]);
        let beat = Beat {
            version: NEWEST,
            life: incarnation(&life),
            node: NodeName::from(node),
            count,
            applied: Position { epoch: EPOCH, sequence: self.last },
            newest,
            settled: 0,
            pending: 0,
            lease: LEASE,
            policy: LostLease::Closed,
            ends: ends.iter().map(incarnation).collect(),
            has_history: true,
            leaving: false,
            definitions: ServedDefinitions::default(),
        };
        let message = self.store(Content::Beat(beat));
        self.handle(Input::Live(message));
    }

    /// A life asks for the operations of this node. Returns whether it gets them.
    pub(super) fn is_asked(&mut self, life: u8) -> bool {
        let life = Incarnation::from_bytes([life; Incarnation::BYTES]);
        self.supplied = false;
        self.handle(Input::Direct(Direct::Missing { life, after: 0 }));
        self.supplied
    }

    /// Hears a beat that is not authentic.
    pub(super) fn hear_forged_beat(&mut self) {
        let message = self.store(Content::Forged(Forgery::Beat));
        self.handle(Input::Live(message));
    }

    /// Returns the first byte of each other life that may have a lease.
    pub(super) fn live_others(&self) -> Vec<u8> {
        self.core.live_others().map(|(_, life)| life.to_bytes()[0]).collect()
    }

    /// The node needs time to apply the next operation, and what comes meanwhile waits.
    pub(super) fn apply_slowly(&mut self) {
        self.is_applying = true;
    }

    /// It has applied the operation.
    pub(super) fn apply(&mut self) {
        self.is_applying = false;
        self.handle(Input::Applied(vec![None]));
    }

    /// Stores definitions of APIs.
    pub(super) fn store_definitions(&mut self) {
        self.stream.retain(|_, message| message.content != Content::Definitions);
        let message = self.store(Content::Definitions);
        self.handle(Input::Live(message));
    }

    /// Returns the sequence of the definitions.
    pub(super) fn definitions(&self) -> Option<u64> {
        let found = self.stream.iter().find(|(_, message)| message.content == Content::Definitions);
        found.map(|(sequence, _)| *sequence)
    }

    /// Returns the message that the stream has of an id, under the current cookie.
    pub(super) fn stored(&self, id: &RevocationId) -> Option<&Stored> {
        self.stream.values().find(|message| id_of(message) == Some(id) && !message.outdated)
    }

    /// Returns what is left of a revocation in the stream, by what its message says.
    pub(super) fn left(&self, id: &RevocationId) -> Option<Duration> {
        match &self.stored(id)?.content {
            Content::Operation(Shared { operation: Operation::Revoke(revocation), .. }) => {
                Some(revocation.validity)
            }
            _ => None,
        }
    }

    /// The stream loses the message of an id.
    pub(super) fn lose(&mut self, id: &RevocationId) {
        self.stream.retain(|_, message| id_of(message) != Some(id));
    }

    /// The stream does not answer, until it does again.
    pub(super) fn answers(&mut self, works: bool) {
        self.works = works;
    }

    /// The leader of the stream is away until the node asks for the state of the stream.
    pub(super) fn election(&mut self) {
        self.works = false;
        self.pass(Duration::from_secs(5));
        self.works = true;
    }

    fn store(&mut self, content: Content) -> Stored {
        self.last += 1;
        let position = Position { epoch: EPOCH, sequence: self.last };
        let stored_at = self.now_of_nats();
        let message = Stored { position, stored_at, digest: self.last, outdated: false, content };
        let is_beat = |message: &Stored| matches!(message.content, Content::Beat(_));
        self.stream.retain(|_, other| match id_of(&message) {
            Some(id) => id_of(other) != Some(id) || other.outdated,
            None => !is_beat(&message) || !is_beat(other),
        });
        self.stream.insert(self.last, message.clone());
        message
    }

    fn answer(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Inspect if self.works => Some(Input::Inspected(StreamState {
                epoch: EPOCH,
                last: self.last,
                adopted: true,
                beats: self
                    .stream
                    .values()
                    .filter(|message| matches!(message.content, Content::Beat(_)))
                    .cloned()
                    .collect(),
                now: self.now_of_nats(),
            })),
            Action::Inspect => Some(Input::NotInspected),
            Action::Fetch { from, .. } => {
                let messages = self.stream.range(from..).map(|(_, message)| message.clone());
                Some(Input::Fetched { from, messages: messages.collect(), upto: self.last })
            }
            Action::Beat(beat) if self.works => Some(Input::Live(self.store(Content::Beat(beat)))),
            Action::Publish { message, expected, kept } => {
                let number = message.tag.number;
                let present = self.stored(message.id()).map_or(0, |stored| stored.position.sequence);
                if !self.works || present != expected {
                    let result = Err(if self.works { Unpublished::Conflict } else { Unpublished::Unknown });
                    return Some(Input::Published { number, result });
                }
                self.kept.insert(message.id().clone(), kept);
                *self.publications.entry(message.id().clone()).or_default() += 1;
                let stored = self.store(Content::Operation(message));
                self.core.handle(self.now, Input::Live(stored));
                Some(Input::Published { number, result: Ok(self.last) })
            }
            Action::Read { number, id, again } if self.works => {
                Some(Input::Read { number, again, found: self.stored(&id).cloned() })
            }
            Action::Read { number, again, .. } => Some(Input::NotRead { number, again }),
            Action::Apply(operations) => {
                let receipts = vec![None; operations.len()];
                self.applied.extend(operations.into_iter().map(|(shared, _)| shared));
                (!self.is_applying).then_some(Input::Applied(receipts))
            }
            Action::ReadOldest if self.works => {
                Some(Input::Oldest { messages: self.stream.values().cloned().collect(), missing: 0 })
            }
            Action::ForgetPosition { recovery } => Some(Input::PositionForgotten { recovery }),
            Action::ReadStates { recovery, .. } => {
                let states = self.log.keys().map(|id| self.state(id)).collect();
                Some(Input::States { recovery, states, next: None })
            }
            Action::ReadOld(old) => {
                let states = old.into_iter().map(|old| {
                    let state = self.state(&old.id);
                    (old, state)
                });
                Some(Input::Refresh(states.collect()))
            }
            Action::RefreshDefinitions { sequence } => {
                self.stream.remove(&sequence);
                Some(Input::Live(self.store(Content::Definitions)))
            }
            Action::CloseFence(Lost::Rollback) => {
                self.rollbacks += 1;
                None
            }
            Action::Supply { .. } => {
                self.supplied = true;
                None
            }
            Action::Waits(what) => {
                self.waits_for = Some(what);
                None
            }
            Action::Duplicate(_) => {
                self.is_duplicate = true;
                None
            }
            _ => None,
        }
    }

    /// Returns the state that the log has of an id now.
    fn state(&self, id: &RevocationId) -> SharedState {
        let (mut state, since) = self.log[id].clone();
        if let Operation::Revoke(revocation) = &mut state.operation {
            revocation.validity -= self.now - since;
        }
        state
    }
}

fn id_of(message: &Stored) -> Option<&RevocationId> {
    match &message.content {
        Content::Operation(shared) => Some(shared.id()),
        _ => None,
    }
}
