//! The configurations of the rooms that serve requests.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use ::memory::Memory;
use auth::{Cors, Verifier};
use event::ExtensionNames;
use proxy::{ServiceLimits, WaitingConfig};
use session::Fencing;
use subscription::Extractors;
use telemetry::SpansConfig;

use super::issuers::IssuerSettings;
use super::reader::Reader;
use super::{access, memory};

/// What the rooms are built with.
pub(crate) struct RoomSettings {
    /// Verifies tokens.
    pub(crate) verifier: Arc<Verifier>,
    /// The identity providers.
    pub(crate) issuers: IssuerSettings,
    /// The fields of events that subscriptions can select by.
    pub(crate) extractors: Arc<Extractors>,
    /// Settings of the connections of frontends.
    pub(crate) connections: connection::Config,
    /// The secret from which the seals of tokens are derived that clients and services send back.
    pub(crate) node_cookie: Option<String>,
    /// Settings of requests that wait for an asynchronous answer.
    pub(crate) waiting: WaitingConfig,
    /// Settings of the proxy.
    pub(crate) proxy: proxy::Config,
    /// Settings of the inbound port.
    pub(crate) inbound: inbound::Config,
    /// Settings of the internal port.
    pub(crate) admin: admin::Config,
    /// Whether each proxied request is a line in the log.
    pub(crate) request_log: bool,
    /// How traces are exported; `None` if they are not.
    pub(crate) spans: Option<SpansConfig>,
}

/// Limits of requests, common to both ports.
#[derive(Clone, Copy)]
pub(super) struct Intake {
    pub(super) max_body: usize,
    pub(super) body_timeout: Duration,
    pub(super) extension_names: ExtensionNames,
}

impl Intake {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            max_body: reader.bytes("MAX_BODY_BYTES"),
            body_timeout: reader.time("BODY_TIMEOUT"),
            extension_names: match reader.switch("EVENTS_LENIENT") {
                true => ExtensionNames::Any,
                false => ExtensionNames::Conventional,
            },
        }
    }
}

pub(super) fn read_connections(reader: &mut Reader, memory: &Arc<Memory>) -> connection::Config {
    let outbox_bytes = reader.bytes("OUTBOX_BYTES");
    connection::Config {
        heartbeat: reader.time("HEARTBEAT_INTERVAL"),
        outbox_bytes,
        max_event_bytes: memory::read_max_event(reader, outbox_bytes),
        memory: memory.clone(),
        longpolling_idle: reader.time("LONGPOLLING_IDLE_TIMEOUT"),
        reconnect_spread: reader.time("RECONNECT_SPREAD"),
        ..connection::Config::default()
    }
}

pub(super) fn read_waiting(reader: &mut Reader) -> WaitingConfig {
    WaitingConfig {
        timeout: reader.time("PROXY_HTTP_ASYNC_RESPONSE_TIMEOUT"),
        kafka: reader.time("PROXY_KAFKA_RESPONSE_TIMEOUT"),
        ..WaitingConfig::default()
    }
}

pub(super) fn read_proxy(reader: &mut Reader, cors: &Cors, memory: Arc<Memory>) -> proxy::Config {
    proxy::Config {
        cors: cors.clone(),
        answer_timeout: reader.time("PROXY_RECV_TIMEOUT"),
        services: ServiceLimits {
            connection_age: reader.time("PROXY_CONNECTION_AGE"),
            idle: reader.time("PROXY_IDLE_TIMEOUT"),
            fields: reader.number("PROXY_ANSWER_HEADERS"),
            head: reader.bytes("PROXY_ANSWER_HEADER_BYTES"),
        },
        memory,
        fencing: Fencing::default(),
    }
}

pub(super) fn read_inbound(
    reader: &mut Reader,
    intake: Intake,
    cors: Cors,
    cookie: Option<String>,
) -> inbound::Config {
    let connects = NonZeroU32::new(reader.number("MAX_CONNECTIONS_PER_MINUTE"));
    let check_timeout = reader.time("CHECK_TIMEOUT");
    inbound::Config {
        cors,
        connects_per_minute: connects.expect("the bound of the row is 1"),
        max_body: intake.max_body,
        body_timeout: intake.body_timeout,
        extension_names: intake.extension_names,
        cookie,
        subscription_check: access::read_check(reader, "SUBSCRIPTION_CHECK", check_timeout),
        submission_check: access::read_check(reader, "SUBMISSION_CHECK", check_timeout),
    }
}
