//! Where revocations are stored: one port, implemented in memory and on disk.

use std::sync::Arc;
use std::time::Duration;

use crate::node_name::NodeName;
use crate::place::{Place, Position};
use crate::revocation::{Mode, Receipt, Record, Revocation, RevocationId, Seq};
use crate::selector::Selector;

/// The log could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the revocation log failed: {0}")]
pub struct LogError(pub Box<dyn std::error::Error + Send + Sync>);

/// What the log did with a revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is stored.
    New {
        /// Its number.
        seq: Seq,
    },
    /// It has [extended](Revocation::extends) the revocation that had its id: in one commit, the
    /// two were replaced by one with the later bound and the later end.
    Extended {
        /// The number of that one.
        seq: Seq,
        /// The revocation that it replaces.
        replaces: Replaced,
        /// It, with its remaining validity.
        revocation: Box<Revocation>,
    },
    /// An equal revocation with this id is stored already ([`Revocation::is_same`]). If it was to
    /// be extended, it has a bound and an end that are as late.
    Known(Box<Record>),
    /// Another revocation with this id is stored already.
    Conflict,
}

/// A revocation that another one with its id has replaced. The two may select different tokens: of
/// two nodes that accept an id at the same time, one takes over what the other has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Its number in the log.
    pub seq: Seq,
    /// The tokens that it selected.
    pub selector: Selector,
}

/// One step of a log, which [`Sessions::apply`](crate::Sessions::apply) puts into effect.
///
/// The numbers are those of the node's own log: two nodes number the same revocation differently.
/// What nodes send each other is an [`Operation`], which names a revocation by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A revocation is in force.
    Revoked {
        /// Its number in the log.
        seq: Seq,
        /// The revocation, with its remaining validity.
        revocation: Revocation,
        /// An earlier revocation of the same id, which it replaces.
        replaces: Option<Replaced>,
    },
    /// A revocation was lifted: its tokens are legal again.
    Lifted {
        /// The number of the revocation.
        of: Seq,
        /// The tokens that it selected.
        selector: Selector,
    },
}

/// A change as nodes send it to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A revocation was accepted. Holds its remaining validity.
    Revoke(Revocation),
    /// A revocation was lifted.
    Lift {
        /// The id of the revocation.
        id: RevocationId,
        /// Who asked for it, if the caller said so.
        by: Option<String>,
    },
}

impl Operation {
    /// Returns the id of the revocation that it changes.
    pub fn id(&self) -> &RevocationId {
        match self {
            Self::Revoke(revocation) => &revocation.id,
            Self::Lift { id, .. } => id,
        }
    }
}

/// The state of an id, as a node puts it back into a stream that has lost it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedState {
    /// A revocation with its remaining validity, or a lift. Who lifted it is in the audit log only.
    pub operation: Operation,
    /// The number of changes of the id, with this one.
    pub revision: u32,
    /// How long the state has to be known.
    pub left: Duration,
}

impl From<Record> for SharedState {
    fn from(record: Record) -> Self {
        let revision = record.revision + u32::from(!record.in_stream);
        let revocation = Revocation { validity: record.left, ..record.revocation };
        Self { operation: Operation::Revoke(revocation), revision, left: record.left }
    }
}

/// A position among the states of a log. The order is stable while the log changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateCursor {
    /// The revocation with this number was the last one.
    Revocation(Seq),
    /// The lift of this id was the last one.
    Lift(RevocationId),
}

/// Some of the states of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatePage {
    /// The states. May be empty although more follow.
    pub states: Vec<SharedState>,
    /// Where to continue; `None` after the last.
    pub next: Option<StateCursor>,
}

/// Stores revocations beyond the life of the process.
///
/// All methods but [`Log::load`] and [`Log::receipt`] are called by several threads at once,
/// outside every lock, and may block. `suite.rs` tests what every log must do.
pub trait Log: Send + Sync + 'static {
    /// Passes every revocation in force to `each`, and returns the position up to which the
    /// operations of other nodes are stored.
    ///
    /// # Errors
    /// Fails if the log cannot be read. No session can be checked then, and nothing may be
    /// registered.
    fn load(&self, each: &mut dyn FnMut(Entry)) -> Result<Position, LogError>;

    /// Stores a revocation; returns once it is stored. [`Revocation::appending`] says what it
    /// changes if its id is known. A [standing revocation](Revocation::standing) that changes
    /// nothing causes no commit.
    ///
    /// # Errors
    /// Fails if the revocation is not stored, or if that is not certain. It is in force all the
    /// same, until the process exits.
    fn append(&self, revocation: &Revocation) -> Result<Appended, LogError>;

    /// Marks a revocation as not stored in the stream, since other nodes may have lifted it and do
    /// not know that it is wanted again. Returns once that is stored.
    ///
    /// # Errors
    /// Fails if it is not certain that it is stored.
    fn unshare(&self, id: &RevocationId) -> Result<(), LogError>;

    /// Removes a revocation before it expires, on behalf of `by`; returns its record once that is
    /// certain.
    ///
    /// # Errors
    /// Fails if it is not certain that the revocation is removed. It stays in force.
    fn lift(&self, id: &RevocationId, by: Option<&str>) -> Result<Option<Record>, LogError>;

    /// Stores operations of the stream in their order, and the position of the last one with them:
    /// either all of this is stored, or nothing. [`KnownState::change`](crate::KnownState::change)
    /// says what each changes. A lift leaves a tombstone, which is kept for what was left of the
    /// revocation and [`LIFT_KEPT`], so that a late copy of the revocation does not bring it back.
    ///
    /// Returns what has changed, for each operation; `None` if nothing has that must be put into
    /// effect. Returns once it is stored.
    ///
    /// # Errors
    /// Fails if the operations are not stored, or if that is not certain.
    fn record(&self, operations: &[(Operation, Place)]) -> Result<Vec<Option<Entry>>, LogError>;

    /// Stores a position with the next commit, best effort: nothing before it is missing in the
    /// log. Within a stream, the position never moves back. Never blocks.
    fn advance(&self, position: Position);

    /// Returns up to `limit` records above `after` that were accepted here and are not in the
    /// stream yet, the oldest first. Without receipts.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    fn unshared(&self, after: Seq, limit: usize) -> Result<Vec<Record>, LogError>;

    /// Returns how many records are not in the stream yet, without counting them. May include some
    /// that have just expired.
    fn unshared_count(&self) -> u64;

    /// Returns up to `limit` states, from `after` on: of every revocation, and of every lift that
    /// is still known.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    fn states(&self, after: Option<&StateCursor>, limit: usize) -> Result<StatePage, LogError>;

    /// Returns the revision of the lift of an id, if it was lifted last and that is still known.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    fn lifted(&self, id: &RevocationId) -> Result<Option<u32>, LogError>;

    /// Stores what a revocation has done on `node`, asynchronously and best effort. Never blocks.
    fn receipt(&self, seq: Seq, node: &NodeName, receipt: Receipt);

    /// Returns a revocation by its id.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    fn find(&self, id: &RevocationId) -> Result<Option<Record>, LogError>;

    /// Returns up to `limit` revocations whose numbers are below `before`, the youngest first.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    fn page(&self, before: Option<Seq>, limit: usize) -> Result<Vec<Record>, LogError>;
}

/// What appending a revocation changes, if its id is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appending {
    /// Another revocation has its id.
    Conflict,
    /// The known one is the same.
    Known,
    /// This one replaces the known one.
    Extended(Revocation),
}

/// How long the record of a revocation that only disconnects is kept.
pub const DISCONNECT_KEPT: Duration = Duration::from_secs(24 * 3600);

/// How long a lift is known beyond the end of the revocation that it lifted.
pub const LIFT_KEPT: Duration = Duration::from_secs(24 * 3600);

impl Revocation {
    /// Decides what appending it changes: `known` has its id, and lasts for `left`.
    ///
    /// Two standing revocations with one id select different tokens if the id of the issuer has
    /// come to mean another `iss`; then the later one counts.
    pub fn appending(&self, known: &Self, left: Duration) -> Appending {
        let are_standing = self.is_standing() && known.is_standing();
        if !known.is_same(self) && !are_standing {
            return Appending::Conflict;
        }
        let slack = if are_standing { Self::SAME_END } else { Duration::ZERO };
        let ends_later = self.mode == Mode::Revoke && self.validity > left.saturating_add(slack);
        let moves = ends_later || !known.covers_ages_of(self) || self.selector != known.selector;
        if !self.extends || !moves {
            return Appending::Known;
        }
        let mut extended = Self { validity: self.validity.max(left), ..self.clone() };
        extended.extend_bound(known);
        Appending::Extended(extended)
    }

    /// Returns what is stored if the stream extends it by another one that is the same
    /// ([`StateChange::Extended`](crate::StateChange::Extended)).
    #[must_use]
    pub fn extended_by(&self, other: &Self) -> Self {
        let mut extended = Self { validity: self.validity.max(other.validity), ..other.clone() };
        extended.extend_bound(self);
        extended
    }

    /// Returns `true` if only the node that has accepted it carries it out: it selects tokens by a
    /// mark. It never gets into the stream of a cluster.
    pub fn is_local(&self) -> bool {
        self.selector.mark_kind().is_some()
    }

    /// Returns how long its record is kept.
    pub fn kept_for(&self) -> Duration {
        match self.mode {
            Mode::Revoke => self.validity,
            Mode::Disconnect => DISCONNECT_KEPT,
        }
    }
}

/// A log that several owners share: it outlives the sessions over it.
impl<L: Log> Log for Arc<L> {
    fn load(&self, each: &mut dyn FnMut(Entry)) -> Result<Position, LogError> {
        (**self).load(each)
    }

    fn append(&self, revocation: &Revocation) -> Result<Appended, LogError> {
        (**self).append(revocation)
    }

    fn unshare(&self, id: &RevocationId) -> Result<(), LogError> {
        (**self).unshare(id)
    }

    fn lift(&self, id: &RevocationId, by: Option<&str>) -> Result<Option<Record>, LogError> {
        (**self).lift(id, by)
    }

    fn record(&self, operations: &[(Operation, Place)]) -> Result<Vec<Option<Entry>>, LogError> {
        (**self).record(operations)
    }

    fn advance(&self, position: Position) {
        (**self).advance(position);
    }

    fn unshared(&self, after: Seq, limit: usize) -> Result<Vec<Record>, LogError> {
        (**self).unshared(after, limit)
    }

    fn unshared_count(&self) -> u64 {
        (**self).unshared_count()
    }

    fn states(&self, after: Option<&StateCursor>, limit: usize) -> Result<StatePage, LogError> {
        (**self).states(after, limit)
    }

    fn lifted(&self, id: &RevocationId) -> Result<Option<u32>, LogError> {
        (**self).lifted(id)
    }

    fn receipt(&self, seq: Seq, node: &NodeName, receipt: Receipt) {
        (**self).receipt(seq, node, receipt);
    }

    fn find(&self, id: &RevocationId) -> Result<Option<Record>, LogError> {
        (**self).find(id)
    }

    fn page(&self, before: Option<Seq>, limit: usize) -> Result<Vec<Record>, LogError> {
        (**self).page(before, limit)
    }
}
