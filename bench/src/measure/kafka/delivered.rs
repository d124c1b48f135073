//! What a delivery costs of an event from Kafka, beside one that was published over HTTP.

use std::time::Instant;

use anyhow::Context;
use serde::Serialize;

use super::{KafkaPlan, NUMBER, template};
use crate::client::Crowd;
use crate::measure::sustained::{self, EventFlow};
use crate::process::Cpu;
use crate::server::kafka::{KafkaBroker, Messages, TopicWriter};
use crate::server::{Launch, Product};
use crate::{Streaming, event};

/// Where events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    Kafka,
    Http,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct KafkaDelivery {
    pub(crate) from: Origin,
    pub(crate) round: u32,
    /// From when the first event is written until all clients have the last.
    pub(crate) seconds: f64,
    /// Events in each of them.
    pub(crate) events_per_second: f64,
    /// CPU time of the gateway, for each event to one client.
    pub(crate) microseconds: f64,
    pub(crate) system_part: f64,
    /// The same of the clients, which are one process; with HTTP, the publisher is in it.
    pub(crate) client_microseconds: f64,
}

/// Measures.
///
/// # Errors
/// A program cannot be started, or an event is lost.
pub(super) async fn run(launch: &Launch, plan: &KafkaPlan) -> anyhow::Result<Vec<KafkaDelivery>> {
    // Whoever falls behind is not thrown out: some 400 bytes for each event.
    let launch = &launch.with(&[("OUTBOX_BYTES", "64MiB"), ("WAITING_BYTES", "2GiB")]);
    let broker = KafkaBroker::start(&plan.broker)?;
    let mut writer = broker.writer(&plan.python).await?;
    let mut runs = Vec::new();
    for round in 1..=plan.rounds {
        let mut origins = [Origin::Kafka, Origin::Http];
        if round % 2 == 0 {
            origins.reverse();
        }
        for origin in origins {
            eprintln!("deliveries, round {round}: {origin:?}");
            runs.push(match origin {
                Origin::Kafka => from_kafka(launch, &broker, &mut writer, plan, round).await?,
                Origin::Http => over_http(launch, plan, round).await?,
            });
        }
    }
    Ok(runs)
}

async fn from_kafka(
    launch: &Launch,
    broker: &KafkaBroker,
    writer: &mut TopicWriter,
    plan: &KafkaPlan,
    round: u32,
) -> anyhow::Result<KafkaDelivery> {
    let KafkaPlan { subscribers, events, .. } = *plan;
    let topic = format!("events-{round}");
    writer.create(&topic).await?;
    let server = broker.launch(launch, &topic, &format!("deliveries-{round}")).start(Product::Rig)?;
    let crowd = Crowd::connect(&server, Streaming::Sse, subscribers, &NUMBER.into(), None).await?;
    let text = template(event::SIZE);
    let messages = |first, until| Messages { topic: &topic, first, until, edges: &text, between: &text };
    // The gateway reads the topic by then, everything is warm, and all clients are subscribed.
    writer.write(messages(0, 1)).await?;
    crowd.receive(subscribers.into()).await.context("the first event")?;

    let (server_cpu, client_cpu) = (server.cpu()?, Cpu::of_this()?);
    let start = Instant::now();
    writer.begin(messages(1, events + 1))?;
    let all = u64::from(events + 1) * u64::from(subscribers);
    crowd.receive(all).await?;
    let seconds = start.elapsed().as_secs_f64();
    let (server_cpu, client_cpu) = (server.cpu()? - server_cpu, Cpu::of_this()? - client_cpu);
    writer.written().await?;
    anyhow::ensure!(crowd.events() == all, "{} copies arrived where {all} should have", crowd.events());
    crowd.leave().await;

    let deliveries = f64::from(events) * f64::from(subscribers);
    Ok(KafkaDelivery {
        from: Origin::Kafka,
        round,
        seconds,
        events_per_second: f64::from(events) / seconds,
        microseconds: server_cpu.microseconds_each(deliveries),
        system_part: server_cpu.system_part(),
        client_microseconds: client_cpu.microseconds_each(deliveries),
    })
}

async fn over_http(launch: &Launch, plan: &KafkaPlan, round: u32) -> anyhow::Result<KafkaDelivery> {
    let KafkaPlan { subscribers, events, .. } = *plan;
    let (server, transport) = (Product::Rig, Streaming::Sse);
    let run =
        sustained::run(launch, EventFlow { server, transport, subscribers, events, rate: None }).await?;
    Ok(KafkaDelivery {
        from: Origin::Http,
        round,
        seconds: run.seconds,
        events_per_second: f64::from(events) / run.seconds,
        microseconds: run.server_microseconds,
        system_part: run.server_system_part,
        client_microseconds: run.client_microseconds,
    })
}
