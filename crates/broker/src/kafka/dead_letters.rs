//! The topic for messages that are no events.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;

use super::access::{AccessError, explain};
use super::{KafkaAccess, Link};

/// How long a broker may take to acknowledge one.
const WITHIN: Duration = Duration::from_secs(10);

/// Limit of the characters of the reason in the header.
const REASON: usize = 1000;

/// Writes messages to the topic for those that are no events.
pub(super) struct DeadLetters {
    topic: Arc<str>,
    producer: FutureProducer<Link>,
}

impl DeadLetters {
    pub(super) fn new(access: &KafkaAccess, topic: Arc<str>) -> Result<Self, AccessError> {
        let mut client = access.client();
        client.set("acks", "all").set("message.timeout.ms", WITHIN.as_millis().to_string());
        let link = Link::new(access, "dead letters");
        let producer = client.create_with_context(link).map_err(|error| explain(&error))?;
        Ok(Self { topic, producer })
    }

    /// Writes a message, with the reason and where it was. Resolves when a broker has acknowledged
    /// it. One that is too large with the reason is written without its value and headers.
    ///
    /// # Errors
    /// Fails if the broker has not. Another attempt may succeed.
    pub(super) async fn write(&self, message: &BorrowedMessage<'_>, reason: &str) -> Result<(), KafkaError> {
        match self.send(message, reason, true).await {
            Err(error) if is_too_large(&error) => self.send(message, reason, false).await,
            written => written,
        }
    }

    async fn send(
        &self,
        message: &BorrowedMessage<'_>,
        reason: &str,
        is_whole: bool,
    ) -> Result<(), KafkaError> {
        // Copied as bytes: the names of headers need not be UTF-8.
        let headers = message.headers().filter(|_| is_whole).map(|headers| headers.detach());
        let reason: String = reason.chars().take(REASON).collect();
        let (partition, offset) = (message.partition().to_string(), message.offset().to_string());
        let headers = headers
            .unwrap_or_default()
            .insert(Header { key: "rig-error", value: Some(&reason) })
            .insert(Header { key: "rig-topic", value: Some(message.topic()) })
            .insert(Header { key: "rig-partition", value: Some(&partition) })
            .insert(Header { key: "rig-offset", value: Some(&offset) });
        let mut record = FutureRecord::<[u8], [u8]>::to(&self.topic).headers(headers);
        if let Some(value) = message.payload().filter(|_| is_whole) {
            record = record.payload(value);
        }
        if let Some(key) = message.key().filter(|_| is_whole) {
            record = record.key(key);
        }
        let sent = self.producer.send(record, Timeout::After(WITHIN)).await;
        sent.map(|_| ()).map_err(|(error, _)| error)
    }
}

fn is_too_large(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{InvalidMessageSize, MessageBatchTooLarge, MessageSizeTooLarge};
    let code = error.rdkafka_error_code();
    matches!(code, Some(InvalidMessageSize | MessageBatchTooLarge | MessageSizeTooLarge))
}
