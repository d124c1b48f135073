//! Many subscribers and one counter.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::subscriber::Subscriber;
use crate::Transport;
use crate::event;
use crate::server::Server;

/// Clients that connect at the same time.
pub(super) const AT_ONCE: usize = 64;

/// For all to connect.
const CONNECT: Duration = Duration::from_secs(120);

/// For one event to reach all.
const ARRIVE: Duration = Duration::from_secs(30);

/// Which of its events a subscriber has got, the first one is 0, and when.
pub(crate) type Arrival = (u32, Instant);

/// What all subscribers have received together.
#[derive(Debug, Default)]
pub(super) struct Received {
    events: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
    /// The count that somebody waits for.
    wanted: AtomicU64,
    changed: Notify,
    /// Who wants to know of each.
    arrivals: Option<UnboundedSender<Arrival>>,
}

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
        server: &Server,
        transport: Transport,
        count: u32,
        first: &Bytes,
        arrivals: Option<UnboundedSender<Arrival>>,
    ) -> anyhow::Result<Self> {
        let received = Received { arrivals, ..Received::default() };
        Self::gather(received, 0..count, async |number, received| {
            let request = server.subscription(transport, number)?;
            let subscriber = Subscriber::connect(server.door(transport), &request, number, received).await?;
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

impl Received {
    /// Counts the events in these bytes, which come after `known` others; returns how many they
    /// are.
    pub(super) fn count(&self, bytes: &[u8], known: u32) -> u32 {
        self.bytes.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        let new = event::count(bytes);
        if let Some(arrivals) = &self.arrivals {
            let now = Instant::now();
            // Nobody listens any more where the measurement is over.
            for number in known..known + new as u32 {
                let _ = arrivals.send((number, now));
            }
        }
        let before = self.events.fetch_add(new, Ordering::SeqCst);
        let wanted = self.wanted.load(Ordering::SeqCst);
        if before < wanted && wanted <= before + new {
            self.changed.notify_one();
        }
        new as u32
    }

    /// A connection has ended.
    pub(super) fn note_lost(&self) {
        self.lost.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
    }
}
