//! Builds the rooms and connects them.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use admin::Admin;
use connection::Hub;
use futures_util::future::BoxFuture;
use inbound::Inbound;
use metric::Registry;
use node::{Node, PeerHandler, PeerRoom, Tasks};
use proxy::{Collaborators, Proxy, Waiting};
use seal::{Purpose, Seal};
use session::Sessions;
use telemetry::{ReportSink, Reporter, Spans};

use super::brokers::{Answers, Brokers};
use super::load::Loaded;
use super::membership::Joining;
use super::ports::BoundPorts;
use crate::canary::{Canary, CanaryRevoker};
use crate::metrics::Metrics;
use crate::settings::RoomSettings;

/// Everything that is built before the ports are served.
pub(super) struct Gateway {
    pub(super) node: Node,
    /// Serves the ports of frontends.
    pub(super) inbound: Inbound,
    /// Serves the internal ports.
    pub(super) admin: Admin,
    /// Exports traces; `None` if they are not exported.
    pub(super) spans: Option<Arc<Spans>>,
    proxy: Arc<Proxy>,
    hub: Arc<Hub>,
    sessions: Sessions,
    canary: Metrics,
    /// Answers the canaries of other nodes.
    _canary_revoker: Arc<CanaryRevoker>,
    /// Tells when clients may be let in; `None` for a single node.
    pub(super) joining: Option<Joining>,
    /// Receives the answers that come by a broker.
    answers: Option<Answers>,
    /// Where proxied requests are reported, beside the log.
    pub(super) request_log: Option<Arc<dyn ReportSink>>,
    /// Sends what is reported there.
    reports: Option<BoxFuture<'static, ()>>,
}

/// What is made before the rooms.
pub(super) struct Parts {
    /// What earlier runs have stored.
    pub(super) loaded: Loaded,
    /// The metrics of the ports.
    pub(super) listening: Arc<listener::Metrics>,
    /// The message brokers.
    pub(super) brokers: Brokers,
    /// Exports traces; `None` if they are not exported.
    pub(super) spans: Option<Arc<Spans>>,
}

impl Gateway {
    /// Builds each room from its settings and the rooms that it depends on. Registers their
    /// metrics, and those of the ports.
    ///
    /// # Errors
    /// Fails if a broker cannot be used as it is configured.
    pub(super) fn build(
        settings: RoomSettings,
        Parts { loaded, listening, mut brokers, spans }: Parts,
        mut registry: Registry,
    ) -> anyhow::Result<Self> {
        let Loaded { sessions, life, membership, apis } = loaded;
        let fencing = membership.as_ref().map(|membership| membership.fencing.clone()).unwrap_or_default();
        // One life seals both kinds of tokens, so that a token alone tells other nodes where to
        // ask.
        let seal = |purpose| Seal::new(settings.node_cookie.as_deref(), purpose, life);
        let hub = Hub::new(
            connection::Config { fencing: fencing.clone(), ..settings.connections },
            sessions.clone(),
            settings.extractors.clone(),
            seal(Purpose::Connection),
            Arc::new(connection::Metrics::register(&mut registry)),
            Arc::new(connection::Admissions::new(fencing.admission.clone())),
        );
        let (cluster, joining) =
            membership.map(|membership| (membership.cluster, membership.joining)).unzip();
        let node = Node::new(sessions.clone(), hub.clone(), cluster);
        let waiting = Arc::new(Waiting::new(settings.waiting, seal(Purpose::Correlation)));
        let answers = brokers.answers(&waiting)?;
        let (request_log, reports) =
            brokers.request_log.take().map(|reports| (reports.sink, reports.sending)).unzip();
        node.set_sources(brokers.sources, brokers.are_needed);
        let proxy = Arc::new(Proxy::new(
            proxy::Config { fencing, ..settings.proxy },
            Collaborators {
                apis: apis.clone(),
                waiting: waiting.clone(),
                verifier: settings.verifier.clone(),
                sessions: sessions.clone(),
                metrics: Arc::new(proxy::Metrics::register(&mut registry)),
                reporter: Arc::new(
                    Reporter::new(settings.request_log, spans.clone()).with_sink(request_log.clone()),
                ),
            },
        ));
        let canary = Metrics::register(&mut registry);
        let canary_revoker = Arc::new(CanaryRevoker(node.clone()));
        let handler: Weak<dyn PeerHandler> = Arc::<CanaryRevoker>::downgrade(&canary_revoker);
        node.answer_peers(PeerRoom::Canary, handler);
        let admin = Admin::new(
            settings.admin,
            admin::OperatedRooms {
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
        Ok(Self {
            node,
            proxy,
            inbound,
            admin,
            spans,
            hub,
            sessions,
            canary,
            _canary_revoker: canary_revoker,
            joining,
            answers,
            request_log,
            reports,
        })
    }

    /// Spawns the background tasks of the rooms.
    pub(super) fn spawn(&mut self, tasks: &mut Tasks) {
        self.node.spawn(tasks);
        let proxy = self.proxy.clone();
        tasks.spawn("proxy", async move { proxy.keep().await });
        if let Some(answers) = self.answers.take() {
            tasks.spawn("answers by a broker", answers);
        }
        if let Some(reports) = self.reports.take() {
            // It stops when the node leaves.
            drop(tokio::spawn(reports));
        }
    }

    /// Returns a canary that connects to the inbound port.
    ///
    /// # Errors
    /// Fails if the address of the port is unknown.
    pub(super) fn canary(&self, ports: &BoundPorts, every: Duration) -> io::Result<Canary> {
        Ok(Canary {
            node: self.node.clone(),
            hub: self.hub.clone(),
            sessions: self.sessions.clone(),
            metrics: self.canary.clone(),
            inbound: ports.inbound_address()?,
            proxy_protocol: ports.proxy_protocol,
            every,
        })
    }
}
