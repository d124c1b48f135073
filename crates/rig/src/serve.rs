//! From settings to a running node, and back.

use crate::settings::Settings;

/// Serves until a signal.
///
/// # Errors
/// A port cannot be bound, or a file of the settings cannot be used.
pub(crate) fn run(_settings: Settings) -> anyhow::Result<()> {
    anyhow::bail!("serving is not built yet")
}
