//! A stream with its table of leases, and workers that read it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::primitives::Blob;
use broker::kinesis::{
    AccessKey, InitialPosition, KinesisAccess, KinesisConfig, KinesisMode, KinesisSource, LeaseTiming, Sink,
};
use broker::{Intake, Metrics};
use bytes::Bytes;
use event::ExtensionNames;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use metric::Registry;
use node::Source;
use parking_lot::Mutex;
use rig_broker as broker;
use rig_tests::{DEADLINE, Kinesis};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

pub(crate) const STREAM: &str = "events";
pub(crate) const TABLE: &str = "group";

/// Short, so that tests do not wait for long.
pub(crate) const TIMING: LeaseTiming = LeaseTiming {
    duration: Duration::from_secs(5),
    renewal: Duration::from_millis(200),
    checkpoint: Duration::from_millis(100),
    listing: Duration::from_millis(500),
    patience: Duration::from_secs(60),
};

pub(crate) struct World {
    pub(crate) services: Kinesis,
    pub(crate) kinesis: aws_sdk_kinesis::Client,
    dynamodb: aws_sdk_dynamodb::Client,
}

/// A row of the table, without what changes all the time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) owner: Option<String>,
    pub(crate) checkpoint: String,
    pub(crate) part: String,
    pub(crate) parents: Vec<String>,
    pub(crate) since: Option<String>,
}

/// A source that passes records to a sink of the test.
pub(crate) struct Worker {
    pub(crate) source: Arc<KinesisSource>,
    pub(crate) sink: Arc<Recorder>,
    task: JoinHandle<()>,
}

/// Records what it takes.
pub(crate) struct Recorder {
    taken: Mutex<Vec<String>>,
    /// How many more records are taken before it blocks.
    room: AtomicUsize,
    /// Whether what was taken is said to be flushed.
    pub(crate) flushes: watch::Sender<bool>,
}

impl World {
    /// Starts the services, and creates a stream of this many shards.
    pub(crate) async fn new(shards: i32) -> Self {
        let services = Kinesis::start();
        let credentials = Credentials::new("test", "test", None, None, "test");
        let http = aws_smithy_http_client::Builder::new().build_http();
        let kinesis = aws_sdk_kinesis::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("eu-west-1"))
            .credentials_provider(credentials.clone())
            .http_client(http.clone())
            .endpoint_url(services.url());
        let dynamodb = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("eu-west-1"))
            .credentials_provider(credentials)
            .http_client(http)
            .endpoint_url(services.dynamodb_url());
        let world = Self {
            services,
            kinesis: aws_sdk_kinesis::Client::from_conf(kinesis.build()),
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb.build()),
        };
        let create = world.kinesis.create_stream().stream_name(STREAM).shard_count(shards);
        Box::pin(create.send()).await.expect("a stream");
        eventually("the stream is active", async || world.shards().await.map(drop)).await;
        world
    }

    pub(crate) fn access(&self) -> KinesisAccess {
        KinesisAccess {
            region: "eu-west-1".into(),
            endpoint: Some(self.services.url()),
            key: Some(AccessKey { id: "test".into(), secret: "test".into() }),
        }
    }

    pub(crate) fn config(&self) -> KinesisConfig {
        KinesisConfig {
            access: self.access(),
            dynamodb_endpoint: Some(self.services.dynamodb_url()),
            stream: STREAM.into(),
            application: TABLE.into(),
            mode: KinesisMode::Group,
            initial_position: InitialPosition::TrimHorizon,
            timing: TIMING,
        }
    }

    pub(crate) fn start(&self) -> Worker {
        Worker::start(self.config(), Recorder::new(usize::MAX))
    }

    /// Puts records into the shard of a key, one after the other.
    pub(crate) async fn put(&self, key: &str, records: impl IntoIterator<Item = impl Into<Vec<u8>>>) {
        for record in records {
            let put = self.kinesis.put_record().stream_name(STREAM).partition_key(key);
            let put = put.data(Blob::new(record.into()));
            Box::pin(put.send()).await.expect("it is put");
        }
    }

    /// Returns the ids of all shards, if the stream is active.
    pub(crate) async fn shards(&self) -> Option<Vec<String>> {
        let describe = self.kinesis.describe_stream().stream_name(STREAM);
        let described = Box::pin(describe.send()).await.ok()?.stream_description?;
        let is_active = described.stream_status.as_str() == "ACTIVE";
        is_active.then(|| described.shards.into_iter().map(|shard| shard.shard_id).collect())
    }

    /// Splits a shard in the middle.
    pub(crate) async fn split(&self, shard: &str) {
        let middle = (u128::MAX / 2 + 1).to_string();
        let split = self.kinesis.split_shard().stream_name(STREAM).shard_to_split(shard);
        Box::pin(split.new_starting_hash_key(middle).send()).await.expect("it is split");
        eventually("the stream is active", async || self.shards().await.map(drop)).await;
    }

    pub(crate) async fn merge(&self, shard: &str, with: &str) {
        let merge = self.kinesis.merge_shards().stream_name(STREAM).shard_to_merge(shard);
        Box::pin(merge.adjacent_shard_to_merge(with).send()).await.expect("they are merged");
        eventually("the stream is active", async || self.shards().await.map(drop)).await;
    }

    /// Returns the table of leases; empty if there is none.
    pub(crate) async fn rows(&self) -> HashMap<String, Row> {
        let scan = self.dynamodb.scan().table_name(TABLE).consistent_read(true);
        let Ok(scanned) = Box::pin(scan.send()).await else { return HashMap::new() };
        let row = |row: &HashMap<String, AttributeValue>| {
            let text = |column| row.get(column).and_then(|value| value.as_s().ok()).cloned();
            let parents = row.get("parentShardId").and_then(|value| value.as_ss().ok());
            let found = Row {
                owner: text("leaseOwner"),
                checkpoint: text("checkpoint").expect("each row has it"),
                part: row["checkpointSubSequenceNumber"].as_n().expect("it is a number").clone(),
                parents: parents.cloned().unwrap_or_default(),
                since: row.get("rigLatestSince").and_then(|value| value.as_n().ok()).cloned(),
            };
            (text("leaseKey").expect("it is the key"), found)
        };
        scanned.items().iter().map(row).collect()
    }

    /// Waits until each row fulfils a condition, and there is at least one.
    pub(crate) async fn await_rows(&self, what: &str, is_so: impl Fn(&Row) -> bool) -> HashMap<String, Row> {
        eventually(what, async || {
            let rows = self.rows().await;
            (!rows.is_empty() && rows.values().all(&is_so)).then_some(rows)
        })
        .await
    }

    /// Adds a row without an owner to the table of leases, which is created if there is none.
    pub(crate) async fn add_row(&self, shard: &str, checkpoint: &str, parents: &[&str]) {
        if !self.has_table().await {
            let key = KeySchemaElement::builder().attribute_name("leaseKey").key_type(KeyType::Hash);
            let kind = AttributeDefinition::builder().attribute_name("leaseKey");
            let kind = kind.attribute_type(ScalarAttributeType::S).build().expect("all is set");
            let create = self.dynamodb.create_table().table_name(TABLE).attribute_definitions(kind);
            let create = create.key_schema(key.build().expect("all is set"));
            let create = create.billing_mode(BillingMode::PayPerRequest);
            Box::pin(create.send()).await.expect("a table");
        }
        eventually("the row is added", async || {
            let put = self.dynamodb.put_item().table_name(TABLE);
            let put = put.item("leaseKey", AttributeValue::S(shard.to_owned()));
            let put = put.item("checkpoint", AttributeValue::S(checkpoint.to_owned()));
            let put = put.item("checkpointSubSequenceNumber", AttributeValue::N("0".to_owned()));
            let put = put.item("leaseCounter", AttributeValue::N("7".to_owned()));
            let parents: Vec<_> = parents.iter().map(|&parent| parent.to_owned()).collect();
            let put = match parents.is_empty() {
                true => put,
                false => put.item("parentShardId", AttributeValue::Ss(parents)),
            };
            Box::pin(put.send()).await.ok().map(drop)
        })
        .await;
    }

    /// Deletes the row of a shard.
    pub(crate) async fn delete_row(&self, shard: &str) {
        let delete = self.dynamodb.delete_item().table_name(TABLE);
        let delete = delete.key("leaseKey", AttributeValue::S(shard.to_owned()));
        Box::pin(delete.send()).await.expect("it is deleted");
    }

    /// Returns whether there is any table.
    pub(crate) async fn has_table(&self) -> bool {
        let tables = Box::pin(self.dynamodb.list_tables().send()).await.expect("a list");
        !tables.table_names().is_empty()
    }
}

impl Worker {
    pub(crate) fn start(config: KinesisConfig, sink: Arc<Recorder>) -> Self {
        let source = Arc::new(KinesisSource::new(config, intake(&mut Registry::default())));
        let (reading, to) = (source.clone(), sink.clone());
        let task = tokio::spawn(async move { reading.read_into("test", to).await });
        Self { source, sink, task }
    }

    /// Stops it at once, as a crash does.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }

    /// Has it stop in order.
    pub(crate) async fn leave(&self) {
        self.source.leave(DEADLINE).await;
    }
}

impl Recorder {
    /// Returns one that blocks after this many records.
    pub(crate) fn new(room: usize) -> Arc<Self> {
        Arc::new(Self {
            taken: Mutex::default(),
            room: AtomicUsize::new(room),
            flushes: watch::Sender::new(true),
        })
    }

    /// Returns whether somebody waits for what was taken to be flushed.
    pub(crate) fn is_asked_to_flush(&self) -> bool {
        self.flushes.receiver_count() > 0
    }

    pub(crate) fn taken(&self) -> Vec<String> {
        self.taken.lock().clone()
    }

    /// Waits until this many records were taken, and returns them.
    pub(crate) async fn await_taken(&self, count: usize) -> Vec<String> {
        let what = format!("{count} records are taken");
        let taken = eventually(&what, async || {
            let taken = self.taken();
            (taken.len() >= count).then_some(taken)
        });
        let taken = taken.await;
        assert_eq!(taken.len(), count, "{taken:?}");
        taken
    }
}

impl Sink for Recorder {
    fn take(&self, data: Bytes) -> BoxFuture<'_, ()> {
        async move {
            let less = |room: usize| room.checked_sub(1);
            if self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err() {
                return std::future::pending().await;
            }
            self.taken.lock().push(String::from_utf8_lossy(&data).into_owned());
        }
        .boxed()
    }

    fn flushed(&self) -> BoxFuture<'_, ()> {
        let mut flushes = self.flushes.subscribe();
        async move { drop(flushes.wait_for(|flushes| *flushes).await) }.boxed()
    }
}

pub(crate) fn intake(registry: &mut Registry) -> Intake {
    Intake::new(Metrics::register(registry), ExtensionNames::default(), None)
}

/// Returns `prefix-0` to `prefix-(count - 1)`.
pub(crate) fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number}")).collect()
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T, F>(what: &str, ask: impl Fn() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        sleep(Duration::from_millis(10)).await;
    }
}
