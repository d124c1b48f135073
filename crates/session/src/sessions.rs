//! The sessions of a node.

use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::{Clock, Monotonic};
use crate::config::{ClaimError, Config};
use crate::log::{Log, LogError, MemoryLog, Revocation};
use crate::name::SessionName;
use crate::shard::{Member, Shard};
use crate::sync::Mutex;

/// What belongs to a session and ends with it.
pub trait Connection: Send + Sync {
    /// The session is no longer legal: terminate, and send nothing more.
    ///
    /// Called outside every lock of this room, by the thread that revokes. Must not block. When it has returned, the
    /// revocation counts as carried out for this connection.
    fn session_killed(&self, session: &SessionName);
}

/// The session is blacklisted; nothing was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session is blacklisted")]
pub struct Blacklisted;

/// What a revocation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Connections that were told.
    pub connections: usize,
}

/// How many there are of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions with at least one connection.
    pub sessions: usize,
    /// Registrations, all sessions together.
    pub connections: usize,
    /// Entries of the blacklist; those expired within the last sweep's time included.
    pub blacklisted: usize,
    /// Entries ever made.
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

/// Parts of the registry, each behind a lock of its own.
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
    /// Zero is no time, and does nothing. A validity beyond what the clock can count means for ever.
    ///
    /// # Errors
    /// The log did not keep the revocation. Nothing is applied then, so that a caller who is told of a failure does not
    /// find a session revoked that a restart would let in again.
    pub fn blacklist(&self, name: &SessionName, validity: Duration) -> Result<Applied, LogError> {
        if validity.is_zero() {
            return Ok(Applied { connections: 0 });
        }
        let revocation = Revocation { session: name.clone(), validity };
        self.0.log.append(&revocation)?;
        Ok(self.apply(revocation))
    }

    /// The one way a session ends: records the revocation, then kills the connections, whoever asked for it (an operator,
    /// the log of an earlier life, another node).
    ///
    /// A connection that panics when it is told does not keep the others from being told.
    pub fn apply(&self, revocation: Revocation) -> Applied {
        let Revocation { session, validity } = revocation;
        let now = self.0.clock.now();
        let (new, members) =
            self.shard(&session).lock().revoke(session.clone(), now.checked_add(validity), now);
        if new {
            self.0.blacklisted_ever.fetch_add(1, Ordering::Relaxed);
        }
        let mut connections = 0;
        // Outside the lock: a connection that is told may drop its registrations.
        for connection in members.iter().filter_map(|member| member.connection.upgrade()) {
            connections += 1;
            let told = catch_unwind(AssertUnwindSafe(|| connection.session_killed(&session)));
            drop(told);
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
        let member = Member { id, connection };
        self.shard(name).lock().register(name, member, self.0.clock.now())?;
        Ok(Registration { sessions: self.clone(), name: name.clone(), id })
    }

    /// Forgets what has expired, a shard at a time; for a caller with a timer, about once a second.
    pub fn sweep(&self) {
        let now = self.0.clock.now();
        self.0.shards.iter().for_each(|shard| shard.lock().sweep(now));
    }

    /// How many there are of everything.
    pub fn counts(&self) -> Counts {
        let blacklisted_ever = self.0.blacklisted_ever.load(Ordering::Relaxed);
        self.0.shards.iter().fold(Counts { blacklisted_ever, ..Counts::default() }, |all, shard| {
            let (sessions, connections, blacklisted) = shard.lock().counts();
            Counts {
                sessions: all.sessions + sessions,
                connections: all.connections + connections,
                blacklisted: all.blacklisted + blacklisted,
                ..all
            }
        })
    }

    fn shard(&self, name: &SessionName) -> &Mutex<Shard> {
        let hash = self.0.hasher.hash_one(name);
        &self.0.shards[hash as usize % self.0.shards.len()]
    }
}

/// A connection's place in its session, given up when dropped.
#[must_use = "dropping it unregisters the connection"]
pub struct Registration {
    sessions: Sessions,
    name: SessionName,
    id: u64,
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
