use session::{Revocation, SessionName};

use super::*;
use crate::core::alone::Alone;
use crate::message::Shared;

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
    let stored = node.stored(&id).map(|message| message.content.clone());
    assert!(matches!(stored, Some(Content::Operation(Shared { revision: 3, .. }))), "{stored:?}");
}
