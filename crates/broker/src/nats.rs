//! NATS: events of subjects, at most once.
//!
//! The gateway has a connection of its own for this, independent of that of a cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::nats::{AccessError, NatsAccess, Unread, UnreadMessages, pause};
use async_nats::connection::State;
use async_nats::{Client, Event as ClientEvent, HeaderMap, Message, SubscribeError, Subscriber};
use futures_util::future::{BoxFuture, pending, ready};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use node::{EventOrigin, Node, Source};
use parking_lot::Mutex;
use telemetry::Told;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::intake::{Feed, Intake};
use crate::metrics::Failure;

const NAME: &str = "nats";

/// Limit of messages of one subscription that its task has not seen yet. Many small ones come in a
/// burst faster than the task takes them; large ones do not.
const UNSEEN: usize = 131_072;

/// Limit of the bytes of all messages that are received but not read. Further ones are lost.
const UNREAD: usize = 32 << 20;

/// How often the server is asked for a sign of life. The library closes the connection when two are
/// unanswered and the next is due.
const PING: Duration = Duration::from_secs(10);

/// Limit of the pause between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(10);

/// A connection that was lost within this time counts as an attempt that has failed: something
/// closes it again and again.
const SHORT: Duration = Duration::from_secs(5);

/// Where events come from.
#[derive(Clone)]
pub struct NatsConfig {
    /// Where NATS is.
    pub access: NatsAccess,
    /// The subjects, which may have wildcards.
    pub subjects: Vec<String>,
    /// Which nodes receive an event.
    pub reach: Reach,
}

/// Which of the nodes that are subscribed to a subject receive a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// One of those in the queue group, which passes it on to the other nodes of its cluster.
    Group(String),
    /// Each.
    Every,
}

/// Publishes what comes on the subjects.
pub struct NatsSource {
    config: NatsConfig,
    intake: Intake,
    link: Arc<LinkState>,
    /// The present connection.
    client: Mutex<Option<Client>>,
    stage: watch::Sender<Stage>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// Nothing more is to be received.
    Leaving,
    /// What was received is published.
    Left,
}

/// What is known of the connection from its events.
#[derive(Default)]
struct LinkState {
    connected: Mutex<Option<Instant>>,
    /// A subscription was refused since it was connected.
    is_refused: AtomicBool,
    told: Told,
}

impl NatsSource {
    /// Returns a source. It connects when it is run.
    ///
    /// # Errors
    /// Fails if the configuration cannot be used, or a file of credentials cannot be read.
    pub async fn new(config: NatsConfig, intake: Intake) -> Result<Self, AccessError> {
        config.access.addresses()?;
        config.access.options().await?;
        let stage = watch::Sender::new(Stage::Running);
        Ok(Self { config, intake, link: Arc::default(), client: Mutex::default(), stage })
    }

    /// Opens a connection in the background.
    async fn open(&self) -> Result<Client, AccessError> {
        let (link, again) = (self.link.clone(), self.link.clone());
        let options = self.config.access.options().await?;
        let options = options
            .name("rig broker")
            .ping_interval(PING)
            .subscription_capacity(UNSEEN)
            .reconnect_delay_callback(move |attempts| again.pause(attempts))
            .event_callback(move |event| {
                link.note(&event);
                ready(())
            });
        let client = Box::pin(options.connect(self.config.access.addresses()?)).await;
        client.map_err(|error| AccessError::Refused(error.to_string()))
    }

    /// Receives and publishes. Returns if nothing can follow: after [`Source::leave`], or if the
    /// task of the library has stopped.
    async fn consume(&self, node: &Node) -> Result<(), AccessError> {
        let client = self.open().await?;
        *self.client.lock() = Some(client.clone());
        if self.is_leaving() {
            return Ok(());
        }
        let (unread, _) = Unread::new(UNREAD);
        let subjects = self.config.subjects.iter();
        let mut feeds: FuturesUnordered<_> =
            subjects.map(|subject| self.follow(&client, subject, &unread, node)).collect();
        while let Some(followed) = feeds.next().await {
            followed?;
        }
        Ok(())
    }

    /// Receives and publishes what comes on one subject, in order.
    async fn follow(
        &self,
        client: &Client,
        subject: &str,
        all: &Unread,
        node: &Node,
    ) -> Result<(), AccessError> {
        let origin = match self.config.reach {
            Reach::Group(_) => EventOrigin::Here,
            Reach::Every => EventOrigin::Everywhere,
        };
        let feed = Feed { source: NAME, topic: subject.into(), origin };
        self.intake.expect(&feed);
        let subscriber = self.subscribe(client, subject).await;
        let subscriber = subscriber.map_err(|error| AccessError::Refused(error.to_string()))?;
        let (unread, messages) = all.beside();
        // In a task of its own, since the library drops what it does not take.
        let mut receiving = JoinSet::new();
        let (intake, of) = (self.intake.clone(), feed.clone());
        receiving.spawn(async move {
            let overflow = || intake.refuse(&of, Failure::Overflow, &"more came than can be read");
            unread.take_all(subscriber, overflow).await;
        });
        self.publish_all(messages, &feed, node).await;
        Ok(())
    }

    async fn subscribe(&self, client: &Client, subject: &str) -> Result<Subscriber, SubscribeError> {
        match &self.config.reach {
            Reach::Group(group) => client.queue_subscribe(subject.to_owned(), group.clone()).await,
            Reach::Every => client.subscribe(subject.to_owned()).await,
        }
    }

    async fn publish_all(&self, mut messages: UnreadMessages, feed: &Feed, node: &Node) {
        while let Some(message) = messages.next().await {
            let Message { headers, payload, .. } = message;
            let headers = headers.unwrap_or_default();
            let event = event::nats::decode(texts(&headers), payload, self.intake.names());
            self.intake.take(node, feed, event).await;
        }
    }

    fn is_leaving(&self) -> bool {
        *self.stage.borrow() != Stage::Running
    }

    async fn reaches(&self, stage: Stage) {
        // The sender lives as long as this.
        let _ = self.stage.subscribe().wait_for(|reached| *reached == stage).await;
    }
}

/// Returns the headers as texts; those that are given more than once, each time.
fn texts(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name.as_ref(), value.as_str())))
}

impl LinkState {
    /// Returns the pause before an attempt to connect.
    fn pause(&self, attempts: usize) -> Duration {
        let was_short = self.connected.lock().is_some_and(|connected| connected.elapsed() < SHORT);
        let least = if was_short { SHORT / 5 } else { Duration::ZERO };
        // Many gateways that have lost one server do not come back in step.
        pause(attempts, PAUSE).max(least).mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    fn note(&self, event: &ClientEvent) {
        match event {
            ClientEvent::Connected => {
                *self.connected.lock() = Some(Instant::now());
                self.is_refused.store(false, Ordering::Relaxed);
                if self.told.is_due("connected") {
                    tracing::info!("connected to NATS, the broker");
                }
            }
            ClientEvent::Disconnected => self.warn("the connection is lost"),
            ClientEvent::ClientError(error) => self.warn(&error.to_string()),
            ClientEvent::ServerError(error) => {
                let error = error.to_string();
                if error.to_lowercase().contains("permissions violation for subscription") {
                    self.is_refused.store(true, Ordering::Relaxed);
                }
                self.warn(&error);
            }
            ClientEvent::SlowConsumer(_) => self.warn("more messages come than can be taken, some are lost"),
            ClientEvent::LameDuckMode | ClientEvent::Draining | ClientEvent::Closed => {}
        }
    }

    fn warn(&self, reason: &str) {
        if self.told.is_due(reason) {
            tracing::warn!(reason, "NATS, the broker");
        }
    }
}

impl Source for NatsSource {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_up(&self) -> bool {
        let state = self.client.lock().as_ref().map(Client::connection_state);
        state == Some(State::Connected) && !self.link.is_refused.load(Ordering::Relaxed)
    }

    fn run(self: Arc<Self>, node: Node) -> BoxFuture<'static, ()> {
        async move {
            let mut failures = 0;
            loop {
                let began = Instant::now();
                // A panic, here or in the library, costs what was received, and a new connection.
                let mut consuming = JoinSet::new();
                let (source, to) = (self.clone(), node.clone());
                consuming.spawn(async move { source.consume(&to).await });
                let ended = match consuming.join_next().await {
                    Some(Ok(Err(error))) => error.to_string(),
                    Some(Err(panic)) => panic.to_string(),
                    Some(Ok(Ok(()))) | None => "the client has stopped".to_owned(),
                };
                *self.client.lock() = None;
                if self.is_leaving() {
                    self.stage.send_replace(Stage::Left);
                    return pending().await;
                }
                self.link.warn(&ended);
                failures = if began.elapsed() < SHORT { failures + 1 } else { 0 };
                drop(timeout(pause(failures + 1, PAUSE), self.reaches(Stage::Leaving)).await);
            }
        }
        .boxed()
    }

    fn leave(&self, within: Duration) -> BoxFuture<'_, ()> {
        async move {
            self.stage.send_replace(Stage::Leaving);
            let Some(client) = self.client.lock().clone() else { return };
            // Without a connection, nothing is on its way.
            let is_connected = client.connection_state() == State::Connected;
            let left = async {
                if client.drain().await.is_ok() && is_connected {
                    self.reaches(Stage::Left).await;
                }
            };
            if timeout(within, left).await.is_err() {
                self.link.warn("not all that was received was published before this gateway stops");
            }
        }
        .boxed()
    }
}
