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

use super::http::{read_head, read_until};
use crate::Transport;
use crate::event;
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

/// Subscribers that are connected. Dropping them closes their connections.
#[derive(Debug)]
pub(crate) struct Crowd {
    received: Arc<Received>,
    /// Aborted with the crowd; each owns its socket.
    _readers: JoinSet<()>,
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
            .map(|number| async move {
                open(server, transport, number).await.with_context(|| format!("client {number}"))
            })
            .buffer_unordered(AT_ONCE)
            .try_fold(JoinSet::new(), |mut readers, stream| {
                readers.spawn(read(stream, first.clone(), received.clone()));
                async { Ok(readers) }
            });
        let readers = timeout(CONNECT, connecting).await.context("connecting takes too long")??;
        Ok(Self { received, _readers: readers })
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
}

async fn open(server: &Server, transport: Transport, number: u32) -> anyhow::Result<TcpStream> {
    let request = server.subscription(transport, number)?;
    let socket = TcpSocket::new_v4()?;
    let host = u8::try_from(2 + number / PER_ADDRESS)?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)))?;
    let mut stream = socket.connect(server.address).await?;
    stream.write_all(&request).await?;
    let mut buffer = Vec::with_capacity(1024);
    let head = read_head(&mut stream, &mut buffer).await?;
    let expected = match transport {
        Transport::Sse => 200,
        Transport::Ws => 101,
    };
    if head.status != expected {
        anyhow::bail!("refused with {} {}", head.status, String::from_utf8_lossy(&buffer));
    }
    read_until(&mut stream, &mut buffer, |bytes| event::contains(bytes, server.greeting())).await?;
    Ok(stream)
}

/// Counts until the connection ends.
async fn read(mut stream: TcpStream, first: Bytes, received: Arc<Received>) {
    // Boxed: needed once, and then only its size would stay in each of the tasks.
    if Box::pin(read_first(&mut stream, &first, &received)).await.is_ok() {
        drop(first);
        poll_fn(|cx| poll_count(&mut stream, &received, cx)).await;
    }
    received.lost.fetch_add(1, Ordering::SeqCst);
    received.changed.notify_one();
}

async fn read_first(stream: &mut TcpStream, first: &[u8], received: &Received) -> anyhow::Result<()> {
    let mut buffer = Vec::new();
    read_until(stream, &mut buffer, |bytes| event::contains(bytes, first)).await?;
    count(received, &buffer);
    Ok(())
}

/// Ready when the connection is over.
fn poll_count(stream: &mut TcpStream, received: &Received, cx: &mut Waker<'_>) -> Poll<()> {
    let mut bytes = [0; 8192];
    loop {
        let mut buffer = ReadBuf::new(&mut bytes);
        match ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)) {
            Ok(()) if !buffer.filled().is_empty() => count(received, buffer.filled()),
            Ok(()) | Err(_) => return Poll::Ready(()),
        }
    }
}

fn count(received: &Received, bytes: &[u8]) {
    received.bytes.fetch_add(bytes.len() as u64, Ordering::SeqCst);
    let new = event::count(bytes);
    let before = received.events.fetch_add(new, Ordering::SeqCst);
    let wanted = received.wanted.load(Ordering::SeqCst);
    if before < wanted && wanted <= before + new {
        received.changed.notify_one();
    }
}
