//! Many subscribers and one counter.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as Waker, Poll, ready};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::frames::Frames;
use super::http::{read_head, read_until};
use crate::Transport;
use crate::event::{self, contains};
use crate::server::Server;

/// Clients that connect at the same time.
const AT_ONCE: usize = 64;

/// Clients for each of the addresses 127.0.0.2, 127.0.0.3 and so on: each address has some 28,000 ports.
const PER_ADDRESS: u32 = 5000;

/// For all to connect.
const CONNECT: Duration = Duration::from_secs(120);

/// For one event to reach all.
const ARRIVE: Duration = Duration::from_secs(30);

/// What all subscribers have received together.
#[derive(Debug, Default)]
struct Received {
    events: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
    /// The count that somebody waits for.
    wanted: AtomicU64,
    changed: Notify,
}

/// Subscribers that are connected.
#[derive(Debug)]
pub(crate) struct Crowd {
    received: Arc<Received>,
    /// Each owns its socket.
    readers: JoinSet<()>,
}

impl Crowd {
    /// Connects that many clients, each with a session of its own, and waits until each is subscribed. The first
    /// event they get must hold the bytes of `first`.
    ///
    /// # Errors
    /// One of them is refused, or they take too long.
    pub(crate) async fn connect(
        server: &Server,
        transport: Transport,
        count: u32,
        first: &Bytes,
    ) -> anyhow::Result<Self> {
        let received = Arc::new(Received::default());
        let connecting = stream::iter(0..count)
            .map(|number| {
                let connect = Subscriber::connect(server, transport, number, received.clone());
                async move { connect.await.with_context(|| format!("client {number}")) }
            })
            .buffer_unordered(AT_ONCE)
            .try_fold(JoinSet::new(), |mut readers, subscriber| {
                readers.spawn(subscriber.read(first.clone()));
                async { Ok(readers) }
            });
        let readers = timeout(CONNECT, connecting).await.context("connecting takes too long")??;
        Ok(Self { received, readers })
    }

    /// Waits until all together have received that many events.
    ///
    /// # Errors
    /// A connection is lost, or it takes too long.
    pub(crate) async fn receive(&self, events: u64) -> anyhow::Result<()> {
        // Set before the count is looked at: a reader that passes it afterwards notifies, and a notification waits.
        self.received.wanted.store(events, Ordering::SeqCst);
        let arrived = async {
            while self.events() < events {
                self.ensure_complete()?;
                self.received.changed.notified().await;
            }
            self.ensure_complete()
        };
        timeout(ARRIVE, arrived)
            .await
            .with_context(|| format!("{} of {events} events arrived", self.events()))?
    }

    /// Events that all together have received.
    pub(crate) fn events(&self) -> u64 {
        self.received.events.load(Ordering::SeqCst)
    }

    /// Bytes that all together have received since they were subscribed.
    pub(crate) fn bytes(&self) -> u64 {
        self.received.bytes.load(Ordering::SeqCst)
    }

    /// # Errors
    /// A connection is lost.
    pub(crate) fn ensure_complete(&self) -> anyhow::Result<()> {
        let lost = self.received.lost.load(Ordering::SeqCst);
        anyhow::ensure!(lost == 0, "{lost} connections lost");
        Ok(())
    }

    /// Closes all connections.
    pub(crate) async fn leave(mut self) {
        // Aborting alone closes nothing before the runtime gets to run, and ending the server keeps it from that.
        self.readers.shutdown().await;
    }
}

/// One client that is connected and subscribed.
struct Subscriber {
    stream: TcpStream,
    /// Of WebSocket.
    frames: Option<Frames>,
    received: Arc<Received>,
}

impl Subscriber {
    async fn connect(
        server: &Server,
        transport: Transport,
        number: u32,
        received: Arc<Received>,
    ) -> anyhow::Result<Self> {
        let request = server.subscription(transport, number)?;
        let socket = TcpSocket::new_v4()?;
        let host = u8::try_from(2 + number / PER_ADDRESS)?;
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)))?;
        let mut stream = socket.connect(server.address).await?;
        stream.write_all(&request).await?;
        let mut buffer = Vec::with_capacity(1024);
        let head = read_head(&mut stream, &mut buffer).await?;
        let (expected, frames) = match transport {
            Transport::Sse => (200, None),
            Transport::Ws => (101, Some(Frames::default())),
        };
        if head.status != expected {
            anyhow::bail!("refused with {} {}", head.status, String::from_utf8_lossy(&buffer));
        }
        read_until(&mut stream, &mut buffer, |bytes| contains(bytes, server.greeting())).await?;
        let mut subscriber = Self { stream, frames, received };
        subscriber.take(&buffer)?;
        Ok(subscriber)
    }

    /// Counts until the connection ends. The first event must hold the bytes of `first`.
    async fn read(mut self, first: Bytes) {
        // Boxed: needed once, and then only its size would stay in each of the tasks.
        if Box::pin(self.read_first(&first)).await.is_ok() {
            drop(first);
            poll_fn(|cx| self.poll_read(cx)).await;
        }
        self.received.lost.fetch_add(1, Ordering::SeqCst);
        self.received.changed.notify_one();
    }

    async fn read_first(&mut self, first: &[u8]) -> anyhow::Result<()> {
        let mut buffer = Vec::new();
        while !contains(&buffer, first) {
            let known = buffer.len();
            read_until(&mut self.stream, &mut buffer, |bytes| bytes.len() > known).await?;
            self.take(&buffer[known..])?;
        }
        Ok(())
    }

    /// Ready when the connection is over.
    fn poll_read(&mut self, cx: &mut Waker<'_>) -> Poll<()> {
        let mut bytes = [0; 8192];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() || self.take(buffer.filled()).is_err() {
                return Poll::Ready(());
            }
        }
    }

    /// Counts the events in these bytes and answers the pings.
    fn take(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if let Some(frames) = &mut self.frames {
            let mut pongs = Vec::new();
            frames.take(bytes, &mut pongs);
            if !pongs.is_empty() {
                // Some bytes now and then: there is always room for them.
                self.stream.try_write(&pongs)?;
            }
        }
        self.received.count(bytes);
        Ok(())
    }
}

impl Received {
    fn count(&self, bytes: &[u8]) {
        self.bytes.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        let new = event::count(bytes);
        let before = self.events.fetch_add(new, Ordering::SeqCst);
        let wanted = self.wanted.load(Ordering::SeqCst);
        if before < wanted && wanted <= before + new {
            self.changed.notify_one();
        }
    }
}
