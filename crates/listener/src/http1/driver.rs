//! Polls hyper's connection until it is closed, too slow, or taken over by the application.

use std::convert::Infallible;
use std::future::poll_fn;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, Service};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use super::responder::AnswerInProgress;
use crate::app::Takeover;
use crate::limits::Limits;
use crate::repoll::Repoll;
use crate::stream::{StreamTraffic, Watched};

/// What the driver waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitsFor {
    /// The first byte of the next request.
    Idle,
    /// The rest of a head.
    Head,
    /// The application.
    Answer,
    /// A client that is slow to read its answer: bytes of the answer wait for room in the socket's
    /// buffer.
    Reader,
}

/// Why the driver has returned.
pub(super) enum End {
    Closed(hyper::Result<()>),
    Timeout(WaitsFor),
    Takeover(Takeover),
}

/// Runs a connection until it closes, is too slow, or is taken over.
///
/// Once `leaving` is `true`, the connection is closed as soon as no request is in progress.
pub(super) async fn drive<S>(
    connection: &mut http1::Connection<TokioIo<Watched>, S>,
    traffic: &StreamTraffic,
    limits: &Limits,
    mut leaving: watch::Receiver<bool>,
) -> End
where
    S: Service<Request<Incoming>, Response = Response<AnswerInProgress>, Error = Infallible, Future: Unpin>
        + Unpin,
{
    let due = Instant::now() + limits.keep_alive;
    let timer = pin!(sleep_until(due));
    let leave = pin!(async move { _ = leaving.wait_for(|leaving| *leaving).await });
    let deadline = Deadline { limits, waits_for: WaitsFor::Idle, due, timer };
    let mut driver = Driver { connection, traffic, repoll: Repoll::new(), leave: Some(leave), deadline };
    poll_fn(|cx| driver.poll(cx)).await
}

struct Driver<'a, S: HttpService<Incoming>, L> {
    connection: &'a mut http1::Connection<TokioIo<Watched>, S>,
    traffic: &'a StreamTraffic,
    repoll: Repoll,
    /// Resolves when the listener leaves; `None` once it has.
    leave: Option<Pin<&'a mut L>>,
    deadline: Deadline<'a>,
}

impl<S, L> Driver<'_, S, L>
where
    S: Service<Request<Incoming>, Response = Response<AnswerInProgress>, Error = Infallible, Future: Unpin>
        + Unpin,
    L: Future<Output = ()>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.poll_leave(cx);
        if let Poll::Ready(closed) = self.poll_connection(cx) {
            return Poll::Ready(End::Closed(closed));
        }
        let traffic = self.traffic;
        if traffic.gate.watch(cx) || traffic.is_done() {
            return Poll::Ready(End::Closed(Ok(())));
        }
        if let Some(takeover) = self.takeover() {
            return Poll::Ready(End::Takeover(takeover));
        }
        self.deadline.poll(traffic, cx).map(End::Timeout)
    }

    /// Shuts hyper down gracefully when the listener leaves.
    fn poll_leave(&mut self, cx: &mut Context<'_>) {
        if let Some(leave) = &mut self.leave
            && leave.as_mut().poll(cx).is_ready()
        {
            self.leave = None;
            Pin::new(&mut *self.connection).graceful_shutdown();
        }
    }

    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.repoll.poll(cx, |cx| {
            let polled = self.connection.poll_without_shutdown(cx);
            // Done immediately: a client that has read the whole answer may be revoked the next
            // moment.
            if polled.is_pending() && self.traffic.is_flushed() {
                self.traffic.gate.flushed();
            }
            polled
        })
    }

    /// Returns the application's takeover, if the socket can be handed over now.
    fn takeover(&self) -> Option<Takeover> {
        // An earlier answer that is not written yet would be lost with hyper's buffer.
        if self.traffic.blocked.load(Ordering::Relaxed) { None } else { self.traffic.takeover.lock().take() }
    }
}

/// Limits how long the client may take for what the driver waits for.
struct Deadline<'a> {
    limits: &'a Limits,
    waits_for: WaitsFor,
    due: Instant,
    timer: Pin<&'a mut Sleep>,
}

impl Deadline<'_> {
    /// Returns ready when the client was too slow, with what the driver has waited for.
    fn poll(&mut self, traffic: &StreamTraffic, cx: &mut Context<'_>) -> Poll<WaitsFor> {
        let restarts = self.observe(traffic);
        let limit = match self.waits_for {
            // The application has its own time limits.
            WaitsFor::Answer => return Poll::Pending,
            WaitsFor::Head => self.limits.head_timeout,
            WaitsFor::Idle | WaitsFor::Reader => self.limits.keep_alive,
        };
        if restarts {
            self.due = Instant::now() + limit;
        }
        // The timer may fire before `due` and is then set again, which is cheaper than resetting it
        // for every request.
        if self.due < self.timer.deadline() {
            self.timer.as_mut().reset(self.due);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.due <= self.timer.deadline() {
                return Poll::Ready(self.waits_for);
            }
            self.timer.as_mut().reset(self.due);
        }
        Poll::Pending
    }

    /// Records what has happened since the last call. Returns `true` if the client's time starts
    /// anew.
    fn observe(&mut self, traffic: &StreamTraffic) -> bool {
        let before = mem::replace(&mut self.waits_for, WaitsFor::of(traffic));
        let has_read = traffic.written.swap(false, Ordering::Relaxed) && self.waits_for == WaitsFor::Reader;
        let answered = traffic.answered.swap(false, Ordering::Relaxed);
        self.waits_for != before || has_read || answered
    }
}

impl WaitsFor {
    fn of(traffic: &StreamTraffic) -> Self {
        if traffic.blocked.load(Ordering::Relaxed) {
            // An answer that waits for the fence is not the client's fault.
            return if traffic.gate.is_held() { Self::Answer } else { Self::Reader };
        }
        match (traffic.asked.load(Ordering::Relaxed), traffic.read.load(Ordering::Relaxed)) {
            (0, false) => Self::Idle,
            (0, true) => Self::Head,
            _ => Self::Answer,
        }
    }
}
