//! An answer that a service does not send on the connection of the request: it comes in a request
//! to the internal port, or in a message of a broker.

mod headers;

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

impl AsyncAnswer {
    /// Creates the answer that a service has sent with these headers. Those that are about the way
    /// of the answer are left out, and the body if the status allows none (RFC 9110, section 15).
    pub fn new(status: StatusCode, given: &HeaderMap, body: Bytes) -> Self {
        let none = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];
        let body = if none.contains(&status) { Bytes::new() } else { body };
        Self { status, headers: headers::for_the_client(given), body }
    }
}
