//! What nodes of a cluster tell each other.

use std::time::Duration;

use seal::Incarnation;
use session::Position;
use session::{NodeName, Operation, Receipt, RevocationId};

use session::LostLease;

/// Names an operation: the life that published it, and its number among those of that life. Never
/// used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// The process run that published it.
    pub life: Incarnation,
    /// 1 for its first operation. Repairs have numbers of their own, from [`Tag::REPAIRS`] on.
    pub number: u64,
}

impl Tag {
    /// Numbers from here on belong to repairs: states of the log that are published since the
    /// stream lacks them. No node misses one, so they are not counted with the operations.
    pub const REPAIRS: u64 = 1 << 63;
}

/// An operation as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Who has published it.
    pub tag: Tag,
    /// How many changes of its id the stream holds, with this one.
    pub revision: u32,
    /// The change. The validity of a revocation is what was left of it when it was sent.
    pub operation: Operation,
}

impl Shared {
    /// Returns the operation with what is left of its validity after a time.
    #[must_use]
    pub fn aged(mut self, age: Duration) -> Self {
        if let Operation::Revoke(revocation) = &mut self.operation
            && revocation.validity < Duration::MAX
        {
            revocation.validity = revocation.validity.saturating_sub(age);
        }
        self
    }

    /// Returns the id of the revocation.
    pub fn id(&self) -> &RevocationId {
        self.operation.id()
    }
}

/// The sign of life of a node. One that comes back through the stream renews the node's lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The newest version of messages that the node reads.
    pub version: u32,
    /// The process run.
    pub life: Incarnation,
    /// Its node.
    pub node: NodeName,
    /// 1 for the first beat of this life.
    pub count: u64,
    /// The position up to which the node had applied the stream when it sent this.
    pub applied: Position,
    /// When the newest message of the stream was stored that the node knew then, in milliseconds
    /// since 1970, by the clock of NATS. A beat that is stored much later was on its way for long.
    pub newest: u64,
    /// All operations of this life up to this number are in the stream, or never will be.
    pub settled: u64,
    /// Operations of this life that are not in the stream yet.
    pub pending: u64,
    /// How long the node may serve sessions after it has sent this.
    pub lease: Duration,
    /// What it does without a lease.
    pub policy: LostLease,
    /// Earlier lives of this node, which have ended: the lock of its data folder proves it.
    pub ends: Vec<Incarnation>,
    /// Whether the node had a log of an earlier life of the cluster. A node without one cannot know
    /// what a new stream lacks.
    pub has_history: bool,
    /// The last beat: the node has closed its connections and leaves.
    pub leaving: bool,
    /// What the node serves of the definitions of APIs.
    pub definitions: ServedDefinitions,
}

impl Beat {
    /// Returns whether it was stored a whole lease after it was sent, or later: its sender may have
    /// ended since, and somebody may have stored it again. Says nothing if the clock of NATS was
    /// set meanwhile, so no promise depends on it.
    #[must_use]
    pub fn is_stale(&self, stored_at: u64) -> bool {
        Duration::from_millis(stored_at.saturating_sub(self.newest)) >= self.lease
    }
}

/// Which definitions of APIs a node serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServedDefinitions {
    /// Their revision: the number of their changes; 0 if none were ever saved.
    pub revision: u64,
    /// Later ones, which the node cannot serve.
    pub refused: Option<RefusedDefinitions>,
}

impl ServedDefinitions {
    /// Returns whether the node serves this revision or a later one, or cannot serve it.
    #[must_use]
    pub fn has_settled(&self, revision: u64) -> bool {
        self.revision >= revision || self.refused.as_ref().is_some_and(|refused| refused.revision >= revision)
    }
}

/// Definitions that a node cannot serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedDefinitions {
    /// Their revision.
    pub revision: u64,
    /// The reason, which may be cut.
    pub reason: String,
}

/// A message of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its position. The epoch is the one that the sender believed to be in.
    pub position: Position,
    /// When the stream stored it, in milliseconds since 1970, by the clock of NATS.
    pub stored_at: u64,
    /// A digest of its bytes, which tells a message that is repeated from another one.
    pub digest: u64,
    /// It is stored where only a node that has the older cookie looks for it.
    pub outdated: bool,
    /// What it holds.
    pub content: Content,
}

/// The content of a message of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A revocation or a lift.
    Operation(Shared),
    /// A sign of life.
    Beat(Beat),
    /// The definitions of APIs. They do not concern sessions.
    Definitions,
    /// It was written by a newer version of the gateway, so this node cannot apply it.
    Newer,
    /// It is not authentic. Ignored, but it may have taken the place of a message that counts.
    Forged(Forgery),
}

/// What a message that is not authentic pretends to be, by its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// An operation; with the subject.
    Operation(String),
    /// A beat.
    Beat,
    /// Something else.
    Other,
}

/// A message to one life, or to all that listen now. It may be lost or repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Direct {
    /// An operation that is not in the stream yet, or that a node has not acknowledged.
    Operation(Shared),
    /// A node has applied an operation of the receiver.
    Acknowledgement {
        /// The operation.
        tag: Tag,
        /// As which change of its id the operation was applied.
        revision: u32,
        /// The node.
        node: NodeName,
        /// Its life.
        life: Incarnation,
        /// What the operation did there; `None` for a lift.
        receipt: Option<Receipt>,
    },
    /// A node misses operations of the receiver with numbers above this one.
    Missing {
        /// Who asks.
        life: Incarnation,
        /// The highest number up to which it has all.
        after: u64,
    },
    /// The answer: the present state of everything that the operations above `after` have changed.
    Supplied {
        /// Who answers.
        life: Incarnation,
        /// What was asked.
        after: u64,
        /// With these, the receiver has all operations up to this number.
        upto: u64,
        /// The operations.
        operations: Vec<Shared>,
    },
}
