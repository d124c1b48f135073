//! The worker: follows the shards of a stream, and reads those that it has leases for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use tokio::select;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::LeaseTiming;
use super::aws::{Failed, Trouble};
use super::lease::{Change, Lease, Position, ShardId};
use super::listing::{Listed, list};
use super::reader::{Commons, Ending, Reader};
use super::roster::Roster;
use super::shards::{Mismatched, missing, outdated, unlisted};
use crate::lifecycle::pause;

/// Limit of the time in which all shards are listed. Meanwhile no lease is renewed.
const LISTING_TIME: Duration = Duration::from_secs(3);

/// Limit of the requests to DynamoDB at the same time.
const REQUESTS: usize = 16;

/// The task that keeps leases, and starts a reader for each.
pub(super) struct Worker {
    commons: Arc<Commons>,
    roster: Roster,
    unlisted: Mismatched,
    outdated: Mismatched,
    /// When the shards are to be listed again.
    listing: Instant,
    readers: JoinSet<Ending>,
    shards: HashMap<Id, ShardId>,
    readings: BTreeMap<ShardId, Reading>,
    /// The leases that this worker has lost, with what was stored. Those without a row in the table
    /// were deleted, and are created again when shards are listed.
    lost: BTreeMap<ShardId, Lease>,
}

/// A reader whose lease is valid.
struct Reading {
    /// Until when the lease is valid. Without the sender, the reader stops.
    valid: watch::Sender<Instant>,
    /// What it has stored, or began with.
    stored: watch::Receiver<Position>,
    since: Option<i64>,
}

impl Worker {
    pub(super) fn new(commons: Arc<Commons>, worker: Arc<str>) -> Self {
        Self {
            roster: Roster::new(worker, commons.config.timing.duration),
            commons,
            unlisted: Mismatched::default(),
            outdated: Mismatched::default(),
            listing: Instant::now(),
            readers: JoinSet::new(),
            shards: HashMap::new(),
            readings: BTreeMap::new(),
            lost: BTreeMap::new(),
        }
    }

    /// Keeps leases until the gateway stops. Returns when all readers have stopped.
    pub(super) async fn run(mut self) {
        let commons = self.commons.clone();
        let (mut next, mut failures) = (Instant::now(), 0);
        loop {
            select! {
                () = commons.stage.leaves() => break,
                () = sleep_until(next) => {
                    let renewal = commons.config.timing.renewal;
                    let pause = match self.keep().await {
                        Ok(()) => {
                            failures = 0;
                            renewal
                        }
                        Err(failed) => {
                            failures += 1;
                            commons.link.warn("leases or shards are not known", &failed);
                            pause(failures, renewal)
                        }
                    };
                    next = Instant::now() + pause;
                }
                Some(ended) = self.readers.join_next_with_id() => match self.note_ended(ended) {
                    Ending::Finished => {
                        // Its children can be read now.
                        self.listing = Instant::now();
                        next = self.listing;
                    }
                    // No lease is taken before Kinesis is reached.
                    Ending::Unread => self.listing = Instant::now(),
                    Ending::Released | Ending::Lost => {}
                },
            }
        }
        while self.readers.join_next().await.is_some() {}
    }

    /// Renews the leases, follows the shards if it is time, and takes what is lacking.
    ///
    /// # Errors
    /// Returns the first failure; the others are of the same kind.
    async fn keep(&mut self) -> Result<(), Failed> {
        let read = self.observe().await;
        let is_read = read.is_ok();
        // Also if the table was not read: what this worker has stays its own.
        let renewed = read.and(self.renew().await);
        let (mut followed, mut taken) = (Ok(()), Ok(()));
        if is_read && self.listing <= Instant::now() {
            followed = self.follow().await;
            self.commons.link.has_stream.store(followed.is_ok(), Ordering::Relaxed);
        }
        if is_read && followed.is_ok() {
            taken = self.take().await;
        }
        let kept = renewed.and(taken);
        self.commons.link.has_table.store(kept.is_ok(), Ordering::Relaxed);
        kept.and(followed)
    }

    async fn observe(&mut self) -> Result<(), Failed> {
        let leases = self.commons.table.read().await?;
        for lost in self.roster.observe(leases, Instant::now()) {
            self.lose(&lost);
        }
        // Another worker has, or may have, those that still have a row.
        self.lost.retain(|shard, _| !self.roster.knows(shard));
        if !self.lost.is_empty() {
            self.listing = Instant::now();
        }
        Ok(())
    }

    /// Has the reader of a shard stop, and notes what it has stored.
    fn lose(&mut self, shard: &ShardId) {
        if let Some(Reading { stored, since, .. }) = self.readings.remove(shard) {
            let lease = Lease::new(shard, stored.borrow().clone(), Vec::new());
            self.lost.insert(shard.clone(), Lease { since, ..lease });
        }
    }

    async fn renew(&mut self) -> Result<(), Failed> {
        let commons = &self.commons;
        // Then all have expired, so that further requests are of no use.
        let until = Instant::now() + commons.config.timing.duration;
        let renew = |(shard, change): (ShardId, Change)| async move {
            let began = Instant::now();
            if until <= began {
                let late = Failed::new(Trouble::Late, "the leases could not be renewed in time");
                return (shard, began, Err(late));
            }
            let applied = commons.table.apply(&shard, &change).await;
            (shard, began, applied)
        };
        let renewals = stream::iter(self.roster.renewals()).map(renew).buffer_unordered(REQUESTS);
        let renewals: Vec<_> = Box::pin(renewals.collect()).await;
        let mut result = Ok(());
        for (shard, began, applied) in renewals {
            match applied {
                Ok(is_applied) => match self.roster.renewed(&shard, began, is_applied) {
                    Some(until) => {
                        self.readings.get(&shard).map(|reading| reading.valid.send_replace(until));
                    }
                    None => self.lose(&shard),
                },
                Err(failed) => result = result.and(Err(failed)),
            }
        }
        result
    }

    /// Creates the leases of new shards, and deletes those of old ones. Stops when leases are to be
    /// renewed, and goes on the next time.
    async fn follow(&mut self) -> Result<(), Failed> {
        let LeaseTiming { renewal, listing, .. } = self.commons.config.timing;
        let began = Instant::now();
        let late = |_| Failed::new(Trouble::Late, "the shards could not be listed in time");
        let shards = list(&self.commons.kinesis, &self.commons.config.stream);
        let shards = timeout(LISTING_TIME, shards).await.map_err(late)??;
        *self.commons.listed.lock() = Listed::new(began, &shards);
        let leases: Vec<_> = self.roster.leases().collect();
        let delete = |lease: &Lease| (lease.shard.clone(), Change::Delete { counter: lease.counter });
        let create = |lease: Lease| (lease.shard.clone(), Change::Create(lease));
        let unlisted = self.unlisted.lasting(unlisted(&shards, &leases), began, listing);
        let mut steps: Vec<_> = unlisted.into_iter().map(|lease| vec![delete(lease)]).collect();
        let outdated = self.outdated.lasting(outdated(&shards, &leases), began, listing);
        if !outdated.is_empty() {
            let failed = Failed::new(Trouble::Invalid, format!("shards: {}", outdated.len()));
            self.commons
                .link
                .warn("the stream was created anew, its shards are read from the start", &failed);
        }
        steps.extend(outdated.into_iter().map(|(lease, new)| vec![delete(lease), create(new)]));
        let new = missing(&shards, &leases, &self.lost, self.commons.config.initial_position);
        steps.extend(new.into_iter().map(|lease| vec![create(lease)]));
        // The first worker has nothing to renew.
        let until = (!leases.is_empty()).then(|| began + renewal);
        let (mut is_changed, mut is_complete) = (false, true);
        for step in steps {
            if until.is_some_and(|until| is_changed && until <= Instant::now()) {
                is_complete = false;
                break;
            }
            for (shard, change) in step {
                self.commons.table.apply(&shard, &change).await?;
            }
            is_changed = true;
        }
        if is_complete {
            self.listing = Instant::now() + listing;
            // One that was deleted after the table was read is created the next time.
            self.lost.retain(|shard, _| self.roster.knows(shard));
        }
        if is_changed { self.observe().await } else { Ok(()) }
    }

    /// Takes the leases that this worker lacks, and starts their readers. Stops when leases are to
    /// be renewed, and goes on the next time.
    async fn take(&mut self) -> Result<(), Failed> {
        let busy: BTreeSet<_> = self.shards.values().cloned().collect();
        let until = Instant::now() + self.commons.config.timing.renewal;
        for lease in self.roster.wanted(Instant::now(), &busy, |count| fastrand::usize(..count)) {
            let began = Instant::now();
            if until <= began {
                break;
            }
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let take = Change::Take { lease, now: i64::try_from(now.as_millis()).unwrap_or(i64::MAX) };
            let Change::Take { lease, now } = &take else { continue };
            if self.commons.table.apply(&lease.shard, &take).await? {
                let lease = lease.taken_by(self.roster.worker(), *now);
                let until = self.roster.taken(&lease, began);
                self.start(lease, until);
            }
        }
        Ok(())
    }

    fn start(&mut self, lease: Lease, until: Instant) {
        let Lease { shard, position, since, .. } = lease;
        let reader = Reader { commons: self.commons.clone(), shard: shard.clone(), since };
        let (valid, stored) = (watch::Sender::new(until), watch::Sender::new(position));
        let reading = Reading { valid, stored: stored.subscribe(), since };
        let handle = self.readers.spawn(reader.run(stored, reading.valid.subscribe()));
        self.shards.insert(handle.id(), shard.clone());
        self.readings.insert(shard, reading);
    }

    /// Notes that a reader has stopped, and returns why.
    fn note_ended(&mut self, ended: Result<(Id, Ending), JoinError>) -> Ending {
        let (id, ending) = ended.unwrap_or_else(|panic| {
            let failed = Failed::new(Trouble::Away, panic.to_string());
            self.commons.link.warn("the reader of a shard has failed", &failed);
            (panic.id(), Ending::Lost)
        });
        if let Some(shard) = self.shards.remove(&id) {
            self.roster.dropped(&shard);
            match ending {
                Ending::Finished => drop(self.readings.remove(&shard)),
                _ => self.lose(&shard),
            }
        }
        ending
    }
}
