//! The port that says until when a node may serve.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use session::Fence;

/// The right of a node to let sessions receive data, for a limited time. Renewed as long as the
/// node hears of every revocation.
///
/// A node that is cut off from the others cannot renew its lease. So the others know by when it has
/// stopped serving sessions that they revoke meanwhile.
pub trait Lease: Send + Sync + 'static {
    /// Returns the fence whose deadline is that of the lease.
    fn fence(&self) -> Fence;

    /// Renews the lease. Never returns.
    fn run(self: Arc<Self>) -> BoxFuture<'static, ()>;
}
