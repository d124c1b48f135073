//! Whether the services are reached, and the pauses while they are not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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

/// Returns the pause after a number of failures in a row. At random, so that many gateways or
/// shards do not come back in step.
pub(crate) fn pause(failures: u32, limit: Duration) -> Duration {
    let pause = Duration::from_millis(100).saturating_mul(1 << failures.saturating_sub(1).min(10));
    pause.min(limit).mul_f64(0.5 + fastrand::f64() / 2.0)
}
