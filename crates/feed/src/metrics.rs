//! What is counted of statements. Labels come only from the settings.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, histogram::Histogram};

metric::labels! {
    /// A feed of an issuer.
    #[derive(PartialOrd, Ord)]
    pub enum FeedName {
        /// Back-channel logout.
        Logout = "logout",
        /// Security events that are pushed.
        Events = "events",
        /// Global Token Revocation.
        GlobalTokenRevocation = "global-token-revocation",
        /// Security events that are fetched.
        Poll = "poll",
    }

    /// What became of a statement.
    pub enum StatementResult {
        /// It has revoked, and terminated something.
        Revoked = "revoked",
        /// It has changed nothing: the same is in force, for at least as long.
        Repeated = "repeated",
        /// It has revoked, but no connection and no request was selected.
        MatchedNobody = "matched_nobody",
        /// It asks for nothing.
        Ignored = "ignored",
        /// No token can be selected by its subject.
        Unmapped = "unmapped",
        /// It was refused.
        Invalid = "invalid",
        /// It could not be checked or not be kept; its sender may repeat it.
        Unavailable = "unavailable",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    issuer: Arc<str>,
    feed: FeedName,
    result: StatementResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByFeed {
    issuer: Arc<str>,
    feed: FeedName,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByIssuer {
    issuer: Arc<str>,
}

/// From milliseconds to the hours that an outage may last, in seconds.
const DELAYS: [f64; 10] = [0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 600.0, 3600.0];

metric::families! {
    /// The metrics of the feeds.
    pub(crate) struct Metrics {
        /// Statements of identity providers, by what became of them
        statements: Family<ByResult, Counter> = "rig_feed_statements_total";
        /// From what a provider states to its revocation
        delay: Family<ByFeed, Histogram> = "rig_feed_delay_seconds",
            Family::new_with_constructor(|| Histogram::new(DELAYS));
        /// Notices of a transmitter that it has paused or disabled the stream of its events
        stopped: Family<ByIssuer, Counter> = "rig_feed_streams_stopped_total";
    }
}

impl Metrics {
    /// Counts a statement.
    pub(crate) fn count(&self, issuer: &Arc<str>, feed: FeedName, result: StatementResult) {
        self.statements.get_or_create(&ByResult { issuer: issuer.clone(), feed, result }).inc();
    }

    /// Observes how long ago it was what a statement is about.
    pub(crate) fn observe(&self, issuer: &Arc<str>, feed: FeedName, happened_at: SystemTime) {
        // The clock of the provider may be ahead.
        let delay = happened_at.elapsed().unwrap_or(Duration::ZERO);
        let labels = ByFeed { issuer: issuer.clone(), feed };
        self.delay.get_or_create(&labels).observe(delay.as_secs_f64());
    }

    /// Counts a notice that a stream is paused or disabled.
    pub(crate) fn stopped(&self, issuer: &Arc<str>) {
        self.stopped.get_or_create(&ByIssuer { issuer: issuer.clone() }).inc();
    }
}
