//! The port of what brings events from outside, other than by HTTP.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::node::Node;

/// A feed of events from outside, such as a message broker.
pub trait Source: Send + Sync + 'static {
    /// Returns its name, for the log and the metrics: `nats`.
    fn name(&self) -> &'static str;

    /// Returns whether it is connected.
    fn is_up(&self) -> bool;

    /// Passes each event to [`Node::take`], those of one feed in order, and connects again whenever
    /// the connection is lost. Never returns.
    fn run(self: Arc<Self>, node: Node) -> BoxFuture<'static, ()>;

    /// Receives nothing more. Resolves when what was received before is published, or the time
    /// `within` has passed.
    fn leave(&self, within: Duration) -> BoxFuture<'_, ()>;
}
