use std::sync::atomic::AtomicUsize;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Method, StatusCode};
use telemetry::TraceContext;
use tokio::sync::Semaphore;

use super::*;

/// Keeps what is produced.
#[derive(Debug)]
struct Topic {
    events: Mutex<Vec<Produced>>,
    /// One permit for each event that the broker acknowledges.
    acknowledges: Semaphore,
    /// Whether the schema has RIG's members only.
    has_rigs_schema: bool,
    attempts: AtomicUsize,
}

impl Topic {
    fn new(acknowledges: usize, has_rigs_schema: bool) -> Arc<Self> {
        let (events, attempts) = Default::default();
        Arc::new(Self { events, acknowledges: Semaphore::new(acknowledges), has_rigs_schema, attempts })
    }
}

impl Producer for Topic {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn is_up(&self) -> bool {
        true
    }

    fn produce<'p>(
        &'p self,
        _: &'p Destination,
        event: Produced,
        _: Duration,
    ) -> BoxFuture<'p, Result<(), ProduceError>> {
        async move {
            self.attempts.fetch_add(1, Ordering::Relaxed);
            if self.has_rigs_schema && event.members["data"].get("method").is_some() {
                return Err(ProduceError::Invalid("/method".to_owned()));
            }
            self.acknowledges.acquire().await.expect("it is open").forget();
            self.events.lock().push(event);
            Ok(())
        }
        .boxed()
    }
}

/// Returns how many requests are missing for a reason.
fn lost(registry: &metric::Registry, reason: &str) -> usize {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let sample = format!("rig_request_log_lost_total{{reason=\"{reason}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&*sample)).map_or(0, |count| count.parse().unwrap())
}

fn log(topic: &Arc<Topic>, pseudonym: Option<Arc<Pseudonym>>) -> Arc<RequestLog> {
    log_with(topic, pseudonym, Metrics::default())
}

fn log_with(topic: &Arc<Topic>, pseudonym: Option<Arc<Pseudonym>>, metrics: Metrics) -> Arc<RequestLog> {
    let to = Destination { topic: "rig-request-log".into(), schema: None };
    let config = RequestLogConfig { to, is_avro: false, pseudonym };
    Arc::new(RequestLog::new(config, topic.clone(), metrics))
}

fn report() -> Report {
    let trace = TraceContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
    Report {
        method: Method::POST,
        path: "/items/1".into(),
        endpoint: None,
        address: "[2001:db8::1]:4000".parse().unwrap(),
        secure: true,
        session: Some("session".into()),
        trace,
        status: Some(StatusCode::CREATED),
        outcome: "ok",
        failed: false,
        reason: None,
        began: SystemTime::UNIX_EPOCH + Duration::from_micros(1_000_000_000_123_456),
        took: Duration::from_micros(1500),
        call: None,
        definition: Some(endpoint()),
        request_id: Some("request-1".into()),
    }
}

fn endpoint() -> Arc<Value> {
    Arc::new(json!({"id": "item", "path_regex": "/items/(.*)", "method": "POST"}))
}

/// Runs a log until it has left.
async fn run(log: &Arc<RequestLog>) {
    let running = tokio::spawn(log.clone().run());
    log.leave(Duration::from_secs(20)).await;
    running.now_or_never().expect("it has left").unwrap();
}

#[tokio::test]
async fn b32_an_event_has_rigs_members_and_how_the_request_ended() {
    let topic = Topic::new(1, false);
    let log = log(&topic, None);
    log.record(&report());
    run(&log).await;
    let Produced { mut members, key } = topic.events.lock().remove(0);
    let id = members.remove("id").unwrap();
    assert!(Uuid::parse_str(id.as_str().unwrap()).is_ok(), "{id}");
    let expected = json!({
        "specversion": "0.2",
        "type": "com.rig.proxy.api.call",
        "source": "/rig",
        "time": "2001-09-09T01:46:40.123Z",
        "contenttype": "application/json",
        "data": {
            "endpoint": {"id": "item", "path_regex": "/items/(.*)", "method": "POST"},
            "request_path": "/items/1",
            "remote_ip": "2001:db8::1",
            "method": "POST",
            "status": 201,
            "duration_ms": 1.5,
            "request_id": "request-1",
            "session": "session",
        },
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    });
    assert_eq!((Value::Object(members), key), (expected, None));
}

#[tokio::test]
async fn what_is_not_known_is_left_out() {
    let topic = Topic::new(1, false);
    let log = log(&topic, None);
    log.record(&Report { session: None, status: None, request_id: None, ..report() });
    run(&log).await;
    let data = topic.events.lock().remove(0).members["data"].clone();
    for name in ["session", "status", "request_id"] {
        assert_eq!(data.get(name), None, "{name}");
    }
}

#[tokio::test]
async fn sessions_may_have_another_name() {
    let topic = Topic::new(1, false);
    let log = log(&topic, Some(Arc::new(|session| format!("hash of {session}"))));
    log.record(&report());
    run(&log).await;
    assert_eq!(topic.events.lock()[0].members["data"]["session"], "hash of session");
}

#[tokio::test]
async fn b32_what_is_too_much_is_dropped_and_counted() {
    let topic = Topic::new(QUEUE, false);
    let mut registry = metric::Registry::default();
    let log = log_with(&topic, None, Metrics::register(&mut registry));
    for _ in 0..QUEUE + 3 {
        log.record(&report());
    }
    assert_eq!(lost(&registry, "full"), 3);
    run(&log).await;
    assert_eq!(topic.events.lock().len(), QUEUE);
    assert_eq!(lost(&registry, "failed"), 0);
}

#[tokio::test]
async fn what_comes_after_the_end_is_counted_as_such() {
    let topic = Topic::new(1, false);
    let mut registry = metric::Registry::default();
    let log = log_with(&topic, None, Metrics::register(&mut registry));
    run(&log).await;
    log.record(&report());
    assert_eq!((lost(&registry, "full"), lost(&registry, "failed")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_holds_nothing_up() {
    let topic = Topic::new(0, false);
    let log = log(&topic, None);
    log.record(&report());
    drop(tokio::spawn(log.clone().run()));
    log.leave(Duration::from_secs(5)).await;
    assert_eq!(topic.events.lock().len(), 0);
}

#[tokio::test]
async fn a_schema_that_was_made_for_rig_is_enough() {
    let topic = Topic::new(3, true);
    let log = log(&topic, None);
    let running = tokio::spawn(log.clone().run());
    log.record(&report());
    let sent = async {
        while topic.events.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), sent).await.expect("the first is sent");
    assert_eq!(topic.attempts.load(Ordering::Relaxed), 2);
    log.record(&report());
    log.leave(Duration::from_secs(20)).await;
    running.now_or_never().expect("it has left").unwrap();
    assert_eq!(topic.attempts.load(Ordering::Relaxed), 3, "it is not tried each time");
    assert_eq!(topic.events.lock()[1].members["data"].as_object().unwrap().len(), 3);
}
