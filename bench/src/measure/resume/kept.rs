//! What it costs to keep an event without a receiver: CPU time of the publication, and memory
//! beside the event itself.

use std::time::Duration;

use anyhow::Context;
use tokio::time::sleep;

use super::rounds::{Rounds, micros_each};
use super::{Figures, ResumePlan};
use crate::Streaming;
use crate::client::{Publisher, get, look_in, publish_all};
use crate::event;
use crate::measure::{connect, instructions};
use crate::server::{Callgrind, Launch, Product, RunningServer, start_nginx_buffered};

/// Turns of each gateway in a round.
const TURNS: u32 = 20;

/// Events in a turn.
const EVENTS: u32 = 5000;

/// Events before the first turn: more than a gateway keeps by default.
const WARM_UP: u32 = 60_000;

/// Events of which the memory is measured.
const REMEMBERED: u32 = 100_000;

/// Room for all of them.
const ROOM: (&str, &str) = ("HISTORY_BYTES", "64MiB");

/// Longer than the measurement, so that no event expires meanwhile.
const AGE: (&str, &str) = ("HISTORY", "1h");

/// Events under callgrind.
const COUNTED: u32 = 2000;

/// Microseconds for each event kept.
const MOST_MICROS: f64 = 0.3;

/// Bytes beside the event, for each event kept.
const MOST_BYTES: f64 = 128.0;

/// Until what was done is counted, and memory is given back.
const SETTLE: Duration = Duration::from_millis(20);

/// By what events are found again: by their type alone, or by a field that is different in each.
const KINDS: [(&str, &str); 2] = [
    ("one type", "{}"),
    (
        "as many values as events",
        r#"{"greeting":{"number":{"stable_field_index":0,"event":{"json_pointer":"/id"}}}}"#,
    ),
];

/// Measures.
///
/// # Errors
/// A server fails, or does not keep what it should.
pub(super) async fn run(launch: &Launch, plan: &ResumePlan) -> anyhow::Result<Figures> {
    let (events, remembered) = (plan.count(EVENTS, 50), plan.count(REMEMBERED, 1000));
    let mut figures = Figures::new(format!(
        "Events of {} bytes whose type had a subscriber, which has left. CPU time: {} rounds, in each a \
         gateway with the default history, which is full and so drops an event for each that it keeps, and \
         one with `HISTORY=off` run side by side and take turns, {TURNS} each, of {events} events over one \
         connection; the difference of what both have run, user and system, to the nanosecond. Memory: \
         {remembered} events with room for all of them; what the resident set grows more than that of a \
         gateway with `HISTORY=off` that got the same events, less the events themselves. Once all events \
         are of one type, and once there is an extractor of a field that is different in each. nchan keeps \
         the same events in its buffer.",
        event::SIZE,
        plan.rounds(),
    ));
    for (kind, extractors) in KINDS {
        let launch = launch.with(&[("EXTRACTORS", extractors)]);
        let mut rounds = Rounds::default();
        for round in 0..plan.rounds() {
            eprintln!("round {} of {}: {kind}", round + 1, plan.rounds());
            cpu(&launch, plan, events, round % 2 == 0, &mut rounds).await?;
            for (name, history) in [("on", AGE.1), ("off", "off")] {
                let launch = launch.with(&[(AGE.0, history), ROOM]);
                let server = launch.start(Product::Rig)?;
                rounds.add(format!("bytes {name}"), remember(&server, remembered).await?);
                if name == "on" {
                    let kept = metric(&server, "rig_history_events").await?;
                    anyhow::ensure!(kept >= f64::from(remembered), "only {kept} of {remembered} are kept");
                    rounds.add("accounted", metric(&server, "rig_history_bytes").await? / kept);
                }
            }
        }
        figures.show(format!("publication, {kind}, `HISTORY=off`"), "µs", rounds.median("off")?);
        figures.show(format!("publication, {kind}, kept"), "µs", rounds.median("on")?);
        let more = rounds.difference("on", "off")?;
        figures.at_most(format!("for each event kept, {kind}"), "µs", more, MOST_MICROS);
        let beside = rounds.difference("bytes on", "bytes off")? - event::SIZE as f64;
        figures.at_most(format!("memory beside each event, {kind}"), "B", beside, MOST_BYTES);
        let accounted = rounds.median("accounted")?;
        figures.show(format!("what `HISTORY_BYTES` counts for each event, {kind}"), "B", accounted);
        if !plan.uncounted {
            let count = plan.count(COUNTED, 100);
            let on = counted(&launch.with(&[AGE]), count).await?;
            let off = counted(&launch.with(&[("HISTORY", "off")]), count).await?;
            figures.show(format!("instructions for each event kept, {kind}"), "", on - off);
        }
    }
    if !plan.alone {
        let mut rounds = Rounds::default();
        for _ in 0..plan.rounds() {
            rounds.add("nchan", remember(&start_nginx_buffered(launch)?, remembered).await?);
        }
        let beside = rounds.median("nchan")? - event::SIZE as f64;
        figures.show("memory beside each message, nchan", "B", beside);
    }
    Ok(figures)
}

/// What an event costs a gateway that keeps it and one that does not.
async fn cpu(
    launch: &Launch,
    plan: &ResumePlan,
    events: u32,
    is_first: bool,
    rounds: &mut Rounds,
) -> anyhow::Result<()> {
    let mut gateways = [
        ("on", launch.start(Product::Rig)?, Duration::ZERO),
        ("off", launch.with(&[("HISTORY", "off")]).start(Product::Rig)?, Duration::ZERO),
    ];
    for (_, server, _) in &gateways {
        once(server).await?;
        publish(server, 0, plan.count(WARM_UP, 100)).await?;
    }
    if is_first {
        gateways.reverse();
    }
    let turns = if plan.portion < 1.0 { 2 } else { TURNS };
    for turn in 0..turns {
        for (_, server, spent) in &mut gateways {
            let before = server.run_time()?;
            publish(server, WARM_UP + turn * events, events).await?;
            sleep(SETTLE).await;
            *spent += server.run_time()?.saturating_sub(before);
        }
    }
    for (name, _, spent) in gateways {
        rounds.add(name, micros_each(spent, u64::from(turns) * u64::from(events)));
    }
    Ok(())
}

/// Has one subscriber come and leave.
async fn once(server: &RunningServer) -> anyhow::Result<()> {
    look_in(server, Streaming::Sse, 0).await?;
    connect::left(server, 0).await
}

/// Publishes these events, some at a time, so that neither side has to hold all of them.
pub(super) async fn publish(server: &RunningServer, first: u32, count: u32) -> anyhow::Result<()> {
    const AT_ONCE: usize = 1000;
    for from in (first..first + count).step_by(AT_ONCE) {
        let some = from..(from + AT_ONCE as u32).min(first + count);
        let requests = some.map(|number| server.publication(&event::numbered(number))).collect();
        publish_all(server.publishing(), requests, None).await?;
    }
    Ok(())
}

/// Bytes that the resident set grows for each of these events.
async fn remember(server: &RunningServer, events: u32) -> anyhow::Result<f64> {
    once(server).await?;
    publish(server, 0, 1000).await?;
    sleep(SETTLE).await;
    let before = server.memory()?.rss_kib;
    publish(server, 1000, events).await?;
    sleep(SETTLE).await;
    let after = server.memory()?.rss_kib;
    Ok((after as f64 - before as f64) * 1024.0 / f64::from(events))
}

/// Instructions of a publication whose type had a subscriber.
async fn counted(launch: &Launch, events: u32) -> anyhow::Result<f64> {
    let callgrind = Callgrind::new()?;
    let server = callgrind.launch(&instructions::one_worker(launch)).start(Product::Rig)?;
    once(&server).await?;
    let mut publisher = Publisher::connect(server.publishing()).await?;
    let counter = callgrind.counter(&server);
    for number in 0..events * 2 {
        if number == events {
            counter.reset()?;
        }
        publisher.publish(&server.publication(&event::numbered(number))).await?;
    }
    Ok(counter.instructions()? as f64 / f64::from(events))
}

/// The value of a gauge without labels.
async fn metric(server: &RunningServer, name: &str) -> anyhow::Result<f64> {
    let metrics = get(server.status, "/metrics").await?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).with_context(|| format!("no {name} in the metrics"))
}
