//! A hub with its clients, and the model of what must hold. Time is paused, and advances only when
//! a step demands it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use connection::{Admissions, Connection, Encoding, Hub, LostLease, Metrics, OpenError, Opening, Socket};
use event::Event;
use rig_node::{Node, Tasks};
use seal::{Incarnation, Purpose, Seal};
use serde_json::{Map, Value, json};
use session::{Accepted, Clock, Expiry, Fence, Kill, MemoryLog, Revocation, Sessions, Subject};
use subscription::{Extractors, Subscription};

use crate::client::{Client, narrow_pair};
use crate::model::{Model, State};
use crate::plan::{Token, Transport, Which, Who};

/// The time of day at the start, in seconds since 1970.
const BEGINNING: u64 = 1_000_000;

/// Number of yields after which every task has done all it can.
const TURNS: usize = 12;

pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) hub: Arc<Hub>,
    /// Opened and closed by hand: its clock stands still.
    fence: Fence,
    pub(crate) sessions: Sessions,
    _tasks: Tasks,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) model: Model,
    pub(crate) clients: Vec<Client>,
    pub(crate) kills: Vec<Begun>,
    /// All revocations that were requested.
    pub(crate) asked: Vec<Revocation>,
    pub(crate) published: u32,
}

/// A revocation that is being carried out.
pub(crate) struct Begun {
    pub(crate) kill: Kill,
    pub(crate) revocation: Revocation,
    /// The connections that it must have terminated when it returns.
    ending: Vec<usize>,
    /// Number of connections that were seen terminated by it.
    ended: u64,
}

/// Tokio's paused clock.
#[derive(Clone, Copy)]
struct Paused(tokio::time::Instant);

impl Clock for Paused {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(BEGINNING) + self.0.elapsed()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = Paused(tokio::time::Instant::now());
        let expiry = Expiry::Ends { warning: Duration::from_secs(2), leeway: Duration::ZERO };
        let config = session::Config::default().with_revocation_claims(["/sub"]).expect("a pointer");
        let sessions = Sessions::with_clock(config.with_expiry(expiry), MemoryLog::with_clock(clock), clock);
        let sessions = sessions.expect("there is nothing to load");
        let fence = Fence::with_clock(|| Duration::ZERO);
        fence.extend(Duration::from_secs(1));
        let fencing = LostLease::Closed.fencing(&fence, Duration::MAX);
        let config = connection::Config {
            fencing: fencing.clone(),
            longpolling_idle: Duration::from_secs(24 * 3600),
            // Not random, so that the same case yields the same bytes.
            reconnect_spread: Duration::ZERO,
            ..connection::Config::default()
        };
        let metrics = Arc::new(Metrics::default());
        let hub = Hub::new(
            config,
            sessions.clone(),
            Arc::new(Extractors::default()),
            Seal::new(None, Purpose::Connection, Incarnation::unnamed()),
            metrics.clone(),
            Arc::new(Admissions::new(fencing.admission)),
        );
        let node = Node::new(sessions.clone(), hub.clone(), None);
        let mut tasks = Tasks::default();
        node.spawn(&mut tasks);
        Self {
            node,
            hub,
            fence,
            sessions,
            _tasks: tasks,
            metrics,
            model: Model::default(),
            clients: Vec::new(),
            kills: Vec::new(),
            asked: Vec::new(),
            published: 0,
        }
    }

    pub(crate) fn client(&self, which: Which) -> Option<usize> {
        (!self.clients.is_empty()).then(|| usize::from(which) % self.clients.len())
    }

    /// Opens a connection; `None` if it is refused.
    pub(crate) fn connect(&mut self, transport: Transport, token: Option<Token>, kind: u8) -> Option<()> {
        let opening = Opening {
            subjects: token.iter().map(|token| self.subject(token)).collect(),
            client: connection::Client { address: ([127, 0, 0, 1], 1).into(), user_agent: None },
            subscriptions: wants(kind),
            resume: connection::Resume::default(),
        };
        let head = Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\n");
        let opened = match transport {
            Transport::Stream(encoding) => self.hub.open_stream(opening, encoding, head),
            Transport::LongPolling => self.hub.open_longpolling(opening),
        };
        let refused = token.is_some_and(|token| self.model.refuses(&token));
        assert_eq!(opened.is_err(), refused, "{token:?}: {:?}", opened.err());
        let connection = match opened {
            Ok(connection) => connection,
            Err(OpenError::Bind(_)) => return None,
            Err(error) => panic!("{error}"),
        };
        self.model.connect(token, kind);
        self.clients.push(Client {
            transport,
            connection: Arc::downgrade(&connection),
            wire: own(connection, transport),
            bytes: Vec::new(),
            answers: Arc::default(),
            polls: 0,
            left: false,
            closed: false,
            silent_from: None,
            held: Vec::new(),
            held_from: None,
        });
        Some(())
    }

    pub(crate) fn subject(&self, token: &Token) -> Subject {
        let mut claims = Map::new();
        claims.insert("jti".into(), format!("session-{}", token.session).into());
        claims.insert("sub".into(), format!("user-{}", token.user).into());
        claims.extend(token.issued.map(|issued| ("iat".into(), issued.into())));
        let now = self.model.now as f64 / 10.0 + BEGINNING as f64;
        claims.extend(token.life.map(|life| ("exp".into(), Value::from(now + f64::from(life)))));
        self.sessions.subject(&claims).expect("the claims are names")
    }

    /// Requests a revocation, which is in force from then on. If there is anything to carry out,
    /// appends it to `kills`.
    pub(crate) fn begin(&mut self, revocation: Revocation, who: Who) {
        let issued_up_to = revocation.issued_up_to.map(|second| second as u8);
        match self.sessions.accept(&revocation, true).expect("the log in memory keeps all") {
            Accepted::Before(record) => assert_eq!(record.revocation.id, revocation.id),
            Accepted::Begun(kill) | Accepted::Extended(kill, _) | Accepted::Again(kill, _) => {
                let ending = self.model.end(who, issued_up_to);
                let left = self.sessions.affected(&revocation.selector, revocation.issued_up_to);
                assert_eq!(left.connections, 0, "left registered: {who:?} up to {issued_up_to:?}");
                self.kills.push(Begun { kill, revocation, ending, ended: 0 });
            }
        }
        self.look();
    }

    pub(crate) fn go_on(&mut self, which: usize, connections: usize) {
        let more = self.kills[which].kill.step(connections);
        self.kills[which].ended += self.look();
        if !more {
            self.all_over(&self.kills[which].ending.clone());
        }
    }

    /// Carries out the rest of a revocation. When that has returned, nothing may reach its
    /// connections any more.
    pub(crate) fn finish(&mut self, which: usize, dropped: bool) {
        let Begun { kill, revocation, ending, ended } = self.kills.remove(which);
        let receipt = if dropped {
            drop(kill);
            let record = self.sessions.log().find(&revocation.id).expect("the log can be read");
            let here = self.sessions.config().node();
            record.map(|record| record.receipt(here).expect("a kill that was dropped is carried out"))
        } else {
            Some(kill.finish())
        };
        let ended = ended + self.look();
        self.all_over(&ending);
        if let Some(receipt) = receipt {
            assert_eq!(receipt.connections, ended, "the receipt counts the connections it ended");
        }
    }

    pub(crate) fn all_over(&mut self, ending: &[usize]) {
        for &n in ending {
            let client = &mut self.clients[n];
            let reason = client.connection.upgrade().map(|connection| connection.close_reason());
            assert!(!matches!(reason, Some(None)), "client {n} is open after its revocation");
            let written = client.written();
            client.silent_from.get_or_insert(written);
            self.model.members[n].state = State::Over;
        }
    }

    /// Looks for connections that were terminated since the last call, and notes how much had been
    /// written to each. Returns their number.
    pub(crate) fn look(&mut self) -> u64 {
        let mut ended = 0;
        for (n, client) in self.clients.iter_mut().enumerate() {
            let state = self.model.members[n].state;
            let reason = client.connection.upgrade().map(|connection| connection.close_reason());
            let untouched = client.left || matches!(reason, Some(None));
            assert!(state != State::Open || untouched, "client {n} of another session has ended: {reason:?}");
            let of_session = matches!(reason, Some(Some(reason)) if reason.is_end_of_session());
            if client.silent_from.is_none() && of_session {
                client.silent_from = Some(client.written());
                ended += u64::from(!client.closed);
            }
            client.closed |= !matches!(reason, Some(None));
        }
        ended
    }

    /// Publishes an event. It is delivered to its subscribers, or queued for them.
    pub(crate) async fn publish(&mut self, kind: u8, large: bool) {
        let text = "x".repeat(if large { 6000 } else { 10 });
        let event = json!({ "specversion": "0.2", "type": type_of(kind), "id": format!("e{}", self.published),
            "data": text });
        self.model.publish(kind, self.published);
        self.published += 1;
        let event = Event::from_json(event.to_string().into()).expect("an event");
        self.hub.publish(event).await;
        self.look();
    }

    pub(crate) fn close_fence(&mut self) {
        if !self.model.closed {
            self.model.closed = true;
            self.fence.close();
            for (n, client) in self.clients.iter_mut().enumerate() {
                client.held_from = self.model.is_fenced(n).then(|| client.written());
            }
        }
    }

    pub(crate) fn open_fence(&mut self) {
        for client in &mut self.clients {
            let held = client.held_from.take().map(|from| from..client.written());
            client.held.extend(held);
        }
        self.model.closed = false;
        self.fence.extend(Duration::from_secs(1));
    }

    pub(crate) async fn settle(&mut self) {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    }
}

/// Returns the subscriptions of a client.
pub(crate) fn wants(kind: u8) -> Vec<Subscription> {
    let list = json!([{ "eventType": type_of(kind) }]);
    Subscription::parse_list(&list, &Extractors::default()).expect("a list of subscriptions")
}

fn type_of(kind: u8) -> &'static str {
    if kind == 0 { "even" } else { "odd" }
}

/// Starts the task of a stream on a socket. Returns the other end.
fn own(connection: Arc<Connection>, transport: Transport) -> Option<std::net::TcpStream> {
    let Transport::Stream(encoding) = transport else { return None };
    let (near, far) = narrow_pair();
    let near = tokio::net::TcpStream::from_std(near).expect("a socket that does not block");
    let socket = Socket::new(near, None, ());
    match encoding {
        Encoding::WebSocket => drop(tokio::spawn(connection.run_websocket(socket, Bytes::new()))),
        _ => drop(tokio::spawn(connection.run_one_way(socket))),
    }
    Some(far)
}
