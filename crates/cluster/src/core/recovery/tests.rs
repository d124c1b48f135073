use session::{Revocation, SessionName};

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

#[test]
fn what_is_stored_under_the_older_cookie_is_stored_again_before_the_first_lease() {
    let session = SessionName::try_from("s").expect("it is short");
    let revocation = Revocation::blacklist(&session, Duration::from_secs(600));
    let id = revocation.id.clone();
    let mut node = Alone::replacing_cookie(revocation);
    assert_eq!(node.publications.get(&id), Some(&1));
    assert!(node.stored(&id).is_some());
    node.pass(Duration::from_secs(60));
    assert_eq!(node.publications.get(&id), Some(&1), "once");
}
