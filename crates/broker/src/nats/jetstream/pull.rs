//! Pulls the messages of a consumer, batch by batch.
//!
//! A request asks for what there is, or waits for the first message. The server answers it with
//! messages, and completes it with a status, unless the last of them fills it. All answers come to
//! subjects under one inbox, so a message that comes too late for its batch is part of the next,
//! and none is lost. There is one open request at most.

use std::collections::VecDeque;
use std::time::Duration;

use ::nats::AccessError;
use async_nats::{Client, HeaderMap, Message, PublishError, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::Receipt;
use super::api::nanoseconds;
use crate::nats::link::Link;

/// How often the server gives a sign of life while there are no messages.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// How many signs of life may be missing, with what a busy machine needs.
const MISSED: u32 = 3;

/// How long what the server says may be under way.
const SLACK: Duration = Duration::from_secs(1);

/// How long the rest of a batch may take, once its first message has come.
const REST: Duration = Duration::from_millis(50);

const SILENT: &str = "JetStream has stopped to deliver, or the consumer is gone";

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
    /// Too much is delivered and not acknowledged, or enough requests wait already.
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
    subscribed: Instant,
    /// What was received while a batch was published.
    ahead: VecDeque<Answer>,
    requests: u64,
    /// The last request, until it is known to be completed.
    open: Option<Open>,
}

/// A request that is not completed.
struct Open {
    /// Where its status comes to.
    inbox: Subject,
    /// How many messages it still gets, at most.
    left: usize,
    /// How long nothing may come.
    silence: Duration,
    /// When it has expired, even if its status was lost.
    over: Instant,
}

impl Open {
    /// Returns until when something has to come.
    fn until(&self, now: Instant) -> Instant {
        self.over.min(now + self.silence)
    }
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
        let subscribed = Instant::now();
        let answers = client.subscribe(format!("{inbox}.*")).await;
        let answers = answers.map_err(|error| AccessError::Refused(error.to_string()))?;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        let ahead = VecDeque::new();
        Ok(Self { client, subject, inbox, answers, subscribed, ahead, requests: 0, open: None })
    }

    /// Returns whether the server has refused that answers come here. It has forgotten it then.
    pub(super) fn is_refused(&self, link: &Link) -> bool {
        link.has_refused(&format!("{}.*", self.inbox), self.subscribed)
    }

    /// Asks for a batch, unless the last request is still open, and waits until something has come.
    /// What has come is in `batch` also if this is not waited for any longer.
    pub(super) async fn next(&mut self, limits: Limits, batch: &mut Vec<Delivery>) -> End {
        if self.open.is_none()
            && let Err(error) = self.ask(limits).await
        {
            return End::Broken(error.to_string());
        }
        let mut rest_until = None;
        while batch.len() < limits.batch {
            // The last one has got its last message.
            let Some(open) = &mut self.open else { return End::Done };
            let until = rest_until.unwrap_or_else(|| open.until(Instant::now()));
            let answer = match self.ahead.pop_front() {
                Some(answer) => answer,
                None => match timeout_at(until, self.answers.next()).await {
                    Ok(Some(answer)) => read(answer),
                    Ok(None) => return End::Broken("the client has stopped".to_owned()),
                    // What is still to come is part of the next batch.
                    Err(_) if !batch.is_empty() => return End::Done,
                    Err(_) => {
                        let is_over = open.over <= Instant::now();
                        self.open = None;
                        return if is_over { End::Done } else { End::Broken(SILENT.to_owned()) };
                    }
                },
            };
            match answer {
                Answer::Delivery(delivery) => {
                    batch.push(delivery);
                    rest_until.get_or_insert_with(|| Instant::now() + REST);
                    open.left = open.left.saturating_sub(1);
                    if open.left == 0 {
                        self.open = None;
                    }
                }
                Answer::Status(of, Some(end)) if of == open.inbox => {
                    self.open = None;
                    return end;
                }
                // A sign of life, or it belongs to an earlier request.
                Answer::Status(..) => {}
            }
        }
        End::Done
    }

    /// Sends a request, which is open then.
    async fn ask(&mut self, limits: Limits) -> Result<(), PublishError> {
        self.requests += 1;
        let inbox = Subject::from(format!("{}.{}", self.inbox, self.requests));
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
        let text = text.to_string().into();
        self.client.publish_with_reply(self.subject.clone(), inbox.clone(), text).await?;
        // Silence is noticed before that.
        let over = Instant::now() + limits.expires + 2 * SLACK;
        self.open = Some(Open { inbox, left: limits.batch, silence: heartbeat * MISSED + SLACK, over });
        Ok(())
    }

    /// Forgets the request that is open: its connection was lost.
    pub(super) fn forget(&mut self) {
        self.open = None;
    }

    /// Tells the server that these messages are not forgotten, nor what has come since. That is no
    /// more than what the open request still gets.
    pub(super) async fn progress(&mut self, replies: &[Subject]) {
        while let Some(Some(answer)) = self.answers.next().now_or_never() {
            self.ahead.push_back(read(answer));
        }
        let ahead = self.ahead.iter().filter_map(Answer::reply);
        self.tell(replies.iter().chain(ahead).map(|reply| (reply, Receipt::Progress))).await;
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
        self.tell(self.ahead.iter().filter_map(Answer::reply).map(|reply| (reply, Receipt::Nak))).await;
        if self.answers.drain().await.is_ok() {
            while let Some(answer) = self.answers.next().await {
                self.tell(read(answer).reply().into_iter().map(|reply| (reply, Receipt::Nak))).await;
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

impl Answer {
    /// Returns where the receipt of a message is sent to.
    fn reply(&self) -> Option<&Subject> {
        match self {
            Self::Delivery(delivery) => Some(&delivery.reply),
            Self::Status(..) => None,
        }
    }
}

fn read(message: Message) -> Answer {
    let Message { subject, reply, payload, headers, status, description, .. } = message;
    if let Some((reply, pending)) = reply.and_then(|reply| pending(&reply).map(|pending| (reply, pending))) {
        return Answer::Delivery(Delivery { reply, headers, payload, pending });
    }
    let description = description.unwrap_or_default();
    let end = match status.map(|status| status.as_u16()) {
        Some(100) => None,
        // The messages there are will answer the requests of others, but cannot be delivered yet.
        Some(408) if description.contains("Requests Pending") => Some(End::Busy),
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
mod tests;
