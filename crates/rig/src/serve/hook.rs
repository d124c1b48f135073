//! Reports of revocations to a web hook and to a topic of a message broker.

use std::sync::Arc;
use std::time::Duration;

use broker::{Destination, Produced, Producer};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use hook::{Delivery, Event, Failure, Metrics, Recipient, Source, To, WebHook};
use journal::Outbox;
use metric::Registry;
use node::Tasks;
use session::NodeName;

use crate::settings::ReportSettings;

/// How long a broker may take to acknowledge an event.
const WITHIN: Duration = Duration::from_secs(10);

/// The queues of what is reported.
#[derive(Default)]
pub(super) struct Outboxes {
    pub(super) hook: Option<Arc<dyn Outbox>>,
    pub(super) topic: Option<Arc<dyn Outbox>>,
}

/// Reports revocations to whoever is configured.
pub(super) struct Reports(Vec<Arc<Delivery>>);

impl Reports {
    /// Builds what the settings name. `producer` sends to the broker of the topic.
    pub(super) fn build(
        settings: ReportSettings,
        outboxes: Outboxes,
        node: &NodeName,
        producer: Option<Arc<dyn Producer>>,
        registry: &mut Registry,
    ) -> Self {
        let metrics = Metrics::register(registry);
        let source = Source::new(node);
        let delivery = |to, outbox, recipient| {
            Arc::new(Delivery::new(to, outbox, recipient, source.clone(), metrics.clone()))
        };
        let hook = settings.hook.zip(outboxes.hook).map(|(hook, outbox)| {
            tracing::info!(to = hook.url.authority(), "revocations are reported to a web hook");
            delivery(To::Hook, outbox, Arc::new(WebHook::new(hook.url, hook.secrets)))
        });
        let topic = settings.topic.zip(outboxes.topic).zip(producer).map(|((topic, outbox), producer)| {
            tracing::info!(
                broker = producer.name(),
                topic = topic.topic,
                "revocations are reported to a topic"
            );
            let to = Destination { topic: topic.topic.into(), schema: None };
            let recipient = TopicRecipient { producer, to, node: node.as_str().to_owned() };
            delivery(To::Topic, outbox, Arc::new(recipient))
        });
        let deliveries: Vec<_> = hook.into_iter().chain(topic).collect();
        Delivery::watch(&metrics, &deliveries);
        Self(deliveries)
    }

    /// Spawns the deliveries.
    pub(super) fn spawn(&self, tasks: &mut Tasks) {
        for delivery in &self.0 {
            let delivery = delivery.clone();
            tasks.spawn("reports of revocations", async move { match delivery.run().await {} });
        }
    }

    /// Waits until what is queued was reported, but no longer than `within`.
    pub(super) async fn leave(&self, within: Duration) {
        join_all(self.0.iter().map(|delivery| delivery.leave(within))).await;
    }
}

/// A topic of a message broker.
struct TopicRecipient {
    producer: Arc<dyn Producer>,
    to: Destination,
    /// The key of all events: they stay in order.
    node: String,
}

impl Recipient for TopicRecipient {
    fn send<'r>(&'r self, event: &'r Event) -> BoxFuture<'r, Result<(), Failure>> {
        async move {
            let members =
                serde_json::from_slice(&event.body).map_err(|error| Failure::new(error.to_string()))?;
            let produced = Produced { members, key: Some(self.node.clone()) };
            let sent = self.producer.produce(&self.to, produced, WITHIN).await;
            sent.map_err(|error| Failure::new(error.to_string()))
        }
        .boxed()
    }
}
