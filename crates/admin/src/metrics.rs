//! Metrics of the internal port.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family};

use crate::access::DeniedReason;
use crate::turned_away::TurnedAway;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByInternalRefusal {
    reason: TurnedAway,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDenial {
    reason: DeniedReason,
}

metric::families! {
    /// The metrics of the internal port.
    pub(crate) struct Metrics {
        /// Requests that the internal port refused for their web page or host name
        refused: Family<ByInternalRefusal, Counter> = "rig_internal_requests_refused_total";
        /// Requests that the internal port refused for their caller or its rights
        denied: Family<ByDenial, Counter> = "rig_api_refused_total";
    }
}

impl Metrics {
    /// Counts a request that was refused before its path and token were checked.
    pub(crate) fn refused(&self, reason: TurnedAway) {
        self.refused.get_or_create(&ByInternalRefusal { reason }).inc();
    }

    /// Counts a request that was refused for its caller.
    pub(crate) fn denied(&self, reason: DeniedReason) {
        self.denied.get_or_create(&ByDenial { reason }).inc();
    }
}
