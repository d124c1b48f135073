//! A broker that speaks Kafka's protocol, what fills its topics, and what only reads them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::dialogue::Dialogue;
use super::{Child, Launch, free_address};

/// For an order of the writer; it gives up by itself a little earlier.
const ORDER: Duration = Duration::from_secs(610);

/// A script of this package; it needs confluent-kafka.
const WRITER: &str = "bench/kafka/write.py";

/// The gateway reads it too, always.
const RESPONSES: &str = "rig-proxy-response";

/// Tansu with its data in memory: one process. Dropping it stops it.
///
/// It is not the broker of the tests, which answers with everything that a topic has, however
/// little a consumer asks for.
#[derive(Debug)]
pub(crate) struct KafkaBroker {
    child: Child,
    address: SocketAddr,
}

impl KafkaBroker {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(program: &Path) -> anyhow::Result<Self> {
        let address = free_address()?;
        let url = format!("tcp://{address}");
        let mut command = Command::new(program);
        command.env_clear().args(["broker", "--silent", "--storage-engine", "memory://tansu/"]);
        command.args(["--listener-url", &url, "--advertised-listener-url", &url]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = Child::spawn(&mut command, None).context("scripts/need tansu installs it")?;
        child.wait_for(address)?;
        Ok(Self { child, address })
    }

    /// Returns what the broker calls itself.
    ///
    /// # Errors
    /// It cannot be run.
    pub(crate) fn version(program: &Path) -> anyhow::Result<String> {
        let output = Command::new(program).arg("--version").output();
        let output = output.with_context(|| format!("{} cannot be run", program.display()))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Lets the broker answer nothing until [`resume`](Self::resume). Clients connect and wait.
    ///
    /// # Errors
    /// It has exited.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.child.signal(Signal::STOP)
    }

    /// Lets the broker answer again.
    ///
    /// # Errors
    /// It has exited.
    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        self.child.signal(Signal::CONT)
    }

    /// The same launch with a gateway that reads a topic from its beginning, in a group of its own.
    /// Properties that the launch sets for the library stay.
    pub(crate) fn launch(&self, launch: &Launch, topic: &str, group: &str) -> Launch {
        // The broker lets the first member of a group wait for half of it; 22 s otherwise.
        let mut properties = "session.timeout.ms=6000".to_owned();
        let mut given = launch.environment.iter().rev();
        if let Some((_, given)) = given.find(|(name, _)| name == "KAFKA_PROPERTIES") {
            properties = format!("{properties};{given}");
        }
        launch.with(&[
            ("KAFKA_BROKERS", &self.address.to_string()),
            ("KAFKA_SOURCE_TOPICS", topic),
            ("KAFKATOFILTER_KAFKA_GROUP_ID", group),
            ("KAFKA_AUTO_OFFSET_RESET", "earliest"),
            ("KAFKA_PROPERTIES", &properties),
            ("PROXY_KAFKA_RESPONSE_TOPICS", RESPONSES),
        ])
    }

    /// Starts a program that reads that many messages of a topic with the gateway's library and
    /// does nothing with them. A program of this package, with its feature `kafka`.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn consume(&self, topic: &str, group: &str, messages: u32) -> anyhow::Result<Dialogue> {
        // cargo puts it beside this one.
        let program = std::env::current_exe()?.with_file_name("rig-bench-consume");
        let mut command = Command::new(program);
        command.env_clear().args([&self.address.to_string(), topic, group, &messages.to_string()]);
        Dialogue::start(&mut command).context("cargo build --package rig-bench --features kafka makes it")
    }

    /// Starts what fills topics.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) async fn writer(&self, python: &Path) -> anyhow::Result<TopicWriter> {
        anyhow::ensure!(Path::new(WRITER).exists(), "no {WRITER} here");
        let mut command = Command::new(python);
        command.arg(WRITER).arg(self.address.to_string());
        let writer = Dialogue::start(&mut command).context("scripts/need confluent-kafka installs it")?;
        let mut writer = TopicWriter(writer);
        writer.create(RESPONSES).await?;
        Ok(writer)
    }
}

/// A producer in a process of its own.
#[derive(Debug)]
pub(crate) struct TopicWriter(Dialogue);

/// Messages to write. `%010d` in a text stands for the number of the message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Messages<'a> {
    pub(crate) topic: &'a str,
    /// The number of the first.
    pub(crate) first: u32,
    /// The number after that of the last.
    pub(crate) until: u32,
    /// The first and the last.
    pub(crate) edges: &'a str,
    /// All others.
    pub(crate) between: &'a str,
}

impl TopicWriter {
    /// Creates a topic with one partition.
    ///
    /// # Errors
    /// The broker refuses it.
    pub(crate) async fn create(&mut self, topic: &str) -> anyhow::Result<()> {
        self.0.say(&json!({ "create": [topic] }).to_string())?;
        self.written().await
    }

    /// Begins to write messages; [`written`](Self::written) waits until all are.
    ///
    /// # Errors
    /// The writer has exited.
    pub(crate) fn begin(&mut self, messages: Messages<'_>) -> anyhow::Result<()> {
        let Messages { topic, first, until, edges, between } = messages;
        let order =
            json!({ "topic": topic, "first": first, "until": until, "edges": edges, "between": between });
        self.0.say(&order.to_string())
    }

    /// Waits until the broker has acknowledged all messages of the last order.
    ///
    /// # Errors
    /// It has not, or it takes too long.
    pub(crate) async fn written(&mut self) -> anyhow::Result<()> {
        let answer: Value = serde_json::from_str(&self.0.hear(ORDER).await?)?;
        match answer["error"].as_str() {
            None => Ok(()),
            Some(error) => anyhow::bail!("messages are not written: {error}"),
        }
    }

    /// Writes messages.
    ///
    /// # Errors
    /// The broker does not acknowledge all, or it takes too long.
    pub(crate) async fn write(&mut self, messages: Messages<'_>) -> anyhow::Result<()> {
        self.begin(messages)?;
        self.written().await
    }
}
