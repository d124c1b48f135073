//! NATS: events of subjects, at most once, or of a stream of JetStream, at least once; and events
//! and requests to subjects.
//!
//! The gateway has connections of its own for this, independent of those of a cluster: one of the
//! source, one of the producer.

pub mod check;
mod core;
mod jetstream;
mod link;
mod producer;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use ::nats::{AccessError, NatsAccess};
use async_nats::connection::State;
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use event::Event;
use event::http::DecodeError;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use node::{Node, Source};
use parking_lot::Mutex;
use tokio::time::timeout;

use self::jetstream::Stream;
use self::link::{Link, PAUSE};
pub use self::producer::NatsProducer;
use crate::intake::Intake;
use crate::lifecycle::Lifecycle;

const NAME: &str = "nats";

/// Limit of messages of one subscription that its task has not seen yet. Many small ones come in a
/// burst faster than the task takes them; large ones do not.
const UNSEEN: usize = 131_072;

/// Where events come from, and where they are sent to.
#[derive(Clone)]
pub struct NatsConfig {
    /// Where NATS is.
    pub access: NatsAccess,
    /// The subjects, which may have wildcards.
    pub subjects: Vec<String>,
    /// Which nodes receive an event. A stream has [`Reach::Group`]: its consumer is the group.
    pub reach: Reach,
    /// The stream that holds the messages; `None` for core NATS.
    pub stream: Option<StreamConfig>,
    /// How long the reply to an event that is sent as a request may take.
    pub reply_timeout: Duration,
}

/// Which of the nodes that are subscribed to a subject receive a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// One of those in the queue group, which passes it on to the other nodes of its cluster.
    Group(String),
    /// Each.
    Every,
}

/// A stream of JetStream, and the durable consumer that its nodes share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// The stream. It is never created here.
    pub stream: String,
    /// The durable consumer. It is created if it does not exist.
    pub consumer: String,
    /// How often the server delivers a message of a consumer that is created here; `None`: until it
    /// is acknowledged.
    pub max_deliver: Option<u32>,
}

/// Publishes what comes on the subjects.
pub struct NatsSource {
    config: NatsConfig,
    stream: Option<Stream>,
    intake: Intake,
    link: Arc<Link>,
    /// The present connection.
    client: Mutex<Option<Client>>,
    lifecycle: Lifecycle,
}

impl NatsSource {
    /// Returns a source. It connects when it is run.
    ///
    /// # Errors
    /// Fails if the configuration cannot be used, or a file of credentials cannot be read.
    pub async fn new(config: NatsConfig, intake: Intake) -> Result<Self, AccessError> {
        config.access.options().await?;
        let link = Arc::new(Link::new(&config.access, Arc::default())?);
        let stream = config.stream.clone().map(|stream| Stream::new(stream, &config.subjects));
        let lifecycle = Lifecycle::new();
        Ok(Self { config, stream, intake, link, client: Mutex::default(), lifecycle })
    }

    /// Receives and publishes. Returns if nothing can follow: after [`Source::leave`], or if the
    /// task of the library has stopped.
    async fn consume(&self, node: &Node) -> Result<(), AccessError> {
        let client = self.link.open(&self.config.access, "rig broker", UNSEEN).await?;
        *self.client.lock() = Some(client.clone());
        if self.lifecycle.is_leaving() {
            return Ok(());
        }
        match &self.stream {
            None => self.follow_subjects(&client, node).await,
            Some(stream) => Box::pin(self.follow_stream(&client, stream, node)).await,
        }
    }
}

/// Reads the event of a message.
fn decode(headers: Option<HeaderMap>, payload: Bytes, intake: &Intake) -> Result<Event, DecodeError> {
    let headers = headers.unwrap_or_default();
    event::nats::decode(texts(&headers), payload, intake.names())
}

/// Returns the headers as texts; those that are given more than once, each time.
fn texts(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name.as_ref(), value.as_str())))
}

impl Source for NatsSource {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_up(&self) -> bool {
        let state = self.client.lock().as_ref().map(Client::connection_state);
        let is_bound = self.stream.as_ref().is_none_or(Stream::is_bound);
        state == Some(State::Connected) && is_bound && !self.link.is_refused()
    }

    fn run(self: Arc<Self>, node: Node) -> BoxFuture<'static, ()> {
        async move {
            let consume = || {
                let (source, node) = (self.clone(), node.clone());
                async move { source.consume(&node).await }
            };
            let lost = || *self.client.lock() = None;
            let failed = |reason: &dyn Display| self.link.warn(&reason.to_string());
            self.lifecycle.run(PAUSE, consume, lost, failed).await;
        }
        .boxed()
    }

    fn leave(&self, within: Duration) -> BoxFuture<'_, ()> {
        async move {
            self.lifecycle.leave();
            let Some(client) = self.client.lock().clone() else { return };
            // Without a connection, nothing is on its way.
            let is_connected = client.connection_state() == State::Connected;
            let left = async {
                // What a stream has delivered is acknowledged over the connection.
                let is_draining = self.stream.is_some() || client.drain().await.is_ok();
                if is_draining && is_connected {
                    self.lifecycle.has_left().await;
                }
            };
            if timeout(within, left).await.is_err() {
                self.link.warn("not all that was received was published before this gateway stops");
            }
        }
        .boxed()
    }
}
