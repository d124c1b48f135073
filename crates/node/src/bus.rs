//! The port to the other nodes.

use std::sync::Arc;

use event::Event;
use futures_util::future::BoxFuture;
use session::Operation;

use crate::node::Node;

/// Carries events and operations between the nodes of a cluster.
///
/// Events are delivered at most once, those of one publisher in order. Operations are delivered to
/// every node as soon as it can be reached, those on one id in order.
pub trait Bus: Send + Sync + 'static {
    /// Offers an event that was published at this node to the others. Never blocks.
    fn offer(&self, event: &Event) -> Offered;

    /// Sends an operation that this node has recorded to the others. Resolves when all of them have
    /// applied it, or when the bus no longer waits for unreachable ones; these apply it later.
    fn announce(&self, operation: Operation) -> BoxFuture<'_, ()>;

    /// Passes what the other nodes send to `node`: events to [`Node::publish`] with
    /// [`EventOrigin::Peer`](crate::EventOrigin::Peer), operations to [`Node::apply`], receipts to
    /// [`Node::receive_receipt`]. Never returns.
    fn run(self: Arc<Self>, node: Node) -> BoxFuture<'static, ()>;
}

/// What the bus did with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It was queued for the other nodes.
    Taken,
    /// The queue to the other nodes is full, so they miss the event.
    Full,
}
