//! All connections of a node: opening them, finding them, and the way of an event to them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use event::Event;
use memory::{Holder, Memory};
use parking_lot::Mutex;
use seal::Seal;
use session::{Sessions, Subject};
use subscription::{Extractors, Index, Subscription};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::admission::Admissions;
use crate::closing::Closing;
use crate::connection::{Connection, ConnectionId, Outlet};
use crate::description::Client;
use crate::frame::Encoding;
use crate::lanes::Lanes;
use crate::longpolling::{Batch, Cursor, InFlight, Mailbox, PollError};
use crate::metrics::Metrics;
use crate::ties::BindError;
use crate::transport::{CloseReason, Transport};
use crate::wheel::Wheel;

/// What an operator decides about connections.
#[derive(Clone)]
pub struct Config {
    /// Time between two heartbeats (RIG: 15 s).
    pub heartbeat: Duration,
    /// Bytes that may wait for one slow reader before it is cut off.
    pub outbox_bytes: usize,
    /// The most bytes that an event from outside may take of those.
    pub max_event_bytes: usize,
    /// Where bytes that wait for all slow readers are counted.
    pub memory: Arc<Memory>,
    /// How long a poll waits for an event (RIG: 5 s).
    pub poll_wait: Duration,
    /// How long a long-polling connection lives without a poll (RIG: 1 h).
    pub longpolling_idle: Duration,
    /// Over how long a time clients are asked to spread their reconnects when the node leaves.
    pub reconnect_spread: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(15),
            outbox_bytes: 1 << 20,
            max_event_bytes: 1 << 20,
            memory: Memory::new(usize::MAX),
            poll_wait: Duration::from_secs(5),
            longpolling_idle: Duration::from_secs(3600),
            reconnect_spread: Duration::from_secs(10),
        }
    }
}

/// How long the polls of a terminated long-polling connection get its farewell before it is
/// forgotten.
const TOMBSTONE: Duration = Duration::from_secs(60);

/// How often the hub looks for mailboxes that no client polls.
const SWEEP: Duration = Duration::from_secs(1);

const SHARDS: usize = 32;

/// A connection about to be opened, after every slow check.
pub struct Opening {
    /// Whom it belongs to; one for each token the client presented.
    pub subjects: Vec<Subject>,
    /// Who asks for it.
    pub client: Client,
    /// What it wants to receive.
    pub subscriptions: Vec<Subscription>,
}

/// The connection was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It cannot be bound to one of its tokens.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The node is leaving.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// The token was not made by this node since it started, is bound to something else, or is not a
/// token at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid connection token.")]
pub struct InvalidToken;

/// The connections of this node.
pub struct Hub {
    config: Config,
    sessions: Sessions,
    index: Arc<Index<Weak<Connection>>>,
    seal: Seal,
    metrics: Arc<Metrics>,
    lanes: Arc<Lanes>,
    wheel: Wheel,
    closing: Closing,
    next_id: AtomicU64,
    connections: [Mutex<HashMap<ConnectionId, Weak<Connection>>>; SHARDS],
    /// Long-polling connections have no task to own them.
    mailboxes: Mutex<HashMap<ConnectionId, Arc<Connection>>>,
    /// A mailbox has been emptied for want of memory.
    emptied: Notify,
    admissions: Arc<Admissions>,
}

impl Hub {
    /// A hub without connections.
    pub fn new(
        config: Config,
        sessions: Sessions,
        extractors: Arc<Extractors>,
        seal: Seal,
        metrics: Arc<Metrics>,
        admissions: Arc<Admissions>,
    ) -> Arc<Self> {
        let lanes = Arc::new(Lanes::new());
        let index = Index::new(extractors);
        metrics.watch(&sessions, &lanes, &config.memory, {
            let index = index.clone();
            move || index.subscriptions()
        });
        let memory = config.memory.clone();
        let hub = Arc::new(Self {
            lanes,
            wheel: Wheel::new(config.heartbeat),
            closing: Closing::new(),
            config,
            sessions,
            index,
            seal,
            metrics,
            next_id: AtomicU64::new(1),
            connections: std::array::from_fn(|_| Mutex::default()),
            mailboxes: Mutex::default(),
            emptied: Notify::new(),
            admissions,
        });
        memory.holders({
            let hub = Arc::downgrade(&hub);
            move || {
                let hub = hub.upgrade();
                hub.iter().flat_map(|hub| hub.all()).map(|connection| connection as Arc<dyn Holder>).collect()
            }
        });
        hub
    }

    /// Opens an SSE connection. Over HTTP/1.1 the stream is `chunked` and begins with `head`;
    /// elsewhere HTTP frames the stream itself.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is left of a connection that was refused.
    pub fn open_sse(
        self: &Arc<Self>,
        opening: Opening,
        head: Bytes,
        chunked: bool,
    ) -> Result<Arc<Connection>, OpenError> {
        let encoding = if chunked { Encoding::SseChunked } else { Encoding::SsePlain };
        self.open(opening, Outlet::stream(encoding, head))
    }

    /// Opens a WebSocket connection that begins with `head`, the answer to the handshake.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is left of a connection that was refused.
    pub fn open_websocket(
        self: &Arc<Self>,
        opening: Opening,
        head: Bytes,
    ) -> Result<Arc<Connection>, OpenError> {
        self.open(opening, Outlet::stream(Encoding::WebSocket, head))
    }

    /// Opens a long-polling connection, which the hub owns until it is idle or killed.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is left of a connection that was refused.
    pub fn open_longpolling(self: &Arc<Self>, opening: Opening) -> Result<Arc<Connection>, OpenError> {
        let mailbox = Mailbox::new(self.config.outbox_bytes);
        let connection = self.open(opening, Outlet::Mailbox(Box::new(mailbox)))?;
        let mut mailboxes = self.mailboxes.lock();
        // Checked under the lock: either `drain` removes this one, or this finds the node closed.
        self.check_admission()?;
        mailboxes.insert(connection.id(), connection.clone());
        drop(mailboxes);
        Ok(connection)
    }

    fn open(self: &Arc<Self>, opening: Opening, outlet: Outlet) -> Result<Arc<Connection>, OpenError> {
        let id = ConnectionId::new(self.next_id.fetch_add(1, Ordering::Relaxed));
        let connection = Arc::new(Connection::new(self.clone(), id, opening.client, outlet));
        self.metrics.opened(connection.transport());
        self.connections[id.shard(SHARDS)].lock().insert(id, Arc::downgrade(&connection));
        // Checked after the insert: either `drain` finds the connection, or this finds the node
        // closed.
        self.check_admission()?;
        let token = format!(r#"{{"connection_token":"{}"}}"#, self.seal.seal(id.number()));
        let token = serde_json::value::RawValue::from_string(token).expect("base64 needs no escapes");
        let welcome = Event::of_rig("rig.connection.create", Some(&token));
        connection.begin(&opening.subjects, &opening.subscriptions, welcome)?;
        self.wheel.add(Arc::downgrade(&connection));
        Ok(connection)
    }

    fn check_admission(&self) -> Result<(), OpenError> {
        if self.admissions.now().lets_in() { Ok(()) } else { Err(OpenError::ShuttingDown) }
    }

    /// The connection that a token names; `None` where it has ended.
    ///
    /// # Errors
    /// The token is none of ours.
    pub fn find(&self, token: &str) -> Result<Option<Arc<Connection>>, InvalidToken> {
        self.find_for(token, b"")
    }

    /// The same for a token that is bound to these bytes.
    ///
    /// # Errors
    /// The token is none of ours, or is bound to something else.
    pub fn find_for(&self, token: &str, bound_to: &[u8]) -> Result<Option<Arc<Connection>>, InvalidToken> {
        let opened = self.seal.open_for(token, bound_to).map_err(|_| InvalidToken)?;
        // Numbers of connections repeat after a restart, and on other nodes.
        if opened.node != self.seal.node() {
            return Err(InvalidToken);
        }
        Ok(self.connection(ConnectionId::new(opened.number)))
    }

    fn connection(&self, id: ConnectionId) -> Option<Arc<Connection>> {
        self.connections[id.shard(SHARDS)].lock().get(&id).and_then(Weak::upgrade)
    }

    /// A fresh token for a connection, bound to these bytes.
    pub fn token_of(&self, connection: &Connection, bound_to: &[u8]) -> String {
        self.seal.seal_for(connection.id().number(), bound_to)
    }

    /// Answers a poll with the events after `known`, as soon as there are any.
    ///
    /// # Errors
    /// See [`PollError`].
    pub async fn poll(
        &self,
        connection: &Connection,
        known: Option<Cursor>,
        answer: Option<Arc<dyn InFlight>>,
    ) -> Result<Batch, PollError> {
        let mailbox = connection.mailbox().ok_or(PollError::NotLongPolling)?;
        mailbox.poll(known, self.config.poll_wait, answer).await
    }

    /// Sends an event to every connection that wants it; returns how many those are.
    ///
    /// Events published one after the other arrive in that order. Where many want it, it may still
    /// be on its way when this returns; where too much is, this waits.
    pub async fn publish(&self, event: Event) -> usize {
        self.metrics.event_received();
        let receivers = self.index.matches(&event);
        let count = receivers.len();
        if count > 0 {
            self.metrics.event_forwarded(event.event_type(), count);
            self.lanes.send(event, receivers).await;
        }
        count
    }

    /// Sends heartbeats, closes terminated connections at the pace of [`Closing`], and removes
    /// abandoned mailboxes. Never returns.
    pub async fn run(&self) {
        tokio::join!(
            self.wheel.run(),
            self.closing.run(|id| {
                // A connection that is not found has closed by itself.
                self.connection(id).inspect(|connection| connection.send_farewell());
            }),
            self.clear_mailboxes(),
        );
    }

    /// Removes mailboxes that no client polls, and at once those that were emptied. Never returns.
    async fn clear_mailboxes(&self) {
        let mut ticks = interval(SWEEP);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.emptied.notified() => {}
            }
            self.sweep_mailboxes();
        }
    }

    /// A mailbox was emptied: it goes as soon as the caller holds no locks any more.
    pub(crate) fn mailbox_emptied(&self) {
        self.emptied.notify_one();
    }

    fn sweep_mailboxes(&self) {
        let idle = self.config.longpolling_idle;
        let mut over = Vec::new();
        self.mailboxes.lock().retain(|_, connection| {
            let mailbox = connection.mailbox().expect("only long-polling connections are kept here");
            if connection.close_reason().is_some_and(CloseReason::is_end_of_session) {
                over.push(connection.clone());
            }
            let abandoned = mailbox.is_abandoned(idle, TOMBSTONE);
            if abandoned {
                over.push(connection.clone());
            }
            !abandoned
        });
        // Outside the lock: undoing registrations takes locks of other rooms.
        over.iter().for_each(|connection| connection.untie());
    }

    /// Drains every connection: delivers what was published, sends the farewell and closes. Returns
    /// when all are closed; aborts those that are left at the deadline. The node must be
    /// [closed for new connections](crate::Admission::ClosedForNew) before.
    pub async fn drain(&self, deadline: Instant) {
        // At the deadline there is nothing better to do than to go on.
        if timeout_at(deadline, self.lanes.settled()).await.is_err() {
            tracing::warn!(bytes = self.lanes.under_way(), "events were still under way at the deadline");
        }
        for connection in self.all() {
            connection.drain();
        }
        self.mailboxes.lock().clear();
        while self.all().next().is_some() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for connection in self.all() {
            connection.abort(CloseReason::Shutdown);
        }
    }

    /// All connections, in no order. Those that come meanwhile may be missing.
    pub fn all(&self) -> impl Iterator<Item = Arc<Connection>> {
        self.connections
            .iter()
            .flat_map(|shard| shard.lock().values().filter_map(Weak::upgrade).collect::<Vec<_>>())
    }

    /// Returns whom the node lets in.
    pub fn admissions(&self) -> &Arc<Admissions> {
        &self.admissions
    }

    /// A connection is gone; `late` payloads were written to it after its session was revoked.
    pub(crate) fn forget(&self, id: ConnectionId, transport: Transport, reason: CloseReason, late: u64) {
        let mut shard = self.connections[id.shard(SHARDS)].lock();
        shard.remove(&id);
        if shard.capacity() > 1024 && shard.len() < shard.capacity() / 4 {
            shard.shrink_to_fit();
        }
        drop(shard);
        self.metrics.closed(transport, reason, late);
    }

    #[cfg(test)]
    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    pub(crate) fn closing(&self) -> &Closing {
        &self.closing
    }

    pub(crate) fn index(&self) -> &Arc<Index<Weak<Connection>>> {
        &self.index
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// What the operator decided.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// Ticks that are late rather than many at once, where the node is busy; the first is immediate.
pub(crate) fn interval(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}
