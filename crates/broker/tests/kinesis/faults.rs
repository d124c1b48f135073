//! What is lost, refused or out of place.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use broker::kinesis::{AccessKey, KinesisAccess, KinesisConfig, KinesisProducer};
use broker::{ProduceError, Producer};
use node::Source;
use rig_broker as broker;
use rig_tests::{Received, Wire};

use crate::world::{Recorder, STREAM, Worker, World, eventually, numbered};
use crate::{IN_TIME, produced, to};

const SHARD: &str = "shardId-000000000000";
const GONE: &str = "shardId-000000000009";

/// The children of a shard that Kinesis does not have any more are read, and its lease is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn the_lease_of_a_shard_that_is_gone_does_not_block_its_children() {
    let world = World::new(1).await;
    world.add_row(GONE, "TRIM_HORIZON", &[]).await;
    world.add_row(SHARD, "TRIM_HORIZON", &[GONE]).await;
    world.put("a", numbered("a", 3)).await;
    let worker = world.start();
    assert_eq!(worker.sink.await_taken(3).await, numbered("a", 3));
    eventually("its lease is deleted", async || {
        let rows = world.rows().await;
        (rows.len() == 1 && rows.contains_key(SHARD)).then_some(())
    })
    .await;
}

/// As are those of a stream that was created anew, although its shards have the same names.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_created_anew_is_read_from_the_start() {
    let world = World::new(2).await;
    world.add_row(SHARD, "SHARD_END", &[]).await;
    // This was once a child of the other.
    world.add_row("shardId-000000000001", "TRIM_HORIZON", &[SHARD]).await;
    world.put("a", numbered("a", 3)).await;
    world.put("b", numbered("b", 3)).await;
    let worker = world.start();
    let expected = [numbered("a", 3), numbered("b", 3)].concat();
    eventually("all records are read", async || {
        let taken = worker.sink.taken();
        expected.iter().all(|record| taken.contains(record)).then_some(())
    })
    .await;
    let rows = world.rows().await;
    assert!(rows.values().all(|row| row.parents.is_empty()), "{rows:?}");
}

/// Answers as DynamoDB does: there is one lease, which may not be changed while `is_denied`.
fn one_lease(is_denied: Arc<AtomicBool>, denials: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let row = format!(
        r#"{{"leaseKey":{{"S":"{SHARD}"}},"leaseCounter":{{"N":"1"}},"checkpoint":{{"S":"TRIM_HORIZON"}}}}"#
    );
    let serve = move |wire: &mut Wire| -> Option<()> {
        loop {
            let received = Received::read(wire)?;
            let (status, body) = match received.header("x-amz-target")?.rsplit('.').next()? {
                "Scan" => (200, format!(r#"{{"Items":[{row}],"Count":1,"ScannedCount":1}}"#)),
                _ if is_denied.load(Ordering::Relaxed) => {
                    denials.fetch_add(1, Ordering::Relaxed);
                    (400, r#"{"__type":"AccessDeniedException","message":"not allowed"}"#.to_owned())
                }
                _ => (200, "{}".to_owned()),
            };
            let head = format!("HTTP/1.1 {status} Said\r\ncontent-type: application/x-amz-json-1.0\r\n");
            wire.send(format!("{head}content-length: {}\r\n\r\n{body}", body.len()));
        }
    };
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(&mut Wire::patient(stream)));
        }
    });
    format!("http://{address}")
}

/// A worker that reads the table but may not take leases reads nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_may_not_take_leases_is_not_up() {
    let world = World::new(1).await;
    let (is_denied, denials) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let dynamodb_endpoint = Some(one_lease(is_denied.clone(), denials.clone()));
    let config = KinesisConfig { dynamodb_endpoint, ..world.config() };
    let worker = Worker::start(config, Recorder::new(usize::MAX));
    eventually("it is denied again and again", async || {
        assert!(!worker.source.is_up(), "nothing is read");
        (denials.load(Ordering::Relaxed) >= 5).then_some(())
    })
    .await;
    is_denied.store(false, Ordering::Relaxed);
    eventually("it is up", async || worker.source.is_up().then_some(())).await;
}

/// An event may be in the stream if any attempt sent it, even if the last one did not.
#[tokio::test(flavor = "multi_thread")]
async fn b08_an_event_that_was_sent_without_an_answer_may_be_in_the_stream() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let access = KinesisAccess {
        region: "eu-west-1".into(),
        endpoint: Some(format!("http://{address}")),
        key: Some(AccessKey { id: "test".into(), secret: "test".into() }),
    };
    let answering = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        // Later attempts are refused.
        drop(listener);
        Received::read(&mut Wire::patient(stream)).is_some()
    });
    let producer = KinesisProducer::new(access);
    let lost = producer.produce(&to(STREAM), produced("1", None), IN_TIME).await;
    assert!(answering.join().expect("it does not panic"), "it is sent");
    assert!(matches!(lost, Err(ProduceError::TimedOut(_))), "{lost:?}");
}
