//! What a node does without a lease.

/// What a node does while it has no lease, because it may have missed a revocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LostLease {
    /// It goes on as before. How long a revoked session can still receive data is unknown then.
    Open,
    /// It lets no new session in, and serves those that it has.
    ClosedNew,
    /// It lets no session in and sends none of them any payload.
    #[default]
    Closed,
}

impl LostLease {
    /// Returns the name of the policy in settings and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::ClosedNew => "closed_new",
            Self::Closed => "closed",
        }
    }

    /// Returns the policy of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Open, Self::ClosedNew, Self::Closed].into_iter().find(|policy| policy.as_str() == name)
    }
}
