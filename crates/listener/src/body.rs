//! Reading a request body whole, within bounds.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;

/// The body of a request could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is larger than this many bytes.
    #[error("The request body is larger than {0} bytes.")]
    TooLarge(usize),
    /// It did not arrive in time.
    #[error("The request body did not arrive within {0:?}.")]
    Timeout(Duration),
    /// It ended early, or its framing is wrong.
    #[error("The request body is broken off.")]
    Broken,
}

impl BodyError {
    /// The status to answer with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads a body of up to `max` bytes.
///
/// # Errors
/// See [`BodyError`]; a body that announces more than `max` bytes is not read at all.
pub async fn read_body(body: Incoming, max: usize, within: Duration) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > max as u64 {
        return Err(BodyError::TooLarge(max));
    }
    match timeout(within, Limited::new(body, max).collect()).await {
        Err(_) => Err(BodyError::Timeout(within)),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge(max)),
        Ok(Err(_)) => Err(BodyError::Broken),
    }
}
