//! The sessions of a node.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::{Clock, Monotonic};
use crate::config::{ClaimError, Config};
use crate::connection::{Blacklisted, Connection};
use crate::log::{Log, LogError, MemoryLog, Revocation};
use crate::members::{Id, Members};
use crate::name::SessionName;
use crate::shard::Shard;
use crate::sync::Mutex;

/// What a revocation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Connections that it ended. Of several revocations at the same time, each connection is counted by one.
    pub connections: usize,
}

/// How many there are of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions with at least one connection.
    pub sessions: usize,
    /// Registrations, all sessions together.
    pub connections: usize,
    /// Entries of the blacklist; those included that have expired since the last sweep.
    pub blacklisted: usize,
    /// Times that a legal session became illegal.
    pub blacklisted_ever: u64,
}

/// All sessions of a node. Clones are the same sessions.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    config: Config,
    log: Box<dyn Log>,
    clock: Box<dyn Clock>,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    next_id: AtomicU64,
    blacklisted_ever: AtomicU64,
}

/// Parts of the registry, each behind a lock of its own. Many more than there are threads to meet at one.
const SHARDS: usize = if cfg!(feature = "loom") { 1 } else { 64 };

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
        let kept = log.load()?;
        let sessions = Self(Arc::new(Inner {
            config,
            log: Box::new(log),
            clock: Box::new(clock),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            next_id: AtomicU64::new(0),
            blacklisted_ever: AtomicU64::new(0),
        }));
        for revocation in kept {
            sessions.apply(revocation);
        }
        Ok(sessions)
    }

    /// Sessions whose blacklist lives as long as they do.
    pub fn in_memory(config: Config) -> Self {
        Self::new(config, MemoryLog).expect("there is nothing to load")
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

    /// Makes a session illegal to use for this time, and terminates its connections: all have been told when it returns.
    ///
    /// Zero is no time, and does nothing (RIG). A validity beyond what the clock can count means for ever. Of several
    /// revocations of a session the one that lasts longest counts: a later, shorter one takes nothing back. Blocks for
    /// as long as the log does.
    ///
    /// # Errors
    /// The log did not keep the revocation. It is in force all the same, on this node and until the process ends: who
    /// was to be thrown out is out, and the caller knows that it may not last. Trying again is harmless.
    pub fn blacklist(&self, name: &SessionName, validity: Duration) -> Result<Applied, LogError> {
        if validity.is_zero() {
            return Ok(Applied::default());
        }
        let revocation = Revocation { session: name.clone(), validity };
        let kept = self.0.log.append(&revocation);
        let applied = self.apply(revocation);
        kept.map(|()| applied)
    }

    /// The one way a session ends: records the revocation, then tells the connections, whoever asked for it (an
    /// operator, the log of an earlier life, another node). The log is not told.
    ///
    /// A revocation with no validity left, because it was long on its way, still ends the connections: it was meant for
    /// them. A connection that panics when it is told does not keep the others from being told.
    pub fn apply(&self, revocation: Revocation) -> Applied {
        let Revocation { session, validity } = revocation;
        let shard = self.shard(&session);
        let now = self.0.clock.now();
        let revoked = shard.lock().revoke(&session, now.checked_add(validity), now);
        if revoked.new {
            self.0.blacklisted_ever.fetch_add(1, Ordering::Relaxed);
        }
        // Outside the lock: a connection that is told may drop its registrations.
        let connections = revoked.taken.as_deref().map_or(0, |members| tell(members, &session));
        // Another revocation may not have come this far yet. Nothing may be sent once this one has returned either.
        for members in &revoked.ending {
            tell(members, &session);
        }
        if let Some(taken) = &revoked.taken {
            shard.lock().told(taken);
        }
        Applied { connections }
    }

    /// Whether the session is illegal to use now.
    pub fn is_blacklisted(&self, name: &SessionName) -> bool {
        self.shard(name).lock().is_blacklisted(name, self.0.clock.now())
    }

    /// Associates a connection with a session, which begins with its first connection. Dropping the guard undoes it.
    ///
    /// # Errors
    /// The session is blacklisted; the connection must not be let in.
    pub fn register_connection(
        &self,
        name: &SessionName,
        connection: Weak<impl Connection + 'static>,
    ) -> Result<Registration, Blacklisted> {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        self.shard(name).lock().register(name, id, connection, self.0.clock.now())?;
        Ok(Registration { sessions: self.clone(), name: name.clone(), id })
    }

    /// Forgets what has expired, a shard at a time; for a caller with a timer, about once a second.
    pub fn sweep(&self) {
        let now = self.0.clock.now();
        self.0.shards.iter().for_each(|shard| shard.lock().sweep(now));
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

    fn shard(&self, name: &SessionName) -> &Mutex<Shard> {
        let hash = self.0.hasher.hash_one(name);
        &self.0.shards[hash as usize % self.0.shards.len()]
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("config", &self.0.config).finish_non_exhaustive()
    }
}

/// Tells the connections that are still there, and counts them.
fn tell(members: &Members, session: &SessionName) -> usize {
    let mut told = 0;
    for connection in members.alive() {
        told += 1;
        // The connection moves in, for its own drop may panic too. The panic hook has reported it: go on to the next.
        drop(catch_unwind(AssertUnwindSafe(move || connection.session_killed(session))));
    }
    told
}

/// A connection's place in its session, given up when dropped.
#[must_use = "dropping it unregisters the connection"]
#[derive(Debug)]
pub struct Registration {
    sessions: Sessions,
    name: SessionName,
    id: Id,
}

impl Registration {
    /// The session.
    pub fn session(&self) -> &SessionName {
        &self.name
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.sessions.shard(&self.name).lock().unregister(&self.name, self.id);
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
