//! The versions of CloudEvents.

use std::fmt;

/// The supported versions of CloudEvents. RIG supports the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 0.1, with `cloudEventsVersion`, `eventType` and `eventID`.
    V0_1,
    /// 0.2, RIG's own.
    V0_2,
    /// 0.3.
    V0_3,
    /// 1.0: the only one that is validated beyond its envelope.
    V1_0,
}

impl Version {
    /// Returns the value of the version attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_1 => "0.1",
            Self::V0_2 => "0.2",
            Self::V0_3 => "0.3",
            Self::V1_0 => "1.0",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
