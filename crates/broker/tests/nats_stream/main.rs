//! Events from a stream of JetStream: a real server, and a node whose way to the others can be
//! blocked.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use connection::Hub;
use event::{Event, ExtensionNames};
use futures_util::future::{BoxFuture, pending};
use futures_util::{FutureExt, StreamExt};
use nats::{Credentials, NatsAccess};
use node::{Bus, Cluster, IdTaken, Lease, NoQuorum, Node, Offered, Source, Spread};
use parking_lot::Mutex;
use rig_broker::nats::{NatsConfig, NatsSource, Reach, StreamConfig};
use rig_broker::{Intake, Metrics};
use rig_tests::{DEADLINE, NatsOptions, NatsServer, eventually};
use seal::{Incarnation, Purpose, Seal};
use serde_json::{Value, json};
use session::{Config, Fence, Revocation, RevocationId, Sessions};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The way to the other nodes, of which there are none.
struct Gate {
    /// The ids of the events that were offered.
    offered: Mutex<Vec<String>>,
    /// Whether it takes events.
    ready: watch::Sender<bool>,
    /// Whether what was offered leaves.
    flushes: watch::Sender<bool>,
}

impl Gate {
    fn ids(&self) -> Vec<String> {
        self.offered.lock().clone()
    }

    fn await_count(&self, count: usize) {
        eventually("events are offered", || (self.offered.lock().len() >= count).then_some(()));
    }
}

impl Bus for Gate {
    fn offer(&self, event: &Event) -> Offered {
        let json: Value = serde_json::from_slice(event.json()).unwrap();
        self.offered.lock().push(json["id"].as_str().unwrap().to_owned());
        Offered::Taken
    }

    fn queue<'b>(&'b self, event: &'b Event) -> BoxFuture<'b, ()> {
        async move {
            open(&self.ready).await;
            self.offer(event);
        }
        .boxed()
    }

    fn flushed(&self) -> BoxFuture<'_, ()> {
        open(&self.flushes).boxed()
    }

    fn want<'b>(&'b self, _: Vec<&'b str>) -> BoxFuture<'b, ()> {
        async {}.boxed()
    }

    fn max_event(&self) -> usize {
        usize::MAX
    }

    fn announce(&self, _: Revocation) -> BoxFuture<'static, Result<Spread, IdTaken>> {
        pending().boxed()
    }

    fn spread(&self, _: &RevocationId) -> Option<Spread> {
        None
    }

    fn lift(
        &self,
        _: RevocationId,
        _: Option<String>,
        _: Duration,
    ) -> BoxFuture<'static, Result<Option<Spread>, NoQuorum>> {
        pending().boxed()
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn run(self: Arc<Self>, _: Node) -> BoxFuture<'static, ()> {
        pending().boxed()
    }
}

async fn open(gate: &watch::Sender<bool>) {
    let _ = gate.subscribe().wait_for(|is_open| *is_open).await;
}

struct Always;

impl Lease for Always {
    fn fence(&self) -> Fence {
        Fence::default()
    }

    fn run(self: Arc<Self>) -> BoxFuture<'static, ()> {
        pending().boxed()
    }
}

/// A node that takes the events of the consumer `C` of the stream `S`.
struct Gateway {
    gate: Arc<Gate>,
    source: Arc<NatsSource>,
    registry: metric::Registry,
    running: JoinHandle<()>,
}

impl Gateway {
    /// Starts it, and waits until it can be used.
    async fn start(server: &NatsServer, is_blocked: bool) -> Self {
        let gateway = Self::launch(server, is_blocked).await;
        eventually("it is bound", || gateway.source.is_up().then_some(()));
        gateway
    }

    async fn launch(server: &NatsServer, is_blocked: bool) -> Self {
        let access = NatsAccess {
            servers: vec![server.url()],
            credentials: Credentials::None,
            ca: None,
            certificate: None,
            insecure: false,
        };
        let stream = StreamConfig { stream: "S".to_owned(), consumer: "C".to_owned(), max_deliver: None };
        let config = NatsConfig {
            access,
            subjects: vec!["a.>".to_owned()],
            reach: Reach::Group("unused".to_owned()),
            stream: Some(stream),
            reply_timeout: Duration::from_secs(1),
        };
        let mut registry = metric::Registry::default();
        let intake = Intake::new(Metrics::register(&mut registry), ExtensionNames::default(), None);
        let source = Arc::new(NatsSource::new(config, intake).await.unwrap());
        let gate = Arc::new(Gate {
            offered: Mutex::default(),
            ready: watch::Sender::new(true),
            flushes: watch::Sender::new(!is_blocked),
        });
        let sessions = Sessions::in_memory(Config::default());
        let seal = Seal::new(Some("test-cookie"), Purpose::Connection, Incarnation::unnamed());
        let config = connection::Config::default();
        let hub = Hub::new(config, sessions.clone(), Arc::default(), seal, Arc::default(), Arc::default());
        let cluster = Cluster { bus: gate.clone(), lease: Arc::new(Always), peers: None };
        let node = Node::new(sessions, hub, Some(cluster));
        let running = tokio::spawn(source.clone().run(node));
        Self { gate, source, registry, running }
    }

    /// Returns the value of a metric, by its name and labels.
    fn metric(&self, name_and_labels: &str) -> Option<f64> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name_and_labels)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// A server with the stream `S` of the subjects `a.>`.
fn server(config: &str) -> NatsServer {
    let server = NatsServer::start(NatsOptions { config, ..NatsOptions::default() });
    create_stream(&server);
    server
}

fn create_stream(server: &NatsServer) {
    ask(server, "STREAM.CREATE.S", &json!({ "name": "S", "subjects": ["a.>"] }));
}

/// Creates the consumer as an operator would.
fn create_consumer(server: &NatsServer, more: Value) {
    let mut config = json!({ "durable_name": "C", "ack_policy": "explicit", "ack_wait": 1_000_000_000 });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ask(server, "CONSUMER.CREATE.S.C", &json!({ "stream_name": "S", "config": config }));
}

/// Asks JetStream, as a client that is not the gateway's library.
///
/// # Panics
/// Panics if it refuses.
fn ask(server: &NatsServer, subject: &str, request: &Value) -> Value {
    let answer = try_ask(server, subject, request);
    assert!(answer.get("error").is_none(), "{subject}: {answer}");
    answer
}

fn try_ask(server: &NatsServer, subject: &str, request: &Value) -> Value {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let payload = if request.is_null() { String::new() } else { request.to_string() };
    let length = payload.len();
    write!(stream, "CONNECT {{}}\r\nSUB a 1\r\nPUB $JS.API.{subject} a {length}\r\n{payload}\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let answer = lines.find(|line| line.starts_with('{'));
    serde_json::from_str(&answer.unwrap()).unwrap()
}

fn consumer(server: &NatsServer) -> Value {
    ask(server, "CONSUMER.INFO.S.C", &Value::Null)
}

fn await_consumer(server: &NatsServer, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || Some(consumer(server)).filter(&is_so))
}

fn await_event(gateway: &Gateway, id: usize) {
    let id = id.to_string();
    eventually("an event", || gateway.gate.ids().contains(&id).then_some(()));
}

fn event(id: impl ToString) -> String {
    json!({ "specversion": "0.2", "type": "t", "source": "/s", "id": id.to_string() }).to_string()
}

fn publish(server: &NatsServer, ids: impl IntoIterator<Item = usize>) {
    let events: Vec<_> = ids.into_iter().map(event).collect();
    server.publish("a.b", &[], &events.iter().map(String::as_str).collect::<Vec<_>>());
}

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|id| id.to_string()).collect()
}

/// Receives the receipts that the gateway sends.
async fn receipts(server: &NatsServer) -> Subscriber {
    let client = Box::pin(async_nats::connect(server.url())).await.unwrap();
    let receipts = client.subscribe("$JS.ACK.>").await.unwrap();
    // The server has processed what came before on the same connection.
    client.request("nobody.listens", "".into()).await.unwrap_err();
    receipts
}

async fn next_receipt(receipts: &mut Subscriber) -> String {
    let message = timeout(DEADLINE, receipts.next()).await.unwrap().unwrap();
    std::str::from_utf8(&message.payload).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_stream_keep_their_order_and_are_acknowledged_once_they_have_left() {
    let server = server("");
    publish(&server, [10_000]);
    let gateway = Gateway::start(&server, true).await;
    let config = &consumer(&server)["config"];
    for (name, value) in [
        ("durable_name", json!("C")),
        ("filter_subject", json!("a.>")),
        ("deliver_policy", json!("new")),
        ("ack_policy", json!("explicit")),
        ("ack_wait", json!(30_000_000_000_u64)),
        ("max_ack_pending", json!(1000)),
        ("max_deliver", json!(-1)),
    ] {
        assert_eq!(config[name], value, "{name}");
    }
    let mut receipts = receipts(&server).await;
    publish(&server, 0..600);
    gateway.gate.await_count(1);
    for _ in 0..20 {
        let info = consumer(&server);
        let pending = info["num_ack_pending"].as_u64().unwrap();
        assert!((1..=256).contains(&pending), "one batch: {pending}");
        assert_eq!(info["ack_floor"]["stream_seq"], 1);
    }
    assert!(receipts.next().now_or_never().is_none(), "nothing has left yet");
    gateway.gate.flushes.send_replace(true);
    await_consumer(&server, "all are acknowledged", |info| {
        info["num_ack_pending"] == 0 && info["ack_floor"]["stream_seq"] == 601
    });
    assert_eq!(gateway.gate.ids(), ids(0..600));
    assert_eq!(next_receipt(&mut receipts).await, "+ACK");
    let consumed = r#"rig_consumed_events_total{source="nats",topic="S"}"#;
    assert_eq!(gateway.metric(consumed), Some(600.0));
    eventually("nothing is left", || {
        (gateway.metric(r#"rig_consumer_lag{topic="S",partition="0"}"#) == Some(0.0)).then_some(())
    });
}

/// The server does not deliver again what the gateway cannot publish yet.
#[tokio::test(flavor = "multi_thread")]
async fn an_existing_consumer_is_used_as_it_is_and_back_pressure_is_no_loss() {
    let server = server("");
    publish(&server, 0..30);
    let limits = json!({ "max_batch": 10, "max_expires": 2_000_000_000, "ack_wait": 3_000_000_000_u64 });
    create_consumer(&server, limits);
    let before = consumer(&server)["config"].clone();
    let mut receipts = receipts(&server).await;
    let gateway = Gateway::start(&server, true).await;
    gateway.gate.await_count(10);
    // Three times half of the time after which it delivers again.
    for _ in 0..30 {
        assert_eq!(next_receipt(&mut receipts).await, "+WPI");
    }
    let info = consumer(&server);
    assert_eq!((&info["num_redelivered"], &info["num_ack_pending"]), (&json!(0), &json!(10)));
    gateway.gate.flushes.send_replace(true);
    await_consumer(&server, "all are acknowledged", |info| info["ack_floor"]["stream_seq"] == 30);
    assert_eq!(gateway.gate.ids(), ids(0..30), "each once, in order");
    assert_eq!(consumer(&server)["config"], before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_counted_and_not_delivered_again() {
    // Larger than a batch may be.
    let server = server("max_payload: 16MB");
    let gateway = Gateway::start(&server, false).await;
    let mut receipts = receipts(&server).await;
    let large = json!({ "specversion": "0.2", "type": "t", "id": "x", "data": "x".repeat(9 << 20) });
    for (payload, expected) in
        [(&*event(0), "+ACK"), ("no event", "+TERM"), (&*large.to_string(), "+TERM"), (&*event(1), "+ACK")]
    {
        server.publish("a.b", &[], &[payload]);
        assert_eq!(next_receipt(&mut receipts).await, expected);
    }
    let info = await_consumer(&server, "all are settled", |info| info["num_ack_pending"] == 0);
    assert_eq!(info["delivered"]["consumer_seq"], 4, "each is delivered once");
    assert_eq!(gateway.gate.ids(), ids(0..2));
    for reason in ["invalid", "too_large"] {
        let failed =
            format!("rig_consumed_events_failed_total{{source=\"nats\",topic=\"S\",reason=\"{reason}\"}}");
        assert_eq!(gateway.metric(&failed), Some(1.0), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_larger_than_the_consumer_delivers_at_once_comes_alone() {
    let server = server("");
    create_consumer(&server, json!({ "max_bytes": 1000 }));
    let gateway = Gateway::start(&server, false).await;
    let mut large: Value = serde_json::from_str(&event(1)).unwrap();
    large["data"] = "x".repeat(5000).into();
    server.publish("a.b", &[], &[&event(0), &large.to_string(), &event(2)]);
    (0..3).for_each(|id| await_event(&gateway, id));
    assert_eq!(gateway.gate.ids(), ids(0..3));
}

/// These are 20 batches, none of which waits until its request expires.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_delivers_little_ahead_is_not_slow() {
    let server = server("");
    create_consumer(&server, json!({ "max_ack_pending": 5 }));
    publish(&server, 0..100);
    let began = Instant::now();
    let gateway = Gateway::start(&server, false).await;
    await_consumer(&server, "all are acknowledged", |info| info["ack_floor"]["stream_seq"] == 100);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(gateway.gate.ids(), ids(0..100));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crashed_gateway_has_not_acknowledged_comes_to_the_next() {
    let server = server("");
    create_consumer(&server, json!({}));
    let crashed = Gateway::start(&server, true).await;
    publish(&server, 0..5);
    crashed.gate.await_count(5);
    drop(crashed);
    let next = Gateway::start(&server, false).await;
    next.gate.await_count(5);
    await_consumer(&server, "all are acknowledged", |info| info["ack_floor"]["stream_seq"] == 5);
    let mut got = next.gate.ids();
    got.sort();
    assert_eq!(got, ids(0..5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_between_delivery_and_acknowledgement_loses_nothing() {
    let mut server = server("");
    create_consumer(&server, json!({}));
    let gateway = Gateway::start(&server, true).await;
    publish(&server, 0..5);
    gateway.gate.await_count(5);
    server.kill();
    eventually("the connection is lost", || (!gateway.source.is_up()).then_some(()));
    gateway.gate.flushes.send_replace(true);
    server.restart();
    server.wait();
    publish(&server, 5..10);
    await_consumer(&server, "all are acknowledged", |info| info["ack_floor"]["stream_seq"] == 10);
    let mut got = gateway.gate.ids();
    got.sort();
    got.dedup();
    assert_eq!(got, ids(0..10), "some may come twice");
}

/// Whoever deletes the consumer or the stream does not make the gateway miss what is published
/// until they are there again.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_and_a_stream_that_are_deleted_cost_no_event() {
    let server = server("");
    let gateway = Gateway::start(&server, false).await;
    publish(&server, 0..3);
    gateway.gate.await_count(3);
    await_consumer(&server, "all are acknowledged", |info| info["ack_floor"]["stream_seq"] == 3);
    let created = consumer(&server)["created"].clone();
    // Held up by this event, the gateway does not notice what happens meanwhile.
    let hold = |id: usize| {
        gateway.gate.flushes.send_replace(false);
        publish(&server, [id]);
        await_event(&gateway, id);
    };
    hold(3);
    ask(&server, "CONSUMER.DELETE.S.C", &Value::Null);
    publish(&server, 4..6);
    gateway.gate.flushes.send_replace(true);
    (4..6).for_each(|id| await_event(&gateway, id));
    let other = await_consumer(&server, "it is there again", |info| info["num_ack_pending"] == 0);
    assert_ne!(other["created"], created, "it is another one");

    hold(6);
    ask(&server, "STREAM.DELETE.S", &Value::Null);
    create_stream(&server);
    publish(&server, 7..9);
    gateway.gate.flushes.send_replace(true);
    (7..9).for_each(|id| await_event(&gateway, id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_leaves_gives_back_what_it_has_not_begun_with() {
    let server = server("");
    create_consumer(&server, json!({}));
    let leaving = Gateway::start(&server, true).await;
    let mut receipts = receipts(&server).await;
    // While this event keeps the gateway from asking, the others become one batch.
    publish(&server, [0]);
    leaving.gate.await_count(1);
    publish(&server, 1..11);
    leaving.gate.ready.send_replace(false);
    leaving.gate.flushes.send_replace(true);
    while next_receipt(&mut receipts).await != "+ACK" {}
    // The next event cannot be published, and the others are behind it.
    assert_eq!(next_receipt(&mut receipts).await, "+WPI");
    let left = leaving.source.leave(DEADLINE);
    let opening = async { leaving.gate.ready.send_replace(true) };
    tokio::join!(left, opening);
    let mut counts = [0, 0];
    while counts[0] + counts[1] < 10 {
        match &*next_receipt(&mut receipts).await {
            "+ACK" => counts[0] += 1,
            "-NAK" => counts[1] += 1,
            _ => {}
        }
    }
    assert_eq!(1 + counts[0], leaving.gate.ids().len());
    assert!(counts[1] > 0, "{counts:?}");
    let staying = Gateway::start(&server, false).await;
    await_consumer(&server, "all are acknowledged", |info| info["ack_floor"]["stream_seq"] == 11);
    assert_eq!(leaving.gate.ids().len() + staying.gate.ids().len(), 11, "each once");
}

/// Gateways that share a consumer share its messages.
#[tokio::test(flavor = "multi_thread")]
async fn of_the_gateways_that_share_a_consumer_one_receives_an_event() {
    let server = server("");
    let gateways = [Gateway::start(&server, false).await, Gateway::start(&server, false).await];
    for id in 0..100 {
        publish(&server, [id]);
    }
    let count = || gateways.iter().map(|gateway| gateway.gate.ids().len()).sum::<usize>();
    eventually("all", || (count() == 100).then_some(()));
    await_consumer(&server, "all are acknowledged", |info| info["ack_floor"]["stream_seq"] == 100);
    assert_eq!(count(), 100);
    assert!(gateways.iter().all(|gateway| !gateway.gate.ids().is_empty()), "both take part");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_or_a_consumer_that_cannot_be_used_is_tried_again() {
    let server = NatsServer::start(NatsOptions::default());
    let gateway = Gateway::launch(&server, false).await;
    eventually("it is connected", || server.get("/connz").contains("rig broker").then_some(()));
    assert!(!gateway.source.is_up());
    create_stream(&server);
    eventually("it is bound", || gateway.source.is_up().then_some(()));
    ask(&server, "CONSUMER.DELETE.S.C", &Value::Null);
    eventually("it is there again", || {
        try_ask(&server, "CONSUMER.INFO.S.C", &Value::Null).get("error").is_none().then_some(())
    });
    drop(gateway);
    eventually("it is gone", || (!server.get("/connz").contains("rig broker")).then_some(()));
    ask(&server, "CONSUMER.DELETE.S.C", &Value::Null);
    create_consumer(&server, json!({ "ack_policy": "none" }));
    let gateway = Gateway::launch(&server, false).await;
    eventually("it is connected", || server.get("/connz").contains("rig broker").then_some(()));
    assert!(!gateway.source.is_up());
    ask(&server, "CONSUMER.DELETE.S.C", &Value::Null);
    eventually("it is bound", || gateway.source.is_up().then_some(()));
    publish(&server, [1]);
    await_event(&gateway, 1);
}
