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

#[test]
fn a_node_stops_when_another_process_runs_on_a_copy_of_its_folder() {
    let mut node = Alone::new();
    node.hear_beat(2, "other", &[9]);
    assert_eq!((node.is_duplicate, node.has_lease()), (false, true));
    // The life of this node is 1, which says nothing of the order of both.
    for copy in [0, 3] {
        let mut node = Alone::new();
        node.hear_beat(copy, "", &[1]);
        assert_eq!((node.is_duplicate, node.has_lease()), (true, false), "{copy}");
    }
}

#[test]
fn a_life_that_was_said_to_have_ended_is_waited_for_if_it_beats() {
    let mut node = Alone::new();
    node.hear_beat(2, "b", &[]);
    node.hear_beat(3, "b", &[2]);
    assert_eq!(node.live_others(), [3]);
    node.hear_beat(2, "b", &[]);
    assert_eq!(node.live_others(), [2, 3]);
}
