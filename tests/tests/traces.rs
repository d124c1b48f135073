//! Traces are propagated through the proxy, and exported to a collector if one is set.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use prost::Message;
use rig_tests::*;
use serde_json::json;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Starts a collector. Returns its address and the spans that it receives.
fn collector() -> (SocketAddr, Receiver<Vec<Span>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (sender, received) = channel();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut wire = Wire::from(stream);
                while let Some(request) = Received::read(&mut wire) {
                    assert_eq!((&*request.method, &*request.target), ("POST", "/v1/traces"));
                    assert_eq!(request.header("x-key"), Some("a-test-key"));
                    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                    let batch =
                        ExportTraceServiceRequest::decode(&*request.body).expect("a request that ends");
                    let scopes = batch.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
                    sender.send(scopes.flat_map(|scope| scope.spans).collect()).expect("a request that ends");
                }
            });
        }
    });
    (address, received)
}

fn apis(upstream: &Upstream) -> String {
    let endpoints = json!([
        {"id": "open", "path_regex": "/open/.*", "method": "GET"},
        {"id": "secured", "path_regex": "/secured/.*", "method": "GET", "secured": true},
    ]);
    json!([upstream.api("shop", &endpoints)]).to_string()
}

fn traced(path: &str) -> Request {
    Request::get(path)
        .header("Traceparent", format!("00-{TRACE}-{CALLER}-01"))
        .header("Tracestate", "vendor=a:b,  other=1")
}

#[test]
fn a_service_sees_the_trace_of_the_caller() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis(&upstream))]);
    gateway.ask(&traced("/open/x"));
    let seen = upstream.next();
    let parts: Vec<_> = seen.header("traceparent").unwrap().split('-').collect();
    assert_eq!((parts[0], parts[1], parts[3]), ("00", TRACE, "01"));
    assert_ne!(parts[2], CALLER);
    assert_eq!(seen.header("tracestate"), Some("vendor=a:b,  other=1"));
}

#[test]
fn where_there_is_no_trace_one_begins() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &apis(&upstream))]);
    let broken = Request::get("/open/x")
        .header("Traceparent", format!("ff-{TRACE}-{CALLER}-01"))
        .header("Tracestate", "vendor=1");
    let mut traces = Vec::new();
    for request in [Request::get("/open/x"), broken] {
        gateway.ask(&request);
        let seen = upstream.next();
        let traceparent = seen.header("traceparent").unwrap().to_owned();
        assert_eq!((traceparent.len(), traceparent.ends_with("-01")), (55, true), "{traceparent}");
        assert_eq!((seen.all("traceparent").count(), seen.header("tracestate")), (1, None));
        traces.push(traceparent);
    }
    assert_ne!(traces[0], traces[1]);
    assert!(!traces[1].contains(TRACE));
}

#[test]
fn a_collector_gets_two_spans_of_a_request() {
    let (upstream, (address, received)) = (Upstream::start(), collector());
    let endpoint = format!("http://{address}");
    let gateway = Gateway::start(&[
        ("PROXY_CONFIG_FILE", &apis(&upstream)),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%2Dtest-key"),
    ]);
    let token = token_of("a-secret-session");
    gateway.ask(&traced(&format!("/open/status/201?jwt={token}")));
    gateway.ask(&traced("/secured/x"));
    // Pending spans are sent before the gateway exits.
    gateway.end();
    let spans = received.recv_timeout(DEADLINE).unwrap();
    let seen = upstream.next();
    let [server, client, refused] = &*spans else { panic!("{spans:#?}") };
    let id = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!((server.kind(), &*server.name), (SpanKind::Server, "GET /open/.*"));
    assert_eq!((&*id(&server.trace_id), &*id(&server.parent_span_id)), (TRACE, CALLER));
    assert_eq!((client.kind(), id(&client.parent_span_id)), (SpanKind::Client, id(&server.span_id)));
    assert_eq!(seen.header("traceparent"), Some(&*format!("00-{TRACE}-{}-01", id(&client.span_id))));
    assert!(server.start_time_unix_nano <= client.start_time_unix_nano);
    assert!(client.end_time_unix_nano <= server.end_time_unix_nano);
    assert_eq!(&*refused.name, "GET /secured/.*");
    assert!(!format!("{spans:?}").contains("secret") && !format!("{spans:?}").contains(&token));
}

#[test]
fn an_unreachable_collector_is_logged_and_delays_nothing() {
    let upstream = Upstream::start();
    let unused = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let gateway = Gateway::start(&[
        ("PROXY_CONFIG_FILE", &apis(&upstream)),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{unused}")),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ]);
    assert_eq!(gateway.ask(&Request::get("/open/x")).status, 200);
    eventually("the warning", || gateway.log().contains("traces could not be exported").then_some(()));
    assert_eq!(gateway.ask(&Request::get("/open/x")).status, 200);
    gateway.end();
}
