//! Events to Kafka: librdkafka's own stand-in for a cluster answers, with faults on demand.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod avro;
mod faults;
mod partitions;

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rig_broker::kafka::{KafkaAccess, KafkaProducer, KafkaProducerConfig, Partitioner};
use rig_broker::{Destination, ProduceError, Produced, Producer};
use serde_json::json;
use tokio::time::timeout;

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// No wait in a test is longer.
const LIMIT: Duration = Duration::from_secs(30);

/// The deadline of events, unless a test is about it.
const DEADLINE: Duration = Duration::from_secs(10);

const ALL_BROKERS: i32 = -1;

/// A message as it is in a topic.
#[derive(Debug, PartialEq, Eq)]
struct Got {
    partition: i32,
    key: Option<String>,
    headers: Vec<(String, String)>,
    value: String,
}

fn cluster(topic: &str, partitions: i32) -> Cluster {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic(topic, partitions, 3).unwrap();
    cluster
}

fn access(brokers: String) -> KafkaAccess {
    KafkaAccess {
        brokers: brokers.split(',').map(str::to_owned).collect(),
        tls: None,
        sasl: None,
        restart_delay: Duration::from_millis(200),
        properties: Vec::new(),
    }
}

fn config(cluster: &Cluster, deadline: Duration) -> KafkaProducerConfig {
    let access = access(cluster.bootstrap_servers());
    KafkaProducerConfig { access, registry: None, partitioner: Partitioner::default(), deadline }
}

fn producer(cluster: &Cluster, deadline: Duration) -> KafkaProducer {
    KafkaProducer::new(config(cluster, deadline)).unwrap()
}

fn to(topic: &str) -> Destination {
    Destination { topic: topic.into(), schema: None }
}

fn event(id: &str) -> Produced {
    let members = json!({"specversion": "0.2", "type": "com.example", "source": "/test", "id": id});
    Produced { members: members.as_object().unwrap().clone(), key: None }
}

fn with_key(id: &str, key: &str) -> Produced {
    Produced { key: Some(key.to_owned()), ..event(id) }
}

/// Reads this number of messages from the beginning of a topic.
fn read(cluster: &Cluster, topic: &str, partitions: i32, count: usize) -> Vec<Got> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "unused")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions {
        all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    let until = std::time::Instant::now() + LIMIT;
    let mut got = Vec::new();
    while got.len() < count {
        assert!(std::time::Instant::now() < until, "{} of {count} messages: {got:?}", got.len());
        let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
        got.push(seen(&message.unwrap()));
    }
    got
}

fn seen(message: &impl Message) -> Got {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Got {
        partition: message.partition(),
        key: message.key().map(text),
        headers: headers.map(|header| (header.key.to_owned(), text(header.value.unwrap()))).collect(),
        value: text(message.payload().unwrap()),
    }
}

fn id(got: &Got) -> String {
    let value: serde_json::Value = serde_json::from_str(&got.value).unwrap();
    value["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn b33_an_event_is_structured_and_says_so() {
    let cluster = cluster("events", 1);
    let producer = producer(&cluster, DEADLINE);
    producer.produce(&to("events"), with_key("1", "key"), DEADLINE).await.unwrap();
    let expected = Got {
        partition: 0,
        key: Some("key".to_owned()),
        headers: vec![("content-type".to_owned(), "application/cloudevents+json; charset=UTF-8".to_owned())],
        value: r#"{"id":"1","source":"/test","specversion":"0.2","type":"com.example"}"#.to_owned(),
    };
    assert_eq!(read(&cluster, "events", 1, 1), [expected]);
    until("connected", || producer.is_up()).await;
}

#[tokio::test]
async fn b08_an_event_is_sent_again_until_it_is_acknowledged() {
    use RDKafkaRespErr::{RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT};
    let cluster = cluster("events", 1);
    let faults = [RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT];
    cluster.request_errors(RDKafkaApiKey::Produce, &faults);
    producer(&cluster, DEADLINE).produce(&to("events"), event("1"), DEADLINE).await.unwrap();
    assert_eq!(read(&cluster, "events", 1, 1).iter().map(id).collect::<Vec<_>>(), ["1"]);
}

#[tokio::test]
async fn b08_an_event_without_an_acknowledgement_is_not_written() {
    let cluster = cluster("events", 1);
    let producer = producer(&cluster, DEADLINE);
    producer.produce(&to("events"), event("1"), DEADLINE).await.unwrap();
    cluster.broker_round_trip_time(ALL_BROKERS, LIMIT).unwrap();
    let failure = producer.produce(&to("events"), event("2"), Duration::from_millis(500)).await;
    assert!(matches!(failure, Err(ProduceError::TimedOut(_))), "{failure:?}");
}

#[tokio::test]
async fn an_event_whose_request_has_ended_is_still_sent() {
    let cluster = cluster("events", 1);
    let producer = producer(&cluster, DEADLINE);
    cluster.broker_round_trip_time(ALL_BROKERS, Duration::from_millis(500)).unwrap();
    let destination = to("events");
    let mut sent = Box::pin(producer.produce(&destination, event("1"), DEADLINE));
    assert!(timeout(Duration::ZERO, &mut sent).await.is_err());
    drop(sent);
    assert_eq!(read(&cluster, "events", 1, 1).iter().map(id).collect::<Vec<_>>(), ["1"]);
}

#[tokio::test]
async fn events_follow_the_leader_of_their_partition() {
    let cluster = cluster("events", 1);
    let producer = producer(&cluster, DEADLINE);
    for leader in [1, 2, 3] {
        cluster.partition_leader("events", 0, Some(leader)).unwrap();
        producer.produce(&to("events"), event(&leader.to_string()), DEADLINE).await.unwrap();
    }
    let ids: Vec<_> = read(&cluster, "events", 1, 3).iter().map(id).collect();
    assert_eq!(ids, ["1", "2", "3"]);
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = timeout(LIMIT, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not {what}"));
}
