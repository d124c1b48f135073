//! Events that come from topics.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use avro::Registry;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use node::{EventOrigin, Node, Source};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::access::{AccessError, explain};
use super::dead_letters::DeadLetters;
use super::ends::Beginning;
use super::everywhere::{Everywhere, without_group};
use super::observer::Observer;
use super::offsets::Offsets;
use super::reader::Reader;
use super::work::Work;
use super::{KafkaAccess, Link, NAME};
use crate::intake::{Feed, Intake};
use crate::lifecycle::Lifecycle;

/// How often what is stored is committed: a node that is killed leaves as much to repeat.
const COMMIT: Duration = Duration::from_secs(5);

/// Where events come from.
#[derive(Clone)]
pub struct KafkaConfig {
    /// Where Kafka is.
    pub access: KafkaAccess,
    /// The topics, by their names.
    pub topics: Vec<String>,
    /// Which nodes receive an event.
    pub reach: Reach,
    /// Where to begin in a partition of which the group has stored nothing, or of which the
    /// messages to read next are no longer there.
    pub reset: Reset,
    /// The topic for messages that are no events; `None` to drop them.
    pub dead_letters: Option<String>,
    /// The registry of schemas; `None` if nothing is in Avro.
    pub registry: Option<Arc<Registry>>,
}

/// Which of the nodes that read a topic receive a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// One of those in the group, which passes it on to the other nodes of its cluster.
    Group {
        /// The group.
        id: String,
        /// The name of this node in it. A node that comes back under the same name, within the
        /// time that the group waits for it, gets its partitions again without a rebalance.
        instance: Option<String>,
    },
    /// Each, without a group: from the end at each start.
    Every,
}

/// Where to begin in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// With the first message that is written from now on.
    Latest,
    /// With the first message that is there.
    Earliest,
}

/// Publishes what is written to the topics.
pub struct KafkaSource {
    config: KafkaConfig,
    feeds: Arc<[Feed]>,
    work: Work,
    link: Link,
    /// How far each partition was taken without a group. Outlives a consumer; a group knows it by
    /// itself.
    offsets: Arc<Offsets>,
    beginning: Arc<Beginning>,
    lifecycle: Lifecycle,
    /// Whether everything that was there at first is read, for nodes without a group.
    ready: Mutex<Option<watch::Receiver<bool>>>,
}

/// A consumer that is closed by a thread that may wait: it leaves its group then.
struct Closing(Option<Arc<StreamConsumer<Observer>>>);

impl KafkaSource {
    /// Returns a source. It connects when it is run.
    ///
    /// # Errors
    /// Fails if the configuration cannot be used, or a file cannot be read.
    ///
    /// # Panics
    /// Panics if this thread is none of a runtime.
    #[expect(clippy::unused_async, reason = "as the other sources, and only in a runtime")]
    pub async fn new(config: KafkaConfig, intake: Intake) -> Result<Self, AccessError> {
        config.access.check()?;
        let origin = match config.reach {
            Reach::Group { .. } => EventOrigin::Here,
            Reach::Every => EventOrigin::Everywhere,
        };
        let feed = |topic: &String| intake.feed(NAME, topic, origin);
        let feeds: Arc<[Feed]> = config.topics.iter().map(feed).collect();
        let topics = feeds.iter().map(|feed| feed.topic.clone()).collect();
        let link = Link::new(&config.access, "events");
        let topic = config.dead_letters.as_deref();
        let dead_letters = topic.map(|topic| DeadLetters::new(&config.access, topic.into())).transpose()?;
        let lifecycle = Lifecycle::new();
        let work = Work {
            intake,
            registry: config.registry.clone(),
            dead_letters,
            link: link.clone(),
            stage: lifecycle.stage(),
            restart_delay: config.access.restart_delay,
            is_refused: AtomicBool::default(),
        };
        let source = Self {
            config,
            feeds,
            work,
            link,
            offsets: Arc::default(),
            beginning: Arc::new(Beginning::new(topics)),
            lifecycle,
            ready: Mutex::default(),
        };
        // Finds what only the library knows, such as whether a key fits its certificate. Without a
        // group, there is nothing to leave.
        let mut client = source.client();
        client.remove("group.id");
        drop(source.consumer(&client, Arc::default(), None)?);
        Ok(source)
    }

    fn client(&self) -> ClientConfig {
        let mut client = self.config.access.client();
        // Unlike what is set below, these may be changed by KAFKA_PROPERTIES.
        for (name, value) in [
            // 64 MiB for each consumer otherwise. One answer of a broker is then not more than
            // that either, unless message.max.bytes is.
            ("queued.max.messages.kbytes", "8192"),
            ("fetch.wait.max.ms", "100"),
            // How long nothing is fetched when as much is queued as may be. A second otherwise,
            // in which the queue is emptied many times.
            ("fetch.queue.backoff.ms", "10"),
        ] {
            if client.get(name).is_none() {
                client.set(name, value);
            }
        }
        let reset = match self.config.reset {
            Reset::Latest => "latest",
            Reset::Earliest => "earliest",
        };
        client.set("auto.offset.reset", reset).set("partition.assignment.strategy", "cooperative-sticky");
        match &self.config.reach {
            Reach::Group { id, instance } => {
                client
                    .set("group.id", id)
                    .set("enable.auto.offset.store", "false")
                    .set("enable.auto.commit", "true")
                    .set("auto.commit.interval.ms", COMMIT.as_millis().to_string());
                if let Some(instance) = instance {
                    client.set("group.instance.id", instance);
                }
            }
            Reach::Every => without_group(&mut client),
        }
        client
    }

    fn consumer(
        &self,
        client: &ClientConfig,
        offsets: Arc<Offsets>,
        node: Option<Node>,
    ) -> Result<Closing, AccessError> {
        let metrics = self.work.intake.metrics().clone();
        let (link, feeds) = (self.link.clone(), self.feeds.clone());
        let is_group = matches!(self.config.reach, Reach::Group { .. });
        let begins_at_end = is_group && self.config.reset == Reset::Latest;
        let beginning = begins_at_end.then(|| self.beginning.clone());
        let observer = Observer::new(link, metrics, feeds, offsets, node, beginning);
        let consumer = client.create_with_context(observer).map_err(|error| explain(&error))?;
        Ok(Closing(Some(Arc::new(consumer))))
    }

    /// Receives and publishes. Returns if nothing can follow: after [`Source::leave`], or if the
    /// consumer is of no use any more.
    async fn consume(&self, node: &Node) -> Result<(), AccessError> {
        let refused = |error: &dyn Display| AccessError::Refused(error.to_string());
        let mut beside = JoinSet::new();
        if let Some(oauth) = self.config.access.oauth() {
            oauth.renew().await.map_err(|error| refused(&error))?;
            let link = self.link.clone();
            beside.spawn(async move { oauth.keep_fresh(|error| link.warn("token", error)).await });
        }
        let offsets = match self.config.reach {
            // That of an earlier consumer, which may close at the same time, is another one.
            Reach::Group { .. } => Arc::default(),
            Reach::Every => self.offsets.clone(),
        };
        let closing = self.consumer(&self.client(), offsets.clone(), Some(node.clone()))?;
        let consumer = closing.consumer();
        self.link.set_refused(false);
        let stores = match &self.config.reach {
            Reach::Group { .. } => {
                let topics: Vec<_> = self.config.topics.iter().map(String::as_str).collect();
                consumer.subscribe(&topics).map_err(|error| explain(&error))?;
                true
            }
            Reach::Every => {
                let positions = self.offsets.positions().into_iter();
                let place = |((topic, partition), next): ((usize, i32), _)| {
                    ((self.feeds[topic].topic.clone(), partition), next)
                };
                let resume: HashMap<_, _> = positions.map(place).collect();
                let (link, beginning) = (self.link.clone(), self.beginning.clone());
                let (feeds, offsets) = (self.feeds.clone(), offsets.clone());
                let gone = move |topic: &str| {
                    let of_it = feeds.iter().position(|feed| *feed.topic == *topic);
                    of_it.into_iter().for_each(|topic| offsets.forget_topic(topic));
                };
                let everywhere = Everywhere::new(consumer.clone(), link, beginning, resume, gone);
                let (is_ready, ready) = watch::channel(false);
                *self.ready.lock() = Some(ready);
                beside.spawn(everywhere.keep(is_ready));
                false
            }
        };
        let offsets = (&*self.feeds, &*offsets);
        let reading = Box::pin(Reader::new(consumer, (&self.work, node), offsets, stores).read());
        let ended = tokio::select! {
            read = reading => read.map_err(|error| explain(&error)),
            Some(ended) = beside.join_next() => match ended {
                Err(panic) => Err(refused(&panic)),
                Ok(()) => Err(refused(&"a task has ended")),
            }
        };
        if self.lifecycle.is_leaving() {
            // The others of the group need not wait until they miss this one.
            beside.shutdown().await;
            closing.close().await;
        }
        ended
    }
}

impl Closing {
    fn consumer(&self) -> &Arc<StreamConsumer<Observer>> {
        self.0.as_ref().expect("it is only taken when this is closed")
    }

    /// Leaves the group, and closes the consumer. May take as long as the brokers are away.
    async fn close(mut self) {
        let consumer = self.0.take();
        spawn_blocking(move || drop(consumer)).await.expect("closing does not panic");
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if let (Some(consumer), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            drop(runtime.spawn_blocking(move || drop(consumer)));
        }
    }
}

impl Source for KafkaSource {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_up(&self) -> bool {
        let is_ready = || self.ready.lock().as_ref().is_none_or(|ready| *ready.borrow());
        self.link.is_up() && !self.work.is_refused() && is_ready()
    }

    fn run(self: Arc<Self>, node: Node) -> BoxFuture<'static, ()> {
        async move {
            let consume = || {
                let (source, node) = (self.clone(), node.clone());
                async move { source.consume(&node).await }
            };
            let failed = |reason: &dyn Display| self.link.warn("consumer", &reason);
            let most = self.config.access.restart_delay;
            self.lifecycle.run(most, consume, || self.link.lost(), failed).await;
        }
        .boxed()
    }

    fn leave(&self, within: Duration) -> BoxFuture<'_, ()> {
        async move {
            self.lifecycle.leave();
            if timeout(within, self.lifecycle.has_left()).await.is_err() {
                let reason =
                    "not all that was received was published and committed before this gateway stops";
                self.link.warn("leave", &reason);
            }
        }
        .boxed()
    }
}
