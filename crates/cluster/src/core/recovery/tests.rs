use super::*;
use crate::core::alone::Alone;

#[test]
fn a_new_leader_that_does_not_count_the_last_message_yet_costs_no_lease() {
    let mut node = Alone::new();
    node.election();
    node.last -= 1;
    node.pass(Duration::from_secs(1));
    node.last += 1;
    node.pass(Duration::from_secs(5));
    assert_eq!((node.rollbacks, node.has_lease()), (0, true));
    let until = node.core.lease_until();
    node.pass(Duration::from_secs(5));
    assert!(node.core.lease_until() > until, "its beats renew the lease again");
}

#[test]
fn a_stream_that_goes_on_lacking_a_message_has_lost_it() {
    let mut node = Alone::new();
    node.election();
    node.last -= 1;
    node.pass(BEHIND + INSPECT_AGAIN * 2);
    assert_eq!((node.rollbacks, node.has_lease()), (1, false));
}
