//! The connection of events. It is another one than the control connection, so that a flood of
//! events never delays a beat.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ::nats::{AccessError, Unread, UnreadMessages};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt, join_all};
use parking_lot::Mutex;
use seal::Incarnation;
use telemetry::Told;
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::config::NatsConfig;
use super::control::first_server;
use super::inbox::Inbox;
use super::link::ServerConnection;
use super::servers::{Purpose, Servers};
use crate::events::{BUCKETS, EventWire};
use crate::wire::{Link, Names};

/// Limit of events that wait for the socket. They may be as large as NATS takes.
const UNSENT: usize = 64;

/// Limit of events of one subscription that its task has not seen yet.
const UNSEEN: usize = 16_384;

/// Limit of the bytes of events that are received but not read. Further ones are lost.
const UNREAD: usize = 32 << 20;

/// How long the server may take to confirm subscriptions, or that it has what was sent.
const SUBSCRIBE: Duration = Duration::from_secs(2);

/// The connection of events. Own events do not come back.
pub struct NatsEvents {
    connection: ServerConnection,
    servers: Arc<Servers>,
    inbox: Inbox,
    names: Names,
    unread: Unread,
    received: tokio::sync::Mutex<UnreadMessages>,
    told: Arc<Told>,
    subscriptions: Mutex<Subscriptions>,
    /// Counts the connections after the first one.
    interruptions: watch::Sender<u64>,
}

#[derive(Default)]
struct Subscriptions {
    /// Each moves the events of its subscription. Aborted with the connection.
    readers: JoinSet<()>,
    by_bucket: HashMap<u16, AbortHandle>,
    /// All buckets are subscribed to at once.
    all: bool,
}

impl NatsEvents {
    /// Opens the connection in the background, and goes on trying.
    ///
    /// # Errors
    /// Fails if the configuration cannot be used.
    pub async fn open(config: &NatsConfig, life: Incarnation) -> Result<Self, AccessError> {
        let (servers, purpose) = (Arc::<Servers>::default(), Purpose::Events);
        let options = config.options(purpose.name()).await?.no_echo();
        let options = options.client_capacity(UNSENT).subscription_capacity(UNSEEN);
        // The control connection begins with the server before it.
        let (first, using) = (first_server(life) + 1, (servers.clone(), purpose));
        let connection = ServerConnection::open(config, options, using, first).await?;
        let inbox = Inbox::open(connection.clone()).await;
        let inbox = inbox.map_err(|error| AccessError::Refused(error.to_string()))?;
        let (unread, received) = Unread::new(UNREAD);
        let told = Arc::<Told>::default();
        let mut subscriptions = Subscriptions::default();
        let interruptions = watch::Sender::new(0);
        subscriptions.readers.spawn(watch_changes(connection.clone(), told.clone(), interruptions.clone()));
        Ok(Self {
            connection,
            servers,
            inbox,
            names: config.names(),
            unread,
            received: tokio::sync::Mutex::new(received),
            told,
            subscriptions: Mutex::new(subscriptions),
            interruptions,
        })
    }

    /// Waits until there is a connection.
    ///
    /// # Errors
    /// Fails after `within` with the reason, if it is known.
    pub async fn connected(&self, within: Duration) -> Result<(), String> {
        self.connection.connected(within).await
    }

    pub(super) fn connection(&self) -> &ServerConnection {
        &self.connection
    }

    pub(super) fn servers(&self) -> &Arc<Servers> {
        &self.servers
    }

    /// Starts to read the buckets that are not read yet. The returned futures resolve when the
    /// subscriptions are on their way.
    fn begin(&self, buckets: &[u16]) -> Vec<oneshot::Receiver<()>> {
        let mut subscriptions = self.subscriptions.lock();
        let Subscriptions { readers, by_bucket, all } = &mut *subscriptions;
        if *all {
            return Vec::new();
        }
        if buckets.len() >= BUCKETS.into() {
            *all = true;
            by_bucket.drain().for_each(|(_, reader)| reader.abort());
            let (subscribed, told) = oneshot::channel();
            readers.spawn(self.reader(self.names.all_events(), subscribed));
            return vec![told];
        }
        let mut begun = Vec::new();
        for bucket in buckets {
            by_bucket.entry(*bucket).or_insert_with(|| {
                let (subscribed, told) = oneshot::channel();
                begun.push(told);
                readers.spawn(self.reader(self.names.events(*bucket), subscribed))
            });
        }
        begun
    }

    /// Subscribes, as soon as the connection takes it, and moves what is received to where all is
    /// read.
    fn reader(
        &self,
        subject: String,
        subscribed: oneshot::Sender<()>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (client, unread, told) =
            (self.connection.client().clone(), self.unread.clone(), self.told.clone());
        async move {
            if let Ok(messages) = client.subscribe(subject).await {
                // Fails if nothing waits for it any more.
                let _ = subscribed.send(());
                // The number of the next event shows that one was lost.
                let dropped = || {
                    if told.is_due("full") {
                        log_slow();
                    }
                };
                unread.take_all(messages, dropped).await;
            }
        }
    }
}

fn log_slow() {
    tracing::warn!("events: some were dropped, more came than can be read");
}

async fn watch_changes(connection: ServerConnection, told: Arc<Told>, interruptions: watch::Sender<u64>) {
    let mut changes = connection.changes();
    while let Some(link) = changes.next().await {
        match link {
            Link::Connected(server) => {
                tracing::info!(server, "events: connected to NATS");
                if connections(&connection) > 1 {
                    interruptions.send_modify(|count| *count += 1);
                }
            }
            Link::Disconnected => tracing::warn!("events: no connection to NATS"),
            Link::SlowConsumer if told.is_due("full") => log_slow(),
            Link::SlowConsumer => {}
            Link::Trouble(error) if told.is_due(&error) => tracing::warn!(error, "events: NATS"),
            Link::Trouble(_) => {}
        }
    }
}

fn connections(connection: &ServerConnection) -> u64 {
    connection.client().statistics().connects.load(Ordering::Relaxed)
}

impl EventWire for NatsEvents {
    fn publish(&self, bucket: u16, message: Bytes) -> BoxFuture<'_, bool> {
        let sent = self.connection.send(self.names.events(bucket), message);
        async { sent.await.is_ok() }.boxed()
    }

    fn subscribe(&self, buckets: Vec<u16>) -> BoxFuture<'_, ()> {
        async move {
            let begun = self.begin(&buckets);
            let known = async {
                join_all(begun).await;
                self.inbox.synced(self.names.none(), SUBSCRIBE).await
            };
            // Without a connection, the subscriptions are made with the next one.
            drop(tokio::time::timeout(SUBSCRIBE, known).await);
        }
        .boxed()
    }

    fn unsubscribe(&self, buckets: Vec<u16>) {
        let mut subscriptions = self.subscriptions.lock();
        for bucket in buckets {
            if let Some(reader) = subscriptions.by_bucket.remove(&bucket) {
                reader.abort();
            }
        }
        while subscriptions.readers.try_join_next().is_some() {}
    }

    fn next(&self) -> BoxFuture<'_, (u16, Bytes)> {
        async {
            let mut received = self.received.lock().await;
            while let Some(message) = received.next().await {
                let bucket = message.subject.rsplit('.').next().and_then(|bucket| bucket.parse().ok());
                if let Some(bucket) = bucket.filter(|bucket| *bucket < BUCKETS) {
                    return (bucket, message.payload);
                }
            }
            std::future::pending().await
        }
        .boxed()
    }

    fn is_open(&self) -> bool {
        self.connection.is_connected()
    }

    fn connections(&self) -> u64 {
        connections(&self.connection)
    }

    fn interruptions(&self) -> watch::Receiver<u64> {
        self.interruptions.subscribe()
    }

    fn flush(&self) -> BoxFuture<'_, bool> {
        // The server has processed what came before on the same connection.
        async { self.inbox.synced(self.names.none(), SUBSCRIBE).await.is_ok() }.boxed()
    }

    fn max_message(&self) -> usize {
        self.connection.client().max_payload()
    }
}
