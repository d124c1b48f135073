//! A client that comes back with the id of the last block that it has read, as a browser's
//! EventSource does, but when the test says so, and after any byte.

use std::net::SocketAddr;
use std::time::Instant;

use serde_json::Value;

use crate::chunked::Body;
use crate::client::Request;
use crate::event_stream::{Dispatched, EventStream};
use crate::wire::{DEADLINE, Wire};

/// A client of Server-Sent Events over several connections.
pub struct EventSource {
    address: SocketAddr,
    /// The path and the query.
    target: String,
    stream: EventStream,
    connection: Option<Connection>,
    /// The number of connections so far.
    pub connects: usize,
    /// Every event that was dispatched, the gateway's own ones too.
    pub events: Vec<Dispatched>,
}

/// One connection, as bytes.
struct Connection {
    wire: Wire,
    /// What was received, and how much of it was read. The rest is lost with the connection.
    received: Vec<u8>,
    read: usize,
    body: Body,
}

impl EventSource {
    /// Returns a client of this query, without its question mark, which has not connected yet.
    pub fn new(address: SocketAddr, query: &str) -> Self {
        Self {
            address,
            target: format!("/_rig/v1/connection/sse?{query}"),
            stream: EventStream::default(),
            connection: None,
            connects: 0,
            events: Vec::new(),
        }
    }

    /// Returns a client that has read the first two events of its connection.
    ///
    /// # Panics
    /// Panics if the gateway refuses.
    pub fn connect(address: SocketAddr, query: &str) -> Self {
        let mut client = Self::new(address, query);
        client.open();
        client.until("rig.subscriptions_set");
        client
    }

    /// Reads the stream that answers a request, whose head was read already. Does not come back.
    pub fn over(wire: Wire) -> Self {
        let body = Body::after_head();
        let connection = Some(Connection { wire, received: Vec::new(), read: 0, body });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { connection, connects: 1, ..Self::new(nowhere, "") }
    }

    /// Goes to another address the next time, as after a restart.
    pub fn turn_to(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// Has another query the next time.
    pub fn ask_for(&mut self, query: &str) {
        self.target = format!("/_rig/v1/connection/sse?{query}");
    }

    /// Returns the id with which it comes back; empty for none.
    pub fn cursor(&self) -> &str {
        self.stream.last_event_id()
    }

    /// Connects, with its cursor if it has one.
    ///
    /// # Panics
    /// Panics if no server listens.
    pub fn open(&mut self) {
        self.cut();
        let mut request = Request::get(&self.target).header("Accept", "text/event-stream");
        if !self.cursor().is_empty() {
            request = request.header("Last-Event-ID", self.cursor());
        }
        self.connects += 1;
        let wire = request.start(self.address);
        let body = Body::default();
        self.connection = Some(Connection { wire, received: Vec::new(), read: 0, body });
    }

    /// Drops its connection where it stands, with a reset.
    pub fn cut(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.wire.reset();
        }
        self.stream.reconnect();
    }

    /// Reads at most this many bytes of the answer, its head included, until `is_enough` says so of
    /// the events so far. Returns `false` if the stream has ended before.
    ///
    /// # Panics
    /// Panics if no event comes until the deadline, and if it is not connected or refused.
    pub fn read(&mut self, bytes: usize, mut is_enough: impl FnMut(&[Dispatched]) -> bool) -> bool {
        if is_enough(&self.events) {
            return true;
        }
        let connection = self.connection.as_mut().expect("it is connected");
        let mut deadline = Instant::now() + DEADLINE;
        for _ in 0..bytes {
            let Some(byte) = connection.next_byte() else { return false };
            let Some(byte) = connection.body.decode(byte) else { continue };
            self.stream.feed(&[byte]);
            if self.stream.has_dispatched() {
                self.events.append(&mut self.stream.take());
                if is_enough(&self.events) {
                    break;
                }
                deadline = Instant::now() + DEADLINE;
            }
            // Heartbeats go on without end.
            assert!(byte != b'\n' || Instant::now() < deadline, "no event within {DEADLINE:?}");
        }
        true
    }

    /// Reads until an event of this type comes, and returns it. What was read before does not
    /// count.
    ///
    /// # Panics
    /// Panics at the deadline, and if the stream ends before.
    pub fn until(&mut self, event: &str) -> Dispatched {
        let known = self.events.len();
        let is_it = |dispatched: &Dispatched| dispatched.event == event;
        let found = self.read(usize::MAX, |events| events[known..].iter().any(is_it));
        assert!(found, "the stream ends before {event}: {:?}", &self.events[known..]);
        self.events.last().expect("there is one").clone()
    }

    /// Reads until it has this many events that are not the gateway's own.
    ///
    /// # Panics
    /// Panics at the deadline, and if the stream ends before.
    pub fn until_received(&mut self, count: usize) {
        let mut seen = 0;
        let mut received = 0;
        let found = self.read(usize::MAX, |events| {
            received += events[seen..].iter().filter(|event| !event.is_of_rig()).count();
            seen = events.len();
            received >= count
        });
        assert!(found, "the stream ends after {received} of {count} events");
    }

    /// Reads to the end of the stream.
    ///
    /// # Panics
    /// Panics at the deadline.
    pub fn until_end(&mut self) {
        assert!(!self.read(usize::MAX, |_| false), "the stream does not end");
    }

    /// Reads until the id moves on without an event, as heartbeats make it, and returns it.
    ///
    /// # Panics
    /// Panics at the deadline, and if the stream ends before.
    pub fn until_cursor_moves(&mut self) -> String {
        let before = self.cursor().to_owned();
        let deadline = Instant::now() + DEADLINE;
        while self.cursor() == before {
            assert!(Instant::now() < deadline, "the id does not move within {DEADLINE:?}");
            assert!(self.read(1, |_| false), "the stream ends");
        }
        self.cursor().to_owned()
    }

    /// Comes back with its cursor, reads up to the answer to it, and returns that: the number of
    /// missed events of `rig.resumed`, or the data of `rig.gap`.
    ///
    /// # Panics
    /// Panics if there is none, or the gateway refuses.
    pub fn come_back(&mut self) -> Result<u64, Value> {
        self.open();
        self.until_answer()
    }

    /// Reads up to the answer to a cursor, as [`Self::come_back`].
    ///
    /// # Panics
    /// Panics if there is none.
    pub fn until_answer(&mut self) -> Result<u64, Value> {
        let known = self.events.len();
        let is_answer = |event: &Dispatched| matches!(&*event.event, "rig.resumed" | "rig.gap");
        let found = self.read(usize::MAX, |events| events[known..].iter().any(is_answer));
        assert!(found, "the stream ends without an answer: {:?}", &self.events[known..]);
        self.events.last().expect("there is one").answer().expect("the last one is the answer")
    }

    /// Takes the events that are not the gateway's own, and returns their data.
    pub fn received(&mut self) -> Vec<String> {
        self.events.extract_if(.., |event| !event.is_of_rig()).map(|event| event.data).collect()
    }

    /// Returns the connection token in the last `rig.connection.create`.
    ///
    /// # Panics
    /// Panics if there is none.
    pub fn token(&self) -> String {
        let created = self.events.iter().rev().find(|event| event.event == "rig.connection.create");
        let created = created.expect("it has connected").json();
        created["data"]["connection_token"].as_str().expect("a connection token").to_owned()
    }
}

impl Connection {
    /// Returns the next byte; `None` at the end of the stream.
    fn next_byte(&mut self) -> Option<u8> {
        if self.read == self.received.len() {
            self.received = self.wire.some()?;
            self.read = 0;
        }
        self.read += 1;
        Some(self.received[self.read - 1])
    }
}

impl Dispatched {
    /// Returns whether it is one of the gateway's own events.
    pub fn is_of_rig(&self) -> bool {
        self.event.starts_with("rig.")
    }

    /// Returns its data as JSON.
    ///
    /// # Panics
    /// Panics if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("not JSON: {}", self.data))
    }

    /// Returns what it says about a cursor: the number of missed events of `rig.resumed`, or the
    /// data of `rig.gap`; `None` if it is another event.
    ///
    /// # Panics
    /// Panics if it is malformed.
    pub fn answer(&self) -> Option<Result<u64, Value>> {
        match &*self.event {
            "rig.resumed" => Some(Ok(self.json()["data"]["events"].as_u64().expect("a number"))),
            "rig.gap" => Some(Err(self.json()["data"].clone())),
            _ => None,
        }
    }
}
