//! Metrics of the canary.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, histogram::Histogram};

metric::labels! {
    /// What the canary has seen.
    pub(crate) enum CanaryResult {
        /// Its connection was terminated, and nothing came after.
        Ok = "ok",
        /// An event reached it that was published after the revocation had returned.
        LatePayload = "late_payload",
        /// It got no farewell, or its session is not revoked.
        NotKilled = "not_killed",
        /// It could not be carried out.
        Failed = "failed",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: CanaryResult,
}

metric::families! {
    /// The metrics of the canary.
    pub(crate) struct Metrics {
        /// Runs of the canary, by what it saw
        runs: Family<ByResult, Counter> = "rig_canary_runs_total";
        /// From the canary's revocation to the end of its stream, seen by its client
        pub(crate) time_to_kill: Histogram = "rig_canary_time_to_kill_seconds",
            Histogram::new(connection::Metrics::TIME_TO_KILL);
    }
}

impl Metrics {
    /// Counts a run.
    pub(crate) fn ran(&self, result: CanaryResult) {
        self.runs.get_or_create(&ByResult { result }).inc();
    }
}
