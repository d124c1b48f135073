//! A topic for dead letters that does not want them, at librdkafka's own stand-in for a cluster.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::time::Duration;

use node::Source;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use rig_broker::kafka::{KafkaAccess, KafkaConfig};
use rig_tests::eventually;

use super::ids;
use super::world::{self, Running, TOPIC, access, config};

const DEAD: &str = "dead";
const BURIED: &str = r#"rig_dead_letters_total{source="kafka",topic="rig"}"#;

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// Returns a cluster with some values in the topic, the last of which is an event.
async fn cluster(poison: &[&str]) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    for topic in [TOPIC, DEAD] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    let servers = cluster.bootstrap_servers();
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
    let event = world::json(0);
    for value in poison.iter().copied().chain([&*event]) {
        let headers = OwnedHeaders::new().insert(Header { key: "h", value: Some("v") });
        let record = FutureRecord::<(), _>::to(TOPIC).payload(value).headers(headers);
        producer.send(record, Duration::from_secs(10)).await.unwrap();
    }
    cluster
}

async fn start(cluster: &Cluster) -> Running {
    // This stand-in waits for almost as long as a session lasts whenever somebody joins.
    let quick = [("session.timeout.ms", "5000"), ("heartbeat.interval.ms", "200")];
    let properties = quick.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let brokers = vec![cluster.bootstrap_servers()];
    let access = KafkaAccess { brokers, properties, ..access(([127, 0, 0, 1], 1).into()) };
    Running::start(KafkaConfig { dead_letters: Some(DEAD.to_owned()), ..config(access) }).await
}

/// Returns the keys and the values of the dead letters.
fn read(cluster: &Cluster, count: usize) -> Vec<(String, String)> {
    let servers = cluster.bootstrap_servers();
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", servers).set("group.id", "unused").create().unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(DEAD, 0, Offset::Beginning).unwrap();
    consumer.assign(&from).unwrap();
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.expect("it is there").to_vec()).unwrap();
    let mut all = Vec::new();
    eventually("all dead letters", || {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message.unwrap();
            all.push((text(message.key()), text(message.payload())));
        }
        (all.len() == count).then(|| all.clone())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_against_the_rules_of_the_topic_is_written_in_another_form() {
    use RDKafkaRespErr::{RD_KAFKA_RESP_ERR_INVALID_RECORD, RD_KAFKA_RESP_ERR_NO_ERROR};
    let cluster = cluster(&["{one", "{two"]).await;
    let (refused, taken) = (RD_KAFKA_RESP_ERR_INVALID_RECORD, RD_KAFKA_RESP_ERR_NO_ERROR);
    cluster.request_errors(RDKafkaApiKey::Produce, &[refused, taken, refused, refused, taken]);
    let running = start(&cluster).await;
    assert_eq!(running.await_events(1), ids(0..1));
    let expected = [("rig/0/0", "{one"), ("rig/0/1", "")];
    assert_eq!(read(&cluster, 2), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_is_not_up_while_a_dead_letter_is_refused() {
    use RDKafkaRespErr::{RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED};
    let cluster = cluster(&["{one"]).await;
    cluster.topic_error(DEAD, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    let running = start(&cluster).await;
    eventually("it is up", || running.source.is_up().then_some(()));
    eventually("it is not up", || (!running.source.is_up()).then_some(()));
    assert_eq!(running.bus.ids(), [""; 0]);
    cluster.topic_error(DEAD, RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    assert_eq!(running.await_events(1), ids(0..1));
    eventually("it is up again", || running.source.is_up().then_some(()));
    running.await_sample(BURIED, "1");
    running.leave().await;
}
