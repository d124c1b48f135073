//! Whom a node lets in.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use session::Fence;

/// What a node does with new clients, from the most to the least open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Admission {
    /// Lets them in.
    #[default]
    Open,
    /// Lets them in, but tells load balancers to send no more (`/readyz`).
    Unready,
    /// Refuses them (503). Open connections are served.
    ClosedForNew,
}

impl Admission {
    /// Returns `true` if a new client is let in.
    pub const fn lets_in(self) -> bool {
        match self {
            Self::Open | Self::Unready => true,
            Self::ClosedForNew => false,
        }
    }
}

/// The admission of a node. Several holders can restrict it, each under its name; the strictest
/// counts. Beside these, the fence refuses new clients of sessions while it is closed.
#[derive(Default)]
pub struct Admissions {
    fence: Fence,
    restrictions: RwLock<BTreeMap<&'static str, Admission>>,
}

impl Admissions {
    /// Returns admissions that are closed for new connections of sessions while `fence` is closed.
    pub fn new(fence: Fence) -> Self {
        Self { fence, restrictions: RwLock::default() }
    }

    /// Sets what `holder` asks for, in place of what it asked for before.
    pub fn set(&self, holder: &'static str, admission: Admission) {
        self.restrictions.write().insert(holder, admission);
    }

    /// Returns the strictest restriction that counts now for clients with a session.
    pub fn now(&self) -> Admission {
        if self.fence.is_open() { self.without_session() } else { Admission::ClosedForNew }
    }

    /// Returns the strictest restriction that counts now for clients without a session.
    pub fn without_session(&self) -> Admission {
        self.restrictions.read().values().copied().max().unwrap_or_default()
    }

    /// Returns the fence that new clients of sessions pass.
    pub(crate) fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Returns `true` if load balancers may send new clients.
    pub fn is_ready(&self) -> bool {
        self.now() == Admission::Open
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_strictest_holder_counts_until_it_gives_way() {
        let admissions = Admissions::default();
        assert!(admissions.is_ready());
        admissions.set("shutdown", Admission::Unready);
        admissions.set("test", Admission::ClosedForNew);
        assert_eq!(admissions.now(), Admission::ClosedForNew);
        admissions.set("test", Admission::Open);
        assert_eq!(admissions.now(), Admission::Unready);
    }

    #[test]
    fn a_fence_that_is_closed_closes_the_node_until_it_is_extended() {
        let now = Arc::new(AtomicU64::new(0));
        let clock = now.clone();
        let fence = Fence::with_clock(move || Duration::from_secs(clock.load(Ordering::SeqCst)));
        let admissions = Admissions::new(fence.clone());
        assert_eq!(admissions.now(), Admission::ClosedForNew, "no lease yet");
        fence.extend(Duration::from_secs(15));
        assert_eq!(admissions.now(), Admission::Open);
        now.store(15, Ordering::SeqCst);
        assert_eq!(admissions.now(), Admission::ClosedForNew);
        assert_eq!(admissions.without_session(), Admission::Open);
        fence.extend(Duration::from_secs(20));
        fence.extend(Duration::from_secs(16));
        assert_eq!(admissions.now(), Admission::Open);
        now.store(19, Ordering::SeqCst);
        assert_eq!(admissions.now(), Admission::Open, "a deadline never moves back");
    }
}
