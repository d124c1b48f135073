//! What a message costs that no client wants.

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{Instant, sleep, timeout};

use super::{KafkaPlan, NUMBER, SIZE, template};
use crate::Streaming;
use crate::client::Crowd;
use crate::event;
use crate::server::kafka::{KafkaBroker, Messages};
use crate::server::{Launch, Product};

const TOPIC: &str = "burst";

/// For all messages.
const LONGEST: Duration = Duration::from_secs(600);

/// Until the gateway has counted what a client already has.
const COUNTED: Duration = Duration::from_secs(5);

/// Who reads the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MessageReader {
    Gateway,
    /// The gateway's library alone.
    Library,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Dropped {
    pub(crate) reader: MessageReader,
    pub(crate) round: u32,
    /// From the first message to the last, as the client gets them.
    pub(crate) seconds: f64,
    /// CPU time of the process for each message, from when the broker answers.
    pub(crate) microseconds: f64,
    pub(crate) system_part: f64,
    /// Resident set before the broker answers.
    pub(crate) before_kib: u64,
    /// The largest up to the last message.
    pub(crate) peak_kib: u64,
}

/// Measures; also returns the version of the library.
///
/// # Errors
/// A program cannot be started, or a message is lost.
pub(super) async fn run(launch: &Launch, plan: &KafkaPlan) -> anyhow::Result<(String, Vec<Dropped>)> {
    let broker = KafkaBroker::start(&plan.broker)?;
    let mut writer = broker.writer(&plan.python).await?;
    eprintln!("writing {} messages", plan.messages);
    writer.create(TOPIC).await?;
    let wanted = template(SIZE);
    // As long as the other type.
    let unwanted = wanted.replace(event::TYPE, "unwanted");
    let messages =
        Messages { topic: TOPIC, first: 0, until: plan.messages, edges: &wanted, between: &unwanted };
    writer.write(messages).await?;
    drop(writer);

    let mut runs = Vec::new();
    let mut library = String::new();
    for round in 1..=plan.rounds {
        eprintln!("messages that no client wants, round {round}");
        // In turns, every other round the other one first.
        if round % 2 == 1 {
            runs.push(gateway(launch, &broker, plan, round).await?);
        }
        let run;
        (library, run) = alone(&broker, plan, round).await?;
        runs.push(run);
        if round % 2 == 0 {
            runs.push(gateway(launch, &broker, plan, round).await?);
        }
    }
    Ok((library, runs))
}

async fn gateway(
    launch: &Launch,
    broker: &KafkaBroker,
    plan: &KafkaPlan,
    round: u32,
) -> anyhow::Result<Dropped> {
    // Nothing is read before the client is subscribed.
    broker.pause()?;
    let server = broker.launch(launch, TOPIC, &format!("gateway-{round}")).start(Product::Rig)?;
    let (sender, mut arrivals) = unbounded_channel();
    let crowd = Crowd::connect(&server, Streaming::Sse, 1, &NUMBER.into(), Some(sender)).await?;

    let (cpu, before_kib) = (server.cpu()?, server.memory()?.rss_kib);
    broker.resume()?;
    let both = async { Some((arrivals.recv().await?.1, arrivals.recv().await?.1)) };
    let (first, last) = timeout(LONGEST, both).await.context("no last event")?.context("no client")?;
    let (cpu, peak_kib) = (server.cpu()? - cpu, server.peak_kib()?);
    crowd.ensure_complete()?;

    let deadline = Instant::now() + COUNTED;
    while server.consumed(TOPIC).await? != u64::from(plan.messages) {
        let count = server.consumed(TOPIC).await?;
        anyhow::ensure!(Instant::now() < deadline, "{count} of {} messages were read", plan.messages);
        sleep(Duration::from_millis(50)).await;
    }
    anyhow::ensure!(crowd.events() == 2, "{} events arrived, not 2", crowd.events());
    crowd.leave().await;
    Ok(Dropped {
        reader: MessageReader::Gateway,
        round,
        seconds: (last - first).as_secs_f64(),
        microseconds: cpu.microseconds_each(plan.messages.into()),
        system_part: cpu.system_part(),
        before_kib,
        peak_kib,
    })
}

async fn alone(broker: &KafkaBroker, plan: &KafkaPlan, round: u32) -> anyhow::Result<(String, Dropped)> {
    let mut consumer = broker.consume(TOPIC, &format!("library-{round}"), plan.messages)?;
    let library = consumer.hear(LONGEST).await?;
    let (cpu, before_kib) = (consumer.cpu()?, consumer.rss_kib()?);
    consumer.say("start")?;
    let seconds = consumer.hear(LONGEST).await?.parse().context("how long it took")?;
    let (cpu, peak_kib) = (consumer.cpu()? - cpu, consumer.peak_kib()?);
    let run = Dropped {
        reader: MessageReader::Library,
        round,
        seconds,
        microseconds: cpu.microseconds_each(plan.messages.into()),
        system_part: cpu.system_part(),
        before_kib,
        peak_kib,
    };
    Ok((library, run))
}
