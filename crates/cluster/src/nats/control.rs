//! The control connection.

use std::collections::hash_map::RandomState;
use std::future::ready;
use std::hash::BuildHasher;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ::nats::AccessError;
use async_nats::{HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, FutureExt, join, select};
use futures_util::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;
use seal::Incarnation;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::config::NatsConfig;
use super::events::NatsEvents;
use super::inbox::Inbox;
use super::link::{ServerConnection, with_changes};
use super::message;
use super::servers::{Purpose, Servers};
use crate::once::Once;
use crate::wire::{
    AnswerHandle, Fetched, Incoming, Live, Names, Publication, PublishError, Replay, StreamInfo,
    StreamMessage, Wire, WireError,
};

/// Limit of messages of one subscription that are received but not read.
const UNREAD: usize = 131_072;

/// How long a publication may take. An election takes longer, and the outcome is unknown then.
const PUBLISH: Duration = Duration::from_secs(2);

/// How long the server may take to confirm a subscription.
const SUBSCRIBE: Duration = Duration::from_secs(5);

/// How long a message may take from one connection of a node to the other. A server that does not
/// answer is left after three pings.
const PROBE: Duration = Duration::from_secs(2);

/// How often it is sent: what is lost is not sent again, and subscriptions take some milliseconds.
const PROBE_AGAIN: Duration = Duration::from_millis(200);

/// How long a node stays with a server that reaches another one, although no beat comes back. An
/// election takes up to 9 s, of which 3 s have passed.
const STAY: Duration = Duration::from_secs(8);

/// After this time without a request to leave, the next one has another cause. They come every 3 s.
const STAYED: Duration = Duration::from_secs(5);

/// Limit of broadcasts that are remembered, since each comes twice. To take one again does no harm.
const REPEATED: usize = 4096;

/// Codes of a publication that expected another message (nats-server, server/errors.json).
const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];

/// The control connection of a node. What it publishes comes back to it.
pub struct NatsWire {
    connection: ServerConnection,
    servers: Arc<Servers>,
    /// The connection of events, over which broadcasts go as well.
    events: Option<ServerConnection>,
    /// The first and the last time that this node was to leave its server, while it stays there.
    stays: Mutex<Option<(Instant, Instant)>>,
    inbox: Inbox,
    names: Names,
    life: Incarnation,
    replicas: usize,
}

impl NatsWire {
    /// Opens the connection in the background, and goes on trying.
    ///
    /// # Errors
    /// Fails if the configuration cannot be used.
    pub async fn open(config: &NatsConfig, life: Incarnation) -> Result<Self, AccessError> {
        Self::open_with(config, life, None).await
    }

    /// Opens the connection beside the one of events: they use different servers, and broadcasts go
    /// over both, so that they arrive while one server fails.
    ///
    /// # Errors
    /// Fails if the configuration cannot be used.
    pub async fn open_beside(
        events: &NatsEvents,
        config: &NatsConfig,
        life: Incarnation,
    ) -> Result<Self, AccessError> {
        Self::open_with(config, life, Some(events)).await
    }

    async fn open_with(
        config: &NatsConfig,
        life: Incarnation,
        events: Option<&NatsEvents>,
    ) -> Result<Self, AccessError> {
        let purpose = Purpose::Control;
        let options = config.options(purpose.name()).await?.subscription_capacity(UNREAD);
        let servers = events.map(|events| events.servers().clone()).unwrap_or_default();
        let using = (servers.clone(), purpose);
        let connection = ServerConnection::open(config, options, using, first_server(life)).await?;
        let inbox = Inbox::open(connection.clone()).await;
        let inbox = inbox.map_err(|error| AccessError::Refused(error.to_string()))?;
        Ok(Self {
            connection,
            servers,
            events: events.map(|events| events.connection().clone()),
            stays: Mutex::default(),
            inbox,
            names: config.names(),
            life,
            replicas: config.replicas,
        })
    }

    /// Waits until there is a connection.
    ///
    /// # Errors
    /// Fails after `within` with the reason, if it is known.
    pub async fn connected(&self, within: Duration) -> Result<(), String> {
        self.connection.connected(within).await
    }

    /// Returns the server of the last attempt to connect, as `host:port`.
    pub fn server(&self) -> String {
        self.connection.server()
    }

    /// Returns the last error of the connection that belongs to no call.
    pub fn trouble(&self) -> Option<String> {
        self.connection.trouble()
    }

    /// Returns the names of the cluster.
    pub fn names(&self) -> &Names {
        &self.names
    }

    pub(super) fn replicas(&self) -> usize {
        self.replicas
    }

    pub(super) fn connection(&self) -> &ServerConnection {
        &self.connection
    }

    pub(super) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    pub(super) async fn request_raw(
        &self,
        subject: String,
        payload: Bytes,
        within: Duration,
    ) -> Result<Message, WireError> {
        self.inbox.request(subject, HeaderMap::new(), payload, within).await
    }

    async fn publish_now(&self, message: Publication) -> Result<u64, PublishError> {
        let refused = |text: &str| PublishError::Refused(text.to_owned());
        let sent = self.inbox.request(message.subject.clone(), headers(&message), message.payload, PUBLISH);
        let answer = match sent.await {
            Ok(answer) => answer.payload,
            Err(WireError::Timeout) => return Err(PublishError::Unknown),
            Err(WireError::NoResponders) => return Err(refused("no stream takes the subject")),
            Err(error) => return Err(refused(&error.to_string())),
        };
        let Ok(answer) = serde_json::from_slice::<Value>(&answer) else { return Err(PublishError::Unknown) };
        let error = &answer["error"];
        match (answer["seq"].as_u64(), error["err_code"].as_u64()) {
            (Some(sequence), None) if sequence > 0 => Ok(sequence),
            (_, Some(code)) if WRONG_LAST_SEQUENCE.contains(&code) => Err(PublishError::Conflict),
            (_, Some(_)) => Err(refused(error["description"].as_str().unwrap_or("for no reason"))),
            _ => Err(PublishError::Unknown),
        }
    }

    async fn broadcast_now(&self, payload: Bytes) -> Result<(), WireError> {
        let sent = self.connection.send(self.names.fast(), payload.clone());
        let Some(events) = &self.events else { return sent.await };
        let (sent, sent_beside) = join(sent, events.send(self.names.fast(), payload)).await;
        sent.or(sent_beside)
    }

    async fn all_broadcasts(&self) -> Result<BoxStream<'static, Bytes>, WireError> {
        let messages = self.subscribed(self.names.fast()).await?.map(|message| message.payload);
        let Some(events) = &self.events else { return Ok(messages.boxed()) };
        let beside = events.subscribe(self.names.fast()).await?.map(|message| message.payload);
        let (hasher, mut once) = (RandomState::new(), Once::new(REPEATED));
        let mut is_new = move |payload: &Bytes| once.is_new(hasher.hash_one(payload));
        let messages = stream::select(messages, beside).filter(move |payload| ready(is_new(payload)));
        Ok(messages.boxed())
    }

    /// Connects to another server, unless this one is not to blame for the silence.
    async fn leave_silent_server(&self) {
        if self.may_stay() && self.reaches_another_server().await {
            tracing::info!(server = self.server(), "the server of NATS reaches another one: an election");
            return;
        }
        tracing::warn!(server = self.server(), "connecting to another server of NATS");
        *self.stays.lock() = None;
        self.connection.rotate().await;
    }

    fn may_stay(&self) -> bool {
        let now = Instant::now();
        let mut stays = self.stays.lock();
        let first = stays.filter(|(_, last)| now < *last + STAYED).map_or(now, |(first, _)| first);
        *stays = Some((first, now));
        now < first + STAY
    }

    /// Returns whether a message comes to the other connection of this node, at another server.
    async fn reaches_another_server(&self) -> bool {
        let Some(events) = &self.events else { return false };
        let subject = self.names.probe(self.life);
        let Ok(mut probes) = events.subscribe(subject.clone()).await else { return false };
        let probing = async {
            loop {
                // Without a connection, it is sent again.
                drop(self.connection.send(subject.clone(), Bytes::new()).await);
                if timeout(PROBE_AGAIN, probes.next()).await.is_ok_and(|probe| probe.is_some()) {
                    return self.servers.are_apart();
                }
            }
        };
        timeout(PROBE, probing).await == Ok(true)
    }

    /// Subscribes, and waits until the server knows it.
    async fn subscribed(&self, subject: String) -> Result<Subscriber, WireError> {
        let subscriber = self.connection.subscribe(subject).await?;
        self.inbox.synced(self.names.none(), SUBSCRIBE).await?;
        Ok(subscriber)
    }

    async fn incoming(&self, subject: String) -> Result<BoxStream<'static, Incoming>, WireError> {
        let messages = self.subscribed(subject).await?;
        let connection = self.connection.clone();
        let incoming = move |message: Message| Incoming {
            payload: message.payload,
            answer: message.reply.map(|reply| answer_to(&connection, reply.to_string())),
        };
        Ok(messages.map(incoming).boxed())
    }
}

/// Spreads the nodes over the servers.
pub(super) fn first_server(life: Incarnation) -> usize {
    life.to_bytes().last().copied().unwrap_or_default().into()
}

fn answer_to(connection: &ServerConnection, subject: String) -> AnswerHandle {
    let connection = connection.clone();
    AnswerHandle::new(move |payload| {
        async move {
            // Whoever asked stops waiting by itself.
            drop(connection.send(subject, payload).await);
        }
        .boxed()
    })
}

fn headers(message: &Publication) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(expected) = message.expected {
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
    }
    if let Some(ttl) = message.ttl {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        headers.insert("Nats-TTL", format!("{}s", seconds.max(1)));
    }
    headers
}

impl Wire for NatsWire {
    fn info(&self) -> BoxFuture<'_, Result<StreamInfo, WireError>> {
        self.stream_info().boxed()
    }

    fn live(&self) -> BoxFuture<'_, Result<BoxStream<'static, Live>, WireError>> {
        async {
            let changes = self.connection.changes();
            let messages = self.subscribed(self.names.live()).await?;
            let messages = messages.filter_map(|message| ready(message::stored(message)));
            let live = with_changes(messages, changes).map(|item| match item {
                Either::Left(message) => Live::Message(message),
                Either::Right(link) => Live::Link(link),
            });
            Ok(live.boxed())
        }
        .boxed()
    }

    fn publish(&self, message: Publication) -> BoxFuture<'_, Result<u64, PublishError>> {
        self.publish_now(message).boxed()
    }

    fn fetch(&self, from: u64, limit: usize) -> BoxFuture<'_, Result<Fetched, WireError>> {
        self.fetch_part(from, limit).boxed()
    }

    fn replay(&self, from: u64) -> BoxFuture<'_, Result<Replay, WireError>> {
        self.replay_from(from).boxed()
    }

    fn last(&self, subject: String) -> BoxFuture<'_, Result<Option<StreamMessage>, WireError>> {
        self.last_of(subject).boxed()
    }

    fn latest(&self, filter: String) -> BoxFuture<'_, Result<Vec<StreamMessage>, WireError>> {
        self.latest_of(filter).boxed()
    }

    fn broadcast(&self, payload: Bytes) -> BoxFuture<'_, Result<(), WireError>> {
        self.broadcast_now(payload).boxed()
    }

    fn broadcasts(&self) -> BoxFuture<'_, Result<BoxStream<'static, Bytes>, WireError>> {
        self.all_broadcasts().boxed()
    }

    fn send(&self, life: Incarnation, payload: Bytes) -> BoxFuture<'_, Result<(), WireError>> {
        self.connection.send(self.names.life(life), payload).boxed()
    }

    fn request(
        &self,
        life: Incarnation,
        payload: Bytes,
        within: Duration,
    ) -> BoxFuture<'_, Result<Bytes, WireError>> {
        async move { Ok(self.request_raw(self.names.life(life), payload, within).await?.payload) }.boxed()
    }

    fn requests(&self) -> BoxFuture<'_, Result<BoxStream<'static, Incoming>, WireError>> {
        self.incoming(self.names.life(self.life)).boxed()
    }

    fn ask_all(
        &self,
        payload: Bytes,
        within: Duration,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Bytes>, WireError>> {
        async move {
            let until = tokio::time::Instant::now() + within;
            let asked = self.inbox.ask(self.names.all(), HeaderMap::new(), payload);
            let slot = tokio::time::timeout_at(until, asked).await.unwrap_or(Err(WireError::Timeout))?;
            let answers = stream::unfold(slot, move |mut slot| async move {
                let answer = tokio::time::timeout_at(until, slot.next()).await.ok()?.ok()?;
                Some((answer.payload, slot))
            });
            Ok(answers.boxed())
        }
        .boxed()
    }

    fn questions(&self) -> BoxFuture<'_, Result<BoxStream<'static, Incoming>, WireError>> {
        self.incoming(self.names.all()).boxed()
    }

    fn rotate(&self) -> BoxFuture<'_, ()> {
        self.leave_silent_server().boxed()
    }

    fn ended(&self) -> BoxFuture<'_, ()> {
        async {
            match &self.events {
                Some(events) => _ = select(pin!(self.connection.ended()), pin!(events.ended())).await,
                None => self.connection.ended().await,
            }
        }
        .boxed()
    }

    fn max_payload(&self) -> usize {
        self.connection.client().max_payload()
    }
}
