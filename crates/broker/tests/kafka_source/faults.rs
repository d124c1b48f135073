//! What goes wrong at the brokers, and what is slow at the gateway.

use std::time::Duration;

use node::Source;
use rig_broker::kafka::{KafkaAccess, KafkaConfig, Reset};
use rig_tests::{KafkaServer, eventually};
use tokio::time::sleep;

use super::ids;
use super::world::{GROUP, Running, TOPIC, access, config, event};

#[tokio::test(flavor = "multi_thread")]
async fn b05_a_full_gateway_stays_in_its_group_and_loses_nothing() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 2);
    let messages: Vec<_> = (0..200).map(|id| event(id).partition(id % 2)).collect();
    client.produce(TOPIC, &messages[..100]);
    let mut access = access(server.address());
    // Who does not poll for six seconds is thrown out.
    access.properties =
        [("max.poll.interval.ms", "6000"), ("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    let running = Running::start(config(access)).await;
    running.await_events(10);
    running.bus.is_ready.send_replace(false);
    let before = client.await_members(GROUP, 1);
    client.produce(TOPIC, &messages[100..]);
    // The time that passes is the fault.
    sleep(Duration::from_secs(10)).await;
    assert_eq!(client.await_members(GROUP, 1), before, "the same member");
    running.bus.is_ready.send_replace(true);
    let mut all = running.await_events(200);
    for partition in 0..2 {
        let of_it = all.iter().map(|id| id.parse::<usize>().unwrap()).filter(|id| id % 2 == partition);
        assert!(of_it.is_sorted(), "{partition}");
    }
    all.sort_by_key(|id| id.parse::<usize>().unwrap());
    assert_eq!(all, ids(0..200), "each once");
    running.leave().await;
    assert_eq!(client.committed(GROUP, TOPIC), [Some(100); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_may_be_larger_than_what_is_queued() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 1);
    client.produce(TOPIC, &[event(0)]);
    let properties = vec![("message.max.bytes".to_owned(), (16 << 20).to_string())];
    let running = Running::start(config(KafkaAccess { properties, ..access(server.address()) })).await;
    assert_eq!(running.await_events(1), ids(0..1));
    running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b07_what_was_deleted_before_it_was_read_is_skipped_and_counted() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 1);
    client.produce(TOPIC, &(0..10).map(event).collect::<Vec<_>>());
    client.commit(GROUP, TOPIC, 0, 2);
    client.delete_records(TOPIC, 0, 8);
    let running = Running::start(config(access(server.address()))).await;
    assert_eq!(running.await_events(2), ids(8..10));
    running.await_sample(r#"rig_consumer_resets_total{source="kafka",topic="rig"}"#, "1");
    running.leave().await;
    assert_eq!(client.committed(GROUP, TOPIC), [Some(10)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn b09_the_source_comes_back_by_itself_as_one_member() {
    let mut server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 1);
    client.produce(TOPIC, &[event(0)]);
    let running = Running::start(config(access(server.address()))).await;
    assert_eq!(running.await_events(1), ids(0..1));
    eventually("it is up", || running.source.is_up().then_some(()));
    client.await_committed(GROUP, TOPIC, &[Some(1)]);
    server.stop();
    eventually("it is down", || (!running.source.is_up()).then_some(()));
    server.restart();
    let client = server.client();
    eventually("it is up again", || running.source.is_up().then_some(()));
    client.produce(TOPIC, &[event(1)]);
    assert_eq!(running.await_events(2), ids(0..2));
    client.await_members(GROUP, 1);
    running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_may_come_later_and_so_may_the_topic() {
    let mut server = KafkaServer::start();
    server.stop();
    let running = Running::start(config(access(server.address()))).await;
    assert!(!running.source.is_up());
    server.restart();
    eventually("it is up", || running.source.is_up().then_some(()));
    let client = server.client();
    client.create_topic(TOPIC, 1);
    client.produce(TOPIC, &[event(0)]);
    // The library looks for new topics every 30 seconds; a start anew is the same for this.
    running.leave().await;
    let running = Running::start(config(access(server.address()))).await;
    assert_eq!(running.await_events(1), ids(0..1));
    running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_committed_offset_it_begins_where_the_settings_say() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 1);
    client.produce(TOPIC, &[event(0)]);
    let latest = KafkaConfig { reset: Reset::Latest, ..config(access(server.address())) };
    let running = Running::start(latest).await;
    running.await_sample(r#"rig_consumer_lag{topic="rig",partition="0"}"#, "0");
    client.produce(TOPIC, &[event(1)]);
    assert_eq!(running.await_events(1), ids(1..2));
    running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_a_group_is_away_is_read_even_if_it_had_read_nothing() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 2);
    client.produce(TOPIC, &[event(0).partition(0)]);
    let latest = || KafkaConfig { reset: Reset::Latest, ..config(access(server.address())) };
    let first = Running::start(latest()).await;
    for partition in 0..2 {
        first.await_sample(&format!(r#"rig_consumer_lag{{topic="rig",partition="{partition}"}}"#), "0");
    }
    first.leave().await;
    client.await_members(GROUP, 0);
    client.produce(TOPIC, &[event(1).partition(0), event(2).partition(1)]);
    let second = Running::start(latest()).await;
    let mut all = second.await_events(2);
    all.sort();
    assert_eq!(all, ids(1..3));
    second.leave().await;
    assert_eq!(client.committed(GROUP, TOPIC), [Some(2), Some(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_at_which_a_group_begins_is_committed_though_nothing_follows() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 1);
    client.produce(TOPIC, &[event(0)]);
    let running =
        Running::start(KafkaConfig { reset: Reset::Latest, ..config(access(server.address())) }).await;
    client.await_committed(GROUP, TOPIC, &[Some(1)]);
    assert_eq!(running.bus.ids(), [""; 0]);
    running.leave().await;
}

/// Returns a configuration that finds new topics and partitions a little later.
fn finding(server: &KafkaServer) -> KafkaConfig {
    let properties = vec![("topic.metadata.refresh.interval.ms".to_owned(), "3000".to_owned())];
    let access = KafkaAccess { properties, ..access(server.address()) };
    KafkaConfig { reset: Reset::Latest, ..config(access) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_to_a_partition_until_the_group_finds_it_is_read() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 1);
    client.produce(TOPIC, &[event(0)]);
    let running = Running::start(finding(&server)).await;
    client.await_committed(GROUP, TOPIC, &[Some(1)]);
    client.add_partitions(TOPIC, 2);
    // One that knows the new partition.
    server.client().produce(TOPIC, &[event(1).partition(1)]);
    assert_eq!(running.await_events(1), ids(1..2));
    running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_to_a_topic_until_the_group_finds_it_is_read() {
    let server = KafkaServer::start();
    let running = Running::start(finding(&server)).await;
    eventually("it is up", || running.source.is_up().then_some(()));
    let client = server.client();
    client.create_topic(TOPIC, 1);
    client.produce(TOPIC, &[event(0)]);
    assert_eq!(running.await_events(1), ids(0..1));
    running.leave().await;
}

/// The library tells for each partition that its topic is gone, and again after each look.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_holds_up_no_other() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 4);
    client.create_topic("other", 1);
    let topics = vec![TOPIC.to_owned(), "other".to_owned()];
    let running = Running::start(KafkaConfig { topics, ..finding(&server) }).await;
    eventually("its partitions are assigned", || (running.shown() == 4).then_some(()));
    client.delete_topic(TOPIC);
    for id in 0..50 {
        client.produce("other", &[event(id)]);
        running.await_events(id + 1);
    }
    // A topic of the same name is another one.
    let client = server.client();
    client.create_topic(TOPIC, 1);
    client.produce(TOPIC, &[event(50)]);
    assert_eq!(running.await_events(51), ids(0..51));
    running.leave().await;
}
