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
