//! What other nodes have done: revocations, replacements and lifts that arrive as operations.

use super::*;

/// A node over a log that may fail.
fn node() -> (Sessions, Kept) {
    let log = Kept::default();
    (Sessions::new(Config::default(), log.clone()).expect("the log is empty"), log)
}

fn blacklisted(seconds: u64) -> Operation {
    Operation::Revoke(Revocation::blacklist(&name("s"), Duration::from_secs(seconds)))
}

fn lifted() -> Operation {
    Operation::Lift { id: RevocationId::new("session-blacklist/s").expect("it is an id"), by: None }
}

#[test]
fn a_revocation_of_a_peer_is_in_force_before_it_is_recorded_and_after() {
    let (sessions, log) = node();
    let connection = Arc::new(Client::default());
    let _guard = sessions.register_connection(&name("s"), Arc::downgrade(&connection)).unwrap();
    let revocation = Revocation::blacklist(&name("s"), MINUTE);
    assert_eq!(sessions.enforce(&revocation).finish().connections, 1);
    assert!(sessions.is_blacklisted(&name("s")));
    let seq = sessions.record(&Operation::Revoke(revocation), Position(7)).unwrap();
    assert!(sessions.is_blacklisted(&name("s")));
    assert_eq!((seq, connection.times()), (Some(1), 1), "one record, one notification");
    assert_eq!(sessions.counts().blacklisted, 1, "the recorded entry replaces the one before it");
    let after_restart = Sessions::new(Config::default(), log).unwrap();
    assert!(after_restart.is_blacklisted(&name("s")));
    assert_eq!(after_restart.position(), Position(7));
}

#[test]
fn a_lift_of_a_peer_applies_whichever_node_revoked() {
    let (sessions, _) = node();
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    sessions.record(&lifted(), Position(1)).unwrap();
    assert!(!sessions.is_blacklisted(&name("s")), "revoked here");
    sessions.record(&blacklisted(60), Position(2)).unwrap();
    assert!(sessions.is_blacklisted(&name("s")));
    sessions.record(&lifted(), Position(3)).unwrap();
    assert!(!sessions.is_blacklisted(&name("s")), "revoked there");
    assert_eq!(sessions.counts().blacklisted, 0);
    assert_eq!(sessions.record(&lifted(), Position(4)).unwrap(), None, "a second lift changes nothing");
}

#[test]
fn a_lift_of_a_peer_applies_to_unrecorded_revocations() {
    let (sessions, _) = node();
    sessions.enforce(&Revocation::blacklist(&name("s"), MINUTE)).finish();
    sessions.record(&lifted(), Position(1)).unwrap();
    assert!(!sessions.is_blacklisted(&name("s")));
}

#[test]
fn a_replacement_of_a_peer_leaves_one_entry_that_lasts_longest() {
    let (hand, log) = (Hand::new(), Kept::default());
    let sessions = Sessions::with_clock(Config::default(), log, hand.clone()).unwrap();
    for (position, seconds) in [(1, 60), (2, 120), (3, 60)] {
        let operation = blacklisted(seconds);
        let Operation::Revoke(revocation) = &operation else { unreachable!() };
        sessions.enforce(revocation).finish();
        sessions.record(&operation, Position(position)).unwrap();
    }
    assert_eq!(sessions.counts().blacklisted, 1);
    hand.forward(Duration::from_secs(119));
    assert!(sessions.is_blacklisted(&name("s")));
    hand.forward(Duration::from_secs(2));
    assert!(!sessions.is_blacklisted(&name("s")));
}

#[test]
fn a_shorter_revocation_that_the_log_fails_to_store_takes_nothing_back() {
    let (hand, log) = (Hand::new(), Kept::default());
    let sessions = Sessions::with_clock(Config::default(), log.clone(), hand.clone()).unwrap();
    log.fail(true);
    sessions.blacklist(&name("s"), 10 * MINUTE).unwrap_err();
    sessions.blacklist(&name("s"), MINUTE).unwrap_err();
    hand.forward(9 * MINUTE);
    assert!(sessions.is_blacklisted(&name("s")));
    assert_eq!(sessions.counts().blacklisted, 1);
}

#[test]
fn a_lift_that_the_log_fails_to_store_has_no_effect() {
    let (sessions, log) = node();
    sessions.record(&blacklisted(60), Position(1)).unwrap();
    log.fail(true);
    sessions.record(&lifted(), Position(2)).unwrap_err();
    assert!(sessions.is_blacklisted(&name("s")));
}
