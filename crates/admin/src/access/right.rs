//! The rights of callers.

use std::fmt;

metric::labels! {
    /// What a caller may do. None of the rights includes another.
    #[derive(serde::Serialize, utoipa::ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum Right {
        /// Read revocations, sessions, definitions of APIs and metrics.
        Read = "read",
        /// Revoke, disconnect and lift.
        Revoke = "revoke",
        /// Publish events, and answer proxied requests.
        Publish = "publish",
        /// Change definitions of APIs, and everything else.
        Admin = "admin",
    }
}

impl Right {
    /// All rights.
    pub const ALL: [Self; 4] = [Self::Read, Self::Revoke, Self::Publish, Self::Admin];

    /// Returns the right of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.as_str() == name)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
