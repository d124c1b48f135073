//! Reads what a node does without a lease.

use session::LostLease;

/// Returns the policy of this name.
pub fn policy_of(name: &str) -> Option<LostLease> {
    [LostLease::Open, LostLease::ClosedNew, LostLease::Closed]
        .into_iter()
        .find(|policy| policy.as_str() == name)
}
