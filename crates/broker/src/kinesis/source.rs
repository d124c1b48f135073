//! The source: follows the shards of a stream, and reads those that it has leases for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use node::{EventOrigin, Node, Source};
use parking_lot::Mutex;
use tokio::select;
use tokio::sync::{Semaphore, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use super::aws::{Failed, Trouble, configure};
use super::lease::{Change, Lease, Leases, ShardId};
use super::link::LinkState;
use super::listing::{Listed, list};
use super::reader::{Commons, Ending, RESPONSES, Reader};
use super::roster::Roster;
use super::shards::{Mismatched, missing, outdated, unlisted};
use super::sink::{NodeSink, Sink};
use super::table::{SharedTable, Table};
use super::{KinesisConfig, KinesisMode, LeaseTiming, NAME};
use crate::intake::Intake;
use crate::lifecycle::{Lifecycle, pause};

/// Limit of the time of a request to Kinesis, whose response may have 10 MB.
const KINESIS_TIME: Duration = Duration::from_secs(10);

/// Limit of the time of a request to DynamoDB. Leases are read and renewed within their validity.
const DYNAMODB_TIME: Duration = Duration::from_secs(3);

/// Limit of the time in which all shards are listed. Meanwhile no lease is renewed.
const LISTING_TIME: Duration = Duration::from_secs(3);

/// Limit of the requests to DynamoDB at the same time.
const REQUESTS: usize = 16;

/// Publishes the records of a stream.
pub struct KinesisSource {
    config: KinesisConfig,
    intake: Intake,
    link: Arc<LinkState>,
    lifecycle: Lifecycle,
}

impl KinesisSource {
    /// Returns a source. It connects when it is run.
    pub fn new(config: KinesisConfig, intake: Intake) -> Self {
        Self { config, intake, link: Arc::default(), lifecycle: Lifecycle::new() }
    }

    /// Reads records and passes them to `sink`, as a worker whose name begins with `name`. Never
    /// returns.
    pub async fn read_into(self: Arc<Self>, name: &str, sink: Arc<dyn Sink>) {
        let worker: Arc<str> = format!("{name}:{}", Uuid::new_v4()).into();
        // A panic costs the leases, which are taken again at once.
        let read = || {
            let (source, sink, worker) = (self.clone(), sink.clone(), worker.clone());
            async move {
                let commons = Arc::new(source.commons(&worker, sink).await);
                Following::new(commons, worker).run().await;
                Ok::<_, Infallible>(())
            }
        };
        let failed = |reason: &dyn Display| {
            self.link.warn("its task has failed", &Failed::new(Trouble::Away, reason.to_string()));
        };
        self.lifecycle.run(self.config.timing.duration, read, || {}, failed).await;
    }

    async fn commons(&self, worker: &Arc<str>, sink: Arc<dyn Sink>) -> Commons {
        let KinesisConfig { access, dynamodb_endpoint, application, mode, .. } = &self.config;
        // Failures are handled here, one attempt is enough.
        let kinesis = configure(access, access.endpoint.as_deref(), KINESIS_TIME, 1).await;
        let table = match mode {
            KinesisMode::Broadcast => {
                Table::Own { worker: worker.clone(), leases: Mutex::new(Leases::new()) }
            }
            KinesisMode::Group => {
                let dynamodb = configure(access, dynamodb_endpoint.as_deref(), DYNAMODB_TIME, 1).await;
                let client = aws_sdk_dynamodb::Client::new(&dynamodb);
                Table::Shared(SharedTable { client, name: application.clone(), worker: worker.clone() })
            }
        };
        Commons {
            kinesis: aws_sdk_kinesis::Client::new(&kinesis),
            config: self.config.clone(),
            table,
            sink,
            link: self.link.clone(),
            stage: self.lifecycle.stage(),
            responses: Semaphore::new(RESPONSES),
            listed: Mutex::default(),
        }
    }
}

impl Source for KinesisSource {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_up(&self) -> bool {
        self.link.is_up()
    }

    fn run(self: Arc<Self>, node: Node) -> BoxFuture<'static, ()> {
        let origin = match self.config.mode {
            KinesisMode::Group => EventOrigin::Here,
            KinesisMode::Broadcast => EventOrigin::Everywhere,
        };
        let feed = self.intake.feed(NAME, &self.config.stream, origin);
        let sink = NodeSink { node: node.clone(), intake: self.intake.clone(), feed };
        async move { self.read_into(&node.name().to_string(), Arc::new(sink)).await }.boxed()
    }

    fn leave(&self, within: Duration) -> BoxFuture<'_, ()> {
        async move {
            self.lifecycle.leave();
            if timeout(within, self.lifecycle.has_left()).await.is_err() {
                let late = Failed::new(Trouble::Late, "what was read since the last checkpoint is repeated");
                self.link.warn("not everything was stored before this gateway stops", &late);
            }
        }
        .boxed()
    }
}

/// The task that keeps leases, and starts a reader for each.
struct Following {
    commons: Arc<Commons>,
    roster: Roster,
    unlisted: Mismatched,
    outdated: Mismatched,
    /// When the shards are to be listed again.
    listing: Instant,
    readers: JoinSet<Ending>,
    shards: HashMap<Id, ShardId>,
    /// Until when the lease of each reader is valid. Without the sender, it stops.
    valid: BTreeMap<ShardId, watch::Sender<Instant>>,
}

impl Following {
    fn new(commons: Arc<Commons>, worker: Arc<str>) -> Self {
        Self {
            roster: Roster::new(worker, commons.config.timing.duration),
            commons,
            unlisted: Mismatched::default(),
            outdated: Mismatched::default(),
            listing: Instant::now(),
            readers: JoinSet::new(),
            shards: HashMap::new(),
            valid: BTreeMap::new(),
        }
    }

    /// Keeps leases until the gateway stops. Returns when all readers have stopped.
    async fn run(mut self) {
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
                Some(ended) = self.readers.join_next_with_id() => {
                    if self.note_ended(ended) {
                        // Its children can be read now.
                        self.listing = Instant::now();
                        next = self.listing;
                    }
                }
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
            self.valid.remove(&lost);
        }
        Ok(())
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
                    Some(until) => drop(self.valid.get(&shard).map(|valid| valid.send_replace(until))),
                    None => drop(self.valid.remove(&shard)),
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
        let new = missing(&shards, &leases, self.commons.config.initial_position);
        steps.extend(new.into_iter().map(|lease| vec![create(lease)]));
        // The first worker has nothing to renew. If it stopped in between, what is lacking would
        // look like shards that were closed before.
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
        let valid = watch::Sender::new(until);
        let handle = self.readers.spawn(reader.run(position, valid.subscribe()));
        self.shards.insert(handle.id(), shard.clone());
        self.valid.insert(shard, valid);
    }

    /// Returns `true` if the shard is finished.
    fn note_ended(&mut self, ended: Result<(Id, Ending), JoinError>) -> bool {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        if let Some(shard) = self.shards.remove(&id) {
            self.valid.remove(&shard);
            self.roster.dropped(&shard);
        }
        match ended {
            Ok((_, ending)) => ending == Ending::Finished,
            Err(panic) => {
                let failed = Failed::new(Trouble::Away, panic.to_string());
                self.commons.link.warn("the reader of a shard has failed", &failed);
                false
            }
        }
    }
}
