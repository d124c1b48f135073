//! Gets a connection for one exchange: reused, shared, or new.

use std::time::{Duration, Instant};

use http::uri::Scheme;
use tokio::time::{Instant as TokioInstant, timeout, timeout_at};

use super::connect::Io;
use super::failure::{Failure, FailureKind};
use super::http2::Http2;
use super::link::Link;
use super::server::Server;
use super::streams::{RECHECK, Streams};
use super::tls::ClientTls;
use super::{ServiceLimits, Upstream};

/// Time limit of connecting, including name resolution and TLS, and of waiting for a stream on a
/// shared connection.
const CONNECT: Duration = Duration::from_secs(5);

impl Upstream {
    /// Returns a connection for one exchange: a reused one, a stream of a shared one, or a new one;
    /// with `only_new`, one that is neither reused nor shared.
    pub(super) async fn link(
        &self,
        server: &Server,
        only_new: bool,
        limits: &ServiceLimits,
    ) -> Result<Box<Link>, Failure> {
        // The slow paths are boxed, since most requests find a connection.
        let streams = &server.pool.streams;
        if self.config.http2 && !streams.declined() {
            if only_new && let Some(unshared) = streams.unshared() {
                let mut link = Box::pin(self.connect(server, limits)).await?;
                if link.takes_a_request() {
                    link.unshared = Some(unshared);
                    return Ok(link);
                }
            }
            return match shared(streams) {
                Some(link) => Ok(link),
                None => Box::pin(self.stream(server, limits)).await,
            };
        }
        match if only_new { None } else { server.pool.take() } {
            Some(link) => Ok(link),
            None => Box::pin(self.connect(server, limits)).await,
        }
    }

    /// Returns a stream of an HTTP/2 connection, of a new one if all others are full. If none can
    /// be opened, waits for a stream to be closed.
    async fn stream(&self, server: &Server, limits: &ServiceLimits) -> Result<Box<Link>, Failure> {
        let streams = &server.pool.streams;
        let busy =
            || Failure::new(FailureKind::Busy, "every HTTP/2 stream that the service allows is in use");
        let deadline = TokioInstant::now() + CONNECT;
        loop {
            let attempts = streams.attempts();
            let turn = timeout_at(deadline, streams.opening()).await.map_err(|_| busy())?;
            if let Some(link) = shared(streams) {
                return Ok(link);
            }
            if let Some(failure) = streams.failure_after(attempts) {
                return Err(failure);
            }
            if streams.declined() {
                drop(turn);
                return self.connect(server, limits).await;
            }
            if streams.may_open() {
                let connected = self.connect(server, limits).await;
                streams.attempted(connected.as_ref().err());
                let link = connected?;
                streams.has_declined(!link.is_http2());
                let until = Instant::now() + limits.connection_age;
                let epoch = link.epoch;
                let current = || epoch == server.pool.epoch();
                if let Some(link) = link.share(|sender| streams.add(sender, until, current)) {
                    return Ok(link);
                }
            }
            drop(turn);
            // Checks again after whichever comes first.
            let _ = timeout_at(deadline.min(TokioInstant::now() + RECHECK), streams.freed()).await;
            if TokioInstant::now() >= deadline {
                return Err(busy());
            }
        }
    }

    /// Opens a connection.
    pub(super) async fn connect(
        &self,
        server: &Server,
        limits: &ServiceLimits,
    ) -> Result<Box<Link>, Failure> {
        let connecting = async {
            let tls =
                self.tls.as_ref().filter(|_| server.config.scheme == Scheme::HTTPS).map(ClientTls::config);
            let io = Io::connect(&server.config, tls.as_ref(), CONNECT, limits.idle).await?;
            let http2 = match tls {
                Some(_) => io.has_chosen_http2(),
                None => self.config.http2,
            };
            if !http2 {
                let link = Link::http1(io, limits).await;
                return link.map_err(|error| Failure::of(FailureKind::Connect, &error));
            }
            Ok(Link::http2(Http2::open(io, limits).await?, None))
        };
        // Read before the credentials are looked up: a connection made with older ones is not
        // reused.
        let epoch = server.pool.epoch();
        match timeout(CONNECT, connecting).await {
            Ok(link) => link.map(|mut link| {
                link.epoch = epoch;
                Box::new(link)
            }),
            Err(_) => Err(Failure::new(FailureKind::ConnectTimeout, "")),
        }
    }
}

/// Returns a stream of a connection that has room.
fn shared(streams: &Streams) -> Option<Box<Link>> {
    let (sender, place) = streams.take()?;
    let mut link = Link::http2(sender, Some(place));
    link.fresh = false;
    Some(Box::new(link))
}
