//! Changes of revocations that are to be reported elsewhere: a queue for each receiver.
//!
//! A change is queued by the commit that stores it, so that one that was acknowledged is reported,
//! whenever the process exits. It leaves the queue when its receiver has it. The removal is stored
//! with a later commit: after a crash, the last changes are reported again.

mod data;
mod disk;
mod memory;

use std::time::{Duration, SystemTime};

use session::LogError;
use tokio::sync::Notify;

pub(crate) use disk::{OutboxTables, Reports};
pub use memory::{MemoryOutbox, ReportingLog};

/// Who changes are reported to. Each has a queue of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outlet {
    /// A web hook.
    Hook,
    /// A topic of a message broker.
    Topic,
}

/// What has happened to a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It is stored and in force, or it was extended.
    Accepted,
    /// Its connections are terminated.
    Applied,
    /// It was lifted.
    Lifted,
}

impl ChangeKind {
    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Applied => "applied",
            Self::Lifted => "lifted",
        }
    }
}

/// A change of a revocation that this node has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number. Those of a node grow, and none is used twice as long as the time of day is not
    /// set back while the node has a new folder, or an old copy of it. The numbers of changes that
    /// were lost are missing, and each start of the node leaves a gap.
    pub sequence: u64,
    /// Identifies it: 128 random bits.
    pub id: u128,
    /// What has happened.
    pub kind: ChangeKind,
    /// When it happened, by the time of day at that moment.
    pub at: SystemTime,
    /// How long it is queued.
    pub age: Duration,
    /// How many changes between this one and the one before were lost.
    pub dropped: u64,
    /// The revocation and what it has done: a JSON object. Names of sessions and values of claims
    /// are replaced as in the audit log.
    pub data: String,
}

/// What an outbox holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxCounts {
    /// Changes that are queued.
    pub queued: u64,
    /// Changes that were dropped since the node started, since the queue was full.
    pub full: u64,
}

/// The queue of one receiver.
pub trait Outbox: Send + Sync + 'static {
    /// Returns up to `limit` changes, the oldest first. Blocks on disk I/O.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    fn oldest(&self, limit: usize) -> Result<Vec<Change>, LogError>;

    /// Removes the oldest change, which the receiver has. Never blocks.
    fn sent(&self, change: &Change);

    /// Removes the oldest changes without having sent them. The next one tells how many were lost
    /// ([`Change::dropped`]). Never blocks.
    fn give_up(&self, changes: &[Change]);

    /// Returns what it holds, without counting. Never blocks.
    fn counts(&self) -> OutboxCounts;

    /// Is notified when a change was queued, or dropped since the queue is full.
    fn added(&self) -> &Notify;
}

/// Limit of changes in one queue. Further ones are dropped, so that the receiver gets those before
/// them in order, and the next one tells how many are missing.
pub(crate) const LIMIT: u64 = 100_000;

/// Returns how many changes are lost if these are: each tells how many were lost before it.
fn lost(changes: &[Change]) -> u64 {
    changes.iter().map(|change| 1 + change.dropped).sum()
}

/// Returns 128 random bits.
fn random_id() -> u128 {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random bytes");
    u128::from_be_bytes(bytes)
}

/// Returns the number before the first one of a node that starts now, `last` being the last one
/// that it knows. It is the number of microseconds since 1970, so that a node whose numbers are
/// lost continues above them.
fn first_sequence(last: u64, now: SystemTime) -> u64 {
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    last.max(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_continue_above_those_of_a_folder_that_is_lost() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(first_sequence(0, at(1_700_000_000)), 1_700_000_000_000_000);
        let last = 1_700_000_000_000_005;
        assert_eq!(first_sequence(last, at(1_600_000_000)), last, "the time of day was set back");
        assert_eq!(first_sequence(0, SystemTime::UNIX_EPOCH - Duration::from_secs(1)), 0);
    }
}
