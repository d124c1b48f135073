//! The type of response bodies, and functions that read a whole request body within bounds.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use memory::{Held, Memory};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Any error of a response body.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A response body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

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
    /// Too many bytes of requests are in memory, and this was the largest body.
    #[error("Too many bytes of requests wait in memory.")]
    NoRoom,
}

impl BodyError {
    /// Returns the status to answer with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// How many bytes of a body that is too large are read and discarded before it is refused, so that
/// an HTTP/1 connection can be reused.
const DISCARDED: usize = 256 << 10;

/// Time limit for reading them.
const DISCARDING: Duration = Duration::from_secs(1);

/// Why a request with a coded body is refused, with 415 and `accept-encoding: identity` (RFC 9110,
/// section 15.5.16).
pub const CODED: &str = "The request body has a content-encoding; bodies are taken without one.";

/// Returns `true` if a body has a content coding other than `identity`, which would have to be
/// decoded (RFC 9110, section 8.4).
pub fn is_coded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|value| {
        let plain = |coding: &[u8]| {
            let coding = coding.trim_ascii();
            coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
        };
        !value.as_bytes().split(|byte| *byte == b',').all(plain)
    })
}

/// Reads a body of up to `max` bytes.
///
/// # Errors
/// See [`BodyError`]; a body whose announced length exceeds `max` bytes is not stored.
pub async fn read_body<B>(mut body: B, max: usize, within: Duration) -> Result<Bytes, BodyError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
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

/// Counts the bytes of a body that waits in memory, until it is dropped.
pub struct CountedBody {
    held: Held,
    evicted: Arc<Notify>,
}

impl CountedBody {
    /// Counts these bytes.
    pub fn new(bytes: usize, memory: &Arc<Memory>) -> Self {
        let evicted = Arc::new(Notify::new());
        let held = memory.hold(bytes, {
            let evicted = evicted.clone();
            move || evicted.notify_one()
        });
        Self { held, evicted }
    }

    /// Runs `work`, which needs the body, until the body is evicted.
    ///
    /// # Errors
    /// Fails if the body is evicted: its holder must drop it.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> Result<T, BodyError> {
        tokio::select! {
            () = self.evicted.notified() => Err(BodyError::NoRoom),
            done = work => Ok(done),
        }
    }
}

/// Reads a body of up to `max` bytes from a client. A body that does not arrive at once is counted
/// in `memory` until its [`CountedBody`] is dropped.
///
/// # Errors
/// See [`BodyError`].
pub async fn read_counted<B>(
    mut body: B,
    max: usize,
    within: Duration,
    memory: &Arc<Memory>,
) -> Result<(Bytes, Option<CountedBody>), BodyError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let read = match body.size_hint().lower() > max as u64 {
        true => Err(BodyError::TooLarge(max)),
        false => {
            timeout(within, collect(&mut body, max, memory)).await.unwrap_or(Err(BodyError::Timeout(within)))
        }
    };
    if matches!(read, Err(BodyError::TooLarge(_))) {
        discard(&mut body).await;
    }
    read
}

async fn collect<B>(
    body: &mut B,
    max: usize,
    memory: &Arc<Memory>,
) -> Result<(Bytes, Option<CountedBody>), BodyError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let Some(first) = piece(body).await? else { return Ok((Bytes::new(), None)) };
    // Most bodies arrive in one piece and need not be counted.
    if body.is_end_stream() && first.len() <= max {
        return Ok((first, None));
    }
    let counted = CountedBody::new(0, memory);
    let mut all = BytesMut::new();
    let mut next = Some(first);
    while let Some(bytes) = next {
        if all.len() + bytes.len() > max {
            return Err(BodyError::TooLarge(max));
        }
        counted.held.add(bytes.len());
        all.extend_from_slice(&bytes);
        next = counted.during(piece(body)).await??;
    }
    Ok((all.freeze(), Some(counted)))
}

/// Returns the next bytes; `None` at the end.
async fn piece<B: hyper::body::Body<Data = Bytes> + Unpin>(body: &mut B) -> Result<Option<Bytes>, BodyError> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Discards the rest of a small body. A large one is not read: that would ask the client to send it
/// (RFC 9110, section 10.1.1).
async fn discard<B: hyper::body::Body<Data = Bytes> + Unpin>(body: &mut B) {
    if body.size_hint().lower() > DISCARDED as u64 {
        return;
    }
    let reading = async {
        let mut left = DISCARDED;
        while let Ok(Some(bytes)) = piece(body).await {
            match left.checked_sub(bytes.len()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // A client that takes longer is refused all the same.
    let _ = timeout(DISCARDING, reading).await;
}
