//! Kinesis, with kinesis-local and dynalite in place of the services of AWS.

mod faults;
mod world;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use broker::kinesis::{KinesisAccess, KinesisConfig, KinesisMode, KinesisProducer, KinesisSource};
use broker::{Destination, ProduceError, Produced, Producer};
use bytes::Bytes;
use connection::{Client, Encoding, Hub, Opening};
use metric::Registry;
use node::{Node, Source, Tasks};
use rig_broker as broker;
use seal::{Incarnation, Purpose, Seal};
use session::Sessions;
use subscription::{Extractors, Subscription};
use world::{Recorder, Row, STREAM, Worker, World, eventually, intake, numbered};

/// Three records with the data `one`, `two` and `three`, as KPL aggregates them.
const AGGREGATED: &[u8] = b"\xf3\x89\x9a\xc2\x0a\x03key\
    \x1a\x07\x08\0\x1a\x03one\x1a\x07\x08\0\x1a\x03two\x1a\x09\x08\0\x1a\x05three\
    \xf3\xdf\x17\xaf\xda\x5d\xf8\x01\x2c\xea\x9e\xd4\x19\xf7\xf4\xbc";

/// A key of the first of two shards, and one of the second: MD5 begins with `0c` and `92`.
const KEYS: [&str; 2] = ["a", "b"];

const IN_TIME: Duration = Duration::from_secs(10);

fn is_owned(row: &Row) -> bool {
    row.owner.is_some()
}

/// A gateway that stops stores what it has read, and gives its leases up: the next goes on there,
/// and reads what came while none ran.
#[tokio::test(flavor = "multi_thread")]
async fn b23_a_checkpoint_survives_a_restart() {
    let world = World::new(2).await;
    let first = world.start();
    world.await_rows("it has both leases", is_owned).await;
    let before = [numbered("a", 20), numbered("b", 20)];
    world.put("a", before[0].clone()).await;
    world.put("b", before[1].clone()).await;
    let taken = first.sink.await_taken(40).await;
    for (prefix, put) in KEYS.into_iter().zip(&before) {
        let of_key: Vec<_> = taken.iter().filter(|record| record.starts_with(prefix)).collect();
        assert_eq!(of_key, put.iter().collect::<Vec<_>>(), "in order");
    }
    first.leave().await;
    let rows = world.rows().await;
    assert!(rows.values().all(|row| row.owner.is_none()), "{rows:?}");
    assert!(rows.values().any(|row| row.checkpoint.parse::<f64>().is_ok()), "{rows:?}");

    world.put("a", numbered("while none runs", 5)).await;
    let second = world.start();
    assert_eq!(second.sink.await_taken(5).await, numbered("while none runs", 5));
    assert_eq!(first.sink.taken().len(), 40, "the first reads nothing more");
}

/// What was published but not flushed is not stored: after a crash it comes again.
#[tokio::test(flavor = "multi_thread")]
async fn b23_a_crash_before_the_checkpoint_repeats_and_loses_nothing() {
    let world = World::new(1).await;
    let first = world.start();
    world.put("a", numbered("stored", 10)).await;
    first.sink.await_taken(10).await;
    let stored = world.await_rows("it is stored", |row| row.checkpoint != "TRIM_HORIZON").await;
    let last = &stored["shardId-000000000000"].checkpoint;
    // Until it is the place of the last record.
    let put = world.kinesis.put_record().stream_name(STREAM).partition_key("a");
    first.sink.flushes.send_replace(false);
    let put = put.data(aws_sdk_kinesis::primitives::Blob::new(*b"not flushed")).send();
    let place = Box::pin(put).await.expect("it is put").sequence_number;
    first.sink.await_taken(11).await;
    eventually("it waits for the flush", async || first.sink.is_asked_to_flush().then_some(())).await;
    assert!(**last < *place);
    let rows = world.rows().await;
    assert_ne!(rows["shardId-000000000000"].checkpoint, place, "it was not flushed");
    first.kill().await;

    world.put("a", numbered("later", 3)).await;
    let second = world.start();
    let taken = eventually("all of it comes", async || {
        let taken = second.sink.taken();
        taken.last().is_some_and(|last| last == "later-2").then_some(taken)
    });
    let taken = taken.await;
    let expected = ["not flushed", "later-0", "later-1", "later-2"];
    assert!(taken.ends_with(&expected.map(str::to_owned)), "{taken:?}");
    world.await_rows("what is flushed is stored", |row| row.checkpoint > place).await;
}

/// Also of a shard at the latest position, of which nothing was read before the crash.
#[tokio::test(flavor = "multi_thread")]
async fn b23_what_comes_after_the_first_start_is_not_missed() {
    let world = World::new(1).await;
    world.put("a", numbered("before", 3)).await;
    let config =
        KinesisConfig { initial_position: broker::kinesis::InitialPosition::Latest, ..world.config() };
    let start = || Worker::start(config.clone(), Recorder::new(usize::MAX));
    let first = start();
    world.await_rows("it has the lease", is_owned).await;
    eventually("it reads", async || first.source.is_up().then_some(())).await;
    first.kill().await;
    world.put("a", numbered("while none runs", 3)).await;
    assert_eq!(start().sink.await_taken(3).await, numbered("while none runs", 3));
}

/// The parts of a record are events of their own, and it is stored which of them were read.
#[tokio::test(flavor = "multi_thread")]
async fn b24_aggregated_records_are_taken_apart() {
    let world = World::new(1).await;
    world.put("a", [AGGREGATED, b"\xf3\x89\x9a\xc2 is not aggregated", AGGREGATED]).await;
    let first = Worker::start(world.config(), Recorder::new(6));
    let parts = ["one", "two", "three"];
    let plain = String::from_utf8_lossy(b"\xf3\x89\x9a\xc2 is not aggregated");
    let expected = [&parts[..], &[&plain], &parts[..2]].concat();
    assert_eq!(first.sink.await_taken(6).await, expected);
    world.await_rows("it is stored", |row| row.part == "1").await;
    first.kill().await;
    let second = world.start();
    assert_eq!(second.sink.await_taken(1).await, ["three"]);
    world.await_rows("it is stored", |row| row.part == "2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b24_children_of_a_shard_come_after_their_parents() {
    let world = World::new(1).await;
    world.put("a", numbered("parent", 20)).await;
    world.split("shardId-000000000000").await;
    for key in KEYS {
        world.put(key, numbered("child", 10)).await;
    }
    world.merge("shardId-000000000001", "shardId-000000000002").await;
    world.put("a", numbered("grandchild", 10)).await;

    let worker = world.start();
    let mut taken = worker.sink.await_taken(50).await;
    taken[20..40].sort_by_key(|record| record.trim_start_matches("child-").parse::<u32>().ok());
    let twice = numbered("child", 10).into_iter().flat_map(|record| [record.clone(), record]);
    let expected: Vec<_> =
        numbered("parent", 20).into_iter().chain(twice).chain(numbered("grandchild", 10)).collect();
    assert_eq!(taken, expected);

    let rows = eventually("the closed shards are finished", async || {
        let rows = world.rows().await;
        (rows.values().filter(|row| row.checkpoint == "SHARD_END").count() == 3).then_some(rows)
    });
    let mut parents = rows.await.remove("shardId-000000000003").expect("it has a row").parents;
    parents.sort();
    assert_eq!(parents, ["shardId-000000000001", "shardId-000000000002"]);
    // While it reads, too.
    world.split("shardId-000000000003").await;
    world.put("a", numbered("later", 5)).await;
    assert_eq!(worker.sink.await_taken(55).await[50..], numbered("later", 5));
}

/// Two workers share the shards. When one is gone, the other takes its leases.
#[tokio::test(flavor = "multi_thread")]
async fn b24_leases_are_shared_and_move_when_a_worker_is_gone() {
    let world = World::new(2).await;
    let (first, second) = (world.start(), world.start());
    let owners = eventually("each has a lease", async || {
        let rows = world.rows().await;
        let owners: HashSet<_> = rows.into_values().filter_map(|row| row.owner).collect();
        (owners.len() == 2).then_some(owners)
    });
    let owners = owners.await;
    for key in KEYS {
        world.put(key, numbered(key, 10)).await;
    }
    let both = eventually("all is read", async || {
        let both = (first.sink.taken(), second.sink.taken());
        let all: HashSet<_> = both.0.iter().chain(&both.1).collect();
        (all.len() == 20).then_some(both.clone())
    });
    let (of_first, of_second) = both.await;
    assert!(!of_first.is_empty() && !of_second.is_empty(), "{of_first:?} {of_second:?}");
    first.kill().await;
    for key in KEYS {
        world.put(key, numbered(&format!("later {key}"), 10)).await;
    }
    eventually("the other reads all", async || {
        let later: HashSet<_> =
            second.sink.taken().into_iter().filter(|record| record.starts_with("later")).collect();
        (later.len() == 20).then_some(())
    })
    .await;
    let rows = world.await_rows("it has both leases", is_owned).await;
    let now: HashSet<_> = rows.into_values().filter_map(|row| row.owner).collect();
    assert!(now.len() == 1 && now.is_subset(&owners), "{now:?}");
}

/// Without a group, each worker reads everything from its start on, and there is no table.
#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_reaches_each_worker() {
    let world = World::new(2).await;
    let config = KinesisConfig { mode: KinesisMode::Broadcast, ..world.config() };
    let workers = [(); 2].map(|()| Worker::start(config.clone(), Recorder::new(usize::MAX)));
    for key in KEYS {
        world.put(key, numbered(key, 5)).await;
    }
    for worker in &workers {
        worker.sink.await_taken(10).await;
    }
    assert!(!world.has_table().await);
    workers[0].leave().await;
    world.put("a", ["later"]).await;
    workers[1].sink.await_taken(11).await;
    assert_eq!(workers[0].sink.taken().len(), 10);
}

/// Without its table, a worker does not read: another may have its leases.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_away_stops_reading_until_it_is_back() {
    let mut world = World::new(1).await;
    world.services.kill_dynamodb();
    let worker = world.start();
    world.put("a", ["one"]).await;
    eventually("it is known", async || (!worker.source.is_up()).then_some(())).await;
    world.services.restart_dynamodb();
    assert_eq!(worker.sink.await_taken(1).await, ["one"]);
    eventually("it is up", async || worker.source.is_up().then_some(())).await;
    world.await_rows("it is stored", |row| row.checkpoint != "TRIM_HORIZON").await;

    world.services.kill_dynamodb();
    eventually("it is known", async || (!worker.source.is_up()).then_some(())).await;
    // Longer than a lease.
    tokio::time::sleep(world::TIMING.duration + Duration::from_millis(500)).await;
    world.put("a", ["two"]).await;
    // Longer than the interval in which an idle shard is read.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(worker.sink.taken(), ["one"], "its lease has expired");
    world.services.restart_dynamodb();
    assert_eq!(worker.sink.await_taken(2).await, ["one", "two"]);
}

/// What is no event is counted and passed by, and events reach clients.
#[tokio::test(flavor = "multi_thread")]
async fn b01_records_that_are_no_events_are_counted_and_read_once() {
    let world = World::new(1).await;
    let sessions = Sessions::in_memory(session::Config::default());
    let seal = Seal::new(Some("test-cookie"), Purpose::Connection, Incarnation::unnamed());
    let config = connection::Config::default();
    let hub = Hub::new(config, sessions.clone(), Arc::default(), seal, Arc::default(), Arc::default());
    let node = Node::new(sessions.clone(), hub.clone(), None);
    let mut tasks = Tasks::default();
    node.spawn(&mut tasks);
    let subscriptions = serde_json::json!([{ "eventType": "t" }]);
    let opening = Opening {
        subjects: vec![sessions.subject_of_session(&"s".parse().expect("a name"))],
        client: Client { address: ([127, 0, 0, 1], 1).into(), user_agent: None },
        subscriptions: Subscription::parse_list(&subscriptions, &Extractors::default()).expect("a list"),
        resume: connection::Resume::default(),
    };
    let connection = hub.open_stream(opening, Encoding::SsePlain, Bytes::new()).expect("it is let in");
    let before = connection.describe().delivered;

    let mut registry = Registry::default();
    let source = Arc::new(KinesisSource::new(world.config(), intake(&mut registry)));
    let reading = tokio::spawn(source.clone().run(node));
    let event = |id: u32| format!(r#"{{"specversion":"0.2","type":"t","source":"/s","id":"{id}"}}"#);
    world.put("a", [event(1), "a secret that is no event".into(), String::from("{}"), event(2)]).await;
    eventually("both events are delivered", async || {
        (connection.describe().delivered == before + 2).then_some(())
    })
    .await;
    source.leave(IN_TIME).await;
    let mut text = String::new();
    metric::prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes it");
    for line in [
        r#"rig_consumed_events_total{source="kinesis",topic="events"} 4"#,
        r#"rig_consumed_events_failed_total{source="kinesis",topic="events",reason="invalid"} 2"#,
    ] {
        let is_there = text.lines().any(|found| found.replace("_total_total", "_total") == line);
        assert!(is_there, "{line}: {text}");
    }
    let rows = world.rows().await;
    assert!(rows.values().all(|row| row.owner.is_none() && row.checkpoint != "TRIM_HORIZON"), "{rows:?}");
    reading.abort();
}

fn produced(id: &str, key: Option<&str>) -> Produced {
    let event = serde_json::json!({"specversion": "0.2", "type": "t", "source": "/s", "id": id});
    let serde_json::Value::Object(members) = event else { unreachable!("it is an object") };
    Produced { members, key: key.map(str::to_owned) }
}

fn to(stream: &str) -> Destination {
    Destination { topic: stream.into(), schema: None }
}

/// An event is in the stream when it is said to be; what is not written is said too.
#[tokio::test(flavor = "multi_thread")]
async fn b08_an_event_is_put_or_the_failure_is_told() {
    let world = World::new(2).await;
    let producer = KinesisProducer::new(world.access());
    let debug = format!("{producer:?}");
    assert!(!debug.contains("secret: \"test\"") && debug.contains("eu-west-1"), "{debug}");
    let worker = world.start();
    let put = |stream: &'static str, event: Produced| {
        let producer = &producer;
        async move { producer.produce(&to(stream), event, IN_TIME).await }
    };
    for number in 0..5 {
        put(STREAM, produced(&number.to_string(), Some("a"))).await.expect("it is put");
    }
    let taken = worker.sink.await_taken(5).await;
    let json = |id: usize| String::from_utf8(produced(&id.to_string(), None).json().to_vec()).expect("JSON");
    assert_eq!(taken, (0..5).map(json).collect::<Vec<_>>(), "those of a key in order");
    put(STREAM, produced("6", None)).await.expect("it is put");
    worker.sink.await_taken(6).await;

    assert!(matches!(put("nowhere", produced("7", None)).await, Err(ProduceError::Refused(_))));
    let mut large = produced("8", None);
    large.members.insert("data".into(), "x".repeat(1 << 20).into());
    assert!(matches!(put(STREAM, large).await, Err(ProduceError::TooLarge(_))));
    for key in ["".to_owned(), "ä".repeat(257)] {
        let refused = put(STREAM, produced("9", Some(&key))).await;
        assert!(matches!(refused, Err(ProduceError::Invalid(text)) if text.contains("1 to 256")));
    }
    put(STREAM, produced("10", Some(&"ä".repeat(256)))).await.expect("it is put");
}

#[tokio::test(flavor = "multi_thread")]
async fn b08_a_broker_that_is_away_is_told_in_time() {
    let access = |endpoint: String| KinesisAccess {
        region: "eu-west-1".into(),
        endpoint: Some(endpoint),
        key: Some(broker::kinesis::AccessKey { id: "test".into(), secret: "test".into() }),
    };
    let refusing = KinesisProducer::new(access(format!("http://{}", rig_tests::unused_address())));
    let refused = refusing.produce(&to(STREAM), produced("1", None), IN_TIME).await;
    assert!(matches!(refused, Err(ProduceError::Unavailable(_))), "{refused:?}");
    // It accepts connections, but does not answer.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let silent = KinesisProducer::new(access(format!("http://{address}")));
    let late = silent.produce(&to(STREAM), produced("1", None), Duration::from_millis(300)).await;
    assert!(matches!(late, Err(ProduceError::TimedOut(_))), "{late:?}");
}
