//! What a look at a broker has found (`rig check --online`). Each broker has its own `check.rs`.

use std::fmt::Display;

/// The longest text of a finding, in characters. It may repeat what a broker says.
const TEXT: usize = 500;

/// One thing that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked for, such as `kafka: topic rig`.
    pub what: String,
    /// What was found, such as `3 partitions`, or why it cannot be used.
    pub result: Result<String, String>,
}

impl Finding {
    /// Returns what was found. Long texts are cut.
    pub fn new(what: impl Into<String>, result: Result<impl Display, impl Display>) -> Self {
        let cut = |text: &dyn Display| text.to_string().chars().take(TEXT).collect();
        let result = result.map(|found| cut(&found)).map_err(|reason| cut(&reason));
        Self { what: what.into(), result }
    }

    /// Returns that something is as it has to be.
    #[cfg(any(feature = "kafka", feature = "nats"))]
    pub(crate) fn good(what: impl Into<String>, found: impl Display) -> Self {
        Self::new(what, Ok::<_, &str>(found))
    }

    /// Returns that something cannot be used.
    #[cfg(any(feature = "kafka", feature = "nats"))]
    pub(crate) fn bad(what: impl Into<String>, reason: impl Display) -> Self {
        Self::new(what, Err::<&str, _>(reason))
    }
}
