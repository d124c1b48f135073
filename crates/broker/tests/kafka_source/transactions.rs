//! Records of a topic that are no messages: the ends of transactions, and what was aborted.

use std::ops::Range;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rig_tests::KafkaServer;

use crate::ids;
use crate::world::{GROUP, Running, TOPIC, access, config, event, json};

const WITHIN: Duration = Duration::from_secs(10);

fn producer(server: &KafkaServer) -> FutureProducer {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", server.address().to_string()).set("transactional.id", "test");
    let producer: FutureProducer = client.create().expect("the configuration is right");
    producer.init_transactions(WITHIN).expect("the stand-in has transactions");
    producer
}

/// Writes events in one transaction.
async fn write(producer: &FutureProducer, range: Range<usize>, commits: bool) {
    producer.begin_transaction().expect("there is none");
    for id in range {
        let value = json(id);
        let record = FutureRecord::<(), _>::to(TOPIC).payload(&value).partition(0);
        producer.send(record, WITHIN).await.expect("it is written");
    }
    let ended = match commits {
        true => producer.commit_transaction(WITHIN),
        false => producer.abort_transaction(WITHIN),
    };
    ended.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_committed_and_no_lag() {
    const LAG: &str = r#"rig_consumer_lag{topic="rig",partition="0"}"#;
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 1);
    let producer = producer(&server);
    let first = Running::start(config(access(server.address()))).await;
    write(&producer, 0..3, true).await;
    assert_eq!(first.await_events(3), ids(0..3));
    client.await_committed(GROUP, TOPIC, &[Some(4)]);
    first.await_sample(LAG, "0");
    write(&producer, 100..110, false).await;
    client.await_committed(GROUP, TOPIC, &[Some(15)]);
    first.await_sample(LAG, "0");
    first.leave().await;
    client.await_members(GROUP, 0);

    // Nothing that it could take.
    write(&producer, 110..120, false).await;
    let second = Running::start(config(access(server.address()))).await;
    client.await_committed(GROUP, TOPIC, &[Some(26)]);
    second.await_sample(LAG, "0");
    // By another producer: this stand-in tells of what was aborted again, and the library then
    // skips what the same producer writes.
    client.produce(TOPIC, &[event(3)]);
    assert_eq!(second.await_events(1), ids(3..4));
    second.leave().await;
}
