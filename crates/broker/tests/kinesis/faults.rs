//! What is lost, refused or out of place.

use std::future::poll_fn;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use broker::kinesis::{
    AccessKey, InitialPosition, KinesisAccess, KinesisConfig, KinesisProducer, KinesisSource, LeaseTiming,
    Sink,
};
use broker::{ProduceError, Producer};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use metric::Registry;
use node::Source;
use parking_lot::Mutex;
use rig_broker as broker;
use rig_tests::{Link, LinkState, Received, Wire};

use crate::world::{Recorder, STREAM, TIMING, Worker, World, eventually, intake, numbered};
use crate::{IN_TIME, is_owned, produced, to};

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

/// A row that is deleted while its shard is read comes back, with what was stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_deleted_comes_back_and_nothing_is_missed() {
    let world = World::new(1).await;
    let timing = LeaseTiming { listing: Duration::from_secs(3600), ..TIMING };
    let config = KinesisConfig { initial_position: InitialPosition::Latest, timing, ..world.config() };
    let worker = Worker::start(config, Recorder::new(usize::MAX));
    let is_read_since = |row: &crate::Row| is_owned(row) && row.since.is_some();
    let before = world.await_rows("it has the lease", is_read_since).await;
    world.delete_row(SHARD).await;
    let again = world.await_rows("it has the lease again", is_read_since).await;
    assert_eq!(again[SHARD].since, before[SHARD].since, "what came meanwhile is read");

    world.put("a", numbered("stored", 3)).await;
    worker.sink.await_taken(3).await;
    world.await_rows("it is stored", |row| row.checkpoint != "LATEST").await;
    worker.sink.flushes.send_replace(false);
    world.put("a", numbered("not stored", 3)).await;
    worker.sink.await_taken(6).await;
    world.delete_row(SHARD).await;
    eventually("what was not stored comes again", async || {
        let taken = worker.sink.taken();
        taken[6..].ends_with(&numbered("not stored", 3)).then_some(())
    })
    .await;
}

/// A worker that reaches the table but not Kinesis leaves its leases to others.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_reach_kinesis_gives_its_leases_up() {
    let world = World::new(1).await;
    let url = world.services.url();
    let link = Link::to(url.trim_start_matches("http://").parse().expect("an address"));
    let access = KinesisAccess { endpoint: Some(format!("http://{}", link.address())), ..world.access() };
    let timing = LeaseTiming { patience: Duration::from_secs(1), ..TIMING };
    let first = Worker::start(KinesisConfig { access, timing, ..world.config() }, Recorder::new(usize::MAX));
    let rows = world.await_rows("it has the lease", is_owned).await;
    let second = world.start();
    eventually("both are up", async || (first.source.is_up() && second.source.is_up()).then_some(())).await;
    link.set(LinkState::Cut);
    world.put("a", numbered("a", 3)).await;
    assert_eq!(second.sink.await_taken(3).await, numbered("a", 3));
    assert_ne!(world.rows().await[SHARD].owner, rows[SHARD].owner);
    second.leave().await;
    link.set(LinkState::Open);
    world.put("a", numbered("b", 3)).await;
    assert_eq!(first.sink.await_taken(3).await, numbered("b", 3), "it takes the lease again");
}

/// Takes records at once, and notes at which turn of another task each came.
#[derive(Default)]
struct Turns {
    turn: AtomicUsize,
    taken: Mutex<Vec<usize>>,
}

impl Sink for Turns {
    fn take(&self, _: Bytes) -> BoxFuture<'_, ()> {
        async { self.taken.lock().push(self.turn.load(Ordering::Relaxed)) }.boxed()
    }

    fn flushed(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

/// Records that are taken at once do not keep other tasks from running.
#[tokio::test]
async fn other_tasks_run_while_the_records_of_a_response_are_taken() {
    const COUNT: usize = 400;
    let world = World::new(1).await;
    let record = PutRecordsRequestEntry::builder().partition_key("a").data(Blob::new("a record"));
    let records = vec![record.build().expect("all is set"); COUNT];
    let put = world.kinesis.put_records().stream_name(STREAM).set_records(Some(records));
    Box::pin(put.send()).await.expect("they are put");
    let turns = Arc::new(Turns::default());
    let (of_other, sink) = (turns.clone(), turns.clone());
    let other = tokio::spawn(poll_fn::<(), _>(move |context| {
        of_other.turn.fetch_add(1, Ordering::Relaxed);
        context.waker().wake_by_ref();
        Poll::Pending
    }));
    let source = Arc::new(KinesisSource::new(world.config(), intake(&mut Registry::default())));
    let reading = tokio::spawn(async move { source.read_into("test", sink).await });
    eventually("all are taken", async || (turns.taken.lock().len() == COUNT).then_some(())).await;
    other.abort();
    reading.abort();
    let taken = turns.taken.lock();
    let most = taken.chunk_by(|one, next| one == next).map(<[usize]>::len).max();
    assert!(most < Some(COUNT / 2), "{most:?} records in one turn");
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
