//! Standing revocations: one for each claim and value, whose bound and end move to later times.

use super::issuers::{A, B, config_of, connect, issuer, two_issuers};
use super::*;

/// The standing revocation of the user `1` of A.
fn of_user(sessions: &Sessions, issued_up_to: u64, validity: Duration) -> Revocation {
    let selector = sessions.config().selector(Some(A), "/sub", name("1")).expect("it is selectable");
    let (by, reason) = ("issuer:a".to_owned(), format!("logout, iat {issued_up_to}"));
    Revocation::standing("a", "/sub", selector, issued_up_to, validity, by, reason)
}

/// How a revocation was accepted, with what is in force then: its bound, and its end.
fn accept(sessions: &Sessions, revocation: &Revocation) -> (&'static str, Option<u64>, u64) {
    let told = |how, kill: Kill, in_force: &Revocation| {
        kill.finish();
        (how, in_force.issued_up_to, in_force.validity.as_secs())
    };
    match sessions.accept(revocation, true).expect("it is stored") {
        Accepted::Begun(kill) => told("new", kill, revocation),
        Accepted::Extended(kill, extended) => told("extended", kill, &extended),
        Accepted::Again(kill, known) => told("again", kill, &known),
        Accepted::Before(_) => panic!("it extends"),
    }
}

fn claims(iat: u64) -> serde_json::Value {
    json!({"sub": "1", "sid": "s", "iat": iat, "exp": 1_000_000})
}

#[test]
fn a_bound_and_an_end_move_to_later_times_and_never_back() {
    let (sessions, hand) = sessions_of(two_issuers());
    hand.forward(Duration::from_secs(1000));
    let asked = |bound, seconds| of_user(&sessions, bound, Duration::from_secs(seconds));
    assert_eq!(accept(&sessions, &asked(100, 600)), ("new", Some(100), 602));
    assert_eq!(accept(&sessions, &asked(100, 600)), ("again", Some(100), 602));
    assert_eq!(accept(&sessions, &asked(50, 600)), ("again", Some(100), 602), "an earlier bound");
    assert_eq!(accept(&sessions, &asked(100, 500)), ("again", Some(100), 602), "an earlier end");
    assert_eq!(accept(&sessions, &asked(100, 602)), ("again", Some(100), 602), "no later end");
    assert_eq!(accept(&sessions, &asked(200, 100)), ("extended", Some(200), 602), "a later bound only");
    assert_eq!(accept(&sessions, &asked(150, 700)), ("extended", Some(200), 702), "a later end only");
    let records = sessions.log().page(None, 9).unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].revocation.id.as_str(), "issuer/a/sub/1");
    assert_eq!(records[0].revocation.reason.as_deref(), Some("logout, iat 150"), "of what moved it");
    assert_eq!(sessions.counts().blacklisted, 1);
    for (iat, refused) in [(199, true), (200, true), (201, false)] {
        assert_eq!(connect(&sessions, Some(A), &claims(iat)).is_err(), refused, "{iat}");
        assert!(connect(&sessions, Some(B), &claims(iat)).is_ok(), "{iat}");
    }
    hand.forward(Duration::from_secs(702));
    assert!(connect(&sessions, Some(A), &claims(1)).is_ok());
}

#[test]
fn a_bound_that_moves_ends_the_connections_of_tokens_between_the_two() {
    let (sessions, hand) = sessions_of(two_issuers());
    hand.forward(Duration::from_secs(1000));
    let [first, second, third] =
        [100, 200, 300].map(|iat| connect(&sessions, Some(A), &claims(iat)).unwrap());
    let times = || [&first, &second, &third].map(|(client, _)| client.times());
    sessions.revoke(&of_user(&sessions, 150, MINUTE), true).unwrap();
    assert_eq!(times(), [1, 0, 0]);
    let receipt = sessions.revoke(&of_user(&sessions, 250, MINUTE), true).unwrap().unwrap();
    assert_eq!((times(), receipt.connections), ([1, 1, 0], 1));
}

#[test]
fn i23_the_same_statement_a_thousand_times_is_one_record() {
    let (sessions, hand) = sessions_of(two_issuers());
    hand.forward(Duration::from_secs(1000));
    let statement = of_user(&sessions, 900, 10 * MINUTE);
    assert_eq!(accept(&sessions, &statement).0, "new");
    for _ in 0..1000 {
        assert_eq!(accept(&sessions, &statement).0, "again");
    }
    assert_eq!(sessions.log().page(None, 9).unwrap()[0].seq, 1);
    assert_eq!((sessions.counts().blacklisted, sessions.counts().blacklisted_ever), (1, 1));
    // Many logouts of one user in a day: more than one selector may have revocations.
    for n in 0..200 {
        assert_eq!(accept(&sessions, &of_user(&sessions, 901 + n, 10 * MINUTE)).0, "extended", "{n}");
    }
    let records = sessions.log().page(None, 9).unwrap();
    assert_eq!((records.len(), records[0].revocation.issued_up_to), (1, Some(1100)));
    assert_eq!(sessions.counts().blacklisted, 1);
}

#[test]
fn i24_an_old_statement_leaves_a_newer_login_alone() {
    let (sessions, hand) = sessions_of(two_issuers());
    hand.forward(Duration::from_secs(1000));
    let statement = of_user(&sessions, 900, 10 * MINUTE);
    accept(&sessions, &statement);
    let (client, _guard) = connect(&sessions, Some(A), &claims(950)).unwrap();
    assert_eq!(accept(&sessions, &statement).0, "again");
    assert_eq!(client.times(), 0);
    assert!(connect(&sessions, Some(A), &claims(950)).is_ok());
}

#[test]
fn a_statement_that_changes_nothing_ends_what_is_open_all_the_same() {
    let (sessions, hand) = sessions_of(two_issuers());
    hand.forward(Duration::from_secs(1000));
    let statement = of_user(&sessions, 900, 10 * MINUTE);
    // It is in the log of a node whose sessions do not know of it.
    sessions.log().append(&statement).unwrap();
    let (client, _guard) = connect(&sessions, Some(A), &claims(800)).unwrap();
    assert_eq!(accept(&sessions, &statement).0, "again");
    assert_eq!(client.times(), 1);
    assert!(connect(&sessions, Some(A), &claims(800)).is_err());
}

#[test]
fn no_number_of_revocations_refuses_a_standing_one() {
    let (sessions, _) = sessions_of(two_issuers());
    let selector = || sessions.config().selector(Some(A), "/sub", name("1")).unwrap();
    for n in 0..=Sessions::MOST {
        let id = RevocationId::new(&n.to_string()).unwrap();
        let revocation = Revocation {
            id,
            selector: selector(),
            extends: false,
            ..Revocation::blacklist(&name("s"), MINUTE)
        };
        assert_eq!(sessions.revoke(&revocation, true).is_err(), n == Sessions::MOST);
    }
    assert_eq!(accept(&sessions, &of_user(&sessions, 5, MINUTE)).0, "new");
}

#[test]
fn the_longest_id_fits() {
    let claim = format!("/{}", "c".repeat(255));
    let field = crate::config::IssuerField { selectable: vec![claim.clone()], ..issuer(A, "/sid") };
    let config = config_of(vec![field], false);
    let longest = name(&"x".repeat(SessionName::MAX));
    let selector = config.selector(Some(A), &claim, longest).unwrap();
    let (id, by, reason) = ("i".repeat(32), String::new(), String::new());
    let revocation = Revocation::standing(&id, &claim, selector, 1, MINUTE, by, reason);
    assert_eq!(RevocationId::new(revocation.id.as_str()), Ok(revocation.id.clone()));
    let longer = crate::config::IssuerField { selectable: vec![format!("{claim}c")], ..issuer(A, "/sid") };
    assert!(Config::default().with_issuers(vec![longer], false).is_err());
}

#[test]
fn an_id_that_has_come_to_mean_another_issuer_selects_its_tokens() {
    let (sessions, hand) = sessions_of(two_issuers());
    hand.forward(Duration::from_secs(1000));
    accept(&sessions, &of_user(&sessions, 900, 10 * MINUTE));
    let mut moved = of_user(&sessions, 800, MINUTE);
    moved.selector.issuer = Some(B.into());
    assert_eq!(accept(&sessions, &moved), ("extended", Some(900), 602));
    assert!(connect(&sessions, Some(B), &claims(850)).is_err());
    assert!(connect(&sessions, Some(A), &claims(850)).is_ok(), "it has left no entry");
    assert_eq!(sessions.counts().blacklisted, 1);
}

#[test]
fn what_is_enforced_and_extended_is_one_entry() {
    let (sessions, hand) = sessions_of(two_issuers());
    hand.forward(Duration::from_secs(1000));
    let place =
        |revision| Place { position: Position { epoch: Epoch(1), sequence: u64::from(revision) }, revision };
    let (first, second) = (of_user(&sessions, 900, 10 * MINUTE), of_user(&sessions, 950, 5 * MINUTE));
    sessions.enforce(&second, 2).finish();
    sessions.enforce(&first, 1).finish();
    for (iat, refused) in [(950, true), (951, false)] {
        assert_eq!(connect(&sessions, Some(A), &claims(iat)).is_err(), refused, "{iat}");
    }
    assert_eq!(sessions.record(&[(Operation::Revoke(first), place(1))]).unwrap(), [Some(1)]);
    assert!(connect(&sessions, Some(A), &claims(950)).is_err(), "the second is on its way");
    assert_eq!(sessions.record(&[(Operation::Revoke(second), place(2))]).unwrap(), [Some(1)]);
    assert!(connect(&sessions, Some(A), &claims(950)).is_err());
    assert_eq!(sessions.counts().blacklisted, 1);
    let record = sessions.log().page(None, 9).unwrap().remove(0);
    assert_eq!((record.revocation.issued_up_to, record.left.as_secs()), (Some(950), 602));
    assert!(record.in_stream);
}

/// Both nodes accept a statement at the same time: each ends with the later of both.
#[test]
fn two_nodes_end_with_the_later_bound_and_the_later_end() {
    let bounds = [(900, 10 * MINUTE), (950, 5 * MINUTE)];
    for order in [[0, 1], [1, 0]] {
        let (sessions, hand) = sessions_of(two_issuers());
        hand.forward(Duration::from_secs(1000));
        let of = |n: usize| of_user(&sessions, bounds[n].0, bounds[n].1);
        accept(&sessions, &of(order[0]));
        let place = Place { position: Position { epoch: Epoch(1), sequence: 1 }, revision: 1 };
        sessions.record(&[(Operation::Revoke(of(order[1])), place)]).unwrap();
        let record = sessions.log().page(None, 9).unwrap().remove(0);
        assert_eq!((record.revocation.issued_up_to, record.left.as_secs()), (Some(950), 602), "{order:?}");
        assert!(!record.in_stream, "the stream has one half only");
        assert!(connect(&sessions, Some(A), &claims(950)).is_err());
        assert!(connect(&sessions, Some(A), &claims(951)).is_ok());
    }
}

/// Two other nodes have accepted a statement at the same time. What came directly from one of them
/// is in force until the stream brings it, whatever the stream brings of the other.
#[test]
fn what_is_enforced_outlives_the_record_of_another_half() {
    let bounds = [(900, 10 * MINUTE), (950, 5 * MINUTE)];
    for order in [[0, 1], [1, 0]] {
        let (sessions, hand) = sessions_of(two_issuers());
        hand.forward(Duration::from_secs(1000));
        let of = |n: usize| of_user(&sessions, bounds[n].0, bounds[n].1);
        sessions.enforce(&of(order[0]), 1).finish();
        let place = Place { position: Position { epoch: Epoch(1), sequence: 1 }, revision: 1 };
        sessions.record(&[(Operation::Revoke(of(order[1])), place)]).unwrap();
        assert!(connect(&sessions, Some(A), &claims(950)).is_err(), "{order:?}: the later bound");
        hand.forward(6 * MINUTE);
        assert!(connect(&sessions, Some(A), &claims(900)).is_err(), "{order:?}: the later end");
    }
}

#[test]
fn i23_a_repeated_statement_is_not_shared_again() {
    let (sessions, hand) = sessions_of(two_issuers());
    hand.forward(Duration::from_secs(1000));
    let statement = of_user(&sessions, 900, 10 * MINUTE);
    accept(&sessions, &statement);
    assert_eq!(sessions.log().unshared_count(), 1);
    let place = Place { position: Position { epoch: Epoch(1), sequence: 1 }, revision: 1 };
    sessions.record(&[(Operation::Revoke(statement.clone()), place)]).unwrap();
    assert_eq!(accept(&sessions, &statement).0, "again");
    assert_eq!(sessions.log().unshared_count(), 0, "the stream has it");
}
