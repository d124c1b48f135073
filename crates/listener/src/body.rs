//! Reading a request body whole, within bounds.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
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

/// Bytes of a body that is too large which are read and thrown away before it is refused. A client that is still
/// sending may take the end of its stream for a failure, and not come to read the answer.
const DISCARDED: usize = 256 << 10;

/// How long that may take.
const DISCARDING: Duration = Duration::from_secs(1);

/// Reads a body of up to `max` bytes.
///
/// # Errors
/// See [`BodyError`]; nothing is kept of a body that announces more than `max` bytes.
pub async fn read_body<B>(mut body: B, max: usize, within: Duration) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if body.size_hint().lower() > max as u64 {
        discard(&mut body).await;
        return Err(BodyError::TooLarge(max));
    }
    match timeout(within, Limited::new(&mut body, max).collect()).await {
        Err(_) => Err(BodyError::Timeout(within)),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            discard(&mut body).await;
            Err(BodyError::TooLarge(max))
        }
        Ok(Err(_)) => Err(BodyError::Broken),
    }
}

async fn discard(body: &mut (impl Body<Data = Bytes> + Unpin)) {
    let reading = async {
        let mut left = DISCARDED;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // Whoever takes longer is refused all the same.
    let _ = timeout(DISCARDING, reading).await;
}
