//! The source: a worker that reads the stream until the gateway stops.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use node::{EventOrigin, Node, Source};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

use super::aws::{Failed, Trouble, configure};
use super::lease::Leases;
use super::link::LinkState;
use super::reader::{Commons, RESPONSES};
use super::sink::{NodeSink, Sink};
use super::table::{SharedTable, Table};
use super::worker::Worker;
use super::{KinesisConfig, KinesisMode, NAME};
use crate::intake::Intake;
use crate::lifecycle::Lifecycle;

/// Limit of the time of a request to Kinesis, whose response may have 10 MB.
const KINESIS_TIME: Duration = Duration::from_secs(10);

/// Limit of the time of a request to DynamoDB. Leases are read and renewed within their validity.
const DYNAMODB_TIME: Duration = Duration::from_secs(3);

/// Publishes the records of a stream.
pub struct KinesisSource {
    config: KinesisConfig,
    intake: Intake,
    link: Arc<LinkState>,
    lifecycle: Lifecycle,
}

impl KinesisSource {
    /// Returns a source. It connects when it is run.
    pub fn new(config: KinesisConfig, intake: Intake) -> Self {
        Self { config, intake, link: Arc::default(), lifecycle: Lifecycle::new() }
    }

    /// Reads records and passes them to `sink`, as a worker whose name begins with `name`. Never
    /// returns.
    pub async fn read_into(self: Arc<Self>, name: &str, sink: Arc<dyn Sink>) {
        let worker: Arc<str> = format!("{name}:{}", Uuid::new_v4()).into();
        // A panic costs the leases, which are taken again at once.
        let read = || {
            let (source, sink, worker) = (self.clone(), sink.clone(), worker.clone());
            async move {
                let commons = Arc::new(source.commons(&worker, sink).await);
                Worker::new(commons, worker).run().await;
                Ok::<_, Infallible>(())
            }
        };
        let failed = |reason: &dyn Display| {
            self.link.warn("its task has failed", &Failed::new(Trouble::Away, reason.to_string()));
        };
        self.lifecycle.run(self.config.timing.duration, read, || {}, failed).await;
    }

    async fn commons(&self, worker: &Arc<str>, sink: Arc<dyn Sink>) -> Commons {
        let KinesisConfig { access, dynamodb_endpoint, application, mode, .. } = &self.config;
        // Failures are handled here, one attempt is enough.
        let kinesis = configure(access, access.endpoint.as_deref(), KINESIS_TIME, 1).await;
        let table = match mode {
            KinesisMode::Broadcast => {
                Table::Own { worker: worker.clone(), leases: Mutex::new(Leases::new()) }
            }
            KinesisMode::Group => {
                let dynamodb = configure(access, dynamodb_endpoint.as_deref(), DYNAMODB_TIME, 1).await;
                let client = aws_sdk_dynamodb::Client::new(&dynamodb);
                Table::Shared(SharedTable { client, name: application.clone(), worker: worker.clone() })
            }
        };
        Commons {
            kinesis: aws_sdk_kinesis::Client::new(&kinesis),
            config: self.config.clone(),
            table,
            sink,
            link: self.link.clone(),
            stage: self.lifecycle.stage(),
            responses: Semaphore::new(RESPONSES),
            listed: Mutex::default(),
        }
    }
}

impl Source for KinesisSource {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_up(&self) -> bool {
        self.link.is_up()
    }

    fn run(self: Arc<Self>, node: Node) -> BoxFuture<'static, ()> {
        let origin = match self.config.mode {
            KinesisMode::Group => EventOrigin::Here,
            KinesisMode::Broadcast => EventOrigin::Everywhere,
        };
        let feed = self.intake.feed(NAME, &self.config.stream, origin);
        let sink = NodeSink { node: node.clone(), intake: self.intake.clone(), feed };
        async move { self.read_into(&node.name().to_string(), Arc::new(sink)).await }.boxed()
    }

    fn leave(&self, within: Duration) -> BoxFuture<'_, ()> {
        async move {
            self.lifecycle.leave();
            if timeout(within, self.lifecycle.has_left()).await.is_err() {
                let late = Failed::new(Trouble::Late, "what was read since the last checkpoint is repeated");
                self.link.warn("not everything was stored before this gateway stops", &late);
            }
        }
        .boxed()
    }
}
