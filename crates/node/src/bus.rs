//! The port to the other nodes.

use std::sync::Arc;

use event::Event;
use futures_util::future::BoxFuture;
use session::Operation;

use crate::node::Node;

/// Carries events and operations between the nodes of a cluster.
///
/// Events are delivered at most once; the events of one publisher keep their order. Operations are
/// delivered to every node, each once that node can be reached, and the operations on one id in
/// their order.
pub trait Bus: Send + Sync + 'static {
    /// Offers an event that was published at this node to the others. Never blocks.
    fn offer(&self, event: &Event) -> Offered;

    /// Sends an operation that this node has recorded to the others. Resolves when all of them have
    /// applied it, or when the bus no longer waits for those that cannot be reached; they apply it
    /// later.
    fn announce(&self, operation: Operation) -> BoxFuture<'_, ()>;

    /// Passes what the other nodes send to `node`: events to [`Node::publish`] with
    /// [`EventOrigin::Peer`](crate::EventOrigin::Peer), operations to [`Node::apply`], receipts to
    /// [`Node::receive_receipt`]. Never returns.
    fn run(self: Arc<Self>, node: Node) -> BoxFuture<'static, ()>;
}

/// What the bus did with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is on its way.
    Taken,
    /// The queue to the other nodes is full: they miss the event.
    Full,
}
