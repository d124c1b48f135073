//! The brokers that events come from.

use std::sync::Arc;

use broker::{Intake, Metrics};
use metric::Registry;
use node::Source;

use crate::settings::BrokerSettings;

/// Returns the sources of the settings. They connect when they are run.
///
/// # Errors
/// Fails if one cannot be used as it is configured.
pub(super) async fn sources(
    settings: BrokerSettings,
    registry: &mut Registry,
) -> anyhow::Result<Vec<Arc<dyn Source>>> {
    let metrics = Metrics::register(registry);
    let intake = Intake::new(metrics.clone(), settings.names);
    let sources = open(settings, intake).await?;
    metrics.watch(&sources);
    Ok(sources)
}

#[cfg(feature = "nats")]
async fn open(settings: BrokerSettings, intake: Intake) -> anyhow::Result<Vec<Arc<dyn Source>>> {
    use anyhow::Context;
    let Some(nats) = settings.nats else { return Ok(Vec::new()) };
    let source = broker::nats::NatsSource::new(nats, intake).await.context("NATS as a broker")?;
    Ok(vec![Arc::new(source)])
}

#[cfg(not(feature = "nats"))]
#[expect(clippy::unused_async, reason = "as with a broker")]
async fn open(_: BrokerSettings, _: Intake) -> anyhow::Result<Vec<Arc<dyn Source>>> {
    Ok(Vec::new())
}
