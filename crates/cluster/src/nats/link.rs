//! One connection to NATS, which goes to another server of the list on request.

use std::sync::Arc;
use std::time::Duration;

use ::nats::{AccessError, cause};
use async_nats::connection::State;
use async_nats::{Client, ClientError, ConnectOptions, Event, ReconnectToServer};
use bytes::Bytes;
use futures_util::future::{Either, ready};
use futures_util::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;
use telemetry::Told;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use super::config::NatsConfig;
use super::servers::{Purpose, Servers};
use crate::wire::{Link, WireError};

/// Limit of changes that a slow reader has not read.
const CHANGES: usize = 128;

/// How long a message may wait for room in the connection.
const ROOM: Duration = Duration::from_secs(2);

/// The settings of certificates.
const CERTIFICATES: &str = "CLUSTER_NATS_CA and CLUSTER_NATS_CERT";

/// How often to look whether there is a connection: the library says that there is one just before
/// it counts as connected.
const LOOK: Duration = Duration::from_millis(5);

/// How long the library may take to close a connection, in parts: after a pause of the process,
/// each part that is left still counts.
const CLOSE: [Duration; 10] = [Duration::from_millis(500); 10];

/// A connection. Clones share it.
#[derive(Clone)]
pub(super) struct ServerConnection {
    client: Client,
    changes: broadcast::Sender<Link>,
    route: Arc<Route>,
    ended: watch::Sender<bool>,
}

/// Tells when it is dropped that the task of the library has ended.
struct Task(watch::Sender<bool>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// Which server the connection goes to.
#[derive(Default)]
struct Route {
    /// The server of the last attempt.
    server: Mutex<String>,
    /// The last error, with the server.
    trouble: Mutex<Option<String>>,
    /// What has kept the connection from being made.
    told: Told,
}

impl ServerConnection {
    /// Connects in the background, with the server at `first` of the list.
    pub(super) async fn open(
        config: &NatsConfig,
        options: ConnectOptions,
        (servers, purpose): (Arc<Servers>, Purpose),
        first: usize,
    ) -> Result<Self, AccessError> {
        let route = Arc::new(Route::default());
        let changes = broadcast::Sender::new(CHANGES);
        let (next, seen, sender) = (route.clone(), route.clone(), changes.clone());
        let ended = watch::Sender::new(false);
        let task = Task(ended.clone());
        let options = options
            // Without this, a forced reconnection goes back to the same server.
            .reconnect_to_server_callback(move |list, _| {
                let chosen = servers.choose(purpose, first, list.len());
                let server = chosen.and_then(|server| list.get(server)).map(|server| server.addr.clone());
                if let Some(server) = &server {
                    *next.server.lock() = format!("{}:{}", server.host(), server.port());
                }
                // Without a delay of its own, the one of the options counts.
                ready(server.map(|addr| ReconnectToServer { addr, delay: None }))
            })
            .event_callback(move |event| {
                let Task(_) = &task;
                if let Event::ClientError(error) = &event {
                    seen.clone().explain(error, &sender);
                }
                if let Some(link) = seen.link_of(event) {
                    // Fails if there is no reader.
                    drop(sender.send(link));
                }
                ready(())
            });
        let addresses = config.access.addresses()?;
        let client = Box::pin(options.connect(addresses)).await;
        let client = client.map_err(|error| AccessError::Refused(error.to_string()))?;
        Ok(Self { client, changes, route, ended })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the server of the last attempt to connect.
    pub(super) fn server(&self) -> String {
        self.route.server.lock().clone()
    }

    /// Returns the last error that belongs to no call.
    pub(super) fn trouble(&self) -> Option<String> {
        self.route.trouble.lock().clone()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Waits for the connection. Fails with the last error.
    pub(super) async fn connected(&self, within: Duration) -> Result<(), String> {
        let mut changes = self.changes.subscribe();
        let connected = async {
            while !self.is_connected() {
                let change = tokio::time::timeout(LOOK, changes.recv()).await;
                if let Ok(Err(RecvError::Closed)) = change {
                    return false;
                }
            }
            true
        };
        if tokio::time::timeout(within, connected).await == Ok(true) {
            return Ok(());
        }
        Err(self.trouble().unwrap_or_else(|| format!("{}: no answer", self.server())))
    }

    /// Returns the changes from now on. A new connection can be used when it is returned.
    pub(super) fn changes(&self) -> BoxStream<'static, Link> {
        let first = (self.client.clone(), self.changes.subscribe(), self.route.clone());
        let changes = stream::unfold(first, |(client, mut changes, route)| async {
            loop {
                match changes.recv().await {
                    Ok(link) => {
                        // If it is lost meanwhile, that is the next change.
                        while matches!(link, Link::Connected(_))
                            && client.connection_state() != State::Connected
                            && changes.is_empty()
                        {
                            tokio::time::sleep(LOOK).await;
                        }
                        return Some((link, (client, changes, route)));
                    }
                    // One of those that were missed may have been a new connection.
                    Err(RecvError::Lagged(_)) if client.connection_state() == State::Connected => {
                        let server = route.server.lock().clone();
                        return Some((Link::Connected(server), (client, changes, route)));
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        changes.boxed()
    }

    /// Sends a message, unless there is no connection: the library would send it late.
    pub(super) async fn send(&self, subject: String, payload: Bytes) -> Result<(), WireError> {
        self.may_send(payload.len())?;
        let sent = self.client.publish(subject, payload);
        match tokio::time::timeout(ROOM, sent).await {
            Ok(sent) => sent.map_err(|error| WireError::Refused(error.to_string())),
            Err(_) => Err(WireError::Timeout),
        }
    }

    /// Checks that there is a connection, and that it takes a message of this size.
    pub(super) fn may_send(&self, size: usize) -> Result<(), WireError> {
        if !self.is_connected() {
            return Err(WireError::NotConnected);
        }
        if size > self.client.max_payload() {
            return Err(WireError::TooLarge);
        }
        Ok(())
    }

    /// Connects to another server. Without a connection, that is under way already.
    pub(super) async fn rotate(&self) {
        if !self.is_connected() {
            return;
        }
        let mut changes = self.changes.subscribe();
        drop(tokio::time::timeout(ROOM, self.client.force_reconnect()).await);
        // Over TLS, the library waits until the socket takes its last message, which may be for a
        // quarter of an hour.
        for part in CLOSE {
            if tokio::time::timeout(part, changes.recv()).await.is_ok() {
                return;
            }
        }
        self.ended.send_replace(true);
    }

    /// Resolves if nothing comes or goes over this connection any more, and it is not made again:
    /// the task of the library has panicked, or does not react.
    pub(super) async fn ended(&self) {
        // The sender lives as long as this.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Subscribes. While there is no connection, the library remembers it.
    pub(super) async fn subscribe(&self, subject: String) -> Result<async_nats::Subscriber, WireError> {
        match tokio::time::timeout(ROOM, self.client.subscribe(subject)).await {
            Ok(subscribed) => subscribed.map_err(|error| WireError::Refused(error.to_string())),
            Err(_) => Err(WireError::Timeout),
        }
    }
}

impl Route {
    fn link_of(&self, event: Event) -> Option<Link> {
        match event {
            Event::Connected => Some(Link::Connected(self.server.lock().clone())),
            Event::Disconnected => Some(Link::Disconnected),
            Event::SlowConsumer(_) => Some(Link::SlowConsumer),
            Event::ServerError(error) => Some(self.trouble(format!("{}: {error}", self.server.lock()))),
            // It is explained first.
            Event::ClientError(_) | Event::LameDuckMode | Event::Draining | Event::Closed => None,
        }
    }

    /// Tells why no connection is made, once in a minute. The library tells no more than that there
    /// was an I/O error, so the server is asked for the cause.
    fn explain(self: Arc<Self>, error: &ClientError, changes: &broadcast::Sender<Link>) {
        let server = self.server.lock().clone();
        let text = format!("{server}: {error}");
        if !self.told.is_due(&text) {
            return;
        }
        let changes = changes.clone();
        tokio::spawn(async move {
            let text = format!("{text}: {}", cause(&server, CERTIFICATES).await);
            // Fails if there is no reader.
            drop(changes.send(self.trouble(text)));
        });
    }

    fn trouble(&self, text: String) -> Link {
        *self.trouble.lock() = Some(text.clone());
        Link::Trouble(text)
    }
}

/// Merges messages with the changes of their connection; ends with the messages.
pub(super) fn with_changes<T: Send + 'static>(
    messages: impl futures_util::Stream<Item = T> + Send + 'static,
    changes: BoxStream<'static, Link>,
) -> BoxStream<'static, Either<T, Link>> {
    let messages = messages.map(|message| Some(Either::Left(message))).chain(stream::once(ready(None)));
    let changes = changes.map(|link| Some(Either::Right(link)));
    stream::select(messages, changes).take_while(|item| ready(item.is_some())).filter_map(ready).boxed()
}
