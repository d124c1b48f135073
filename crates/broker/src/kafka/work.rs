//! What becomes of one message: an event that is published, or a dead letter.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use avro::{DecodeError, Registry};
use bytes::Bytes;
use event::kafka::{AvroMessage, Message as Read};
use event::{Event, ExtensionNames};
use futures_util::FutureExt;
use node::Node;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};
use tokio::time::timeout;

use super::Link;
use super::dead_letters::DeadLetters;
use super::producer::failure::is_refusal;
use crate::intake::{Feed, Intake, Refused};
use crate::lifecycle::{StageWatch, pause};
use crate::metrics::Failure;

/// How often a schema that the registry does not know is asked for. Its nodes may not know yet one
/// that was just registered.
const UNKNOWN: usize = 5;

/// Takes messages.
pub(super) struct Work {
    pub(super) intake: Intake,
    pub(super) registry: Option<Arc<Registry>>,
    pub(super) dead_letters: Option<DeadLetters>,
    pub(super) link: Link,
    pub(super) stage: StageWatch,
    /// Limit of the pause between two attempts.
    pub(super) restart_delay: Duration,
    /// Whether a dead letter waits that the brokers refuse.
    pub(super) is_refused: AtomicBool,
}

/// Notes whether the brokers refuse a dead letter, for as long as it waits.
struct Waiting<'w>(&'w AtomicBool);

/// What has become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It need not be read again.
    Done,
    /// The gateway stops before it could be taken, or it is no longer this node's.
    Left,
}

/// What has become of the event of a message.
enum Published {
    /// It is published, or there is none.
    Done,
    /// The gateway stops before it could be taken.
    Left,
    Refused(Refused),
}

impl Work {
    /// Publishes the event of a message. Waits while too much is in delivery, while the registry
    /// of schemas cannot be reached, and until the topic of dead letters has what is no event.
    ///
    /// A message that causes a panic is no event: it would cause the next one when it is read
    /// again.
    pub(super) async fn take(&self, node: &Node, feed: &Feed, message: &BorrowedMessage<'_>) -> Outcome {
        let publishing = AssertUnwindSafe(self.publish(node, feed, message)).catch_unwind();
        let published = publishing.await.unwrap_or_else(|_| {
            let reason = "the gateway panicked";
            Published::Refused(self.intake.refuse(feed, Failure::Invalid, &reason))
        });
        match published {
            Published::Done => Outcome::Done,
            Published::Left => Outcome::Left,
            Published::Refused(refused) => self.bury(feed, message, &refused.reason).await,
        }
    }

    async fn publish(&self, node: &Node, feed: &Feed, message: &BorrowedMessage<'_>) -> Published {
        let event = match read(message, self.intake.names()) {
            Ok(Read::Event(event)) => Ok(event),
            Ok(Read::Avro(avro)) => match self.decode(avro).await {
                Some(event) => event,
                None => return Published::Left,
            },
            Ok(Read::Tombstone) => {
                self.intake.skip(feed, Failure::Tombstone);
                return Published::Done;
            }
            Ok(Read::Answer) => return Published::Done,
            Err(reason) => Err(reason),
        };
        match self.intake.take(node, feed, event).await {
            Ok(()) => Published::Done,
            Err(refused) => Published::Refused(refused),
        }
    }

    /// Returns whether a dead letter waits that the brokers refuse: nothing can follow until
    /// somebody mends this.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// Reads a message in Avro. Tries again for as long as the registry cannot be reached, and a
    /// few times if it does not know the schema; `None` if the gateway stops before.
    async fn decode(&self, avro: AvroMessage) -> Option<Result<Event, String>> {
        let Some(registry) = &self.registry else {
            return Some(Err("it is in Avro, and KAFKA_SCHEMA_REGISTRY_HOST is not set".to_owned()));
        };
        let (mut failures, mut unknown) = (0, 0);
        loop {
            match registry.decode(avro.bytes()).await {
                Ok(json) => return Some(avro.with(json).map_err(|error| error.to_string())),
                Err(DecodeError::UnknownSchema(_)) if unknown + 1 < UNKNOWN => unknown += 1,
                Err(error) if !error.is_temporary() => return Some(Err(error.to_string())),
                Err(error) => self.link.warn("registry", &error),
            }
            failures += 1;
            if self.leaves_within(failures).await {
                return None;
            }
        }
    }

    /// Writes a message to the topic of dead letters, if there is one, until it is acknowledged.
    async fn bury(&self, feed: &Feed, message: &BorrowedMessage<'_>, reason: &str) -> Outcome {
        let Some(dead_letters) = &self.dead_letters else { return Outcome::Done };
        let waiting = Waiting(&self.is_refused);
        let mut failures = 0;
        while let Err(error) = dead_letters.write(message, reason).await {
            self.link.warn("dead letter", &format!("a dead letter was not written yet: {error}"));
            waiting.0.store(is_refusal(&error), Ordering::Relaxed);
            failures += 1;
            if self.leaves_within(failures).await {
                return Outcome::Left;
            }
        }
        self.intake.metrics().buried(feed.source, &feed.topic);
        Outcome::Done
    }

    /// Waits before the next attempt. Returns whether the gateway stops.
    async fn leaves_within(&self, failures: u32) -> bool {
        timeout(pause(failures, self.restart_delay), self.stage.leaves()).await.is_ok()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Reads a message.
fn read(message: &BorrowedMessage<'_>, names: ExtensionNames) -> Result<Read, String> {
    let value = message.payload().map(Bytes::copy_from_slice);
    let read = || {
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        event::kafka::read(headers.map(|header| (header.key, header.value)), value, names)
    };
    // The library panics if the name of a header is not UTF-8. A message must not stop what comes
    // after it.
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err("the name of a header is not UTF-8".to_owned()),
    }
}
