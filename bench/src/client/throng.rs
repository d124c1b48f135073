//! Many clients of one session, on a thread of their own, that wait for their end.

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::crowd::AT_ONCE;
use super::received::Received;
use super::subscriber::Subscriber;
use crate::Streaming;
use crate::server::{Handshake, RunningServer};

/// Clients that are connected.
#[derive(Debug)]
pub(crate) struct Throng {
    thread: JoinHandle<anyhow::Result<Vec<Instant>>>,
    closed: oneshot::Receiver<()>,
}

impl Throng {
    /// Connects that many clients with the same request, and waits until each is subscribed.
    ///
    /// # Errors
    /// One of them is refused.
    pub(crate) async fn connect(handshake: Handshake, request: Vec<u8>, count: u32) -> anyhow::Result<Self> {
        let (connected, all_connected) = oneshot::channel();
        let (last, closed) = oneshot::channel();
        let thread = std::thread::Builder::new().name("throng".into());
        let thread = thread.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut clients = connect(handshake, &request, count).await?;
                // Sending fails only if the receiver has given up.
                let _ = connected.send(());
                let mut ends = Vec::with_capacity(count as usize);
                while let Some(end) = clients.join_next().await {
                    ends.push(end?);
                }
                let _ = last.send(());
                Ok(ends)
            })
        })?;
        let throng = Self { thread, closed };
        if all_connected.await.is_err() {
            throng.ends()?;
            anyhow::bail!("the clients ended before they were all connected");
        }
        Ok(throng)
    }

    /// Connects that many clients of session `number` that want no events, spread evenly over the
    /// nodes; one throng for each node.
    ///
    /// # Errors
    /// One of them is refused.
    pub(crate) async fn spread(
        nodes: &[&RunningServer],
        number: u32,
        count: u32,
    ) -> anyhow::Result<Vec<Self>> {
        let transport = Streaming::Sse;
        let mut throngs = Vec::new();
        for node in nodes {
            let request = node.unsubscribed(transport, number)?;
            let part = count / nodes.len() as u32;
            throngs.push(Self::connect(node.handshake(transport), request, part).await?);
        }
        Ok(throngs)
    }

    /// True if all connections are closed or the clients have failed, which [`Throng::ends`]
    /// reports.
    pub(crate) fn is_over(&mut self) -> bool {
        !matches!(self.closed.try_recv(), Err(oneshot::error::TryRecvError::Empty))
    }

    /// Returns when each connection was closed.
    ///
    /// # Errors
    /// Fails if a client failed.
    pub(crate) fn ends(self) -> anyhow::Result<Vec<Instant>> {
        self.thread.join().map_err(|_| anyhow::anyhow!("the clients have panicked"))?
    }
}

async fn connect(handshake: Handshake, request: &[u8], count: u32) -> anyhow::Result<JoinSet<Instant>> {
    let received = Arc::new(Received::default());
    stream::iter(0..count)
        .map(|number| {
            let connect = Subscriber::connect(handshake, request, number, received.clone());
            async move { connect.await.with_context(|| format!("client {number} of one session")) }
        })
        .buffer_unordered(AT_ONCE)
        .try_fold(JoinSet::new(), |mut clients, subscriber| {
            clients.spawn(subscriber.until_closed());
            async { Ok(clients) }
        })
        .await
}
