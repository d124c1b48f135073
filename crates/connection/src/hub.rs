//! All connections of a node: opening them, finding them, and the way of an event to them.

use std::collections::HashMap;
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use event::Event;
use history::{EventId, EventPosition, Gap};
use memory::Holder;
use parking_lot::Mutex;
use seal::{Incarnation, Seal};
use session::{Fence, Fencing, Sessions, Subject};
use subscription::{Extractors, Index, Subscription};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};

use crate::admission::Admissions;
use crate::client::Client;
use crate::closing::Closing;
use crate::commons::Commons;
use crate::config::Config;
use crate::connection::{Connection, Outlet};
use crate::directory::Directory;
use crate::encoding::Encoding;
use crate::frame::Frame;
use crate::id::ConnectionId;
use crate::lanes::Lanes;
use crate::longpolling::{AnswerInFlight, Batch, Cursor, Mailbox, PollError};
use crate::metrics::Metrics;
use crate::resume::{Resume, gap_event};
use crate::ties::BindError;
use crate::transport::CloseReason;
use crate::wheel::{Wheel, interval};

/// How long the polls of a terminated long-polling connection get its farewell before it is
/// forgotten.
const TOMBSTONE: Duration = Duration::from_secs(60);

/// How often the hub looks for mailboxes that no client polls, and for events that are too old.
const SWEEP: Duration = Duration::from_secs(1);

/// Connections that are released or terminated before the task yields.
const AT_ONCE: usize = 256;

/// A connection to open. All slow checks have passed.
pub struct Opening {
    /// The subjects of the tokens that the client presented.
    pub subjects: Vec<Subject>,
    /// Who opens it.
    pub client: Client,
    /// What it wants to receive.
    pub subscriptions: Vec<Subscription>,
    /// What it says about an earlier connection.
    pub resume: Resume,
}

/// Why a connection was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It cannot be bound to one of its tokens.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// Where the connection is that a token names.
#[derive(Clone)]
pub enum Located {
    /// It was opened at this node since it started; `None` if it is closed.
    Here(Option<Arc<Connection>>),
    /// It was opened in another life of a node that has the same cookie.
    Elsewhere(Incarnation),
}

/// The token was not made by this node since it started, is bound to something else, or is not a
/// token at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid connection token.")]
pub struct InvalidToken;

/// The connections of this node.
pub struct Hub {
    commons: Arc<Commons<Connection>>,
    seal: Seal,
    lanes: Arc<Lanes>,
    wheel: Wheel,
    next_id: AtomicU64,
    /// Long-polling connections have no task to own them.
    mailboxes: Mutex<HashMap<ConnectionId, Arc<Connection>>>,
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
        let (lanes, wheel) = (Arc::new(Lanes::new()), Wheel::new(config.heartbeat));
        let commons = Arc::new(Commons {
            config,
            sessions,
            admissions,
            index: Index::new(extractors),
            metrics,
            directory: Directory::new(),
            closing: Closing::new(),
            emptied: Notify::new(),
        });
        let Commons { metrics, sessions, index, config, .. } = &*commons;
        let (index, deliveries) = (index.clone(), lanes.clone());
        metrics.watch(
            sessions,
            &config.memory,
            move || index.subscriptions(),
            move || deliveries.under_way(),
        );
        if let Some(sequencer) = &config.history {
            metrics.watch_history(sequencer);
            let observer = sequencer.clone();
            sessions.on_revocation(Arc::new(move |selector| observer.revoke(selector)));
            let observer = sequencer.clone();
            commons.index.on_given_up(move |event_type| observer.give_up(event_type));
        }
        metrics.watch_fence(&config.fencing.payload, {
            let commons: Weak<Commons<Connection>> = Arc::downgrade(&commons);
            move || {
                let commons = commons.upgrade();
                commons.iter().flat_map(|commons| commons.directory.all()).map(|one| one.held()).sum()
            }
        });
        config.memory.holders({
            let commons = Arc::downgrade(&commons);
            move || {
                let commons = commons.upgrade();
                let all = commons.iter().flat_map(|commons| commons.directory.all());
                all.map(|connection| connection as Arc<dyn Holder>).collect()
            }
        });
        let mailboxes = Mutex::default();
        Arc::new(Self { commons, seal, lanes, wheel, next_id: AtomicU64::new(1), mailboxes })
    }

    /// Opens a stream of this encoding that begins with `head`: the response head, where the
    /// gateway writes it itself.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is left of a connection that was refused.
    pub fn open_stream(
        &self,
        opening: Opening,
        encoding: Encoding,
        head: Bytes,
    ) -> Result<Arc<Connection>, OpenError> {
        self.open(opening, Outlet::stream(encoding, head))
    }

    /// Opens a long-polling connection, which the hub owns until it is idle or terminated.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is left of a connection that was refused.
    pub fn open_longpolling(&self, opening: Opening) -> Result<Arc<Connection>, OpenError> {
        let mailbox = Mailbox::new(self.commons.config.outbox_bytes);
        let connection = self.open(opening, Outlet::Mailbox(Box::new(mailbox)))?;
        let mut mailboxes = self.mailboxes.lock();
        // Checked under the lock: either `drain` removes this one, or this finds the node closed.
        self.check_admission()?;
        mailboxes.insert(connection.id(), connection.clone());
        drop(mailboxes);
        Ok(connection)
    }

    fn open(&self, opening: Opening, outlet: Outlet) -> Result<Arc<Connection>, OpenError> {
        let Opening { subjects, client, subscriptions, resume } = opening;
        let id = ConnectionId::new(self.next_id.fetch_add(1, Ordering::Relaxed));
        let connection = Arc::new(Connection::new(self.commons.clone(), id, client, outlet));
        self.commons.metrics.opened(connection.transport());
        self.commons.directory.insert(id, &connection);
        // Checked after the insert: either `drain` finds the connection, or this finds the node
        // closed.
        self.check_admission()?;
        let token = format!(r#"{{"connection_token":"{}"}}"#, self.seal.seal(id.number()));
        let token = serde_json::value::RawValue::from_string(token).expect("base64 needs no escapes");
        let welcome = Event::of_rig("rig.connection.create", Some(&token));
        connection.begin(&subjects, (&subscriptions, resume), &welcome)?;
        self.wheel.add(Arc::downgrade(&connection));
        Ok(connection)
    }

    fn check_admission(&self) -> Result<(), OpenError> {
        if self.admissions().without_session().lets_in() { Ok(()) } else { Err(OpenError::ShuttingDown) }
    }

    /// Returns the connection that a token names; `None` if it is closed.
    ///
    /// # Errors
    /// Fails if this node did not make the token since it started.
    pub fn find(&self, token: &str) -> Result<Option<Arc<Connection>>, InvalidToken> {
        self.find_for(token, b"")
    }

    /// Returns the connection that a token names that is bound to these bytes; `None` if it is
    /// closed.
    ///
    /// # Errors
    /// Fails if this node did not make the token since it started, or bound it to something else.
    pub fn find_for(&self, token: &str, bound_to: &[u8]) -> Result<Option<Arc<Connection>>, InvalidToken> {
        match self.locate(token, bound_to)? {
            Located::Here(found) => Ok(found),
            Located::Elsewhere(_) => Err(InvalidToken),
        }
    }

    /// Returns where the connection is that a token names that is bound to these bytes.
    ///
    /// # Errors
    /// Fails if the token was not sealed with the cookie of this node, or bound to something else.
    pub fn locate(&self, token: &str, bound_to: &[u8]) -> Result<Located, InvalidToken> {
        let opened = self.seal.open_for(token, bound_to).map_err(|_| InvalidToken)?;
        // Numbers of connections repeat after a restart, and on other nodes.
        if opened.node != self.seal.node() {
            return Ok(Located::Elsewhere(opened.node));
        }
        Ok(Located::Here(self.commons.directory.get(ConnectionId::new(opened.number))))
    }

    /// Returns a new token for a connection, bound to these bytes.
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
        answer: Option<Arc<dyn AnswerInFlight>>,
    ) -> Result<Batch, PollError> {
        let mailbox = connection.mailbox().ok_or(PollError::NotLongPolling)?;
        self.prepare_poll(connection, known);
        let wait = self.commons.config.poll_wait;
        let settled = || self.settled_position(connection);
        let (batch, position, gap) = mailbox.poll(known, wait, answer, settled).await?;
        Ok(self.answered(batch, position, gap))
    }

    fn answered(&self, batch: Batch, position: EventPosition, gap: Option<Gap>) -> Batch {
        gap.into_iter().for_each(|gap| self.commons.metrics.gaps(gap, 1));
        Batch { position: self.id_of(position), ..batch }
    }

    /// Takes what a client misses that is behind, as far as its mailbox has room.
    fn prepare_poll(&self, connection: &Connection, known: Option<Cursor>) {
        let Some(mailbox) = connection.mailbox() else { return };
        while mailbox.pulls(known) && connection.pull() {}
    }

    /// Returns the id of a position, if it is one.
    fn id_of(&self, position: EventPosition) -> Option<EventId> {
        let sequencer = self.commons.config.history.as_ref()?;
        (position != EventPosition::default()).then(|| sequencer.id(position))
    }

    /// Returns a position up to which all events were delivered that a connection wants.
    fn settled_position(&self, connection: &Connection) -> EventPosition {
        self.settled_positions()[self.lanes.lane_of(connection)]
    }

    /// Returns the id with which a long-polling connection that was just opened is continued, if
    /// events are kept.
    pub fn position_of(&self, connection: &Connection) -> Option<EventId> {
        connection.mailbox()?.start()
    }

    /// As [`Hub::poll`], for a client of another node: the answer has up to `limit` bytes. It is
    /// cut between events, and the rest comes with the next poll. Such polls hold no socket here,
    /// so each connection may have a few.
    ///
    /// # Errors
    /// See [`PollError`].
    pub async fn poll_from_elsewhere(
        &self,
        connection: &Connection,
        known: Option<Cursor>,
        limit: usize,
    ) -> Result<Batch, PollError> {
        let mailbox = connection.mailbox().ok_or(PollError::NotLongPolling)?;
        self.prepare_poll(connection, known);
        let wait = self.commons.config.poll_wait;
        let settled = || self.settled_position(connection);
        let (batch, position, gap) = mailbox.poll_from_elsewhere(limit, known, wait, settled).await?;
        Ok(self.answered(batch, position, gap))
    }

    /// Returns the types of events that have subscriptions now, or had some recently: their
    /// subscribers may come back.
    pub fn event_types(&self) -> Vec<Arc<str>> {
        let mut types = self.commons.index.event_types();
        types.extend(self.commons.config.history.iter().flat_map(|sequencer| sequencer.recently_wanted()));
        types
    }

    /// Keeps events of these types from now on, before anyone subscribes to them. Returns
    /// the latest position; `None` if no events are kept.
    pub fn expect(&self, subscriptions: &[Subscription]) -> Option<EventPosition> {
        let Commons { config, index, .. } = &*self.commons;
        Some(config.history.as_ref()?.expect(subscriptions, index))
    }

    /// Records that events of a type, or of any, were lost on their way to this node. Their
    /// subscribers hear of it.
    pub async fn lost(&self, event_type: Option<&str>) {
        let Some(sequencer) = &self.commons.config.history else { return };
        let event = gap_event(Gap::Lost, None);
        let room = self.lanes.room(event.json().len()).await;
        let queued = sequencer.lose(event_type, |position| {
            let receivers = match event_type {
                Some(event_type) => self.commons.index.subscribers(event_type),
                None => self.all().map(|connection| Arc::downgrade(&connection)).collect(),
            };
            self.lanes.queue(Frame::at(position, event), room, receivers)
        });
        self.commons.metrics.gaps(Gap::Lost, queued.count);
        self.lanes.deliver(queued).await;
    }

    /// Sends an event to every connection that subscribed to it; returns their number.
    ///
    /// Events arrive in the order in which they were published. With many receivers, an event may
    /// still be under way when this returns. Waits while too many bytes are under way.
    pub async fn publish(&self, event: Event) -> usize {
        self.publish_at(event, |_| ()).await
    }

    /// As [`Hub::publish`]. `taken` is called once, when the event has taken its position, before
    /// any other event does; with 0 if events have no positions. It must not call the hub.
    pub async fn publish_at(&self, event: Event, taken: impl FnOnce(EventPosition) + Send) -> usize {
        let Commons { metrics, index, config, .. } = &*self.commons;
        metrics.event_received();
        let queued = match &config.history {
            Some(sequencer) => {
                let room = self.lanes.room(event.json().len()).await;
                sequencer.take(&event, index, taken, |position, receivers| {
                    self.lanes.queue(Frame::at(position, event.clone()), room, receivers)
                })
            }
            None => {
                taken(EventPosition::default());
                let receivers = index.matches(&event);
                if receivers.is_empty() {
                    return 0;
                }
                let room = self.lanes.room(event.json().len()).await;
                Some(self.lanes.queue(Frame::new(event.clone()), room, receivers))
            }
        };
        let Some(queued) = queued else { return 0 };
        let count = queued.count;
        metrics.event_forwarded(event.event_type(), count);
        self.lanes.deliver(queued).await;
        count
    }

    /// Sends heartbeats, closes terminated connections at the pace of [`Closing`], removes
    /// abandoned mailboxes, and continues or terminates what the fence holds. Never returns.
    pub async fn run(&self) {
        tokio::join!(
            self.wheel.run(self),
            self.commons.closing.run(|id| {
                // A connection that is not found has closed by itself.
                self.commons.directory.get(id).inspect(|connection| connection.send_farewell());
            }),
            self.clear_mailboxes(),
            self.forget_old_events(),
            self.watch_fence(),
        );
    }

    /// Continues with what waited for the fence when it opens, and terminates the connections of
    /// sessions if it stays closed. Never returns.
    async fn watch_fence(&self) {
        let Fencing { payload: fence, hold, .. } = &self.commons.config.fencing;
        // Whether the connections are terminated since the fence was closed.
        let mut terminated = false;
        loop {
            let changed = fence.changed();
            let pause = match fence.left() {
                Some(left) => left,
                None if terminated => Duration::MAX,
                None => hold.saturating_sub(fence.closed_for()),
            };
            if timeout(pause, changed).await.is_ok() {
                terminated = false;
                self.release(fence).await;
            } else if !terminated && !fence.is_open() && fence.closed_for() >= *hold {
                terminated = true;
                self.lose_lease(fence).await;
            }
        }
    }

    /// Continues with what waited for the fence, if it is open.
    async fn release(&self, fence: &Fence) {
        for (number, connection) in self.all().enumerate() {
            if !fence.is_open() {
                break;
            }
            connection.release();
            yield_sometimes(number).await;
        }
    }

    /// Terminates the connections of sessions, unless the fence opens meanwhile.
    async fn lose_lease(&self, fence: &Fence) {
        // A node that is about to join has none.
        if self.all().next().is_some() {
            tracing::warn!("the node has no lease: connections of sessions are terminated");
        }
        for (number, connection) in self.all().enumerate() {
            if fence.is_open() {
                break;
            }
            connection.lose_lease();
            yield_sometimes(number).await;
        }
        self.commons.emptied.notify_one();
    }

    /// Removes mailboxes that no client polls any more, and those that were emptied at once. Never
    /// returns.
    async fn clear_mailboxes(&self) {
        let mut ticks = interval(SWEEP);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.commons.emptied.notified() => {}
            }
            self.sweep_mailboxes();
        }
    }

    /// Removes events that are too old. Never returns.
    async fn forget_old_events(&self) {
        let Some(sequencer) = &self.commons.config.history else { return pending().await };
        let mut ticks = interval(SWEEP);
        loop {
            ticks.tick().await;
            while sequencer.evict() {
                yield_now().await;
            }
        }
    }

    /// Returns, for each lane, a position up to which everything was delivered.
    pub(crate) fn settled_positions(&self) -> Vec<EventPosition> {
        let head = self
            .commons
            .config
            .history
            .as_ref()
            .map_or(EventPosition::default(), |sequencer| sequencer.head());
        self.lanes.settled_positions(head)
    }

    fn sweep_mailboxes(&self) {
        let idle = self.commons.config.longpolling_idle;
        let mut untied = Vec::new();
        self.mailboxes.lock().retain(|_, connection| {
            let mailbox = connection.mailbox().expect("only long-polling connections are kept here");
            if connection.close_reason().is_some_and(CloseReason::is_end_of_session) {
                untied.push(connection.clone());
            }
            let abandoned = mailbox.is_abandoned(idle, TOMBSTONE);
            if abandoned {
                untied.push(connection.clone());
            }
            !abandoned
        });
        // Outside the lock: undoing registrations takes locks of other rooms.
        untied.iter().for_each(|connection| connection.untie());
    }

    /// Resolves when every event that was published before is written, or in the outboxes.
    pub async fn settled(&self) {
        self.lanes.settled().await;
    }

    /// Drains every connection: delivers what was published, sends the farewell and closes. Returns
    /// when all are closed; aborts those that are left at the deadline. The node must be
    /// [closed for new connections](crate::Admission::ClosedForNew) before.
    pub async fn drain(&self, deadline: Instant) {
        // At the deadline, connections are drained without the rest.
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

    /// Iterates over all connections, in no order. Those that are opened meanwhile may be missing.
    pub fn all(&self) -> impl Iterator<Item = Arc<Connection>> {
        self.commons.directory.all()
    }

    /// Returns whom the node lets in.
    pub fn admissions(&self) -> &Arc<Admissions> {
        &self.commons.admissions
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Config {
        &self.commons.config
    }
}

async fn yield_sometimes(number: usize) {
    if number % AT_ONCE == AT_ONCE - 1 {
        yield_now().await;
    }
}

mod elsewhere;
#[cfg(test)]
mod tests;
