//! The body of a client's request, and the disposal of its unread rest.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::closing::{self, DiscardLimits};
use crate::gate::Gate;

/// The body of a client's request.
///
/// Over HTTP/2, h2 resets a stream with NO_ERROR when its request is answered and its body dropped.
/// Clients must not discard the answer because of that (RFC 9113, section 8.1), but curl, Node and
/// others do so if they are still sending. So the rest of a body is read and discarded first,
/// within the limits that apply to closing in stages over HTTP/1. If the answer was cut off, the
/// rest is not read, since the reset is wanted then.
#[derive(Debug)]
pub struct ClientBody {
    /// `None` once the rest is being discarded.
    incoming: Option<Incoming>,
    /// The gate of its stream, over HTTP/2.
    gate: Option<Gate>,
}

impl ClientBody {
    pub(crate) fn http1(incoming: Incoming) -> Self {
        Self { incoming: Some(incoming), gate: None }
    }

    pub(crate) fn http2(incoming: Incoming, gate: Gate) -> Self {
        Self { incoming: Some(incoming), gate: Some(gate) }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        // There is no runtime if the process is exiting.
        if self.gate.as_ref().is_some_and(|gate| !gate.is_withheld())
            && !self.is_end_stream()
            && let Some(incoming) = self.incoming.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(discard(incoming, closing::ANSWERED));
        }
    }
}

/// Reads and discards the rest of a body, up to its end or a limit. The stream counts as open
/// meanwhile.
async fn discard<B: Body<Data = Bytes> + Unpin>(mut body: B, limits: DiscardLimits) {
    let end = Instant::now() + limits.total;
    let mut left = limits.bytes;
    while left > 0 {
        let now = Instant::now();
        // A timeout polls for a frame first, so it never fires if there always is one.
        if now >= end {
            return;
        }
        let until = end.min(now + limits.silence);
        let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await else { return };
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        // Frames that have arrived already are read without waiting, so yield to other tasks.
        tokio::task::coop::consume_budget().await;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;

    /// Returns an endless body whose pieces come at intervals of `pause`.
    fn endless(piece: usize, pause: Duration) -> impl Body<Data = Bytes> + Unpin {
        let pieces = stream::unfold((), move |()| async move {
            tokio::time::sleep(pause).await;
            Some((Ok::<_, Infallible>(Frame::data(vec![b'x'; piece].into())), ()))
        });
        StreamBody::new(Box::pin(pieces))
    }

    #[tokio::test(start_paused = true)]
    async fn f08_discarding_is_limited() {
        const SECOND: Duration = Duration::from_secs(1);
        let limits = DiscardLimits { bytes: 1000, silence: 5 * SECOND, total: 30 * SECOND };
        for (piece, pause, expected) in [
            (100, Duration::from_millis(1), Duration::ZERO),
            (1, SECOND, limits.total),
            (0, SECOND, limits.total),
            (100, 60 * SECOND, limits.silence),
        ] {
            let began = Instant::now();
            discard(endless(piece, pause), limits).await;
            let took = began.elapsed();
            assert!(took.abs_diff(expected) < SECOND, "{piece} bytes every {pause:?}: {took:?}");
        }
    }

    /// In real time: paused time advances only while all tasks wait.
    #[tokio::test]
    async fn f08_endless_empty_frames_are_limited_and_starve_no_task() {
        const TOTAL: Duration = Duration::from_millis(50);
        const WITHOUT_BOUND: Duration = Duration::from_secs(5);
        let limits = DiscardLimits { bytes: 1000, silence: TOTAL, total: TOTAL };
        let began = Instant::now();
        let frames = std::iter::from_fn(|| {
            (began.elapsed() < WITHOUT_BOUND).then(|| Ok::<_, Infallible>(Frame::data(Bytes::new())))
        });
        let other = tokio::spawn(async move { began.elapsed() });
        discard(StreamBody::new(stream::iter(frames)), limits).await;
        let took = began.elapsed();
        assert!((TOTAL..WITHOUT_BOUND / 2).contains(&took), "{took:?}");
        assert!(other.is_finished(), "the other task ran in between");
    }
}
