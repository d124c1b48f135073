//! API definitions: what RIG's format says, and what ours adds, checked and in types.

mod auth;
mod endpoint;
mod members;
mod parse;
mod proxy;
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
    /// Names it in the internal API; unique.
    pub id: Arc<str>,
    /// Whether its endpoints are served.
    pub active: bool,
    /// Where its tokens are looked for (`auth`); `None`: it has no secured endpoint.
    pub token_sources: Option<TokenSources>,
    /// Where its requests go.
    pub upstream: UpstreamConfig,
    /// How its service reads paths.
    pub path_rules: PathRules,
    /// The endpoints, in the order of the document.
    pub endpoints: Vec<Endpoint>,
    /// The document itself, with RIG's defaults filled in.
    pub document: Map<String, Value>,
}

impl Api {
    /// What there is to warn of where every page may read answers (`CORS=*`): then none may use
    /// cookies.
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
    /// Names it in messages; unique within its API.
    pub id: Arc<str>,
    /// The method; `GET` covers `HEAD`.
    pub method: Method,
    /// A regular expression for the whole path, caseless and Unicode.
    pub path_regex: String,
    /// The path that the service sees, with `\1` to `\9` for captures; `None`: as it came.
    pub path_replacement: Option<String>,
    /// Whether a valid token of a legal session is required.
    pub secured: bool,
    /// Headers that are set on the way to the service.
    pub add_headers: Vec<(HeaderName, HeaderValue)>,
    /// Where the answer comes from.
    pub response_from: ResponseFrom,
    /// What claims must say: by JSON Pointer, a value, or a list that contains it.
    pub claims: Vec<RequiredClaim>,
    /// Claims that are handed to the service: a header for each JSON Pointer. What a client sends
    /// under such a name is dropped.
    pub forward_claims: Vec<(HeaderName, String)>,
    /// How long the service may be silent: zero for no limit; `None`: as the node is configured.
    pub timeout: Option<Duration>,
    /// The largest request body in bytes; `None`: any.
    pub max_body: Option<u64>,
    /// How often it may be asked.
    pub rate_limit: Option<RateLimit>,
    /// Headers of the answer that are set, or with `None` dropped.
    pub response_headers: Vec<(HeaderName, Option<HeaderValue>)>,
}

impl Endpoint {
    /// The headers that it sets on requests to the service.
    pub(crate) fn set(&self) -> impl Iterator<Item = &HeaderName> + Clone {
        let claims = self.forward_claims.iter().map(|(name, _)| name);
        claims.chain(self.add_headers.iter().map(|(name, _)| name))
    }
}

/// A claim that a token must have.
#[derive(Clone, Debug, PartialEq)]
pub struct RequiredClaim {
    /// Where it is (RFC 6901).
    pub pointer: String,
    /// What it is, or contains if it is a list.
    pub value: Value,
}

/// Where the answer to a request comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseFrom {
    /// The service answers.
    #[default]
    Http,
    /// After a 202 of the service, another request to the internal port brings the answer.
    HttpAsync,
}

impl ResponseFrom {
    /// As it stands in definitions and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::HttpAsync => "http_async",
        }
    }
}

/// How often an endpoint may be asked, by each session or address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Limit of the requests …
    pub requests: std::num::NonZeroU32,
    /// … within this time, and as many at once.
    pub within: Duration,
    /// Who is counted.
    pub by: RateLimitBy,
}

/// Who is counted by a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RateLimitBy {
    /// The client's address.
    Address,
    /// The session of its token; without one, its address.
    Session,
}

/// Where the requests of an API go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// The servers; at least one.
    pub targets: Vec<TargetConfig>,
    /// Whether HTTP/2 is spoken: by ALPN over TLS, by prior knowledge in clear.
    pub http2: bool,
    /// For HTTPS.
    pub tls: TlsFiles,
    /// Asks each target whether it is well.
    pub health_check: Option<HealthCheck>,
    /// Leaves out a target that fails.
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
    /// Its share of requests; zero: none.
    pub weight: u32,
}

/// PEM files for HTTPS to a service; without a CA, the system's are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// The gateway's own certificate chain and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Asks a target regularly: 2xx and 3xx are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What to `GET`.
    pub path: String,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Number of good answers in a row that make a target well …
    pub healthy_after: u32,
    /// … and of bad ones that make it unwell.
    pub unhealthy_after: u32,
}

/// Leaves out a target after failures in a row: no connection, no answer, or 502 to 504.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// The number of failures.
    pub after: u32,
    /// How long it is left out.
    pub time: Duration,
}
