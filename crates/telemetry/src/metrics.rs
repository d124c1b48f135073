//! The metrics of the process and of its log.

use std::sync::atomic::Ordering;

use metric::{Registry, Sampled};
use prometheus_client::metrics::counter::Counter;

use crate::logging::lines_dropped;
use crate::process::Process;

metric::families! {
    struct Metrics {
        /// Log lines that could not be written: their reader was too slow, has gone, or had no
        /// space
        log_lines_dropped: Sampled<Counter> = "rig_log_lines_dropped_total";
    }
}

/// Registers the metrics of the process and of its log.
pub fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(Process::new()));
    let Metrics { log_lines_dropped } = Metrics::register(registry);
    log_lines_dropped.sample_with(|counter| counter.inner().store(lines_dropped(), Ordering::Relaxed));
}
