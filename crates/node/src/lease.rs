//! The port that limits how long a node may serve sessions.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use session::Fence;

/// The right of a node to let sessions receive data, for a limited time. It is renewed while the
/// node learns of every revocation.
///
/// A node that is cut off from the others cannot renew its lease. So the others know when it has
/// stopped serving, at the latest, the sessions that they have revoked meanwhile.
pub trait Lease: Send + Sync + 'static {
    /// Returns the fence, whose deadline is the expiry of the lease.
    fn fence(&self) -> Fence;

    /// Renews the lease. Never returns.
    fn run(self: Arc<Self>) -> BoxFuture<'static, ()>;
}
