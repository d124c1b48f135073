//! A client of Server-Sent Events that keeps its cursor over several connections.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context as Waker, Poll, ready};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::blocks::{BlockReader, Seen};
use super::http::read_head;
use super::tls::dial;

/// For a client to learn that it is subscribed.
const SUBSCRIBE: Duration = Duration::from_secs(30);

/// Bytes that are read at once.
const PIECE: usize = 16 << 10;

/// One connection of such a client.
#[derive(Debug)]
pub(crate) struct Reader {
    stream: TcpStream,
    blocks: BlockReader,
}

impl Reader {
    /// Connects client `number` with this request; `number` spreads the clients over addresses.
    /// Returns when it has the head of the answer.
    ///
    /// # Errors
    /// It is refused.
    pub(crate) async fn open(
        address: SocketAddr,
        number: u32,
        request: &[u8],
        seen: &mut Seen,
    ) -> anyhow::Result<Self> {
        let mut stream = dial(address, number, None).await?;
        stream.write_all(request).await?;
        let mut buffer = Vec::with_capacity(1024);
        let head = read_head(&mut stream, &mut buffer).await?;
        anyhow::ensure!(head.status == 200, "refused with {}", head.status);
        seen.is_subscribed = false;
        let mut blocks = BlockReader::new(head.chunked);
        blocks.take(&buffer, seen);
        Ok(Self { stream, blocks })
    }

    /// Reads until what was seen is enough; returns `false` if the connection was closed before.
    pub(crate) async fn until(&mut self, seen: &mut Seen, done: impl Fn(&Seen) -> bool) -> bool {
        while !done(seen) {
            if !poll_fn(|cx| self.poll_piece(cx, seen)).await {
                return false;
            }
        }
        true
    }

    /// Reads until the client is subscribed and has its cursor.
    ///
    /// # Errors
    /// The connection is closed, or that takes too long.
    pub(crate) async fn subscribed(&mut self, seen: &mut Seen) -> anyhow::Result<()> {
        let subscribing = self.until(seen, |seen| seen.is_subscribed && seen.cursor().is_some());
        let is_open = timeout(SUBSCRIBE, subscribing).await.context("the client gets no cursor")?;
        is_open.then_some(()).context("closed before the client has a cursor")
    }

    /// Reads what there is; `false` if the connection is closed.
    fn poll_piece(&mut self, cx: &mut Waker<'_>, seen: &mut Seen) -> Poll<bool> {
        let mut bytes = [0; PIECE];
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
        self.blocks.take(buffer.filled(), seen);
        Poll::Ready(read.is_ok() && !buffer.filled().is_empty())
    }
}
