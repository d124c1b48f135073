use session::{Revocation, SessionName};

use super::*;
use crate::core::alone::Alone;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_lift_is_kept_for_a_day_longer_than_its_revocation_would_have_lasted() {
    let mut node = Alone::new();
    let id = node.revoke("s", 100 * HOUR);
    assert_eq!(node.kept[&id], 100 * HOUR);
    node.pass(HOUR);
    node.lift(&id);
    let kept = node.kept[&id];
    assert!(kept > 122 * HOUR && kept < 124 * HOUR, "{kept:?}");
    assert!(matches!(node.core.progress(&id), Some(Progress { outcome: Outcome::Complete, .. })));
}

/// Another node has revoked and lifted the same id, and this one has not read either.
#[test]
fn a_lift_from_before_does_not_stand_for_a_revocation() {
    let mut node = Alone::new();
    let session = SessionName::try_from("s").expect("it is short");
    let id = Revocation::blacklist(&session, HOUR).id;
    node.store_unheard(Operation::Lift { id: id.clone(), by: None }, 2);
    assert_eq!(node.revoke("s", HOUR), id);
    node.pass(Duration::from_secs(5));
    assert_eq!(node.publications.get(&id), Some(&1));
    assert_eq!(revision(&node, &id), Some(3));
}

/// Returns which change of its id the message of the stream is.
fn revision(node: &Alone, id: &RevocationId) -> Option<u32> {
    match &node.stored(id)?.content {
        Content::Operation(shared) => Some(shared.revision),
        _ => None,
    }
}

/// The stream does not say whether it has stored the revocation, and then holds a lift of its id.
fn lift_is_found(lifted_later: bool) -> Option<u32> {
    let mut node = Alone::new();
    let session = SessionName::try_from("s").expect("it is short");
    let id = Revocation::blacklist(&session, HOUR).id;
    node.answers(false);
    if !lifted_later {
        node.store_unheard(Operation::Lift { id: id.clone(), by: None }, 2);
    }
    assert_eq!(node.revoke("s", HOUR), id);
    node.pass(Duration::from_secs(2));
    if lifted_later {
        node.store_unheard(Operation::Lift { id: id.clone(), by: None }, 2);
    }
    node.answers(true);
    node.pass(Duration::from_secs(10));
    revision(&node, &id)
}

#[test]
fn a_lift_from_before_does_not_stand_for_a_revocation_that_may_be_stored() {
    assert_eq!(lift_is_found(false), Some(3), "the lift is one of another revocation");
    assert_eq!(lift_is_found(true), Some(2), "it is one of this revocation");
}

/// The node has revoked the same session again before it applies the lift.
#[test]
fn a_lift_is_not_applied_before_a_later_revocation_of_the_same_node() {
    let mut node = Alone::new();
    let [first, second] = ["first", "second"].map(|name| SessionName::try_from(name).expect("it is short"));
    node.apply_slowly();
    node.store_heard(Operation::Revoke(Revocation::blacklist(&first, HOUR)), 1);
    let id = Revocation::blacklist(&second, HOUR).id;
    node.store_heard(Operation::Lift { id: id.clone(), by: None }, 2);
    assert_eq!(node.revoke("second", HOUR), id);
    assert_eq!(revision(&node, &id), Some(3));
    node.apply();
    let revisions = node.applied.iter().filter(|applied| *applied.id() == id);
    let revisions =
        revisions.map(|applied| (applied.revision, matches!(applied.operation, Operation::Revoke(_))));
    assert_eq!(revisions.collect::<Vec<_>>(), [(3, true), (3, true)]);
}
