//! What an operator decides: from flags, environment, file and defaults to values that are known to be valid.
//!
//! [`Given`] says what was written where, [`Settings`] what it means. Both come from one [`table`]. All mistakes are
//! found before anything is reported, and nothing is opened here: only files are read.

mod access;
mod given;
mod kind;
mod mistake;
mod reader;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use telemetry::LogFormat;
use tracing::Level;

pub(crate) use access::{Checks, Jwt};
pub(crate) use given::{CONFIG_VARIABLE, Environment, Flags, Given};
pub(crate) use kind::parse_time;
pub(crate) use mistake::{Mistake, Mistakes, Source};
use reader::Reader;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// The text itself.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Where a port listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    /// HTTP; port 0: any free one.
    pub(crate) http: SocketAddr,
    /// HTTPS, where a certificate is set; port 0: any free one.
    pub(crate) https: SocketAddr,
}

/// The files of a TLS identity. They could be opened when the settings were read.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    /// The certificate chain, as PEM.
    pub(crate) certificates: PathBuf,
    /// The private key, as PEM.
    pub(crate) key: PathBuf,
    /// Of an encrypted private key.
    pub(crate) passphrase: Option<Secret>,
}

/// Bounds of sockets and requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Open sockets in total.
    pub(crate) connections: u32,
    /// Open sockets of one client address; `None`: no limit.
    pub(crate) connections_per_address: Option<NonZeroU32>,
    /// Bytes of a request line.
    pub(crate) request_line: usize,
    /// Bytes of the headers.
    pub(crate) headers: usize,
    /// Bytes of a body.
    pub(crate) body: usize,
    /// For the head of a request to arrive.
    pub(crate) head_timeout: Duration,
    /// For the body of a request to arrive.
    pub(crate) body_timeout: Duration,
    /// Between two requests.
    pub(crate) keep_alive_timeout: Duration,
}

/// All settings, parsed.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The name of this host, for information.
    pub(crate) host: String,
    /// The port of frontends.
    pub(crate) inbound: Ports,
    /// The internal port.
    pub(crate) api: Ports,
    /// What the internal port wants to see.
    pub(crate) api_token: Option<Secret>,
    /// `None`: no HTTPS.
    pub(crate) tls: Option<TlsFiles>,
    /// `*` or one origin; can stand in a header.
    pub(crate) cors: String,
    /// What a valid token is.
    pub(crate) jwt: Jwt,
    /// Who may subscribe, who may publish.
    pub(crate) checks: Checks,
    /// The fields of events that subscriptions can select by.
    pub(crate) extractors: serde_json::Map<String, serde_json::Value>,
    /// New connections in a minute.
    pub(crate) connects_per_minute: NonZeroU32,
    /// Between two heartbeats.
    pub(crate) heartbeat: Duration,
    /// Bytes that may wait for one reader.
    pub(crate) outbox_bytes: usize,
    /// Of a long-polling connection that nobody polls.
    pub(crate) longpolling_idle: Duration,
    /// Keys the connection tokens; `None`: a random key.
    pub(crate) node_cookie: Option<Secret>,
    /// Of sockets and requests.
    pub(crate) limits: Limits,
    /// The least severe lines to log.
    pub(crate) log_level: Level,
    /// Their form.
    pub(crate) log_format: LogFormat,
    /// Whether `/metrics` is answered.
    pub(crate) metrics: bool,
    /// For open requests after SIGTERM.
    pub(crate) grace: Duration,
    /// What to tell the operator in the log; no mistakes.
    pub(crate) warnings: Vec<String>,
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
        let api_token = reader.optional("API_TOKEN", |text, kind| bearer_token(text, &kind)).map(Secret);
        let tls = read_tls(reader);
        let (inbound, api) = read_ports(reader, api_token.is_some(), tls.is_some());
        Self {
            host: reader.value("HOST", |text, _| (!text.is_empty()).then(|| text.to_owned())),
            inbound,
            api,
            api_token,
            tls,
            cors: reader.value("CORS", |text, _| is_origin(text).then(|| text.to_owned())),
            jwt: access::read_jwt(reader),
            checks: access::read_checks(reader),
            extractors: access::read_extractors(reader),
            connects_per_minute: NonZeroU32::new(reader.number("MAX_CONNECTIONS_PER_MINUTE"))
                .expect("the bound of the row is 1"),
            heartbeat: reader.time("HEARTBEAT_INTERVAL"),
            outbox_bytes: reader.bytes("OUTBOX_BYTES"),
            longpolling_idle: reader.time("LONGPOLLING_IDLE_TIMEOUT"),
            node_cookie: reader.text("NODE_COOKIE").map(Secret),
            limits: Limits {
                connections: reader.number("MAX_CONNECTIONS"),
                connections_per_address: NonZeroU32::new(reader.number("MAX_CONNECTIONS_PER_ADDRESS")),
                request_line: reader.bytes("MAX_REQUEST_LINE"),
                headers: reader.bytes("MAX_HEADER_BYTES"),
                body: reader.bytes("MAX_BODY_BYTES"),
                head_timeout: reader.time("HEAD_TIMEOUT"),
                body_timeout: reader.time("BODY_TIMEOUT"),
                keep_alive_timeout: reader.time("KEEP_ALIVE_TIMEOUT"),
            },
            log_level: reader.word("LOG_LEVEL", |text| text.parse().ok()),
            log_format: reader.word("LOG_FMT", |text| text.parse().ok()),
            metrics: reader.switch("PROMETHEUS_METRICS_ENABLED"),
            grace: reader.time("SHUTDOWN_GRACE_PERIOD"),
            warnings: Vec::new(),
        }
    }
}

fn read_tls(reader: &mut Reader) -> Option<TlsFiles> {
    let pair = ["HTTPS_CERTFILE", "HTTPS_KEYFILE"].map(|name| reader.is_set(name));
    match pair {
        [true, false] => reader.mistake("HTTPS_KEYFILE", "HTTPS_CERTFILE is set: both or neither"),
        [false, true] => reader.mistake("HTTPS_CERTFILE", "HTTPS_KEYFILE is set: both or neither"),
        _ => {}
    }
    let certificates = reader.file("HTTPS_CERTFILE");
    let key = reader.file("HTTPS_KEYFILE");
    let passphrase = reader.text("HTTPS_KEYFILE_PASS").map(Secret);
    Some(TlsFiles { certificates: certificates?, key: key?, passphrase })
}

fn read_ports(reader: &mut Reader, token: bool, tls: bool) -> (Ports, Ports) {
    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let nowhere_else = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let chosen = reader
        .optional("API_BIND", |text, kind| text.parse::<IpAddr>().map_err(|_| format!("allowed: {kind}")));
    let api = chosen.unwrap_or(if token { everywhere } else { nowhere_else });
    if !token && !api.is_loopback() {
        let warning = format!(
            "API_BIND = {api} without API_TOKEN: whoever reaches the internal port controls the gateway"
        );
        reader.given.warnings.push(warning);
    }
    let inbound = reader.address("INBOUND_BIND");
    let named = ["INBOUND_PORT", "INBOUND_HTTPS_PORT", "API_HTTP_PORT", "API_HTTPS_PORT"]
        .map(|name| (name, reader.port(name)));
    let [http, https, api_http, api_https] = named.map(|(_, port)| port);
    let ports = Ports { http: (inbound, http).into(), https: (inbound, https).into() };
    let api = Ports { http: (api, api_http).into(), https: (api, api_https).into() };
    let opened = [
        (named[0].0, Some(ports.http)),
        (named[1].0, tls.then_some(ports.https)),
        (named[2].0, Some(api.http)),
        (named[3].0, tls.then_some(api.https)),
    ];
    for (index, (name, address)) in opened.iter().enumerate() {
        let taken = opened[..index].iter().find(|(_, other)| overlap(*address, *other));
        if let Some((other, _)) = taken {
            reader.mistake(name, format!("{other} is the same port: two ports cannot share one"));
        }
    }
    (ports, api)
}

/// Whether both cannot be bound at once.
fn overlap(left: Option<SocketAddr>, right: Option<SocketAddr>) -> bool {
    let (Some(left), Some(right)) = (left, right) else { return false };
    let addresses = left.ip() == right.ip() || left.ip().is_unspecified() || right.ip().is_unspecified();
    left.port() != 0 && left.port() == right.port() && addresses
}

/// RFC 6750, section 2.1 (`b64token`), and long enough not to be guessed.
fn bearer_token(text: &str, kind: &kind::Kind) -> Result<String, String> {
    let body = text.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if text.len() >= 16 && !body.is_empty() && body.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err(format!("allowed: {kind}"))
    }
}

/// `*`, `null`, or scheme, host and port as a browser sends them (RFC 6454, section 6.1): a trailing slash never
/// matches.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return matches!(text, "*" | "null") };
    let schemes = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let hosts =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@,\"\\".contains(&byte));
    schemes && hosts
}
