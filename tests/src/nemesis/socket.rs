//! A client's socket whose payloads are judged in the moment in which they are read.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::crowd::World;
use super::session::Session;

/// Before the id of each event that a publisher has sent.
const ID: &[u8] = b"\"id\":\"t-";

/// Longer than [`ID`] and the two numbers that follow.
const ID_LENGTH: usize = 64;

/// For a gateway to accept a connection: one that is stopped may not.
const CONNECT: Duration = Duration::from_secs(2);

/// The last number of each publisher that was received.
pub(super) type Order = HashMap<u64, u64>;

/// A connection to a gateway.
pub(super) struct Socket {
    /// Says when there is something to read.
    readiness: TcpStream,
    /// The same socket, which is read whatever the runtime knows of it.
    io: std::net::TcpStream,
    world: Rc<World>,
    /// The session that its payloads belong to.
    session: Option<Rc<Session>>,
    order: Rc<RefCell<Order>>,
    received: RefCell<Vec<u8>>,
    /// The last bytes, which may be the start of an id.
    tail: RefCell<Vec<u8>>,
    ended: Cell<bool>,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Socket {
    /// Connects. Payloads are judged by the session's state, and must come in `order`.
    pub(super) async fn connect(
        world: &Rc<World>,
        address: SocketAddr,
        session: Option<Rc<Session>>,
        order: Rc<RefCell<Order>>,
    ) -> Option<Rc<Self>> {
        let stream = timeout(CONNECT, TcpStream::connect(address)).await.ok()?.ok()?;
        stream.set_nodelay(true).ok()?;
        let io = stream.into_std().ok()?;
        let socket = Rc::new(Self {
            readiness: TcpStream::from_std(io.try_clone().ok()?).ok()?,
            io,
            world: world.clone(),
            session,
            order,
            received: RefCell::default(),
            tail: RefCell::default(),
            ended: Cell::new(false),
        });
        if let Some(session) = &socket.session {
            session.add(&socket);
        }
        Some(socket)
    }

    /// Connects for requests that belong to no session.
    pub(super) async fn plain(world: &Rc<World>, address: SocketAddr) -> Option<Rc<Self>> {
        Self::connect(world, address, None, Rc::default()).await
    }

    /// Sends bytes that fit into the socket's buffer.
    pub(super) fn send(&self, bytes: &[u8]) -> Option<()> {
        (&self.io).write_all(bytes).ok()
    }

    /// Reads and judges all bytes that have arrived.
    pub(super) fn absorb(&self) {
        let mut piece = [0; 16 << 10];
        loop {
            match (&self.io).read(&mut piece) {
                Ok(n @ 1..) => self.judge(&piece[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return self.ended.set(true),
            }
        }
    }

    fn judge(&self, bytes: &[u8]) {
        self.received.borrow_mut().extend_from_slice(bytes);
        let Some(session) = &self.session else { return };
        let mut tail = self.tail.borrow_mut();
        tail.extend_from_slice(bytes);
        let mut done = 0;
        while let Some(at) = tail[done..].windows(ID.len()).position(|window| window == ID) {
            let start = done + at + ID.len();
            let Some(length) = tail[start..].iter().position(|byte| *byte == b'"') else { break };
            done = start + length;
            if let Some((publisher, number)) = numbers(&tail[start..done]) {
                self.world.payload(session, &mut self.order.borrow_mut(), publisher, number);
            }
        }
        // Without an id that is still open, only what is too short for one is kept.
        let keep = tail.len().saturating_sub(ID_LENGTH).max(done);
        tail.drain(..keep);
    }

    /// Waits for more bytes; `false` at the end of the stream.
    pub(super) async fn more(&self) -> bool {
        let before = self.received.borrow().len();
        while self.received.borrow().len() == before {
            if self.ended.get() {
                return false;
            }
            if self.readiness.readable().await.is_err() {
                return false;
            }
            // The error makes the runtime wait for the next bytes.
            drop(self.readiness.try_io(Interest::READABLE, || {
                self.absorb();
                Err::<(), _>(ErrorKind::WouldBlock.into())
            }));
        }
        true
    }

    /// Returns the received bytes up to `end`, inclusive; `None` if the stream ends before.
    pub(super) async fn until(&self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            let at = self.received.borrow().windows(end.len()).position(|window| window == end);
            if let Some(at) = at {
                return Some(self.received.borrow_mut().drain(..at + end.len()).collect());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Returns the next `n` bytes; `None` if the stream ends before.
    pub(super) async fn exactly(&self, n: usize) -> Option<Vec<u8>> {
        while self.received.borrow().len() < n {
            if !self.more().await {
                return None;
            }
        }
        Some(self.received.borrow_mut().drain(..n).collect())
    }

    /// Forgets the bytes that were received.
    pub(super) fn clear(&self) {
        self.received.borrow_mut().clear();
    }

    /// Reads the head of an answer.
    pub(super) async fn head(&self) -> Option<Answer> {
        let head = String::from_utf8(self.until(b"\r\n\r\n").await?).ok()?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, head, body: Vec::new() })
    }

    /// Reads an answer whose length is announced.
    pub(super) async fn answer(&self) -> Option<Answer> {
        let mut answer = self.head().await?;
        let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        answer.body = self.exactly(length).await?;
        Some(answer)
    }
}

impl Answer {
    /// Returns the value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// Returns all values of a header.
    pub(super) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.head.lines().filter_map(move |line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

fn numbers(id: &[u8]) -> Option<(u64, u64)> {
    let (publisher, number) = std::str::from_utf8(id).ok()?.split_once('-')?;
    Some((publisher.parse().ok()?, number.parse().ok()?))
}
