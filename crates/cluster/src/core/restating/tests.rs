use std::time::Duration;

use session::{Revocation, SessionName};

use super::*;
use crate::core::alone::Alone;
use crate::message::Content;

const VALIDITY: Duration = Duration::from_secs(3600);

fn revocation() -> Operation {
    let session = SessionName::try_from("s").unwrap();
    Operation::Revoke(Revocation { extends: false, ..Revocation::blacklist(&session, VALIDITY) })
}

fn lift() -> Operation {
    Operation::Lift { id: revocation().id().clone(), by: None }
}

/// Returns a node that has read a revocation of the life 2 and the lift of it, which the stream has
/// lost since.
fn after_a_lost_lift() -> Alone {
    let mut node = Alone::new();
    node.hear_beat(2, "b", &[]);
    node.hear_beat(3, "c", &[]);
    node.store_heard_as((2, 1), revocation(), 1);
    node.store_heard_as((2, 2), lift(), 2);
    node.lose(lift().id());
    node
}

/// Returns what the stream has of the id: whether it is a revocation, and which change.
fn stored(node: &Alone) -> (bool, u32) {
    match &node.stored(lift().id()).unwrap().content {
        Content::Operation(shared) => (matches!(shared.operation, Operation::Revoke(_)), shared.revision),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_revocation_after_a_lost_lift_is_stored_as_the_change_after_it() {
    let mut node = after_a_lost_lift();
    node.store_heard_as((3, 1), revocation(), 1);
    assert_eq!(stored(&node), (true, 3));
    node.pass(Duration::from_secs(10));
    assert_eq!(stored(&node), (true, 3), "once");
    assert_eq!(node.rollbacks, 0);
}

#[test]
fn a_revocation_that_somebody_stores_again_stays_the_earlier_change() {
    let mut node = after_a_lost_lift();
    node.store_heard_as((2, 1), revocation(), 1);
    node.pass(Duration::from_secs(10));
    assert_eq!(stored(&node), (true, 1), "the log puts the lift back");
}

#[test]
fn a_revocation_of_an_unknown_life_stays_the_earlier_change() {
    let mut node = after_a_lost_lift();
    node.store_heard_as((4, 1), revocation(), 1);
    node.pass(Duration::from_secs(10));
    assert_eq!(stored(&node), (true, 1));
}

#[test]
fn a_lift_that_has_seen_the_revocation_stays() {
    let mut node = after_a_lost_lift();
    node.answers(false);
    node.store_heard_as((3, 1), revocation(), 1);
    node.store_heard_as((2, 3), lift(), 2);
    node.answers(true);
    node.pass(Duration::from_secs(10));
    assert_eq!(stored(&node), (false, 2));
}

#[test]
fn the_lost_lift_that_is_put_back_in_the_place_of_the_revocation_gives_way_to_it() {
    let mut node = after_a_lost_lift();
    node.answers(false);
    node.store_heard_as((3, 1), revocation(), 1);
    node.store_heard_as((2, 2), lift(), 2);
    node.answers(true);
    node.pass(Duration::from_secs(10));
    assert_eq!(stored(&node), (true, 3));
}

#[test]
fn only_the_last_lifts_are_remembered() {
    let lift = |id: usize| Operation::Lift { id: RevocationId::new(&format!("r{id}")).unwrap(), by: None };
    let tag = Tag { life: seal::Incarnation::from_bytes([2; seal::Incarnation::BYTES]), number: 1 };
    let mut lifts = Lifts::default();
    for revision in [2, 4, 3] {
        lifts.add(&Shared { tag, revision, operation: lift(0) });
    }
    assert_eq!(lifts.last[lift(0).id()], (tag, 4));
    for id in 1..=REMEMBERED {
        lifts.add(&Shared { tag, revision: 2, operation: lift(id) });
    }
    assert_eq!((lifts.last.len(), lifts.order.len()), (REMEMBERED, REMEMBERED));
    assert!(!lifts.last.contains_key(lift(0).id()));
}
