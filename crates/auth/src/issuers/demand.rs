//! Requests to fetch a key set now, because a token names a key that is not in it.
//!
//! Anyone can send such tokens. So the fetches are few, requests share them, and a `kid` that a
//! fetch did not bring causes no further one for a while.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

/// How many fetches may be requested at once.
const BURST: u32 = 3;

/// How often one more fetch may be requested, up to [`BURST`].
const REFILL: Duration = Duration::from_secs(30);

/// Limit of the remembered `kid`s. More are not remembered; [`BURST`] and [`REFILL`] bound their
/// fetches.
const MAX_ABSENT: usize = 128;

/// What became of a request for a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refetched {
    /// The key set was fetched: the token is to be verified again.
    Fetched,
    /// It was fetched, and as before the last regular fetch no key has this `kid`.
    Missing,
    /// A fetch has shown that no key has this `kid`, and there was no regular fetch since.
    Absent,
    /// Too many fetches were requested.
    Limited,
    /// The fetch failed, or did not end in time.
    Failed,
}

impl Refetched {
    /// Returns what became of the request, as one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Missing => "missing",
            Self::Absent => "absent",
            Self::Limited => "limited",
            Self::Failed => "failed",
        }
    }
}

/// The requests of one issuer.
#[derive(Debug)]
pub(super) struct Demand {
    state: Mutex<State>,
    hasher: RandomState,
    wake: Notify,
    /// Notified at the first refusal since a regular fetch.
    hurry: Notify,
    ended: watch::Sender<Ended>,
}

#[derive(Debug)]
struct State {
    /// How many fetches may be requested, and since when.
    left: u32,
    counted_at: Option<Instant>,
    /// A fetch was requested and has not begun.
    is_wanted: bool,
    /// Number of fetches that have begun; the last of them is the running one, if any is.
    begun: u64,
    is_running: bool,
    /// A request was refused since the last regular fetch.
    has_refused: bool,
    /// `kid`s that a fetch did not bring, hashed: their length is the choice of others.
    absent: HashSet<u64>,
    /// Those that were absent when they were last forgotten.
    absent_before: HashSet<u64>,
    /// The fetch that the `kid`s were last forgotten at.
    forgotten_at: u64,
    report: Report,
}

/// The last fetch that has ended.
#[derive(Clone, Copy, Debug, Default)]
struct Ended {
    number: u64,
    is_good: bool,
}

/// What is known of the requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnknownKeys {
    /// Tokens that named a key that is not in the key set.
    pub tokens: u64,
    /// Fetches that they caused.
    pub fetches: u64,
    /// Different `kid`s that are known to be absent until the next regular fetch.
    pub absent: usize,
    /// What became of the last request, and how long ago.
    pub last: Option<(Refetched, Duration)>,
}

#[derive(Debug, Default)]
struct Report {
    tokens: u64,
    fetches: u64,
    last: Option<(Refetched, Instant)>,
}

/// A fetch to wait for.
struct Awaited {
    number: u64,
    /// It begins after the request, so that its result is conclusive. Another may have been
    /// answered before the issuer had the key.
    is_new: bool,
}

impl Default for Demand {
    fn default() -> Self {
        let state = State {
            left: BURST,
            counted_at: None,
            is_wanted: false,
            begun: 0,
            is_running: false,
            has_refused: false,
            absent: HashSet::new(),
            absent_before: HashSet::new(),
            forgotten_at: 0,
            report: Report::default(),
        };
        Self {
            state: Mutex::new(state),
            hasher: RandomState::new(),
            wake: Notify::new(),
            hurry: Notify::new(),
            ended: watch::Sender::new(Ended::default()),
        }
    }
}

impl Demand {
    /// Requests a fetch for the `kid` of a token, or for one without, and waits for its end.
    /// `is_known` returns whether the current key set has the `kid`. The fetch goes on if this
    /// future is dropped.
    pub(super) async fn refetched(
        &self,
        kid: Option<&str>,
        within: Duration,
        is_known: impl Fn() -> bool,
    ) -> Refetched {
        let hash = self.hasher.hash_one(kid);
        let fetched = self.wait(hash, Instant::now() + within, is_known).await;
        let mut state = self.state.lock();
        state.report.tokens += 1;
        state.report.last = Some((fetched, Instant::now()));
        fetched
    }

    async fn wait(&self, hash: u64, deadline: Instant, is_known: impl Fn() -> bool) -> Refetched {
        let begun_before = self.state.lock().begun;
        // Fetched since the caller has looked.
        if is_known() {
            return Refetched::Fetched;
        }
        loop {
            let awaited = match self.request(hash, begun_before) {
                Ok(awaited) => awaited,
                Err(refused) => {
                    if !mem::replace(&mut self.state.lock().has_refused, true) {
                        self.hurry.notify_one();
                    }
                    return refused;
                }
            };
            let mut ended = self.ended.subscribe();
            let ended = timeout_at(deadline, ended.wait_for(|ended| ended.number >= awaited.number)).await;
            match ended.map(|ended| ended.map(|ended| ended.is_good)) {
                Ok(Ok(true)) => {}
                _ => return Refetched::Failed,
            }
            if is_known() {
                return Refetched::Fetched;
            }
            if awaited.is_new {
                let was_missing = self.remember(hash, awaited.number);
                return if was_missing { Refetched::Missing } else { Refetched::Fetched };
            }
        }
    }

    /// Returns the fetch to wait for, and requests one if none is under way.
    fn request(&self, hash: u64, begun_before: u64) -> Result<Awaited, Refetched> {
        let mut state = self.state.lock();
        if state.absent.contains(&hash) {
            return Err(Refetched::Absent);
        }
        if state.is_running {
            return Ok(Awaited { number: state.begun, is_new: state.begun > begun_before });
        }
        if !state.is_wanted {
            if !state.take() {
                return Err(Refetched::Limited);
            }
            state.is_wanted = true;
            state.report.fetches += 1;
            self.wake.notify_one();
        }
        Ok(Awaited { number: state.begun + 1, is_new: true })
    }

    /// Remembers a `kid` that a fetch did not bring, unless a regular one has ended since. Returns
    /// `true` if it was absent before the last regular one already.
    fn remember(&self, hash: u64, number: u64) -> bool {
        let mut state = self.state.lock();
        if number >= state.forgotten_at && state.absent.len() < MAX_ABSENT {
            state.absent.insert(hash);
        }
        state.absent_before.contains(&hash)
    }

    /// Waits until a fetch has ended, good or not; returns at once if one has before.
    pub(super) async fn first_ended(&self, deadline: Instant) {
        let mut ended = self.ended.subscribe();
        let _ = timeout_at(deadline, ended.wait_for(|ended| ended.number > 0)).await;
    }

    /// Returns `true` if a fetch has ended, good or not.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.borrow().number > 0
    }

    /// Waits until a fetch is requested.
    pub(super) async fn requested(&self) {
        while !self.state.lock().is_wanted {
            self.wake.notified().await;
        }
    }

    /// Waits until a request is refused, for the first time since the last regular fetch.
    pub(super) async fn refused(&self) {
        self.hurry.notified().await;
    }

    /// Notes that a fetch begins. It serves all requests that wait for one.
    pub(super) fn begin(&self) {
        let mut state = self.state.lock();
        state.begun += 1;
        state.is_running = true;
        state.is_wanted = false;
    }

    /// Notes that the fetch has ended. What it brought must be in force by now.
    pub(super) fn end(&self, is_good: bool, is_regular: bool) {
        let mut state = self.state.lock();
        state.is_running = false;
        if is_good && is_regular {
            state.absent_before = mem::take(&mut state.absent);
            state.has_refused = false;
            state.forgotten_at = state.begun;
        }
        // While the state is locked, so that no request sees a fetch that neither runs nor has
        // ended.
        self.ended.send_replace(Ended { number: state.begun, is_good });
    }

    /// Returns `true` if a `kid` was found absent since the last regular fetch.
    pub(super) fn has_absent(&self) -> bool {
        !self.state.lock().absent.is_empty()
    }

    pub(super) fn report(&self) -> UnknownKeys {
        let state = self.state.lock();
        UnknownKeys {
            tokens: state.report.tokens,
            fetches: state.report.fetches,
            absent: state.absent.len(),
            last: state.report.last.map(|(fetched, at)| (fetched, at.elapsed())),
        }
    }
}

impl State {
    /// Takes one of the fetches that may be requested. A token bucket of our own, since the clocks
    /// of governor cannot be paused.
    fn take(&mut self) -> bool {
        let now = Instant::now();
        let since = *self.counted_at.get_or_insert(now);
        let refills = u32::try_from((now - since).as_secs() / REFILL.as_secs()).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(refills).min(BURST);
        self.counted_at = Some(since + REFILL * refills);
        if self.left == BURST {
            self.counted_at = Some(now);
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}
