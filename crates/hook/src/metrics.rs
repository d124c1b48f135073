//! What is counted of reports.

use metric::Sampled;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};

metric::labels! {
    /// Who revocations are reported to.
    pub enum To {
        /// A web hook.
        Hook = "hook",
        /// A topic of a message broker.
        Topic = "topic",
    }
}

metric::labels! {
    /// What has become of an event.
    pub(crate) enum Outcome {
        /// The recipient has it.
        Sent = "sent",
        /// An attempt has failed; it is repeated.
        Failed = "failed",
        /// It is lost: the queue was full, or the event was tried for too long.
        Dropped = "dropped",
    }
}

/// A recipient.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByRecipient {
    pub(crate) to: To,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByOutcome {
    pub(crate) to: To,
    pub(crate) result: Outcome,
}

metric::families! {
    /// What is counted of reports.
    pub struct Metrics {
        /// Reports of revocations: sent, attempts that failed, and those that are lost
        pub(crate) events: Family<ByOutcome, Counter> = "rig_hook_events_total";
        /// Reports that are still to be sent
        pub(crate) queue: Sampled<Family<ByRecipient, Gauge>> = "rig_hook_queue";
        /// How long the oldest report that is still to be sent has been queued
        pub(crate) oldest: Sampled<Family<ByRecipient, Gauge<f64, std::sync::atomic::AtomicU64>>> = "rig_hook_oldest_seconds";
    }
}

impl Metrics {
    /// Counts events of a recipient.
    pub(crate) fn count(&self, to: To, result: Outcome, events: u64) {
        self.events.get_or_create(&ByOutcome { to, result }).inc_by(events);
    }
}
