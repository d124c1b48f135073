//! The targets of endpoints: the port between the proxy and whatever answers its requests.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use listener::Body;
use serde_json::{Map, Value};

use crate::definition::{Api, Broker, Endpoint, ResponseFrom};
use crate::time_limits::TimeLimits;

/// Answers requests to endpoints by other means than an HTTP service, for instance a message
/// broker.
///
/// Answers are small and complete: they are not paced, and not counted before they are complete.
pub trait Target: fmt::Debug + Send + Sync {
    /// Returns the value of the label `target` in the metrics of its endpoints, such as `kafka`.
    fn label(&self) -> &'static str;

    /// Returns how long it may take to answer, and the final answer to come, where an endpoint does
    /// not say so; `None` for the node's limit of HTTP services.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Sends a request, and waits for the answer. The body of the request was checked against the
    /// endpoint's limit; an error in it means that the request is incomplete and must not be
    /// accepted.
    ///
    /// The caller cancels by dropping the future, if one of `limits` is exceeded or the session is
    /// revoked. If the request has a `correlation`, an answer of 202 means that the final answer
    /// will come later, with this token.
    ///
    /// # Errors
    /// Fails if the request was not accepted.
    fn send(&self, request: TargetRequest, limits: TimeLimits) -> TargetFuture<'_>;
}

/// A request to a target.
#[derive(Debug)]
pub struct TargetRequest {
    /// The request as its client sent it, with the headers that the definition sets and the
    /// replaced path.
    pub http: Request<Body>,
    /// The address of the client.
    pub client: SocketAddr,
    /// Whether the client uses TLS.
    pub is_secure: bool,
    /// The token that the final answer must carry, if one is to come.
    pub correlation: Option<String>,
    /// The verified claims that the endpoint forwards, by the names of their headers.
    pub claims: Map<String, Value>,
}

/// What [`Target::send`] returns.
pub type TargetFuture<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, TargetError>> + Send + 'a>>;

/// Why a target does not answer. The client sees the status only, except for
/// [`TargetError::Invalid`]; the text goes to the request log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The request is not what the target takes (400); the client gets the text.
    #[error("{0}")]
    Invalid(String),
    /// The body is larger than the target takes (413).
    #[error("{0}")]
    TooLarge(String),
    /// It cannot be reached, or its response is invalid (502).
    #[error("{0}")]
    Unreachable(String),
    /// It accepts no more requests now (503).
    #[error("{0}")]
    Busy(String),
    /// The broker cannot be reached now (503). The request was not accepted.
    #[error("{0}")]
    Unavailable(String),
    /// It has not answered in time (504). It may have accepted the request.
    #[error("{0}")]
    TimedOut(String),
}

/// The targets of a node that are not HTTP services.
pub trait Targets: Send + Sync {
    /// Creates the target of an endpoint; `None` if it is the HTTP service of the definition.
    ///
    /// # Errors
    /// Fails if the node has no such target, or receives no such answers.
    fn target(&self, api: &Api, endpoint: &Endpoint) -> Result<Option<Arc<dyn Target>>, TargetFault>;

    /// Returns whether answers that come this way are received now.
    fn receives(&self, from: ResponseFrom) -> bool {
        let _ = from;
        true
    }
}

/// Why an endpoint cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFault {
    /// The member of the endpoint.
    pub member: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl TargetFault {
    /// The node is not connected to the broker that an endpoint needs.
    pub fn not_configured((member, broker): (&'static str, Broker)) -> Self {
        let reason = match broker {
            Broker::Kafka => "kafka is not configured: KAFKA_BROKERS is not set",
            // Its target needs no setting.
            Broker::Kinesis => "kinesis is not built in: build with --features kinesis",
            Broker::Nats => "nats is not configured: NATS_SERVERS is not set",
        };
        Self { member, reason: reason.to_owned() }
    }
}

/// HTTP services only.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTargets;

impl Targets for NoTargets {
    fn target(&self, _: &Api, endpoint: &Endpoint) -> Result<Option<Arc<dyn Target>>, TargetFault> {
        endpoint.needed_broker().map_or(Ok(None), |needed| Err(TargetFault::not_configured(needed)))
    }
}
