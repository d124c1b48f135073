//! Who is told what becomes of requests.

use std::collections::HashMap;

use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use telemetry::{Sampler, SpansConfig};

use super::access::list;
use super::kind::Kind;
use super::reader::Reader;

/// Where the collector is, by the base of its paths.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Where it takes traces.
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// Whether each request is a line in the log.
pub(super) fn read_request_log(reader: &mut Reader) -> bool {
    let places = reader.optional("REQUEST_LOG", |text, kind| {
        let places = list(text, &kind)?;
        match places.iter().find(|place| *place != "console") {
            Some(_) => Err(format!("allowed: {kind}")),
            None => Ok(places),
        }
    });
    places.is_some()
}

/// How traces are exported; `None`: they are not.
pub(super) fn read_spans(reader: &mut Reader) -> Option<SpansConfig> {
    let base = reader.optional(ENDPOINT, |text, kind| {
        url(&format!("{}/v1/traces", text.strip_suffix('/').unwrap_or(text)), &kind)
    });
    let whole = reader.optional(TRACES_ENDPOINT, |text, kind| url(text, &kind));
    let headers = reader.optional("OTEL_EXPORTER_OTLP_HEADERS", |text, kind| headers(text, &kind));
    let service_name =
        reader.value("OTEL_SERVICE_NAME", |text, _| (!text.is_empty()).then(|| text.to_owned()));
    let ratio = reader.value("OTEL_TRACES_SAMPLER_ARG", |text, _| {
        text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio))
    });
    let sampler = reader.word("OTEL_TRACES_SAMPLER", |text| Sampler::named(text, ratio));
    let endpoint = whole.or(base)?;
    Some(SpansConfig { endpoint, headers: headers.unwrap_or_default(), service_name, sampler })
}

fn url(text: &str, kind: &Kind) -> Result<Uri, String> {
    let url: Option<Uri> = text.parse().ok();
    url.filter(|url| matches!(url.scheme_str(), Some("http" | "https")))
        .filter(|url| url.host().is_some_and(|host| !host.is_empty()))
        .ok_or_else(|| format!("allowed: {kind}"))
}

/// `name=value` by commas, values percent-encoded (OpenTelemetry, from the `baggage` header of the W3C).
fn headers(text: &str, kind: &Kind) -> Result<HashMap<String, String>, String> {
    let header = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
        HeaderValue::from_str(&value).ok()?;
        Some((name.trim().to_owned(), value.into_owned()))
    };
    text.split(',').map(header).collect::<Option<_>>().ok_or_else(|| format!("allowed: {kind}"))
}
