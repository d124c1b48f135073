//! The connection of events. It is another one than the control connection, so that a flood of
//! events never delays a beat.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, join_all};
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use seal::Incarnation;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use super::config::{ConfigError, NatsConfig};
use super::control::first_server;
use super::inbox::Inbox;
use super::link::ServerConnection;
use super::servers::{Purpose, Servers};
use crate::events::{BUCKETS, EventWire};
use crate::told::Told;
use crate::wire::{Link, Names};

/// Limit of events that wait for the socket. They may be as large as NATS takes.
const UNSENT: usize = 64;

/// Limit of events of one subscription that its task has not seen yet.
const UNSEEN: usize = 16_384;

/// Limit of the bytes of events that are received but not read. Further ones are lost.
const UNREAD: usize = 32 << 20;

/// What an event needs beside its payload.
const OVERHEAD: usize = 256;

/// How long the server may take to confirm subscriptions.
const SUBSCRIBE: Duration = Duration::from_secs(2);

/// The connection of events. Own events do not come back.
pub struct NatsEvents {
    connection: ServerConnection,
    servers: Arc<Servers>,
    inbox: Inbox,
    names: Names,
    unread: Unread,
    received: tokio::sync::Mutex<mpsc::UnboundedReceiver<Received>>,
    subscriptions: Mutex<Subscriptions>,
}

/// An event, and the room that it takes until it is read.
struct Received {
    bucket: u16,
    message: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Where all events that are received wait until they are read.
#[derive(Clone)]
struct Unread {
    sender: mpsc::UnboundedSender<Received>,
    room: Arc<Semaphore>,
    told: Arc<Told>,
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
    pub async fn open(config: &NatsConfig, life: Incarnation) -> Result<Self, ConfigError> {
        let (servers, purpose) = (Arc::<Servers>::default(), Purpose::Events);
        let options = config.options(purpose.name()).await?.no_echo();
        let options = options.client_capacity(UNSENT).subscription_capacity(UNSEEN);
        // The control connection begins with the server before it.
        let (first, using) = (first_server(life) + 1, (servers.clone(), purpose));
        let connection = ServerConnection::open(config, options, using, first).await?;
        let inbox = Inbox::open(connection.clone()).await;
        let inbox = inbox.map_err(|error| ConfigError::Refused(error.to_string()))?;
        let (sender, received) = mpsc::unbounded_channel();
        let unread = Unread { sender, room: Arc::new(Semaphore::new(UNREAD)), told: Arc::default() };
        let mut subscriptions = Subscriptions::default();
        subscriptions.readers.spawn(log_changes(connection.clone(), unread.told.clone()));
        Ok(Self {
            connection,
            servers,
            inbox,
            names: config.names(),
            unread,
            received: tokio::sync::Mutex::new(received),
            subscriptions: Mutex::new(subscriptions),
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
        let (client, unread) = (self.connection.client().clone(), self.unread.clone());
        async move {
            if let Ok(messages) = client.subscribe(subject).await {
                // Fails if nothing waits for it any more.
                let _ = subscribed.send(());
                unread.take_all(messages).await;
            }
        }
    }
}

impl Unread {
    /// Takes what a subscription receives. What finds no room is lost: the number of the next
    /// event shows it.
    async fn take_all(self, messages: impl Stream<Item = Message>) {
        let mut messages = pin!(messages);
        while let Some(message) = messages.next().await {
            let bucket = message.subject.rsplit('.').next().and_then(|bucket| bucket.parse().ok());
            let Some(bucket) = bucket.filter(|bucket| *bucket < BUCKETS) else { continue };
            let size = (message.payload.len() + OVERHEAD).min(UNREAD) as u32;
            match self.room.clone().try_acquire_many_owned(size) {
                Ok(room) => {
                    // Fails if nothing reads any more.
                    let _ = self.sender.send(Received { bucket, message: message.payload, _room: room });
                }
                Err(_) if self.told.is_due("full") => log_slow(),
                Err(_) => {}
            }
        }
    }
}

fn log_slow() {
    tracing::warn!("events: some were dropped, more came than can be read");
}

async fn log_changes(connection: ServerConnection, told: Arc<Told>) {
    let mut changes = connection.changes();
    while let Some(link) = changes.next().await {
        match link {
            Link::Connected(server) => tracing::info!(server, "events: connected to NATS"),
            Link::Disconnected => tracing::warn!("events: no connection to NATS"),
            Link::SlowConsumer if told.is_due("full") => log_slow(),
            Link::SlowConsumer => {}
            Link::Trouble(error) if told.is_due(&error) => tracing::warn!(error, "events: NATS"),
            Link::Trouble(_) => {}
        }
    }
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
            match self.received.lock().await.recv().await {
                Some(received) => (received.bucket, received.message),
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn max_message(&self) -> usize {
        self.connection.client().max_payload()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn what_is_received_and_not_read_is_bounded_in_bytes() {
        let (sender, mut received) = mpsc::unbounded_channel();
        let unread = Unread { sender, room: Arc::new(Semaphore::new(UNREAD)), told: Arc::default() };
        let message = |size: usize| Message {
            subject: "rig.c.ev.7".into(),
            reply: None,
            payload: vec![0; size].into(),
            headers: None,
            status: None,
            description: None,
            length: size,
        };
        let large = UNREAD / 8 - OVERHEAD - 1;
        unread.clone().take_all(stream::iter((0..100).map(|_| message(large)))).await;
        let taken = received.len();
        assert_eq!(taken, 8);
        drop(received.try_recv().unwrap());
        unread.clone().take_all(stream::iter([message(large), message(1)])).await;
        assert_eq!(received.len(), 8, "what is read makes room");
        while received.try_recv().is_ok() {}
        unread.take_all(stream::iter([message(2 * UNREAD)])).await;
        assert_eq!(received.len(), 1, "one event always finds room");
    }
}
