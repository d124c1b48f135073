//! The metric families, in the text formats of OpenMetrics 1.0 and Prometheus 0.0.4.

mod exposition;
mod labels;
mod process;
mod proxy;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::{Registry, Unit};

use crate::logging::lines_dropped;
pub use exposition::Exposition;
pub use labels::{
    CanaryResult, CloseReason, InternalRefusal, ProxyStatus, RefusalReason, TokenCacheResult, Transport,
};
use process::Process;
pub use proxy::{EndpointLabels, ProxyEndpoint, ProxyMetrics};

/// Bounds of the buckets of [`Metrics::time_to_kill`], in seconds: most are a millisecond; five seconds is when a client
/// that does not close is left.
const TIME_TO_KILL: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 6.0];

/// An event type as a label, from a bounded set.
///
/// At most [`Metrics::EVENT_TYPE_LABELS`] types get a label of their own; all others share `other`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventTypeLabel(Arc<str>);

impl EncodeLabelValue for EventTypeLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        (&*self.0).encode(encoder)
    }
}

/// One label: the transport.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTransport {
    transport: Transport,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByEnd {
    transport: Transport,
    reason: CloseReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRefusal {
    reason: RefusalReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByInternalRefusal {
    reason: InternalRefusal,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: CanaryResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByType {
    r#type: EventTypeLabel,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySet {
    name: &'static str,
}

/// Every metric of the node. Counting is wait-free on the paths that matter.
pub struct Metrics {
    registry: Registry,
    samples: RwLock<Vec<Sample>>,
    connections: Family<ByTransport, Gauge>,
    opened: Family<ByTransport, Counter>,
    closed: Family<ByEnd, Counter>,
    refused: Family<ByRefusal, Counter>,
    internal_refused: Family<ByInternalRefusal, Counter>,
    overflows: Family<ByTransport, Counter>,
    forwarded: Family<ByType, Counter>,
    canary_runs: Family<ByResult, Counter>,
    log_lines_dropped: Counter,
    event_types: RwLock<HashSet<Arc<str>>>,
    set_items_current: Family<BySet, Gauge>,
    set_items_total: Family<BySet, Gauge>,
    /// Connections terminated because their session was blacklisted.
    pub kills: Counter,
    /// Payloads written to a connection after its session was killed. Must stay zero.
    pub payload_after_kill: Counter,
    /// Seconds from the moment a revocation was asked for to the last of its connections closed.
    pub time_to_kill: Histogram,
    /// The same, as the canary's client has seen it.
    pub canary_time_to_kill: Histogram,
    /// CloudEvents taken in over HTTP.
    pub events_received: Counter,
    /// Frames handed to connections.
    pub deliveries: Counter,
    /// Bytes of events on their way to connections, with the lists of their receivers.
    pub under_way: Gauge,
    /// Bytes that wait for slow clients: outboxes, and bodies.
    pub waiting_bytes: Gauge,
    /// How often some of them had to go.
    pub waiting_evicted: Counter,
    /// Subscriptions held by all connections.
    pub subscriptions: Gauge,
    /// Sessions with at least one connection.
    pub sessions: Gauge,
    /// TCP connections that the listeners hold, long-lived ones included.
    pub tcp_connections: Gauge,
    /// Of the reverse proxy.
    pub proxy: ProxyMetrics,
}

/// Sets gauges to what is so at this moment.
type Sample = Box<dyn Fn(&Metrics) + Send + Sync>;

impl Metrics {
    /// How many event types get a label of their own.
    pub const EVENT_TYPE_LABELS: usize = 500;

    /// The name under which RIG's `rig_distributed_set_items_*` count the blacklist.
    const BLACKLIST: BySet = BySet { name: "SessionBlacklist" };

    /// Registers every family; nothing is counted yet.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process::new()));
        let proxy =
            ProxyMetrics::new(registry.sub_registry_with_prefix("rig").sub_registry_with_prefix("proxy"));
        let mut metrics = Self {
            registry,
            samples: RwLock::default(),
            connections: Family::default(),
            opened: Family::default(),
            closed: Family::default(),
            refused: Family::default(),
            internal_refused: Family::default(),
            overflows: Family::default(),
            forwarded: Family::default(),
            canary_runs: Family::default(),
            log_lines_dropped: Counter::default(),
            event_types: RwLock::default(),
            set_items_current: Family::default(),
            set_items_total: Family::default(),
            kills: Counter::default(),
            payload_after_kill: Counter::default(),
            time_to_kill: Histogram::new(TIME_TO_KILL),
            canary_time_to_kill: Histogram::new(TIME_TO_KILL),
            events_received: Counter::default(),
            deliveries: Counter::default(),
            under_way: Gauge::default(),
            waiting_bytes: Gauge::default(),
            waiting_evicted: Counter::default(),
            subscriptions: Gauge::default(),
            sessions: Gauge::default(),
            tcp_connections: Gauge::default(),
            proxy,
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let r = self.registry.sub_registry_with_prefix("rig");
        r.register("connections", "Connections open now, by transport", self.connections.clone());
        r.register("connections_opened", "Connections opened, by transport", self.opened.clone());
        r.register("connections_closed", "Connections ended, by transport and reason", self.closed.clone());
        r.register(
            "connections_refused",
            "Clients turned away before they had a connection",
            self.refused.clone(),
        );
        r.register(
            "internal_requests_refused",
            "Requests that the internal port refused for the web page or the host name that they came with",
            self.internal_refused.clone(),
        );
        r.register(
            "outbox_overflows",
            "Connections closed because their outbox was full",
            self.overflows.clone(),
        );
        r.register(
            "session_kills",
            "Connections terminated because their session was blacklisted",
            self.kills.clone(),
        );
        r.register(
            "revocation_payload_after_kill",
            "Payloads written to a connection after its session was killed; must stay 0",
            self.payload_after_kill.clone(),
        );
        r.register_with_unit(
            "revocation_time_to_kill",
            "From the request for a revocation to the last of its connections closed",
            Unit::Seconds,
            self.time_to_kill.clone(),
        );
        r.register("canary_runs", "Runs of the canary, by what it saw", self.canary_runs.clone());
        r.register_with_unit(
            "canary_time_to_kill",
            "From the canary's revocation to the end of its stream, seen by its client",
            Unit::Seconds,
            self.canary_time_to_kill.clone(),
        );
        let help = "Events on their way to connections and the lists of their receivers, in bytes; publishers wait at 16 MiB";
        r.register("deliveries_under_way_bytes", help, self.under_way.clone());
        let help = "Bytes that wait in outboxes, bodies, answers and copies for resending; at WAITING_BYTES the fullest go";
        r.register("waiting_bytes", help, self.waiting_bytes.clone());
        let help = "Outboxes, mailboxes, answers and bodies that had to go at WAITING_BYTES";
        r.register("waiting_evicted", help, self.waiting_evicted.clone());
        r.register("sessions", "Sessions with at least one connection", self.sessions.clone());
        r.register(
            "subscriptions_total",
            "Subscriptions held by all connections",
            self.subscriptions.clone(),
        );
        r.register("events_received", "CloudEvents taken in over HTTP", self.events_received.clone());
        r.register(
            "consumed_events_forwarded",
            "Events that at least one connection wants, by event type",
            self.forwarded.clone(),
        );
        r.register(
            "deliveries",
            "Events for connections: each counts once for each connection that wants it, when it is taken",
            self.deliveries.clone(),
        );
        r.register(
            "log_lines_dropped",
            "Log lines that could not be written: their reader was too slow, has gone, or had no space",
            self.log_lines_dropped.clone(),
        );
        r.register(
            "tcp_connections",
            "TCP connections of clients, of all ports",
            self.tcp_connections.clone(),
        );
        r.register("distributed_set_items_current", "Entries in the set now", self.set_items_current.clone());
        r.register(
            "distributed_set_items_total",
            "Entries ever added to the set",
            self.set_items_total.clone(),
        );
    }

    /// A connection began.
    pub fn connection_opened(&self, transport: Transport) {
        self.connections.get_or_create(&ByTransport { transport }).inc();
        self.opened.get_or_create(&ByTransport { transport }).inc();
    }

    /// A connection ended.
    pub fn connection_closed(&self, transport: Transport, reason: CloseReason) {
        self.connections.get_or_create(&ByTransport { transport }).dec();
        self.closed.get_or_create(&ByEnd { transport, reason }).inc();
        match reason {
            CloseReason::OutboxOverflow => {
                self.overflows.get_or_create(&ByTransport { transport }).inc();
            }
            CloseReason::SessionKilled => {
                self.kills.inc();
            }
            _ => {}
        }
    }

    /// A client was turned away.
    pub fn connection_refused(&self, reason: RefusalReason) {
        self.refused.get_or_create(&ByRefusal { reason }).inc();
    }

    /// The internal port refused a request before it looked at its path and token.
    pub fn internal_request_refused(&self, reason: InternalRefusal) {
        self.internal_refused.get_or_create(&ByInternalRefusal { reason }).inc();
    }

    /// The canary has run.
    pub fn canary_ran(&self, result: CanaryResult) {
        self.canary_runs.get_or_create(&ByResult { result }).inc();
    }

    /// An event of this type reached `receivers` connections.
    pub fn event_forwarded(&self, event_type: &str, receivers: usize) {
        let label = ByType { r#type: self.event_type_label(event_type) };
        self.forwarded.get_or_create(&label).inc();
        self.deliveries.inc_by(receivers as u64);
    }

    /// Entries of the session blacklist: now, and ever added.
    pub fn set_blacklist(&self, current: usize, total: u64) {
        self.set_items_current.get_or_create(&Self::BLACKLIST).set(current as i64);
        self.set_items_total.get_or_create(&Self::BLACKLIST).set(total as i64);
    }

    /// Has `sample` called before each text, to set gauges of what is not worth counting all the time. It must not hold
    /// these metrics, which hold it.
    pub fn sample_with(&self, sample: impl Fn(&Self) + Send + Sync + 'static) {
        self.samples.write().push(Box::new(sample));
    }

    /// All families as text.
    pub fn to_text(&self, form: Exposition) -> String {
        self.samples.read().iter().for_each(|sample| sample(self));
        self.log_lines_dropped.inner().store(lines_dropped(), Ordering::Relaxed);
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a String cannot fail");
        match form {
            Exposition::OpenMetrics => out,
            Exposition::Prometheus => exposition::to_prometheus(&out),
        }
    }

    fn event_type_label(&self, event_type: &str) -> EventTypeLabel {
        if let Some(known) = self.event_types.read().get(event_type) {
            return EventTypeLabel(known.clone());
        }
        let mut known = self.event_types.write();
        if known.len() >= Self::EVENT_TYPE_LABELS {
            return EventTypeLabel("other".into());
        }
        let label: Arc<str> = event_type.into();
        known.insert(label.clone());
        EventTypeLabel(label)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
