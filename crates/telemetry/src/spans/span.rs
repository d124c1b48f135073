//! Converts a report to spans, according to OpenTelemetry's semantic conventions for HTTP and
//! for messaging.

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::report::{Consumption, Report, ServiceCall};
use crate::trace_context::TraceContext;

/// Methods that are known without an endpoint (RFC 9110, section 9.3; RFC 5789).
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Returns the span of the request, and that of the request to the service.
pub(super) fn spans(report: &Report, scope: &InstrumentationScope) -> impl Iterator<Item = SpanData> {
    let client = report.call.as_ref().map(|call| client(report, call, scope));
    [server(report, scope)].into_iter().chain(client)
}

fn server(report: &Report, scope: &InstrumentationScope) -> SpanData {
    let method = method(report);
    let mut attributes = vec![
        KeyValue::new("http.request.method", method.clone()),
        KeyValue::new("url.path", report.path.to_string()),
        KeyValue::new("url.scheme", if report.secure { "https" } else { "http" }),
        KeyValue::new("client.address", report.address.ip().to_canonical().to_string()),
        KeyValue::new("rig.outcome", report.outcome),
    ];
    if report.address.port() != 0 {
        attributes.push(KeyValue::new("client.port", i64::from(report.address.port())));
    }
    let name = match &report.endpoint {
        None => method,
        Some(names) => {
            attributes.push(KeyValue::new("http.route", names.path.clone()));
            attributes.push(KeyValue::new("rig.api", names.api.clone()));
            attributes.push(KeyValue::new("rig.endpoint", names.id.clone()));
            format!("{method} {}", names.path).into()
        }
    };
    attributes.extend(report.status.map(|status| status_code(status.as_u16())));
    let is_error = report.failed || report.status.is_some_and(|status| status.is_server_error());
    if is_error {
        attributes.push(KeyValue::new("error.type", error_type(report)));
    }
    let ended = report.began + report.took;
    span(&report.trace, SpanKind::Server, name, (report.began, ended), attributes, is_error, scope)
}

/// Returns the span of a message that was read, as a child of the sender's.
pub(super) fn consumed(message: &Consumption<'_>, scope: &InstrumentationScope) -> SpanData {
    let mut attributes = messaging(message.system, message.topic, "process", "process");
    attributes.extend(message.failure.map(|failure| KeyValue::new("error.type", failure)));
    let name = format!("process {}", message.topic).into();
    let (trace, ended) = (message.sender.child(), message.began + message.took);
    let mut span = span(
        &trace,
        SpanKind::Consumer,
        name,
        (message.began, ended),
        attributes,
        message.failure.is_some(),
        scope,
    );
    span.parent_span_is_remote = true;
    span
}

/// Returns the span of a request that became a message.
fn producer(
    report: &Report,
    call: &ServiceCall,
    (system, topic): (&'static str, &str),
    scope: &InstrumentationScope,
) -> SpanData {
    let mut attributes = messaging(system, topic, "send", "send");
    let is_error = call.took.is_none();
    if is_error {
        attributes.push(KeyValue::new("error.type", report.outcome));
    }
    let ended = call.took.map_or(report.began + report.took, |took| call.began + took);
    let name = format!("send {topic}").into();
    span(&call.trace, SpanKind::Producer, name, (call.began, ended), attributes, is_error, scope)
}

/// Returns the attributes that the conventions for messaging require.
fn messaging(system: &'static str, topic: &str, name: &'static str, kind: &'static str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", system),
        KeyValue::new("messaging.destination.name", topic.to_owned()),
        KeyValue::new("messaging.operation.name", name),
        KeyValue::new("messaging.operation.type", kind),
    ]
}

fn client(report: &Report, call: &ServiceCall, scope: &InstrumentationScope) -> SpanData {
    if let Some((system, topic)) = &call.broker {
        return producer(report, call, (system, topic), scope);
    }
    let method = method(report);
    let mut attributes = vec![KeyValue::new("http.request.method", method.clone())];
    if let Some((host, port)) = &call.target {
        attributes.push(KeyValue::new("server.address", host.to_string()));
        attributes.push(KeyValue::new("server.port", i64::from(*port)));
    }
    attributes.extend(call.status.map(|status| status_code(status.as_u16())));
    let is_error = call.status.is_none_or(|status| status.as_u16() >= 400);
    if is_error {
        let status = call.status.map(|status| Cow::from(status.as_u16().to_string()));
        attributes.push(KeyValue::new("error.type", status.unwrap_or(report.outcome.into())));
    }
    let ended = call.took.map_or(report.began + report.took, |took| call.began + took);
    span(&call.trace, SpanKind::Client, method, (call.began, ended), attributes, is_error, scope)
}

fn span(
    trace: &TraceContext,
    span_kind: SpanKind,
    name: Cow<'static, str>,
    (start_time, end_time): (SystemTime, SystemTime),
    attributes: Vec<KeyValue>,
    is_error: bool,
    scope: &InstrumentationScope,
) -> SpanData {
    let flags = if trace.sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    let (trace_id, span_id) = (trace.trace_id.0.into(), SpanId::from(trace.span_id));
    SpanData {
        span_context: SpanContext::new(trace_id, span_id, flags, false, TraceState::NONE),
        parent_span_id: trace.parent_id.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: span_kind == SpanKind::Server && trace.parent_id.is_some(),
        span_kind,
        name,
        start_time,
        end_time,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if is_error { Status::error("") } else { Status::Unset },
        instrumentation_scope: scope.clone(),
    }
}

fn status_code(status: u16) -> KeyValue {
    KeyValue::new("http.response.status_code", i64::from(status))
}

/// Returns `error.type`: the gateway's word for the failure, or the status if that names it.
fn error_type(report: &Report) -> Cow<'static, str> {
    match report.status {
        Some(status) if !report.failed => status.as_u16().to_string().into(),
        _ => report.outcome.into(),
    }
}

/// Returns the method, or `_OTHER` for an unknown one, as the conventions require.
fn method(report: &Report) -> Cow<'static, str> {
    match report.endpoint.is_none() && !METHODS.contains(&report.method.as_str()) {
        true => "_OTHER".into(),
        false => report.method.to_string().into(),
    }
}
