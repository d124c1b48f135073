//! Brokers that are away or refuse something, at librdkafka's own stand-in for a cluster.

use std::time::Duration;

use node::Source;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rig_broker::kafka::{KafkaAccess, KafkaConfig, Reset};
use rig_tests::eventually;

use super::world::{GROUP, Running, TOPIC, access, config, json};

type Cluster = MockCluster<'static, DefaultProducerContext>;

async fn start(cluster: &Cluster, reset: Reset) -> Running {
    // This stand-in waits for almost as long as a session lasts whenever somebody joins.
    let properties = [
        ("session.timeout.ms", "5000"),
        ("heartbeat.interval.ms", "200"),
        ("topic.metadata.refresh.interval.ms", "500"),
    ];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let brokers = vec![cluster.bootstrap_servers()];
    let access = KafkaAccess { brokers, properties, ..access(([127, 0, 0, 1], 1).into()) };
    Running::start(KafkaConfig { reset, ..config(access) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broker_that_does_not_answer_does_not_hide_where_the_partitions_of_others_begin() {
    let cluster = MockCluster::new(2).unwrap();
    cluster.create_topic(TOPIC, 3, 1).unwrap();
    for (partition, leader) in [(0, Some(1)), (1, None), (2, Some(2))] {
        cluster.partition_leader(TOPIC, partition, leader).unwrap();
    }
    cluster.coordinator(MockCoordinator::Group(GROUP.to_owned()), 2).unwrap();
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", GROUP);
    let producer: FutureProducer = client.create().unwrap();
    let value = json(0);
    let record = FutureRecord::<(), _>::to(TOPIC).payload(&value).partition(2);
    producer.send(record, Duration::from_secs(10)).await.unwrap();
    // It is there, but does not answer.
    cluster.broker_round_trip_time(1, Duration::from_secs(60)).unwrap();

    let running = start(&cluster, Reset::Latest).await;
    let consumer: BaseConsumer = client.create().unwrap();
    eventually("the end is committed", || {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(TOPIC, 2);
        let committed = consumer.committed_offsets(asked, Duration::from_secs(10)).unwrap();
        (committed.elements()[0].offset() == Offset::Offset(1)).then_some(())
    });
    running.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_is_not_up_while_its_topic_is_refused() {
    use RDKafkaRespErr::{RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED};
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    let running = start(&cluster, Reset::Earliest).await;
    eventually("it is up", || running.source.is_up().then_some(()));
    cluster.topic_error(TOPIC, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    eventually("it is not up", || (!running.source.is_up()).then_some(()));
    cluster.topic_error(TOPIC, RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    eventually("it is up again", || running.source.is_up().then_some(()));
    running.leave().await;
}
