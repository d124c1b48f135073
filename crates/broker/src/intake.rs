//! What every source does with a message: publishes its event, and counts what has become of it.

use std::fmt::Display;
use std::sync::Arc;

use event::{Event, ExtensionNames};
use node::{EventOrigin, Node};
use telemetry::Told;
use tokio::time::Instant;

use crate::metrics::{Failure, Metrics};

/// Takes the messages of all sources.
#[derive(Clone)]
pub struct Intake {
    metrics: Metrics,
    names: ExtensionNames,
    told: Arc<Told>,
}

/// Where messages come from.
#[derive(Clone)]
pub(crate) struct Feed {
    /// The kind of broker.
    pub(crate) source: &'static str,
    /// The topic as the settings name it.
    pub(crate) topic: Arc<str>,
    pub(crate) origin: EventOrigin,
}

impl Intake {
    /// Returns an intake. `names` says which names extensions may have.
    pub fn new(metrics: Metrics, names: ExtensionNames) -> Self {
        Self { metrics, names, told: Arc::default() }
    }

    pub(crate) fn names(&self) -> ExtensionNames {
        self.names
    }

    /// Begins to count a feed.
    pub(crate) fn expect(&self, feed: &Feed) {
        self.metrics.expect(feed.source, &feed.topic);
    }

    /// Publishes the event of a message, or refuses it for the reason that it is none. Waits while
    /// too much is in delivery.
    pub(crate) async fn take(&self, node: &Node, feed: &Feed, event: Result<Event, impl Display>) {
        let began = Instant::now();
        let event = match event {
            Ok(event) => event,
            Err(reason) => return self.refuse(feed, Failure::Invalid, &reason),
        };
        match node.take(event, feed.origin).await {
            Ok(()) => self.metrics.consumed(feed.source, &feed.topic, began.elapsed()),
            Err(reason) => self.refuse(feed, Failure::TooLarge, &reason),
        }
    }

    /// Counts a message that was not published, and logs the reason, without its content.
    pub(crate) fn refuse(&self, feed: &Feed, failure: Failure, reason: &impl Display) {
        let Feed { source, topic, .. } = feed;
        self.metrics.failed(source, topic, failure);
        if self.told.is_due(format!("{source} {topic} {}", failure.as_str())) {
            tracing::warn!(source, %topic, %reason, "a message was not published");
        }
    }
}
