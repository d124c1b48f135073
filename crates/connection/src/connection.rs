//! What a client holds open, seen from inside: where its events go, and what ties it to sessions and event types.

use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use event::Event;
use parking_lot::Mutex;
use session::{Registration, SessionName};
use subscription::{Interest, Subscription};
use telemetry::{CloseReason, Transport};

use crate::frame::{self, Encoding, Frame};
use crate::hub::Hub;
use crate::longpolling::Mailbox;
use crate::socket::Socket;
use crate::writer::{Next, Pushed, Writer};

/// Names a connection on this node, for as long as the node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    pub(crate) const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    pub(crate) const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// Spreads connections over `n` shards.
    pub(crate) const fn shard(self, n: usize) -> usize {
        self.0 as usize % n
    }
}

/// One client's connection. Dropping it undoes all of its registrations.
pub struct Connection {
    id: ConnectionId,
    hub: Arc<Hub>,
    outlet: Outlet,
    ties: Mutex<Ties>,
}

/// Where events go.
enum Outlet {
    /// Into a stream of bytes (SSE, WebSocket).
    Stream { encoding: Encoding, writer: Mutex<Writer>, socket: OnceLock<Socket> },
    /// Into a mailbox that the client polls.
    Mailbox(Box<Mailbox>),
}

/// What the rest of the node holds of this connection, undone with it.
#[derive(Default)]
struct Ties {
    sessions: Vec<(SessionName, Registration)>,
    interest: Option<Interest<Weak<Connection>>>,
}

/// Why the subscriptions of a connection could not be replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetSubscriptionsError {
    /// The connection has ended.
    #[error("the connection has ended")]
    Gone,
    /// One of the sessions is blacklisted.
    #[error("the session is blacklisted")]
    SessionBlacklisted(SessionName),
}

impl Connection {
    pub(crate) fn stream(hub: Arc<Hub>, id: ConnectionId, encoding: Encoding, head: Bytes) -> Self {
        let outlet =
            Outlet::Stream { encoding, writer: Mutex::new(Writer::new(head)), socket: OnceLock::new() };
        Self { id, hub, outlet, ties: Mutex::default() }
    }

    pub(crate) fn mailbox_of(hub: Arc<Hub>, id: ConnectionId, mailbox: Mailbox) -> Self {
        Self { id, hub, outlet: Outlet::Mailbox(Box::new(mailbox)), ties: Mutex::default() }
    }

    /// Binds the connection to its sessions, announces it and its subscriptions, and lets events in.
    ///
    /// Every session is checked against the blacklist as it is bound; a connection that cannot be bound to all of
    /// them is refused (invariant 2).
    pub(crate) fn begin(
        self: &Arc<Self>,
        sessions: Vec<SessionName>,
        subscriptions: &[Subscription],
        welcome: Event,
    ) -> Result<(), SessionName> {
        let mut ties = self.ties.lock();
        self.bind(&mut ties, sessions)?;
        self.deliver(&Frame::new(welcome));
        self.announce(subscriptions);
        ties.interest = Some(self.hub.index().subscribe(Arc::downgrade(self), subscriptions));
        Ok(())
    }

    /// Replaces the subscriptions, and binds the connection to further sessions beside those it has (RIG: `PUT
    /// …/subscriptions`).
    ///
    /// # Errors
    /// Nothing changes where the connection has ended, or where one of the sessions is blacklisted.
    pub fn set_subscriptions(
        self: &Arc<Self>,
        sessions: Vec<SessionName>,
        subscriptions: &[Subscription],
    ) -> Result<(), SetSubscriptionsError> {
        let mut ties = self.ties.lock();
        if self.close_reason().is_some() {
            return Err(SetSubscriptionsError::Gone);
        }
        self.bind(&mut ties, sessions).map_err(SetSubscriptionsError::SessionBlacklisted)?;
        self.announce(subscriptions);
        if let Some(interest) = &mut ties.interest {
            interest.replace(subscriptions);
        }
        Ok(())
    }

    fn bind(self: &Arc<Self>, ties: &mut Ties, sessions: Vec<SessionName>) -> Result<(), SessionName> {
        let mut bound = Vec::new();
        for name in sessions {
            if ties.sessions.iter().chain(&bound).any(|(known, _)| *known == name) {
                continue;
            }
            let weak: Weak<Self> = Arc::downgrade(self);
            match self.hub.sessions().register_connection(&name, weak) {
                Ok(registration) => bound.push((name, registration)),
                Err(_) => return Err(name),
            }
        }
        ties.sessions.append(&mut bound);
        ties.sessions.shrink_to_fit();
        Ok(())
    }

    fn announce(&self, subscriptions: &[Subscription]) {
        let data = serde_json::value::to_raw_value(subscriptions).expect("subscriptions are JSON");
        self.deliver(&Frame::new(Event::of_rig("rig.subscriptions_set", Some(&data))));
    }

    /// Hands an event to the client: written at once where nothing waits before it, queued where the client is slow.
    ///
    /// Does nothing once the connection is ending. A client whose outbox is full is cut off; it blocks nobody.
    pub fn deliver(&self, frame: &Frame) {
        match &self.outlet {
            Outlet::Mailbox(mailbox) => mailbox.put(frame.event()),
            Outlet::Stream { encoding, .. } => {
                let bytes = frame.bytes(*encoding);
                if self.push(bytes) == Pushed::Overflow {
                    tracing::info!(transport = self.transport().as_str(), "outbox full, connection cut");
                }
            }
        }
    }

    /// Keeps the client and the proxies between awake, where nothing else is on its way.
    pub(crate) fn heartbeat(&self) {
        if let Outlet::Stream { encoding, writer, socket } = &self.outlet {
            let mut writer = writer.lock();
            if writer.is_idle() {
                let beat = frame::heartbeat(*encoding);
                writer.push(beat, socket.get(), self.hub.config().outbox_bytes);
            }
        }
    }

    /// Queues or writes bytes that are not an event, such as a pong.
    pub(crate) fn push(&self, bytes: Bytes) -> Pushed {
        let Outlet::Stream { writer, socket, .. } = &self.outlet else { return Pushed::Refused };
        writer.lock().push(bytes, socket.get(), self.hub.config().outbox_bytes)
    }

    /// Terminates the connection because its session is no longer legal: nothing that waits is sent any more.
    pub(crate) fn kill(&self) {
        match &self.outlet {
            Outlet::Mailbox(mailbox) => {
                mailbox.kill(Event::of_rig("rig.session_killed", None));
            }
            Outlet::Stream { encoding: Encoding::WebSocket, .. } => {
                let close = frame::close_frame(1000, "Session killed.");
                self.end(CloseReason::SessionKilled, close, true);
            }
            Outlet::Stream { encoding, .. } => {
                let last = Frame::new(Event::of_rig("rig.session_killed", None)).bytes(*encoding);
                let farewell = [&last[..], &frame::end_of_stream(*encoding)].concat();
                self.end(CloseReason::SessionKilled, farewell.into(), true);
            }
        }
    }

    /// Ends the connection in order, because the node is leaving.
    pub(crate) fn leave(&self) {
        match &self.outlet {
            Outlet::Mailbox(mailbox) => mailbox.leave(),
            Outlet::Stream { encoding: Encoding::WebSocket, .. } => {
                self.end(CloseReason::Shutdown, frame::close_frame(1001, "Going away."), false);
            }
            Outlet::Stream { encoding, .. } => {
                self.end(CloseReason::Shutdown, frame::end_of_stream(*encoding), false);
            }
        }
    }

    pub(crate) fn end(&self, reason: CloseReason, farewell: Bytes, discard: bool) {
        if let Outlet::Stream { writer, socket, .. } = &self.outlet {
            writer.lock().end(reason, farewell, discard, socket.get());
        }
    }

    /// Ends the connection without another byte.
    pub(crate) fn cut(&self, reason: CloseReason) {
        if let Outlet::Stream { writer, socket, .. } = &self.outlet {
            writer.lock().cut(reason, socket.get());
        }
    }

    /// Gives a stream its socket; from now on deliveries write directly.
    pub(crate) fn attach(&self, socket: Socket) {
        if let Outlet::Stream { socket: place, .. } = &self.outlet {
            let attached = place.set(socket).is_ok();
            debug_assert!(attached, "a connection has one socket");
        }
    }

    /// The socket of a stream that has been attached.
    pub(crate) fn socket(&self) -> Option<&Socket> {
        match &self.outlet {
            Outlet::Stream { socket, .. } => socket.get(),
            Outlet::Mailbox(_) => None,
        }
    }

    /// Writes what waits and says what to wait for; wakes `cx` when that changes.
    pub(crate) fn flush(&self, cx: &Context<'_>) -> Next {
        match &self.outlet {
            Outlet::Stream { writer, socket, .. } => {
                let Some(socket) = socket.get() else { return Next::Over };
                let mut writer = writer.lock();
                writer.wait(cx);
                writer.flush(socket)
            }
            Outlet::Mailbox(_) => Next::Over,
        }
    }

    /// The next piece of a stream that is pulled (HTTP/2).
    pub(crate) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, CloseReason>> {
        match &self.outlet {
            Outlet::Stream { writer, .. } => writer.lock().poll_pop(cx),
            Outlet::Mailbox(_) => Poll::Ready(Ok(None)),
        }
    }

    /// The mailbox of a long-polling connection.
    pub(crate) fn mailbox(&self) -> Option<&Mailbox> {
        match &self.outlet {
            Outlet::Mailbox(mailbox) => Some(mailbox),
            Outlet::Stream { .. } => None,
        }
    }

    /// Drops what ties the connection to sessions and event types, where it must outlive them.
    pub(crate) fn untie(&self) {
        drop(std::mem::take(&mut *self.ties.lock()));
    }

    /// The connection's name on this node.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// How the client holds it.
    pub fn transport(&self) -> Transport {
        match &self.outlet {
            Outlet::Mailbox(_) => Transport::LongPolling,
            Outlet::Stream { encoding: Encoding::WebSocket, .. } => Transport::WebSocket,
            Outlet::Stream { .. } => Transport::Sse,
        }
    }

    /// Why the connection is ending or has ended; `None` while it is open.
    pub fn close_reason(&self) -> Option<CloseReason> {
        match &self.outlet {
            Outlet::Stream { writer, .. } => writer.lock().reason(),
            Outlet::Mailbox(mailbox) => mailbox.close_reason(),
        }
    }
}

impl session::Connection for Connection {
    fn session_killed(&self, _session: &SessionName) {
        self.kill();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let reason = self.close_reason().unwrap_or(CloseReason::Client);
        self.hub.forget(self.id, self.transport(), reason);
    }
}
