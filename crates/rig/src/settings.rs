//! What an operator decides: from flags, environment, file and defaults to values that are known to
//! be valid.
//!
//! [`Given`] says what was written where, [`Settings`] what it means: the configuration of every
//! room. Both come from one [`table`]. All mistakes are found before anything is reported, and
//! nothing is opened here: only files are read.

mod access;
mod apis;
mod given;
mod kind;
mod memory;
mod mistake;
mod network;
mod observing;
mod reader;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::memory::Memory;
use admin::ApiToken;
use auth::Verifier;
use document::WatchedFiles;
use event::ExtensionNames;
use listener::{Limits, Tls, TrustedProxies};
use proxy::{Definitions, ServiceLimits, WaitingConfig};
use seal::{Incarnation, Purpose, Seal};
use session::NodeName;
use subscription::Extractors;
use telemetry::{LogFormat, SpansConfig};
use tracing::Level;

pub(crate) use apis::{definitions_in, variable};
pub(crate) use given::{CONFIG_VARIABLE, Environment, Flags, Given};
pub(crate) use kind::parse_time;
pub(crate) use mistake::{Mistake, Mistakes, Source};
pub(crate) use network::Ports;
use reader::Reader;

/// A file that a setting names, as it was before it was read.
pub(crate) type NamedFile = (PathBuf, WatchedFiles);

/// All settings, parsed.
pub(crate) struct Settings {
    /// The name of this host, for information.
    pub(crate) host: String,
    /// Where frontends connect to.
    pub(crate) inbound_ports: Ports,
    /// Where the internal port is.
    pub(crate) api_ports: Ports,
    /// Whose word about clients counts.
    pub(crate) proxies: TrustedProxies,
    /// Whether connections of frontends begin with a header of the PROXY protocol.
    pub(crate) proxy_protocol: bool,
    /// The identity of both; `None`: no HTTPS.
    pub(crate) tls: Option<Tls>,
    /// The bounds of sockets and heads, of the port of frontends.
    pub(crate) limits: Limits,
    /// The same, of the internal port.
    pub(crate) api_limits: Limits,
    /// Which claims name the session and select tokens, and what the end of a token means.
    pub(crate) session: session::Config,
    /// Where revocations are kept over a restart; `None`: in memory only.
    pub(crate) data: Option<journal::Config>,
    /// How often the node revokes a connection of its own.
    pub(crate) canary: Option<Duration>,
    /// Verifies tokens.
    pub(crate) verifier: Arc<Verifier>,
    /// The fields of events that subscriptions can select by.
    pub(crate) extractors: Arc<Extractors>,
    /// The file that they are from, as it was before it was read.
    pub(crate) extractors_file: Option<NamedFile>,
    /// The APIs that requests are forwarded to, as the file has them.
    pub(crate) apis: Definitions,
    /// The file that they are from, as it was before it was read.
    pub(crate) apis_file: Option<NamedFile>,
    /// Settings of the connections of frontends.
    pub(crate) connections: connection::Config,
    /// Seals the tokens of connections.
    pub(crate) connection_tokens: Seal,
    /// Seals the tokens of requests that wait for an asynchronous answer.
    pub(crate) correlation_tokens: Seal,
    /// Settings of those requests.
    pub(crate) waiting: WaitingConfig,
    /// Settings of the proxy.
    pub(crate) proxy: proxy::Config,
    /// Settings of the inbound port.
    pub(crate) inbound: inbound::Config,
    /// Settings of the internal port.
    pub(crate) admin: admin::Config,
    /// The least severe lines to log.
    pub(crate) log_level: Level,
    /// Their form.
    pub(crate) log_format: LogFormat,
    /// Whether each proxied request is a line in the log.
    pub(crate) request_log: bool,
    /// How traces are exported; `None`: they are not.
    pub(crate) spans: Option<SpansConfig>,
    /// Between SIGTERM and the end of the ports.
    pub(crate) delay: Duration,
    /// For open requests after that.
    pub(crate) grace: Duration,
    /// What to tell the operator in the log; no mistakes.
    pub(crate) warnings: Vec<String>,
}

/// Shows nothing: it holds secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

/// The level of log lines, of all that was given.
///
/// # Errors
/// A source cannot be read, or the level is wrong.
pub(crate) fn log_level(given: Given) -> Result<Level, Mistakes> {
    let mut reader = Reader::new(given);
    let level = reader.word("LOG_LEVEL", |text| text.parse().ok());
    Mistakes(reader.given.mistakes).into_result().map(|()| level)
}

impl Settings {
    /// Parses everything that was given.
    ///
    /// # Errors
    /// All mistakes, those of [`Given`] first.
    pub(crate) fn parse(given: Given) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(given);
        let mut settings = Self::read(&mut reader);
        settings.warnings = reader.given.warnings;
        Mistakes(reader.given.mistakes).into_result().map(|()| settings)
    }

    fn read(reader: &mut Reader) -> Self {
        let limits = network::read_limits(reader);
        let api_token = reader.optional("API_TOKEN", |text, kind| network::bearer_token(text, &kind));
        let tls = network::read_tls(reader);
        let has_tls = ["HTTPS_CERTFILE", "HTTPS_KEYFILE"].into_iter().all(|name| reader.is_set(name));
        let (inbound_ports, api_ports) = network::read_ports(reader, api_token.is_some(), has_tls);
        let (proxies, proxy_protocol) = network::read_proxies(reader);
        let max_body = reader.bytes("MAX_BODY_BYTES");
        let body_timeout = reader.time("BODY_TIMEOUT");
        let host = reader.value("HOST", |text, _| (!text.is_empty()).then(|| text.to_owned()));
        let node_name = NodeName::from(&*host);
        let data = access::read_data(reader, node_name.clone());
        let durable = data.is_some();
        let node_cookie = reader.text("NODE_COOKIE");
        let node = Incarnation::unnamed();
        let seal = |purpose| Seal::new(node_cookie.as_deref(), purpose, node);
        let cookie = access::read_cookie(reader);
        let cors = network::read_cors(reader, cookie.is_some());
        let (apis, apis_file) = apis::read_apis(reader, &cors);
        let (extractors, extractors_file) = access::read_extractors(reader);
        let check_timeout = reader.time("CHECK_TIMEOUT");
        let outbox_bytes = reader.bytes("OUTBOX_BYTES");
        let memory = Memory::new(memory::read_waiting_bytes(reader));
        let extension_names = match reader.switch("EVENTS_LENIENT") {
            true => ExtensionNames::Any,
            false => ExtensionNames::Conventional,
        };
        Self {
            host: host.clone(),
            inbound_ports,
            api_ports,
            tls,
            proxies,
            proxy_protocol,
            api_limits: network::read_api_limits(reader, limits),
            limits,
            session: access::read_sessions(reader).with_node(node_name),
            data,
            canary: Some(reader.time("CANARY_INTERVAL")).filter(|interval| !interval.is_zero()),
            verifier: access::read_verifier(reader),
            extractors,
            extractors_file,
            apis,
            apis_file,
            connections: connection::Config {
                heartbeat: reader.time("HEARTBEAT_INTERVAL"),
                outbox_bytes,
                max_event_bytes: memory::read_max_event(reader, outbox_bytes),
                memory: memory.clone(),
                longpolling_idle: reader.time("LONGPOLLING_IDLE_TIMEOUT"),
                reconnect_spread: reader.time("RECONNECT_SPREAD"),
                ..connection::Config::default()
            },
            connection_tokens: seal(Purpose::Connection),
            correlation_tokens: seal(Purpose::Correlation),
            waiting: WaitingConfig {
                timeout: reader.time("PROXY_HTTP_ASYNC_RESPONSE_TIMEOUT"),
                ..WaitingConfig::default()
            },
            proxy: proxy::Config {
                cors: cors.clone(),
                answer_timeout: reader.time("PROXY_RECV_TIMEOUT"),
                services: ServiceLimits {
                    connection_age: reader.time("PROXY_CONNECTION_AGE"),
                    idle: reader.time("PROXY_IDLE_TIMEOUT"),
                    fields: reader.number("PROXY_ANSWER_HEADERS"),
                    head: reader.bytes("PROXY_ANSWER_HEADER_BYTES"),
                },
                memory,
            },
            inbound: inbound::Config {
                cors,
                connects_per_minute: NonZeroU32::new(reader.number("MAX_CONNECTIONS_PER_MINUTE"))
                    .expect("the bound of the row is 1"),
                max_body,
                body_timeout,
                extension_names,
                cookie,
                subscription_check: access::read_check(reader, "SUBSCRIPTION_CHECK", check_timeout),
                submission_check: access::read_check(reader, "SUBMISSION_CHECK", check_timeout),
            },
            admin: admin::Config {
                token: api_token.as_deref().map(ApiToken::new),
                max_body,
                body_timeout,
                extension_names,
                durable,
                host,
                metrics: reader.switch("PROMETHEUS_METRICS_ENABLED"),
            },
            log_level: reader.word("LOG_LEVEL", observing::log_level),
            log_format: reader.word("LOG_FMT", |text| text.parse().ok()),
            request_log: observing::read_request_log(reader),
            spans: observing::read_spans(reader),
            delay: reader.time("SHUTDOWN_DELAY"),
            grace: reader.time("SHUTDOWN_GRACE_PERIOD"),
            warnings: Vec::new(),
        }
    }
}
