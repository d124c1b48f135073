//! An answer that a service gives in a request of its own, to the internal port.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// An answer that came in a request of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncAnswer {
    /// The final status.
    pub status: StatusCode,
    /// The headers that the client gets.
    pub headers: HeaderMap,
    /// The body, as it came.
    pub body: Bytes,
}
