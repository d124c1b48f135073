//! Exports batches, and logs failures at a limited rate.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use parking_lot::Mutex;

use super::client::Heard;

/// Shortest time between two log lines about failures.
const EVERY: Duration = Duration::from_secs(60);

/// Exports with OpenTelemetry's exporter.
#[derive(Debug)]
pub(super) struct Exporter<E> {
    inner: E,
    /// Spans that were lost and not logged yet.
    lost: AtomicU64,
    /// When a failure was last logged.
    logged: Mutex<Option<Instant>>,
    heard: Heard,
}

impl<E: SpanExporter> Exporter<E> {
    pub(super) fn new(inner: E, heard: Heard) -> Self {
        Self { inner, lost: AtomicU64::new(0), logged: Mutex::default(), heard }
    }

    /// Logs spans that the collector rejected, and its text.
    fn log_rejected(&self) {
        let mut heard = self.heard.lock();
        if heard.rejected.is_some()
            && self.is_time_to_log()
            && let Some((spans, reason)) = heard.rejected.take()
        {
            tracing::warn!(spans, reason, "the collector has rejected spans");
        }
    }

    fn is_time_to_log(&self) -> bool {
        let mut logged = self.logged.lock();
        let is_time = logged.is_none_or(|logged| logged.elapsed() >= EVERY);
        if is_time {
            *logged = Some(Instant::now());
        }
        is_time
    }
}

impl<E: SpanExporter> SpanExporter for Exporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        let exported = self.inner.export(batch).await;
        if let Err(error) = &exported {
            self.lost.fetch_add(count, Relaxed);
            let cause = self.heard.lock().cause.take();
            if self.is_time_to_log() {
                let spans = self.lost.swap(0, Relaxed);
                tracing::warn!(%error, cause, spans, "traces could not be exported");
            }
        }
        self.log_rejected();
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
