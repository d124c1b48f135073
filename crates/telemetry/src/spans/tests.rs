use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Instant, UNIX_EPOCH};

use http::{Method, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue as Pair};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode as Code};
use proptest::prelude::*;
use prost::Message;
use tokio::runtime::Runtime;

use super::*;
use crate::{EndpointNames, Reporter, ServiceCall, TRACEPARENT, TraceContext, TraceId};

/// Starts a collector. Returns its address and the requests that it receives: the head, with names
/// in lower case, and the batch.
fn collector(answer: &'static str) -> (SocketAddr, Receiver<(String, ExportTraceServiceRequest)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, received) = channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            sender.send((head, ExportTraceServiceRequest::decode(&*body).unwrap())).unwrap();
        }
    });
    (address, received)
}

const OK: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

fn spans_to(runtime: &Runtime, address: SocketAddr) -> Arc<Spans> {
    let _guard = runtime.enter();
    let config = SpansConfig {
        endpoint: format!("http://{address}/v1/traces").parse().unwrap(),
        headers: HashMap::from([("x-tenant".to_owned(), "a-test-tenant".to_owned())]),
        attributes: vec![("service.name".to_owned(), "rig-test".to_owned())],
        timeout: Duration::from_secs(10),
        gzip: false,
        queue: 2048,
        batch: 512,
        delay: Duration::from_secs(5),
        sampler: Sampler::named("parentbased_always_on", 1.0).unwrap(),
    };
    Arc::new(Spans::start(config).unwrap())
}

fn report(trace: TraceContext) -> Report {
    let endpoint = EndpointNames { api: "shop".into(), id: "item".into(), path: "/items/.*".into() };
    let began = UNIX_EPOCH + Duration::from_secs(1000);
    Report {
        method: Method::HEAD,
        path: "/items/1".into(),
        endpoint: Some(endpoint),
        address: "[::ffff:192.0.2.1]:5000".parse().unwrap(),
        secure: true,
        session: Some("a-test-session".into()),
        trace,
        status: Some(StatusCode::BAD_GATEWAY),
        outcome: "ok",
        failed: false,
        reason: None,
        began,
        took: Duration::from_millis(30),
        call: Some(ServiceCall {
            trace: trace.child(),
            target: Some(("shop.internal".into(), 8080)),
            began: began + Duration::from_millis(10),
            took: Some(Duration::from_millis(5)),
            status: Some(StatusCode::BAD_GATEWAY),
            broker: None,
        }),
        definition: None,
        request_id: None,
    }
}

/// Returns the attributes as `name=value`, sorted.
fn shown(attributes: &[Pair]) -> Vec<String> {
    let value = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let mut shown: Vec<_> =
        attributes.iter().map(|pair| format!("{}={}", pair.key, value(&pair.value))).collect();
    shown.sort();
    shown
}

fn times(span: &Span) -> (u64, u64) {
    (span.start_time_unix_nano / 1_000_000, span.end_time_unix_nano / 1_000_000)
}

#[test]
fn a_request_arrives_as_two_spans() {
    let runtime = Runtime::new().unwrap();
    let (address, received) = collector(OK);
    let spans = spans_to(&runtime, address);
    let reporter = Reporter::new(false, Some(spans.clone()));
    let caller = TraceContext::root();
    let trace = reporter.trace(&[(TRACEPARENT, caller.traceparent())].into_iter().collect());
    assert!(reporter.wants(&trace));
    let report = report(trace);
    reporter.report(&report);
    spans.shut_down(Duration::from_secs(10));

    let (head, batch) = received.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nx-tenant: a-test-tenant\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/x-protobuf\r\n"), "{head}");
    let [resource] = &*batch.resource_spans else { panic!("{batch:?}") };
    let of_resource = shown(&resource.resource.as_ref().unwrap().attributes);
    assert!(of_resource.contains(&"service.name=rig-test".to_owned()), "{of_resource:?}");
    let [scope] = &*resource.scope_spans else { panic!("{batch:?}") };
    assert_eq!(scope.scope.as_ref().unwrap().name, "rig");
    let [server, client] = &*scope.spans else { panic!("{batch:?}") };

    assert_eq!((server.kind(), &*server.name), (SpanKind::Server, "HEAD /items/.*"));
    assert_eq!(server.trace_id, caller.trace_id.0.to_be_bytes());
    assert_eq!(server.parent_span_id, caller.span_id.to_be_bytes());
    assert_eq!(times(server), (1_000_000, 1_000_030));
    assert_eq!(server.status.as_ref().unwrap().code(), Code::Error);
    assert_eq!(
        shown(&server.attributes),
        [
            "client.address=192.0.2.1",
            "client.port=5000",
            "error.type=502",
            "http.request.method=HEAD",
            "http.response.status_code=502",
            "http.route=/items/.*",
            "rig.api=shop",
            "rig.endpoint=item",
            "rig.outcome=ok",
            "url.path=/items/1",
            "url.scheme=https",
        ]
    );
    assert_eq!((client.kind(), &*client.name), (SpanKind::Client, "HEAD"));
    assert_eq!(client.trace_id, server.trace_id);
    assert_eq!(client.parent_span_id, server.span_id);
    assert_eq!(client.span_id, report.call.unwrap().trace.span_id.to_be_bytes());
    assert_eq!(times(client), (1_000_010, 1_000_015));
    assert_eq!(
        shown(&client.attributes),
        [
            "error.type=502",
            "http.request.method=HEAD",
            "http.response.status_code=502",
            "server.address=shop.internal",
            "server.port=8080",
        ]
    );
}

#[test]
fn what_its_caller_does_not_record_is_not_exported() {
    let runtime = Runtime::new().unwrap();
    let (address, received) = collector(OK);
    let spans = spans_to(&runtime, address);
    let reporter = Reporter::new(false, Some(spans.clone()));
    let caller = TraceContext { sampled: false, ..TraceContext::root() };
    let trace = reporter.trace(&[(TRACEPARENT, caller.traceparent())].into_iter().collect());
    assert!(!reporter.wants(&trace));
    reporter.report(&report(trace));
    let begun_here = reporter.trace(&http::HeaderMap::new());
    reporter.report(&report(begun_here));
    spans.shut_down(Duration::from_secs(10));
    let (_, batch) = received.recv_timeout(Duration::from_secs(10)).unwrap();
    let exported: Vec<_> =
        batch.resource_spans[0].scope_spans[0].spans.iter().map(|span| span.trace_id.clone()).collect();
    assert_eq!(exported, vec![begun_here.trace_id.0.to_be_bytes().to_vec(); 2]);
}

#[test]
fn a_collector_that_never_answers_delays_no_request() {
    let runtime = Runtime::new().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let spans = spans_to(&runtime, silent.local_addr().unwrap());
    let reporter = Reporter::new(false, Some(spans.clone()));
    let began = Instant::now();
    for _ in 0..10_000 {
        reporter.report(&report(TraceContext::root()));
    }
    spans.shut_down(Duration::from_millis(100));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn why_a_collector_cannot_be_reached_is_known() {
    let runtime = Runtime::new().unwrap();
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let no_tls = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        stream
    });
    for (url, reason) in
        [(format!("http://{unused}/"), "refused"), (format!("https://{no_tls}/"), "InvalidContentType")]
    {
        let heard = Heard::default();
        let client = {
            let _guard = runtime.enter();
            Collector::new(Duration::from_secs(10), heard.clone())
        };
        let request = http::Request::post(&url).body(bytes::Bytes::new()).unwrap();
        runtime.block_on(opentelemetry_http::HttpClient::send_bytes(&client, request)).unwrap_err();
        let cause = heard.lock().cause.take().unwrap();
        assert!(cause.contains(reason), "{url}: {cause}");
    }
    drop(serving.join());
}

#[test]
fn without_an_endpoint_nobody_wants_to_know() {
    let trace = Reporter::default().trace(&http::HeaderMap::new());
    assert!(trace.sampled && !Reporter::default().wants(&trace));
}

#[test]
fn samplers_are_known_by_their_names() {
    let trace_id = TraceId(u128::from(u64::MAX / 2));
    let caller = |sampled| Some(TraceContext { sampled, ..TraceContext::root() });
    for (name, callers_yes, callers_no, none) in [
        ("always_on", true, true, true),
        ("always_off", false, false, false),
        ("parentbased_always_on", true, false, true),
        ("parentbased_always_off", true, false, false),
        ("parentbased_traceidratio", true, false, true),
        ("traceidratio", true, true, true),
    ] {
        let sampler = Sampler::named(name, 0.6).unwrap();
        let samples = |caller: Option<TraceContext>| sampler.samples(caller.as_ref(), trace_id);
        let got = (samples(caller(true)), samples(caller(false)), samples(None));
        assert_eq!(got, (callers_yes, callers_no, none), "{name}");
        assert!(Sampler::NAMES.contains(&name));
    }
    assert_eq!(Sampler::named("jaeger_remote", 1.0), None);
}

proptest! {
    #[test]
    fn a_share_is_decided_by_the_trace(id: u128, ratio in 0.0..=1.0) {
        let sampler = Sampler::named("traceidratio", ratio).unwrap();
        let lower = (id as u64) as f64 / u64::MAX as f64;
        prop_assume!((lower - ratio).abs() > 1e-9);
        prop_assert_eq!(sampler.samples(None, TraceId(id)), lower < ratio);
    }
}

/// Exports what `report` reports, and returns the spans.
fn exported(report: impl FnOnce(&Arc<Spans>)) -> Vec<Span> {
    let runtime = Runtime::new().unwrap();
    let (address, received) = collector(OK);
    let spans = spans_to(&runtime, address);
    report(&spans);
    spans.shut_down(Duration::from_secs(10));
    let (_, batch) = received.recv_timeout(Duration::from_secs(10)).unwrap();
    batch.resource_spans.into_iter().flat_map(|of| of.scope_spans).flat_map(|of| of.spans).collect()
}

#[test]
fn a_request_that_became_a_message_has_the_span_of_a_producer() {
    let mut report = report(TraceContext::root());
    let call = report.call.as_mut().unwrap();
    (call.broker, call.target, call.status) = (Some(("kafka", "orders".into())), None, None);
    let spans = exported(|spans| Reporter::new(false, Some(spans.clone())).report(&report));
    let [server, producer] = &*spans else { panic!("{spans:?}") };
    assert_eq!((producer.kind(), &*producer.name), (SpanKind::Producer, "send orders"));
    assert_eq!(producer.parent_span_id, server.span_id);
    assert_eq!(times(producer), (1_000_010, 1_000_015));
    let attributes = [
        "messaging.destination.name=orders",
        "messaging.operation.name=send",
        "messaging.operation.type=send",
        "messaging.system=kafka",
    ];
    assert_eq!(shown(&producer.attributes), attributes);
    assert_eq!(producer.status, Some(Default::default()));

    // Without an acknowledgement, it has failed, and took as long as the request.
    report.call.as_mut().unwrap().took = None;
    report.outcome = "response_timeout";
    let spans = exported(|spans| Reporter::new(false, Some(spans.clone())).report(&report));
    assert_eq!(times(&spans[1]), (1_000_010, 1_000_030));
    assert!(shown(&spans[1].attributes).contains(&"error.type=response_timeout".to_owned()));
}

#[test]
fn a_message_that_was_read_has_a_span_in_the_trace_of_its_sender() {
    let sender = TraceContext { parent_id: Some(5), ..TraceContext::root() };
    let message = |sender, failure| Consumption {
        system: "kafka",
        topic: "rig",
        sender,
        began: UNIX_EPOCH + Duration::from_secs(1000),
        took: Duration::from_millis(2),
        failure,
    };
    let spans = exported(|spans| {
        spans.consumed(&message(TraceContext { sampled: false, ..sender }, None));
        spans.consumed(&message(sender, None));
        spans.consumed(&message(sender, Some("too_large")));
    });
    let [consumed, failed] = &*spans else { panic!("{spans:?}") };
    assert_eq!((consumed.kind(), &*consumed.name), (SpanKind::Consumer, "process rig"));
    assert_eq!(consumed.trace_id, sender.trace_id.0.to_be_bytes());
    assert_eq!(consumed.parent_span_id, sender.span_id.to_be_bytes());
    assert_eq!(times(consumed), (1_000_000, 1_000_002));
    let attributes = [
        "messaging.destination.name=rig",
        "messaging.operation.name=process",
        "messaging.operation.type=process",
        "messaging.system=kafka",
    ];
    assert_eq!(shown(&consumed.attributes), attributes);
    assert!(shown(&failed.attributes).contains(&"error.type=too_large".to_owned()));
}
