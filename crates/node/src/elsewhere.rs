//! What a client has missed that was connected to another node, as long as that node is alive.
//!
//! Each node has an order of its own, so the id of an event names a place in one of them. The nodes
//! receive the same events, though, and know them by their [`Stamp`](crate::Stamp)s. The node to
//! which the client has come asks the other one for what follows the id, and for what it had
//! received up to there. Then it looks for a [cut](cut::find): a place in each of the two orders
//! before which both have the same events. The client gets the events of the other node up to its
//! place, with their ids, and goes on from the place here. If there is none, it gets a gap.
//!
//! An answer holds if no event is on its way between two nodes for longer than [`KNOWN`].

mod answer;
mod ask;
mod begin;
mod cut;
mod ledger;
mod message;
mod numbers;

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use seal::Incarnation;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

pub(crate) use ledger::Ledger;
pub use numbers::Numbers;

use crate::bus::Stamp;
use crate::node::Node;
use message::Question;

/// How long the last stamp of a publisher has to be known at another node too.
const KNOWN: Duration = Duration::from_secs(120);

/// How long a client may wait for what it has missed.
const WITHIN: Duration = Duration::from_secs(2);

/// How long a node waits for events that another one has received already.
const CATCH_UP: Duration = Duration::from_millis(800);

/// How long it waits before it asks their publishers.
const PATIENCE: Duration = Duration::from_millis(20);

/// How often it looks whether they have come.
const LOOK: Duration = Duration::from_millis(2);

/// Limit of clients for which another node is asked at the same time.
const AT_ONCE: usize = 64;

/// Limit of series whose lives are remembered, and how long.
const SERIES: usize = 256;
const REMEMBERED: Duration = Duration::from_secs(1);

/// What a node knows of the orders of other nodes.
pub(crate) struct Elsewhere {
    pub(crate) ledger: Ledger,
    room: Semaphore,
    /// Which life continues a series, `None` if none does, and until when that holds.
    lives: Mutex<HashMap<u64, (Option<Incarnation>, Instant)>>,
}

impl Default for Elsewhere {
    fn default() -> Self {
        Self { ledger: Ledger::default(), room: Semaphore::new(AT_ONCE), lives: Mutex::default() }
    }
}

impl Elsewhere {
    fn life_of(&self, series: u64) -> Option<Option<Incarnation>> {
        let lives = self.lives.lock();
        lives.get(&series).filter(|(_, until)| Instant::now() < *until).map(|(life, _)| *life)
    }

    fn remember(&self, series: u64, life: Option<Incarnation>) {
        let mut lives = self.lives.lock();
        if lives.len() >= SERIES {
            lives.clear();
        }
        lives.insert(series, (life, Instant::now() + REMEMBERED));
    }
}

impl Node {
    /// Returns the stamps up to which this node has received everything in these buckets, or knows
    /// what was lost. Those that are older than `within` are left out.
    fn reached(&self, buckets: &[u16], within: Option<Duration>) -> Vec<Stamp> {
        self.ledger().reached(buckets, within)
    }

    /// Waits until this node has reached these stamps. Returns `false` if it does not in time.
    async fn reach(&self, stamps: &[Stamp], deadline: Instant) -> bool {
        let patience = Instant::now() + PATIENCE;
        let mut has_asked = false;
        loop {
            let missing = self.missing(stamps);
            if missing.is_empty() {
                return true;
            }
            let now = Instant::now();
            if now >= deadline {
                return false;
            }
            if now >= patience && !has_asked {
                has_asked = true;
                self.ask_for_heads(&missing, deadline - now);
            }
            sleep(LOOK).await;
        }
    }

    fn missing(&self, stamps: &[Stamp]) -> Vec<Stamp> {
        let mut buckets: Vec<u16> = stamps.iter().map(|stamp| stamp.bucket).collect();
        buckets.sort_unstable();
        buckets.dedup();
        cut::not_reached(stamps, &self.reached(&buckets, None))
    }

    /// Has the publishers of these stamps tell what they have sent last: either something is still
    /// on its way, or it was lost.
    fn ask_for_heads(&self, stamps: &[Stamp], within: Duration) {
        let mut by_life: HashMap<Incarnation, Vec<u16>> = HashMap::new();
        for stamp in stamps {
            by_life.entry(stamp.life).or_default().push(stamp.bucket);
        }
        for (life, buckets) in by_life {
            let (node, question) = (self.clone(), Question::Heads(buckets).to_bytes());
            tokio::spawn(async move {
                // A publisher that does not answer sends none.
                let _ = node.ask_elsewhere_of(life, &question, within).await;
            });
        }
    }

    /// Returns the buckets of types; `None` if events have no stamps.
    fn buckets_of<'t>(&self, types: impl Iterator<Item = &'t str>) -> Option<Vec<u16>> {
        let bus = self.bus()?;
        let mut buckets = types.map(|event_type| bus.bucket_of(event_type)).collect::<Option<Vec<u16>>>()?;
        buckets.sort_unstable();
        buckets.dedup();
        Some(buckets)
    }
}
