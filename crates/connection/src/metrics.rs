//! The metrics of connections.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use history::Gap;
use memory::Memory;
use metric::{Registry, Sampled};
use parking_lot::RwLock;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use session::{Fence, Sessions};

use crate::sequencer::Sequencer;
use crate::transport::{CloseReason, Transport};

/// An event type as a label, from a bounded set.
///
/// At most [`Metrics::EVENT_TYPE_LABELS`] types get a label of their own; all others share `other`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct EventTypeLabel(Arc<str>);

impl EncodeLabelValue for EventTypeLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        (&*self.0).encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTransport {
    transport: Transport,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCloseReason {
    transport: Transport,
    reason: CloseReason,
}

metric::labels! {
    /// Whether a client that came back has got what it missed.
    pub(crate) enum ResumeResult {
        /// It has got all of it.
        Resumed = "resumed",
        /// It got `rig.gap`.
        Gap = "gap",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: ResumeResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByGap {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByType {
    r#type: EventTypeLabel,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySet {
    name: &'static str,
}

/// The name under which RIG's `rig_distributed_set_items_*` count the blacklist.
const BLACKLIST: BySet = BySet { name: "SessionBlacklist" };

metric::families! {
    struct Families {
        /// Connections open now, by transport
        connections: Family<ByTransport, Gauge> = "rig_connections";
        /// Connections opened, by transport
        opened: Family<ByTransport, Counter> = "rig_connections_opened_total";
        /// Connections closed, by transport and reason
        closed: Family<ByCloseReason, Counter> = "rig_connections_closed_total";
        /// Connections closed because their outbox was full
        overflows: Family<ByTransport, Counter> = "rig_outbox_overflows_total";
        /// Connections terminated because their session was revoked
        kills: Counter = "rig_session_kills_total";
        /// Payloads written to a connection after its session was revoked; must stay 0
        payload_after_kill: Counter = "rig_revocation_payload_after_kill_total";
        /// From the request for a revocation to the last of its connections closed
        time_to_kill: Histogram = "rig_revocation_time_to_kill_seconds", Histogram::new(Metrics::TIME_TO_KILL);
        /// Events on their way to connections and the lists of their receivers, in bytes;
        /// publishers wait at 16 MiB
        under_way: Sampled<Gauge> = "rig_deliveries_under_way_bytes";
        /// Bytes queued in outboxes, bodies, answers and copies for resending; at WAITING_BYTES the
        /// fullest are evicted
        waiting_bytes: Sampled<Gauge> = "rig_waiting_bytes";
        /// Outboxes, mailboxes, answers and bodies evicted at WAITING_BYTES
        waiting_evicted: Sampled<Counter> = "rig_waiting_evicted_total";
        /// Writes of payload that had to wait because the node had no lease
        fenced_writes: Sampled<Counter> = "rig_cluster_fenced_writes_total";
        /// Bytes of payload that wait for streams because the node has no lease
        held_bytes: Sampled<Gauge> = "rig_cluster_held_bytes";
        /// Sessions with at least one connection
        sessions: Sampled<Gauge> = "rig_sessions";
        /// Subscriptions held by all connections
        subscriptions: Sampled<Gauge> = "rig_subscriptions_total";
        /// CloudEvents received: over HTTP, from brokers and from other nodes
        events_received: Counter = "rig_events_received_total";
        /// Events that at least one connection wants, by event type
        forwarded: Family<ByType, Counter> = "rig_consumed_events_forwarded_total";
        /// Events for connections: each counts once for each connection that wants it, when it is
        /// accepted
        deliveries: Counter = "rig_deliveries_total";
        /// Events kept for clients that come back
        history_events: Sampled<Gauge> = "rig_history_events";
        /// Bytes of the events kept and of what is stored beside them; at HISTORY_BYTES the oldest
        /// go
        history_bytes: Sampled<Gauge> = "rig_history_bytes";
        /// Age of the oldest event kept, in seconds; below HISTORY if events go for lack of room
        history_oldest: Sampled<Gauge<f64, AtomicU64>> = "rig_history_oldest_seconds";
        /// Clients that came back with the id of an event, by whether they got what they missed
        resumes: Family<ByResult, Counter> = "rig_resumes_total";
        /// Events that clients got after they came back
        replayed: Counter = "rig_replayed_events_total";
        /// Gaps that were sent to clients, by reason
        gaps: Family<ByGap, Counter> = "rig_gaps_total";
        /// Entries in the set now
        set_items_current: Sampled<Family<BySet, Gauge>> = "rig_distributed_set_items_current";
        /// Entries ever added to the set
        set_items_total: Sampled<Family<BySet, Gauge>> = "rig_distributed_set_items_total";
    }
}

/// The metrics of a node's connections.
#[derive(Debug, Default)]
pub struct Metrics {
    families: Families,
    event_types: RwLock<HashSet<Arc<str>>>,
}

impl Metrics {
    /// The limit of event types with a label of their own.
    pub const EVENT_TYPE_LABELS: usize = 500;

    /// Bounds of the buckets of times to kill, in seconds. Most take a millisecond; after five
    /// seconds, the socket of a client that does not close is closed.
    pub const TIME_TO_KILL: [f64; 12] =
        [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 6.0];

    /// Registers every family; nothing is counted yet.
    pub fn register(registry: &mut Registry) -> Self {
        Self { families: Families::register(registry), event_types: RwLock::default() }
    }

    /// Payloads written to a connection after its session was revoked. Must stay zero.
    pub fn payload_after_kill(&self) -> u64 {
        self.families.payload_after_kill.get()
    }

    /// Sets what the sampled metrics are refreshed from at each scrape, and observes how long
    /// revocations take.
    pub(crate) fn watch(
        &self,
        sessions: &Sessions,
        memory: &Arc<Memory>,
        subscriptions: impl Fn() -> usize + Send + Sync + 'static,
        under_way: impl Fn() -> usize + Send + Sync + 'static,
    ) {
        let families = &self.families;
        let time_to_kill = families.time_to_kill.clone();
        sessions.on_closed(move |time| time_to_kill.observe(time.as_secs_f64()));
        families.sessions.sample_with({
            let sessions = sessions.clone();
            move |gauge| _ = gauge.set(sessions.counts().sessions as i64)
        });
        families.set_items_current.sample_with({
            let sessions = sessions.clone();
            move |gauges| _ = gauges.get_or_create(&BLACKLIST).set(sessions.counts().blacklisted as i64)
        });
        families.set_items_total.sample_with({
            let sessions = sessions.clone();
            move |gauges| _ = gauges.get_or_create(&BLACKLIST).set(sessions.counts().blacklisted_ever as i64)
        });
        families.subscriptions.sample_with(move |gauge| _ = gauge.set(subscriptions() as i64));
        families.under_way.sample_with(move |gauge| _ = gauge.set(under_way() as i64));
        let waiting = memory.clone();
        families.waiting_bytes.sample_with(move |gauge| _ = gauge.set(waiting.waiting() as i64));
        let memory = memory.clone();
        families
            .waiting_evicted
            .sample_with(move |counter| counter.inner().store(memory.evicted(), Ordering::Relaxed));
    }

    /// Sets the fence of payload, and what `held_bytes` is sampled from.
    pub(crate) fn watch_fence(&self, fence: &Fence, held: impl Fn() -> usize + Send + Sync + 'static) {
        let counted = fence.clone();
        self.families
            .fenced_writes
            .sample_with(move |counter| counter.inner().store(counted.held(), Ordering::Relaxed));
        let fence = fence.clone();
        // Connections are asked only while some may hold payload.
        self.families.held_bytes.sample_with(move |gauge| {
            gauge.set(if fence.is_open() { 0 } else { held() as i64 });
        });
    }

    /// Sets what the metrics of recent events are sampled from.
    pub(crate) fn watch_history(&self, sequencer: &Arc<Sequencer>) {
        let families = &self.families;
        families.history_events.sample_with({
            let sequencer = sequencer.clone();
            move |gauge| _ = gauge.set(sequencer.lock().len() as i64)
        });
        families.history_bytes.sample_with({
            let sequencer = sequencer.clone();
            move |gauge| _ = gauge.set(sequencer.lock().bytes() as i64)
        });
        families.history_oldest.sample_with({
            let sequencer = sequencer.clone();
            move |gauge| {
                let oldest = sequencer.lock().oldest(Instant::now());
                gauge.set(oldest.unwrap_or_default().as_secs_f64());
            }
        });
        for result in [ResumeResult::Resumed, ResumeResult::Gap] {
            drop(families.resumes.get_or_create(&ByResult { result }));
        }
        for reason in Gap::ALL.map(Gap::as_str) {
            drop(families.gaps.get_or_create(&ByGap { reason }));
        }
    }

    /// Counts events that a client got after it came back.
    pub(crate) fn replayed(&self, events: usize) {
        self.families.replayed.inc_by(events as u64);
    }

    /// Counts how a client has come back.
    pub(crate) fn came_back(&self, result: ResumeResult) {
        self.families.resumes.get_or_create(&ByResult { result }).inc();
    }

    #[cfg(test)]
    pub(crate) fn gaps_of(&self, gap: Gap) -> u64 {
        self.families.gaps.get_or_create(&ByGap { reason: gap.as_str() }).get()
    }

    /// Counts gaps that are sent to this number of clients.
    pub(crate) fn gaps(&self, gap: Gap, clients: usize) {
        self.families.gaps.get_or_create(&ByGap { reason: gap.as_str() }).inc_by(clients as u64);
    }

    pub(crate) fn opened(&self, transport: Transport) {
        self.families.connections.get_or_create(&ByTransport { transport }).inc();
        self.families.opened.get_or_create(&ByTransport { transport }).inc();
    }

    /// Counts a closed connection; `late` payloads were written to it after its session was
    /// revoked.
    pub(crate) fn closed(&self, transport: Transport, reason: CloseReason, late: u64) {
        let families = &self.families;
        families.payload_after_kill.inc_by(late);
        families.connections.get_or_create(&ByTransport { transport }).dec();
        families.closed.get_or_create(&ByCloseReason { transport, reason }).inc();
        match reason {
            CloseReason::OutboxOverflow => {
                _ = families.overflows.get_or_create(&ByTransport { transport }).inc()
            }
            CloseReason::SessionKilled => _ = families.kills.inc(),
            _ => {}
        }
    }

    pub(crate) fn event_received(&self) {
        self.families.events_received.inc();
    }

    /// Counts an event of this type for that many connections.
    pub(crate) fn event_forwarded(&self, event_type: &str, receivers: usize) {
        let label = ByType { r#type: self.event_type_label(event_type) };
        self.families.forwarded.get_or_create(&label).inc();
        self.families.deliveries.inc_by(receivers as u64);
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

#[cfg(test)]
mod tests;
