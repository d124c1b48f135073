//! A client of Kafka in another language and with another version of librdkafka than the gateway's.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::installed;
use crate::wire::{DEADLINE, eventually};

/// A running client; stopped when it is dropped.
pub struct KafkaClient {
    child: Child,
    pipes: Mutex<Pipes>,
}

struct Pipes {
    commands: ChildStdin,
    answers: Receiver<String>,
}

/// A message, to be produced or consumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaMessage {
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The headers in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The partition; if it is `None`, the client chooses it.
    pub partition: Option<i32>,
    /// The offset of a consumed message.
    pub offset: Option<i64>,
}

/// A member of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaMember {
    /// Its `client.id`.
    pub client: String,
    /// The id that the broker has given to it.
    pub id: String,
    /// The topics and partitions that are assigned to it.
    pub partitions: Vec<(String, i32)>,
}

impl KafkaMessage {
    /// Returns a message with this value and nothing else.
    pub fn of(value: impl AsRef<[u8]>) -> Self {
        Self { value: Some(value.as_ref().to_vec()), ..Self::default() }
    }

    /// Returns a message without a value.
    pub fn tombstone() -> Self {
        Self::default()
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = Some(key.as_ref().to_vec());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), Some(value.as_ref().to_vec())));
        self
    }

    /// Sets the partition.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Returns the value as text; empty if there is none.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }

    /// Returns the last value of a header as text, if there is one.
    pub fn header_text(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().rev().find(|(key, _)| key == name)?;
        Some(String::from_utf8_lossy(value.as_deref()?).into_owned())
    }

    fn to_json(&self) -> Value {
        let headers = self.headers.iter().map(|(name, value)| json!([name, encoded(value.as_deref())]));
        json!({
            "key": encoded(self.key.as_deref()),
            "value": encoded(self.value.as_deref()),
            "headers": headers.collect::<Vec<_>>(),
            "partition": self.partition,
        })
    }

    fn of_json(json: &Value) -> Self {
        let headers = elements(&json["headers"]).iter();
        Self {
            key: decoded(&json["key"]),
            headers: headers.map(|header| (text(&header[0]), decoded(&header[1]))).collect(),
            value: decoded(&json["value"]),
            partition: Some(partition(&json["partition"])),
            offset: json["offset"].as_i64(),
        }
    }
}

impl KafkaClient {
    /// Starts a client of the broker at `address`, with further properties of librdkafka. The
    /// property `oauth.token` is a token for OAUTHBEARER. `scripts/need confluent-kafka` installs
    /// it.
    ///
    /// # Panics
    /// Panics if it is not installed.
    pub fn start(address: SocketAddr, properties: &[(&str, &str)]) -> Self {
        let mut config = Map::new();
        config.insert("bootstrap.servers".to_owned(), address.to_string().into());
        config.extend(properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/client.py");
        let mut child = Command::new(installed("python", "python confluent-kafka"))
            .arg(script)
            .arg(Value::Object(config).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/need confluent-kafka installs it");
        let (sender, answers) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let commands = child.stdin.take().expect("stdin is piped");
        Self { child, pipes: Mutex::new(Pipes { commands, answers }) }
    }

    /// Returns all topics with their number of partitions, or why the broker cannot be asked.
    ///
    /// # Errors
    /// Fails with the text of the client's errors.
    pub fn topics(&self) -> Result<Vec<(String, usize)>, String> {
        self.topics_within(DEADLINE / 2)
    }

    /// Like [`topics`](Self::topics), but gives up after this time. A client that is disconnected
    /// again and again reports no error.
    ///
    /// # Errors
    /// Fails with the text of the client's errors.
    pub fn topics_within(&self, time: Duration) -> Result<Vec<(String, usize)>, String> {
        let topics = self.call(&json!({"do": "topics", "within": time.as_secs_f64()}))?;
        let topics = topics.as_object().into_iter().flatten();
        let count = |count: &Value| usize::try_from(count.as_u64().unwrap_or(0)).expect("a small number");
        Ok(topics.map(|(name, partitions)| (name.clone(), count(partitions))).collect())
    }

    /// Creates a topic with this number of partitions.
    ///
    /// # Panics
    /// Panics if the broker refuses it, or does not answer.
    pub fn create_topic(&self, topic: &str, partitions: usize) {
        self.done(&json!({"do": "create_topic", "topic": topic, "partitions": partitions}));
    }

    /// Deletes a topic.
    ///
    /// # Panics
    /// Panics if the broker refuses it, or does not answer.
    pub fn delete_topic(&self, topic: &str) {
        self.done(&json!({"do": "delete_topic", "topic": topic}));
    }

    /// Adds partitions to a topic, so that it has `partitions`.
    ///
    /// # Panics
    /// Panics if the broker refuses it, or does not answer.
    pub fn add_partitions(&self, topic: &str, partitions: usize) {
        self.done(&json!({"do": "add_partitions", "topic": topic, "partitions": partitions}));
    }

    /// Deletes the messages of a partition before this offset, as retention does.
    ///
    /// # Panics
    /// Panics if the broker refuses it, or does not answer.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        self.done(&json!({"do": "delete_records", "topic": topic, "partition": partition, "before": before}));
    }

    /// Produces messages; returns the partition and the offset of each when the broker has
    /// acknowledged all.
    ///
    /// # Panics
    /// Panics if it does not.
    pub fn produce(&self, topic: &str, messages: &[KafkaMessage]) -> Vec<(i32, i64)> {
        let messages: Vec<_> = messages.iter().map(KafkaMessage::to_json).collect();
        let written = self.done(&json!({"do": "produce", "topic": topic, "messages": messages}));
        let place = |place: &Value| (partition(&place[0]), place[1].as_i64().expect("an offset"));
        elements(&written).iter().map(place).collect()
    }

    /// Returns all messages that a topic has at the moment, by partition and offset; none if there
    /// is no such topic.
    ///
    /// # Panics
    /// Panics if they cannot be read.
    pub fn read(&self, topic: &str) -> Vec<KafkaMessage> {
        let messages = self.done(&json!({"do": "read", "topic": topic}));
        elements(&messages).iter().map(KafkaMessage::of_json).collect()
    }

    /// Waits until a topic has at least this number of messages, and returns all of them.
    ///
    /// # Panics
    /// Panics if it does not get them.
    pub fn await_messages(&self, topic: &str, count: usize) -> Vec<KafkaMessage> {
        eventually(&format!("{count} messages in {topic}"), || {
            let messages = self.read(topic);
            (messages.len() >= count).then_some(messages)
        })
    }

    /// Returns the lowest offset and the next offset of each partition.
    ///
    /// # Panics
    /// Panics if the broker does not answer.
    pub fn watermarks(&self, topic: &str) -> Vec<(i64, i64)> {
        let marks = self.done(&json!({"do": "watermarks", "topic": topic}));
        let number = |number: &Value| number.as_i64().expect("an offset");
        elements(&marks).iter().map(|pair| (number(&pair[0]), number(&pair[1]))).collect()
    }

    /// Returns the offset that a group has committed for each partition, if any.
    ///
    /// # Panics
    /// Panics if the broker does not answer.
    pub fn committed(&self, group: &str, topic: &str) -> Vec<Option<i64>> {
        let offsets = self.done(&json!({"do": "committed", "group": group, "topic": topic}));
        elements(&offsets).iter().map(Value::as_i64).collect()
    }

    /// Waits until a group has committed these offsets.
    ///
    /// # Panics
    /// Panics if it does not.
    pub fn await_committed(&self, group: &str, topic: &str, offsets: &[Option<i64>]) {
        eventually(&format!("{group} commits {offsets:?}"), || {
            (self.committed(group, topic) == offsets).then_some(())
        });
    }

    /// Commits an offset of a group that has no members at the moment.
    ///
    /// # Panics
    /// Panics if the broker refuses it, or does not answer.
    pub fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        self.done(&json!({
            "do": "commit", "group": group, "topic": topic, "partition": partition, "offset": offset,
        }));
    }

    /// Returns the names of all groups.
    ///
    /// # Panics
    /// Panics if the broker does not answer.
    pub fn groups(&self) -> Vec<String> {
        elements(&self.done(&json!({"do": "groups"}))).iter().map(text).collect()
    }

    /// Returns the members of a group.
    ///
    /// # Panics
    /// Panics if the broker does not answer.
    pub fn members(&self, group: &str) -> Vec<KafkaMember> {
        self.described(group).1
    }

    /// Waits until a group has this number of members and is not rebalancing; returns them.
    ///
    /// # Panics
    /// Panics if it does not.
    pub fn await_members(&self, group: &str, count: usize) -> Vec<KafkaMember> {
        eventually(&format!("{count} members of {group}"), || {
            let (state, members) = self.described(group);
            let is_stable = state == if count == 0 { "EMPTY" } else { "STABLE" };
            (members.len() == count && is_stable).then_some(members)
        })
    }

    fn described(&self, group: &str) -> (String, Vec<KafkaMember>) {
        let answer = self.done(&json!({"do": "members", "group": group}));
        let members = elements(&answer["members"]).iter().map(|member| KafkaMember {
            client: text(&member["client"]),
            id: text(&member["id"]),
            partitions: elements(&member["partitions"])
                .iter()
                .map(|place| (text(&place[0]), partition(&place[1])))
                .collect(),
        });
        (text(&answer["state"]), members.collect())
    }

    fn done(&self, command: &Value) -> Value {
        self.call(command).unwrap_or_else(|error| panic!("{}: {error}", command["do"]))
    }

    fn call(&self, command: &Value) -> Result<Value, String> {
        let mut pipes = self.pipes.lock();
        writeln!(pipes.commands, "{command}").expect("the client of Kafka runs");
        let line = pipes.answers.recv_timeout(DEADLINE).expect("an answer of the client of Kafka");
        let mut answer: Value = serde_json::from_str(&line).expect("JSON of the client of Kafka");
        match answer.get("error") {
            Some(error) => Err(text(error)),
            None => Ok(answer["result"].take()),
        }
    }
}

impl Drop for KafkaClient {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn encoded(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| STANDARD.encode(bytes))
}

fn decoded(json: &Value) -> Option<Vec<u8>> {
    json.as_str().map(|text| STANDARD.decode(text).expect("Base64 of the client of Kafka"))
}

fn text(json: &Value) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

fn partition(json: &Value) -> i32 {
    json.as_i64().and_then(|number| number.try_into().ok()).expect("a partition")
}

fn elements(json: &Value) -> &[Value] {
    json.as_array().map_or(&[], Vec::as_slice)
}
