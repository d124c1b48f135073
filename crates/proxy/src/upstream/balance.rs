//! Selects a server of an API for each request, by weight and by health.
//!
//! A single server is always used. Among several, those that are unhealthy by their health check,
//! or ejected after failures in a row, are left out. If none would remain, all are tried: the
//! judgement is probably wrong, and if it is not, nothing is lost.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::definition::{Ejection, UpstreamConfig};

/// The step of the point with each request: its range times the golden ratio. So the points of any
/// run of consecutive requests are spread evenly, without a count for each server.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Selects servers of an API. A server is identified by its index in the definition.
#[derive(Debug)]
pub(super) struct Balancer {
    /// `None` if there is only one server.
    several: Option<Several>,
}

/// Sets of servers are bit sets: a definition has at most 64.
#[derive(Debug)]
struct Several {
    weights: Box<[u32]>,
    /// The servers with a weight, and the sum of all weights.
    weighted: u64,
    total: u64,
    ejection: Option<Ejection>,
    /// Where the next request falls on the line of all weights.
    point: AtomicU64,
    /// Servers that are unhealthy or ejected.
    left_out: AtomicU64,
    /// Servers whose state a success would change.
    failing: AtomicU64,
    standings: Mutex<Box<[Fitness]>>,
}

/// The state of a server.
#[derive(Clone, Copy, Debug)]
struct Fitness {
    /// The result of its health check.
    well: bool,
    trust: TrackRecord,
}

/// The state of a server by the outcomes of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TrackRecord {
    /// It gets its share of the requests. Counts failures in a row.
    Full(u32),
    /// It gets no requests until then.
    Ejected(Instant),
    /// It has got one request as a trial. If no outcome is known by then, it gets another one.
    Trial(Instant),
}

impl Balancer {
    pub(super) fn new(config: &UpstreamConfig) -> Self {
        let several = (config.targets.len() > 1).then(|| Several::new(config));
        Self { several }
    }

    /// Returns whether a request that has failed at one server can be sent to another one.
    pub(super) fn has_choice(&self) -> bool {
        self.several.is_some()
    }

    /// Returns a server for a request that was sent to `tried` already; `None` if no other is left.
    pub(super) fn pick(&self, tried: u64) -> Option<usize> {
        match &self.several {
            None => (tried == 0).then_some(0),
            Some(several) => several.pick(tried),
        }
    }

    /// Notes that a server has answered. Returns whether it is back in the rotation.
    pub(super) fn succeeded(&self, at: usize) -> bool {
        self.several.as_ref().is_some_and(|several| several.succeeded(at))
    }

    /// Notes that a server has failed. Returns whether that takes it out of the rotation.
    pub(super) fn failed(&self, at: usize) -> bool {
        self.several.as_ref().is_some_and(|several| several.failed(at))
    }

    /// Notes the result of a server's health check.
    pub(super) fn set_well(&self, at: usize, well: bool) {
        if let Some(several) = &self.several {
            several.change(at, |standing| standing.well = well);
        }
    }
}

impl Several {
    fn new(config: &UpstreamConfig) -> Self {
        let weights: Box<[u32]> = config.targets.iter().map(|target| target.weight).collect();
        let weighted = weights.iter().enumerate().filter(|(_, weight)| **weight > 0);
        let standings = vec![Fitness { well: true, trust: TrackRecord::Full(0) }; weights.len()];
        Self {
            weighted: weighted.fold(0, |set, (at, _)| set | 1 << at),
            total: weights.iter().copied().map(u64::from).sum(),
            weights,
            ejection: config.ejection,
            // Random, so that nodes do not all begin with the same server.
            point: AtomicU64::new(fastrand::u64(..)),
            left_out: AtomicU64::new(0),
            failing: AtomicU64::new(0),
            standings: Mutex::new(standings.into()),
        }
    }

    fn pick(&self, tried: u64) -> Option<usize> {
        let left = self.weighted & !tried;
        match self.left_out.load(Ordering::Relaxed) {
            0 => self.choose(left),
            left_out => self.pick_carefully(left, left_out),
        }
    }

    #[cold]
    fn pick_carefully(&self, left: u64, left_out: u64) -> Option<usize> {
        let now = Instant::now();
        let mut standings = self.standings.lock();
        let good = left & !left_out
            | members(left & left_out)
                .filter(|at| standings[*at].may_be_tried(now))
                .fold(0, |set, at| set | 1 << at);
        let Some(at) = self.choose(good) else { return self.choose(left) };
        if let Some(ejection) = &self.ejection
            && !matches!(standings[at].trust, TrackRecord::Full(_))
        {
            standings[at].trust = TrackRecord::Trial(now + ejection.time);
        }
        Some(at)
    }

    /// Returns one server of a set, in proportion to the weights.
    fn choose(&self, among: u64) -> Option<usize> {
        let total = match among == self.weighted {
            true => self.total,
            false => members(among).map(|at| u64::from(self.weights[at])).sum(),
        };
        let point = u128::from(self.point.fetch_add(STEP, Ordering::Relaxed));
        // Scales the point from its range to the line of the weights.
        let mut left = (point * u128::from(total)) >> 64;
        members(among).find(|at| {
            let weight = u128::from(self.weights[*at]);
            let here = left < weight;
            left = left.saturating_sub(weight);
            here
        })
    }

    fn succeeded(&self, at: usize) -> bool {
        if self.failing.load(Ordering::Relaxed) & 1 << at == 0 {
            return false;
        }
        self.change(at, |standing| match standing.trust {
            TrackRecord::Full(_) => {
                standing.trust = TrackRecord::Full(0);
                false
            }
            // An answer to a request from before the ejection.
            TrackRecord::Ejected(_) => false,
            TrackRecord::Trial(_) => {
                standing.trust = TrackRecord::Full(0);
                true
            }
        })
    }

    fn failed(&self, at: usize) -> bool {
        let Some(ejection) = self.ejection else { return false };
        self.change(at, |standing| {
            let ejected = TrackRecord::Ejected(Instant::now() + ejection.time);
            match standing.trust {
                TrackRecord::Full(failures) if failures + 1 < ejection.after => {
                    standing.trust = TrackRecord::Full(failures + 1);
                    false
                }
                TrackRecord::Full(_) => {
                    standing.trust = ejected;
                    true
                }
                TrackRecord::Ejected(_) => false,
                TrackRecord::Trial(_) => {
                    standing.trust = ejected;
                    false
                }
            }
        })
    }

    #[cold]
    fn change<T>(&self, at: usize, change: impl FnOnce(&mut Fitness) -> T) -> T {
        let mut standings = self.standings.lock();
        let result = change(&mut standings[at]);
        let Fitness { well, trust } = standings[at];
        set(&self.left_out, at, !well || !matches!(trust, TrackRecord::Full(_)));
        set(&self.failing, at, trust != TrackRecord::Full(0));
        result
    }
}

impl Fitness {
    /// Returns whether a server that is left out may get a request nevertheless.
    fn may_be_tried(&self, now: Instant) -> bool {
        let Self { well, trust } = *self;
        well && match trust {
            TrackRecord::Full(_) => true,
            TrackRecord::Ejected(until) | TrackRecord::Trial(until) => until <= now,
        }
    }
}

/// Adds a server to a set, or removes it.
fn set(of: &AtomicU64, at: usize, is_in: bool) {
    match is_in {
        true => of.fetch_or(1 << at, Ordering::Relaxed),
        false => of.fetch_and(!(1 << at), Ordering::Relaxed),
    };
}

/// Returns the indices in a set, in ascending order.
fn members(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = set.trailing_zeros();
        // Clears the lowest bit.
        set &= set.wrapping_sub(1);
        (at < u64::BITS).then_some(at as usize)
    })
}

#[cfg(test)]
mod tests;
