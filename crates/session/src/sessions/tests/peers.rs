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

/// The place of a change that is the `revision`th of its id, in a stream that has no other ids.
fn nth(revision: u32) -> Place {
    Place { position: Position { epoch: Epoch(1), sequence: revision.into() }, revision }
}

/// Records one operation.
fn record(sessions: &Sessions, operation: Operation, revision: u32) -> Option<Seq> {
    sessions.record(&[(operation, nth(revision))]).expect("it is stored")[0]
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
    assert_eq!(sessions.enforce(&revocation, 7).finish().connections, 1);
    assert!(sessions.is_blacklisted(&name("s")));
    let seq = record(&sessions, Operation::Revoke(revocation), 7);
    assert!(sessions.is_blacklisted(&name("s")));
    assert_eq!((seq, connection.times()), (Some(1), 1), "one record, one notification");
    assert_eq!(sessions.counts().blacklisted, 1, "the recorded entry replaces the one before it");
    let after_restart = Sessions::new(Config::default(), log).unwrap();
    assert!(after_restart.is_blacklisted(&name("s")));
    assert_eq!(after_restart.position(), nth(7).position);
}

/// A node that has not learned of the lift stores its revocation again.
#[test]
fn an_older_copy_does_not_bring_a_lifted_revocation_back() {
    let (sessions, _) = node();
    record(&sessions, blacklisted(60), 1);
    record(&sessions, lifted(), 2);
    let copy = Revocation::blacklist(&name("s"), MINUTE);
    sessions.enforce(&copy, 1).finish();
    assert_eq!(record(&sessions, Operation::Revoke(copy), 1), None);
    assert!(!sessions.is_blacklisted(&name("s")));
    assert_eq!(sessions.counts().blacklisted, 0);
}

/// Two nodes accept an id at the same time: what the stream has first takes its place everywhere.
#[test]
fn what_is_replaced_under_its_id_is_in_force_no_more_whatever_it_selects() {
    let of = |session: &str| {
        let id = RevocationId::new("one-id").expect("it is an id");
        Revocation { id, ..Revocation::blacklist(&name(session), MINUTE) }
    };
    let in_force =
        |sessions: &Sessions| ["first", "second"].map(|session| sessions.is_blacklisted(&name(session)));
    let (accepted_here, _) = node();
    accepted_here.revoke(&of("second"), false).unwrap();
    let (enforced_here, _) = node();
    enforced_here.enforce(&of("second"), 1).finish();
    for sessions in [&accepted_here, &enforced_here] {
        assert_eq!(in_force(sessions), [false, true]);
        sessions.enforce(&of("first"), 1).finish();
        record(sessions, Operation::Revoke(of("first")), 1);
        assert_eq!(in_force(sessions), [true, false]);
        assert_eq!(sessions.counts().blacklisted, 1);
    }
}

#[test]
fn a_lift_of_a_peer_applies_whichever_node_revoked() {
    let (sessions, _) = node();
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    record(&sessions, blacklisted(59), 1);
    assert_eq!(sessions.log().unshared(0, 9).unwrap().len(), 1, "the stream has a shorter one");
    record(&sessions, blacklisted(60), 2);
    record(&sessions, lifted(), 3);
    assert!(!sessions.is_blacklisted(&name("s")), "revoked here");
    record(&sessions, blacklisted(60), 4);
    assert!(sessions.is_blacklisted(&name("s")));
    record(&sessions, lifted(), 5);
    assert!(!sessions.is_blacklisted(&name("s")), "revoked there");
    assert_eq!(sessions.counts().blacklisted, 0);
    assert_eq!(record(&sessions, lifted(), 6), None, "a second lift changes nothing");
}

#[test]
fn a_lift_of_a_peer_applies_to_unrecorded_revocations() {
    let (sessions, _) = node();
    sessions.enforce(&Revocation::blacklist(&name("s"), MINUTE), 1).finish();
    record(&sessions, lifted(), 1);
    assert!(!sessions.is_blacklisted(&name("s")));
}

/// The fast way may overtake the stream.
#[test]
fn a_revocation_that_came_early_is_not_undone_by_earlier_changes_of_its_id() {
    let (sessions, _) = node();
    sessions.enforce(&Revocation::blacklist(&name("s"), MINUTE), 4).finish();
    record(&sessions, blacklisted(1), 1);
    record(&sessions, lifted(), 2);
    assert!(sessions.is_blacklisted(&name("s")));
    let other = Revocation {
        selector: crate::Selector::session(name("t")),
        ..Revocation::blacklist(&name("s"), MINUTE)
    };
    record(&sessions, Operation::Revoke(other), 3);
    assert!(["s", "t"].iter().all(|session| sessions.is_blacklisted(&name(session))));
    record(&sessions, blacklisted(60), 4);
    assert!(sessions.is_blacklisted(&name("s")) && !sessions.is_blacklisted(&name("t")));
    assert_eq!(sessions.counts().blacklisted, 1);
    record(&sessions, lifted(), 5);
    assert!(!sessions.is_blacklisted(&name("s")));
}

/// Another node has accepted the same id at the same time.
#[test]
fn accepting_a_revocation_does_not_undo_one_that_came_early() {
    let (sessions, _) = node();
    let early = Revocation {
        selector: crate::Selector::session(name("t")),
        ..Revocation::blacklist(&name("s"), MINUTE)
    };
    sessions.enforce(&early, 1).finish();
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    assert!(["s", "t"].iter().all(|session| sessions.is_blacklisted(&name(session))));
}

#[test]
fn a_revocation_that_a_lift_has_not_seen_stays() {
    let (sessions, log) = node();
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    assert_eq!(record(&sessions, lifted(), 2), None);
    assert!(sessions.is_blacklisted(&name("s")), "it will come after the lift in the stream");
    assert_eq!(log.unshared(0, 9).unwrap()[0].revision, 2);
    record(&sessions, blacklisted(60), 3);
    assert_eq!(log.unshared_count(), 0);
    record(&sessions, lifted(), 4);
    assert!(!sessions.is_blacklisted(&name("s")));
}

#[test]
fn a_late_copy_neither_brings_back_what_was_lifted_nor_removes_what_is_enforced() {
    let (sessions, _) = node();
    record(&sessions, blacklisted(60), 1);
    record(&sessions, lifted(), 2);
    assert_eq!(record(&sessions, blacklisted(60), 1), None);
    assert!(!sessions.is_blacklisted(&name("s")));
    sessions.enforce(&Revocation::blacklist(&name("s"), MINUTE), 3).finish();
    assert_eq!(record(&sessions, blacklisted(60), 1), None);
    assert!(sessions.is_blacklisted(&name("s")), "a newer one is on its way through the stream");
    record(&sessions, blacklisted(60), 3);
    assert_eq!(sessions.counts().blacklisted, 1, "the record replaces what was enforced");
}

#[test]
fn what_is_enforced_and_recorded_already_is_one_entry() {
    let sessions = Sessions::with_clock(Config::default(), Kept::default(), Hand::new()).unwrap();
    record(&sessions, blacklisted(60), 1);
    sessions.enforce(&Revocation::blacklist(&name("s"), MINUTE / 2), 2).finish();
    assert_eq!(sessions.counts().blacklisted, 2);
    assert_eq!(record(&sessions, blacklisted(30), 2), None, "a shorter one changes nothing");
    assert_eq!(sessions.counts().blacklisted, 1);
}

#[test]
fn a_replacement_of_a_peer_leaves_one_entry_that_lasts_longest() {
    let (hand, log) = (Hand::new(), Kept::default());
    let sessions = Sessions::with_clock(Config::default(), log, hand.clone()).unwrap();
    for (revision, seconds) in [(1, 60), (2, 120), (3, 60)] {
        let operation = blacklisted(seconds);
        let Operation::Revoke(revocation) = &operation else { unreachable!() };
        sessions.enforce(revocation, revision).finish();
        record(&sessions, operation, revision);
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
    record(&sessions, blacklisted(60), 1);
    log.fail(true);
    sessions.record(&[(lifted(), nth(2))]).unwrap_err();
    assert!(sessions.is_blacklisted(&name("s")));
}
