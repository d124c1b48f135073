//! Buckets are emptied, refilled, removed and shared, on a clock that the tests move.

use std::net::Ipv6Addr;
use std::num::NonZeroU32;

use governor::clock::FakeRelativeClock;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct Limit {
    buckets: KeyedLimiter<FakeRelativeClock>,
    clock: FakeRelativeClock,
}

impl Limit {
    fn new(requests: u32, within: Duration, by: RateLimitBy) -> Self {
        Self::with_keys(requests, within, by, MOST_KEYS)
    }

    fn with_keys(requests: u32, within: Duration, by: RateLimitBy, most: usize) -> Self {
        let clock = FakeRelativeClock::default();
        let limit = RateLimit { requests: NonZeroU32::new(requests).unwrap(), within, by };
        Self { buckets: KeyedLimiter::new(limit, most, clock.clone()), clock }
    }

    fn ask(&self, address: &str) -> Result<(), RetryAfter> {
        self.buckets.check(address.parse().unwrap(), None)
    }

    fn ask_in(&self, session: &str, address: &str) -> Result<(), RetryAfter> {
        self.buckets.check(address.parse().unwrap(), Some(&session.parse().unwrap()))
    }

    /// A request of another address each time.
    fn ask_as(&self, number: u32) -> Result<(), RetryAfter> {
        self.buckets.check(Ipv4Addr::from_bits(number).into(), None)
    }

    fn keys(&self) -> usize {
        self.buckets.limiter.len()
    }
}

#[test]
fn all_at_once_and_then_at_the_pace_of_the_limit() {
    let limit = Limit::new(3, 6 * SECOND, RateLimitBy::Address);
    for _ in 0..3 {
        assert_eq!(limit.ask("10.0.0.1"), Ok(()));
    }
    assert_eq!(limit.ask("10.0.0.1"), Err(RetryAfter(2)));
    limit.clock.advance(Duration::from_millis(500));
    assert_eq!(limit.ask("10.0.0.1"), Err(RetryAfter(2)), "1.5 s, rounded up");
    limit.clock.advance(Duration::from_millis(1499));
    assert_eq!(limit.ask("10.0.0.1"), Err(RetryAfter(1)), "1 ms, rounded up");
    limit.clock.advance(Duration::from_millis(1));
    assert_eq!(limit.ask("10.0.0.1"), Ok(()));
    assert_eq!(limit.ask("10.0.0.1"), Err(RetryAfter(2)), "what is refused does not count");
    limit.clock.advance(6 * SECOND);
    for _ in 0..3 {
        assert_eq!(limit.ask("10.0.0.1"), Ok(()));
    }
    assert!(limit.ask("10.0.0.1").is_err(), "an unused bucket holds no more than the limit");
}

#[test]
fn each_address_is_counted_by_itself() {
    let limit = Limit::new(1, SECOND, RateLimitBy::Address);
    assert_eq!(limit.ask_in("s", "10.0.0.1"), Ok(()));
    assert_eq!(limit.ask_in("t", "10.0.0.1"), Err(RetryAfter(1)), "whatever its session");
    assert_eq!(limit.ask_in("s", "10.0.0.2"), Ok(()));
    assert_eq!(limit.ask("::ffff:10.0.0.1"), Err(RetryAfter(1)), "an IPv4 address in another dress");
}

#[test]
fn an_ipv6_host_is_its_first_64_bits() {
    let limit = Limit::new(1, SECOND, RateLimitBy::Address);
    assert_eq!(limit.ask("2001:db8:0:1::1"), Ok(()));
    assert_eq!(limit.ask("2001:db8:0:1:ffff:ffff:ffff:ffff"), Err(RetryAfter(1)));
    assert_eq!(limit.ask("2001:db8:0:2::1"), Ok(()));
}

#[test]
fn each_session_is_counted_by_itself_and_without_one_the_address() {
    let limit = Limit::new(1, SECOND, RateLimitBy::Session);
    assert_eq!(limit.ask_in("s", "10.0.0.1"), Ok(()));
    assert_eq!(limit.ask_in("s", "10.0.0.2"), Err(RetryAfter(1)), "wherever it comes from");
    assert_eq!(limit.ask_in("t", "10.0.0.1"), Ok(()));
    assert_eq!(limit.ask("10.0.0.1"), Ok(()), "nothing of a session counts for its address");
    assert_eq!(limit.ask("10.0.0.1"), Err(RetryAfter(1)));
}

#[test]
fn full_buckets_are_shed_and_others_kept() {
    let limit = Limit::new(1, 10 * SECOND, RateLimitBy::Address);
    (0..5000).for_each(|number| assert_eq!(limit.ask_as(number), Ok(())));
    assert_eq!(limit.keys(), 5000);
    limit.clock.advance(9 * SECOND);
    assert_eq!(limit.ask_as(7), Err(RetryAfter(1)));
    assert_eq!(limit.ask_as(9000), Ok(()));
    assert_eq!(limit.keys(), 5001, "it is not time yet");
    limit.clock.advance(21 * SECOND);
    assert_eq!(limit.ask_as(9001), Ok(()));
    assert_eq!(limit.keys(), 1, "all were full but the new one");
    assert_eq!(limit.ask_as(7), Ok(()));
}

#[test]
fn a_bucket_that_is_not_full_is_never_shed() {
    let limit = Limit::new(10, 100 * SECOND, RateLimitBy::Address);
    (0..2000).for_each(|number| assert_eq!(limit.ask_as(number), Ok(())));
    (0..9).for_each(|_| assert_eq!(limit.ask_as(7), Ok(())));
    // The others fill up after 10 s; this one after 100 s.
    limit.clock.advance(61 * SECOND);
    assert_eq!(limit.ask_as(3000), Ok(()));
    assert_eq!(limit.keys(), 2);
    (0..6).for_each(|_| assert_eq!(limit.ask_as(7), Ok(())));
    assert_eq!(limit.ask_as(7), Err(RetryAfter(9)));
}

#[test]
fn beyond_the_bound_all_new_keys_share_a_bucket() {
    let limit = Limit::with_keys(2, 10 * SECOND, RateLimitBy::Address, 2000);
    (0..2000).for_each(|number| assert_eq!(limit.ask_as(number), Ok(())));
    assert_eq!(limit.ask_as(10_000), Ok(()));
    assert_eq!(limit.ask_as(10_001), Ok(()));
    assert_eq!(limit.ask_as(10_002), Err(RetryAfter(5)));
    assert_eq!(limit.keys(), 2000);
    assert_eq!(limit.ask_as(7), Ok(()), "known keys have what they had");
    assert_eq!(limit.ask_as(7), Err(RetryAfter(5)));
    limit.clock.advance(20 * SECOND);
    assert_eq!(limit.ask_as(10_002), Ok(()));
    assert_eq!(limit.keys(), 1, "with room again, it has a bucket of its own");
}

#[test]
fn the_store_gives_its_room_back() {
    let limit = Limit::new(1, SECOND, RateLimitBy::Address);
    (0..50_000).for_each(|number| assert_eq!(limit.ask_as(number), Ok(())));
    limit.clock.advance(3 * SECOND);
    assert_eq!(limit.ask_as(0), Ok(()));
    assert!(limit.buckets.limiter.into_state_store().capacity() < 1000);
}

#[test]
fn limits_of_any_size_are_counted() {
    for (requests, within) in [
        (1, Duration::ZERO),
        (1, Duration::MAX),
        (u32::MAX, Duration::MAX),
        (u32::MAX, Duration::from_nanos(1)),
        (u32::MAX, Duration::ZERO),
    ] {
        let limit = Limit::new(requests, within, RateLimitBy::Address);
        assert_eq!(limit.ask("10.0.0.1"), Ok(()), "{requests} in {within:?}");
        let _ = limit.ask("10.0.0.1");
    }
}

#[test]
fn the_limiter_of_the_room_runs_on_the_clock_of_the_machine() {
    let limit = RateLimit { requests: NonZeroU32::MIN, within: LONGEST, by: RateLimitBy::Address };
    let limiter = Limiter::new(limit);
    assert_eq!(limiter.check(Ipv6Addr::LOCALHOST.into(), None), Ok(()));
    let year = LONGEST.as_secs();
    assert_eq!(limiter.check(Ipv6Addr::LOCALHOST.into(), None), Err(RetryAfter(year)));
}

proptest! {
    /// For every sequence of requests: no interval admits more than a full bucket and the refill
    /// rate, and a request is admitted after the `RetryAfter` that was returned.
    #[test]
    fn no_more_than_the_limit(
        requests in 1_u32..20,
        seconds in 1_u64..100,
        pauses in prop::collection::vec(0_u64..5000, 1..200),
    ) {
        let limit = Limit::new(requests, Duration::from_secs(seconds), RateLimitBy::Address);
        let mut through = Vec::new();
        let mut now = Duration::ZERO;
        for pause in pauses {
            let pause = Duration::from_millis(pause);
            limit.clock.advance(pause);
            now += pause;
            match limit.ask("10.0.0.1") {
                Ok(()) => through.push(now),
                Err(RetryAfter(wait)) => {
                    limit.clock.advance(Duration::from_secs(wait));
                    now += Duration::from_secs(wait);
                    prop_assert_eq!(limit.ask("10.0.0.1"), Ok(()));
                    through.push(now);
                }
            }
        }
        for (at, first) in through.iter().enumerate() {
            for (count, last) in through[at..].iter().enumerate() {
                let paced = (*last - *first).as_secs_f64() * f64::from(requests) / (seconds as f64);
                prop_assert!(count as f64 <= f64::from(requests) - 1.0 + paced + 1e-6);
            }
        }
    }
}
