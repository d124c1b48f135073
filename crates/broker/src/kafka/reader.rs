//! The loop of the source: receives, publishes in order, and stores how far it has got.
//!
//! It polls the consumer all the time, also while it waits for something else: who does not poll is
//! thrown out of the group.

use std::collections::{HashSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::pending;
use futures_util::{FutureExt, StreamExt};
use node::Node;
use rdkafka::consumer::stream_consumer::{MessageStream, StreamConsumer};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset};
use tokio::task::{JoinError, JoinSet, coop, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};

use super::Link;
use super::observer::{Observer, store};
use super::offsets::{Batch, Offsets};
use super::work::{Outcome, Work};
use crate::intake::Feed;
use crate::lifecycle::StageWatch;

/// Limit of the messages that are taken before how far this is gets stored. As many are taken while
/// the ones before are flushed.
const BATCH: usize = 1000;

/// How often it gets stored, at least.
const STORE: Duration = Duration::from_millis(100);

/// How often it is looked whether the library has passed by what is no message.
const LOOK: Duration = Duration::from_secs(1);

/// How long something may wait before nothing more is fetched.
const PATIENCE: Duration = Duration::from_secs(1);

/// A message, and the [epoch](Offsets::epoch) in which it was received.
type Received<'c> = (BorrowedMessage<'c>, u64);

/// Receives from one consumer.
pub(super) struct Reader<'c> {
    consumer: &'c Arc<StreamConsumer<Observer>>,
    messages: MessageStream<'c, Observer>,
    /// What was received while something else waited. Little: nothing is fetched then.
    early: VecDeque<Received<'c>>,
    work: &'c Work,
    node: &'c Node,
    feeds: &'c [Feed],
    offsets: &'c Offsets,
    link: &'c Link,
    stage: StageWatch,
    /// Whether a group keeps how far it has got.
    stores: bool,
    /// How many messages were taken since the last batch, and when the first of them was.
    unstored: usize,
    since: Option<Instant>,
    /// When it was last looked what the library has passed by.
    looked: Instant,
    /// When to look for a topic that does not exist, as the library has told. It tells it for each
    /// partition, and again after each look.
    missing: Option<Instant>,
    /// When that may be done again.
    seek: Instant,
    /// The last batch, until everything in it is flushed.
    flushing: JoinSet<Batch>,
    /// The partitions of which something was committed by this consumer, since the last ones were
    /// revoked in this epoch.
    committed: HashSet<(usize, i32)>,
    epoch: u64,
    /// The consumer is of no use any more.
    fatal: Option<KafkaError>,
}

impl<'c> Reader<'c> {
    pub(super) fn new(
        consumer: &'c Arc<StreamConsumer<Observer>>,
        (work, node): (&'c Work, &'c Node),
        (feeds, offsets): (&'c [Feed], &'c Offsets),
        stores: bool,
    ) -> Self {
        let (early, unstored, since, missing, flushing, committed, epoch, fatal) = Default::default();
        let (messages, stage, link) = (consumer.stream(), work.stage.clone(), &work.link);
        let (looked, seek) = (Instant::now(), Instant::now());
        Self {
            consumer,
            messages,
            early,
            work,
            node,
            feeds,
            offsets,
            link,
            stage,
            stores,
            unstored,
            since,
            looked,
            missing,
            seek,
            flushing,
            committed,
            epoch,
            fatal,
        }
    }

    /// Receives until the gateway stops, and then stores how far it has got.
    ///
    /// # Errors
    /// Fails if the consumer is of no use any more.
    pub(super) async fn read(mut self) -> Result<(), KafkaError> {
        loop {
            if self.stage.is_leaving() {
                self.store().await;
                self.settle().await;
                self.commit().await;
                return Ok(());
            }
            if let Some(error) = self.fatal {
                return Err(error);
            }
            if self.missing.is_some_and(|due| due <= Instant::now()) {
                self.find_missing().await;
            }
            if self.unstored >= BATCH || self.due().is_some_and(|due| due <= Instant::now()) {
                self.store().await;
            }
            if let Some(received) = self.next().await
                && self.take(received).await == Outcome::Done
            {
                self.unstored += 1;
                self.since.get_or_insert_with(Instant::now);
            }
            coop::consume_budget().await;
        }
    }

    /// Returns the next message; `None` if it is time for something else.
    async fn next(&mut self) -> Option<Received<'c>> {
        if let Some(received) = self.early.pop_front() {
            return Some(received);
        }
        let next = match self.messages.next().now_or_never() {
            Some(next) => next,
            None => {
                let due = [self.due(), self.missing].into_iter().flatten().min();
                tokio::select! {
                    biased;
                    () = self.stage.leaves() => return None,
                    next = self.messages.next() => next,
                    Some(batch) = self.flushing.join_next() => {
                        self.flushed(batch);
                        return None;
                    }
                    () = until(due) => return None,
                }
            }
        };
        self.received(next.expect("the stream does not end"))
    }

    /// Returns when the messages that were taken since the last batch are to become one, or what
    /// is no message.
    fn due(&self) -> Option<Instant> {
        let looks = self.stores && self.flushing.is_empty();
        let look = looks.then(|| self.looked + LOOK);
        self.since.map(|since| since + STORE).or(look)
    }

    /// Takes a message, unless its partition was revoked since it was received.
    async fn take(&mut self, (message, received): Received<'c>) -> Outcome {
        // Only these were asked for.
        let Some(topic) = self.feeds.iter().position(|feed| *feed.topic == *message.topic()) else {
            return Outcome::Done;
        };
        let place = (topic, message.partition());
        if !self.offsets.is_current(place, received) {
            return Outcome::Left;
        }
        let (work, node, feed) = (self.work, self.node, &self.feeds[topic]);
        let outcome = self.patiently(work.take(node, feed, &message)).await;
        if outcome == Outcome::Done {
            self.offsets.take(place, message.offset(), received);
        }
        outcome
    }

    /// Looks which topics do not exist: what is written to them from now on is not to be missed.
    async fn find_missing(&mut self) {
        let consumer = self.consumer.clone();
        let looking = spawn_blocking(move || consumer.context().look(&*consumer));
        let is_known = self.patiently(looking).await.expect("looking for topics does not panic");
        self.seek = Instant::now() + LOOK;
        self.missing = (!is_known).then_some(self.seek);
    }

    /// Makes a batch of what was taken since the last one, which is stored before. Without a group,
    /// nothing is stored.
    async fn store(&mut self) {
        if !self.stores {
            (self.unstored, self.since) = (0, None);
            return;
        }
        self.settle().await;
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.pass();
        }
        let is_idle = std::mem::take(&mut self.unstored) == 0;
        self.since = None;
        let (batch, node) = (self.offsets.unstored(), self.node.clone());
        if is_idle && batch.is_empty() {
            return;
        }
        self.flushing.spawn(async move {
            node.flushed().await;
            batch
        });
    }

    /// Notes what the library has passed by beside messages. Nothing if some of those were not
    /// taken.
    fn pass(&self) {
        if !self.early.is_empty() || self.stage.is_leaving() {
            return;
        }
        let Ok(positions) = self.consumer.position() else { return };
        for reached in positions.elements() {
            if let Offset::Offset(next) = reached.offset()
                && let Some(topic) = self.feeds.iter().position(|feed| *feed.topic == *reached.topic())
            {
                self.offsets.pass((topic, reached.partition()), next);
            }
        }
    }

    /// Stores how far it has got with the last batch, once everything in it is flushed.
    async fn settle(&mut self) {
        let mut flushing = std::mem::take(&mut self.flushing);
        if let Some(batch) = self.patiently(flushing.join_next()).await {
            self.flushed(batch);
        }
    }

    /// Stores how far it has got with a batch that is flushed.
    fn flushed(&mut self, batch: Result<Batch, JoinError>) {
        let flushed = self.offsets.flushed(batch.expect("flushing does not panic"));
        if flushed.is_empty() {
            return;
        }
        match store(&**self.consumer, self.feeds, &flushed) {
            Ok(()) => self.commit_first(flushed.iter().map(|(place, _)| *place)),
            // Revoked meanwhile: whoever has the partition now reads these messages again.
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::State) => {}
            Err(error) => self.link.warn("store", &error),
        }
    }

    /// Commits at once what is stored of a partition for the first time: without a committed
    /// offset, whoever reads it after a crash would begin at its end.
    fn commit_first(&mut self, places: impl Iterator<Item = (usize, i32)>) {
        let epoch = self.offsets.epoch();
        if std::mem::replace(&mut self.epoch, epoch) != epoch {
            self.committed.clear();
        }
        let known = self.committed.len();
        self.committed.extend(places);
        if self.committed.len() > known
            && let Err(error) = self.consumer.commit_consumer_state(CommitMode::Async)
        {
            self.link.warn("commit", &error);
        }
    }

    /// Commits what is stored.
    async fn commit(&mut self) {
        if !self.stores {
            return;
        }
        let consumer = self.consumer.clone();
        let committing = spawn_blocking(move || consumer.commit_consumer_state(CommitMode::Sync));
        let committed = self.patiently(committing).await.expect("a commit does not panic");
        if let Err(error) = committed
            && error.rdkafka_error_code() != Some(RDKafkaErrorCode::NoOffset)
        {
            self.link.warn("commit", &error);
        }
    }

    /// Waits for something. If it takes long, fetches nothing more until it is done, but serves
    /// the consumer.
    async fn patiently<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let Ok(done) = timeout(PATIENCE, &mut work).await {
            return done;
        }
        self.pause();
        let done = loop {
            tokio::select! {
                biased;
                done = &mut work => break done,
                next = self.messages.next() => {
                    // It is of a partition that was assigned meanwhile.
                    if let Some(received) = self.received(next.expect("the stream does not end")) {
                        self.early.push_back(received);
                        self.pause();
                    }
                }
            }
        };
        self.resume();
        done
    }

    fn pause(&self) {
        self.consumer.context().set_paused(true);
        let paused = self.consumer.assignment().and_then(|assigned| self.consumer.pause(&assigned));
        if let Err(error) = paused {
            self.link.warn("pause", &error);
        }
    }

    fn resume(&self) {
        self.consumer.context().set_paused(false);
        let resumed = self.consumer.assignment().and_then(|assigned| self.consumer.resume(&assigned));
        if let Err(error) = resumed {
            self.link.warn("resume", &error);
        }
    }

    /// Returns what was received, if it is a message.
    fn received(&mut self, received: Result<BorrowedMessage<'c>, KafkaError>) -> Option<Received<'c>> {
        match received {
            Ok(message) => {
                self.link.set_refused(false);
                return Some((message, self.offsets.epoch()));
            }
            Err(error @ KafkaError::MessageConsumptionFatal(_)) => self.fatal = Some(error),
            // The library tries again by itself.
            Err(error) => {
                use RDKafkaErrorCode::{
                    GroupAuthorizationFailed, TopicAuthorizationFailed, UnknownTopicOrPartition,
                };
                match error.rdkafka_error_code() {
                    Some(GroupAuthorizationFailed | TopicAuthorizationFailed) => self.link.set_refused(true),
                    Some(UnknownTopicOrPartition) => {
                        self.missing.get_or_insert(self.seek);
                    }
                    _ => {}
                }
                self.link.warn(&format!("{:?}", error.rdkafka_error_code()), &error);
            }
        }
        None
    }
}

/// Resolves at that time, if it is given.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}
