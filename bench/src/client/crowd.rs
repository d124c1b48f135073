//! Many subscribers and one counter.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::received::{Arrival, Received};
use super::subscriber::Subscriber;
use crate::Streaming;
use crate::server::RunningServer;

/// Clients that connect at the same time.
pub(super) const AT_ONCE: usize = 64;

/// For all to connect.
const CONNECT: Duration = Duration::from_secs(120);

/// For one event to reach all.
const ARRIVE: Duration = Duration::from_secs(30);

/// Subscribers that are connected.
#[derive(Debug)]
pub(crate) struct Crowd {
    received: Arc<Received>,
    /// Each owns its socket.
    readers: JoinSet<()>,
}

impl Crowd {
    /// Connects that many clients, each with a session of its own, and waits until each is
    /// subscribed. The first event they get must hold the bytes of `first`. `arrivals` hears of
    /// every event.
    ///
    /// # Errors
    /// One of them is refused, or they take too long.
    pub(crate) async fn connect(
        server: &RunningServer,
        transport: Streaming,
        count: u32,
        first: &Bytes,
        arrivals: Option<UnboundedSender<Arrival>>,
    ) -> anyhow::Result<Self> {
        let received = Received { arrivals, ..Received::default() };
        Self::numbered(received, server, transport, 0..count, first).await
    }

    /// The same with clients of these numbers.
    ///
    /// # Errors
    /// One of them is refused, or they take too long.
    pub(crate) async fn of(
        server: &RunningServer,
        transport: Streaming,
        numbers: Range<u32>,
        first: &Bytes,
    ) -> anyhow::Result<Self> {
        Self::numbered(Received::default(), server, transport, numbers, first).await
    }

    /// Connects clients of these numbers that want no events.
    ///
    /// # Errors
    /// One of them is refused, or they take too long.
    pub(crate) async fn unsubscribed(
        server: &RunningServer,
        transport: Streaming,
        numbers: Range<u32>,
    ) -> anyhow::Result<Self> {
        Self::gather(Received::default(), numbers, async |number, received| {
            let request = server.unsubscribed(transport, number)?;
            let subscriber =
                Subscriber::connect(server.handshake(transport), &request, number, received).await?;
            Ok(async {
                subscriber.until_closed().await;
            })
        })
        .await
    }

    async fn numbered(
        received: Received,
        server: &RunningServer,
        transport: Streaming,
        numbers: Range<u32>,
        first: &Bytes,
    ) -> anyhow::Result<Self> {
        Self::gather(received, numbers, async |number, received| {
            let request = server.subscription(transport, number)?;
            let subscriber =
                Subscriber::connect(server.handshake(transport), &request, number, received).await?;
            Ok(subscriber.read(first.clone()))
        })
        .await
    }

    /// Connects one reader for each of the names, some at a time.
    ///
    /// # Errors
    /// One of them is refused, or they take too long.
    pub(super) async fn gather<N: Clone + Debug, R: Future<Output = ()> + Send + 'static>(
        received: Received,
        names: impl Iterator<Item = N>,
        connect: impl AsyncFn(N, Arc<Received>) -> anyhow::Result<R>,
    ) -> anyhow::Result<Self> {
        let received = Arc::new(received);
        let connecting = stream::iter(names)
            .map(async |name| {
                let reader = connect(name.clone(), received.clone()).await;
                reader.with_context(|| format!("client {name:?}"))
            })
            .buffer_unordered(AT_ONCE)
            .try_fold(JoinSet::new(), |mut readers, reader| {
                readers.spawn(reader);
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
        // Set before the count is looked at: a reader that passes it afterwards notifies, and a
        // notification waits.
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
        // Aborting alone closes nothing before the runtime gets to run, and ending the server keeps
        // it from that.
        self.readers.shutdown().await;
    }
}
