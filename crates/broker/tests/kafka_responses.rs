//! Answers that come by Kafka: librdkafka's own stand-in for a cluster carries them.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use proxy::{AsyncAnswer, Expected, Waiting, WaitingConfig};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rig_broker::kafka::{KafkaAccess, KafkaResponses, KafkaResponsesConfig};
use rig_broker::{CORRELATION, Metrics, RESPONSE_CODE};
use seal::{Incarnation, Purpose, Seal};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// No wait in a test is longer.
const LIMIT: Duration = Duration::from_secs(30);

const ALL_BROKERS: i32 = -1;

/// A cluster, and a service that writes answers to it.
struct World {
    cluster: MockCluster<'static, DefaultProducerContext>,
    service: FutureProducer,
}

/// A node that reads answers until it is dropped.
struct Reading {
    waiting: Arc<Waiting>,
    responses: Arc<KafkaResponses>,
    _running: JoinSet<()>,
}

impl World {
    fn new(topics: &[&str]) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        for topic in topics {
            cluster.create_topic(topic, 3, 1).unwrap();
        }
        let servers = cluster.bootstrap_servers();
        let service = ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
        Self { cluster, service }
    }

    /// Starts a node. All nodes have one cookie.
    fn start(&self, topics: &[&str], source_topics: &[&str]) -> Reading {
        let seal = Seal::new(Some("cookie"), Purpose::Correlation, Incarnation::unnamed());
        let config = WaitingConfig { timeout: LIMIT, ..WaitingConfig::default() };
        let waiting = Arc::new(Waiting::new(config, seal));
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let access = KafkaAccess {
            brokers: vec![self.cluster.bootstrap_servers()],
            tls: None,
            sasl: None,
            restart_delay: Duration::from_millis(200),
            properties: Vec::new(),
        };
        let config =
            KafkaResponsesConfig { access, topics: names(topics), source_topics: names(source_topics) };
        let responses = KafkaResponses::new(config, waiting.clone(), Metrics::default()).unwrap();
        let responses = Arc::new(responses);
        let mut running = JoinSet::new();
        running.spawn(responses.clone().run());
        Reading { waiting, responses, _running: running }
    }

    async fn answer(&self, topic: &str, partition: i32, token: &str, code: &str, body: &str) {
        let headers = OwnedHeaders::new()
            .insert(Header { key: CORRELATION, value: Some(token) })
            .insert(Header { key: RESPONSE_CODE, value: Some(code) });
        let record = FutureRecord::<(), _>::to(topic).partition(partition).headers(headers).payload(body);
        self.service.send(record, LIMIT).await.unwrap();
    }
}

impl Reading {
    async fn is_ready(&self) {
        until("ready", || self.responses.is_ready()).await;
    }

    fn expect(&self) -> Expected {
        self.waiting.expect().unwrap()
    }
}

async fn got(request: Expected) -> (StatusCode, String) {
    let AsyncAnswer { status, body, .. } = request.answer(LIMIT).await.expect("an answer");
    (status, String::from_utf8(body.into()).unwrap())
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = timeout(LIMIT, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not {what}"));
}

#[tokio::test]
async fn each_node_gets_the_answers_to_its_requests() {
    let world = World::new(&["answers", "more"]);
    let nodes = [(); 2].map(|()| world.start(&["answers", "more"], &[]));
    for node in &nodes {
        node.is_ready().await;
    }
    let mut requests = Vec::new();
    for (partition, topic) in [(0, "answers"), (1, "answers"), (2, "answers"), (1, "more")] {
        for node in &nodes {
            let request = node.expect();
            let body = format!("{topic} {partition}");
            world.answer(topic, partition, request.token(), "201", &body).await;
            requests.push((request, body));
        }
    }
    for (request, body) in requests {
        assert_eq!(got(request).await, (StatusCode::CREATED, body));
    }
    assert!(nodes.iter().all(|node| node.waiting.is_empty()));
}

#[tokio::test]
async fn answers_of_the_time_before_are_not_read() {
    let world = World::new(&["answers"]);
    let stopped = world.start(&["answers"], &[]);
    let request = stopped.expect();
    let token = request.token().to_owned();
    drop(stopped.responses);
    world.answer("answers", 0, "of an earlier life", "200", "old").await;
    let node = world.start(&["answers"], &[]);
    node.is_ready().await;
    let waits = node.expect();
    // The partition is read in order: what comes first would be seen first.
    world.answer("answers", 0, &token, "200", "of the other").await;
    world.answer("answers", 0, waits.token(), "200", "new").await;
    assert_eq!(got(waits).await, (StatusCode::OK, "new".to_owned()));
}

#[tokio::test]
async fn an_outage_loses_no_answer_that_is_written_after_it() {
    let world = World::new(&["answers"]);
    let node = world.start(&["answers"], &[]);
    node.is_ready().await;
    world.cluster.broker_down(ALL_BROKERS).unwrap();
    until("away", || !node.responses.is_ready()).await;
    world.cluster.broker_up(ALL_BROKERS).unwrap();
    node.is_ready().await;
    let request = node.expect();
    world.answer("answers", 2, request.token(), "200", "after").await;
    assert_eq!(got(request).await, (StatusCode::OK, "after".to_owned()));
}

#[tokio::test]
async fn nobody_is_promised_an_answer_before_the_topics_are_read() {
    let world = World::new(&["answers"]);
    world.cluster.broker_down(ALL_BROKERS).unwrap();
    let node = world.start(&["answers"], &[]);
    assert!(!node.responses.is_ready());
    world.cluster.broker_up(ALL_BROKERS).unwrap();
    node.is_ready().await;
    // At once: it is ready from the first message on.
    let request = node.expect();
    world.answer("answers", 1, request.token(), "200", "first").await;
    assert_eq!(got(request).await, (StatusCode::OK, "first".to_owned()));
}

#[tokio::test]
async fn b14_a_wrong_answer_is_a_502_at_once() {
    let world = World::new(&["answers"]);
    let node = world.start(&["answers"], &[]);
    node.is_ready().await;
    let request = node.expect();
    world.answer("answers", 0, request.token(), "abc", "text").await;
    assert_eq!(got(request).await, (StatusCode::BAD_GATEWAY, String::new()));
}
