//! The targets of endpoints: the port between the proxy and whatever answers its requests.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use listener::Body;

use crate::definition::{Api, Endpoint};
use crate::time_limits::TimeLimits;

/// Answers requests to endpoints by other means than an HTTP service, for instance a message
/// broker.
///
/// Answers are small and complete: they are not paced, and not counted before they are complete.
pub trait Target: fmt::Debug + Send + Sync {
    /// Returns the value of the label `target` in the metrics of its endpoints, such as `kafka`.
    fn label(&self) -> &'static str;

    /// Sends a request, and waits for the answer. The body of the request was checked against the
    /// endpoint's limit; an error in it means that the request is incomplete and must not be
    /// accepted.
    ///
    /// The caller cancels by dropping the future, if one of `limits` is exceeded or the session is
    /// revoked. With `response_from: http_async`, an answer of 202 means that the final answer will
    /// come to the internal port.
    ///
    /// # Errors
    /// Fails if the request was not accepted.
    fn send(&self, request: Request<Body>, limits: TimeLimits) -> TargetFuture<'_>;
}

/// What [`Target::send`] returns.
pub type TargetFuture<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, TargetError>> + Send + 'a>>;

/// Why a target does not answer. The client sees the status only; the text goes to the request log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It cannot be reached, or its response is invalid (502).
    #[error("{0}")]
    Unreachable(String),
    /// It accepts no more requests now (503).
    #[error("{0}")]
    Busy(String),
}

/// Creates the target of an endpoint; `None` if it is the HTTP service of the definition.
pub type TargetMaker = Box<dyn Fn(&Api, &Endpoint) -> Option<Arc<dyn Target>> + Send + Sync>;
