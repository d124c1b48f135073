use super::*;
use crate::core::alone::Alone;

const DAY: Duration = Duration::from_secs(24 * 3600);
const HALF: Duration = Duration::from_secs(12 * 3600);

#[test]
fn a_revocation_is_stored_again_after_twelve_hours_with_what_is_left() {
    let mut node = Alone::new();
    let long = node.revoke("long", 2 * DAY);
    node.pass_long(HALF - EVERY);
    let short = node.revoke("short", DAY);
    node.pass_long(EVERY);
    assert_eq!(node.publications[&long], 1, "it is not that old yet");
    node.pass_long(2 * EVERY);
    assert_eq!((node.publications[&long], node.publications[&short]), (2, 1));
    let left = node.left(&long).expect("a revocation");
    assert!(left <= 2 * DAY - HALF && left > 2 * DAY - HALF - 4 * EVERY, "{left:?}");
    node.pass_long(HALF + 2 * EVERY);
    assert_eq!((node.publications[&long], node.publications[&short]), (3, 2));
}

#[test]
fn what_expires_before_is_left_alone() {
    let mut node = Alone::new();
    let short = node.revoke("short", HALF);
    node.pass_long(HALF + 2 * EVERY);
    assert_eq!(node.publications[&short], 1);
}

#[test]
fn definitions_are_stored_again_and_nothing_behind_a_message_that_stays() {
    let mut node = Alone::new();
    node.store_definitions();
    let first = node.definitions();
    node.pass_long(HALF - EVERY);
    assert_eq!(node.definitions(), first, "they are not that old yet");
    node.pass_long(3 * EVERY);
    assert!(node.definitions() > first);

    let long = node.revoke("long", DAY);
    let messages = [node.stored(&long).expect("it is stored").clone()];
    node.oldest(&messages, MISSING + 1);
    assert_eq!(node.publications[&long], 2, "too many are missing, whatever its age");
    let id = node.revoke("lifted", DAY);
    node.lift(&id);
    let stays = node.stored(&id).expect("the lift").clone();
    let moves = node.stored(&long).expect("it is stored").clone();
    node.oldest(&[stays, moves], MISSING + 1);
    assert_eq!(node.publications[&long], 2, "as many would be missing afterwards");
}
