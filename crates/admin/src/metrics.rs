//! What the internal port counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family};

metric::labels! {
    /// Why the internal port refused a request before it looked at its path and token.
    pub(crate) enum InternalRefusal {
        /// It came from a web page of another origin.
        Page = "page",
        /// A page sent a form or plain text.
        Form = "form",
        /// Without `API_TOKEN`, it named a host that is not one of the port's.
        Host = "host",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByInternalRefusal {
    reason: InternalRefusal,
}

metric::families! {
    /// The metrics of the internal port.
    pub(crate) struct Metrics {
        /// Requests that the internal port refused for the web page or the host name that they came
        /// with
        refused: Family<ByInternalRefusal, Counter> = "rig_internal_requests_refused_total";
    }
}

impl Metrics {
    /// Counts a request that was refused before its path and token were looked at.
    pub(crate) fn refused(&self, reason: InternalRefusal) {
        self.refused.get_or_create(&ByInternalRefusal { reason }).inc();
    }
}
