//! The request log as events (RIG: `REQUEST_LOG=kafka`): one for each proxied request, when it has
//! been answered.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use jiff::{Timestamp, Unit};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use telemetry::{Report, ReportSink, Told};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use uuid::Uuid;

use crate::metrics::Metrics;
use crate::producer::{Destination, ProduceError, Produced, Producer};

/// Limit of the requests whose events are still to be sent. Further ones are not logged.
const QUEUE: usize = 1000;

/// Limit of the events that are sent at a time.
const SENDING: usize = 100;

/// How long the broker may take to acknowledge an event.
const WITHIN: Duration = Duration::from_secs(10);

metric::labels! {
    /// Why a request is missing.
    enum Loss {
        /// Too many waited to be sent.
        Full = "full",
        /// The broker has not acknowledged it, or refuses it, or the gateway stops.
        Failed = "failed",
    }
}

/// How a session is written instead of its name.
pub type Pseudonym = dyn Fn(&str) -> String + Send + Sync;

/// Where the request log goes to.
#[derive(Clone)]
pub struct RequestLogConfig {
    /// Its topic, and the schema of `data` if that is in Avro.
    pub to: Destination,
    /// Whether the producer encodes data in Avro.
    pub is_avro: bool,
    /// Replaces the names of sessions; `None` to write them as they are.
    pub pseudonym: Option<Arc<Pseudonym>>,
}

/// Sends an event for each request that is reported. Requests never wait for it.
pub struct RequestLog {
    config: RequestLogConfig,
    producer: Arc<dyn Producer>,
    metrics: Metrics,
    queue: mpsc::Sender<Record>,
    records: Mutex<Option<mpsc::Receiver<Record>>>,
    /// The schema has RIG's members of `data` only.
    has_rigs_schema: AtomicBool,
    stage: watch::Sender<Stage>,
    told: Told,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// What is queued is sent; nothing more is taken.
    Leaving,
    /// All of it was sent, or given up.
    Left,
}

/// What is kept of a request until its event is built.
struct Record {
    endpoint: Arc<Value>,
    began: SystemTime,
    traceparent: String,
    path: Box<str>,
    remote_ip: String,
    method: String,
    status: Option<u16>,
    took: Duration,
    request_id: Option<Box<str>>,
    session: Option<Box<str>>,
}

impl RequestLog {
    /// Returns a log. It sends when it is run.
    pub fn new(config: RequestLogConfig, producer: Arc<dyn Producer>, metrics: Metrics) -> Self {
        let (queue, records) = mpsc::channel(QUEUE);
        let (has_rigs_schema, told) = Default::default();
        let (records, stage) = (Mutex::new(Some(records)), watch::Sender::new(Stage::Running));
        Self { config, producer, metrics, queue, records, has_rigs_schema, stage, told }
    }

    /// Queues the event of a request that is finished, if it has an endpoint. If the queue is full
    /// or closed, the event is dropped and counted.
    fn record(&self, report: &Report) {
        let Some(endpoint) = &report.definition else { return };
        let place = match self.queue.try_reserve() {
            Ok(place) => place,
            Err(TrySendError::Full(())) => {
                let reason = "events of the request log come faster than they can be sent";
                return self.lose(Loss::Full, &reason);
            }
            Err(TrySendError::Closed(())) => {
                let reason = "the request has ended after the request log was closed";
                return self.lose(Loss::Failed, &reason);
            }
        };
        let session = report.session.as_deref().map(|session| match &self.config.pseudonym {
            Some(pseudonym) => pseudonym(session).into(),
            None => session.into(),
        });
        let traceparent = report.trace.traceparent();
        place.send(Record {
            endpoint: endpoint.clone(),
            began: report.began,
            traceparent: traceparent.to_str().expect("a trace is ASCII").to_owned(),
            path: report.path.clone(),
            remote_ip: report.address.ip().to_string(),
            method: report.method.to_string(),
            status: report.status.map(|status| status.as_u16()),
            took: report.took,
            request_id: report.request_id.clone(),
            session,
        });
    }

    /// Sends what is queued, until it [leaves](ReportSink::leave).
    ///
    /// # Panics
    /// Panics if it is run twice.
    pub async fn run(self: Arc<Self>) {
        let mut records = self.records.lock().take().expect("the log is run once");
        let mut leaving = self.stage.subscribe();
        let mut sending = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(()) = sending.next() => {}
                record = records.recv(), if sending.len() < SENDING => match record {
                    Some(record) => sending.push(self.send(record)),
                    None => break,
                },
                Ok(_) = leaving.wait_for(|stage| *stage != Stage::Running), if !records.is_closed() => {
                    records.close();
                }
            }
        }
        while sending.next().await.is_some() {}
        self.stage.send_replace(Stage::Left);
    }

    async fn send(&self, record: Record) {
        let all = !self.has_rigs_schema.load(Ordering::Relaxed);
        let mut sent = self.produce(&record, all).await;
        if all && matches!(sent, Err(ProduceError::Invalid(_))) {
            // A schema that was made for RIG does not have the other members.
            sent = self.produce(&record, false).await;
            if sent.is_ok() {
                self.has_rigs_schema.store(true, Ordering::Relaxed);
                tracing::warn!(
                    "the schema of the request log has RIG's members only: it does not tell how requests ended"
                );
            }
        }
        if let Err(error) = sent {
            self.lose(Loss::Failed, &error);
        }
    }

    async fn produce(&self, record: &Record, all: bool) -> Result<(), ProduceError> {
        let content_type = if self.config.is_avro { "avro/binary" } else { "application/json" };
        // No key: RIG's is always the same, so that all events are in one partition (b32).
        let event = Produced { members: record.event(content_type, all), key: None };
        self.producer.produce(&self.config.to, event, WITHIN).await
    }

    fn lose(&self, loss: Loss, reason: &impl fmt::Display) {
        self.metrics.lost(loss.as_str());
        if self.told.is_due(loss.as_str()) {
            tracing::warn!(%reason, "a request is missing in the request log");
        }
    }
}

impl ReportSink for RequestLog {
    fn report(&self, report: &Report) {
        self.record(report);
    }

    fn leave(&self, within: Duration) -> BoxFuture<'_, ()> {
        async move {
            let mut stage = self.stage.subscribe();
            self.stage.send_replace(Stage::Leaving);
            let left = stage.wait_for(|stage| *stage == Stage::Left);
            if timeout(within, left).await.is_err() {
                tracing::warn!("not all of the request log was sent before this gateway stops");
            }
        }
        .boxed()
    }
}

impl Record {
    /// Returns the event: RIG's members, and if wanted those that tell how the request ended.
    fn event(&self, content_type: &str, all: bool) -> Map<String, Value> {
        let mut data = json!({
            "endpoint": *self.endpoint,
            "request_path": self.path,
            "remote_ip": self.remote_ip,
        });
        if all {
            data["method"] = json!(self.method);
            data["duration_ms"] = json!(self.took.as_micros() as f64 / 1000.0);
            let optional = [
                ("status", self.status.map(Value::from)),
                ("request_id", self.request_id.as_deref().map(Value::from)),
                ("session", self.session.as_deref().map(Value::from)),
            ];
            for (name, value) in optional {
                if let Some(value) = value {
                    data[name] = value;
                }
            }
        }
        let time = Timestamp::try_from(self.began).and_then(|time| time.round(Unit::Millisecond));
        let members = [
            ("specversion", Some("0.2".into())),
            ("type", Some("com.rig.proxy.api.call".into())),
            ("source", Some("/rig".into())),
            ("id", Some(Uuid::new_v4().to_string().into())),
            // A clock that is outside of all calendars has no time.
            ("time", time.ok().map(|time| time.to_string().into())),
            ("contenttype", Some(content_type.into())),
            ("data", Some(data)),
            ("traceparent", Some(self.traceparent.as_str().into())),
        ];
        members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

impl fmt::Debug for RequestLogConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestLogConfig")
            .field("to", &self.to)
            .field("is_avro", &self.is_avro)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RequestLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestLog").field("config", &self.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
