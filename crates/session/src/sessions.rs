//! The sessions of a node.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::age::{ALL, Moment};
use crate::clock::{Clock, Monotonic, Tick};
use crate::config::{ClaimError, Config, Expiry};
use crate::connection::{Blacklisted, Cause, Closed, Connection};
use crate::kill::Kill;
use crate::log::{Entry, Log, LogError, MemoryLog, Position};
use crate::members::Tokens;
use crate::name::SessionName;
use crate::revocation::{Revocation, RevocationId, Seq};
use crate::selector::{Fingerprints, Key};
use crate::shard::{Order, Shard};
use crate::subject::{Registration, Subject};
use crate::sync::Mutex;

mod revoking;

use revoking::Unrecorded;
pub use revoking::{Accepted, Affected, RevokeError};

/// How many there are of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions with at least one connection.
    pub sessions: usize,
    /// Registrations, all sessions together.
    pub connections: usize,
    /// Entries of the blacklist; those included that have expired since the last sweep.
    pub blacklisted: usize,
    /// Times that something legal became illegal.
    pub blacklisted_ever: u64,
}

/// All sessions of a node. Clones are the same sessions.
#[derive(Clone)]
pub struct Sessions(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    config: Config,
    log: Box<dyn Log>,
    clock: Box<dyn Clock>,
    origin: Instant,
    fingerprints: Fingerprints,
    shards: Box<[Mutex<Shard>]>,
    next_id: AtomicU64,
    /// The shard from which expired entries are removed next.
    next_sweep: AtomicU64,
    /// Numbers of revocations that are in force without being in the log. Count down from
    /// [`Seq::MAX`], which the log never reaches.
    unrecorded: AtomicU64,
    unrecorded_by_id: Mutex<HashMap<RevocationId, Unrecorded>>,
    position: OnceLock<Position>,
    blacklisted_ever: AtomicU64,
    closed: OnceLock<Closed>,
}

/// Parts of the registry, each behind a lock of its own: many more than there are threads to meet
/// at one, and each small enough to be swept or to grow without being noticed.
pub(crate) const SHARDS: usize = if cfg!(feature = "loom") { 1 } else { 256 };

impl Sessions {
    /// Loads the log; nothing can be registered before it is loaded.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn new(config: Config, log: impl Log) -> Result<Self, LogError> {
        Self::with_clock(config, log, Monotonic)
    }

    /// As [`Sessions::new`], on another clock.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn with_clock(config: Config, log: impl Log, clock: impl Clock) -> Result<Self, LogError> {
        let sessions = Self(Arc::new(Inner {
            config,
            log: Box::new(log),
            origin: clock.now(),
            clock: Box::new(clock),
            fingerprints: Fingerprints::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            next_id: AtomicU64::new(0),
            next_sweep: AtomicU64::new(0),
            unrecorded: AtomicU64::new(Seq::MAX),
            unrecorded_by_id: Mutex::default(),
            position: OnceLock::new(),
            blacklisted_ever: AtomicU64::new(0),
            closed: OnceLock::new(),
        }));
        let position = sessions.load()?;
        sessions.0.position.get_or_init(|| position);
        Ok(sessions)
    }

    fn load(&self) -> Result<Position, LogError> {
        let mut unknown = false;
        let position = self.0.log.load(&mut |mut entry| {
            if let Entry::Revoked { revocation, .. } = &mut entry {
                // The configuration may have changed: a claim may now name the session, or be
                // unknown.
                match self.0.config.current(revocation.selector.clone()) {
                    Ok(selector) => revocation.selector = selector,
                    Err(_) => return unknown = true,
                }
            }
            // The receipt of its first time is in the log already.
            self.apply(&entry).without_receipt().finish();
        })?;
        if unknown {
            let reason =
                "it holds revocations by a claim that is not configured any more: they would not hold";
            return Err(LogError(reason.into()));
        }
        Ok(position)
    }

    /// Sessions whose blacklist lives as long as they do.
    pub fn in_memory(config: Config) -> Self {
        Self::new(config, MemoryLog::new()).expect("there is nothing to load")
    }

    /// Calls back when all connections of a revocation are closed, with the time that took since it
    /// was asked for. Only the first call counts.
    pub fn on_closed(&self, closed: impl Fn(Duration) + Send + Sync + 'static) {
        // A second observer would be a mistake of the program, and is ignored as documented.
        let _ = self.0.closed.set(Arc::new(closed));
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The session that these claims name.
    ///
    /// # Errors
    /// The session claim is missing or cannot name a session.
    pub fn from_claims(&self, claims: &Map<String, Value>) -> Result<SessionName, ClaimError> {
        self.0.config.session_name(claims)
    }

    /// Makes a session illegal to use for this time, and terminates its connections: all have been
    /// notified when it returns.
    ///
    /// Zero is no time, and does nothing (RIG). A validity beyond what the clock can count never
    /// expires. Of several revocations of a session the one that lasts longest counts: a later,
    /// shorter one takes nothing back. Blocks for as long as the log does.
    ///
    /// # Errors
    /// The log did not keep the revocation. It is in force all the same, on this node and until the
    /// process ends: who was to be thrown out is out, and the caller knows that it may not last.
    /// Trying again is harmless.
    pub fn blacklist(&self, name: &SessionName, validity: Duration) -> Result<u64, LogError> {
        if validity.is_zero() {
            return Ok(0);
        }
        match self.revoke(&Revocation::blacklist(name, validity), true) {
            Ok(receipt) => Ok(receipt.map_or(0, |receipt| receipt.connections)),
            Err(RevokeError::Log(error)) => Err(error),
            Err(error) => Err(LogError(error.into())),
        }
    }

    /// Returns the position up to which the log held the operations of other nodes when it was
    /// loaded.
    pub fn position(&self) -> Position {
        self.0.position.get().copied().unwrap_or_default()
    }

    /// The log, for reading.
    pub fn log(&self) -> &dyn Log {
        &*self.0.log
    }

    /// Whether the session is illegal to use now, whatever its token.
    pub fn is_blacklisted(&self, name: &SessionName) -> bool {
        let key = self.0.fingerprints.of_session(name);
        self.shard(key).lock().bars(key, ALL, self.now())
    }

    /// Whether a token is illegal to use now. Good for an early answer; the one that counts is
    /// given by [`Sessions::register`].
    pub fn bars(&self, subject: &Subject) -> bool {
        let (now, age) = (self.now(), self.moment().earliest(subject.issued_at));
        subject.keys.iter().any(|key| self.shard(*key).lock().bars(*key, age, now))
    }

    /// Associates a connection with a session, which begins with its first connection. Dropping the
    /// guard undoes it.
    ///
    /// # Errors
    /// The session is blacklisted; the connection must not be let in.
    pub fn register_connection(
        &self,
        name: &SessionName,
        connection: Weak<impl Connection + 'static>,
    ) -> Result<Registration, Blacklisted> {
        self.register(&self.subject_of_session(name), connection)
    }

    /// Associates a connection with all that its token can be selected by. Dropping the guard
    /// undoes it.
    ///
    /// # Errors
    /// The token is barred by one of those; the connection must not be let in.
    pub fn register(
        &self,
        subject: &Subject,
        connection: Weak<impl Connection + 'static>,
    ) -> Result<Registration, Blacklisted> {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        Registration::new(self.clone(), subject, id, connection)
    }

    /// Takes out the connections whose tokens have ended, warns those whose tokens end soon, and
    /// forgets what has expired, a shard at a time; for a caller with a timer, about ten times a
    /// second. The connections are ended by the [`Kill`]s that it returns.
    #[must_use = "dropping a kill carries it out"]
    pub fn sweep(&self) -> Vec<Kill> {
        let now = self.now();
        let next = self.0.next_sweep.fetch_add(1, Ordering::Relaxed) as usize % self.0.shards.len();
        self.0.shards[next].lock().sweep(now);
        let mut kills = Vec::new();
        if self.warning().is_none() {
            return kills;
        }
        for shard in &self.0.shards {
            let due = shard.lock().due(now);
            let order = Order { bar: None, replaces: None, tokens: Tokens::ExpiredBy(now) };
            kills.extend(due.over.into_iter().map(|key| self.end(key, &order, Cause::Expired, None)));
            for (connection, expires) in due.soon {
                let left = expires.time().saturating_sub(now.time());
                // A panic is reported by its hook; the others must be warned all the same.
                drop(catch_unwind(AssertUnwindSafe(|| {
                    connection.upgrade().inspect(|connection| connection.session_expiring(left))
                })));
            }
        }
        kills
    }

    /// How many there are of everything. Each shard is counted at a moment of its own.
    pub fn counts(&self) -> Counts {
        let blacklisted_ever = self.0.blacklisted_ever.load(Ordering::Relaxed);
        let mut counts = Counts { blacklisted_ever, ..Counts::default() };
        for shard in &self.0.shards {
            let shard = shard.lock();
            counts.sessions += shard.sessions();
            counts.connections += shard.connections();
            counts.blacklisted += shard.blacklisted();
        }
        counts
    }

    pub(crate) fn shard(&self, key: Key) -> &Mutex<Shard> {
        &self.0.shards[key.fingerprint().shard(self.0.shards.len())]
    }

    pub(crate) fn fingerprints(&self) -> &Fingerprints {
        &self.0.fingerprints
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    pub(crate) fn now(&self) -> Tick {
        Tick::within(self.0.clock.now().saturating_duration_since(self.0.origin))
    }

    /// Now, as tokens tell their age.
    pub(crate) fn moment(&self) -> Moment {
        let leeway = match self.0.config.expiry() {
            Expiry::Ends { leeway, .. } => leeway,
            Expiry::Ignored => Duration::ZERO,
        };
        Moment::new(self.0.clock.wall(), leeway)
    }

    /// Returns the tick at which this time has passed.
    pub(crate) fn tick_after(&self, time: Duration) -> Tick {
        let now = self.0.clock.now().saturating_duration_since(self.0.origin);
        now.checked_add(time).map_or(Tick::NEVER, Tick::after)
    }

    /// Returns how many ticks before its token expires a connection is warned; `None` if tokens do
    /// not expire.
    pub(crate) fn warning(&self) -> Option<u32> {
        match self.0.config.expiry() {
            Expiry::Ends { warning, .. } => Some(Tick::within(warning).0),
            Expiry::Ignored => None,
        }
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("config", &self.0.config).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
