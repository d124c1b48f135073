//! One client: connects, answers pings, and hands what it reads to a counter.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Waker, Poll, ready};

use bytes::Bytes;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::frames::{self, FrameReader};
use super::http::{read_head, read_until};
use super::received::Received;
use super::tls::{Duplex, dial, send};
use crate::Streaming;
use crate::event::contains;
use crate::server::{Handshake, RunningServer};

/// One client that is connected and subscribed.
pub(super) struct Subscriber<S = TcpStream> {
    stream: S,
    /// `None` for Server-Sent Events.
    frames: Option<FrameReader>,
    received: Arc<Received>,
    /// Events so far.
    events: u32,
}

impl Subscriber {
    /// Connects with this request and waits for the greeting; `number` spreads the clients over
    /// addresses.
    ///
    /// # Errors
    /// It is refused.
    pub(super) async fn connect(
        handshake: Handshake,
        request: &[u8],
        number: u32,
        received: Arc<Received>,
    ) -> anyhow::Result<Self> {
        Self::greet(dial(handshake.address, number, None).await?, handshake, request, received).await
    }
}

impl<S: Duplex> Subscriber<S> {
    /// Sends this request and waits for the greeting.
    ///
    /// # Errors
    /// It is refused.
    pub(super) async fn greet(
        mut stream: S,
        handshake: Handshake,
        request: &[u8],
        received: Arc<Received>,
    ) -> anyhow::Result<Self> {
        let buffer = subscribe(&mut stream, handshake, request).await?;
        let frames = (handshake.transport == Streaming::Ws).then(FrameReader::default);
        let mut subscriber = Self { stream, frames, received, events: 0 };
        let pongs = subscriber.take(&buffer);
        send(&mut subscriber.stream, &pongs).await?;
        Ok(subscriber)
    }

    /// Counts until the connection is closed. The first event must hold the bytes of `first`.
    pub(super) async fn read(mut self, first: Bytes) {
        // Boxed: needed once, and then only its size would stay in each of the tasks.
        if Box::pin(self.read_first(&first)).await.is_ok() {
            drop(first);
            poll_fn(|cx| self.poll_read(cx)).await;
        }
        self.received.note_lost();
    }

    /// Reads until the connection is closed, and returns when that was.
    pub(super) async fn until_closed(mut self) -> Instant {
        poll_fn(|cx| self.poll_read(cx)).await;
        Instant::now()
    }

    async fn read_first(&mut self, first: &[u8]) -> anyhow::Result<()> {
        let mut buffer = Vec::new();
        while !contains(&buffer, first) {
            let known = buffer.len();
            read_until(&mut self.stream, &mut buffer, |bytes| bytes.len() > known).await?;
            let pongs = self.take(&buffer[known..]);
            send(&mut self.stream, &pongs).await?;
        }
        Ok(())
    }

    /// Reads up to the first event.
    async fn read_one(&mut self) -> anyhow::Result<()> {
        let mut buffer = Vec::new();
        while self.events == 0 {
            read_until(&mut self.stream, &mut buffer, |bytes| !bytes.is_empty()).await?;
            let pongs = self.take(&buffer);
            send(&mut self.stream, &pongs).await?;
            buffer.clear();
        }
        Ok(())
    }

    /// Ready when the connection is closed.
    fn poll_read(&mut self, cx: &mut Waker<'_>) -> Poll<()> {
        let mut bytes = [0; 8192];
        loop {
            // TLS may have kept the last pong.
            let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            if flushed.is_err() || read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
            let pongs = self.take(buffer.filled());
            // Some bytes now and then: there is always room for them.
            if !pongs.is_empty()
                && !matches!(Pin::new(&mut self.stream).poll_write(cx, &pongs), Poll::Ready(Ok(_)))
            {
                return Poll::Ready(());
            }
        }
    }

    /// Counts the events in these bytes; returns the answers to the pings among them.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut pongs = Vec::new();
        if let Some(frames) = &mut self.frames {
            frames.take(bytes, &mut pongs);
        }
        self.events += self.received.count(bytes, self.events);
        pongs
    }
}

/// Connects as client `number`, in a session of its own, gets an event and leaves.
///
/// # Errors
/// It is refused, or no event comes.
pub(crate) async fn visit(server: &RunningServer, transport: Streaming, number: u32) -> anyhow::Result<()> {
    let request = server.subscription(transport, number)?;
    let mut client =
        Subscriber::connect(server.handshake(transport), &request, number, Arc::default()).await?;
    client.read_one().await
}

/// Connects as client `number`, in a session of its own, learns that it is subscribed and leaves.
///
/// # Errors
/// It is refused.
pub(crate) async fn look_in(server: &RunningServer, transport: Streaming, number: u32) -> anyhow::Result<()> {
    let request = server.subscription(transport, number)?;
    Subscriber::connect(server.handshake(transport), &request, number, Arc::default()).await.map(drop)
}

/// Sends the request and reads up to the greeting; returns what has come after the head of the
/// answer.
///
/// # Errors
/// It is refused.
pub(super) async fn subscribe(
    stream: &mut impl Duplex,
    handshake: Handshake,
    request: &[u8],
) -> anyhow::Result<Vec<u8>> {
    send(stream, request).await?;
    let mut buffer = Vec::with_capacity(1024);
    let head = read_head(stream, &mut buffer).await?;
    let expected = match handshake.transport {
        Streaming::Sse => 200,
        Streaming::Ws => 101,
    };
    if head.status != expected {
        anyhow::bail!("refused with {} {}", head.status, String::from_utf8_lossy(&buffer));
    }
    if !handshake.hello.is_empty() {
        send(stream, &frames::text(handshake.hello)).await?;
    }
    read_until(stream, &mut buffer, |bytes| contains(bytes, handshake.greeting)).await?;
    Ok(buffer)
}
