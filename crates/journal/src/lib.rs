//! What outlives the process: the revocation log and the audit log, in one folder (`DATA_DIR`).
//!
//! The room keeps what the session room hands it through [`session::Log`], and knows nothing of
//! connections or HTTP. One thread writes. What has been asked for by the time it begins a commit
//! goes into that commit together, so that the number of revocations in a second does not depend on
//! the time of a sync. A revocation is answered for when both logs are on disk.
//!
//! | file | holds |
//! | --- | --- |
//! | `revocations.redb` | live revocations, their receipts, the clock they count down on |
//! | `audit.log` | one JSON line for each thing asked for, chained by SHA-256; never changed, only appended to |
//!
//! Validities count down on a clock of the folder's own, which goes on with the machine's monotonic
//! clock, also while the process is down. It stands still while the machine is down, and while the
//! folder is on its way to another machine: the time of day, which anybody may set, never shortens
//! a revocation.

mod audit;
mod clock;
mod codec;
mod folder;
mod journal;
mod store;
mod writer;

#[cfg(test)]
mod tests;

pub use audit::{AuditError, Head, Verified, verify};
pub use folder::{Config, OpenError, committed_audit_head};
pub use journal::Journal;
