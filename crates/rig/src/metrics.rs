//! Metrics of the canary.

use std::time::Duration;

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

metric::labels! {
    /// Which node has revoked the canary's session.
    pub(crate) enum Revoker {
        /// The one that has its connection.
        Own = "this_node",
        /// Another one of the cluster.
        Other = "another_node",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: CanaryResult,
    revoked_by: Revoker,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRevoker {
    revoked_by: Revoker,
}

metric::families! {
    /// The metrics of the canary.
    pub(crate) struct Metrics {
        /// Runs of the canary, by what it saw
        runs: Family<ByResult, Counter> = "rig_canary_runs_total";
        /// From the canary's revocation to the end of its stream, seen by its client
        time_to_kill: Family<ByRevoker, Histogram, fn() -> Histogram> = "rig_canary_time_to_kill_seconds",
            Family::new_with_constructor(|| Histogram::new(connection::Metrics::TIME_TO_KILL));
    }
}

impl Metrics {
    /// Counts a run.
    pub(crate) fn ran(&self, revoked_by: Revoker, result: CanaryResult) {
        self.runs.get_or_create(&ByResult { result, revoked_by }).inc();
    }

    /// Records how long it took until the canary's stream had ended.
    pub(crate) fn killed(&self, revoked_by: Revoker, after: Duration) {
        self.time_to_kill.get_or_create(&ByRevoker { revoked_by }).observe(after.as_secs_f64());
    }
}
