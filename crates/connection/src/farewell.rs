//! What a client receives last.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use session::Cause;

use crate::transport::CloseReason;
use crate::websocket::frames::{NORMAL, TRY_AGAIN_LATER};

/// What a client receives last when its session was revoked, its token expired, or its node has
/// lost the lease.
pub(crate) struct Farewell {
    pub(crate) reason: CloseReason,
    /// The type of the last event (SSE, long polling).
    pub(crate) event: &'static str,
    /// The code and the reason in the close frame (WebSocket).
    pub(crate) close: (u16, &'static str),
}

impl Farewell {
    /// The client may connect again, best to another node.
    pub(crate) const LEASE_LOST: Self = Self {
        reason: CloseReason::LeaseLost,
        event: "rig.lease_lost",
        close: (TRY_AGAIN_LATER, "Lease lost."),
    };

    /// RIG's words; those for an expired token follow them.
    pub(crate) const fn of(cause: Cause) -> Self {
        let (reason, event, close) = match cause {
            Cause::Revoked => (CloseReason::SessionKilled, "rig.session_killed", "Session killed."),
            Cause::Disconnected => {
                (CloseReason::SessionDisconnected, "rig.session_killed", "Session killed.")
            }
            Cause::Expired => (CloseReason::TokenExpired, "rig.session_expired", "Session expired."),
        };
        Self { reason, event, close: (NORMAL, close) }
    }
}

/// Returns after how long a client of a node that shuts down should reconnect: between one second
/// and `spread` more, so that not all clients come at once.
pub(crate) fn reconnect_delay(spread: Duration) -> Duration {
    let spread = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    Duration::from_millis(1000 + RandomState::new().hash_one(0) % spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_asked_to_come_back_at_different_times() {
        let wait = |spread| reconnect_delay(Duration::from_secs(spread)).as_millis();
        let waits: Vec<_> = (0..200).map(|_| wait(10)).collect();
        assert!(waits.iter().all(|wait| (1000..=11_000).contains(wait)), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait < 4000) && waits.iter().any(|wait| *wait > 8000), "{waits:?}");
        assert_eq!(wait(0), 1000);
    }
}
