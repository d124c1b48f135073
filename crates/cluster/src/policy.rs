//! The names of what a node does without a lease, in settings and messages.

use session::LostLease;

const NAMES: [(LostLease, &str); 3] =
    [(LostLease::Open, "open"), (LostLease::ClosedNew, "closed_new"), (LostLease::Closed, "closed")];

/// Returns the name of the policy.
pub fn policy_name(policy: LostLease) -> &'static str {
    NAMES.into_iter().find(|(named, _)| *named == policy).map_or("closed", |(_, name)| name)
}

/// Returns the policy of this name.
pub fn policy_of(name: &str) -> Option<LostLease> {
    NAMES.into_iter().find(|(_, named)| *named == name).map(|(policy, _)| policy)
}
