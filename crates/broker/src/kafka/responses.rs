//! Answers to requests that come as messages of Kafka (RIG: `response_from: kafka`).
//!
//! Each node reads the whole of the topics, without a group, and takes the answers to its own
//! requests. Commits are of no use here: no request waits for an answer that
//! is older than the timeout.

mod answers;

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::StreamExt;
use parking_lot::Mutex;
use proxy::Waiting;
use rdkafka::consumer::StreamConsumer;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{ClientConfig, Message as _};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinSet, coop};

use self::answers::{Answers, Message};
use super::access::{AccessError, explain};
use super::ends::{Beginning, Place};
use super::everywhere::{Everywhere, without_group};
use super::{KafkaAccess, Link};
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;

/// Where answers come from.
#[derive(Clone, Debug)]
pub struct KafkaResponsesConfig {
    /// Where Kafka is.
    pub access: KafkaAccess,
    /// The topics of answers.
    pub topics: Vec<String>,
    /// The topics of events. One of them may be a topic of answers as well: the messages in it that
    /// name no request are events, and are not counted as unknown answers.
    pub source_topics: Vec<String>,
}

/// Reads answers, and hands them to the requests that wait for them.
pub struct KafkaResponses {
    config: KafkaResponsesConfig,
    topics: Vec<Arc<str>>,
    answers: Answers,
    link: Link,
    /// The next message of each partition. Outlives a consumer.
    positions: Arc<Mutex<HashMap<Place, i64>>>,
    beginning: Arc<Beginning>,
    is_ready: watch::Sender<bool>,
}

/// A consumer that is closed by a thread that may wait.
struct Closing(Option<Arc<StreamConsumer<Link>>>);

impl KafkaResponses {
    /// Returns what reads answers to these requests. It connects when it is run.
    ///
    /// # Errors
    /// Fails if the configuration cannot be used, or a file that it names cannot be read.
    ///
    /// # Panics
    /// Panics if this thread is none of a runtime.
    pub fn new(
        config: KafkaResponsesConfig,
        waiting: Arc<Waiting>,
        metrics: Metrics,
    ) -> Result<Self, AccessError> {
        config.access.check()?;
        let arcs = |names: &[String]| names.iter().map(|name| Arc::from(name.as_str())).collect::<Vec<_>>();
        let (topics, source_topics) = (arcs(&config.topics), arcs(&config.source_topics));
        let link = Link::new(&config.access, "answers");
        let beginning = Arc::new(Beginning::new(topics.clone()));
        let answers = Answers::new(waiting, metrics, source_topics);
        let responses = Self {
            config,
            topics,
            answers,
            link,
            positions: Arc::default(),
            beginning,
            is_ready: watch::Sender::new(false),
        };
        // Finds what only the library knows, such as whether a key fits its certificate.
        drop(responses.consumer()?);
        Ok(responses)
    }

    /// Returns whether all answers are read that are written from now on. If not, requests that
    /// would wait for one are to be refused.
    pub fn is_ready(&self) -> bool {
        self.link.is_up() && *self.is_ready.borrow()
    }

    /// Reads answers, and connects again whenever the consumer is of no use any more. Never
    /// returns.
    pub async fn run(self: Arc<Self>) {
        let read = || {
            let responses = self.clone();
            async move { responses.read().await }
        };
        let lost = || {
            self.link.lost();
            self.is_ready.send_replace(false);
        };
        let failed = |reason: &dyn Display| self.link.warn("consumer", &reason);
        // Nothing is to be finished when the gateway stops.
        Lifecycle::new().run(self.config.access.restart_delay, read, lost, failed).await;
    }

    fn client(&self) -> ClientConfig {
        let mut client = self.config.access.client();
        for (name, value) in [
            // 64 MiB otherwise. One answer of a broker is then not more than that either, unless
            // message.max.bytes is.
            ("queued.max.messages.kbytes", "8192"),
            ("fetch.wait.max.ms", "100"),
        ] {
            if client.get(name).is_none() {
                client.set(name, value);
            }
        }
        client.set("auto.offset.reset", "latest");
        without_group(&mut client);
        client
    }

    fn consumer(&self) -> Result<Closing, AccessError> {
        let consumer =
            self.client().create_with_context(self.link.clone()).map_err(|error| explain(&error))?;
        Ok(Closing(Some(Arc::new(consumer))))
    }

    /// Reads answers with one consumer, until it is of no use any more.
    async fn read(&self) -> Result<(), AccessError> {
        let mut beside = JoinSet::new();
        if let Some(oauth) = self.config.access.oauth() {
            oauth.renew().await.map_err(|error| AccessError::Refused(error.to_string()))?;
            let link = self.link.clone();
            beside.spawn(async move { oauth.keep_fresh(|error| link.warn("token", error)).await });
        }
        let closing = self.consumer()?;
        let consumer = closing.consumer();
        let resume = self.positions.lock().clone();
        let (link, beginning) = (self.link.clone(), self.beginning.clone());
        let positions = self.positions.clone();
        let gone = move |topic: &str| positions.lock().retain(|(of, _), _| **of != *topic);
        let everywhere = Everywhere::new(consumer.clone(), link, beginning, resume, gone);
        beside.spawn(everywhere.keep(self.is_ready.clone()));
        tokio::select! {
            error = self.take_all(consumer) => Err(explain(&error)),
            Some(ended) = beside.join_next() => Err(AccessError::Refused(match ended {
                Err(panic) => panic.to_string(),
                Ok(()) => "a task has ended".to_owned(),
            })),
        }
    }

    /// Takes what is received. Returns why the consumer is of no use any more.
    async fn take_all(&self, consumer: &StreamConsumer<Link>) -> KafkaError {
        let mut messages = consumer.stream();
        loop {
            match messages.next().await.expect("the stream does not end") {
                Ok(message) => self.take(&message),
                Err(error @ KafkaError::MessageConsumptionFatal(_)) => return error,
                // The library tries again by itself.
                Err(error) => self.link.warn(&format!("{:?}", error.rdkafka_error_code()), &error),
            }
            coop::consume_budget().await;
        }
    }

    fn take(&self, message: &BorrowedMessage<'_>) {
        // Only these were asked for.
        let Some(topic) = self.topics.iter().find(|topic| ***topic == *message.topic()) else { return };
        let (partition, offset) = (message.partition(), message.offset());
        self.positions.lock().insert((topic.clone(), partition), offset + 1);
        let read = Message { topic, partition, offset, value: message.payload().unwrap_or_default() };
        self.answers.take(read, headers(message).iter().copied());
    }
}

/// Returns the headers that have a value; none if a name is not UTF-8, which makes the library
/// panic. A message must not stop what comes after it.
fn headers<'m>(message: &'m BorrowedMessage<'_>) -> Vec<(&'m str, &'m [u8])> {
    let collect = || {
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        headers.filter_map(|header| Some((header.key, header.value?))).collect()
    };
    catch_unwind(AssertUnwindSafe(collect)).unwrap_or_default()
}

impl Closing {
    fn consumer(&self) -> &Arc<StreamConsumer<Link>> {
        self.0.as_ref().expect("it is only taken when this is dropped")
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if let (Some(consumer), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            drop(runtime.spawn_blocking(move || drop(consumer)));
        }
    }
}

impl fmt::Debug for KafkaResponses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaResponses").field("is_ready", &self.is_ready()).finish_non_exhaustive()
    }
}
