//! The protocol of a cluster, without I/O: messages and the time go in, actions come out.
//!
//! All nodes follow one stream of operations and beats. A node's lease is proved by its own beat
//! coming back through that stream: everything that was stored before the beat is applied before
//! the beat counts, so a node with a lease has missed nothing that is older than the lease. A
//! revocation is complete when each node has either applied it or cannot have a lease any more.
//!
//! | file | what it decides |
//! | --- | --- |
//! | `reading.rs` | the order of the stream: contiguity, gaps, repeats, a stream that went back |
//! | `applying.rs` | what is applied next |
//! | `members.rs` | which lives there are, and what is known of each |
//! | `lease.rs` | beats, and when they renew the lease |
//! | `own.rs` | the operations of this life, and how far each has got |
//! | `publishing.rs` | the operations of this life, from the broadcast to the stream |
//! | `comparing.rs` | which of two operations on one id counts |
//! | `confirming.rs` | when every node has confirmed an operation |
//! | `recovery.rs` | what a node does when the stream is new or has lost messages |
//! | `sharing.rs` | what it publishes then |
//! | `rereading.rs` | whether the stream still has what it had before its leader changed |
//! | `restating.rs` | which revocations come after a lift that the stream has lost |
//! | `refreshing.rs` | which revocations are stored again because they are old |
//! | `view.rs` | nothing: what the driver reads of the protocol |

#[cfg(test)]
mod alone;
mod applying;
mod comparing;
mod confirming;
mod lease;
mod members;
mod own;
mod publishing;
mod reading;
mod recovery;
mod refreshing;
mod rereading;
mod restating;
mod sharing;
mod stream_clock;
mod view;

use std::collections::VecDeque;
use std::time::Duration;

use seal::Incarnation;
use session::{Epoch, Place, Position, SharedState, StateCursor};
use session::{NodeName, Operation, Receipt, RevocationId};

use crate::flaw::{Flaw, Flaws};
use crate::message::{Beat, Direct, Shared, Stored, Tag};
use lease::Lease;
use members::Members;
use own::Publishing;
use reading::Reading;
use recovery::Recovery;
use restating::Lifts;
use session::LostLease;
use stream_clock::StreamClock;

pub use members::Confirmation;
pub use own::{Outcome, Progress};
pub use recovery::WaitsFor;
pub use refreshing::Old;

/// A time on a node's own clock, which runs on while the machine sleeps (`CLOCK_BOOTTIME`).
pub type Now = Duration;

/// How far clocks of two nodes may drift apart, in thousandths: Linux slews by up to 0.05 %.
const DRIFT: u32 = 1;

/// Returns a time that is at least `time` on the clock of every other node.
pub fn on_any_clock(time: Duration) -> Duration {
    time + time * (2 * DRIFT) / 1000
}

/// Who a node of a cluster is, and how it takes part.
#[derive(Clone, Debug)]
pub struct Identity {
    /// This process run.
    pub life: Incarnation,
    /// The node.
    pub node: NodeName,
    /// Earlier lives of the node, which have ended: the latest ones, as far as other nodes may
    /// wait for them.
    pub earlier: Vec<Incarnation>,
    /// How long the node may serve sessions after a beat.
    pub lease: Duration,
    /// What it does without a lease.
    pub policy: LostLease,
    /// The cookie is being replaced: what is stored under the older one has to be stored again.
    pub replaces_cookie: bool,
}

/// What has happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed. Due at least ten times a second.
    Tick,
    /// The answer to [`Action::Inspect`].
    Inspected(StreamState),
    /// The stream cannot be inspected now.
    NotInspected,
    /// A beat would tell the other nodes something new.
    BeatDue,
    /// The connection to NATS is a new one: the server may have been started again with less than
    /// it had.
    Reconnected,
    /// A message came over the live path, in any order.
    Live(Stored),
    /// The answer to [`Action::Fetch`].
    Fetched {
        /// The sequence that was asked for.
        from: u64,
        /// What the stream holds, in order.
        messages: Vec<Stored>,
        /// Everything up to here was returned, or is not in the stream any more.
        upto: u64,
    },
    /// The stream did not answer.
    NotFetched,
    /// The answer to [`Action::Apply`]: all operations of the batch are in force, with what each
    /// has done here.
    Applied(Vec<Option<Receipt>>),
    /// The operation, which is not known to be in the stream yet, is in force here.
    AppliedEarly {
        /// The operation.
        tag: Tag,
        /// Which change of its id it was said to be.
        revision: u32,
        /// What it has done here.
        receipt: Receipt,
    },
    /// The answer to [`Action::Publish`].
    Published {
        /// The tag of the operation.
        number: u64,
        /// Its sequence, or why it has none.
        result: Result<u64, Unpublished>,
    },
    /// The answer to [`Action::Read`]: the last message on the subject of the id.
    Read {
        /// The number of the operation for which it was read.
        number: u64,
        /// It was read [again](Action::Read::again).
        again: bool,
        /// What was found.
        found: Option<Stored>,
    },
    /// The stream did not answer.
    NotRead {
        /// The number of the operation for which it was read.
        number: u64,
        /// It was to be read [again](Action::Read::again).
        again: bool,
    },
    /// The answer to [`Action::ReadOldest`].
    Oldest {
        /// The first messages of the stream.
        messages: Vec<Stored>,
        /// How many sequences behind the first one the stream does not hold any more.
        missing: u64,
    },
    /// The answer to [`Action::ReadOld`]: what the log has of each id.
    Refresh(Vec<(Old, SharedState)>),
    /// A message of another node, outside of the stream.
    Direct(Direct),
    /// This node has accepted a revocation, or wants to lift one.
    Announce {
        /// The change, with the validity that is left.
        operation: Operation,
        /// How many changes of the id this node knows; 0 if it is new.
        known: u32,
        /// It was found in the log: the answer to [`Action::ShareQueued`].
        queued: bool,
    },
    /// States of the log that the stream may have lost.
    Repair(Vec<SharedState>),
    /// The answer to [`Action::ForgetPosition`].
    PositionForgotten {
        /// The recovery that it belongs to.
        recovery: u64,
    },
    /// The answer to [`Action::ReadStates`].
    States {
        /// The recovery that it belongs to.
        recovery: u64,
        /// States of the log. May be empty although more follow.
        states: Vec<SharedState>,
        /// Where to continue; `None` after the last.
        next: Option<StateCursor>,
    },
    /// The node may have missed the passage of time, so its lease counts no more.
    ClockJumped,
    /// The connections are closed: the node leaves.
    Leave,
}

/// The stream, as NATS describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Its epoch.
    pub epoch: Epoch,
    /// The last sequence.
    pub last: u64,
    /// Whether an operator has confirmed that nothing is missing.
    pub adopted: bool,
    /// The last beat of each node.
    pub beats: Vec<Stored>,
    /// When NATS answered, by its clock, in milliseconds since 1970.
    pub now: u64,
}

/// Why an operation is not in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpublished {
    /// The subject holds another message than expected.
    Conflict,
    /// There was no answer in time. It may be stored all the same.
    Unknown,
    /// It was not sent: the stream is nearly full, and the rest is for beats.
    Full,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Action {
    /// Ask NATS for the state of the stream.
    Inspect,
    /// Get messages of the stream, from this sequence on.
    Fetch {
        /// The first sequence.
        from: u64,
        /// The last sequence that is known.
        target: u64,
    },
    /// Put operations in force, in order, and then answer. Nothing else is applied meanwhile.
    Apply(Vec<(Shared, Place)>),
    /// Put an operation in force that is not in the stream yet, unless a later state of its id is
    /// known.
    ApplyEarly(Shared),
    /// Store an operation in the stream.
    Publish {
        /// The operation.
        message: Shared,
        /// The sequence that the last message of this id must have; 0: there must be none.
        expected: u64,
        /// For how long nodes have to know of it.
        kept: Duration,
    },
    /// Store a beat in the stream.
    Beat(Beat),
    /// Read the last message of this id.
    Read {
        /// The number to answer with.
        number: u64,
        /// The id.
        id: RevocationId,
        /// Only to see whether the stream still holds the operation.
        again: bool,
    },
    /// Read the first messages of the stream.
    ReadOldest,
    /// Read what the log has of these ids.
    ReadOld(Vec<Old>),
    /// Send to all lives.
    Broadcast(Direct),
    /// Send to one life.
    Send {
        /// The life.
        to: Incarnation,
        /// The message.
        message: Direct,
    },
    /// Send [`Direct::Supplied`] with the present states of these ids, and answer with
    /// [`Input::Repair`]: another node misses them, so the stream may have lost them.
    Supply {
        /// Who has asked.
        to: Incarnation,
        /// What was asked.
        after: u64,
        /// Up to which number the ids are complete.
        upto: u64,
        /// The ids; `None`: everything in the log.
        ids: Option<Vec<RevocationId>>,
    },
    /// Put everything on the disk that was applied before, and forget the position of the log
    /// there: it belongs to a stream that is no more, and the next beat would prove it right.
    ForgetPosition {
        /// To answer with.
        recovery: u64,
    },
    /// Read some states of the log.
    ReadStates {
        /// To answer with.
        recovery: u64,
        /// Where to continue; `None` for the first.
        after: Option<StateCursor>,
    },
    /// Announce the records that are not in the stream, up to this many.
    ShareQueued(usize),
    /// The lease lasts until then.
    Extend(Now),
    /// Store the definitions again, if this still is the sequence of their message.
    RefreshDefinitions {
        /// The sequence.
        sequence: u64,
    },
    /// The node does not join yet. It goes on asking.
    Waits(WaitsFor),
    /// The stream is another one, or has lost messages, as this shows.
    RolledBack(&'static str),
    /// The lease counts no more.
    CloseFence(Lost),
    /// The node has its first lease, so it may let clients in; or the first one since it gave one
    /// up ([`Action::CloseFence`]).
    Joined,
    /// How far an operation of this life has got, whenever that changes.
    Progress {
        /// The number of the operation.
        number: u64,
        /// The id.
        id: RevocationId,
        /// How far.
        progress: Progress,
    },
    /// No own beat has come back for a while: connect to another server, unless this one is known
    /// to reach the others ([`Wire::rotate`](crate::wire::Wire::rotate)).
    Rotate,
    /// Another life of this node's name is alive, so this one must not go on.
    Duplicate(Incarnation),
}

/// Why a lease counts no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lost {
    /// The stream went back, or is another one.
    Rollback,
    /// A message of the stream is of a newer version.
    Newer,
    /// The clock of the machine stood still for a while.
    Clock,
    /// The node leaves.
    Leaving,
    /// A later life of the node runs.
    Replaced,
}

/// One node's part in the protocol.
pub struct Core {
    me: Identity,
    flaws: Flaws,
    now: Now,
    reading: Reading,
    members: Members,
    lease: Lease,
    publishing: Publishing,
    recovery: Recovery,
    clock: StreamClock,
    lifts: Lifts,
    /// When the oldest messages were looked at.
    refreshed: Option<Now>,
    actions: VecDeque<Action>,
}

impl Core {
    /// Returns a node that has not seen the stream yet. Its log has applied the stream up to
    /// `position`.
    pub fn new(me: Identity, position: Position, now: Now) -> Self {
        let mut core = Self {
            lease: Lease::new(&me, now),
            publishing: Publishing::default(),
            members: Members::default(),
            reading: Reading::new(position),
            recovery: Recovery::new(position),
            clock: StreamClock::default(),
            lifts: Lifts::default(),
            refreshed: None,
            flaws: Flaws::default(),
            actions: VecDeque::new(),
            me,
            now,
        };
        core.act(Action::Inspect);
        core
    }

    /// Switches planted bugs on.
    #[cfg(test)]
    pub(crate) fn with_flaws(mut self, flaws: Flaws) -> Self {
        self.flaws = flaws;
        self
    }

    /// Returns whether the node knows what an earlier stream of this cluster held.
    #[cfg(test)]
    pub(crate) fn has_history(&self) -> bool {
        self.recovery.has_history()
    }

    /// Returns whether the node has read a beat of this life.
    #[cfg(test)]
    pub(crate) fn knows(&self, life: Incarnation) -> bool {
        self.members.get(life).is_some()
    }

    /// Takes what has happened at `now`. [`Core::next_action`] returns what is to be done then.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.now = self.now.max(now);
        self.clock.learn(&input, self.now);
        match input {
            Input::Tick => self.tick(),
            Input::Inspected(stream) => self.inspected(stream),
            Input::NotInspected => self.not_inspected(),
            Input::Live(message) => self.live(message),
            Input::Fetched { from, messages, upto } => self.fetched(from, messages, upto),
            Input::NotFetched => self.not_fetched(),
            Input::Applied(receipts) => self.applied(receipts),
            Input::AppliedEarly { tag, revision, receipt } => self.acknowledge(tag, revision, Some(receipt)),
            Input::Published { number, result } => self.published(number, result),
            Input::Read { number, again: false, found } => self.read(number, found),
            Input::NotRead { number, again: false } => self.not_read(number),
            Input::Read { number, again: true, found } => self.reread(number, Some(found)),
            Input::NotRead { number, again: true } => self.reread(number, None),
            Input::Oldest { messages, missing } => self.oldest_read(&messages, missing),
            Input::Refresh(states) => self.refresh(states),
            Input::Direct(message) => self.direct(message),
            Input::Announce { operation, known, queued } => self.announce(operation, known, queued),
            Input::Repair(states) => states.into_iter().for_each(|state| self.repair(state)),
            Input::PositionForgotten { recovery } => self.position_forgotten(recovery),
            Input::States { recovery, states, next } => self.states_read(recovery, states, next),
            Input::ClockJumped => self.close_fence(Lost::Clock),
            Input::BeatDue => self.lease_is_due(),
            Input::Reconnected => self.suspect(),
            Input::Leave => self.leave(),
        }
        self.advance();
    }

    /// Returns what is to be done next, in order; `None` if nothing is.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns the position up to which the stream is applied.
    pub fn position(&self) -> Position {
        self.reading.position()
    }

    /// Returns the lives that may have a lease now, without this one.
    pub fn live_others(&self) -> impl Iterator<Item = (&NodeName, Incarnation)> {
        self.members.live(self.now).filter(|(_, life)| *life != self.me.life)
    }

    /// Returns what the node waits for before it reads the stream; `None` if for nothing.
    pub fn waits_for(&self) -> Option<WaitsFor> {
        self.recovery.waits_for()
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn tick(&mut self) {
        self.tick_recovery();
        self.tick_reading();
        self.tick_lease();
        self.tick_publishing();
        self.tick_refreshing();
    }

    fn direct(&mut self, message: Direct) {
        match message {
            Direct::Operation(shared) if shared.tag.life == self.me.life => {}
            Direct::Operation(shared) => self.apply_early(shared),
            Direct::Acknowledgement { tag, revision, life, receipt, .. } => {
                self.acknowledged(tag, revision, life, receipt);
            }
            Direct::Missing { life, after } => self.supply(life, after),
            Direct::Supplied { life, after, upto, operations } => {
                self.supplied(life, after, upto, operations);
            }
        }
    }

    /// Returns whether a planted bug is switched on: always `false` in the product.
    fn has(&self, flaw: Flaw) -> bool {
        self.flaws.has(flaw)
    }
}
