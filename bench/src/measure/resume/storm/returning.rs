//! A process of clients that come back, each with its cursor, when they have lost their connection.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{CONNECTED, ClientProcess, Counts, Reader, Seen};
use crate::server::{rig, with_cursor};
use crate::stats::{millis, quantile};
use crate::token;

/// Clients that connect at the same time at first.
const AT_ONCE: usize = 64;

/// For all clients to connect, and to get the events that are waited for.
const LONGEST: Duration = Duration::from_secs(120);

/// How long the process waits for events that do not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client waits that was not asked to wait.
const RETRY: Duration = Duration::from_secs(3);

/// Which clients.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Returning {
    /// Where the gateway listens, also after it was restarted.
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// The number of the first client: no other process has the same.
    #[arg(long)]
    pub(crate) first: u32,
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=18_950))]
    pub(crate) connections: u32,
    /// Types of events; a client subscribes to one of them.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) types: u32,
}

/// The type of that number.
pub(super) fn event_type(kind: u32) -> String {
    format!("storm-{kind}")
}

/// What clients have seen.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Comeback {
    pub(super) counts: Counts,
    /// From the first connection that was lost to the last client that was resumed.
    pub(super) seconds: f64,
    /// From the first client that came back to the last that was resumed.
    pub(super) returning: f64,
    /// From the request of a client until it was resumed. Milliseconds; of several processes, those
    /// of the slowest.
    pub(super) p50: f64,
    pub(super) p99: f64,
}

impl Comeback {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            counts: self.counts + other.counts,
            seconds: self.seconds.max(other.seconds),
            returning: self.returning.max(other.returning),
            p50: self.p50.max(other.p50),
            p99: self.p99.max(other.p99),
        }
    }
}

/// Runs that process: the clients stay until standard input, which is a pipe, is closed. Each line
/// of it is a number of events; when all clients together have had them, or do not get them, what
/// they saw is printed.
///
/// # Errors
/// Fails if not all clients are connected.
pub(crate) async fn come_back(plan: Returning) -> anyhow::Result<()> {
    let stdin = pipe::Receiver::from_owned_fd(std::io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut asked = BufReader::new(stdin).lines();
    let all = Arc::new(All::default());
    let connecting = stream::iter(plan.first..plan.first + plan.connections)
        .map(async |number| {
            let client = Client::connect(plan, number, all.clone()).await;
            client.with_context(|| format!("client {number}"))
        })
        .buffer_unordered(AT_ONCE)
        .try_fold(JoinSet::new(), |mut clients, client| {
            clients.spawn(client.stay());
            async { Ok(clients) }
        });
    let mut clients = timeout(LONGEST, connecting).await.context("connecting takes too long")??;
    println!("{CONNECTED}");
    while let Some(events) = asked.next_line().await? {
        // Events that do not come are counted as lost.
        let _ = timeout(PATIENCE, all.events(events.parse()?)).await;
        println!("{}", serde_json::to_string(&all.comeback())?);
    }
    clients.shutdown().await;
    Ok(())
}

/// What all clients of the process have seen.
#[derive(Default)]
struct All {
    totals: Mutex<Totals>,
    changed: Notify,
    /// Whether a gap was printed: the first is.
    has_gap: AtomicBool,
}

#[derive(Default)]
struct Totals {
    counts: Counts,
    wanted: u64,
    first_lost: Option<Instant>,
    first_back: Option<Instant>,
    last_resumed: Option<Instant>,
    times: Vec<Duration>,
}

impl All {
    /// Waits until all clients together have had that many events.
    async fn events(&self, wanted: u64) {
        self.totals.lock().wanted = wanted;
        while self.totals.lock().counts.events < wanted {
            self.changed.notified().await;
        }
    }

    fn add(&self, new: Counts) {
        let mut totals = self.totals.lock();
        let before = totals.counts.events;
        totals.counts = totals.counts + new;
        if before < totals.wanted && totals.counts.events >= totals.wanted {
            self.changed.notify_one();
        }
    }

    fn note_lost(&self) {
        self.totals.lock().first_lost.get_or_insert_with(Instant::now);
    }

    fn note_resumed(&self, asked: Instant) {
        let (now, mut totals) = (Instant::now(), self.totals.lock());
        totals.first_back.get_or_insert(asked);
        totals.last_resumed = Some(now);
        totals.times.push(now - asked);
    }

    fn comeback(&self) -> Comeback {
        let mut totals = self.totals.lock();
        totals.times.sort_unstable();
        let since = |first: Option<Instant>| match (first, totals.last_resumed) {
            (Some(first), Some(last)) => (last - first).as_secs_f64(),
            _ => 0.0,
        };
        Comeback {
            counts: totals.counts,
            seconds: since(totals.first_lost),
            returning: since(totals.first_back),
            p50: millis(quantile(&totals.times, 0.5)),
            p99: millis(quantile(&totals.times, 0.99)),
        }
    }
}

/// One client.
struct Client {
    address: SocketAddr,
    number: u32,
    /// What it sends each time, without its cursor.
    request: Vec<u8>,
    /// `None`: it has lost its connection, and has closed it.
    reader: Option<Reader>,
    seen: Seen,
    all: Arc<All>,
}

impl Client {
    async fn connect(plan: Returning, number: u32, all: Arc<All>) -> anyhow::Result<Self> {
        let Returning { address, types, .. } = plan;
        let request = rig::subscription_to(address, &event_type(number % types), &token::mint(number)?);
        let mut seen = Seen::expecting(0);
        let mut reader = Reader::open(address, number, &request, &mut seen).await?;
        reader.subscribed(&mut seen).await?;
        Ok(Self { address, number, request, reader: Some(reader), seen, all })
    }

    /// Reads, and comes back whenever the connection is lost.
    async fn stay(mut self) {
        let mut told = self.seen.counts;
        let mut asked = None;
        loop {
            let is_open = match &mut self.reader {
                Some(reader) => reader.until(&mut self.seen, |seen| seen.counts != told).await,
                None => false,
            };
            let counts = self.seen.counts;
            self.all.add(counts - told);
            if counts.resumed + counts.gaps > told.resumed + told.gaps
                && let Some(asked) = asked.take()
            {
                self.all.note_resumed(asked);
            }
            if counts.gaps > told.gaps && !self.all.has_gap.swap(true, Ordering::Relaxed) {
                eprintln!("client {}: {}", self.number, self.seen.gap.as_deref().unwrap_or_default());
            }
            told = counts;
            if !is_open {
                self.reader = None;
                self.all.note_lost();
                asked = Some(self.come_back().await);
            }
        }
    }

    /// Waits as long as it was asked to, and connects with its cursor; again until it is let in.
    /// Returns when it asked last.
    async fn come_back(&mut self) -> Instant {
        let wait = self.seen.retry.unwrap_or(RETRY);
        loop {
            sleep(wait).await;
            let asked = Instant::now();
            let request = with_cursor(self.request.clone(), self.seen.cursor());
            if let Ok(reader) = Reader::open(self.address, self.number, &request, &mut self.seen).await {
                self.reader = Some(reader);
                return asked;
            }
        }
    }
}

impl Returning {
    /// Starts a process of these clients, which are not connected yet.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(self) -> anyhow::Result<ClientProcess> {
        let Self { address, first, connections, types } = self;
        // They stand for other machines, and only run when no gateway does (sched(7), SCHED_IDLE).
        let mut command = Command::new("chrt");
        command.args(["--idle", "0"]).arg(std::env::current_exe()?).arg("come-back");
        command.args(["--address", &address.to_string(), "--first", &first.to_string()]);
        command.args(["--connections", &connections.to_string(), "--types", &types.to_string()]);
        ClientProcess::start(&mut command, LONGEST)
    }
}

/// Waits until the clients of a process together have had that many events, and returns what they
/// saw.
///
/// # Errors
/// It fails.
pub(super) async fn report(process: &mut ClientProcess, events: u64) -> anyhow::Result<Comeback> {
    Ok(serde_json::from_str(&process.answer(&events.to_string()).await?)?)
}
