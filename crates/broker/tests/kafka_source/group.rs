//! Several nodes in one group. Against the stand-in of librdkafka: the other one may forget a
//! member that waits for the end of a rebalance.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, TopicPartitionList};
use rig_broker::kafka::KafkaAccess;
use rig_tests::eventually;

use crate::ids;
use crate::world::{GROUP, Running, TOPIC, access, config, json};

const REBALANCES: &str = "rig_consumer_rebalances_total";

/// A topic with four partitions.
struct Topic {
    servers: String,
    producer: FutureProducer,
    _cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Topic {
    fn new() -> Self {
        let cluster = MockCluster::new(1).expect("the stand-in starts");
        cluster.create_topic(TOPIC, 4, 1).expect("the topic is new");
        let servers = cluster.bootstrap_servers();
        let producer = client(&servers).create().expect("the configuration is right");
        Self { servers, producer, _cluster: cluster }
    }

    /// Writes events, in turns to all partitions.
    async fn produce(&self, range: Range<usize>) {
        for id in range {
            let value = json(id);
            let partition = i32::try_from(id % 4).expect("less than four");
            let record = FutureRecord::<(), _>::to(TOPIC).payload(&value).partition(partition);
            self.producer.send(record, Duration::from_secs(10)).await.expect("it is written");
        }
    }

    /// Starts a node.
    async fn start(&self) -> Running {
        // This stand-in waits for almost as long as a session lasts whenever somebody joins.
        let quick = [("session.timeout.ms", "5000"), ("heartbeat.interval.ms", "200")];
        let properties = quick.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let brokers = vec![self.servers.clone()];
        let access = KafkaAccess { brokers, properties, ..access(([127, 0, 0, 1], 1).into()) };
        Running::start(config(access)).await
    }

    /// Returns the offsets that the group has committed.
    fn committed(&self) -> Vec<i64> {
        let consumer: BaseConsumer = client(&self.servers).create().expect("the configuration is right");
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(TOPIC, 0, 3);
        let committed = consumer.committed_offsets(partitions, Duration::from_secs(10));
        let committed = committed.expect("the stand-in answers");
        committed.elements().iter().filter_map(|element| element.offset().to_raw()).collect()
    }
}

fn client(servers: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", servers).set("group.id", GROUP);
    client
}

/// Returns what the two have published, in the order of the ids.
fn published(one: &Running, other: &Running, count: usize) -> Vec<String> {
    let mut all = eventually("all events", || {
        let all = [one.bus.ids(), other.bus.ids()].concat();
        (all.len() >= count).then_some(all)
    });
    all.sort_by_key(|id| id.parse::<usize>().expect("a number"));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_shares_the_partitions_and_each_event_comes_once() {
    let topic = Topic::new();
    let one = topic.start().await;
    topic.produce(0..40).await;
    one.await_events(40);
    // This stand-in may miss a member while another one arrives. What is repeated then is what is
    // not committed.
    eventually("committed", || (topic.committed() == [10; 4]).then_some(()));

    let other = topic.start().await;
    eventually("two partitions each", || ((one.shown(), other.shown()) == (2, 2)).then_some(()));
    topic.produce(40..80).await;
    assert_eq!(published(&one, &other, 80), ids(0..80), "each once");
    assert_eq!(one.bus.ids().len(), 60);
    assert_ne!(one.sample(REBALANCES).as_deref(), Some("0"));

    one.leave().await;
    topic.produce(80..120).await;
    assert_eq!(other.await_events(60).len(), 60);
    other.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_of_a_partition_is_stored_before_another_node_gets_it() {
    let topic = Topic::new();
    let one = topic.start().await;
    one.bus.is_flushing.send_replace(false);
    topic.produce(0..40).await;
    one.await_events(40);
    let other = topic.start().await;
    // The second is that of the partitions that are revoked.
    eventually("a rebalance", || (one.bus.flushes.load(Ordering::Relaxed) == 2).then_some(()));
    one.bus.is_flushing.send_replace(true);
    eventually("two partitions each", || ((one.shown(), other.shown()) == (2, 2)).then_some(()));
    topic.produce(40..80).await;
    assert_eq!(published(&one, &other, 80), ids(0..80), "each once");
    one.leave().await;
    other.leave().await;
}
