//! A gateway's source of events, its node, and a bus that keeps what is published.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connection::Hub;
use event::{Event, ExtensionNames};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use metric::Registry;
use node::in_memory::Network;
use node::{Bus, IdTaken, NoQuorum, Node, Offered, Reservation, Source, Spread};
use parking_lot::Mutex;
use rig_broker::kafka::{KafkaAccess, KafkaConfig, KafkaSource, Reach, Reset};
use rig_broker::{Intake, Metrics};
use rig_tests::{KafkaMessage, eventually};
use seal::{Incarnation, Purpose, Seal};
use session::{Config, NodeName, Revocation, RevocationId, Sessions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The topic of most tests.
pub(crate) const TOPIC: &str = "rig";

/// The group of most tests.
pub(crate) const GROUP: &str = "group";

/// A source that runs.
pub(crate) struct Running {
    pub(crate) source: Arc<KafkaSource>,
    pub(crate) bus: Arc<Recorder>,
    registry: Registry,
    task: JoinHandle<()>,
}

/// Keeps what is offered to the other nodes: what the source has published.
pub(crate) struct Recorder {
    inner: Arc<dyn Bus>,
    ids: Mutex<Vec<String>>,
    /// Whether the queue to the other nodes has room.
    pub(crate) is_ready: watch::Sender<bool>,
    /// Whether what was offered leaves this node.
    pub(crate) is_flushing: watch::Sender<bool>,
    /// How often somebody has waited for that.
    pub(crate) flushes: AtomicUsize,
}

pub(crate) fn access(address: SocketAddr) -> KafkaAccess {
    KafkaAccess {
        brokers: vec![address.to_string()],
        tls: None,
        sasl: None,
        restart_delay: Duration::from_millis(500),
        properties: Vec::new(),
    }
}

pub(crate) fn config(access: KafkaAccess) -> KafkaConfig {
    KafkaConfig {
        access,
        topics: vec![TOPIC.to_owned()],
        reach: Reach::Group { id: GROUP.to_owned(), instance: None },
        reset: Reset::Earliest,
        dead_letters: None,
        registry: None,
    }
}

/// Returns a message with an event of this id.
pub(crate) fn event(id: impl std::fmt::Display) -> KafkaMessage {
    KafkaMessage::of(json(id)).header("content-type", "application/cloudevents+json")
}

pub(crate) fn json(id: impl std::fmt::Display) -> String {
    format!(r#"{{"specversion":"1.0","type":"t","source":"/s","id":"{id}"}}"#)
}

impl Running {
    /// Starts a source.
    pub(crate) async fn start(config: KafkaConfig) -> Self {
        let mut registry = Registry::default();
        let intake = Intake::new(Metrics::register(&mut registry), ExtensionNames::default(), None);
        let source = Arc::new(KafkaSource::new(config, intake).await.expect("the configuration is right"));
        let (node, bus) = node();
        let task = tokio::spawn(source.clone().run(node));
        Self { source, bus, registry, task }
    }

    /// Lets the source leave, and stops it.
    pub(crate) async fn leave(self) {
        self.source.leave(Duration::from_secs(10)).await;
        self.task.abort();
    }

    /// Stops it at once, which commits nothing that is not stored.
    pub(crate) fn end(self) {
        self.task.abort();
    }

    /// Waits until this number of events is published, and returns their ids in order.
    pub(crate) fn await_events(&self, count: usize) -> Vec<String> {
        eventually(&format!("{count} events"), || {
            let ids = self.bus.ids();
            (ids.len() >= count).then_some(ids)
        })
    }

    /// Returns a sample of the metrics: what follows its name and labels.
    pub(crate) fn sample(&self, series: &str) -> Option<String> {
        let mut text = String::new();
        metric::prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("metrics are text");
        let found = text.lines().find_map(|line| line.strip_prefix(series));
        found.map(|value| value.trim().to_owned())
    }

    /// Returns the number of partitions of the topic whose lag is shown.
    pub(crate) fn shown(&self) -> usize {
        let series = |partition: &i32| format!(r#"rig_consumer_lag{{topic="rig",partition="{partition}"}}"#);
        (0..4).filter(|partition| self.sample(&series(partition)).is_some()).count()
    }

    /// Waits until a sample has this value.
    pub(crate) fn await_sample(&self, series: &str, value: &str) {
        eventually(&format!("{series} is {value}"), || {
            (self.sample(series).as_deref() == Some(value)).then_some(())
        });
    }
}

impl Recorder {
    pub(crate) fn ids(&self) -> Vec<String> {
        self.ids.lock().clone()
    }
}

fn node() -> (Node, Arc<Recorder>) {
    let (name, life) = (NodeName::from("a"), Incarnation::of("a"));
    let mut cluster = Network::default().join(&name, Duration::from_secs(15));
    let (is_ready, is_flushing) = (watch::Sender::new(true), watch::Sender::new(true));
    let bus = Arc::new(Recorder {
        inner: cluster.bus,
        ids: Mutex::default(),
        is_ready,
        is_flushing,
        flushes: AtomicUsize::default(),
    });
    cluster.bus = bus.clone();
    let sessions = Sessions::in_memory(Config::default().with_node(name));
    let seal = Seal::new(Some("test-cookie"), Purpose::Connection, life);
    let config = connection::Config::default();
    let hub = Hub::new(config, sessions.clone(), Arc::default(), seal, Arc::default(), Arc::default());
    (Node::new(sessions, hub, Some(cluster)), bus)
}

async fn becomes_true(is: &watch::Sender<bool>) {
    let _ = is.subscribe().wait_for(|is| *is).await;
}

impl Bus for Recorder {
    fn offer(&self, event: &Event) -> Offered {
        self.ids.lock().push(event.id().to_owned());
        Offered::Taken(None)
    }

    fn reserve<'b>(&'b self, event: &'b Event) -> BoxFuture<'b, Reservation> {
        async move {
            becomes_true(&self.is_ready).await;
            self.offer(event);
            Box::new(|| None) as Reservation
        }
        .boxed()
    }

    fn flushed(&self) -> BoxFuture<'_, ()> {
        async {
            self.flushes.fetch_add(1, Ordering::Relaxed);
            becomes_true(&self.is_flushing).await;
        }
        .boxed()
    }

    fn want<'b>(&'b self, types: Vec<&'b str>) -> BoxFuture<'b, ()> {
        self.inner.want(types)
    }

    fn max_event(&self) -> usize {
        self.inner.max_event()
    }

    fn announce(&self, revocation: Revocation) -> BoxFuture<'static, Result<Spread, IdTaken>> {
        self.inner.announce(revocation)
    }

    fn spread(&self, id: &RevocationId) -> Option<Spread> {
        self.inner.spread(id)
    }

    fn lift(
        &self,
        id: RevocationId,
        by: Option<String>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Option<Spread>, NoQuorum>> {
        self.inner.lift(id, by, within)
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        self.inner.leave()
    }

    fn run(self: Arc<Self>, node: Node) -> BoxFuture<'static, ()> {
        self.inner.clone().run(node)
    }
}
