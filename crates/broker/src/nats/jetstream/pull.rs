//! Pulls the messages of a consumer, batch by batch.
//!
//! A request asks for what there is, or waits for the first message. The server answers it with
//! messages, and completes it with a status. All answers come to subjects under one inbox, so a
//! message that comes too late for its request is part of the next batch, and none is lost.

use std::time::Duration;

use ::nats::AccessError;
use async_nats::{Client, HeaderMap, Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use tokio::time::timeout;

use super::Receipt;
use super::api::nanoseconds;

/// How often the server gives a sign of life while there are no messages.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// How many signs of life may be missing, with what a busy machine needs.
const MISSED: u32 = 3;

/// How long the rest of a batch may take, once its first message has come.
const REST: Duration = Duration::from_secs(1);

/// Limits of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) batch: usize,
    /// Limit of its bytes; `None` for no limit.
    pub(super) bytes: Option<usize>,
    /// How long to wait for the first message.
    pub(super) expires: Duration,
}

/// A message that is delivered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// Where the receipt is sent to.
    pub(super) reply: Subject,
    pub(super) headers: Option<HeaderMap>,
    pub(super) payload: Bytes,
    /// How many messages there were behind it.
    pub(super) pending: u64,
}

/// Why a batch has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There was no more, or it is full.
    Done,
    /// The next message is larger than the limit of bytes leaves room for.
    TooLarge,
    /// Too much is delivered and not acknowledged, or too many requests wait.
    Busy,
    /// It was not waited for any longer.
    Stopped,
    /// The request was lost, or the consumer, for this reason.
    Broken(String),
}

/// Pulls the messages of one consumer.
pub(super) struct Pull {
    client: Client,
    /// Where requests are sent to.
    subject: String,
    inbox: String,
    answers: Subscriber,
    requests: u64,
}

impl Limits {
    /// Returns these limits, where they are smaller than the others, and the others elsewhere.
    pub(super) fn within(self, other: Self) -> Self {
        let bytes = match (self.bytes, other.bytes) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self { batch: self.batch.min(other.batch), bytes, expires: self.expires.min(other.expires) }
    }
}

impl Pull {
    pub(super) async fn new(client: Client, stream: &str, consumer: &str) -> Result<Self, AccessError> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await;
        let answers = answers.map_err(|error| AccessError::Refused(error.to_string()))?;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        Ok(Self { client, subject, inbox, answers, requests: 0 })
    }

    /// Asks for a batch, and waits until something has come. What has come is in `batch` also if
    /// this is not waited for any longer.
    pub(super) async fn next(&mut self, limits: Limits, batch: &mut Vec<Delivery>) -> End {
        self.requests += 1;
        let request = Subject::from(format!("{}.{}", self.inbox, self.requests));
        let heartbeat = HEARTBEAT.min(limits.expires / 3);
        let mut text = json!({
            "batch": limits.batch,
            "no_wait": true,
            "expires": nanoseconds(limits.expires),
            "idle_heartbeat": nanoseconds(heartbeat),
        });
        if let Some(bytes) = limits.bytes {
            text["max_bytes"] = json!(bytes);
        }
        let sent =
            self.client.publish_with_reply(self.subject.clone(), request.clone(), text.to_string().into());
        if let Err(error) = sent.await {
            return End::Broken(error.to_string());
        }
        while batch.len() < limits.batch {
            let silence = if batch.is_empty() { heartbeat * MISSED + REST } else { REST };
            let answer = match timeout(silence, self.answers.next()).await {
                Ok(Some(answer)) => answer,
                Ok(None) => return End::Broken("the client has stopped".to_owned()),
                Err(_) if batch.is_empty() => {
                    return End::Broken(
                        "JetStream has stopped to deliver, or the consumer is gone".to_owned(),
                    );
                }
                // What is still to come is part of the next batch.
                Err(_) => return End::Done,
            };
            match read(answer) {
                Answer::Delivery(delivery) => batch.push(delivery),
                Answer::Status(of, end) if of == request => match end {
                    None => {}
                    Some(end) => return end,
                },
                // It belongs to an earlier request.
                Answer::Status(..) => {}
            }
        }
        End::Done
    }

    /// Sends receipts. They go out when there is a connection.
    pub(super) async fn tell(&self, receipts: impl Iterator<Item = (&Subject, Receipt)>) {
        for (reply, receipt) in receipts {
            // Without the client, the messages are delivered again.
            drop(self.client.publish(reply.clone(), receipt.text().into()).await);
        }
    }

    /// Receives nothing more, gives back what comes until then, and waits until all receipts are
    /// sent.
    pub(super) async fn leave(&mut self) {
        if self.answers.drain().await.is_ok() {
            while let Some(answer) = self.answers.next().await {
                if let Answer::Delivery(delivery) = read(answer) {
                    self.tell([(&delivery.reply, Receipt::Nak)].into_iter()).await;
                }
            }
        }
        drop(self.client.flush().await);
    }
}

/// What comes to the inbox.
enum Answer {
    Delivery(Delivery),
    /// The request has ended; `None` for a sign of life.
    Status(Subject, Option<End>),
}

fn read(message: Message) -> Answer {
    let Message { subject, reply, payload, headers, status, description, .. } = message;
    if let Some((reply, pending)) = reply.and_then(|reply| pending(&reply).map(|pending| (reply, pending))) {
        return Answer::Delivery(Delivery { reply, headers, payload, pending });
    }
    let description = description.unwrap_or_default();
    let end = match status.map(|status| status.as_u16()) {
        Some(100) => None,
        // No messages; the request has expired.
        Some(404 | 408) => Some(End::Done),
        Some(409) if description.contains("MaxBytes") && !description.contains("MaxRequest") => {
            Some(End::TooLarge)
        }
        Some(409) if description.contains("Batch Completed") => Some(End::Done),
        Some(409) if description.contains("MaxAckPending") || description.contains("MaxWaiting") => {
            Some(End::Busy)
        }
        Some(503) => Some(End::Broken("the consumer of JetStream is gone".to_owned())),
        Some(code) => Some(End::Broken(format!("JetStream does not deliver: {code} {description}"))),
        // Not from JetStream.
        None => None,
    };
    Answer::Status(subject, end)
}

/// Reads the number of messages behind one from the subject of its receipt: `$JS.ACK`, in newer
/// versions a domain and an account, the stream, the consumer, how often it was delivered, its
/// numbers in the stream and at the consumer, the time, the number. `None` if it is none.
fn pending(reply: &str) -> Option<u64> {
    let parts: Vec<_> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let number = match parts.len() {
        7 => 6,
        9.. => 8,
        _ => return None,
    };
    parts[number].parse().ok()
}

#[cfg(test)]
mod tests {
    use async_nats::StatusCode;

    use super::*;

    fn message(reply: Option<&str>, status: Option<u16>, description: &str) -> Message {
        Message {
            subject: "inbox.1".into(),
            reply: reply.map(Subject::from),
            payload: Bytes::new(),
            headers: None,
            status: status.map(|status| StatusCode::from_u16(status).unwrap()),
            description: Some(description.into()),
            length: 0,
        }
    }

    #[test]
    fn the_subject_of_a_receipt_tells_how_many_messages_follow() {
        for (reply, expected) in [
            ("$JS.ACK.S.C.1.4.1.1796032173665333539.17", Some(17)),
            ("$JS.ACK.hub.ACCOUNT.S.C.1.4.1.1796032173665333539.17", Some(17)),
            ("$JS.ACK.hub.ACCOUNT.S.C.1.4.1.1796032173665333539.17.token", Some(17)),
            ("$JS.ACK.S.C.1.4.1.1", None),
            ("$JS.ACK.S.C.1.4.1.1.x", None),
            ("_INBOX.1", None),
        ] {
            assert_eq!(pending(reply), expected, "{reply}");
        }
    }

    #[test]
    fn a_status_ends_a_batch() {
        for (code, description, expected) in [
            (100, "Idle Heartbeat", None),
            (404, "No Messages", Some(End::Done)),
            (408, "Request Timeout", Some(End::Done)),
            (409, "Batch Completed", Some(End::Done)),
            (409, "Message Size Exceeds MaxBytes", Some(End::TooLarge)),
            (409, "Exceeded MaxAckPending", Some(End::Busy)),
            (409, "Exceeded MaxWaiting", Some(End::Busy)),
        ] {
            let Answer::Status(of, end) = read(message(None, Some(code), description)) else { panic!() };
            assert_eq!((of.as_str(), end), ("inbox.1", expected), "{description}");
        }
        for (code, description) in [
            (409, "Consumer Deleted"),
            (409, "Leadership Change"),
            (409, "Server Shutdown"),
            (409, "Exceeded MaxRequestMaxBytes of 100"),
            (400, "Bad Request"),
            (503, ""),
        ] {
            let Answer::Status(_, end) = read(message(None, Some(code), description)) else { panic!() };
            assert!(matches!(end, Some(End::Broken(_))), "{description}");
        }
        let stored = message(Some("$JS.ACK.S.C.1.4.1.1.0"), None, "");
        assert!(matches!(read(stored), Answer::Delivery(_)));
    }

    #[test]
    fn the_smaller_limit_counts() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let most = Limits { batch: 256, bytes: Some(100), expires: minute };
        let none = Limits { batch: usize::MAX, bytes: None, expires: Duration::MAX };
        assert_eq!(none.within(most), most);
        let few = Limits { batch: 5, bytes: Some(7), expires: second };
        assert_eq!(few.within(most), few);
        assert_eq!(few.within(Limits { bytes: None, ..most }), few);
    }
}
