//! What becomes of sessions while their node has no lease.

use std::time::Duration;

use crate::fence::Fence;

/// What a node without a lease does with its sessions, from the most to the least open. Clients
/// without a session are served in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LostLease {
    /// Serves them as before.
    Open,
    /// Refuses new clients (503), and serves those that it has.
    ClosedNew,
    /// Refuses new clients, and holds payload for the others back. Without the lease for longer
    /// than [`Fencing::hold`], it terminates their connections.
    #[default]
    Closed,
}

/// The fences of a node: what they guard follows from [`LostLease`]. By default they are always
/// open.
#[derive(Clone, Debug)]
pub struct Fencing {
    /// While it is closed, no client of a session is let in.
    pub admission: Fence,
    /// While it is closed, no payload of a session is written.
    pub payload: Fence,
    /// How long payload is held back before the connections that wait for it are terminated.
    pub hold: Duration,
}

impl LostLease {
    /// All policies, from the most to the least open.
    pub const ALL: [Self; 3] = [Self::Open, Self::ClosedNew, Self::Closed];

    /// Returns the policy of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == name)
    }

    /// Returns the name of the policy in settings and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::ClosedNew => "closed_new",
            Self::Closed => "closed",
        }
    }

    /// Returns the fences of a node whose lease is `fence`.
    pub fn fencing(self, fence: &Fence, hold: Duration) -> Fencing {
        let closed_if = |closed: bool| if closed { fence.clone() } else { Fence::default() };
        Fencing { admission: closed_if(self != Self::Open), payload: closed_if(self == Self::Closed), hold }
    }
}

impl Fencing {
    /// After how many seconds a client that is refused may retry: a node that cannot reach the
    /// others needs some seconds, and another node may serve it at once.
    pub const RETRY_AFTER: u64 = 2;
}

impl Default for Fencing {
    fn default() -> Self {
        Self { admission: Fence::default(), payload: Fence::default(), hold: Duration::from_secs(10) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_says_what_a_closed_fence_guards() {
        let is_open = |policy: LostLease| {
            let fencing = policy.fencing(&Fence::since_boot(), Duration::ZERO);
            (fencing.admission.is_open(), fencing.payload.is_open())
        };
        assert_eq!(is_open(LostLease::Open), (true, true));
        assert_eq!(is_open(LostLease::ClosedNew), (false, true));
        assert_eq!(is_open(LostLease::Closed), (false, false));
    }

    #[test]
    fn every_policy_is_found_by_its_name() {
        for policy in LostLease::ALL {
            // A new one has to come into the list as well.
            match policy {
                LostLease::Open | LostLease::ClosedNew | LostLease::Closed => {}
            }
            assert_eq!(LostLease::from_name(policy.as_str()), Some(policy));
        }
        assert_eq!(LostLease::from_name("Open"), None);
    }
}
