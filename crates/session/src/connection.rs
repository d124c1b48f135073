//! The connections of a session, as the registry sees them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection that belongs to a session and is terminated with it.
///
/// The registry holds it weakly. The owner of the connection keeps the [`Registration`] with it, so
/// that the two are dropped together.
///
/// [`Registration`]: crate::Registration
pub trait Connection: Send + Sync {
    /// Terminates the connection, because its session is no longer legal. The connection sends no
    /// more payload. Returns what was terminated.
    ///
    /// When this has returned, the revocation counts as carried out for this connection. It runs on
    /// the thread that revokes, outside every lock of this crate, so it may drop registrations; it
    /// must neither block nor revoke a session itself. It is called for every revocation of each of
    /// its sessions, including concurrent ones: a later call must only wait until the first has
    /// taken effect. A panic affects this call only.
    ///
    /// Keep `ending` until the socket of the client is closed: its [duration](Ending) is measured
    /// until then.
    fn session_killed(&self, ending: &Arc<Ending>) -> Notified;

    /// Warns that the token expires in this time, and that the connection is then terminated unless
    /// it is renewed. May be called more than once, and not at all if the token expires before the
    /// next sweep. The same rules apply.
    fn session_expiring(&self, left: Duration) {
        let _ = left;
    }
}

/// Why connections are terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was revoked: its tokens are refused from now on.
    Revoked,
    /// It was disconnected: its tokens are still legal.
    Disconnected,
    /// Its token has expired.
    Expired,
}

/// Shared by all connections that one revocation terminates. When the last reference is dropped,
/// all of them are closed.
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

    /// Returns why the connections are terminated.
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

/// The session was revoked or the token expired meanwhile; the connection is terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session has ended")]
pub struct Ended;
