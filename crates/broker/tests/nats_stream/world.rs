//! A real server, and a node whose way to the others can be blocked.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use connection::Hub;
use event::{Event, ExtensionNames};
use futures_util::future::{BoxFuture, pending};
use futures_util::{FutureExt, StreamExt};
use nats::{Credentials, NatsAccess};
use node::{Bus, Cluster, IdTaken, Lease, NoQuorum, Node, Offered, Reservation, Source, Spread};
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
pub(crate) struct Gate {
    /// The ids of the events that were offered.
    offered: Mutex<Vec<String>>,
    /// Whether it takes events.
    pub(crate) ready: watch::Sender<bool>,
    /// Whether what was offered leaves.
    pub(crate) flushes: watch::Sender<bool>,
}

impl Gate {
    pub(crate) fn ids(&self) -> Vec<String> {
        self.offered.lock().clone()
    }

    pub(crate) fn await_count(&self, count: usize) {
        eventually("events are offered", || (self.offered.lock().len() >= count).then_some(()));
    }
}

impl Bus for Gate {
    fn offer(&self, event: &Event) -> Offered {
        let json: Value = serde_json::from_slice(event.json()).unwrap();
        self.offered.lock().push(json["id"].as_str().unwrap().to_owned());
        Offered::Taken(None)
    }

    fn reserve<'b>(&'b self, event: &'b Event) -> BoxFuture<'b, Reservation> {
        async move {
            open(&self.ready).await;
            self.offer(event);
            Box::new(|| None) as Reservation
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
pub(crate) struct Gateway {
    pub(crate) gate: Arc<Gate>,
    pub(crate) source: Arc<NatsSource>,
    registry: metric::Registry,
    pub(crate) running: JoinHandle<()>,
}

impl Gateway {
    /// Starts it, and waits until it can be used.
    pub(crate) async fn start(server: &NatsServer, is_blocked: bool) -> Self {
        let gateway = Self::launch(server, is_blocked).await;
        eventually("it is bound", || gateway.source.is_up().then_some(()));
        gateway
    }

    pub(crate) async fn launch(server: &NatsServer, is_blocked: bool) -> Self {
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
    pub(crate) fn metric(&self, name_and_labels: &str) -> Option<f64> {
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
pub(crate) fn server(config: &str) -> NatsServer {
    let server = NatsServer::start(NatsOptions { config, ..NatsOptions::default() });
    create_stream(&server);
    server
}

pub(crate) fn create_stream(server: &NatsServer) {
    ask(server, "STREAM.CREATE.S", &json!({ "name": "S", "subjects": ["a.>"] }));
}

/// Creates the consumer as an operator would.
pub(crate) fn create_consumer(server: &NatsServer, more: Value) {
    let mut config = json!({ "durable_name": "C", "ack_policy": "explicit", "ack_wait": 1_000_000_000 });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ask(server, "CONSUMER.CREATE.S.C", &json!({ "stream_name": "S", "config": config }));
}

/// Asks JetStream, as a client that is not the gateway's library.
///
/// # Panics
/// Panics if it refuses.
pub(crate) fn ask(server: &NatsServer, subject: &str, request: &Value) -> Value {
    let answer = try_ask(server, subject, request);
    assert!(answer.get("error").is_none(), "{subject}: {answer}");
    answer
}

pub(crate) fn try_ask(server: &NatsServer, subject: &str, request: &Value) -> Value {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let payload = if request.is_null() { String::new() } else { request.to_string() };
    let length = payload.len();
    write!(stream, "CONNECT {{}}\r\nSUB a 1\r\nPUB $JS.API.{subject} a {length}\r\n{payload}\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let answer = lines.find(|line| line.starts_with('{'));
    serde_json::from_str(&answer.unwrap()).unwrap()
}

pub(crate) fn consumer(server: &NatsServer) -> Value {
    ask(server, "CONSUMER.INFO.S.C", &Value::Null)
}

pub(crate) fn await_consumer(server: &NatsServer, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || Some(consumer(server)).filter(&is_so))
}

pub(crate) fn await_event(gateway: &Gateway, id: usize) {
    let id = id.to_string();
    eventually("an event", || gateway.gate.ids().contains(&id).then_some(()));
}

pub(crate) fn event(id: impl ToString) -> String {
    json!({ "specversion": "0.2", "type": "t", "source": "/s", "id": id.to_string() }).to_string()
}

pub(crate) fn publish(server: &NatsServer, ids: impl IntoIterator<Item = usize>) {
    let events: Vec<_> = ids.into_iter().map(event).collect();
    server.publish("a.b", &[], &events.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Publishes a message whose subject and headers need not be text.
pub(crate) fn publish_raw(server: &NatsServer, subject: &[u8], headers: &[u8]) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let size = headers.len();
    let size = format!(" {size} {size}\r\n");
    let parts = [b"CONNECT {\"headers\":true}\r\nHPUB ", subject, size.as_bytes(), headers, b"\r\nPING\r\n"];
    stream.write_all(&parts.concat()).unwrap();
    assert!(BufReader::new(stream).lines().any(|line| line.unwrap() == "PONG"));
}

pub(crate) fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|id| id.to_string()).collect()
}

/// Receives the receipts that the gateway sends.
pub(crate) async fn receipts(server: &NatsServer) -> Subscriber {
    requests(server, "$JS.ACK.>").await
}

/// Receives what is sent to a subject.
pub(crate) async fn requests(server: &NatsServer, subject: &'static str) -> Subscriber {
    let client = Box::pin(async_nats::connect(server.url())).await.unwrap();
    let requests = client.subscribe(subject).await.unwrap();
    // The server has processed what came before on the same connection.
    client.request("nobody.listens", "".into()).await.unwrap_err();
    requests
}

pub(crate) async fn next(requests: &mut Subscriber) -> Message {
    timeout(DEADLINE, requests.next()).await.unwrap().unwrap()
}

pub(crate) async fn next_receipt(receipts: &mut Subscriber) -> String {
    let message = next(receipts).await;
    std::str::from_utf8(&message.payload).unwrap().to_owned()
}
