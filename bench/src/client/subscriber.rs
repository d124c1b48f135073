//! One client: connects, answers pings, and hands what it reads to a counter.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Waker, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use super::crowd::Received;
use super::frames::{self, Frames};
use super::http::{read_head, read_until};
use crate::Transport;
use crate::event::contains;
use crate::server::{Door, Server};

/// Clients for each of the addresses 127.0.0.2, 127.0.0.3 and so on: each address has some 28,000 ports.
const PER_ADDRESS: u32 = 5000;

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
    /// Connects with this request and waits for the greeting; `number` spreads the clients over addresses.
    ///
    /// # Errors
    /// It is refused.
    pub(super) async fn connect(
        door: Door,
        request: &[u8],
        number: u32,
        received: Arc<Received>,
    ) -> anyhow::Result<Self> {
        let mut stream = open(door.address, number, None).await?;
        let buffer = subscribe(&mut stream, door, request).await?;
        let frames = (door.transport == Transport::Ws).then(Frames::default);
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

    /// Reads up to the first event.
    async fn read_one(&mut self) -> anyhow::Result<()> {
        let mut buffer = Vec::new();
        while self.events == 0 {
            read_until(&mut self.stream, &mut buffer, |bytes| !bytes.is_empty()).await?;
            self.take(&buffer)?;
            buffer.clear();
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

/// Connects as client `number`, in a session of its own, gets an event and leaves.
///
/// # Errors
/// It is refused, or no event comes.
pub(crate) async fn visit(server: &Server, transport: Transport, number: u32) -> anyhow::Result<()> {
    let request = server.subscription(transport, number)?;
    let mut client = Subscriber::connect(server.door(transport), &request, number, Arc::default()).await?;
    client.read_one().await
}

/// A connection to that address; `number` spreads them over the addresses of clients.
///
/// # Errors
/// It cannot be made.
pub(super) async fn open(
    server: SocketAddr,
    number: u32,
    receive_buffer: Option<u32>,
) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let host = u8::try_from(2 + number / PER_ADDRESS % 250)?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)))?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(socket.connect(server).await?)
}

/// Sends the request and reads up to the greeting; returns what has come after the head of the answer.
///
/// # Errors
/// It is refused.
pub(super) async fn subscribe(stream: &mut TcpStream, door: Door, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    stream.write_all(request).await?;
    let mut buffer = Vec::with_capacity(1024);
    let head = read_head(stream, &mut buffer).await?;
    let expected = match door.transport {
        Transport::Sse => 200,
        Transport::Ws => 101,
    };
    if head.status != expected {
        anyhow::bail!("refused with {} {}", head.status, String::from_utf8_lossy(&buffer));
    }
    if !door.hello.is_empty() {
        stream.write_all(&frames::text(door.hello)).await?;
    }
    read_until(stream, &mut buffer, |bytes| contains(bytes, door.greeting)).await?;
    Ok(buffer)
}
