//! The attempts to send one request: to which server, over which connection, and whether there is
//! another attempt.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use memory::Memory;

use super::copy::Copy;
use super::{AnswerBody, Answered, Failed, Failure, FailureKind, Link, SendError, ServiceLimits, Upstream};
use super::{link, of_body};
use crate::body::{RequestBody, Upload};
use crate::rejection::Rejection;

/// How long a request searches for a server that is reachable.
const SEARCH: Duration = Duration::from_secs(8);

/// Limit of resends of a request that the service has not processed.
const RESENDS: u32 = 16;

/// At each multiple of this number of resends, the request gets an HTTP/2 connection of its own.
const UNSHARED: u32 = 4;

/// Further resends are delayed by a short random time: a server that refuses everything would
/// otherwise be asked in a tight loop.
const RESENDS_AT_ONCE: u32 = 3;

/// The state of a request that is being sent.
pub(super) struct Attempts<'a> {
    upstream: &'a Upstream,
    upload: Option<Arc<Upload>>,
    /// Whether the request is idempotent and has no body.
    replayable: bool,
    /// The servers that are not tried any more, as a bit set.
    tried: u64,
    /// Total time that was spent on failed connections.
    searched: Duration,
    resent: u32,
    /// Whether only new connections are used: one closed connection is bad luck, but a request must
    /// not try all reused ones.
    only_new: bool,
    /// The delay before the next attempt.
    pause: Option<Duration>,
    /// Why the last server failed.
    reason: Option<Failure>,
}

/// One attempt, over a connection to a server.
pub(super) struct Attempt {
    pub(super) server: usize,
    pub(super) link: Box<Link>,
    copy: Option<Copy>,
    /// Whether to send the request again if the server closes the connection without an answer.
    replayable: bool,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(upstream: &'a Upstream, request: &Request<RequestBody>) -> Self {
        Self {
            upstream,
            upload: request.body().upload(),
            replayable: request.body().is_empty() && request.method().is_idempotent(),
            tried: 0,
            searched: Duration::ZERO,
            resent: 0,
            only_new: false,
            pause: None,
            reason: None,
        }
    }

    /// Returns the server to try next; `None` if none is left, or the search has taken too long.
    pub(super) fn next_server(&self) -> Option<usize> {
        if self.searched > SEARCH { None } else { self.upstream.balancer.pick(self.tried) }
    }

    /// Returns whether the next connection must be neither reused nor shared.
    pub(super) fn wants_new_link(&self) -> bool {
        // Other requests may use up what a shared connection allows; a new one allows at least one
        // exchange.
        let is_unlucky = self.resent > 0 && self.resent.is_multiple_of(UNSHARED);
        self.only_new || is_unlucky
    }

    /// Notes that a server cannot be reached, which took this `time` to find out.
    ///
    /// # Errors
    /// Fails if no other server would be reachable either.
    pub(super) fn unreachable(&mut self, at: usize, failure: Failure, time: Duration) -> Result<(), Failed> {
        self.upstream.complain(&self.upstream.servers[at], &failure);
        if failure.kind == FailureKind::Exhausted {
            return Err(Failed { rejection: Rejection::Exhausted, reason: Some(failure) });
        }
        if failure.kind != FailureKind::Busy {
            self.upstream.failed(at);
        }
        self.reason = Some(failure);
        self.tried |= 1 << at;
        self.searched += time;
        Ok(())
    }

    /// Addresses the request to the connected server, and keeps what another attempt would need.
    pub(super) fn begin(
        &self,
        server: usize,
        link: Box<Link>,
        request: &mut Request<RequestBody>,
        memory: &Arc<Memory>,
    ) -> Attempt {
        self.upstream.servers[server].address(request, link.is_http2());
        let replayable = self.replayable && (!link.fresh || self.upstream.balancer.has_choice());
        let copy = (replayable || link.is_http2()).then(|| Copy::of(request));
        if link.is_http2()
            && let Some(upload) = &self.upload
        {
            upload.keep(memory);
        }
        Attempt { server, link, copy, replayable }
    }

    /// Returns the answer and finishes the attempts.
    ///
    /// # Errors
    /// Fails if its head exceeds the limits.
    pub(super) fn answered(
        &self,
        server: usize,
        link: Box<Link>,
        response: Response<AnswerBody>,
        limits: &ServiceLimits,
    ) -> Result<Answered, Failed> {
        if response.headers().len() > limits.fields {
            let failure = Failure::new(FailureKind::Head, link::HEAD_LIMITS);
            return Err(self.give_up(server, &SendError::Garbage(failure)));
        }
        if let Some(upload) = &self.upload {
            upload.answered();
        }
        self.upstream.answered(server, response.status());
        Ok(Answered { response, link, server })
    }

    /// Returns the request for another attempt.
    ///
    /// # Errors
    /// Fails if it must not be sent again.
    pub(super) fn again(
        &mut self,
        Attempt { server: at, link, copy, replayable }: Attempt,
        error: SendError,
    ) -> Result<Request<RequestBody>, Failed> {
        // A server that closes a new HTTP/1 connection at once would do the same again.
        let most = if link.fresh && !link.is_http2() { 1 } else { RESENDS };
        match error {
            SendError::NotSent(unsent) if self.resent < most => {
                self.resent += 1;
                self.only_new = !link.is_http2();
                Ok(*unsent)
            }
            SendError::Unprocessed(failure)
                if self.resent < RESENDS
                    && copy.is_some()
                    && let Some(body) = RequestBody::again(self.upload.as_ref()) =>
            {
                self.resent += 1;
                let (api, server) = (&self.upstream.api, &self.upstream.servers[at].authority);
                tracing::debug!(%api, %server, %failure, resent = self.resent, "sent again");
                link.refused();
                if self.resent > RESENDS_AT_ONCE {
                    let pause = fastrand::u64(1..=5 * u64::from(self.resent));
                    self.pause = Some(Duration::from_millis(pause));
                }
                Ok(copy.expect("it was looked for").into_request(body))
            }
            SendError::Closed(failure) if let Some(copy) = copy.filter(|_| replayable) => {
                if link.fresh {
                    self.upstream.complain(&self.upstream.servers[at], &failure);
                    self.upstream.failed(at);
                    self.tried |= 1 << at;
                }
                self.reason = Some(failure);
                self.only_new = true;
                Ok(copy.into_request(RequestBody::empty()))
            }
            error => Err(self.give_up(at, &error)),
        }
    }

    /// Waits until the next attempt is due.
    pub(super) async fn pause(&mut self) {
        if let Some(pause) = self.pause.take() {
            tokio::time::sleep(pause).await;
        }
    }

    /// Returns the rejection if no server is left.
    pub(super) fn exhausted(self) -> Failed {
        let rejection = match &self.reason {
            Some(failure) if failure.kind == FailureKind::Busy => Rejection::Busy,
            _ => Rejection::Unreachable,
        };
        Failed { rejection, reason: self.reason }
    }

    /// Returns the rejection if there are no further attempts.
    fn give_up(&self, at: usize, error: &SendError) -> Failed {
        let upload = self.upload.as_deref();
        let rejection = rejection(error, upload);
        if rejection == Rejection::NoRoom {
            return Failed { rejection, reason: Some(Failure::new(FailureKind::NoRoom, "")) };
        }
        let reason = match error {
            _ if upload.and_then(Upload::fault).is_some() => None,
            SendError::ClientSilent => None,
            SendError::ServiceSilent => Some(Failure::new(FailureKind::Silent, "")),
            SendError::NotSent(_) => Some(Failure::new(FailureKind::Closed, "nothing was sent")),
            SendError::Unprocessed(failure) | SendError::Closed(failure) | SendError::Garbage(failure) => {
                Some(failure.clone())
            }
        };
        if let Some(failure) = &reason {
            self.upstream.complain(&self.upstream.servers[at], failure);
            self.upstream.failed(at);
        }
        Failed { rejection, reason }
    }
}

/// Returns the rejection for an error. A fault of the request's body takes precedence.
fn rejection(error: &SendError, upload: Option<&Upload>) -> Rejection {
    if let Some(rejection) = upload.and_then(Upload::fault).and_then(of_body) {
        return rejection;
    }
    match error {
        SendError::ClientSilent => Rejection::ClientSilent,
        SendError::ServiceSilent => Rejection::ServiceSilent,
        SendError::NotSent(_) | SendError::Unprocessed(_) | SendError::Closed(_) | SendError::Garbage(_) => {
            Rejection::Unreachable
        }
    }
}
