//! The settings of OpenTelemetry behave as its specification says, or are refused; none is ignored
//! silently.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use rig_tests::*;
use serde_json::json;

/// Starts a collector that answers with this body. Returns its address and the requests that it
/// receives.
fn collector(body: Vec<u8>) -> (SocketAddr, Receiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (sender, received) = channel();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let mut wire = Wire::from(stream);
            while let Some(request) = Received::read(&mut wire) {
                wire.send(
                    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), &body]
                        .concat(),
                );
                drop(sender.send(request));
            }
        }
    });
    (address, received)
}

/// Starts a gateway that exports to this collector, and sends it a request.
fn asked(address: SocketAddr, settings: &[(&str, &str)]) -> Gateway {
    let upstream = Upstream::start();
    let endpoints = json!([{"id": "open", "path_regex": "/open/.*", "method": "GET"}]);
    let apis = json!([upstream.api("shop", &endpoints)]).to_string();
    let endpoint = format!("http://{address}");
    let mut all = vec![
        ("PROXY_CONFIG_FILE", &*apis),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    all.extend_from_slice(settings);
    let gateway = Gateway::start(&all);
    assert_eq!(gateway.ask(&Request::get("/open/x")).status, 200);
    gateway
}

#[test]
fn f31_a_disabled_sdk_exports_nothing() {
    for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
        let (address, received) = collector(Vec::new());
        asked(address, &[off, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).end();
        // Everything would have been sent when the gateway has exited.
        assert!(matches!(received.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout)), "{off:?}");
    }
}

#[test]
fn f31_what_cannot_be_obeyed_is_refused() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_RESOURCE_ATTRIBUTES", "no value"),
    ] {
        let output = Command::new(Gateway::binary())
            .env_clear()
            .envs([("INBOUND_PORT", "0"), ("API_HTTP_PORT", "0"), ("DATA_DIR", "memory"), (name, value)])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
            .env("SHUTDOWN_GRACE_PERIOD", "0")
            // If the setting were accepted, the gateway would not exit; this address makes it fail.
            .env("INBOUND_BIND", "192.0.2.1")
            .output()
            .expect("the binary is there");
        let told = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(name) && told.contains("expected "), "{told}");
    }
}

#[test]
fn f31_batches_are_compressed_and_say_who_the_gateway_is() {
    let (address, received) = collector(Vec::new());
    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=edge, team=a%20b,service.version=9");
    asked(address, &[attributes]).end();
    let batch = received.recv_timeout(DEADLINE).expect("a batch");
    let batch = ExportTraceServiceRequest::decode(&*batch.body).expect("a request");
    let shown = format!("{:?}", batch.resource_spans[0].resource);
    for text in ["\"edge\"", "\"a b\"", "\"9\""] {
        assert!(shown.contains(text), "{shown}");
    }
    let (address, received) = collector(Vec::new());
    let specific = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-key=specific");
    let general = ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=general,x-other=1");
    asked(address, &[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"), general, specific]).end();
    let batch = received.recv_timeout(DEADLINE).expect("a batch");
    assert_eq!(batch.header("content-encoding"), Some("gzip"));
    assert_eq!(batch.body[..2], [0x1f, 0x8b]);
    assert_eq!((batch.header("x-key"), batch.header("x-other")), (Some("specific"), None));
}

#[test]
fn f31_spans_that_the_collector_rejects_are_logged() {
    let partial = ExportTracePartialSuccess { rejected_spans: 2, error_message: "too\u{9b} old".into() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
    let (address, _received) = collector(answer.encode_to_vec());
    let gateway = asked(address, &[]);
    let line = eventually("the warning", || {
        let log = gateway.log();
        let line = log.lines().find(|line| line.contains("the collector has rejected spans"))?;
        Some(line.to_owned())
    });
    assert!(line.contains(r#""level":"WARN""#) && line.contains(r#""spans":2"#), "{line}");
    assert!(line.contains(r"too\u009b old"), "{line}");
}

#[test]
fn f31_a_slow_collector_is_reported_after_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let gateway = asked(silent.local_addr().expect("an address"), &[("OTEL_EXPORTER_OTLP_TIMEOUT", "200")]);
    let exporting = Instant::now();
    eventually("the warning", || gateway.log().contains("traces could not be exported").then_some(()));
    // The default is 10 s.
    assert!(exporting.elapsed() < Duration::from_secs(6), "after {:?}", exporting.elapsed());
}

#[test]
fn f73_settings_without_effect_are_warnings() {
    let gateway = Gateway::start(&[
        ("JAEGER_HOST", "jaeger"),
        ("JAEGER_SERVICE_NAME", "rig"),
        ("ZIPKIN_ADDR", "http://zipkin:9411"),
        ("KAFKA_GROUP_ID", "rig"),
        ("JWT_BLACKLIST_DEFAULT_EXPIRY_HOURS", "1"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
    ]);
    let log = gateway.end();
    for (name, instead) in [
        ("JAEGER_HOST", "instead: OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("JAEGER_SERVICE_NAME", "instead: OTEL_SERVICE_NAME"),
        ("ZIPKIN_ADDR", "instead: OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("KAFKA_GROUP_ID", "ignored"),
        ("JWT_BLACKLIST_DEFAULT_EXPIRY_HOURS", "instead: validityInSeconds"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ignored"),
    ] {
        let line = log.lines().find(|line| line.contains(&format!("environment {name}: ")));
        let line = line.unwrap_or_else(|| panic!("nothing of {name}: {log}"));
        assert!(line.contains(instead) && line.contains("WARN"), "{line}");
    }
}
