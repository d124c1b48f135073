//! From settings to a running node, and back: bind → build → serve → drain.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use admin::Admin;
use anyhow::Context;
use auth::Cors;
use connection::Hub;
use inbound::Inbound;
use journal::Journal;
use listener::{App, Listener, Places, Tls, WhenFull};
use metric::Registry;
use node::{Node, Tasks};
use proxy::{Apis, Collaborators, Definitions, FileStore, MemoryStore, Proxy, Store, Waiting};
use session::{MemoryLog, Sessions};
use telemetry::{Reporter, Spans, start_logging};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::leave::LeaveSignals;
use crate::metrics::Metrics;
use crate::reload::{ReadLevel, Reload, Signals, Sources};
use crate::settings::{self, Ports, Settings};
use crate::{canary, open_files};

/// How long the last traces may take to the collector, and after them what still runs beside the
/// requests.
const FLUSH: Duration = Duration::from_secs(2);

/// Serves until a signal. `log_level` reads that setting again.
///
/// # Errors
/// A port cannot be bound, or a file of the settings cannot be used.
pub(crate) fn run(mut settings: Settings, log_level: impl ReadLevel) -> anyhow::Result<()> {
    let _logging = start_logging(settings.log_format, settings.log_level).context("the log")?;
    // One provider for all of rustls; the second call of a test process finds it installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tracing::info!(host = settings.host, version = env!("CARGO_PKG_VERSION"), "starting");
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let ports = if settings.tls.is_some() { 4 } else { 2 };
    open_files::share_out(&mut settings.limits, &mut settings.api_limits, ports)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(settings, log_level));
    // A file on a disk that has gone may be waited for without end.
    runtime.shutdown_timeout(FLUSH);
    served
}

async fn serve(settings: Settings, log_level: impl ReadLevel) -> anyhow::Result<()> {
    let mut leave_signals = LeaveSignals::new()?;
    let signals = Signals::new()?;
    // Before anything listens: no client waits at a port for a log to load, and none gets in
    // without it.
    let folder = settings.data.as_ref().map(|data| data.folder.clone());
    let sessions = load_sessions(settings.session, settings.data)?;
    // Behind the log: what opens that has the folder to itself.
    let apis = Arc::new(load_apis(settings.apis, folder.as_deref(), &settings.inbound.cors)?);
    let tls = settings.tls;
    let mut registry = Registry::default();
    telemetry::register(&mut registry);
    let listening = Arc::new(listener::Metrics::register(&mut registry));
    let clients = Places::new(settings.limits, WhenFull::Refuse, listening.clone());
    let callers = Places::new(settings.api_limits, WhenFull::Evict, listening.clone());
    let bind = |places: &Arc<Places>, proxy_protocol| {
        let (places, proxies) = (places.clone(), settings.proxies.clone());
        move |name, address, tls| {
            let (places, proxies) = (places.clone(), proxies.clone());
            bind(name, listener::Config { address, tls, places, proxies, proxy_protocol })
        }
    };
    let inbound = bind(&clients, settings.proxy_protocol);
    let inbound_ports =
        bind_ports(["inbound", "inbound_tls"], settings.inbound_ports, tls.as_ref(), inbound)?;
    let internal_ports =
        bind_ports(["internal", "internal_tls"], settings.api_ports, tls.as_ref(), bind(&callers, false))?;

    let hub = Hub::new(
        settings.connections,
        sessions.clone(),
        settings.extractors.clone(),
        settings.connection_tokens,
        Arc::new(connection::Metrics::register(&mut registry)),
        Arc::default(),
    );
    let node = Node::new(sessions.clone(), hub.clone(), None);
    let spans = settings.spans.map(Spans::start).transpose()?.map(Arc::new);
    let reporter = Arc::new(Reporter::new(settings.request_log, spans.clone()));
    let waiting = Arc::new(Waiting::new(settings.waiting, settings.correlation_tokens));
    let reload = Reload::new(Sources {
        log_level: Box::new(log_level),
        definitions: settings.apis_file,
        extractors: settings.extractors_file,
        extractors_in_use: settings.extractors.clone(),
        tls,
        verifier: settings.verifier.clone(),
        apis: apis.clone(),
    });
    let proxy = Proxy::new(
        settings.proxy,
        Collaborators {
            apis: apis.clone(),
            waiting: waiting.clone(),
            verifier: settings.verifier.clone(),
            sessions: sessions.clone(),
            metrics: Arc::new(proxy::Metrics::register(&mut registry)),
            reporter,
        },
    );
    let proxy = Arc::new(proxy);
    let canary = Metrics::register(&mut registry);
    let admin = Admin::new(
        settings.admin,
        admin::Parts {
            node: node.clone(),
            sessions: sessions.clone(),
            verifier: settings.verifier.clone(),
            waiting,
            apis,
            registry,
        },
    );
    let inbound = Inbound::new(
        settings.inbound,
        inbound::Parts {
            node: node.clone(),
            hub: hub.clone(),
            sessions: sessions.clone(),
            verifier: settings.verifier,
            extractors: settings.extractors,
            proxy: proxy.clone(),
            listening,
        },
    );

    let (leave, leaving) = watch::channel(false);
    let mut tasks = Tasks::default();
    node.spawn(&mut tasks);
    tasks.spawn("proxy", async move { proxy.keep().await });
    tasks.spawn("reload", reload.keep(signals));
    if let (Some(every), Some(inbound)) = (settings.canary, inbound_ports.first()) {
        let gateway = canary::Gateway { node: node.clone(), hub, sessions };
        let address = inbound.local_addr()?;
        tasks.spawn("canary", canary::sing(gateway, canary, address, settings.proxy_protocol, every));
    }
    let mut serving = JoinSet::new();
    spawn(&mut serving, inbound_ports, &inbound, &leaving);
    spawn(&mut serving, internal_ports, &admin, &leaving);

    tokio::select! {
        () = leave_signals.next() => {}
        // Better no node than one on which tokens never expire.
        stopped = tasks.stopped() => return Err(stopped.into()),
    }
    tracing::info!(delay = ?settings.delay, grace = ?settings.grace, "leaving");
    node.announce_shutdown();
    tokio::select! {
        () = leave_signals.stay(settings.delay) => {}
        stopped = tasks.stopped() => return Err(stopped.into()),
    }
    let deadline = Instant::now() + settings.grace;
    leave.send_replace(true);
    let drained = async {
        node.shut_down(deadline).await;
        timeout_at(deadline, async { while serving.join_next().await.is_some() {} }).await.is_ok()
    };
    let drained = tokio::select! {
        drained = drained => drained,
        () = leave_signals.next() => {
            tracing::info!("another signal ends the grace period");
            // What is still open gets its farewell, and is closed.
            node.shut_down(Instant::now()).await;
            while serving.try_join_next().is_some() {}
            serving.is_empty()
        }
    };
    if !drained {
        tracing::warn!("requests were still open at the end of the grace period");
    }
    if let Some(spans) = spans {
        tokio::task::spawn_blocking(move || spans.shut_down(FLUSH)).await?;
    }
    Ok(())
}

/// All revocations that are in force, before anybody is let in.
fn load_sessions(config: session::Config, data: Option<journal::Config>) -> anyhow::Result<Sessions> {
    let Some(data) = data else {
        tracing::warn!("DATA_DIR = memory: a restart forgets every revocation, and every change of an API");
        return Ok(Sessions::new(config, MemoryLog::new())?);
    };
    let began = Instant::now();
    let sessions = Sessions::new(config, Journal::open(&data).context("DATA_DIR")?)?;
    tracing::info!(
        folder = %data.folder.display(),
        revocations = sessions.counts().blacklisted,
        milliseconds = began.elapsed().as_millis() as u64,
        "revocation log loaded"
    );
    Ok(sessions)
}

/// The definitions of the file, and over them what was changed in an earlier life.
fn load_apis(file: Definitions, folder: Option<&Path>, cors: &Cors) -> anyhow::Result<Apis> {
    let store: Box<dyn Store> = match folder {
        Some(folder) => Box::new(FileStore::new(folder)),
        None => Box::new(MemoryStore::default()),
    };
    let (mut apis, mut warnings) = Apis::load(file, store, settings::variable)?;
    if cors.is_any() {
        warnings.extend(apis.warn_of_cookies());
    }
    for warning in warnings {
        tracing::warn!("{}", warning.0);
    }
    tracing::info!(apis = apis.standing().len(), "API definitions loaded");
    Ok(apis)
}

fn bind_ports(
    [http, https]: [&'static str; 2],
    ports: Ports,
    tls: Option<&Tls>,
    bind: impl Fn(&'static str, std::net::SocketAddr, Option<Tls>) -> anyhow::Result<Listener>,
) -> anyhow::Result<Vec<Listener>> {
    let mut listeners = vec![bind(http, ports.http, None)?];
    if let Some(tls) = tls {
        listeners.push(bind(https, ports.https, Some(tls.clone()))?);
    }
    Ok(listeners)
}

fn bind(name: &'static str, config: listener::Config) -> anyhow::Result<Listener> {
    let address = config.address;
    let listener =
        Listener::bind(config).with_context(|| format!("the {name} port cannot listen on {address}"))?;
    let address = listener.local_addr()?.to_string();
    tracing::info!(target: "rig::startup", port_name = name, address, "listening");
    Ok(listener)
}

fn spawn<A: App>(
    serving: &mut JoinSet<()>,
    listeners: Vec<Listener>,
    app: &A,
    leaving: &watch::Receiver<bool>,
) {
    for listener in listeners {
        serving.spawn(listener.serve(app.clone(), leaving.clone()));
    }
}
