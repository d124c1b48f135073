//! Durable storage: the revocation log and the audit log, in one folder (`DATA_DIR`).
//!
//! This crate implements [`session::Log`] on disk, and knows nothing of connections or HTTP. A
//! single thread writes. All requests that are queued when it begins a commit go into that commit,
//! so the number of revocations per second is not limited by the duration of a sync. A revocation
//! is acknowledged when both logs are on disk.
//!
//! | file | holds |
//! | --- | --- |
//! | `revocations.redb` | live revocations, their receipts, the clock they count down on |
//! | `audit.log` | one JSON line for each request, chained by SHA-256; append-only |
//!
//! Validities count down on the folder's own clock. It follows the machine's monotonic clock, also
//! while the process is down. It stops while the machine is down, and while the folder is moved to
//! another machine, so that setting the time of day never shortens a revocation.

mod audit;
mod clock;
mod codec;
mod folder;
mod journal;
mod outbox;
mod pseudonyms;
mod shares;
mod store;
mod writer;

#[cfg(test)]
mod tests;

pub use audit::{AuditError, ChainHead, Verified, verify};
pub use folder::{Config, JournalError, committed_audit_head};
pub use journal::Journal;
pub use outbox::{Change, ChangeKind, MemoryOutbox, Outbox, OutboxCounts, Outlet, ReportingLog};
pub use pseudonyms::Pseudonyms;
