//! The settings: turns flags, environment, file and defaults into valid values.
//!
//! [`Given`] holds the texts and their sources, [`Settings`] their meaning: the configuration of
//! every room. Both are derived from one [`table`]. All mistakes are collected before any is
//! reported. Nothing is opened here, except for files that are read.

mod access;
mod api_access;
mod apis;
mod broker;
mod cluster;
mod given;
mod history;
mod hook;
mod issuers;
mod kind;
mod memory;
mod mistake;
mod nats;
mod network;
mod observing;
mod reader;
mod rooms;
pub(crate) mod table;
mod tables;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::history::Bounds;
use ::memory::Memory;
use admin::ApiToken;
use auth::ConfiguredKey;
use document::WatchedFiles;
use journal::Outlet;
use proxy::Definitions;
use session::NodeName;
use telemetry::LogFormat;
use tracing::Level;

pub(crate) use apis::{definitions_in, variable};
pub(crate) use broker::BrokerSettings;
#[cfg(feature = "kinesis")]
pub(crate) use broker::KinesisSettings;
#[cfg(feature = "kafka")]
pub(crate) use broker::{KafkaLogSettings, KafkaSettings};
pub(crate) use cluster::ClusterSettings;
pub(crate) use given::{CONFIG_VARIABLE, Environment, Flags, Given};
pub(crate) use hook::ReportSettings;
pub(crate) use issuers::IssuerSettings;
pub(crate) use kind::{parse_bytes, parse_time};
pub(crate) use mistake::{Mistake, Mistakes, Source};
pub(crate) use nats::nats;
pub(crate) use network::{PortSettings, Ports};
use reader::Reader;
use rooms::Intake;
pub(crate) use rooms::RoomSettings;

/// A file named by a setting, with its state before it was read.
pub(crate) type NamedFile = (PathBuf, WatchedFiles);

/// All settings, parsed, grouped by the step of the start that uses them.
pub(crate) struct Settings {
    /// The name of this host: names the node if it has no other.
    pub(crate) host: String,
    /// The least severe level that is logged.
    pub(crate) log_level: Level,
    /// The format of log lines.
    pub(crate) log_format: LogFormat,
    /// Loaded before the ports are bound.
    pub(crate) stored: StoredSettings,
    /// What is kept of recent events; `None` if nothing is.
    pub(crate) history: Option<Bounds>,
    /// Used to bind the ports.
    pub(crate) ports: PortSettings,
    /// How the node takes part in a cluster; `None` for a single node.
    pub(crate) cluster: Option<ClusterSettings>,
    /// Where events come from, beside HTTP.
    pub(crate) brokers: BrokerSettings,
    /// Who revocations are reported to.
    pub(crate) reports: ReportSettings,
    /// Used to build the rooms.
    pub(crate) rooms: RoomSettings,
    /// The files that are read again while the node runs.
    pub(crate) files: SettingFiles,
    /// How often the node revokes a connection of its own.
    pub(crate) canary: Option<Duration>,
    /// How the node shuts down.
    pub(crate) shutdown: ShutdownSettings,
    /// Warnings to log.
    pub(crate) warnings: Vec<String>,
}

/// What earlier runs of the node have stored, and how to load it.
pub(crate) struct StoredSettings {
    /// The claims that name the session and select tokens, and what an expired token means.
    pub(crate) session: session::Config,
    /// Where revocations are persisted; `None` if they are in memory only.
    pub(crate) data: Option<journal::Config>,
    /// Who revocations are reported to.
    pub(crate) outlets: Vec<Outlet>,
    /// Replaces names of sessions and users where they are written down.
    pub(crate) audit_key: Option<String>,
    /// The APIs that requests are forwarded to, as the file defines them.
    pub(crate) apis: Definitions,
    /// The node is meant to be alone, also if it was in a cluster.
    pub(crate) is_single: bool,
}

/// Files that settings name, with their state before they were read.
pub(crate) struct SettingFiles {
    /// The file of `PROXY_CONFIG_FILE`, if it is a file.
    pub(crate) definitions: Option<NamedFile>,
    /// The file of `EXTRACTORS`, if it is a file.
    pub(crate) extractors: Option<NamedFile>,
    /// The key that verifies tokens, which watches its own file.
    pub(crate) key: Arc<ConfiguredKey>,
}

/// The delays of a shutdown.
#[derive(Clone, Copy)]
pub(crate) struct ShutdownSettings {
    /// Time between SIGTERM and the closing of the ports.
    pub(crate) delay: Duration,
    /// Time limit for open requests after that.
    pub(crate) grace: Duration,
}

/// Shows no value, since some are secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

/// Returns the log level from all sources.
///
/// # Errors
/// Fails if a source cannot be read, or the level is wrong.
pub(crate) fn log_level(given: Given) -> Result<Level, Mistakes> {
    let mut reader = Reader::new(given);
    let level = reader.word("LOG_LEVEL", |text| text.parse().ok());
    Mistakes(reader.given.mistakes).into_result().map(|()| level)
}

impl Settings {
    /// Parses all settings.
    ///
    /// # Errors
    /// Fails with all mistakes, those of [`Given`] first.
    pub(crate) fn parse(given: Given) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(given);
        let mut settings = Self::read(&mut reader);
        settings.warnings = reader.given.warnings;
        Mistakes(reader.given.mistakes).into_result().map(|()| settings)
    }

    /// Reads group by group, in the order in which mistakes are reported.
    fn read(reader: &mut Reader) -> Self {
        let limits = network::read_limits(reader);
        let api_token = reader.optional("API_TOKEN", |text, kind| {
            text.parse::<ApiToken>().map_err(|_| format!("expected {kind}"))
        });
        let is_guarded = api_token.is_some() || reader.is_set("API_ACCESS");
        let ports = PortSettings::read(reader, limits, is_guarded);
        let intake = Intake::read(reader);
        let host = reader.value("HOST", |text, _| (!text.is_empty()).then(|| text.to_owned()));
        let node = NodeName::from(&*host);
        let mut data = access::read_data(reader, node.clone());
        let is_single = cluster::read_single(reader);
        let cluster = cluster::read_cluster(reader, data.is_some(), is_single);
        if let Some(data) = &mut data {
            data.clustered = cluster.is_some();
        }
        let brokers = broker::read_brokers(reader, intake.extension_names);
        let reports = hook::read_reports(reader, &brokers);
        let (outlets, audit_key) = (reports.outlets(), reader.text("AUDIT_KEY"));
        let node_cookie = reader.text("NODE_COOKIE");
        let cookie = access::read_cookie(reader);
        let cors = network::read_cors(reader, cookie.is_some());
        let (apis, definitions) = apis::read_apis(reader, &cors);
        apis::check_brokers(reader, &apis, |broker| brokers.has(broker));
        let (extractors, extractors_file) = access::read_extractors(reader);
        let memory = Memory::new(memory::read_waiting_bytes(reader));
        let connections = rooms::read_connections(reader, &memory);
        let history = history::read_history(reader);
        let session_field = access::read_session_field(reader);
        let issuers = issuers::read_issuers(reader, &session_field);
        let session = access::read_sessions(reader, &session_field, issuers.session_fields());
        let session = session.with_node(node);
        if let Some(data) = &mut data {
            data.outlets.clone_from(&outlets);
        }
        let stored = StoredSettings { session, data, outlets, audit_key, apis, is_single };
        let canary = Some(reader.time("CANARY_INTERVAL")).filter(|interval| !interval.is_zero());
        let (verifier, key) = access::read_verifier(reader, issuers.issuers.clone());
        let has_client_ca = reader.is_set("API_CLIENT_CA");
        let access = api_access::read(reader, api_token, &issuers.issuers, has_client_ca);
        let rooms = RoomSettings {
            verifier,
            issuers,
            extractors,
            connections,
            node_cookie,
            waiting: rooms::read_waiting(reader),
            proxy: rooms::read_proxy(reader, &cors, memory),
            inbound: rooms::read_inbound(reader, intake, cors, cookie),
            admin: admin::Config {
                access,
                max_body: intake.max_body,
                body_timeout: intake.body_timeout,
                extension_names: intake.extension_names,
                durable: stored.data.is_some(),
                cluster_wait: cluster.as_ref().map_or(admin::Config::CLUSTER_WAIT, |cluster| cluster.wait),
                host: host.clone(),
                metrics: reader.switch("PROMETHEUS_METRICS_ENABLED"),
            },
            request_log: observing::read_request_log(reader),
            spans: observing::read_spans(reader),
        };
        Self {
            host,
            log_level: reader.word("LOG_LEVEL", observing::log_level),
            log_format: reader.word("LOG_FMT", |text| text.parse().ok()),
            stored,
            history,
            ports,
            cluster,
            brokers,
            reports,
            rooms,
            files: SettingFiles { definitions, extractors: extractors_file, key },
            canary,
            shutdown: ShutdownSettings {
                delay: reader.time("SHUTDOWN_DELAY"),
                grace: reader.time("SHUTDOWN_GRACE_PERIOD"),
            },
            warnings: Vec::new(),
        }
    }
}
