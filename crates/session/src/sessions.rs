//! The sessions of a node.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use crate::age::{ALL, Moment};
use crate::clock::{Clock, Monotonic, Tick};
use crate::config::{ClaimError, Config, Expiry};
use crate::connection::{Blacklisted, Cause, Closed, Connection};
use crate::kill::Kill;
use crate::log::{Entry, Log, LogError};
use crate::members::Tokens;
use crate::memory_log::MemoryLog;
use crate::name::SessionName;
use crate::place::Position;
use crate::revocation::{Revocation, RevocationId, Seq};
use crate::selector::{Fingerprints, Key, Selected, Selector};
use crate::shard::{Order, Shard};
use crate::subject::{Registration, Subject, Verified};
use crate::sync::Mutex;

mod revoking;

use revoking::Unrecorded;
pub use revoking::{Accepted, Affected, RevokeError};

/// Numbers of sessions, connections and entries of the blacklist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions with at least one connection.
    pub sessions: usize,
    /// Registrations in all sessions.
    pub connections: usize,
    /// Entries of the blacklist, including those that have expired since the last sweep.
    pub blacklisted: usize,
    /// How many times legal tokens became illegal.
    pub blacklisted_ever: u64,
}

/// All sessions of a node. Clones share the same sessions.
#[derive(Clone)]
pub struct Sessions(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    config: Config,
    /// By how much the clock of an issuer may be ahead.
    leeway: Duration,
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
    unrecorded_by_id: Mutex<HashMap<RevocationId, Vec<Unrecorded>>>,
    position: OnceLock<Position>,
    blacklisted_ever: AtomicU64,
    closed: OnceLock<Closed>,
    /// Called before a revocation is put in force.
    revoking: OnceLock<Revoking>,
}

/// Called with what a revocation selects.
type Revoking = Arc<dyn Fn(&Selector) + Send + Sync>;

/// The number of parts of the registry, each behind its own lock: far more than there are threads,
/// so that threads seldom contend for one, and each part small enough that sweeping or growing it
/// causes no noticeable pause.
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
            leeway: config.longest_leeway(),
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
            revoking: OnceLock::new(),
        }));
        let position = sessions.load()?;
        sessions.0.position.get_or_init(|| position);
        Ok(sessions)
    }

    fn load(&self) -> Result<Position, LogError> {
        let mut unknown = BTreeSet::new();
        let position = self.0.log.load(&mut |entry| {
            // The configuration may have changed.
            if let Entry::Revoked { revocation, .. } = &entry
                && self.0.config.check(&revocation.selector).is_err()
            {
                return unknown.extend(revocation.selector.claim().map(str::to_owned));
            }
            // The log already holds the receipt from when it was first applied.
            self.apply(&entry).without_receipt().finish();
        })?;
        if !unknown.is_empty() {
            let claims = unknown.into_iter().collect::<Vec<_>>().join(", ");
            let reason = format!(
                "it holds revocations by {claims}, which is not configured any more and cannot enforce them; \
                 list it in REVOCATION_CLAIMS until they have expired"
            );
            return Err(LogError(reason.into()));
        }
        Ok(position)
    }

    /// Returns sessions whose blacklist is only in memory.
    pub fn in_memory(config: Config) -> Self {
        Self::new(config, MemoryLog::new()).expect("there is nothing to load")
    }

    /// Registers a callback that runs when all connections of a revocation are closed. It receives
    /// the time since the revocation was requested. Only the first callback counts.
    pub fn on_closed(&self, closed: impl Fn(Duration) + Send + Sync + 'static) {
        // A second callback is a programming error and ignored, as documented.
        let _ = self.0.closed.set(Arc::new(closed));
    }

    /// Registers an observer of what is revoked. It receives the selector of each revocation and
    /// disconnect right before it is put in force, whatever brings it: an operator, another node,
    /// or a log that fails. Not those by marks, and not those of the log that was loaded at the
    /// start. It may be called more than once for the same revocation. Only the first observer
    /// counts.
    ///
    /// The selector has the form of [`Subject::selectors`]: if it selects a token, its issuer, its
    /// claim and its value are among those of the token.
    ///
    /// The observer runs on the thread that revokes, outside every lock of this crate. If it
    /// panics, the revocation is put in force all the same.
    pub fn on_revocation(&self, observer: Arc<dyn Fn(&Selector) + Send + Sync>) {
        // A second observer is a programming error and ignored, as documented.
        let _ = self.0.revoking.set(observer);
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Returns the session that a token names, by the session claim of its issuer.
    ///
    /// # Errors
    /// Fails if the session claim is missing or cannot name a session.
    pub fn session_of<'t>(&self, token: impl Into<Verified<'t>>) -> Result<SessionName, ClaimError> {
        let Verified { issuer, claims, .. } = token.into();
        self.0.config.session_name(issuer, claims)
    }

    /// Makes a session illegal to use for this time and terminates its connections, which have all
    /// been notified when it returns. Returns how many were terminated.
    ///
    /// A validity of zero does nothing (RIG). A validity beyond what the clock can count never
    /// expires. If a session is revoked several times, the longest validity counts: a later,
    /// shorter one takes nothing back. Blocks for as long as the log does.
    ///
    /// # Errors
    /// Fails if the log did not store the revocation. It is in force all the same, on this node and
    /// until the process exits: the connections are terminated, and the caller learns that a
    /// restart would lose the revocation. Trying again is harmless.
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

    /// Returns the log, for reading.
    pub fn log(&self) -> &dyn Log {
        &*self.0.log
    }

    /// Returns `true` if the session is illegal to use now, whatever its token.
    pub fn is_blacklisted(&self, name: &SessionName) -> bool {
        let key = self.0.fingerprints.of_session(None, name);
        self.shard(key).lock().bars(key, ALL, self.now())
    }

    /// Returns `true` if a token is illegal to use now. Use this to refuse early only:
    /// [`Sessions::register`] checks again, under the lock, and that check decides.
    pub fn bars(&self, subject: &Subject) -> bool {
        let (now, age) = (self.now(), self.moment().earliest(subject.issued_at));
        let mut keys = subject.keys.iter().filter(|key| key.is_selectable());
        keys.any(|key| self.shard(*key).lock().bars(*key, age, now))
    }

    /// Registers a connection with a session. Dropping the guard unregisters it.
    ///
    /// # Errors
    /// Fails if the session is blacklisted; the connection must be refused.
    pub fn register_connection(
        &self,
        name: &SessionName,
        connection: Weak<impl Connection + 'static>,
    ) -> Result<Registration, Blacklisted> {
        self.register(&self.subject_of_session(name), connection)
    }

    /// Registers a connection under everything that its token can be selected by. Dropping the
    /// guard unregisters it.
    ///
    /// # Errors
    /// Fails if a revocation selects the token; the connection must be refused.
    pub fn register(
        &self,
        subject: &Subject,
        connection: Weak<impl Connection + 'static>,
    ) -> Result<Registration, Blacklisted> {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        Registration::new(self.clone(), subject, id, connection)
    }

    /// Takes out the connections whose tokens have expired and warns those whose tokens expire
    /// soon. Removes expired entries of the blacklist, from one shard per call. Call it from a
    /// timer, about ten times a second. The [`Kill`]s that it returns terminate the connections.
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
            kills.extend(due.expired.into_iter().map(|key| self.end(key, &order, Cause::Expired, None)));
            for (connection, expires) in due.soon {
                let left = expires.time().saturating_sub(now.time());
                // The panic hook reports a panic; the other connections must be warned all the
                // same.
                drop(catch_unwind(AssertUnwindSafe(|| {
                    connection.upgrade().inspect(|connection| connection.session_expiring(left))
                })));
            }
        }
        kills
    }

    /// Counts sessions, connections and entries of the blacklist. Shards are counted one after the
    /// other, so the numbers are not a snapshot.
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

    /// Returns the key of what a selector selects. One of an earlier configuration may name the
    /// session by its claim.
    pub(crate) fn key_of(&self, selector: &Selector) -> Key {
        let prints = &self.0.fingerprints;
        let Selector { issuer, of } = self.canonical(selector);
        let scope = issuer.as_deref();
        match &of {
            Selected::Session(name) => prints.of_session(scope, name),
            Selected::Claim { claim, value } => prints.of_claim(scope, claim, value.as_str()),
            Selected::Mark { kind, value } => prints.of_mark(scope, kind, value.as_str()),
        }
    }

    /// Returns the selector of the same tokens in its one form: a claim that names the session is
    /// the session, an alias is the issuer, and the only issuer is none.
    pub(crate) fn canonical(&self, selector: &Selector) -> Selector {
        let config = &self.0.config;
        let issuer = selector.issuer.as_deref();
        let of = match &selector.of {
            Selected::Claim { claim, value } if config.names_session(issuer, claim) => {
                Selected::Session(value.clone())
            }
            of => of.clone(),
        };
        Selector { issuer: config.scope(issuer).map(Arc::from), of }
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    pub(crate) fn now(&self) -> Tick {
        Tick::within(self.0.clock.now().saturating_duration_since(self.0.origin))
    }

    /// Returns the current moment, against which the `iat` of tokens is judged.
    pub(crate) fn moment(&self) -> Moment {
        Moment::new(self.0.clock.wall(), self.0.leeway)
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
