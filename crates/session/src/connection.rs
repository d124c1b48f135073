//! What a session ends: the other side of the registry.

use crate::name::SessionName;

/// What belongs to a session and ends with it.
///
/// The registry holds it weakly: whoever opened the connection owns it, and keeps its [`Registration`] with it, so that
/// the two are dropped together.
///
/// [`Registration`]: crate::Registration
pub trait Connection: Send + Sync {
    /// The session is no longer legal: terminate, and send nothing more.
    ///
    /// When this has returned, the revocation counts as carried out for this connection. Called outside every lock of
    /// this room, by the thread that revokes, so it may drop registrations; it must not block, and must not revoke a
    /// session itself. Called once for a revocation of each of its sessions, and once for each of several revocations
    /// at the same time: the second call does nothing but wait until the first has had its effect. A panic ends this
    /// call only.
    fn session_killed(&self, session: &SessionName);
}

/// The session is blacklisted; nothing was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session is blacklisted")]
pub struct Blacklisted;
