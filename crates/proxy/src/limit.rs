//! Rate limits: how often each session or address may ask an endpoint.
//!
//! A key has a bucket that holds as many requests as the limit allows, and fills up evenly within
//! its time (GCRA). So all may come at once, and after that no more than the limit's pace.

mod store;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use session::SessionName;

use self::store::BucketStore;
use crate::definition::{RateLimit, RateLimitBy};

/// The most keys that have a bucket of their own: about 10 MB of them. All keys beyond share one.
const MOST_KEYS: usize = 100_000;

/// With fewer keys than that, none is looked through.
const FEW_KEYS: usize = 1024;

/// Longest time of a limit: whoever asks for more gets a year.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Counts the requests to one endpoint.
///
/// It knows at most 100,000 keys. Those whose buckets are full again, as those of new keys are, are
/// shed from time to time; while there are too many others, all new keys together have one bucket
/// of the same size.
pub(crate) struct Limiter(KeyedLimiter<DefaultClock>);

/// Too many requests: 429, and another may come after this many seconds, at least one (RFC 9110,
/// section 10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Too many requests; another may come in {0} s.")]
pub(crate) struct RetryAfter(pub(crate) u64);

/// Who is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum LimitedParty {
    V4(Ipv4Addr),
    /// The first 64 bits: a single host has the rest to choose from (RFC 4291, section 2.5.1).
    V6(u64),
    Session(SessionName),
}

struct KeyedLimiter<C: Clock> {
    by: RateLimitBy,
    limiter: RateLimiter<LimitedParty, BucketStore<LimitedParty>, C, NoOpMiddleware<C::Instant>>,
    /// When keys were last shed.
    shed: Mutex<C::Instant>,
    shed_every: Duration,
}

impl Limiter {
    /// All buckets are full.
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self(KeyedLimiter::new(limit, MOST_KEYS, DefaultClock::default()))
    }

    /// Counts a request from this address, with a token of this session.
    ///
    /// # Errors
    /// Fails if it is one too many; it does not count then.
    pub(crate) fn check(&self, address: IpAddr, session: Option<&SessionName>) -> Result<(), RetryAfter> {
        self.0.check(address, session)
    }
}

impl LimitedParty {
    fn new(by: RateLimitBy, address: IpAddr, session: Option<&SessionName>) -> Self {
        match (by, session, address.to_canonical()) {
            (RateLimitBy::Session, Some(session), _) => Self::Session(session.clone()),
            (_, _, IpAddr::V4(address)) => Self::V4(address),
            (_, _, IpAddr::V6(address)) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

impl<C: Clock> KeyedLimiter<C> {
    fn new(limit: RateLimit, most_keys: usize, clock: C) -> Self {
        let within = limit.within.min(LONGEST);
        let pace = (within / limit.requests.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(pace).expect("the pace is above zero").allow_burst(limit.requests);
        let shed = Mutex::new(clock.now());
        Self {
            by: limit.by,
            limiter: RateLimiter::new(quota, BucketStore::new(most_keys), clock),
            shed,
            // After this time a bucket that is not used is full. A second or more, so that shedding
            // costs little.
            shed_every: within.clamp(Duration::from_secs(1), Duration::from_secs(60)),
        }
    }

    fn check(&self, address: IpAddr, session: Option<&SessionName>) -> Result<(), RetryAfter> {
        if self.limiter.len() >= FEW_KEYS {
            self.shed();
        }
        self.limiter.check_key(&LimitedParty::new(self.by, address, session)).map_err(|until| {
            let wait = until.wait_time_from(self.limiter.clock().now());
            RetryAfter((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
        })
    }

    /// Drops the keys whose buckets are full, if it is time. One caller does, and the others go on.
    fn shed(&self) {
        let Some(mut shed) = self.shed.try_lock() else { return };
        let now = self.limiter.clock().now();
        if Duration::from(now.duration_since(*shed)) >= self.shed_every {
            *shed = now;
            self.limiter.retain_recent();
        }
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("by", &self.0.by).field("keys", &self.0.limiter.len()).finish()
    }
}

#[cfg(test)]
mod tests;
