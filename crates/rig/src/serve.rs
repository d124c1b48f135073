//! The life of the process, from its settings to its exit: it loads, binds, builds, serves, drains
//! and stores.

mod brokers;
mod definitions;
mod drain;
mod gateway;
mod history;
mod hook;
mod issuers;
mod load;
mod membership;
mod ports;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use journal::Pseudonyms;
use metric::Registry;
use node::Tasks;
use telemetry::{Spans, start_logging};
use tokio::sync::watch;

use crate::leave::LeaveSignals;
use crate::open_files;
use crate::reload::{ReadLevel, Reload, Signals, Sources};
use crate::settings::Settings;
use brokers::{Brokers, Given};
use drain::Serving;
use gateway::{Gateway, Parts};
use history::History;
use hook::Reports;
use load::Loaded;
use ports::BoundPorts;

/// How long the last traces may take to reach the collector, and after that, how long the runtime
/// waits for blocking tasks that still run.
const FLUSH: Duration = Duration::from_secs(2);

/// Serves until a signal to leave, then drains. `log_level` reads `LOG_LEVEL` again, at each
/// reload.
///
/// # Errors
/// Fails if a file that a setting names cannot be used, if a port cannot be bound, or if a
/// background task stops.
pub(crate) fn run(mut settings: Settings, log_level: impl ReadLevel) -> anyhow::Result<()> {
    let _logging = start_logging(settings.log_format, settings.log_level).context("the log")?;
    // rustls has one provider for the whole process. This fails if it is installed already, as in a
    // test process that calls this function twice.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tracing::info!(host = settings.host, version = env!("CARGO_PKG_VERSION"), "starting");
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let ports = &mut settings.ports;
    let count = if ports.tls.is_some() { 4 } else { 2 };
    open_files::share_out(&mut ports.inbound_limits, &mut ports.internal_limits, count)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(settings, log_level));
    // Without a limit, this could wait forever: a blocking read cannot be cancelled, and one from a
    // disk that no longer responds never returns.
    runtime.shutdown_timeout(FLUSH);
    // No task is left that could publish an event.
    served.map(|history| history.into_iter().for_each(History::store))
}

/// Returns the recent events, to be stored.
async fn serve(mut settings: Settings, log_level: impl ReadLevel) -> anyhow::Result<Option<History>> {
    let mut leave_signals = LeaveSignals::new()?;
    let signals = Signals::new()?;
    // Loaded before anything listens, so that no client waits at a port until the log is loaded,
    // and none is let in before its revocations are in force.
    let mut registry = Registry::default();
    telemetry::register(&mut registry);
    let spans = settings.rooms.spans.take().map(Spans::start).transpose()?.map(Arc::new);
    let given = Given {
        answer_timeout: settings.rooms.proxy.answer_timeout,
        kafka_timeout: settings.rooms.waiting.kafka,
        pseudonyms: settings.stored.audit_key.as_deref().map(Pseudonyms::new),
        spans: spans.clone(),
    };
    let brokers = Brokers::build(settings.brokers, &given, &mut registry);
    let brokers = Box::pin(brokers).await?;
    let (stored, cors) = (settings.stored, &settings.rooms.inbound.cors);
    let apis = (cors, brokers.targets());
    let mut loaded = Box::pin(Loaded::load(stored, settings.cluster, apis, &mut registry)).await?;
    let producer = settings.reports.topic.as_ref().and_then(|topic| brokers.producer(topic.broker));
    let secrets = settings.reports.secrets();
    let outboxes = std::mem::take(&mut loaded.outboxes);
    let node = loaded.sessions.config().node();
    let reports = Reports::build(settings.reports, outboxes, node, producer, &mut registry);
    let listening = Arc::new(listener::Metrics::register(&mut registry));
    let ports = BoundPorts::bind(&settings.ports, &listening, loaded.membership.is_some())?;

    let extractors_in_use = settings.rooms.extractors.clone();
    // Before anything can take a position.
    let history = History::load(settings.history, &loaded, &settings.rooms);
    settings.rooms.connections.history = history.as_ref().map(|history| history.sequencer.clone());
    let (access, apis) = (settings.rooms.admin.access.clone(), loaded.apis.clone());
    let parts = Parts { loaded, listening, brokers, reports, spans };
    let mut gateway = Gateway::build(settings.rooms, parts, registry)?;
    let reload = Reload::new(Sources {
        log_level: Box::new(log_level),
        definitions: settings.files.definitions,
        extractors: settings.files.extractors,
        extractors_in_use,
        tls: settings.ports.tls,
        clients: settings.ports.clients,
        access,
        key: settings.files.key,
        feeds: gateway.feeds.clone(),
        hook: secrets,
        apis,
    });

    let (leave, leaving) = watch::channel(false);
    let mut tasks = Tasks::default();
    gateway.spawn(&mut tasks, &leaving);
    tasks.spawn("reload", reload.keep(signals));
    if let Some(every) = settings.canary {
        tasks.spawn("canary", gateway.canary(&ports, every)?.sing());
    }
    let mut serving = Serving::start(gateway, ports, tasks, leave);
    serving.until_leaving(&mut leave_signals, settings.shutdown).await?;
    serving.drain(&mut leave_signals, settings.shutdown.grace).await?;
    Ok(history)
}
