//! What a client costs that comes back: by how much it has missed, and not by how much is kept.

mod counted;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{sleep, timeout};

use super::kept::publish;
use super::rounds::{Rounds, micros_each};
use super::{Figures, ResumePlan};
use crate::client::{Reader, Seen, publish_all};
use crate::event;
use crate::measure::connect;
use crate::process::Cpu;
use crate::server::{BUFFERED, Launch, Product, RunningServer, start_nginx_buffered};

/// What clients without a cursor are called.
const CONNECT: &str = "connect";

/// Events that were missed, and clients in a round that have missed them.
const MISSED: [(u32, u32); 3] = [(0, 15_000), (100, 5_000), (10_000, 200)];

/// Clients without a cursor in a round.
const NEWCOMERS: u32 = 15_000;

/// Events of another type that are kept meanwhile.
const OTHERS: u32 = 50_000;

/// Clients that come back at the same time.
const AT_ONCE: usize = 64;

/// For all of them.
const LONGEST: Duration = Duration::from_secs(120);

/// Until what was done is counted.
const COUNTING: Duration = Duration::from_millis(20);

/// Room for everything that is kept.
const ROOM: [(&str, &str); 2] = [("HISTORY_BYTES", "64MiB"), ("HISTORY", "1h")];

/// Microseconds for a resume, and for each event that was missed.
const MOST: (f64, f64) = (5.0, 0.1);

/// The first number of the events that were missed: the client that left the cursor has had one.
const FIRST: u32 = 1;

/// Measures.
///
/// # Errors
/// A server fails, or a client does not get exactly what it has missed.
pub(super) async fn run(launch: &Launch, plan: &ResumePlan) -> anyhow::Result<Figures> {
    let launch = &launch.with(&ROOM);
    let sizes = Sizes::of(plan);
    let mut figures = Figures::new(format!(
        "Clients of Server-Sent Events with a cursor, each with a token and a session of its own, and events \
         of {} bytes. {} rounds; in each {} clients that missed nothing, {} that missed {}, and {} that \
         missed {}; each must get exactly these, in order. {} events of another type are kept too. The \
         CPU time of a connect without a cursor, {} in each round, is subtracted. CPU time is \
         counted to the nanosecond; medians of the rounds. Own CPU time is the part of it that is user time, \
         which the kernel samples: its part in all rounds together. The kernel's own is for writing to sockets, \
         most of it for copying the bytes of the events. The target is one for own CPU time; it is put to all \
         of it where nothing was missed, since a sampled part of so little says nothing. nchan has one worker, `{}` and `{}`, and the same \
         events and clients, without tokens, in the same round.",
        event::SIZE,
        plan.rounds(),
        sizes.missed[0].1,
        sizes.missed[1].1,
        sizes.missed[1].0,
        sizes.missed[2].1,
        sizes.missed[2].0,
        sizes.others,
        sizes.newcomers,
        BUFFERED[0],
        BUFFERED[1],
    ));
    let (mut gateway, mut nchan) = (Spent::default(), Spent::default());
    for round in 0..plan.rounds() {
        eprintln!("round {} of {}", round + 1, plan.rounds());
        self::round(&launch.start(Product::Rig)?, &sizes, &mut gateway).await?;
        if !plan.alone {
            self::round(&start_nginx_buffered(launch)?, &sizes, &mut nchan).await?;
        }
    }
    figures.show("connect without a cursor, own", "µs", gateway.own(CONNECT)?);
    figures.show("connect without a cursor, with the kernel's", "µs", gateway.all.median(CONNECT)?);
    for (missed, _) in sizes.missed {
        let limit = MOST.0 + MOST.1 * f64::from(missed);
        let [own, all] = gateway.resume(missed)?;
        let [own_name, all_name] =
            ["own", "with the kernel's"].map(|which| format!("resume, {missed} missed, {which}"));
        if missed == 0 {
            figures.show(own_name, "µs", own);
            figures.at_most(all_name, "µs", all, limit);
        } else {
            figures.at_most(own_name, "µs", own, limit);
            figures.show(all_name, "µs", all);
        }
        if !plan.alone {
            let [own, all] = nchan.resume(missed)?;
            figures.show(format!("resume, {missed} missed, own, nchan"), "µs", own);
            figures.show(format!("resume, {missed} missed, with the kernel's, nchan"), "µs", all);
        }
    }
    let (most, _) = sizes.missed[2];
    for (who, spent) in [("", &gateway), (", nchan", &nchan)].into_iter().take(if plan.alone { 1 } else { 2 })
    {
        let ([no_own, no_all], [own, all]) = (spent.resume(0)?, spent.resume(most)?);
        let each = |more: f64| more / f64::from(most);
        figures.show(format!("for each missed event, own{who}"), "µs", each(own - no_own));
        figures.show(format!("for each missed event, with the kernel's{who}"), "µs", each(all - no_all));
    }
    if !plan.uncounted {
        counted::run(launch, plan, &mut figures).await?;
    }
    Ok(figures)
}

/// How much is done in a round.
struct Sizes {
    newcomers: u32,
    others: u32,
    missed: [(u32, u32); 3],
}

impl Sizes {
    fn of(plan: &ResumePlan) -> Self {
        Self {
            newcomers: plan.count(NEWCOMERS, 10),
            others: plan.count(OTHERS, 100),
            missed: MISSED.map(|(events, clients)| (portion(plan, events), plan.count(clients, 5))),
        }
    }
}

/// Returns a portion of the events that were missed: different numbers stay different.
fn portion(plan: &ResumePlan, missed: u32) -> u32 {
    plan.count(missed, missed.min(10) + missed / 1000)
}

async fn round(server: &RunningServer, sizes: &Sizes, spent: &mut Spent) -> anyhow::Result<()> {
    let mut stage = Stage::set(server, sizes.others).await?;
    // To warm up.
    drop(stage.clients(sizes.newcomers / 10, None).await?);
    connect::left(server, 0).await?;
    spent.add(CONNECT.to_owned(), stage.spent(sizes.newcomers, None).await?, sizes.newcomers);
    for (missed, clients) in sizes.missed {
        stage.publish(missed).await?;
        spent.add(missed.to_string(), stage.spent(clients, Some(missed)).await?, clients);
    }
    Ok(())
}

/// CPU time of a server by what its clients have missed.
#[derive(Default)]
struct Spent {
    /// With the kernel's, for each client, round by round. Microseconds.
    all: Rounds,
    /// What the kernel has sampled in all rounds: which part of it is its own.
    sampled: BTreeMap<String, Cpu>,
}

impl Spent {
    fn add(&mut self, what: String, (cpu, time): (Cpu, Duration), clients: u32) {
        self.all.add(&*what, micros_each(time, clients.into()));
        let sampled = self.sampled.entry(what).or_default();
        *sampled = *sampled + cpu;
    }

    /// Own CPU time for each client. Microseconds.
    fn own(&self, what: &str) -> anyhow::Result<f64> {
        let sampled = self.sampled.get(what).context("nothing sampled")?;
        Ok(self.all.median(what)? * (1.0 - sampled.system_part()))
    }

    /// What a resume costs more than a connect: own CPU time, and with the kernel's.
    fn resume(&self, missed: u32) -> anyhow::Result<[f64; 2]> {
        let missed = missed.to_string();
        Ok([self.own(&missed)? - self.own(CONNECT)?, self.all.difference(&missed, CONNECT)?])
    }
}

/// A server, and the cursor of a client that has left.
struct Stage<'a> {
    server: &'a RunningServer,
    cursor: String,
    /// Events since then.
    published: u32,
}

impl<'a> Stage<'a> {
    /// Gets the cursor, and has other events kept.
    async fn set(server: &'a RunningServer, others: u32) -> anyhow::Result<Self> {
        let mut seen = Seen::expecting(FIRST - 1);
        let mut reader = Reader::open(server.address, 0, &server.resumption(0, None)?, &mut seen).await?;
        if server.is_gateway() {
            reader.subscribed(&mut seen).await?;
        }
        publish(server, FIRST - 1, 1).await?;
        let got = timeout(LONGEST, reader.until(&mut seen, |seen| seen.counts.events == 1)).await?;
        anyhow::ensure!(got, "closed before the first event");
        let cursor = seen.cursor().context("the first event has no id")?.to_owned();
        drop(reader);
        if server.is_gateway() {
            keep_others(server, others).await?;
        }
        connect::left(server, 0).await?;
        Ok(Self { server, cursor, published: 0 })
    }

    /// Publishes until that many events have been missed.
    async fn publish(&mut self, missed: u32) -> anyhow::Result<()> {
        publish(self.server, FIRST + self.published, missed - self.published).await?;
        self.published = missed;
        Ok(())
    }

    /// CPU time of the server for these clients: as sampled, and to the nanosecond.
    async fn spent(&self, clients: u32, missed: Option<u32>) -> anyhow::Result<(Cpu, Duration)> {
        let (cpu, time) = (self.server.cpu()?, self.server.run_time()?);
        let readers = self.clients(clients, missed).await?;
        sleep(COUNTING).await;
        let (cpu, time) = (self.server.cpu()? - cpu, self.server.run_time()?.saturating_sub(time));
        drop(readers);
        connect::left(self.server, 0).await?;
        Ok((cpu, time))
    }

    /// Has clients come; returns them when all have what they have missed. Without a number, they
    /// are clients without a cursor.
    async fn clients(&self, clients: u32, missed: Option<u32>) -> anyhow::Result<Vec<Reader>> {
        let coming = stream::iter(0..clients)
            .map(async |number| {
                let came = self.client(number, missed).await;
                came.with_context(|| format!("client {number} that missed {missed:?}"))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect();
        timeout(LONGEST, coming).await.context("coming back takes too long")?
    }

    async fn client(&self, number: u32, missed: Option<u32>) -> anyhow::Result<Reader> {
        let cursor = missed.map(|_| &*self.cursor);
        let is_gateway = self.server.is_gateway();
        let mut seen = Seen::expecting(FIRST);
        let request = self.server.resumption(number, cursor)?;
        let mut reader = Reader::open(self.server.address, number, &request, &mut seen).await?;
        let events = u64::from(missed.unwrap_or(0));
        let got = reader.until(&mut seen, |seen| {
            let is_over = !is_gateway || seen.counts.gaps > 0 || seen.counts.resumed > 0;
            let is_subscribed = !is_gateway || seen.is_subscribed;
            is_subscribed && (missed.is_none() || (seen.counts.events >= events && is_over))
        });
        anyhow::ensure!(got.await, "closed: {:?}", seen.counts);
        let counts = seen.counts;
        let is_exact = counts.events == events && counts.lost + counts.twice + counts.gaps == 0;
        anyhow::ensure!(is_exact, "{counts:?} {:?}", seen.gap);
        Ok(reader)
    }
}

/// Has the gateway keep events of another type, which had a subscriber.
async fn keep_others(server: &RunningServer, events: u32) -> anyhow::Result<()> {
    const TYPE: &str = "other";
    let mut seen = Seen::default();
    let request = server.subscription_to(TYPE, 1)?;
    Reader::open(server.address, 1, &request, &mut seen).await?.subscribed(&mut seen).await?;
    connect::left(server, 0).await?;
    for from in (0..events).step_by(1000) {
        let some = from..(from + 1000).min(events);
        let requests = some.map(|number| server.publication(&event::of_type(TYPE, number))).collect();
        publish_all(server.address, requests, None).await?;
    }
    Ok(())
}
