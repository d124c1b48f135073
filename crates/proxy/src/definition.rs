//! API definitions: RIG's format with our additions, validated and typed.

mod auth;
mod endpoint;
mod members;
mod parse;
mod proxy;
mod target;
#[cfg(test)]
mod tests;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Map, Value};

use crate::fault::Warning;
use crate::path::PathRules;
use ::auth::TokenSources;
pub(crate) use parse::without_ours;
pub(crate) use tls::text as pem_text;

/// One API: endpoints of one service.
#[derive(Clone, Debug)]
pub struct Api {
    /// Identifies the API in the internal API; unique.
    pub id: Arc<str>,
    /// Whether its endpoints are served.
    pub active: bool,
    /// Where requests carry their tokens (`auth`); `None` if no endpoint is secured.
    pub token_sources: Option<TokenSources>,
    /// Where its requests are sent.
    pub upstream: UpstreamConfig,
    /// How the service interprets paths.
    pub path_rules: PathRules,
    /// The endpoints, in the order of the document.
    pub endpoints: Vec<Endpoint>,
    /// The document itself, with RIG's defaults filled in.
    pub document: Map<String, Value>,
}

impl Api {
    /// Returns a warning if the API takes cookies, for nodes where any page may read answers
    /// (`CORS=*`): there no page may use cookies.
    pub fn warning_of_cookie(&self) -> Option<Warning> {
        self.token_sources.as_ref()?.cookie.as_ref()?;
        let text = "/auth/use_cookie: under CORS=*, the cookie counts only for pages of the gateway's own origin; CORS names \
                    the origins of others";
        Some(Warning(text.to_owned()))
    }
}

/// One endpoint: a method and the paths it covers.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Identifies the endpoint in messages; unique within its API.
    pub id: Arc<str>,
    /// The method; `GET` covers `HEAD`.
    pub method: Method,
    /// A regular expression that matches the whole path, case-insensitive and Unicode-aware.
    pub path_regex: String,
    /// The path that the service gets, with `\1` to `\9` for captures; `None` if it gets the
    /// client's.
    pub path_replacement: Option<String>,
    /// Whether a valid token of a legal session is required.
    pub secured: bool,
    /// Headers that are set on requests to the service.
    pub add_headers: Vec<(HeaderName, HeaderValue)>,
    /// The message broker that its requests go to; `None` if they go to the HTTP service.
    pub broker: Option<BrokerEndpoint>,
    /// Where the answer comes from.
    pub response_from: ResponseFrom,
    /// Claims that a token must have: by JSON Pointer, a value, or a list that contains it.
    pub claims: Vec<RequiredClaim>,
    /// Claims that are forwarded to the service: a header for each JSON Pointer. Headers with these
    /// names are removed from the client's request.
    pub forward_claims: Vec<(HeaderName, String)>,
    /// How long the service may take to answer: zero for no limit, `None` for the node's default.
    pub timeout: Option<Duration>,
    /// Limit of the request body in bytes; `None` for no limit.
    pub max_body: Option<u64>,
    /// How often the endpoint may be requested.
    pub rate_limit: Option<RateLimit>,
    /// Headers that are set on the answer, or removed if `None`.
    pub response_headers: Vec<(HeaderName, Option<HeaderValue>)>,
}

impl Endpoint {
    /// Returns the broker that the endpoint cannot be served without, and the member that says so.
    pub fn needed_broker(&self) -> Option<(&'static str, Broker)> {
        match (&self.broker, self.response_from) {
            (Some(to), _) => Some(("target", to.broker)),
            (None, ResponseFrom::Kafka) => Some(("response_from", Broker::Kafka)),
            (None, ResponseFrom::Nats) => Some(("response_from", Broker::Nats)),
            (None, ResponseFrom::Http | ResponseFrom::HttpAsync) => None,
        }
    }

    /// Returns the headers that the endpoint sets on requests to the service.
    pub(crate) fn set(&self) -> impl Iterator<Item = &HeaderName> + Clone {
        let claims = self.forward_claims.iter().map(|(name, _)| name);
        claims.chain(self.add_headers.iter().map(|(name, _)| name))
    }
}

/// A claim that a token must have.
#[derive(Clone, Debug, PartialEq)]
pub struct RequiredClaim {
    /// A JSON Pointer to the claim (RFC 6901).
    pub pointer: String,
    /// The required value, or the required element if the claim is a list.
    pub value: Value,
}

/// A kind of message broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broker {
    /// Apache Kafka.
    Kafka,
    /// Amazon Kinesis.
    Kinesis,
    /// NATS.
    Nats,
}

impl Broker {
    /// Returns the name in definitions and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Kinesis => "kinesis",
            Self::Nats => "nats",
        }
    }
}

/// Where at a broker the requests of an endpoint go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerEndpoint {
    /// The broker.
    pub broker: Broker,
    /// The topic, subject or stream.
    pub topic: Arc<str>,
    /// The subject at the schema registry by whose schema `data` is encoded.
    pub schema: Option<Arc<str>>,
}

/// Where the answer to a request comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResponseFrom {
    /// The response of the service is the answer; a broker has none but that it has the request.
    #[default]
    Http,
    /// After a 202 of the service, another request to the internal port carries the answer.
    HttpAsync,
    /// After a 202 of the service, or when the broker has the request, a message of Kafka carries
    /// the answer.
    Kafka,
    /// The first reply to the message of NATS.
    Nats,
}

impl ResponseFrom {
    /// Returns the name in definitions and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::HttpAsync => "http_async",
            Self::Kafka => "kafka",
            Self::Nats => "nats",
        }
    }

    /// Returns whether the answer comes later than that of the target, with a token.
    pub(crate) const fn is_correlated(self) -> bool {
        matches!(self, Self::HttpAsync | Self::Kafka)
    }
}

/// How often each session or address may request an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Limit of the requests …
    pub requests: std::num::NonZeroU32,
    /// … within this time. All of them may come at once.
    pub within: Duration,
    /// The key by which requests are counted.
    pub by: RateLimitBy,
}

/// The key by which a rate limit counts requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RateLimitBy {
    /// The client's address.
    Address,
    /// The session of the token; the address if there is none.
    Session,
}

/// Where the requests of an API are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// The servers; at least one.
    pub targets: Vec<TargetConfig>,
    /// Whether HTTP/2 is offered: by ALPN over TLS, by prior knowledge in clear.
    pub http2: bool,
    /// The files for HTTPS.
    pub tls: TlsFiles,
    /// Checks regularly whether each target is healthy.
    pub health_check: Option<HealthCheck>,
    /// Takes a target that fails out of the rotation for a while.
    pub ejection: Option<Ejection>,
}

/// One server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetConfig {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// The host name or address, IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Its share of the requests, relative to the other targets; zero for none.
    pub weight: u32,
}

/// PEM files for HTTPS to a service. Without a CA, the system's CAs are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// The gateway's own certificate chain and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Sends a request to a target regularly: it is healthy if the status is 2xx or 3xx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The path to `GET`.
    pub path: String,
    /// Time between two checks.
    pub interval: Duration,
    /// Time limit of an answer.
    pub timeout: Duration,
    /// Number of successful checks in a row that make a target healthy …
    pub healthy_after: u32,
    /// … and of failed checks in a row that make it unhealthy.
    pub unhealthy_after: u32,
}

/// Ejects a target after failures in a row: no connection, no answer, or a 502 to 504.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// The number of failures.
    pub after: u32,
    /// How long the target stays ejected.
    pub time: Duration,
}
