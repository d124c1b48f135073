//! Notifies the connections that a revocation has taken out, in as many steps as the caller likes.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::connection::{Cause, Connection, Ending, Notified};
use crate::members::Members;
use crate::revocation::{Receipt, Seq};
use crate::selector::Key;
use crate::sessions::Sessions;
use crate::shard::Revoked;

/// A revocation that is in force, and whose connections are being notified. Dropping it notifies
/// those that are left.
///
/// A caller that has thousands of connections to terminate and others to serve notifies some with
/// [`Kill::step`], yields to other tasks, and repeats.
#[must_use = "dropping a kill carries it out"]
pub struct Kill {
    sessions: Sessions,
    ending: Option<Arc<Ending>>,
    /// The connections that it has taken out, with the key under which they were registered.
    taken: Vec<(Key, Arc<Members>)>,
    /// Connections that have not been notified yet, in reverse order. Those of earlier revocations
    /// that are still being carried out come first: they must not send anything either once this
    /// revocation has returned.
    queue: Vec<Weak<dyn Connection>>,
    seq: Option<Seq>,
    connections: u64,
    requests: u64,
    last_payload: Option<Instant>,
}

impl Kill {
    pub(crate) fn new(
        sessions: Sessions,
        revoked: impl IntoIterator<Item = (Key, Revoked)>,
        ending: Ending,
        seq: Option<Seq>,
    ) -> Self {
        let (mut queue, mut all_taken) = (Vec::new(), Vec::new());
        for (key, Revoked { taken, ending: others, .. }) in revoked {
            for members in others.iter().rev().chain(&taken) {
                let at = queue.len();
                queue.extend(members.iter().map(|member| member.connection.clone()));
                queue[at..].reverse();
            }
            all_taken.extend(taken.map(|members| (key, members)));
        }
        Self {
            sessions,
            ending: Some(Arc::new(ending)),
            taken: all_taken,
            queue,
            seq,
            connections: 0,
            requests: 0,
            last_payload: None,
        }
    }

    /// Returns a kill without connections.
    pub(crate) fn nothing(sessions: Sessions) -> Self {
        let ending = Ending::new(Cause::Revoked, sessions.clock().now(), None);
        Self::new(sessions, None, ending, None)
    }

    /// Returns the same kill, which stores no receipt.
    pub(crate) fn without_receipt(mut self) -> Self {
        self.seq = None;
        self
    }

    /// Notifies up to `limit` connections; returns `true` if there are more.
    pub fn step(&mut self, limit: usize) -> bool {
        let Some(ending) = &self.ending else { return false };
        let from = self.queue.len().saturating_sub(limit);
        for connection in self.queue.drain(from..).rev().filter_map(|connection| connection.upgrade()) {
            // The closure owns the connection, since dropping it may panic too. The panic hook
            // reports a panic; the next connection is notified all the same.
            let notified = catch_unwind(AssertUnwindSafe(move || connection.session_killed(ending)));
            let notified = notified.unwrap_or(Notified::ended());
            self.connections += u64::from(notified.ended);
            self.requests += notified.requests;
            self.last_payload = self.last_payload.max(notified.last_payload);
        }
        !self.queue.is_empty()
    }

    /// Notifies all remaining connections. When this returns, nothing more is written to any of
    /// them.
    pub fn finish(mut self) -> Receipt {
        self.complete()
    }

    fn complete(&mut self) -> Receipt {
        while self.step(usize::MAX) {}
        for (key, taken) in self.taken.drain(..) {
            self.sessions.shard(key).lock().notified(&taken);
        }
        let (now, wall) = (self.sessions.clock().now(), self.sessions.clock().wall());
        let last_payload_at =
            self.last_payload.and_then(|at| wall.checked_sub(now.saturating_duration_since(at)));
        let receipt = Receipt {
            applied_at: wall,
            connections: self.connections,
            requests: self.requests,
            last_payload_at,
        };
        if self.ending.take().is_some()
            && let Some(seq) = self.seq
        {
            self.sessions.log().receipt(seq, self.sessions.config().node(), receipt);
        }
        receipt
    }
}

impl Drop for Kill {
    fn drop(&mut self) {
        if self.ending.is_some() {
            self.complete();
        }
    }
}

impl fmt::Debug for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kill").field("left", &self.queue.len()).finish_non_exhaustive()
    }
}
