//! The configuration and the shared state of the inbound port.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use auth::{Check, CheckRequest, Cors, Credential, Denied, Sender, TokenPlace, TokenSources, Verifier};
use bytes::Bytes;
use connection::{Hub, Resume, Transport};
use event::ExtensionNames;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Body as HttpBody;
use listener::{Body, BodyError, BoxError, ClientBody, CountedBody, Metrics, Peer, read_counted};
use node::Node;
use proxy::Proxy;
use session::Sessions;

use crate::answer::empty;
use crate::rate::ConnectLimits;

/// The configuration of the inbound port.
pub struct Config {
    /// Which pages may read the answers, and use the cookies of their users.
    pub cors: Cors,
    /// Limit of connects within a minute, over all transports (RIG: `MAX_CONNECTIONS_PER_MINUTE`).
    /// Clients that come back with an id of the gateway have another one, ten times as high.
    pub connects_per_minute: NonZeroU32,
    /// Limit of a request body, in bytes.
    pub max_body: usize,
    /// Time limit for a request body to arrive.
    pub body_timeout: Duration,
    /// Which names extensions of events may have.
    pub extension_names: ExtensionNames,
    /// The cookie that may carry the token, if any.
    pub cookie: Option<String>,
    /// Who may subscribe.
    pub subscription_check: Check,
    /// Who may publish.
    pub submission_check: Check,
}

/// The parts of the gateway that the inbound port uses.
pub struct Parts {
    /// Publishes, and knows whether the node admits clients.
    pub node: Node,
    /// The connections of `node`, for opening and polling them.
    pub hub: Arc<Hub>,
    /// The sessions of `node`, for the subjects of tokens.
    pub sessions: Sessions,
    /// Verifies tokens.
    pub verifier: Arc<Verifier>,
    /// The fields that subscriptions can constrain.
    pub extractors: Arc<subscription::Extractors>,
    /// Handles every request that is not for the gateway itself.
    pub proxy: Arc<Proxy>,
    /// Counts clients that are refused.
    pub listening: Arc<listener::Metrics>,
}

/// The state that all handlers share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) node: Node,
    pub(crate) hub: Arc<Hub>,
    pub(crate) sessions: Sessions,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) extractors: Arc<subscription::Extractors>,
    /// Where requests that connect may carry tokens.
    pub(crate) token_sources: TokenSources,
    /// Where all other requests may carry tokens.
    pub(crate) authorization: TokenSources,
    pub(crate) proxy: Arc<Proxy>,
    /// The metrics of the listeners, which also count the clients that this port refuses.
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) connects: ConnectLimits,
    pub(crate) sse_headers: HeaderMap,
}

/// A request and its peer.
pub(crate) struct InboundRequest {
    pub(crate) request: Request<ClientBody>,
    pub(crate) peer: Peer,
}

impl InboundRequest {
    /// Returns which page sent it.
    pub(crate) fn sender(&self) -> Sender<'_> {
        Sender::of(self.request.uri(), self.request.headers(), self.peer.secure)
    }

    /// Returns the `Origin` of the request, for the CORS headers of the answer.
    pub(crate) fn origin(&self) -> Option<HeaderValue> {
        Cors::asking(self.request.headers()).cloned()
    }
}

impl Shared {
    /// Returns `true` if events have ids, with which clients can come back.
    pub(crate) fn keeps_history(&self) -> bool {
        self.hub.config().history.is_some()
    }

    /// Returns `true` if a client comes back with an id of the gateway, of whatever series.
    pub(crate) fn is_returning(&self, resume: &Resume) -> bool {
        let (cursor, history) = (resume.cursor.as_deref(), self.hub.config().history.as_ref());
        cursor.zip(history).is_some_and(|(cursor, history)| history.is_id(cursor))
    }

    /// Reads a complete body. The second value counts its bytes until it is dropped.
    pub(crate) async fn read<B>(&self, body: B) -> Result<(Bytes, Option<CountedBody>), BodyError>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let Config { max_body, body_timeout, .. } = self.config;
        read_counted(body, max_body, body_timeout, &self.hub.config().memory).await
    }

    /// Performs a check of a request. While a service decides, the bytes of the body are counted,
    /// even if it arrived in one piece.
    pub(crate) async fn decide(
        &self,
        check: &Check,
        request: &CheckRequest<'_>,
        counted: Option<CountedBody>,
    ) -> Result<Result<(), Denied>, BodyError> {
        if !check.is_external() {
            return Ok(check.allows(request).await);
        }
        let memory = &self.hub.config().memory;
        let counted = counted.unwrap_or_else(|| CountedBody::new(request.body.len(), memory));
        counted.during(check.allows(request)).await
    }

    pub(crate) fn preflight(
        &self,
        asked: &InboundRequest,
        methods: &'static str,
        names: &'static str,
    ) -> Response<Body> {
        let mut response = empty(StatusCode::NO_CONTENT);
        let methods = HeaderValue::from_static(methods);
        Cors::preflight(asked.request.headers(), response.headers_mut(), methods, names);
        self.with_cors(asked.origin().as_ref(), response)
    }

    /// Adds the headers that allow pages to read an answer. `origin` is that of the request.
    pub(crate) fn with_cors(
        &self,
        origin: Option<&HeaderValue>,
        mut response: Response<Body>,
    ) -> Response<Body> {
        self.config.cors.allow(origin, response.headers_mut());
        response
    }

    /// Returns `true` if the tokens of a request may be used for the page that sent it. A browser
    /// adds cookies to requests of any page; any other token must be known to the page.
    pub(crate) fn trusts<'r>(
        &self,
        credentials: &[Credential<'_>],
        transport: Option<Transport>,
        sender: impl FnOnce() -> Sender<'r>,
    ) -> bool {
        let is_cookie = credentials.first().is_some_and(|credential| credential.place == TokenPlace::Cookie);
        let cors = &self.config.cors;
        !is_cookie
            || match transport {
                Some(Transport::WebSocket) => cors.trusts_socket(sender()),
                Some(Transport::Sse | Transport::LongPolling) | None => cors.trusts(sender()),
            }
    }
}
