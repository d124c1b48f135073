//! Whether the services are reached.

use std::sync::atomic::{AtomicBool, Ordering};

use telemetry::Told;

use super::aws::Failed;

/// Whether the services are reached.
#[derive(Default)]
pub(crate) struct LinkState {
    pub(crate) has_table: AtomicBool,
    pub(crate) has_stream: AtomicBool,
    told: Told,
}

impl LinkState {
    pub(crate) fn is_up(&self) -> bool {
        self.has_table.load(Ordering::Relaxed) && self.has_stream.load(Ordering::Relaxed)
    }

    pub(crate) fn warn(&self, what: &'static str, failed: &Failed) {
        if self.told.is_due(format!("{what} {:?}", failed.trouble)) {
            tracing::warn!(reason = %failed, "Kinesis, the broker: {what}");
        }
    }
}
