//! Exports spans of proxied requests to a collector (OTLP over HTTP, as protobuf).
//!
//! A request puts at most two spans into a bounded queue, and a separate thread sends them. Spans
//! that do not fit, because the collector is slow or unavailable, are dropped; no request waits.

mod client;
mod exporter;
mod sampler;
mod span;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use http::Uri;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Compression, Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanProcessor};

use crate::report::{Consumption, Report};
use client::{Collector, Heard};
use exporter::Exporter;
pub use sampler::Sampler;

/// The configuration of the export of spans.
#[derive(Clone)]
pub struct SpansConfig {
    /// The URL that spans are sent to, with its path.
    pub endpoint: Uri,
    /// Headers of the requests to it.
    pub headers: HashMap<String, String>,
    /// Attributes of the gateway as a resource; if a name occurs several times, the last one
    /// counts. `service.name` is `rig` by default.
    pub attributes: Vec<(String, String)>,
    /// Time limit for the collector to answer one batch.
    pub timeout: Duration,
    /// `true` if batches are compressed.
    pub gzip: bool,
    /// Limit of queued spans; more are dropped.
    pub queue: usize,
    /// Limit of the spans in one batch.
    pub batch: usize,
    /// Time between two batches that are not full.
    pub delay: Duration,
    /// Which traces are recorded.
    pub sampler: Sampler,
}

/// Spans cannot be exported with these settings.
#[derive(Debug, thiserror::Error)]
#[error("the export of traces cannot start: {0}")]
pub struct SpansError(String);

/// Exports spans.
pub struct Spans {
    pub(crate) sampler: Sampler,
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

impl Spans {
    /// Starts the export. Must be called inside the runtime that sends the spans.
    ///
    /// # Errors
    /// Fails if the endpoint cannot be used.
    pub fn start(config: SpansConfig) -> Result<Self, SpansError> {
        let heard = Heard::default();
        let mut builder = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(config.endpoint.to_string())
            .with_headers(config.headers)
            .with_timeout(config.timeout)
            .with_http_client(Collector::new(config.timeout, heard.clone()));
        if config.gzip {
            builder = builder.with_compression(Compression::Gzip);
        }
        let exporter = builder.build().map_err(|error| SpansError(error.to_string()))?;
        let version = env!("CARGO_PKG_VERSION");
        let resource = Resource::builder()
            .with_service_name("rig")
            .with_attribute(KeyValue::new("service.version", version))
            .with_attributes(config.attributes.into_iter().map(|(name, value)| KeyValue::new(name, value)))
            .build();
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(config.queue)
            .with_max_export_batch_size(config.batch)
            .with_scheduled_delay(config.delay)
            .build();
        let mut processor = BatchSpanProcessor::new(Exporter::new(exporter, heard), batches);
        processor.set_resource(&resource);
        let scope = InstrumentationScope::builder("rig").with_version(version).build();
        Ok(Self { sampler: config.sampler, processor, scope })
    }

    /// Sends the queued spans and stops. Blocks, at most for `within`.
    pub fn shut_down(&self, within: Duration) {
        if let Err(error) = self.processor.shutdown_with_timeout(within) {
            tracing::warn!(%error, "the last traces could not be exported");
        }
    }

    /// Queues the span of a message that was read, if its trace is recorded.
    pub fn consumed(&self, message: &Consumption<'_>) {
        if self.sampler.samples(Some(&message.sender), message.sender.trace_id) {
            self.processor.on_end(span::consumed(message, &self.scope));
        }
    }

    /// Queues the spans of a request.
    pub(crate) fn queue(&self, report: &Report) {
        for span in span::spans(report, &self.scope) {
            self.processor.on_end(span);
        }
    }
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spans").field("sampler", &self.sampler).finish_non_exhaustive()
    }
}

/// Does not show the headers, which contain secrets.
impl fmt::Debug for SpansConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpansConfig").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
