//! Where the requests of an endpoint go: the port between the proxy and whatever answers them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use listener::Body;

use crate::definition::{Api, Endpoint};
use crate::time_limits::TimeLimits;

/// Answers requests of endpoints in another way than an HTTP service does, such as a broker of
/// messages.
///
/// Its answers are small and whole: they are not paced, and nothing of them is counted before they
/// are complete.
pub trait Target: fmt::Debug + Send + Sync {
    /// The value of the label `target` in the metrics of its endpoints, such as `kafka`.
    fn label(&self) -> &'static str;

    /// Sends a request, and waits for the answer. The body of the request yields what has been
    /// checked against the endpoint's limit; an error in it means that the request is not whole and
    /// must not be taken.
    ///
    /// The caller stops waiting when one of `limits` is exceeded or the session is revoked: it
    /// drops the future. With `response_from: http_async`, an answer of 202 says that another one
    /// will come to the internal port.
    ///
    /// # Errors
    /// Fails if the request was not taken.
    fn send(&self, request: Request<Body>, limits: TimeLimits) -> TargetFuture<'_>;
}

/// What [`Target::send`] returns.
pub type TargetFuture<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, TargetError>> + Send + 'a>>;

/// Why a target gives no answer. The client learns the status; the text is for the request log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It cannot be reached, or answers what makes no sense (502).
    #[error("{0}")]
    Unreachable(String),
    /// It takes no more requests now (503).
    #[error("{0}")]
    Busy(String),
}

/// Makes the target of an endpoint; `None` if that is the HTTP service which its definition names.
pub type TargetMaker = Box<dyn Fn(&Api, &Endpoint) -> Option<Arc<dyn Target>> + Send + Sync>;
