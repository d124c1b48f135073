//! Settings of the request log and of traces.

use std::collections::HashMap;

use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use telemetry::{Sampler, SpansConfig};
use tracing::Level;

use super::access::list;
use super::kind::{ValueKind, parse_time_of};
use super::reader::Reader;

/// The setting with the base URL of the collector.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Default URL of the collector (OTLP exporter specification).
const DEFAULT_ENDPOINT: &str = "http://localhost:4318/v1/traces";

/// The setting with the URL of the collector for traces.
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// Reads whether each request is logged. Whether it is reported to Kafka as well is read with the
/// other settings of Kafka.
pub(super) fn read_request_log(reader: &mut Reader) -> bool {
    let places = reader.optional("REQUEST_LOG", |text, kind| {
        let places = list(text, &kind)?;
        let is_place = |place: &&String| ["console", "kafka"].contains(&&*place.to_ascii_lowercase());
        match places.iter().find(|place| !is_place(place)) {
            Some(_) => Err(format!("expected {kind}")),
            None => Ok(places),
        }
    });
    places.is_some_and(|places| places.iter().any(|place| place.eq_ignore_ascii_case("console")))
}

/// Parses the name of a level: ours, or that of Erlang's logger (RIG).
pub(super) fn log_level(name: &str) -> Option<Level> {
    match name {
        "error" | "critical" | "alert" | "emergency" => Some(Level::ERROR),
        "warn" | "warning" => Some(Level::WARN),
        "info" | "notice" => Some(Level::INFO),
        "debug" => Some(Level::DEBUG),
        "trace" | "all" => Some(Level::TRACE),
        _ => None,
    }
}

/// Reads how traces are exported; `None` if they are not.
pub(super) fn read_spans(reader: &mut Reader) -> Option<SpansConfig> {
    let disabled = reader.switch("OTEL_SDK_DISABLED");
    let exporter = reader.word("OTEL_TRACES_EXPORTER", |word| match word {
        "" => Some(None),
        "otlp" => Some(Some(true)),
        "none" => Some(Some(false)),
        _ => None,
    });
    let off = disabled || exporter == Some(false);
    read_protocol(reader, off);
    let base = reader.optional(ENDPOINT, |text, kind| {
        url(&format!("{}/v1/traces", text.strip_suffix('/').unwrap_or(text)), &kind)
    });
    let whole = reader.optional(TRACES_ENDPOINT, |text, kind| url(text, &kind));
    let mut headers = |name| reader.optional(name, |text, kind| headers(text, &kind));
    let (general, specific) =
        (headers("OTEL_EXPORTER_OTLP_HEADERS"), headers("OTEL_EXPORTER_OTLP_TRACES_HEADERS"));
    let attributes = reader.optional("OTEL_RESOURCE_ATTRIBUTES", |text, kind| attributes(text, &kind));
    let mut attributes = attributes.unwrap_or_default();
    attributes.extend(reader.text("OTEL_SERVICE_NAME").map(|name| ("service.name".to_owned(), name)));
    let ratio = reader.value("OTEL_TRACES_SAMPLER_ARG", |text, _| {
        text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio))
    });
    let sampler = reader.word("OTEL_TRACES_SAMPLER", |text| Sampler::named(text, ratio));
    let timeout = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
    let compression = ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"];
    let timeout = reader.either(timeout, parse_time_of);
    let gzip = reader.either(compression, |text, _| match text.to_ascii_lowercase().as_str() {
        "gzip" => Some(true),
        "none" => Some(false),
        _ => None,
    });
    let (queue, batch) = read_batches(reader);
    let delay = reader.time("OTEL_BSP_SCHEDULE_DELAY");
    let endpoint = whole.or(base).or_else(|| exporter.map(|_| Uri::from_static(DEFAULT_ENDPOINT)))?;
    let headers = specific.or(general).unwrap_or_default();
    let config = SpansConfig { endpoint, headers, attributes, timeout, gzip, queue, batch, delay, sampler };
    (!off).then_some(config)
}

/// Reads the limit of queued spans, and the size of a batch, which never exceeds the former
/// (OpenTelemetry, "Batch Span Processor").
fn read_batches(reader: &mut Reader) -> (usize, usize) {
    const BATCH: &str = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";
    let queue: usize = reader.number("OTEL_BSP_MAX_QUEUE_SIZE");
    let batch: usize = reader.number(BATCH);
    // A small queue alone is not a contradiction.
    if batch > queue && reader.is_named(BATCH) {
        reader.warn(format!("{BATCH} = {batch} is lowered to {queue}, which is OTEL_BSP_MAX_QUEUE_SIZE"));
    }
    (queue, batch.min(queue))
}

/// Only one protocol is supported. Without export, another one is not a mistake: it may be meant
/// for other programs.
fn read_protocol(reader: &mut Reader, off: bool) {
    let names = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
    let name = if reader.is_set(names[0]) { names[0] } else { names[1] };
    let spoken = reader.text(name).is_some_and(|text| text.eq_ignore_ascii_case("http/protobuf"));
    if !spoken && !off {
        reader.refuse(name);
    }
}

fn url(text: &str, kind: &ValueKind) -> Result<Uri, String> {
    let url: Option<Uri> = text.parse().ok();
    url.filter(|url| matches!(url.scheme_str(), Some("http" | "https")))
        .filter(|url| url.host().is_some_and(|host| !host.is_empty()))
        .ok_or_else(|| format!("expected {kind}"))
}

/// Parses headers: `name=value`, separated by commas.
fn headers(text: &str, kind: &ValueKind) -> Result<HashMap<String, String>, String> {
    let pairs = attributes(text, kind)?;
    let valid = |(name, value): &(String, String)| {
        HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_str(value).is_ok()
    };
    if pairs.iter().all(valid) { Ok(pairs.into_iter().collect()) } else { Err(format!("expected {kind}")) }
}

/// Parses `name=value`, separated by commas, with values percent-encoded (OpenTelemetry, from the
/// `baggage` header of the W3C).
fn attributes(text: &str, kind: &ValueKind) -> Result<Vec<(String, String)>, String> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let name = name.trim();
        (!name.is_empty()).then(|| (name.to_owned(), value.into_owned()))
    };
    text.split(',').map(pair).collect::<Option<_>>().ok_or_else(|| format!("expected {kind}"))
}
