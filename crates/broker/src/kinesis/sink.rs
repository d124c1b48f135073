//! What takes the records that are read.

use bytes::Bytes;
use event::Event;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use node::Node;

use crate::intake::{Feed, Intake};

/// Takes the records of a stream.
pub trait Sink: Send + Sync + 'static {
    /// Takes the data of a record, those of one shard in order. Resolves when the next may come.
    fn take(&self, data: Bytes) -> BoxFuture<'_, ()>;

    /// Resolves when nothing that was taken before can be lost any more by a crash.
    fn flushed(&self) -> BoxFuture<'_, ()>;
}

/// Publishes records at a node.
pub(crate) struct NodeSink {
    pub(crate) node: Node,
    pub(crate) intake: Intake,
    pub(crate) feed: Feed,
}

impl Sink for NodeSink {
    fn take(&self, data: Bytes) -> BoxFuture<'_, ()> {
        async move {
            let event = Event::from_json_with(event::http::unmarked(data), self.intake.names());
            // What is refused is counted. It would be refused again, so it counts as read.
            drop(self.intake.take(&self.node, &self.feed, event).await);
        }
        .boxed()
    }

    fn flushed(&self) -> BoxFuture<'_, ()> {
        self.node.flushed().boxed()
    }
}
