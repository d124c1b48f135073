//! Why a reader cannot get what it missed.

/// Stands in place of everything that was missed. Never together with a part of it, except where
/// the ring passes a reader while it catches up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Gap {
    /// Something after the cursor is not kept any longer, or never was: it exceeded a bound of the
    /// ring, its type is excluded, or had no subscriber.
    #[error("no longer kept")]
    Expired,
    /// The id is none of ours, or was damaged.
    #[error("unknown id")]
    Unknown,
    /// The id is from a series of this node whose events are gone.
    #[error("from before a restart")]
    Restarted,
    /// The id is from another node.
    #[error("from another node")]
    Elsewhere,
    /// A revocation after the cursor applies to the reader.
    #[error("revoked since")]
    Revoked,
    /// More was missed than [`ResumeLimits`](crate::ResumeLimits) allow.
    #[error("too many missed events")]
    TooMany,
    /// Events were lost on their way to this node.
    #[error("lost between nodes")]
    Lost,
}

impl Gap {
    /// All of them, for metrics.
    pub const ALL: [Self; 7] = [
        Self::Expired,
        Self::Unknown,
        Self::Restarted,
        Self::Elsewhere,
        Self::Revoked,
        Self::TooMany,
        Self::Lost,
    ];

    /// Returns the reason as `rig.gap` and metrics name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Unknown => "unknown",
            Self::Restarted => "restarted",
            Self::Elsewhere => "elsewhere",
            Self::Revoked => "revoked",
            Self::TooMany => "too_many",
            Self::Lost => "lost",
        }
    }
}
