//! One server of an API.

use std::sync::atomic::AtomicU64;

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Uri, Version};
use hyper::body::Body;

use super::failure::Complaints;
use super::pool::Pool;
use crate::body::RequestBody;
use crate::definition::TargetConfig;

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) config: TargetConfig,
    /// Its host name, with the port unless that is the scheme's default.
    pub(super) authority: Authority,
    host: HeaderValue,
    pub(super) pool: Pool,
    /// Number of ejections that were not added to the metrics yet.
    pub(super) ejections: AtomicU64,
    pub(super) complaints: Complaints,
}

impl Server {
    pub(super) fn new(config: &TargetConfig) -> Self {
        let host = match config.host.contains(':') {
            true => format!("[{}]", config.host),
            false => config.host.clone(),
        };
        let own = if config.scheme == Scheme::HTTPS { 443 } else { 80 };
        let authority = if config.port == own { host } else { format!("{host}:{}", config.port) };
        Self {
            config: config.clone(),
            host: HeaderValue::from_str(&authority).expect("a host name is ASCII"),
            authority: authority.parse().expect("a host name and a port are an authority"),
            pool: Pool::default(),
            ejections: AtomicU64::new(0),
            complaints: Complaints::default(),
        }
    }

    /// Addresses a request to this server (RFC 9112, section 3.2.1; RFC 9113, section 8.3.1).
    pub(super) fn address(&self, request: &mut Request<RequestBody>, http2: bool) {
        let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = Some(path);
        if http2 {
            parts.scheme = Some(self.config.scheme.clone());
            parts.authority = Some(self.authority.clone());
            // h2 refuses requests with connection-specific fields (RFC 9113, section 8.2.2).
            for name in [HOST, TRANSFER_ENCODING, CONNECTION, UPGRADE] {
                request.headers_mut().remove(name);
            }
            *request.version_mut() = Version::HTTP_2;
        } else {
            request.headers_mut().insert(HOST, self.host.clone());
            // hyper sends no body of unknown length with these methods, unless a header says so
            // (d27).
            if matches!(*request.method(), Method::GET | Method::HEAD)
                && request.body().size_hint().exact().is_none()
            {
                request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
            *request.version_mut() = Version::HTTP_11;
        }
        *request.uri_mut() = Uri::from_parts(parts).expect("both a path alone and a whole URI are one");
    }
}
