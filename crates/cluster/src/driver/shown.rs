//! What the rest of the node sees of the driver.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use seal::Incarnation;
use session::{NodeName, RevocationId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::core::{Outcome, Progress, WaitsFor};

/// What the rest of the node sees of the driver.
pub(crate) struct Shown {
    /// How far the operations of this life have got.
    progress: Mutex<HashMap<RevocationId, ShownProgress>>,
    /// The other lives that may have a lease.
    pub(super) live: Mutex<Vec<(NodeName, Incarnation)>>,
    /// Whether this node has had a lease.
    pub(crate) joined: watch::Sender<bool>,
    /// What this node waits for before it joins; `None` if nothing keeps it from that.
    pub(super) waits_for: Mutex<Option<WaitsFor>>,
    /// Whether the last beat was sent.
    pub(super) left: watch::Sender<bool>,
}

/// The progress of an operation, and when it began.
struct ShownProgress {
    since: Instant,
    last: watch::Sender<Progress>,
}

/// Limit of operations whose progress is shown.
const SHOWN: usize = 65_536;

impl Default for Shown {
    fn default() -> Self {
        let (joined, left) = (watch::Sender::new(false), watch::Sender::new(false));
        let (progress, live, waits_for) = Default::default();
        Self { progress, live, joined, waits_for, left }
    }
}

impl Shown {
    /// Returns the other lives that may have a lease.
    pub(crate) fn live(&self) -> Vec<(NodeName, Incarnation)> {
        self.live.lock().clone()
    }

    /// Returns whether another life may have a lease.
    pub(crate) fn is_live(&self, life: Incarnation) -> bool {
        self.live.lock().iter().any(|(_, live)| *live == life)
    }

    /// Returns whether the node has had a lease.
    pub(crate) fn has_joined(&self) -> bool {
        *self.joined.borrow()
    }

    /// Returns what the node waits for before it joins, if it is known.
    pub(crate) fn waits_for(&self) -> Option<WaitsFor> {
        *self.waits_for.lock()
    }

    /// Waits until the node has had its first lease.
    pub(crate) async fn joined(&self) {
        // The sender lives as long as this.
        let _ = self.joined.subscribe().wait_for(|joined| *joined).await;
    }

    /// Waits until the last beat was sent.
    pub(crate) async fn left(&self) {
        let _ = self.left.subscribe().wait_for(|left| *left).await;
    }

    /// Returns the progress of the last operation on an id.
    pub(crate) fn progress(&self, id: &RevocationId) -> Option<Progress> {
        self.progress.lock().get(id).map(|shown| shown.last.borrow().clone())
    }

    /// Shows the progress of an operation that begins now.
    pub(crate) fn begin(&self, id: RevocationId, progress: Progress) -> watch::Receiver<Progress> {
        let mut shown = self.progress.lock();
        if shown.len() >= SHOWN {
            shown.retain(|_, shown| !shown.last.borrow().is_final());
        }
        let (last, receiver) = watch::channel(progress);
        shown.insert(id, ShownProgress { since: Instant::now(), last });
        receiver
    }

    /// Shows progress. Returns how long the operation took, if it is complete now.
    pub(super) fn update(&self, id: &RevocationId, progress: Progress) -> Option<Duration> {
        let shown = self.progress.lock();
        let shown = shown.get(id)?;
        let complete = progress.outcome == Outcome::Complete;
        let before = shown.last.send_replace(progress).outcome;
        (complete && before != Outcome::Complete).then(|| shown.since.elapsed())
    }
}
