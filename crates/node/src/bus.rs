//! The port to the other nodes.

use std::sync::Arc;
use std::time::Duration;

use event::Event;
use futures_util::future::BoxFuture;
use seal::Incarnation;
use session::{Revocation, RevocationId};

use crate::node::Node;
use crate::spread::Spread;

/// Carries events and operations between the nodes of a cluster.
///
/// Events are delivered at most once, those of one publisher in order. Operations are delivered to
/// every node as soon as it can be reached, those on one id in order: the order of a stream that
/// all nodes follow.
pub trait Bus: Send + Sync + 'static {
    /// Offers an event that was published at this node to the others. Never blocks. Called when the
    /// event takes its position at this node, so that stamps and positions have one order.
    fn offer(&self, event: &Event) -> Offered;

    /// Waits until the queue to the others has room for an event that is published at this node,
    /// and the others can be reached. Returns its place, which is taken when the event takes its
    /// position.
    fn reserve<'b>(&'b self, event: &'b Event) -> BoxFuture<'b, Reservation>;

    /// Resolves when every event that has taken its [place](Bus::reserve) before has been received
    /// by what carries it to the others.
    fn flushed(&self) -> BoxFuture<'_, ()>;

    /// Returns the bucket in which events of a type are numbered; `None` if they are not.
    fn bucket_of(&self, _event_type: &str) -> Option<u16> {
        None
    }

    /// Returns the last stamp that this node has given in each of these buckets.
    fn own_stamps(&self, _buckets: &[u16]) -> Vec<Stamp> {
        Vec::new()
    }

    /// Has the others learn soon, among the events of these buckets, which stamps this node has
    /// given last there. What they received before that is all that they will receive up to there.
    fn send_heads(&self, _buckets: Vec<u16>) {}

    /// Makes sure that events of these types come from the other nodes from now on, or that their
    /// loss is noticed: a bus that numbers events [begins](Node::begin) with their buckets.
    fn want<'b>(&'b self, types: Vec<&'b str>) -> BoxFuture<'b, ()>;

    /// Returns the size limit of an event in bytes.
    fn max_event(&self) -> usize;

    /// Sends a revocation to the others that is in force here, and in this node's log unless that
    /// has failed. The call begins to send it, and dropping the future cancels nothing. A
    /// revocation that cannot be sent is queued, in the log, until it can.
    ///
    /// Resolves when the revocation is [complete](crate::Reach::Complete), which may never happen.
    ///
    /// # Errors
    /// Fails if another revocation with this id was first.
    fn announce(&self, revocation: Revocation) -> BoxFuture<'static, Result<Spread, IdTaken>>;

    /// Returns how far the latest revocation or lift of this id has got that was announced at this
    /// node; `None` if none was since the node started, or it was too long ago.
    fn spread(&self, id: &RevocationId) -> Option<Spread>;

    /// Lifts a revocation on behalf of `by`: in the stream first, then at every node, this one
    /// included. The call begins to send it, and dropping the future cancels nothing.
    ///
    /// Resolves when every node has applied it, or the time `within` has passed, with how far it
    /// has got by then; with `None` if there is no such revocation.
    ///
    /// # Errors
    /// Fails if the stream has not stored it in time. The revocation stays in force everywhere, and
    /// the lift is not tried again. If [`NoQuorum::may_follow`] says so, a request whose outcome is
    /// not known may still be stored, and then takes effect everywhere.
    fn lift(
        &self,
        id: RevocationId,
        by: Option<String>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Option<Spread>, NoQuorum>>;

    /// Tells the other nodes that this one leaves, with all connections closed. Resolves when they
    /// can know, or cannot be reached.
    fn leave(&self) -> BoxFuture<'_, ()>;

    /// Passes what the other nodes send to `node`: events to [`Node::publish`] with
    /// [`EventOrigin::Peer`](crate::EventOrigin::Peer), one after the other, what was lost of them
    /// to [`Node::lost`], operations to [`Node::enforce`] and
    /// [`Node::record`], receipts to [`Node::receive_receipt`]. Never returns.
    fn run(self: Arc<Self>, node: Node) -> BoxFuture<'static, ()>;
}

/// What the bus did with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It was queued for the other nodes, with this stamp if the bus gives any.
    Taken(Option<Stamp>),
    /// The queue to the other nodes is full, so they miss the event that has this stamp.
    Full(Option<Stamp>),
}

/// Names an event at all nodes: its publisher, and its number among those of that publisher and
/// bucket, without holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The life of the node where it was published.
    pub life: Incarnation,
    /// What its type is hashed to.
    pub bucket: u16,
    /// Its number, from 1 on.
    pub number: u64,
}

impl Stamp {
    /// Returns whether both are of one publisher and bucket.
    pub fn is_of(&self, other: &Self) -> bool {
        (self.life, self.bucket) == (other.life, other.bucket)
    }
}

/// A place in the queue to the other nodes. Calling it takes the place, and returns the stamp of
/// the event if the bus gives any.
pub type Reservation = Box<dyn FnOnce() -> Option<Stamp> + Send>;

/// Another revocation with the same id was first in the stream. It replaces this one at every node,
/// here too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another revocation with this id was accepted at another node")]
pub struct IdTaken;

/// The stream stores nothing now: it cannot be reached, or has lost the majority of its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cluster cannot store it now")]
pub struct NoQuorum {
    /// The stream was asked to store it, and may still do so.
    pub may_follow: bool,
}
