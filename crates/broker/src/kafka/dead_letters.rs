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

/// What of a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Whole,
    /// All, with the place as its key: a topic that is compacted takes nothing without a key.
    Keyed,
    /// The place as its key, and neither its value nor its headers.
    Bare,
}

/// Writes messages to the topic for those that are no events.
pub(super) struct DeadLetters {
    topic: Arc<str>,
    producer: FutureProducer<Link>,
}

impl DeadLetters {
    pub(super) fn new(access: &KafkaAccess, topic: Arc<str>) -> Result<Self, AccessError> {
        let mut client = access.client();
        client
            .set("acks", "all")
            .set("message.timeout.ms", WITHIN.as_millis().to_string())
            // After that, the error says that there is no such topic.
            .set("topic.metadata.propagation.max.ms", (WITHIN / 2).as_millis().to_string());
        let link = Link::new(access, "dead letters");
        let producer = client.create_with_context(link).map_err(|error| explain(&error))?;
        Ok(Self { topic, producer })
    }

    /// Writes a message, with the reason and where it was. Resolves when a broker has acknowledged
    /// it. One that is too large with the reason, or against the rules of the topic, is written in
    /// another form.
    ///
    /// # Errors
    /// Fails if the broker has not. Another attempt may succeed.
    pub(super) async fn write(&self, message: &BorrowedMessage<'_>, reason: &str) -> Result<(), KafkaError> {
        let mut form = Form::Whole;
        loop {
            let Err(error) = self.send(message, reason, form).await else { return Ok(()) };
            form = form.after(&error, message.key().is_some()).ok_or(error)?;
        }
    }

    async fn send(&self, message: &BorrowedMessage<'_>, reason: &str, form: Form) -> Result<(), KafkaError> {
        // Copied as bytes: the names of headers need not be UTF-8.
        let headers = message.headers().filter(|_| form != Form::Bare).map(|headers| headers.detach());
        let reason: String = reason.chars().take(REASON).collect();
        let (partition, offset) = (message.partition().to_string(), message.offset().to_string());
        let headers = headers
            .unwrap_or_default()
            .insert(Header { key: "rig-error", value: Some(&reason) })
            .insert(Header { key: "rig-topic", value: Some(message.topic()) })
            .insert(Header { key: "rig-partition", value: Some(&partition) })
            .insert(Header { key: "rig-offset", value: Some(&offset) });
        let place = format!("{}/{partition}/{offset}", message.topic());
        let mut record = FutureRecord::<[u8], [u8]>::to(&self.topic).headers(headers);
        record.payload = if form == Form::Bare { Some(&[]) } else { message.payload() };
        record.key = if form == Form::Whole { message.key() } else { Some(place.as_bytes()) };
        let sent = self.producer.send(record, Timeout::After(WITHIN)).await;
        sent.map(|_| ()).map_err(|(error, _)| error)
    }
}

impl Form {
    /// Returns the form to write a message in if this one was refused; `None` if no other helps.
    fn after(self, error: &KafkaError, has_key: bool) -> Option<Self> {
        use RDKafkaErrorCode::{
            InvalidMessageSize, InvalidRecord, MessageBatchTooLarge, MessageSizeTooLarge,
        };
        match (self, error.rdkafka_error_code()?) {
            (Self::Whole, InvalidRecord) if !has_key => Some(Self::Keyed),
            (
                Self::Whole | Self::Keyed,
                InvalidRecord | InvalidMessageSize | MessageBatchTooLarge | MessageSizeTooLarge,
            ) => Some(Self::Bare),
            _ => None,
        }
    }
}
