//! A stream of JetStream: what a durable consumer delivers, at least once.
//!
//! One batch after the other is pulled, published in order, and acknowledged once it has left this
//! node. So nothing is delivered that is not on its way to clients, and back pressure reaches the
//! server: it delivers nothing that was not asked for.

mod api;
pub(super) mod look;
mod pull;
mod unreadable;

use std::collections::HashSet;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::nats::AccessError;
use async_nats::{Client, Subject};
use bytes::Bytes;
use futures_util::future::{Either, select};
use node::{EventOrigin, Node};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use self::api::{Api, ApiError, Bound, Start, StreamInfo};
use self::pull::{Delivery, End, Limits, Pull};
use self::unreadable::is_readable;
use super::link::Seen;
use super::{NAME, NatsSource, StreamConfig, decode};
use crate::intake::Feed;
use crate::metrics::Failure;

/// How often the consumer is looked at: how far it is, and whether it is still the same.
const LOOK: Duration = Duration::from_secs(10);

/// The pause after the consumer could not be used, or has refused a pull, and while the server has
/// too much of it under way.
const AGAIN: Duration = Duration::from_secs(1);

/// The pause after a pull has ended early, with some messages: the consumer was deleted, its server
/// was restarted.
const SOON: Duration = Duration::from_millis(100);

/// How long what is said last may take, when the gateway stops.
const LAST: Duration = Duration::from_secs(1);

/// Limits of one request, which is all that is delivered and not acknowledged.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 8 << 20;

/// A receipt for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receipt {
    /// It is published.
    Ack,
    /// It is no event, and never will be: it is not to be delivered again.
    Term,
    /// It was not looked at: it is to be delivered to another node, at once.
    Nak,
    /// It is not published yet, but not forgotten either.
    Progress,
}

/// The stream of a source.
pub(super) struct Stream {
    config: StreamConfig,
    subjects: Vec<String>,
    is_bound: AtomicBool,
    position: Mutex<Option<Position>>,
    /// The last connection on which messages were asked for.
    pulled_on: Mutex<Option<Seen>>,
    /// The messages that cannot be read, from the first on that is not acknowledged: each is
    /// counted once. No more than are delivered at a time.
    unreadable: Mutex<HashSet<u64>>,
}

/// How far the consumer was when it was last seen, for the case that somebody deletes it.
struct Position {
    /// When the stream was created: one of the same name that is created later is another one.
    created: String,
    /// Everything up to this message of the stream is acknowledged.
    floor: u64,
}

impl Stream {
    pub(super) fn new(config: StreamConfig, subjects: &[String]) -> Self {
        let subjects = subjects.to_vec();
        let (is_bound, position, pulled_on, unreadable) = Default::default();
        Self { config, subjects, is_bound, position, pulled_on, unreadable }
    }

    /// Returns whether its consumer could be used when it was last looked at.
    pub(super) fn is_bound(&self) -> bool {
        self.is_bound.load(Ordering::Relaxed)
    }

    /// Looks at the consumer, and creates it if it does not exist.
    async fn bind(&self, api: &Api) -> Result<Bound, ApiError> {
        let info = api.stream().await?;
        let bound = match api.consumer().await {
            Err(ApiError::NoConsumer { .. }) => self.create(api, &info).await?,
            bound => bound?,
        };
        *self.position.lock() = Some(Position { created: info.created, floor: bound.floor });
        Ok(bound)
    }

    /// Creates the consumer. It begins with what is published from now on. If this node has seen it
    /// before, it begins where that one has ended, so that nothing is lost.
    async fn create(&self, api: &Api, info: &StreamInfo) -> Result<Bound, ApiError> {
        let start = match &*self.position.lock() {
            // What is acknowledged is not there any more.
            _ if info.is_queue => Start::First,
            None => Start::New,
            Some(position) if position.created == info.created => Start::After(position.floor),
            // All of a new stream is newer than what this node has seen.
            Some(_) => Start::First,
        };
        match api.create(&self.subjects, start, self.config.max_deliver).await {
            // Another node of the group was first.
            Err(ApiError::Exists) => api.consumer().await,
            bound => {
                let (stream, consumer) = (&self.config.stream, &self.config.consumer);
                tracing::info!(stream, consumer, %start, "a consumer is created");
                bound
            }
        }
    }
}

impl NatsSource {
    /// Pulls and publishes. Returns if nothing can follow: this gateway is leaving, or the task of
    /// the library has stopped.
    pub(super) async fn follow_stream(
        &self,
        client: &Client,
        stream: &Stream,
        node: &Node,
    ) -> Result<(), AccessError> {
        let StreamConfig { stream: name, consumer, .. } = &stream.config;
        let feed = self.intake.feed(NAME, name, EventOrigin::Here);
        let api = Api::new(client.clone(), name, consumer);
        let mut pull = Pull::new(client.clone(), name, consumer).await?;
        while !self.lifecycle.is_leaving() && !self.link.is_ended() {
            let binding = pin!(async {
                // Without a connection, nothing is asked for: the library would send it late.
                let connected = self.link.connected(client).await?;
                let bound = stream.bind(&api).await;
                let before = *stream.pulled_on.lock();
                if let Ok(bound) = &bound
                    && before.is_some_and(|before| before != connected)
                {
                    self.skip_unreadable(client, &api, bound, stream, &feed).await;
                }
                Some((connected, bound))
            });
            let leaving = pin!(self.lifecycle.leaves());
            let Either::Left((Some((connected, bound)), _)) = select(binding, leaving).await else { break };
            stream.is_bound.store(bound.is_ok(), Ordering::Relaxed);
            match bound {
                Ok(bound) => {
                    self.show_lag(&feed, bound.pending);
                    // The server forgets a request when its connection is lost.
                    if stream.pulled_on.lock().replace(connected) != Some(connected) {
                        pull.forget();
                    }
                    if pull.is_refused(&self.link) {
                        pull = Pull::new(client.clone(), name, consumer).await?;
                    }
                    let lost = self.link.lost(connected);
                    self.pull_bound(&mut pull, &bound, lost, &feed, node).await;
                }
                Err(error) => {
                    self.link.warn(&error.to_string());
                    self.rest(AGAIN).await;
                }
            }
        }
        stream.is_bound.store(false, Ordering::Relaxed);
        drop(timeout(LAST, pull.leave()).await);
        Ok(())
    }

    /// Terminates what the client cannot read, once a connection was lost: the library closes it
    /// over such a message. Without this, the server would deliver it again and again, and what is
    /// behind it in its batch would be lost each time.
    ///
    /// Looks at the oldest messages that are not acknowledged, in [`LOOK`] at most. If there are
    /// more, the message costs another connection, and is among the oldest later.
    async fn skip_unreadable(&self, client: &Client, api: &Api, bound: &Bound, stream: &Stream, feed: &Feed) {
        stream.unreadable.lock().retain(|sequence| *sequence > bound.floor);
        if bound.delivered <= bound.floor {
            return;
        }
        let looking = async {
            for filter in &bound.filters {
                let mut next = bound.floor.saturating_add(1);
                for _ in 0..BATCH {
                    let Some(message) = api.message(next, filter).await? else { break };
                    if message.sequence > bound.delivered {
                        break;
                    }
                    if !is_readable(&message.subject, &message.headers) {
                        if stream.unreadable.lock().insert(message.sequence) {
                            let reason = "its headers cannot be read";
                            drop(self.intake.refuse(feed, Failure::Invalid, &reason));
                        }
                        let receipt = Receipt::Term.text().into();
                        // Without the client, it is found again.
                        drop(client.publish(api.receipt(message.sequence), receipt).await);
                    }
                    next = message.sequence.saturating_add(1);
                }
            }
            Ok::<_, ApiError>(())
        };
        if let Ok(Err(error)) = timeout(LOOK, looking).await {
            self.link.warn(&format!("messages that cannot be read are not found: {error}"));
        }
    }

    /// Pulls and publishes until the consumer is to be looked at again.
    async fn pull_bound(
        &self,
        pull: &mut Pull,
        bound: &Bound,
        lost: impl Future<Output = ()>,
        feed: &Feed,
        node: &Node,
    ) {
        let until = Instant::now() + LOOK;
        let lost = pin!(lost);
        let leaving = pin!(self.lifecycle.leaves());
        let mut stop = select(lost, leaving);
        let most = bound.limits.within(Limits { batch: BATCH, bytes: Some(BATCH_BYTES), expires: LOOK });
        let mut limits = most;
        while Instant::now() < until {
            let mut batch = Vec::new();
            let end = match select(pin!(pull.next(limits, &mut batch)), &mut stop).await {
                Either::Left((end, _)) => end,
                Either::Right(_) => End::Stopped,
            };
            let is_empty = batch.is_empty();
            self.deliver(pull, batch, bound.ack_wait / 2, feed, node).await;
            limits = most;
            match end {
                End::Done => {}
                // Without a limit of bytes, a message of any size is delivered, but alone.
                End::TooLarge if is_empty => limits = Limits { batch: 1, bytes: None, ..most },
                End::TooLarge => {}
                End::Busy => self.rest(AGAIN).await,
                End::Stopped => return,
                End::Broken(reason) => {
                    self.link.warn(&reason);
                    // What is refused once may be refused each time.
                    return self.rest(if is_empty { AGAIN } else { SOON }).await;
                }
            }
        }
    }

    /// Publishes a batch in order, and acknowledges it once it has left this node. When the gateway
    /// is leaving, it gives back what it has not begun with.
    async fn deliver(
        &self,
        pull: &mut Pull,
        batch: Vec<Delivery>,
        patience: Duration,
        feed: &Feed,
        node: &Node,
    ) {
        let Some(last) = batch.last() else { return };
        self.show_lag(feed, last.pending);
        let (replies, contents): (Vec<Subject>, Vec<_>) =
            batch.into_iter().map(|delivery| (delivery.reply, (delivery.headers, delivery.payload))).unzip();
        let mut publishing = pin!(async {
            let mut receipts = Vec::with_capacity(contents.len());
            for (headers, payload) in contents {
                if self.lifecycle.is_leaving() {
                    receipts.push(Receipt::Nak);
                    continue;
                }
                // As it came, it keeps everything that was read with it.
                let event = decode(headers, Bytes::copy_from_slice(&payload), &self.intake);
                let taken = self.intake.take(node, feed, event).await;
                receipts.push(if taken.is_ok() { Receipt::Ack } else { Receipt::Term });
            }
            node.flushed().await;
            receipts
        });
        let receipts = loop {
            match timeout(patience, publishing.as_mut()).await {
                Ok(receipts) => break receipts,
                // Before the server takes them for lost, and delivers them again.
                Err(_) => {
                    drop(timeout(patience, pull.progress(&replies)).await);
                }
            }
        };
        pull.tell(replies.iter().zip(receipts)).await;
    }

    /// A stream counts as one partition.
    fn show_lag(&self, feed: &Feed, pending: u64) {
        self.intake.metrics().behind(&feed.topic, 0, i64::try_from(pending).unwrap_or(i64::MAX));
    }

    /// Pauses, unless this gateway is leaving.
    async fn rest(&self, pause: Duration) {
        drop(timeout(pause, self.lifecycle.leaves()).await);
    }
}

impl Receipt {
    fn text(self) -> &'static str {
        match self {
            Self::Ack => "+ACK",
            Self::Term => "+TERM",
            Self::Nak => "-NAK",
            Self::Progress => "+WPI",
        }
    }
}
