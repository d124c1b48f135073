//! Spans of proxied requests, on their way to a collector (OTLP over HTTP, as protobuf).
//!
//! A request costs two spans put into a bounded queue. A thread of its own takes them out and sends them; what does not
//! fit while the collector is slow or away is lost, and nobody waits for it.

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
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanProcessor};

use crate::report::Report;
use client::{Cause, Client};
use exporter::Exporter;
pub use sampler::Sampler;

/// How long the collector may take for one batch (OpenTelemetry: `OTEL_EXPORTER_OTLP_TIMEOUT`).
const TIMEOUT: Duration = Duration::from_secs(10);

/// What an operator decides about the export of spans.
#[derive(Clone)]
pub struct SpansConfig {
    /// Where they are sent: the whole URL, with its path.
    pub endpoint: Uri,
    /// Headers of the requests to it.
    pub headers: HashMap<String, String>,
    /// What the gateway is called there.
    pub service_name: String,
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
    /// Starts the export. To be called inside of the runtime that is to do it.
    ///
    /// # Errors
    /// The endpoint cannot be used.
    pub fn start(config: SpansConfig) -> Result<Self, SpansError> {
        let cause = Cause::default();
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(config.endpoint.to_string())
            .with_headers(config.headers)
            .with_timeout(TIMEOUT)
            .with_http_client(Client::new(TIMEOUT, cause.clone()))
            .build()
            .map_err(|error| SpansError(error.to_string()))?;
        let version = env!("CARGO_PKG_VERSION");
        let resource = Resource::builder()
            .with_service_name(config.service_name)
            .with_attribute(KeyValue::new("service.version", version))
            .build();
        // The queue and the batches have OpenTelemetry's sizes and variables (OTEL_BSP_*).
        let batches = BatchConfigBuilder::default().build();
        let mut processor = BatchSpanProcessor::new(Exporter::new(exporter, cause), batches);
        processor.set_resource(&resource);
        let scope = InstrumentationScope::builder("rig").with_version(version).build();
        Ok(Self { sampler: config.sampler, processor, scope })
    }

    /// Sends what has not been sent, and stops. Blocks, but not for longer than that.
    pub fn shut_down(&self, within: Duration) {
        if let Err(error) = self.processor.shutdown_with_timeout(within) {
            tracing::warn!(%error, "the last traces could not be exported");
        }
    }

    /// Queues the spans of a request.
    pub(crate) fn tell(&self, report: &Report) {
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

/// Without the headers: there are secrets in them.
impl fmt::Debug for SpansConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpansConfig").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
