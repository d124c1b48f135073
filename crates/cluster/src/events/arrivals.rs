//! Begins and stops to receive buckets.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use node::{Node, Numbers};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::EventWire;

/// How often subscriptions to buckets are compared with those of clients.
pub(super) const SWEEP: Duration = Duration::from_secs(20);

/// How long a node receives a bucket that it was not asked for. Longer than the pause between two
/// sweeps: a type whose events are kept is asked for by each, though its last subscriber has left.
pub(super) const LINGER: Duration = Duration::from_secs(60);
const _: () = assert!(LINGER.as_secs() >= 2 * SWEEP.as_secs());

/// The buckets that this node receives.
pub(super) struct Arrivals {
    wire: Arc<dyn EventWire>,
    /// Whether each bucket is subscribed to when it is wanted.
    is_selective: bool,
    /// Set when events are received.
    pub(super) node: OnceLock<Node>,
    pub(super) numbers: Numbers,
    wanted: Mutex<HashMap<u16, Wanted>>,
    /// Buckets that are subscribed to, and whose numbers the other nodes are to be asked for.
    subscribed: Mutex<Vec<u16>>,
    /// Held while they are asked. Whoever waits for it is served by one question.
    asking: tokio::sync::Mutex<()>,
}

/// A bucket that this node receives.
struct Wanted {
    /// When it was asked for last.
    asked: Instant,
    /// Resolves when everything that is published from then on comes, or is noticed as lost.
    begun: Shared<BoxFuture<'static, ()>>,
}

impl Arrivals {
    pub(super) fn new(wire: Arc<dyn EventWire>, is_selective: bool) -> Self {
        let (node, numbers, wanted, subscribed, asking) = Default::default();
        Self { wire, is_selective, node, numbers, wanted, subscribed, asking }
    }

    /// Begins to receive the buckets that are not known yet. The futures resolve when all of them
    /// have begun.
    pub(super) fn ask_for(self: &Arc<Self>, buckets: HashSet<u16>) -> Vec<impl Future<Output = ()> + use<>> {
        let now = Instant::now();
        let mut wanted = self.wanted.lock();
        let mut new = Vec::new();
        let mut pending = Vec::new();
        for bucket in buckets {
            match wanted.get_mut(&bucket) {
                Some(known) => {
                    known.asked = now;
                    // Another client may have asked a moment ago.
                    pending.extend(Some(&known.begun).filter(|known| known.peek().is_none()).cloned());
                }
                None => new.push(bucket),
            }
        }
        if !new.is_empty() {
            // In a task: others wait for it too, so it must not stop with the client that is gone.
            let task = tokio::spawn(self.clone().begin(new.clone()));
            let begun = task.map(|_| ()).boxed().shared();
            let wants = |bucket| (bucket, Wanted { asked: now, begun: begun.clone() });
            wanted.extend(new.into_iter().map(wants));
            pending.push(begun);
        }
        pending
    }

    async fn begin(self: Arc<Self>, buckets: Vec<u16>) {
        if self.is_selective {
            self.wire.subscribe(buckets.clone()).await;
        }
        self.subscribed.lock().extend(buckets);
        let _turn = self.asking.lock().await;
        let due = std::mem::take(&mut *self.subscribed.lock());
        match self.node.get() {
            // They were asked for with those of others.
            _ if due.is_empty() => {}
            Some(node) => node.begin(&due, &self.numbers).await,
            None => {
                self.numbers.expect(&due);
                self.numbers.settle(&due, &[], &[]);
            }
        }
    }

    /// Stops to receive buckets that no client wants any more.
    pub(super) fn forget_unwanted(&self) {
        let now = Instant::now();
        let mut wanted = self.wanted.lock();
        let old = wanted.extract_if(|_, wanted| now >= wanted.asked + LINGER);
        let unwanted: Vec<u16> = old.map(|(bucket, _)| bucket).collect();
        if !unwanted.is_empty() {
            // Under the lock: a client may ask for one of them again at any time.
            if self.is_selective {
                self.wire.unsubscribe(unwanted.clone());
            }
            // What comes until somebody asks again is not lost.
            self.numbers.forget(&unwanted);
            self.node.get().inspect(|node| node.forget(&unwanted));
        }
    }

    #[cfg(test)]
    pub(super) fn is_wanted(&self, bucket: u16) -> bool {
        self.wanted.lock().contains_key(&bucket)
    }
}
