//! Sends events to subjects, and requests.
//!
//! Core NATS acknowledges nothing: an event counts as sent when it is written to the connection.
//! Whether a stream of JetStream has stored it is not waited for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::nats::{AccessError, NatsAccess};
use async_nats::connection::State;
use async_nats::{Client, HeaderMap, PublishErrorKind, Request, RequestErrorKind};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use telemetry::Told;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::link::Link;
use super::{NAME, texts};
use crate::producer::{Destination, ProduceError, Produced, Producer, Reply, Requester};

/// How long a connection is waited for: it comes back at once if another server is there.
const CONNECT: Duration = Duration::from_secs(1);

/// Limit of the bytes that are not written to the connection yet. Further events wait, and are
/// refused in the end.
const UNWRITTEN: usize = 32 << 20;

/// What an event needs beside its payload.
const OVERHEAD: usize = 512;

/// Limit of replies to one request that are received and not read. Only the first one is read.
const UNSEEN: usize = 1024;

const CONTENT_TYPE: &str = "application/cloudevents+json; charset=UTF-8";

/// The size of the headers as they are sent, which counts for the limit of the server.
const HEADERS: usize = "NATS/1.0\r\ncontent-type: \r\n\r\n".len() + CONTENT_TYPE.len();

/// Sends events to NATS, over a connection of its own.
pub struct NatsProducer {
    access: NatsAccess,
    told: Arc<Told>,
    connection: Mutex<Connection>,
    /// Held while a new connection is opened.
    opening: tokio::sync::Mutex<()>,
    room: Arc<Semaphore>,
}

#[derive(Clone)]
struct Connection {
    client: Client,
    link: Arc<Link>,
}

impl Connection {
    async fn open(access: &NatsAccess, told: Arc<Told>) -> Result<Self, AccessError> {
        let link = Arc::new(Link::new(access, told)?);
        let client = Box::pin(link.open(access, "rig target", UNSEEN)).await?;
        Ok(Self { client, link })
    }

    fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected && !self.link.is_ended()
    }
}

impl NatsProducer {
    /// Connects in the background, and goes on trying.
    ///
    /// # Errors
    /// Fails if the access cannot be used, or a file of credentials cannot be read.
    pub async fn open(access: NatsAccess) -> Result<Self, AccessError> {
        let told = Arc::<Told>::default();
        let connection = Mutex::new(Connection::open(&access, told.clone()).await?);
        let room = Arc::new(Semaphore::new(UNWRITTEN));
        Ok(Self { access, told, connection, opening: tokio::sync::Mutex::default(), room })
    }

    /// Returns the connection once it can be used: without one, the library would send what it is
    /// given later.
    async fn connected(&self, until: Instant) -> Result<Connection, ProduceError> {
        let away = || ProduceError::Unavailable("not connected to NATS".to_owned());
        let until = until.min(Instant::now() + CONNECT);
        let connecting = async {
            let connection = self.present().await?;
            connection.link.connected(&connection.client).await.ok_or_else(away)?;
            Ok(connection)
        };
        timeout_at(until, connecting).await.map_err(|_| away())?
    }

    /// Returns the connection, or a new one if the task of the library has ended.
    async fn present(&self) -> Result<Connection, ProduceError> {
        let _turn = self.opening.lock().await;
        let connection = self.connection.lock().clone();
        if !connection.link.is_ended() {
            return Ok(connection);
        }
        let connection = Connection::open(&self.access, self.told.clone()).await;
        let connection = connection.map_err(|error| ProduceError::Unavailable(error.to_string()))?;
        *self.connection.lock() = connection.clone();
        Ok(connection)
    }

    /// Returns room for what is not written yet.
    async fn room(&self, size: usize, until: Instant) -> Result<OwnedSemaphorePermit, ProduceError> {
        let size = u32::try_from(size.saturating_add(OVERHEAD).min(UNWRITTEN)).expect("the limit is smaller");
        let room = timeout_at(until, self.room.clone().acquire_many_owned(size)).await;
        let full = || ProduceError::Unavailable("too much is not written to NATS yet".to_owned());
        Ok(room.map_err(|_| full())?.expect("it is never closed"))
    }

    async fn send(&self, subject: &str, payload: Bytes, within: Duration) -> Result<(), ProduceError> {
        let until = Instant::now() + within;
        let Connection { client, link } = self.connected(until).await?;
        if link.refuses(subject) {
            return Err(no_permission());
        }
        let room = self.room(payload.len(), until).await?;
        let subject = subject.to_owned();
        // In a task of its own, since it may still be written when nothing waits for it any more.
        let sending = tokio::spawn(async move {
            let _room = room;
            let sent = client.publish_with_headers(subject, headers(), payload).await;
            sent.map_err(|error| match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => ProduceError::TooLarge(error.to_string()),
                PublishErrorKind::InvalidSubject => ProduceError::Refused(error.to_string()),
                PublishErrorKind::Send => ProduceError::Unavailable(error.to_string()),
            })?;
            client.flush().await.map_err(|_| late())
        });
        match timeout_at(until, sending).await {
            Err(_) | Ok(Err(_)) => Err(late()),
            Ok(Ok(sent)) => sent,
        }
    }

    async fn ask(&self, subject: &str, payload: Bytes, within: Duration) -> Result<Reply, ProduceError> {
        let until = Instant::now() + within;
        let Connection { client, link } = self.connected(until).await?;
        if link.refuses(subject) {
            return Err(no_permission());
        }
        let room = self.room(payload.len(), until).await?;
        // It has a subscription of its own, which is dropped with it. Without one, the library
        // would keep each request until it is answered.
        let request = Request::new().inbox(client.new_inbox());
        let request = request.headers(headers()).payload(payload).timeout(None);
        let asking = client.send_request(subject.to_owned(), request);
        let reply = match timeout_at(until, asking).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => {
                return Err(match error.kind() {
                    RequestErrorKind::NoResponders => {
                        ProduceError::Unavailable("nobody receives what is sent to this subject".to_owned())
                    }
                    RequestErrorKind::MaxPayloadExceeded => ProduceError::TooLarge(error.to_string()),
                    RequestErrorKind::InvalidSubject => ProduceError::Refused(error.to_string()),
                    // The task of the library has ended. What it had may be sent.
                    RequestErrorKind::TimedOut | RequestErrorKind::Other => late(),
                });
            }
            Err(_) => {
                // It may not be written yet.
                tokio::spawn(async move { client.flush().await.map(|()| drop(room)) });
                return Err(if link.refuses(subject) { no_permission() } else { late() });
            }
        };
        let received = reply.headers.unwrap_or_default();
        let headers = texts(&received).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Reply { headers, body: reply.payload })
    }
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", CONTENT_TYPE);
    headers
}

fn late() -> ProduceError {
    ProduceError::TimedOut("NATS did not take it, or nobody replied, in time".to_owned())
}

fn no_permission() -> ProduceError {
    ProduceError::Refused("no permission to publish to this subject".to_owned())
}

impl fmt::Debug for NatsProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsProducer").field("servers", &self.access.servers).finish_non_exhaustive()
    }
}

impl Producer for NatsProducer {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_up(&self) -> bool {
        self.connection.lock().is_up()
    }

    /// Before the first connection, this is the default limit of a server.
    fn max_bytes(&self) -> usize {
        self.connection.lock().client.max_payload().saturating_sub(HEADERS)
    }

    fn produce<'p>(
        &'p self,
        to: &'p Destination,
        event: Produced,
        within: Duration,
    ) -> BoxFuture<'p, Result<(), ProduceError>> {
        self.send(&to.topic, event.json(), within).boxed()
    }
}

impl Requester for NatsProducer {
    fn request<'p>(
        &'p self,
        to: &'p Destination,
        event: Produced,
        within: Duration,
    ) -> BoxFuture<'p, Result<Reply, ProduceError>> {
        self.ask(&to.topic, event.json(), within).boxed()
    }
}
