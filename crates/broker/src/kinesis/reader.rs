//! Reads one shard, for as long as its lease is valid.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use bytes::Bytes;
use event::kpl;
use parking_lot::Mutex;
use tokio::select;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::coop;
use tokio::time::{Instant, sleep, sleep_until};

use super::aws::{Failed, Trouble};
use super::cursor::Cursor;
use super::lease::{Change, Place, Position, ShardId};
use super::link::LinkState;
use super::listing::Listed;
use super::sink::Sink;
use super::table::Table;
use super::{KinesisConfig, KinesisMode};
use crate::lifecycle::{StageWatch, pause};

/// Limit of the records of a response, which is also limited to 10 MB.
const RECORDS: i32 = 10_000;

/// Limit of the responses that are read at the same time; further shards wait.
pub(crate) const RESPONSES: usize = 16;

/// Interval of the requests for a shard without new records, and of all requests if each gateway
/// reads all shards: all readers of a shard have five in a second together.
const IDLE: Duration = Duration::from_secs(1);

/// Interval of the requests for a shard with more records. One in a second is left to other
/// readers.
const BUSY: Duration = Duration::from_millis(250);

/// Limit of the pause after a failure.
const PAUSE: Duration = Duration::from_secs(10);

/// What all readers have in common.
pub(crate) struct Commons {
    pub(crate) kinesis: Client,
    pub(crate) config: KinesisConfig,
    pub(crate) table: Table,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) link: Arc<LinkState>,
    pub(crate) stage: StageWatch,
    pub(crate) responses: Semaphore,
    /// The shards that were listed last.
    pub(crate) listed: Mutex<Listed>,
}

/// Reads one shard.
pub(crate) struct Reader {
    pub(crate) commons: Arc<Commons>,
    pub(crate) shard: ShardId,
    /// From which time on a shard at [`Position::Latest`] is read, in milliseconds since 1970.
    pub(crate) since: Option<i64>,
}

/// Why a reader has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The shard is closed, and everything in it was read.
    Finished,
    /// The gateway stops.
    Released,
    /// Kinesis was not reached for some time. Another worker may reach it.
    Unread,
    /// Another worker has the lease, or may take it.
    Lost,
}

struct Page<'c> {
    records: Vec<Record>,
    next: Option<String>,
    has_more: bool,
    /// Released when the records are published.
    _permit: SemaphorePermit<'c>,
}

impl Reader {
    /// Reads from what is `stored`, and sends what is stored later, while `valid` is in the future
    /// and its sender exists.
    pub(crate) async fn run(
        self,
        stored: watch::Sender<Position>,
        valid: watch::Receiver<Instant>,
    ) -> Ending {
        let start = stored.borrow().clone();
        let read = watch::Sender::new(start.clone());
        let mut expired = pin!(expired(valid));
        let ending = select! {
            ending = self.read(start, &read) => ending,
            () = self.store_regularly(&read, &stored) => return Ending::Lost,
            () = &mut expired => return Ending::Lost,
        };
        select! {
            ending = self.close(ending, &read, &stored) => ending,
            () = &mut expired => Ending::Lost,
        }
    }

    /// Reads and publishes in order, up to the end of the shard, or until the gateway stops or
    /// Kinesis has not been reached for too long.
    async fn read(&self, start: Position, read: &watch::Sender<Position>) -> Ending {
        let commons = &*self.commons;
        let mut cursor = Cursor::new(start, self.since);
        let (mut failures, mut missing, mut unreached) = (0_u32, None, None);
        loop {
            let began = Instant::now();
            let fetched = select! {
                fetched = self.fetch(&mut cursor) => fetched,
                () = commons.stage.leaves() => return Ending::Released,
            };
            let pause = match fetched {
                Ok(page) => {
                    (failures, missing, unreached) = (0, None, None);
                    commons.link.has_stream.store(true, Ordering::Relaxed);
                    let is_busy = page.has_more && commons.config.mode == KinesisMode::Group;
                    if !commons.publish(page.records, &mut cursor.at, read).await {
                        return Ending::Released;
                    }
                    cursor.iterator = page.next;
                    if cursor.iterator.is_none() {
                        return Ending::Finished;
                    }
                    if is_busy { BUSY } else { IDLE }
                }
                Err(failed) => {
                    failures += 1;
                    if failed.trouble == Trouble::Missing {
                        // Its records are deleted, if it was not listed since then either.
                        let since = *missing.get_or_insert(began);
                        if commons.listed.lock().lacks(&self.shard, since) {
                            commons.link.warn("a shard is gone, its children are read", &failed);
                            return Ending::Finished;
                        }
                    }
                    self.recover(&failed, &mut cursor);
                    unreached = match failed.trouble {
                        Trouble::Unreached | Trouble::Away | Trouble::Late => {
                            // The request may have waited for its turn before.
                            unreached.or_else(|| Some(Instant::now()))
                        }
                        _ => None,
                    };
                    if commons.config.mode == KinesisMode::Group
                        && unreached.is_some_and(|since| commons.config.timing.patience <= since.elapsed())
                    {
                        return Ending::Unread;
                    }
                    match (failed.trouble, commons.config.mode) {
                        // All gateways read all shards, and one request is too many already.
                        (Trouble::Throttled, KinesisMode::Broadcast) => {
                            pause(failures.saturating_add(4), PAUSE).max(IDLE)
                        }
                        _ => pause(failures, PAUSE),
                    }
                }
            };
            select! {
                () = sleep_until(began + pause) => {}
                () = commons.stage.leaves() => return Ending::Released,
            }
        }
    }

    /// Requests the next records, and before that an iterator if there is none.
    async fn fetch(&self, cursor: &mut Cursor) -> Result<Page<'_>, Failed> {
        let permit = self.commons.responses.acquire().await.expect("the semaphore is never closed");
        let from = match &cursor.iterator {
            Some(iterator) => iterator.clone(),
            None => cursor.iterator.insert(self.iterator(cursor).await?).clone(),
        };
        let request = self.commons.kinesis.get_records().shard_iterator(from).limit(RECORDS);
        let page = Box::pin(request.send()).await.map_err(|error| {
            let failed = Failed::from(error);
            match failed.trouble {
                // What is invalid can only be the iterator.
                Trouble::Invalid => Failed::new(Trouble::Expired, failed.to_string()),
                _ => failed,
            }
        })?;
        let has_more = !page.records.is_empty() || page.millis_behind_latest.is_some_and(|behind| behind > 0);
        Ok(Page { records: page.records, next: page.next_shard_iterator, has_more, _permit: permit })
    }

    async fn iterator(&self, cursor: &Cursor) -> Result<String, Failed> {
        use ShardIteratorType::{AtSequenceNumber, AtTimestamp, Latest, TrimHorizon};
        let request = self.commons.kinesis.get_shard_iterator();
        let request = request.stream_name(&self.commons.config.stream).shard_id(&*self.shard);
        let request = match (&cursor.at, cursor.since) {
            // An aggregated record of which a part was read comes again, so it is not after it.
            (Position::At(place), _) => {
                request.shard_iterator_type(AtSequenceNumber).starting_sequence_number(&*place.sequence)
            }
            // Not the latest: records that came since the lease was first taken would be missed.
            (Position::Latest, Some(since)) => {
                request.shard_iterator_type(AtTimestamp).timestamp(DateTime::from_millis(since))
            }
            (Position::Latest, None) => request.shard_iterator_type(Latest),
            (Position::TrimHorizon | Position::End, _) => request.shard_iterator_type(TrimHorizon),
        };
        let iterator = Box::pin(request.send()).await?;
        iterator.shard_iterator.ok_or_else(|| Failed::new(Trouble::Away, "an answer without an iterator"))
    }

    /// Decides where to go on after a failure.
    fn recover(&self, failed: &Failed, cursor: &mut Cursor) {
        let link = &self.commons.link;
        match failed.trouble {
            Trouble::Expired => cursor.iterator = None,
            Trouble::Invalid => {
                link.warn("the place where reading stopped is not known to Kinesis", failed);
                cursor.leave_unknown();
            }
            Trouble::Throttled => link.warn("the stream is read by too many", failed),
            _ => {
                link.has_stream.store(false, Ordering::Relaxed);
                link.warn("a shard is not read", failed);
            }
        }
    }

    /// Stores what was read and flushed. Returns if the lease is lost.
    async fn store_regularly(&self, read: &watch::Sender<Position>, stored: &watch::Sender<Position>) {
        loop {
            sleep(self.commons.config.timing.checkpoint).await;
            let position = read.borrow().clone();
            if position == *stored.borrow() {
                continue;
            }
            self.commons.sink.flushed().await;
            if self.store(position, stored).await == Ok(false) {
                return;
            }
        }
    }

    /// Stores what was read in the end, and gives the lease up unless the shard is finished.
    async fn close(
        &self,
        ending: Ending,
        read: &watch::Sender<Position>,
        stored: &watch::Sender<Position>,
    ) -> Ending {
        self.commons.sink.flushed().await;
        let is_finished = ending == Ending::Finished;
        let last = if is_finished { Position::End } else { read.borrow().clone() };
        let mut failures = 0;
        while *stored.borrow() != last {
            match self.store(last.clone(), stored).await {
                Ok(true) => {}
                Ok(false) => return Ending::Lost,
                Err(NotStored) => {
                    failures += 1;
                    sleep(pause(failures, PAUSE)).await;
                }
            }
        }
        if !is_finished && let Err(failed) = self.commons.table.apply(&self.shard, &Change::Release).await {
            self.commons.link.warn("a lease was not given up", &failed);
        }
        ending
    }

    /// Stores how far the shard was read. Returns `false` if the lease is lost.
    async fn store(&self, position: Position, stored: &watch::Sender<Position>) -> Result<bool, NotStored> {
        let store = Change::Store(position.clone());
        match self.commons.table.apply(&self.shard, &store).await {
            Ok(true) => {
                stored.send_replace(position);
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(failed) => {
                self.commons.link.warn("it was not stored how far a shard was read", &failed);
                Err(NotStored)
            }
        }
    }
}

/// The table was not reached, which is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NotStored;

impl Commons {
    /// Publishes records in order, and notes each in `read`. Returns `false` if the gateway stops
    /// before all are published.
    async fn publish(&self, records: Vec<Record>, at: &mut Position, read: &watch::Sender<Position>) -> bool {
        for record in records {
            let sequence: Arc<str> = record.sequence_number.into();
            let done = match at {
                Position::At(place) if place.sequence == sequence => Some(place.part),
                _ => None,
            };
            let data = Bytes::from(record.data.into_inner());
            let aggregated = kpl::records(&data);
            let count = aggregated.clone().map_or(1, Iterator::count);
            let parts: Box<dyn Iterator<Item = Bytes> + Send> = match aggregated {
                // Copied, so that a slow receiver of one does not keep all of them in memory.
                Some(parts) => Box::new(parts.map(|part| Bytes::copy_from_slice(&part))),
                None => Box::new(std::iter::once(data)),
            };
            let place = |part: u64| Position::At(Place { sequence: sequence.clone(), part });
            for (part, data) in (0..).zip(parts).filter(|(part, _)| done.is_none_or(|done| *part > done)) {
                if self.stage.is_leaving() {
                    return false;
                }
                self.sink.take(data).await;
                read.send_replace(place(part));
                // What is no event is taken at once.
                coop::consume_budget().await;
            }
            *at = place((count as u64).saturating_sub(1));
            read.send_replace(at.clone());
        }
        true
    }
}

/// Resolves when the time has come that was sent last, or nothing more can be sent.
async fn expired(mut valid: watch::Receiver<Instant>) {
    loop {
        let until = *valid.borrow_and_update();
        select! {
            changed = valid.changed() => if changed.is_err() { return },
            () = sleep_until(until) => return,
        }
    }
}
