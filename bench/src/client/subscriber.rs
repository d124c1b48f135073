//! One client: connects, answers pings, and hands what it reads to a counter.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context as Waker, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use super::crowd::Received;
use super::frames::Frames;
use super::http::{read_head, read_until};
use crate::Transport;
use crate::event::contains;
use crate::server::Door;

/// Clients for each address: each has some 28,000 ports.
const PER_ADDRESS: u32 = 5000;

/// The next client of this process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Where the next client comes from: 127.1.0.1 and so on. The kernel keeps the port of a client that has left for a
/// minute, and looks for a free one the longer the fewer there are: so those who come after it, and those of another
/// process, come from elsewhere.
fn address() -> Ipv4Addr {
    let block = NEXT.fetch_add(1, Ordering::Relaxed) / PER_ADDRESS;
    let byte = |number: u32| 1 + (number % 254) as u8;
    Ipv4Addr::new(127, byte(std::process::id()), byte(block / 254), byte(block))
}

/// One client that is connected and subscribed.
pub(super) struct Subscriber {
    stream: TcpStream,
    /// Of WebSocket.
    frames: Option<Frames>,
    received: Arc<Received>,
    /// Events so far.
    events: u32,
}

impl Subscriber {
    /// Connects with this request and waits for the greeting.
    ///
    /// # Errors
    /// It is refused.
    pub(super) async fn connect(door: Door, request: &[u8], received: Arc<Received>) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((address(), 0)))?;
        let mut stream = socket.connect(door.address).await?;
        stream.write_all(request).await?;
        let mut buffer = Vec::with_capacity(1024);
        let head = read_head(&mut stream, &mut buffer).await?;
        let (expected, frames) = match door.transport {
            Transport::Sse => (200, None),
            Transport::Ws => (101, Some(Frames::default())),
        };
        if head.status != expected {
            anyhow::bail!("refused with {} {}", head.status, String::from_utf8_lossy(&buffer));
        }
        read_until(&mut stream, &mut buffer, |bytes| contains(bytes, door.greeting)).await?;
        let mut subscriber = Self { stream, frames, received, events: 0 };
        subscriber.take(&buffer)?;
        Ok(subscriber)
    }

    /// Counts until the connection ends. The first event must hold the bytes of `first`.
    pub(super) async fn read(mut self, first: Bytes) {
        // Boxed: needed once, and then only its size would stay in each of the tasks.
        if Box::pin(self.read_first(&first)).await.is_ok() {
            drop(first);
            poll_fn(|cx| self.poll_read(cx)).await;
        }
        self.received.note_lost();
    }

    /// Reads until the connection ends, and says when that was.
    pub(super) async fn until_closed(mut self) -> Instant {
        poll_fn(|cx| self.poll_read(cx)).await;
        Instant::now()
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
        self.events += self.received.count(bytes, self.events);
        Ok(())
    }
}
