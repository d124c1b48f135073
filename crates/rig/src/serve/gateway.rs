//! Builds the rooms and connects them.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use admin::Admin;
use auth::Issuers;
use connection::Hub;
use feed::Feeds;
use futures_util::future::BoxFuture;
use inbound::Inbound;
use memory::Memory;
use metric::Registry;
use node::{Node, PeerHandler, PeerRoom, Tasks};
use proxy::{Collaborators, Proxy, Waiting};
use seal::{Purpose, Seal};
use session::Sessions;
use telemetry::{ReportSink, Reporter, Spans};
use tokio::sync::watch;

use super::brokers::{Answers, Brokers};
use super::hook::Reports;
use super::issuers::{self, Polls};
use super::load::Loaded;
use super::membership::Joining;
use super::ports::BoundPorts;
use crate::canary::{Canary, CanaryRevoker};
use crate::metrics::Metrics;
use crate::settings::{IssuerSettings, RoomSettings};

/// How many bytes of reports of identity providers may wait at the internal port: five hundred of
/// the largest.
const REPORTS: usize = 16 << 20;

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
    issuers: Issuers,
    /// Takes what identity providers report.
    pub(super) feeds: Arc<Feeds>,
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
    request_reports: Option<BoxFuture<'static, ()>>,
    /// The tasks that fetch security events, once they are spawned.
    pub(super) polls: Option<Polls>,
    /// Reports revocations.
    pub(super) reports: Reports,
}

/// What is made before the rooms.
pub(super) struct Parts {
    /// What earlier runs have stored.
    pub(super) loaded: Loaded,
    /// The metrics of the ports.
    pub(super) listening: Arc<listener::Metrics>,
    /// The message brokers.
    pub(super) brokers: Brokers,
    /// Reports revocations.
    pub(super) reports: Reports,
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
        Parts { loaded, listening, mut brokers, reports, spans }: Parts,
        mut registry: Registry,
    ) -> anyhow::Result<Self> {
        let Loaded { sessions, life, membership, apis, .. } = loaded;
        let fencing = membership.as_ref().map(|membership| membership.fencing.clone()).unwrap_or_default();
        // One life seals both kinds of tokens, so that a token alone tells other nodes where to
        // ask.
        let seal = |purpose| Seal::new(settings.node_cookie.as_deref(), purpose, life);
        let memory = settings.connections.memory.clone();
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
        let (request_log, request_reports) =
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
        let IssuerSettings { issuers, feeds, report_internally, .. } = settings.issuers;
        issuers.register(&mut registry);
        let parts = feed::Parts {
            node: node.clone(),
            sessions: sessions.clone(),
            // The load of clients never makes a request of the internal port fail.
            memory: if report_internally { Memory::new(REPORTS) } else { memory },
            body_timeout: settings.inbound.body_timeout,
        };
        let feeds = issuers::feeds(parts, &issuers, feeds, &mut registry);
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
        )
        .showing_feeds(feeds.clone());
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
        let (inbound, admin) = match report_internally {
            true => (inbound, admin.serving_feeds(feeds.clone())),
            false => (inbound.with_feeds(feeds.clone()), admin),
        };
        Ok(Self {
            node,
            proxy,
            inbound,
            admin,
            spans,
            hub,
            sessions,
            issuers,
            feeds,
            canary,
            _canary_revoker: canary_revoker,
            joining,
            answers,
            request_log,
            request_reports,
            polls: None,
            reports,
        })
    }

    /// Spawns the background tasks of the rooms. Those that fetch events end once `leaving` is set.
    pub(super) fn spawn(&mut self, tasks: &mut Tasks, leaving: &watch::Receiver<bool>) {
        self.node.spawn(tasks);
        let proxy = self.proxy.clone();
        tasks.spawn("proxy", async move { proxy.keep().await });
        self.polls = Some(issuers::spawn(&self.issuers, &self.feeds, &self.node, tasks, leaving));
        if let Some(answers) = self.answers.take() {
            tasks.spawn("answers by a broker", answers);
        }
        self.reports.spawn(tasks);
        if let Some(reports) = self.request_reports.take() {
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
