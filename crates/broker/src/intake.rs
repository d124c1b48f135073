//! What every source does with a message: publishes its event, and counts what has become of it.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;
use std::time::SystemTime;

use event::{Event, ExtensionNames};
use node::{EventOrigin, Node};
use serde::Deserialize;
use telemetry::{Consumption, Spans, Told, TraceContext};
use tokio::time::Instant;

use crate::metrics::{Consumed, Failure, Metrics};

/// Takes the messages of all sources.
#[derive(Clone)]
pub struct Intake {
    metrics: Metrics,
    names: ExtensionNames,
    told: Arc<Told>,
    spans: Option<Arc<Spans>>,
}

/// Where messages come from.
#[derive(Clone)]
pub(crate) struct Feed {
    /// The kind of broker.
    pub(crate) source: &'static str,
    /// The topic as the settings name it.
    pub(crate) topic: Arc<str>,
    pub(crate) origin: EventOrigin,
    consumed: Consumed,
}

/// A message was not published, and is counted and logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Why, without the content of the message.
    pub(crate) reason: String,
}

impl Intake {
    /// Returns an intake. `names` says which names extensions may have. Traces of messages go on in
    /// `spans`, if there are any.
    pub fn new(metrics: Metrics, names: ExtensionNames, spans: Option<Arc<Spans>>) -> Self {
        Self { metrics, names, told: Arc::default(), spans }
    }

    pub(crate) fn names(&self) -> ExtensionNames {
        self.names
    }

    /// Returns what is counted.
    #[cfg(any(feature = "kafka", feature = "nats"))]
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Returns a feed, and begins to count what comes from it.
    pub(crate) fn feed(&self, source: &'static str, topic: &str, origin: EventOrigin) -> Feed {
        let topic = topic.into();
        Feed { source, consumed: self.metrics.of(source, &topic), topic, origin }
    }

    /// Publishes the event of a message, or refuses it for the reason that it is none. Waits while
    /// too much is in delivery.
    ///
    /// # Errors
    /// Fails if the event was not published, nor would be if it were taken again.
    pub(crate) async fn take(
        &self,
        node: &Node,
        feed: &Feed,
        event: Result<Event, impl Display>,
    ) -> Result<(), Refused> {
        let began = Instant::now();
        let event = match event {
            Ok(event) => event,
            Err(reason) => return Err(self.refuse(feed, Failure::Invalid, &reason)),
        };
        let traced = self.spans.as_ref().and_then(|spans| Some((spans, sender(&event)?, SystemTime::now())));
        let taken = node.take(event, feed.origin).await;
        let took = began.elapsed();
        if let Some((spans, sender, began)) = traced {
            let failure = taken.is_err().then_some(Failure::TooLarge.as_str());
            let Feed { source, topic, .. } = feed;
            spans.consumed(&Consumption { system: source, topic, sender, began, took, failure });
        }
        match taken {
            Ok(()) => {
                feed.consumed.published(took);
                Ok(())
            }
            Err(reason) => Err(self.refuse(feed, Failure::TooLarge, &reason)),
        }
    }

    /// Counts a message that has nothing to publish, as is usual where it comes from.
    #[cfg(feature = "kafka")]
    pub(crate) fn skip(&self, feed: &Feed, failure: Failure) {
        self.metrics.failed(feed.source, &feed.topic, failure);
    }

    /// Counts a message that was not published, and logs the reason, without its content.
    pub(crate) fn refuse(&self, feed: &Feed, failure: Failure, reason: &impl Display) -> Refused {
        let Feed { source, topic, .. } = feed;
        self.metrics.failed(source, topic, failure);
        if self.told.is_due(format!("{source} {topic} {}", failure.as_str())) {
            tracing::warn!(source, %topic, %reason, "a message was not published");
        }
        Refused { reason: reason.to_string() }
    }
}

/// Returns the span of whoever has sent an event (CloudEvents, the extension Distributed Tracing).
fn sender(event: &Event) -> Option<TraceContext> {
    #[derive(Deserialize)]
    struct Traced<'e> {
        #[serde(borrow)]
        traceparent: Cow<'e, str>,
    }
    let traced: Traced<'_> = serde_json::from_slice(event.json()).ok()?;
    TraceContext::parse(traced.traceparent.as_bytes())
}
