//! Receives the messages of a topic as the gateway does, with the same library, settings and
//! runtime, and does nothing with them: what is left of the gateway's CPU time without its own
//! code.
//!
//! Says in a line which version of librdkafka it is, starts when it reads a line, and says how long
//! it took from the first message to the last. Exits when its standard input is closed, so that
//! what it has used can be read before.

use std::io::BufRead;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::StreamExt;
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::util::get_rdkafka_version;
use tokio::time::timeout;

/// As the gateway has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// For all messages.
const LONGEST: Duration = Duration::from_secs(600);

/// What the gateway sets for a consumer in a group: `KafkaSource` and `KafkaAccess` in
/// `crates/broker/src/kafka`.
const SETTINGS: [(&str, &str); 15] = [
    ("client.id", "rig"),
    ("security.protocol", "plaintext"),
    ("socket.keepalive.enable", "true"),
    ("topic.metadata.refresh.interval.ms", "30000"),
    ("statistics.interval.ms", "1000"),
    ("queued.max.messages.kbytes", "8192"),
    ("fetch.max.bytes", "8388608"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.queue.backoff.ms", "10"),
    ("auto.offset.reset", "earliest"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("enable.auto.offset.store", "false"),
    ("enable.auto.commit", "true"),
    ("auto.commit.interval.ms", "5000"),
    // What the benchmark sets for the gateway too.
    ("session.timeout.ms", "6000"),
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [broker, topic, group, messages] = &arguments[..] else {
        anyhow::bail!("usage: rig-bench-consume BROKER TOPIC GROUP MESSAGES");
    };
    let messages: u64 = messages.parse().context("MESSAGES")?;
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", broker).set("group.id", group);
    for (name, value) in SETTINGS {
        client.set(name, value);
    }
    let mut lines = std::io::stdin().lock().lines();
    println!("librdkafka {}", get_rdkafka_version().1);
    lines.next().context("nobody says that it starts")??;
    let seconds =
        timeout(LONGEST, receive(&client, topic, messages)).await.context("it takes too long")??;
    println!("{seconds}");
    lines.next();
    Ok(())
}

/// Returns the seconds from the first message to the last.
async fn receive(client: &ClientConfig, topic: &str, messages: u64) -> anyhow::Result<f64> {
    let consumer: StreamConsumer = client.create()?;
    consumer.subscribe(&[topic])?;
    let mut stream = consumer.stream();
    let (mut received, mut first) = (0, None);
    while received < messages {
        match stream.next().await.context("the stream has ended")? {
            Ok(_) => received += 1,
            Err(error @ KafkaError::MessageConsumptionFatal(_)) => return Err(error.into()),
            // The library tries again by itself.
            Err(error) => eprintln!("{error}"),
        }
        if received > 0 {
            first.get_or_insert_with(Instant::now);
        }
    }
    Ok(first.map_or(0.0, |first| first.elapsed().as_secs_f64()))
}
