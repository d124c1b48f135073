//! Rate limits: how often each session or address may request an endpoint.
//!
//! Each key has a bucket that holds as many requests as the limit allows, and is refilled evenly
//! within its time (GCRA). So all requests may come at once, and after that no more than the refill
//! rate.

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

/// Limit of the keys with buckets of their own: about 10 MB. All further keys share one bucket.
const MOST_KEYS: usize = 100_000;

/// Below this number of keys, full buckets are not searched for.
const FEW_KEYS: usize = 1024;

/// Upper limit of a rate limit's time: anything longer counts as a year.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Counts the requests to one endpoint.
///
/// Tracks at most 100,000 keys. Keys with full buckets, which equal new ones, are removed from time
/// to time. While there are too many others, all new keys share one bucket of the same size.
pub(crate) struct Limiter(KeyedLimiter<DefaultClock>);

/// Too many requests (429). Another one is allowed after this many seconds, at least one (RFC 9110,
/// section 10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Too many requests; another may come in {0} s.")]
pub(crate) struct RetryAfter(pub(crate) u64);

/// The key by which a request is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum LimitedParty {
    V4(Ipv4Addr),
    /// The first 64 bits: a single host may use any of the others (RFC 4291, section 2.5.1).
    V6(u64),
    Session(SessionName),
}

struct KeyedLimiter<C: Clock> {
    by: RateLimitBy,
    limiter: RateLimiter<LimitedParty, BucketStore<LimitedParty>, C, NoOpMiddleware<C::Instant>>,
    /// When full buckets were last removed.
    shed: Mutex<C::Instant>,
    shed_every: Duration,
}

impl Limiter {
    /// Creates a limiter whose buckets are full.
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self(KeyedLimiter::new(limit, MOST_KEYS, DefaultClock::default()))
    }

    /// Counts a request from this address, with a token of this session.
    ///
    /// # Errors
    /// Fails if it exceeds the limit; such a request is not counted.
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
            // After this time an unused bucket is full. At least a second, so that the removal
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

    /// Removes keys with full buckets, if it is due. One caller does it, and the others do not
    /// wait.
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
