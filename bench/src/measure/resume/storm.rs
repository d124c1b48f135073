//! Very many clients that lose their connections together, because all gateways are restarted, and
//! come back together.

mod returning;

use std::time::Duration;

use anyhow::Context;
use futures_util::future::{join_all, try_join_all};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Figures, ResumePlan};
use crate::client::{ClientProcess, Counts, publish_all};
use crate::event;
use crate::measure::bystanders::{Bystanders, PACE};
use crate::measure::instructions::ONE_WORKER;
use crate::server::restart::Restartable;
use crate::server::{Launch, RunningServer};
use crate::stats::{millis, quantile};

use returning::{Comeback, report};
pub(crate) use returning::{Returning, come_back};

/// Clients of all gateways together.
const CLIENTS: u32 = 100_000;

/// The most of one gateway, and of one process of clients: what the limit of descriptors leaves.
const MOST: u32 = 18_000;

/// Types of events of each gateway; a client subscribes to one of them.
const TYPES: u32 = 10;

/// Events of each type while the clients are away, so that each client misses as many.
const MISSED: u32 = 100;

/// Events of each type before and after, which show that everybody gets what is live.
const LIVE: u32 = 2;

/// Clients of each gateway that are back first, and get an event every [`PACE`].
const BYSTANDERS: u32 = 20;

/// How long these are watched before the gateways leave.
const BEFORE: Duration = Duration::from_secs(10);

/// Over how long clients are asked to spread their return; each waits a second before.
const SPREAD: &str = "8s";

/// The time in which all should be back.
const WITHIN: f64 = 10.0;

/// For a gateway to listen again: it reads its history.
const START: Duration = Duration::from_secs(20);

/// What the history may hold.
const BYTES: u64 = 16 << 20;

/// The most that its bytes may take, by what they count.
const OVERHEAD: f64 = 1.3;

/// What bystanders may notice, by what they notice without a storm.
const MOST_P99: f64 = 2.0;

/// Measures.
///
/// # Errors
/// A gateway fails, or clients do not come back.
pub(super) async fn run(launch: &Launch, plan: &ResumePlan) -> anyhow::Result<Figures> {
    let clients = plan.count(CLIENTS, 40);
    let gateways = clients.div_ceil(MOST).max(2);
    let bytes = BYTES.to_string();
    let variables = [("RECONNECT_SPREAD", SPREAD), ("HISTORY_BYTES", &bytes), ONE_WORKER];
    let launch = launch.with(&variables);
    let mut figures = Figures::new(format!(
        "{clients} clients of Server-Sent Events, each with a token, a session and a cursor of its own, at \
         {gateways} gateways, each with one worker thread, since they share the cores that one has elsewhere; \
         a client subscribes to one of {TYPES} types. All gateways get SIGTERM together \
         and are started again as soon as they have left, with the same ports and folders \
         (`RECONNECT_SPREAD={SPREAD}`: a client waits one second and up to {SPREAD} more, and as long again \
         if the gateway does not listen yet). As soon as they listen, {MISSED} events of each type are \
         published, so each client has missed {MISSED}: those of them that its gateway took in before the \
         client was back are replayed, the others reach it live. Each client checks the number of each event \
         that it gets. Bystanders are {BYSTANDERS} clients of each gateway that are back as soon as these events are \
         published, and get an event of another type every {} ms; they are compared with such clients in the {} \
         s before the gateways leave, while all others are connected. The processes of clients stand for \
         other machines: they only run when no gateway does (`SCHED_IDLE`), so they wait for the gateways, not the gateways \
         for them.",
        PACE.as_millis(),
        BEFORE.as_secs(),
    ));
    let mut storm = Storm::gather(&launch, clients, gateways).await?;
    storm.publish(LIVE).await?;
    let live = storm.report(LIVE).await?;
    anyhow::ensure!(live.counts.lost + live.counts.twice == 0, "before the storm: {:?}", live.counts);
    let settled = storm.memory()?;
    let mut before = watch_all(bystanders(&storm.gateways).await?, BEFORE, async { Ok(()) }).await?;

    let stopped = Instant::now();
    storm.restart()?;
    let restarted = stopped.elapsed();
    let mut meanwhile = storm.come_back(LIVE + MISSED).await?;
    let peak = storm.peak()?;
    storm.publish(LIVE).await?;
    let all = storm.report(LIVE + MISSED + LIVE).await?;
    let restored = storm.comeback.take().context("nobody came back")?;
    storm.leave().await;

    let Counts { events, twice, gaps, resumed, replayed, .. } = all.counts;
    let expected = u64::from(clients) * u64::from(LIVE + MISSED + LIVE);
    figures.show("clients", "", clients.into());
    figures.show("from SIGTERM until all gateways listen again", "s", restarted.as_secs_f64());
    figures.show("from the first connection lost to the last resumed", "s", restored.seconds);
    figures.at_most("from the first that came back to the last resumed", "s", restored.returning, WITHIN);
    figures.at_least("clients that say they were resumed", "", resumed as f64, clients.into());
    figures.show("events replayed for each client", "", replayed as f64 / f64::from(clients));
    figures.at_most("events that were lost", "", (expected + twice).saturating_sub(events) as f64, 0.0);
    figures.at_most("events that came twice", "", twice as f64, 0.0);
    figures.at_most("gaps", "", gaps as f64, 0.0);
    figures.show("from a request to `rig.resumed`, p50", "ms", restored.p50);
    figures.show("from a request to `rig.resumed`, p99", "ms", restored.p99);
    for part in [0.5, 0.99] {
        figures.times("event to a bystander, before", &mut before, part, None);
        figures.times("event to a bystander, meanwhile", &mut meanwhile, part, None);
    }
    let p99 = |times: &[Duration]| millis(quantile(times, 0.99));
    figures.at_most("p99, meanwhile to before", "", p99(&meanwhile) / p99(&before), MOST_P99);
    let mib = |kib: u64| kib as f64 / 1024.0;
    figures.show("resident set before, largest of a gateway", "MiB", mib(settled));
    let bound = mib(settled) + OVERHEAD * BYTES as f64 / f64::from(1 << 20);
    figures.at_most("largest resident set until all are back", "MiB", mib(peak), bound.ceil());
    Ok(figures)
}

/// The gateways and their clients. Dropping it stops all.
struct Storm {
    // The clients first: they would come back.
    clients: Vec<ClientProcess>,
    gateways: Vec<Restartable>,
    /// Clients of each process.
    shares: Vec<u32>,
    /// Events of each type so far.
    published: u32,
    comeback: Option<Comeback>,
}

impl Storm {
    async fn gather(launch: &Launch, clients: u32, gateways: u32) -> anyhow::Result<Self> {
        let gateways: Vec<_> =
            (0..gateways).map(|_| Restartable::start(launch)).collect::<anyhow::Result<_>>()?;
        let count = gateways.len() as u32;
        let (mut processes, mut shares, mut first) = (Vec::new(), Vec::new(), BYSTANDERS);
        for (number, gateway) in (0..count).zip(&gateways) {
            let connections = clients / count + u32::from(number < clients % count);
            let address = gateway.server()?.address;
            processes.push(Returning { address, first, connections, types: TYPES }.start()?);
            shares.push(connections);
            first += connections;
        }
        try_join_all(processes.iter_mut().map(ClientProcess::connected)).await?;
        Ok(Self { clients: processes, gateways, shares, published: 0, comeback: None })
    }

    /// Publishes that many events of each type at each gateway.
    async fn publish(&mut self, events: u32) -> anyhow::Result<()> {
        let numbers = self.published..self.published + events;
        self.published = numbers.end;
        publish_at(&self.gateways, numbers).await
    }

    /// Waits until all clients together have had that many events each, and returns what they saw.
    async fn report(&mut self, events: u32) -> anyhow::Result<Comeback> {
        let asked = self
            .clients
            .iter_mut()
            .zip(&self.shares)
            .map(|(process, share)| report(process, u64::from(*share) * u64::from(events)));
        try_join_all(asked).await?.into_iter().reduce(Comeback::and).context("no clients")
    }

    /// Stops all gateways and starts them again, all at the same time.
    fn restart(&mut self) -> anyhow::Result<()> {
        self.gateways.iter().try_for_each(Restartable::leave)?;
        std::thread::scope(|scope| {
            let starting: Vec<_> = self
                .gateways
                .iter_mut()
                .map(|gateway| {
                    scope.spawn(|| {
                        gateway.left();
                        gateway.start_again(START)
                    })
                })
                .collect();
            starting.into_iter().try_for_each(|thread| {
                thread.join().map_err(|_| anyhow::anyhow!("starting a gateway has panicked"))?
            })
        })
    }

    /// Publishes what the clients have missed and waits until all are back and have had that many
    /// events each. Returns what events took to bystanders meanwhile.
    async fn come_back(&mut self, events: u32) -> anyhow::Result<Vec<Duration>> {
        let numbers = self.published..self.published + MISSED;
        self.published = numbers.end;
        let Self { gateways, clients, shares, .. } = self;
        publish_at(gateways, numbers).await?;
        let bystanders = bystanders(gateways).await?;
        let mut comeback = None;
        let coming = async {
            let asked = clients
                .iter_mut()
                .zip(shares)
                .map(|(process, share)| report(process, u64::from(*share) * u64::from(events)));
            comeback = try_join_all(asked).await?.into_iter().reduce(Comeback::and);
            Ok(())
        };
        let times = watch_all(bystanders, Duration::ZERO, coming).await?;
        self.comeback = comeback;
        Ok(times)
    }

    /// The largest resident set of a gateway. KiB.
    fn memory(&self) -> anyhow::Result<u64> {
        self.most(|server| Ok(server.memory()?.rss_kib))
    }

    /// The largest that a gateway has had since it was started. KiB.
    fn peak(&self) -> anyhow::Result<u64> {
        self.most(RunningServer::peak_kib)
    }

    fn most(&self, of: fn(&RunningServer) -> anyhow::Result<u64>) -> anyhow::Result<u64> {
        let all: anyhow::Result<Vec<_>> = self.gateways.iter().map(|gateway| of(gateway.server()?)).collect();
        all?.into_iter().max().context("no gateways")
    }

    async fn leave(self) {
        join_all(self.clients.into_iter().map(ClientProcess::leave)).await;
    }
}

/// Publishes these events of each type at each gateway: all of one number before the next.
async fn publish_at(gateways: &[Restartable], numbers: std::ops::Range<u32>) -> anyhow::Result<()> {
    let publishing = gateways.iter().map(async |gateway| {
        let server = gateway.server()?;
        let of_all =
            |number| (0..TYPES).map(move |kind| event::of_type(&returning::event_type(kind), number));
        let requests = numbers.clone().flat_map(of_all).map(|event| server.publication(&event));
        publish_all(server.address, requests.collect(), None).await
    });
    try_join_all(publishing).await.map(drop)
}

/// Connects bystanders to all gateways.
async fn bystanders(gateways: &[Restartable]) -> anyhow::Result<Vec<Bystanders<'_>>> {
    try_join_all(
        gateways.iter().map(async |gateway| Bystanders::connect(gateway.server()?, BYSTANDERS).await),
    )
    .await
}

/// Watches all bystanders for that time, and while something else is done.
async fn watch_all(
    mut all: Vec<Bystanders<'_>>,
    within: Duration,
    meanwhile: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Vec<Duration>> {
    let (done, is_done) = watch::channel(false);
    let watching = all.iter_mut().map(|bystanders| {
        let mut is_done = is_done.clone();
        let until = async move { is_done.wait_for(|done| *done).await.map(drop).context("given up") };
        bystanders.watch(within, until)
    });
    let meanwhile = async {
        meanwhile.await?;
        done.send_replace(true);
        Ok(())
    };
    let (times, ()) = tokio::try_join!(try_join_all(watching), meanwhile)?;
    // Before anything blocks this thread, on which their connections are closed.
    join_all(all.into_iter().map(Bystanders::leave)).await;
    let mut times = times.concat();
    times.sort_unstable();
    Ok(times)
}
