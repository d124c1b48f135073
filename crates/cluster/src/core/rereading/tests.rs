use super::*;
use crate::core::alone::Alone;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn what_a_new_leader_has_lost_is_stored_again() {
    let mut node = Alone::new();
    let (lost, kept) = (node.revoke("lost", HOUR), node.revoke("kept", HOUR));
    node.lose(&lost);
    node.pass(Duration::from_secs(5));
    assert!(node.stored(&lost).is_none(), "nothing has shown that the leader may have changed");
    node.election();
    node.pass(Duration::from_secs(5));
    assert!(node.stored(&lost).is_some());
    assert_eq!((node.publications[&lost], node.publications[&kept]), (2, 1));
    assert!(node.has_lease());
}

#[test]
fn what_is_old_or_over_is_not_read_again() {
    let mut node = Alone::new();
    let (old, over) = (node.revoke("old", HOUR), node.revoke("over", Duration::from_secs(3)));
    node.lose(&over);
    node.pass(Duration::from_secs(5));
    node.election();
    node.pass(Duration::from_secs(5));
    assert_eq!(node.publications[&over], 1);
    node.lose(&old);
    node.pass(Duration::from_secs(600));
    node.election();
    node.pass(Duration::from_secs(5));
    assert_eq!(node.publications[&old], 1);
}
