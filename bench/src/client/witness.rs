//! One connection of a session: when its client received payload, and when it was closed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::subscriber::subscribe;
use super::tls::dial;
use crate::server::RunningServer;
use crate::{Streaming, event};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// For an event that is on its way.
const ARRIVE: Duration = Duration::from_secs(30);

/// What a client has seen.
#[derive(Debug, Default)]
struct Seen {
    payload: Vec<Instant>,
    closed: Option<Instant>,
}

/// A client of Server-Sent Events. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Witness {
    seen: Arc<Mutex<Seen>>,
    reader: JoinHandle<()>,
    /// What `PUT subscriptions` names the connection by.
    pub(crate) connection_token: String,
}

impl Witness {
    /// Connects in the session of that number, with a subscription to all events.
    ///
    /// # Errors
    /// It is refused.
    pub(crate) async fn connect(node: &RunningServer, session: u32) -> anyhow::Result<Self> {
        let request = node.subscription(Streaming::Sse, session)?;
        let mut stream = dial(node.address, session, None).await?;
        let greeted = subscribe(&mut stream, node.handshake(Streaming::Sse), &request).await?;
        let greeted = String::from_utf8_lossy(&greeted);
        let token = greeted.split_once(r#""connection_token":""#).and_then(|(_, rest)| rest.split_once('"'));
        let connection_token = token.context("no connection token")?.0.to_owned();
        let seen = Arc::default();
        let reader = tokio::spawn(read(stream, Arc::clone(&seen)));
        Ok(Self { seen, reader, connection_token })
    }

    fn with<R>(&self, of: impl FnOnce(&Seen) -> R) -> R {
        of(&self.seen.lock())
    }

    /// When the connection was closed; `None` if it is open.
    pub(crate) fn closed(&self) -> Option<Instant> {
        self.with(|seen| seen.closed)
    }

    /// When the last payload was received that came after `since`.
    pub(crate) fn last_payload(&self, since: Instant) -> Option<Instant> {
        self.with(|seen| seen.payload.last().copied()).filter(|at| *at > since)
    }

    /// Times of all payload that was received after `since`.
    pub(crate) fn payload_after(&self, since: Instant) -> Vec<Instant> {
        self.with(|seen| seen.payload.iter().copied().filter(|at| *at > since).collect())
    }

    /// Waits for the first payload.
    ///
    /// # Errors
    /// None comes.
    pub(crate) async fn receiving(&self) -> anyhow::Result<()> {
        self.until(|seen| !seen.payload.is_empty()).await.context("no payload arrives")
    }

    /// Waits until the connection is closed.
    ///
    /// # Errors
    /// It stays open.
    pub(crate) async fn closing(&self) -> anyhow::Result<()> {
        self.until(|seen| seen.closed.is_some()).await.context("the connection stays open")
    }

    async fn until(&self, done: impl Fn(&Seen) -> bool) -> anyhow::Result<()> {
        let waiting = async {
            while !self.with(&done) {
                sleep(LOOK).await;
            }
        };
        Ok(timeout(ARRIVE, waiting).await?)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let mut bytes = [0; 16 << 10];
    loop {
        let read = stream.read(&mut bytes).await.unwrap_or(0);
        let now = Instant::now();
        let mut seen = seen.lock();
        if read == 0 {
            seen.closed = Some(now);
            return;
        }
        seen.payload.extend((0..event::count(&bytes[..read])).map(|_| now));
    }
}
