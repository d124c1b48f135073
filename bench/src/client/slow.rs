//! Clients that read much less than they are sent.

use std::ops::Range;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::interval;

use super::subscriber::subscribe;
use super::tls::dial;
use crate::Streaming;
use crate::server::RunningServer;

/// Between two reads.
const PACE: Duration = Duration::from_secs(1);

/// Bytes of each read.
const READ: usize = 1000;

/// What the kernel may keep for each of them.
const RECEIVE_BUFFER: u32 = 4096;

/// Clients that are connected and subscribed to Server-Sent Events.
#[derive(Debug)]
pub(crate) struct SlowReaders(JoinSet<()>);

impl SlowReaders {
    /// Connects one for each number, with a session of its own.
    ///
    /// # Errors
    /// One of them is refused.
    pub(crate) async fn connect(server: &RunningServer, numbers: Range<u32>) -> anyhow::Result<Self> {
        let handshake = server.handshake(Streaming::Sse);
        let connecting = numbers.map(|number| async move {
            let request = server.subscription(Streaming::Sse, number)?;
            let mut stream = dial(handshake.address, number, Some(RECEIVE_BUFFER)).await?;
            subscribe(&mut stream, handshake, &request).await?;
            anyhow::Ok(stream)
        });
        Ok(Self(try_join_all(connecting).await?.into_iter().map(read_slowly).collect()))
    }

    /// Closes all connections.
    pub(crate) async fn leave(mut self) {
        self.0.shutdown().await;
    }
}

async fn read_slowly(mut stream: TcpStream) {
    let mut pace = interval(PACE);
    let mut bytes = [0; READ];
    loop {
        pace.tick().await;
        if !matches!(stream.read(&mut bytes).await, Ok(1..)) {
            return;
        }
    }
}
