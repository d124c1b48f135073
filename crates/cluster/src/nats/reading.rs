//! Reads the stream: by direct gets, which any server answers that stores it (ADR 31 of NATS), or
//! by a consumer, which is faster, but needs the leaders.

use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_util::future::{FutureExt, select_all};
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::control::NatsWire;
use super::inbox::Slot;
use super::link::ServerConnection;
use super::message::{Delivery, END_OF_BATCH, LAST, NOT_FOUND, PENDING, number, status, stored};
use super::stream::nanoseconds;
use crate::wire::{Fetched, Replay, StreamMessage, WireError};

/// How long a direct get may take.
const GET: Duration = Duration::from_millis(2500);

/// After this time without an answer, another server is asked. NATS picks one of those that store
/// the stream at random, also one that is stopped or cut off, for minutes.
const GET_AGAIN: Duration = Duration::from_millis(250);

/// How long to wait for what the server has sent before.
const DRAINED: Duration = Duration::from_secs(1);

/// Limit of the messages of one direct get, in bytes.
const GET_BYTES: usize = 8 << 20;

/// Limit of the subjects of [`NatsWire::latest_of`], which is the server's.
const LATEST: usize = 1024;

/// How long the creation of a consumer may take.
const CREATE: Duration = Duration::from_secs(5);

/// How often a consumer that has nothing to deliver gives a sign of life.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// A consumer that was silent for this long is lost.
const SILENCE: Duration = Duration::from_millis(2500);

/// After this time without a reader, the server removes the consumer.
const ABANDONED: Duration = Duration::from_secs(5);

/// A status that is no message (NATS: heartbeat, flow control).
const CONTROL: u16 = 100;

/// Names the subject to answer on so that a consumer goes on that waits for it.
const STALLED: &str = "Nats-Consumer-Stalled";

/// The answers to a direct get.
struct GetAnswers {
    messages: Vec<StreamMessage>,
    /// The server has sent all that it has.
    complete: bool,
}

impl NatsWire {
    pub(super) async fn fetch_part(&self, from: u64, limit: usize) -> Result<Fetched, WireError> {
        let request = json!({"seq": from.max(1), "batch": limit.max(1), "max_bytes": GET_BYTES});
        let GetAnswers { messages, .. } = self.get(&request).await?;
        let upto = match messages.last() {
            Some(last) => last.sequence,
            // The server has nothing from here on. Either it lags behind, or the last messages have
            // expired.
            None => self.gone_from(from).await,
        };
        Ok(Fetched { messages, upto })
    }

    /// Returns the last sequence before which nothing exists any more, at least `from - 1`. Every
    /// sequence below the first one has existed, whichever server says it.
    async fn gone_from(&self, from: u64) -> u64 {
        let first = self.stream_info().await.map_or(0, |info| info.first);
        first.max(from).saturating_sub(1)
    }

    pub(super) async fn last_of(&self, subject: String) -> Result<Option<StreamMessage>, WireError> {
        let request = format!("$JS.API.DIRECT.GET.{}.{subject}", self.names().stream());
        let (answer, _) = self.first_answer(&request, Bytes::new(), Instant::now() + GET).await?;
        match status(&answer) {
            None => Ok(stored(answer)),
            Some(NOT_FOUND) => Ok(None),
            Some(_) => Err(refused(&answer)),
        }
    }

    pub(super) async fn latest_of(&self, filter: String) -> Result<Vec<StreamMessage>, WireError> {
        let request = json!({"multi_last": [filter], "batch": LATEST, "max_bytes": GET_BYTES});
        let batch = self.get(&request).await?;
        if batch.complete { Ok(batch.messages) } else { Err(WireError::Timeout) }
    }

    async fn get(&self, request: &Value) -> Result<GetAnswers, WireError> {
        let until = Instant::now() + GET;
        let subject = format!("$JS.API.DIRECT.GET.{}", self.names().stream());
        let (first, mut slot) = self.first_answer(&subject, request.to_string().into(), until).await?;
        let mut messages = Vec::new();
        match timeout_at(until, read_batch(first, &mut slot, &mut messages)).await {
            Ok(complete) => Ok(GetAnswers { complete: complete?, messages }),
            Err(_) if messages.is_empty() => Err(WireError::Timeout),
            Err(_) => Ok(GetAnswers { complete: false, messages }),
        }
    }

    /// Asks the servers that store the stream, until one answers. Returns its first answer, and
    /// where the others come.
    async fn first_answer(
        &self,
        subject: &str,
        request: Bytes,
        until: Instant,
    ) -> Result<(Message, Slot), WireError> {
        let mut slots: Vec<Slot> = Vec::new();
        loop {
            let asked = self.inbox().ask(subject.to_owned(), HeaderMap::new(), request.clone());
            slots.push(timeout_at(until, asked).await.unwrap_or(Err(WireError::Timeout))?);
            let answers = select_all(slots.iter_mut().map(|slot| slot.next().boxed()));
            let answered = tokio::select! {
                biased;
                (answer, slot, _) = answers => Some((answer, slot)),
                late = self.is_late(until) => {
                    late?;
                    None
                }
            };
            if let Some((answer, slot)) = answered {
                return Ok((answer?, slots.swap_remove(slot)));
            }
        }
    }

    /// Waits until an answer is late that should come: the server has sent everything that it had
    /// for this connection. If that is much, to ask again would only make it more.
    async fn is_late(&self, until: Instant) -> Result<(), WireError> {
        sleep_until(until.min(Instant::now() + GET_AGAIN)).await;
        let left = until.saturating_duration_since(Instant::now());
        // Without an answer, the connection was lost meanwhile, or may not be asked.
        drop(self.inbox().synced(self.names().none(), left.min(DRAINED)).await);
        if Instant::now() < until { Ok(()) } else { Err(WireError::Timeout) }
    }

    pub(super) async fn replay_from(&self, from: u64) -> Result<Replay, WireError> {
        let connection = self.connection().clone();
        let inbox = connection.client().new_inbox();
        let messages = connection.subscribe(inbox.clone()).await?;
        let name = inbox.rsplit('.').next().unwrap_or_default().to_owned();
        let consumer = json!({
            "stream_name": self.names().stream(),
            "action": "create",
            "config": {
                "name": name,
                "deliver_subject": inbox,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": from.max(1),
                "ack_policy": "none",
                "replay_policy": "instant",
                "flow_control": true,
                "idle_heartbeat": nanoseconds(HEARTBEAT),
                "inactive_threshold": nanoseconds(ABANDONED),
                "mem_storage": true,
                "num_replicas": 1,
            },
        });
        let subject = format!("$JS.API.CONSUMER.CREATE.{}.{name}", self.names().stream());
        let created = self.api_of(subject, &consumer, CREATE).await?;
        // What was delivered already is not pending any more.
        let delivered = created["delivered"]["consumer_seq"].as_u64().unwrap_or_default();
        let pending = created["num_pending"].as_u64().unwrap_or_default() + delivered;
        let reader = ConsumerReader { connection, messages, count: 0, done: pending == 0 };
        Ok(stream::unfold(reader, ConsumerReader::read).boxed())
    }
}

/// Reads the answers to a direct get. Returns whether the server has sent all that it has.
async fn read_batch(
    first: Message,
    slot: &mut Slot,
    messages: &mut Vec<StreamMessage>,
) -> Result<bool, WireError> {
    let (mut before, mut first) = (0, Some(first));
    loop {
        let answer = match first.take() {
            Some(first) => first,
            None => slot.next().await?,
        };
        match status(&answer) {
            None => {}
            Some(END_OF_BATCH) => {
                let said = |name| answer.headers.as_ref().and_then(|headers| number(headers, name));
                return Ok(said(PENDING) == Some(0) && said(LAST) == Some(before));
            }
            Some(NOT_FOUND) => return Ok(true),
            Some(_) => return Err(refused(&answer)),
        }
        // An answer that got lost would be a hole that looks like removed messages.
        let follows = answer.headers.as_ref().and_then(|headers| number(headers, LAST)) == Some(before);
        let Some(message) = stored(answer).filter(|_| follows) else { return Ok(false) };
        before = message.sequence;
        messages.push(message);
    }
}

fn refused(answer: &Message) -> WireError {
    WireError::Refused(answer.description.clone().unwrap_or_else(|| "a direct get".to_owned()))
}

/// Reads what a consumer delivers.
struct ConsumerReader {
    connection: ServerConnection,
    messages: Subscriber,
    /// The number of messages so far.
    count: u64,
    done: bool,
}

impl ConsumerReader {
    /// Returns the next message, up to the one that was the last.
    async fn read(mut self) -> Option<(Result<StreamMessage, WireError>, Self)> {
        if self.done {
            return None;
        }
        let message = self.next().await;
        self.done |= message.is_err();
        Some((message, self))
    }

    async fn next(&mut self) -> Result<StreamMessage, WireError> {
        loop {
            let message = timeout(SILENCE, self.messages.next()).await.map_err(|_| WireError::Timeout)?;
            let message = message.ok_or(WireError::NotConnected)?;
            match status(&message) {
                None => {}
                Some(CONTROL) => {
                    self.go_on(&message).await?;
                    continue;
                }
                Some(_) => return Err(refused(&message)),
            }
            let delivery = message.reply.as_deref().and_then(Delivery::parse);
            let delivery = delivery.filter(|delivery| delivery.count == self.count + 1);
            // One that got lost: the connection could not take it, or was another one meanwhile.
            let delivery = delivery.ok_or(WireError::NotConnected)?;
            self.count += 1;
            self.done = delivery.pending == 0;
            return Ok(StreamMessage {
                subject: message.subject.to_string(),
                sequence: delivery.sequence,
                stored_at: delivery.time / 1_000_000,
                payload: message.payload,
            });
        }
    }

    /// Tells the consumer that everything so far was read.
    async fn go_on(&self, message: &Message) -> Result<(), WireError> {
        let stalled = message.headers.as_ref().and_then(|headers| headers.get(STALLED));
        let subject = match (&message.reply, stalled) {
            (Some(reply), _) => reply.to_string(),
            (None, Some(subject)) => subject.to_string(),
            (None, None) => return Ok(()),
        };
        self.connection.send(subject, Bytes::new()).await
    }
}
