//! What is terminated with a session: the other side of the registry.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What belongs to a session and is terminated with it.
///
/// The registry holds it weakly: whoever opened the connection owns it, and keeps its
/// [`Registration`] with it, so that the two are dropped together.
///
/// [`Registration`]: crate::Registration
pub trait Connection: Send + Sync {
    /// The session is no longer legal: terminates the connection, and sends nothing more. Returns
    /// what was terminated.
    ///
    /// When this has returned, the revocation counts as carried out for this connection. Called
    /// outside every lock of this room, by the thread that revokes, so it may drop registrations;
    /// it must not block, and must not revoke a session itself. Called once for a revocation of
    /// each of its sessions, and once for each of several revocations at the same time: the second
    /// call does nothing but wait until the first has had its effect. A panic affects this call
    /// only.
    ///
    /// Holding on to `ending` until the client is really gone makes its [duration](Ending) count up
    /// to there.
    fn session_killed(&self, ending: &Arc<Ending>) -> Notified;

    /// The token ends in this time, and the connection with it, unless it is renewed. Called at
    /// least once; under the same rules.
    fn session_expiring(&self, left: Duration) {
        let _ = left;
    }
}

/// Why connections are terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was revoked: its tokens are refused from now on.
    Revoked,
    /// It was disconnected: its tokens are still good.
    Disconnected,
    /// Its token has expired.
    Expired,
}

/// The end of the connections of one revocation. When the last who holds it lets go, all are
/// closed.
pub struct Ending {
    cause: Cause,
    since: Instant,
    closed: Option<Closed>,
}

/// Receives how long an [`Ending`] took, from the moment the revocation was asked for.
pub(crate) type Closed = Arc<dyn Fn(Duration) + Send + Sync>;

impl Ending {
    pub(crate) fn new(cause: Cause, since: Instant, closed: Option<Closed>) -> Self {
        Self { cause, since, closed }
    }

    /// Why.
    pub fn cause(&self) -> Cause {
        self.cause
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(closed) = &self.closed {
            closed(self.since.elapsed());
        }
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ending").field("cause", &self.cause).finish_non_exhaustive()
    }
}

/// What notifying one connection has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notified {
    /// `true` if this call terminated the connection; `false` if it was shutting down already.
    pub ended: bool,
    /// Requests cut short.
    pub requests: u64,
    /// When it was last handed a payload, if it ever was.
    pub last_payload: Option<Instant>,
}

impl Notified {
    /// Returns the result of a call that terminated the connection, and did nothing else.
    pub fn ended() -> Self {
        Self { ended: true, ..Self::default() }
    }
}

/// The session is blacklisted; nothing was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session is blacklisted")]
pub struct Blacklisted;

/// The session has ended meanwhile; the connection ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session has ended")]
pub struct Ended;
