//! Events from topics of Kafka.

mod brokers;
mod dead_letters;
mod faults;
mod group;
mod security;
mod transactions;
mod world;

use std::sync::Arc;
use std::time::Duration;

use avro::{Registry, RegistryConfig};
use node::Source;
use rig_broker::kafka::{KafkaConfig, Reach};
use rig_tests::{KafkaMessage, KafkaServer, RegistryOptions, RegistryState, SchemaRegistry, eventually};
use serde_json::json;

use self::world::{GROUP, Running, TOPIC, access, config, event};

const CONSUMED: &str = r#"rig_consumed_events_total{source="kafka",topic="rig"}"#;

fn failed(reason: &str) -> String {
    format!(r#"rig_consumed_events_failed_total{{source="kafka",topic="rig",reason="{reason}"}}"#)
}

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|id| id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn b01_what_is_no_event_does_not_stop_what_follows() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 1);
    client.create_topic("dead", 1);
    let poison = KafkaMessage::of("{no event").key("k").header("h", "v").header("h", "w");
    let answer = KafkaMessage::of("answer").header("rig-correlation", "x");
    client.produce(TOPIC, &[event(0), poison, event(1), KafkaMessage::tombstone(), answer, event(2)]);
    let dead_letters = Some("dead".to_owned());
    let running = Running::start(KafkaConfig { dead_letters, ..config(access(server.address())) }).await;
    assert_eq!(running.await_events(3), ids(0..3));

    let [dead] = &client.await_messages("dead", 1)[..] else { panic!("more than one") };
    assert_eq!((dead.text().as_str(), dead.key.as_deref()), ("{no event", Some(&b"k"[..])));
    let headers: Vec<_> = dead.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(headers, ["h", "h", "rig-error", "rig-topic", "rig-partition", "rig-offset"]);
    let header = |name: &str| dead.header_text(name).unwrap();
    assert_eq!((header("rig-topic"), header("rig-partition"), header("rig-offset")), {
        (TOPIC.to_owned(), "0".to_owned(), "1".to_owned())
    });
    assert!(!header("rig-error").is_empty());

    client.await_committed(GROUP, TOPIC, &[Some(6)]);
    assert_eq!(running.sample(&failed("invalid")).as_deref(), Some("1"));
    assert_eq!(running.sample(&failed("tombstone")).as_deref(), Some("1"));
    assert_eq!(running.sample(CONSUMED).as_deref(), Some("5"), "the answer is none of them");
    running.await_sample(r#"rig_dead_letters_total{source="kafka",topic="rig"}"#, "1");
    running.await_sample(r#"rig_consumer_lag{topic="rig",partition="0"}"#, "0");
    running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_partition_stay_in_order() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 3);
    let messages: Vec<_> = (0..3000).map(|id| event(id).partition(id % 3)).collect();
    client.produce(TOPIC, &messages);
    let running = Running::start(config(access(server.address()))).await;
    let published: Vec<i32> = running.await_events(3000).iter().map(|id| id.parse().unwrap()).collect();
    assert_eq!(published.len(), 3000);
    for partition in 0..3 {
        let of_it: Vec<_> = published.iter().filter(|id| *id % 3 == partition).collect();
        assert!(of_it.is_sorted() && of_it.len() == 1000, "{partition}");
    }
    client.await_committed(GROUP, TOPIC, &[Some(1000); 3]);
    running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_the_last_run_has_stopped() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 1);
    client.produce(TOPIC, &[event(0), event(1)]);
    let first = Running::start(config(access(server.address()))).await;
    assert_eq!(first.await_events(2), ids(0..2));
    // Committed when it leaves, and not only every five seconds.
    first.leave().await;
    assert_eq!(client.committed(GROUP, TOPIC), [Some(2)]);
    client.await_members(GROUP, 0);
    client.produce(TOPIC, &[event(2)]);
    let second = Running::start(config(access(server.address()))).await;
    assert_eq!(second.await_events(1), ids(2..3));
    second.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_before_it_is_flushed() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 1);
    client.produce(TOPIC, &[event(0), event(1)]);
    let first = Running::start(config(access(server.address()))).await;
    first.bus.is_flushing.send_replace(false);
    assert_eq!(first.await_events(2), ids(0..2));
    first.source.leave(Duration::from_secs(1)).await;
    first.end();
    client.await_members(GROUP, 0);
    assert_eq!(client.committed(GROUP, TOPIC), [None]);
    let second = Running::start(config(access(server.address()))).await;
    assert_eq!(second.await_events(2), ids(0..2), "at least once");
    second.leave().await;
    assert_eq!(client.committed(GROUP, TOPIC), [Some(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_reads_everything_without_a_group() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 2);
    client.produce(TOPIC, &[event("old").partition(0), event("old").partition(1)]);
    let every = || KafkaConfig { reach: Reach::Every, ..config(access(server.address())) };
    let nodes = [Running::start(every()).await, Running::start(every()).await];
    for node in &nodes {
        eventually("it is ready", || node.source.is_up().then_some(()));
    }
    // Ready means that nothing is missed from now on.
    let messages: Vec<_> = (0..20).map(|id| event(id).partition(id % 2)).collect();
    client.produce(TOPIC, &messages);
    for node in nodes {
        node.await_sample(CONSUMED, "20");
        assert_eq!(node.bus.ids(), [""; 0], "no other node needs it from here");
        node.leave().await;
    }
    assert_eq!(client.groups(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn b06_an_event_in_avro_waits_for_the_registry() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 1);
    let schemas = SchemaRegistry::start(RegistryOptions::default());
    let schema = json!({"type": "record", "name": "R", "fields": [{"name": "a", "type": "long"}]});
    let id = schemas.register("s", &schema);
    schemas.set(RegistryState::Fails(503));
    let value = [&[0][..], &id.to_be_bytes(), &[54]].concat();
    let mut avro = KafkaMessage::of(value).header("content-type", "avro/binary");
    for (name, value) in [("specversion", "1.0"), ("type", "t"), ("source", "/s"), ("id", "0")] {
        avro = avro.header(&format!("ce_{name}"), value);
    }
    let unknown = [&[0][..], &(id + 1).to_be_bytes(), &[54]].concat();
    let unknown = KafkaMessage { value: Some(unknown), ..avro.clone() };
    client.produce(TOPIC, &[avro, unknown, event(1)]);
    let registry = Registry::new(RegistryConfig { url: schemas.url(), ..RegistryConfig::default() });
    let registry = Some(Arc::new(registry.unwrap()));
    let running = Running::start(KafkaConfig { registry, ..config(access(server.address())) }).await;
    schemas.await_requests(2);
    assert_eq!(running.bus.ids(), [""; 0]);
    schemas.set(RegistryState::Up);
    assert_eq!(running.await_events(2), ids(0..2), "in order");
    assert_eq!(running.sample(&failed("invalid")).as_deref(), Some("1"), "the schema is unknown");
    running.leave().await;
    assert_eq!(client.committed(GROUP, TOPIC), [Some(3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_received_and_not_taken_when_it_leaves_is_not_committed() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 1);
    let schemas = SchemaRegistry::start(RegistryOptions::default());
    schemas.set(RegistryState::Fails(503));
    let avro = KafkaMessage::of([0, 0, 0, 0, 1, 54]).header("content-type", "application/cloudevents+avro");
    client.produce(TOPIC, &[event(0), avro]);
    let registry = Registry::new(RegistryConfig { url: schemas.url(), ..RegistryConfig::default() });
    let registry = Some(Arc::new(registry.unwrap()));
    let running = Running::start(KafkaConfig { registry, ..config(access(server.address())) }).await;
    // Longer than it takes until it looks how far the library is.
    schemas.await_requests(6);
    running.leave().await;
    assert_eq!(client.committed(GROUP, TOPIC), [Some(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_the_registry_knows_a_little_later_is_waited_for() {
    let server = KafkaServer::start();
    let client = server.client();
    client.create_topic(TOPIC, 1);
    let schemas = SchemaRegistry::start(RegistryOptions::default());
    let schema =
        |name: &str| json!({"type": "record", "name": name, "fields": [{"name": "a", "type": "long"}]});
    let id = schemas.register("s", &schema("R")) + 1;
    let value = [&[0][..], &id.to_be_bytes(), &[54]].concat();
    let mut avro = KafkaMessage::of(value).header("content-type", "avro/binary");
    for (name, value) in [("specversion", "1.0"), ("type", "t"), ("source", "/s"), ("id", "0")] {
        avro = avro.header(&format!("ce_{name}"), value);
    }
    client.produce(TOPIC, &[avro]);
    let registry = Registry::new(RegistryConfig { url: schemas.url(), ..RegistryConfig::default() });
    let registry = Some(Arc::new(registry.unwrap()));
    let running = Running::start(KafkaConfig { registry, ..config(access(server.address())) }).await;
    schemas.await_requests(1);
    assert_eq!(schemas.register("s", &schema("S")), id);
    assert_eq!(running.await_events(1), ids(0..1));
    running.leave().await;
}
