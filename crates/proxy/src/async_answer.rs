//! An answer that a service sends to the internal port, in a request of its own.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// An asynchronous answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncAnswer {
    /// The final status.
    pub status: StatusCode,
    /// The headers that the client gets.
    pub headers: HeaderMap,
    /// The body, unchanged.
    pub body: Bytes,
}
