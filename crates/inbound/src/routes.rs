//! The routes of the inbound port, and the headers of every answer.

use std::sync::{Arc, Weak};

use auth::{Cors, TokenSources};
use feed::Feeds;
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Body as _;
use listener::{Answer, App, Body, ClientBody, Peer, REQUEST_ID, given_request_id, new_request_id};
use node::PeerRoom;
use percent_encoding::percent_decode_str;

use crate::answer::{TEXT, answer, method_not_allowed, not_found, text};
use crate::port::{Config, InboundRequest, Parts, Shared};
use crate::rate::ConnectLimits;
use crate::{events, longpolling, sse, subscriptions, websocket};

/// The inbound port of a node. Cloning is cheap; clones share the port.
#[derive(Clone)]
pub struct Inbound {
    shared: Arc<Shared>,
    /// Answers identity providers; `None` if there are no feeds, or the internal port has them.
    feeds: Option<Arc<Feeds>>,
}

/// The request headers that pages may send to open a stream: those of `EventSource` and its
/// replacements, which reconnect automatically.
const STREAM_HEADERS: &str = "content-type,authorization,last-event-id,cache-control";

/// The transports, as the paths below `/_rig/v1/connection/` name them. To replace subscriptions,
/// every transport's path takes every connection token (RIG).
const TRANSPORTS: [&str; 3] = ["sse", "ws", "longpolling"];

impl Inbound {
    /// Returns the inbound port over its `parts`.
    pub fn new(config: Config, parts: Parts) -> Self {
        let Parts { node, hub, sessions, verifier, extractors, proxy, listening } = parts;
        let connects = ConnectLimits::new(config.connects_per_minute);
        let sse_headers = sse::headers(&config.cors, None);
        let authorization = TokenSources::authorization();
        let token_sources = TokenSources {
            query: Some("jwt".to_owned()),
            cookie: config.cookie.clone(),
            subprotocol: true,
            ..authorization.clone()
        };
        let shared = Arc::new(Shared {
            config,
            node,
            hub,
            sessions,
            verifier,
            extractors,
            token_sources,
            authorization,
            proxy,
            metrics: listening,
            connects,
            sse_headers,
        });
        let handler: Weak<Shared> = Arc::downgrade(&shared);
        shared.node.answer_peers(PeerRoom::Inbound, handler);
        Self { shared, feeds: None }
    }

    /// Returns the port with the feeds of identity providers.
    #[must_use]
    pub fn with_feeds(self, feeds: Arc<Feeds>) -> Self {
        Self { feeds: Some(feeds), ..self }
    }

    async fn route(&self, asked: InboundRequest) -> Answer {
        if let Some(feeds) = self.feeds.as_ref().filter(|_| Feeds::has_path(asked.request.uri().path())) {
            // No web page calls them, so there are no headers of CORS.
            return Answer::Response(feeds.answer(asked.request).await);
        }
        if listener::is_coded(asked.request.headers()) && !asked.request.body().is_end_stream() {
            let mut response = text(StatusCode::UNSUPPORTED_MEDIA_TYPE, listener::CODED);
            response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            return Answer::Response(self.shared.with_cors(asked.origin().as_ref(), response));
        }
        let path = asked.request.uri().path().to_owned();
        let path = path.strip_suffix('/').unwrap_or(&path);
        let method = asked.request.method().clone();
        let shared = &self.shared;
        let response = match path {
            "/_rig/v1/connection/sse" => match method {
                Method::GET => return sse::connect(shared, asked).await,
                Method::HEAD => sse::head(shared, &asked),
                Method::OPTIONS => shared.preflight(&asked, "GET", STREAM_HEADERS),
                _ => method_not_allowed("GET, HEAD, OPTIONS"),
            },
            "/_rig/v1/connection/ws" => match method {
                Method::GET => return websocket::connect(shared, asked).await,
                Method::OPTIONS => shared.preflight(&asked, "GET", Cors::REQUEST_HEADERS),
                _ => method_not_allowed("GET, OPTIONS"),
            },
            "/_rig/v1/connection/longpolling" => match method {
                Method::GET => longpolling::connect(shared, asked).await,
                Method::OPTIONS => longpolling::preflight(shared, &asked),
                _ => not_found(),
            },
            "/_rig/v1/events" => match method {
                Method::POST => events::submit(shared, asked).await,
                Method::OPTIONS => shared.preflight(&asked, "POST", Cors::REQUEST_HEADERS),
                _ => not_found(),
            },
            "/_rig/health" if matches!(method, Method::GET | Method::HEAD) => health(shared),
            _ => match (connection_token(path), method) {
                (Some(token), Method::PUT) => subscriptions::replace(shared, asked, &token).await,
                (Some(_), Method::OPTIONS) => shared.preflight(&asked, "PUT", Cors::REQUEST_HEADERS),
                _ => not_found(),
            },
        };
        Answer::Response(response)
    }
}

impl App for Inbound {
    async fn call(&self, request: Request<ClientBody>, peer: Peer) -> Answer {
        if !is_ours(request.uri().path()) {
            return self.shared.proxy.call(request, peer).await;
        }
        let id = given_request_id(request.headers());
        // Boxed, so that the future of a proxied request is smaller.
        match Box::pin(self.route(InboundRequest { request, peer })).await {
            Answer::Response(mut response) => {
                let id = id.unwrap_or_else(new_request_id);
                tracing::debug!(
                    request_id = &*String::from_utf8_lossy(id.as_bytes()),
                    status = response.status().as_u16(),
                    "answered"
                );
                response.headers_mut().insert(REQUEST_ID, id);
                Answer::Response(response)
            }
            takeover => takeover,
        }
    }

    fn complete(&self, request: Option<&HeaderMap>, response: &mut Response<Body>) {
        let id = request.and_then(given_request_id);
        response.headers_mut().insert(REQUEST_ID, id.unwrap_or_else(new_request_id));
        let origin = request.and_then(Cors::asking);
        self.shared.config.cors.allow(origin, response.headers_mut());
    }
}

/// Returns the health for load balancers. Fails as soon as the node is about to shut down.
fn health(shared: &Shared) -> Response<Body> {
    if shared.node.is_ready() {
        answer(StatusCode::OK, TEXT, "OK")
    } else {
        answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "leaving")
    }
}

/// Returns `true` if a path belongs to the gateway itself.
fn is_ours(path: &str) -> bool {
    path.strip_prefix("/_rig").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns the connection token in the path
/// `/_rig/v1/connection/:transport/:token/subscriptions`.
pub(crate) fn connection_token(path: &str) -> Option<String> {
    let rest = path.strip_prefix("/_rig/v1/connection/")?.strip_suffix("/subscriptions")?;
    let (transport, token) = rest.split_once('/')?;
    let known = TRANSPORTS.contains(&transport) && !token.contains('/');
    known.then(|| percent_decode_str(token).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_one_segment_of_the_path() {
        assert_eq!(connection_token("/_rig/v1/connection/ws/abc%3D/subscriptions").as_deref(), Some("abc="));
        assert_eq!(connection_token("/_rig/v1/connection/ws/a/b/subscriptions"), None);
        assert_eq!(connection_token("/_rig/v1/connection/other/abc/subscriptions"), None);
        assert_eq!(connection_token("/_rig/v1/connection/ws/subscriptions"), None);
    }
}
