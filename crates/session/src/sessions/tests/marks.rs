//! Marks: what only the gateway itself selects tokens by.

use super::issuers::{A, B, config_of, issuer, two_issuers};
use super::*;
use crate::selector::Selector;
use crate::subject::Verified;

type Mark = (&'static str, Box<str>);

fn key(thumbprint: &str) -> Mark {
    ("key", thumbprint.into())
}

fn subject(sessions: &Sessions, issuer: &str, claims: &serde_json::Value, marks: &[Mark]) -> Subject {
    let claims = claims.as_object().expect("claims are an object");
    sessions.subject(Verified { claims, issuer: Some(issuer), marks }).expect("names")
}

fn connect(
    sessions: &Sessions,
    issuer: &str,
    claims: &serde_json::Value,
    marks: &[Mark],
) -> (Arc<Client>, Registration) {
    let client = Arc::new(Client::default());
    let subject = subject(sessions, issuer, claims, marks);
    let registration = sessions.register(&subject, Arc::downgrade(&client)).expect("it is legal");
    (client, registration)
}

fn disconnect(sessions: &Sessions, issuer: &str, kind: &str, value: &str) -> u64 {
    let disconnect = Revocation {
        id: RevocationId::new(&format!(
            "{issuer} {kind} {value} {}",
            sessions.0.next_id.load(Ordering::SeqCst)
        ))
        .expect("an id"),
        selector: Selector::mark(kind, name(value)).issued_by(Some(issuer.into())),
        mode: Mode::Disconnect,
        extends: false,
        ..Revocation::blacklist(&name("unused"), Duration::ZERO)
    };
    sessions.revoke(&disconnect, true).expect("it is stored").expect("it is done").connections
}

#[test]
fn a_key_selects_the_tokens_that_it_has_signed() {
    for config in [two_issuers(), config_of(vec![issuer(A, "/sid")], false)] {
        let (sessions, _) = sessions_of(config);
        // More than there are places of a mark.
        let many: Vec<_> =
            (0..100).map(|n| connect(&sessions, A, &json!({"sub": n, "sid": n}), &[key("one")])).collect();
        let (other, _other) = connect(&sessions, A, &json!({"sub": 1, "sid": 1}), &[key("two")]);
        let marks = [key("two"), ("status", "https://s.example/1#7".into())];
        let (listed, _listed) = connect(&sessions, A, &json!({}), &marks);
        let selector = Selector::mark("key", name("one")).issued_by(Some(A.into()));
        assert_eq!(sessions.affected(&selector, None).connections, 100);
        assert_eq!(disconnect(&sessions, A, "key", "one"), 100);
        assert!(many.iter().all(|(client, _)| client.times() == 1));
        assert_eq!((other.times(), listed.times()), (0, 0));
        assert_eq!(disconnect(&sessions, A, "status", "https://s.example/1#7"), 1);
        assert_eq!((other.times(), listed.times()), (0, 1));
        assert_eq!(sessions.counts().blacklisted, 0, "the tokens stay legal");
        let (_again, _guard) = connect(&sessions, A, &json!({"sub": 1}), &[key("one")]);
        drop(many);
        assert_eq!(disconnect(&sessions, A, "key", "one"), 1);
    }
}

#[test]
fn a_key_is_one_of_its_issuer() {
    let (sessions, _) = sessions_of(two_issuers());
    let (a, _a) = connect(&sessions, A, &json!({"sid": "1"}), &[key("shared")]);
    let (b, _b) = connect(&sessions, B, &json!({"sid": "1"}), &[key("shared")]);
    assert_eq!(disconnect(&sessions, A, "key", "shared"), 1);
    assert_eq!((a.times(), b.times()), (1, 0));
}

#[test]
fn a_mark_is_one_more_key_and_never_bars() {
    let (sessions, _) = sessions_of(two_issuers());
    let claims = json!({"sub": "1", "sid": "2"});
    let without = subject(&sessions, A, &claims, &[]).keys.len();
    assert_eq!(subject(&sessions, A, &claims, &[key("k")]).keys.len(), without + 1);
    let marked = subject(&sessions, A, &claims, &[key("k")]);
    disconnect(&sessions, A, "key", "k");
    assert!(!sessions.bars(&marked));
}

#[test]
fn a_renewed_connection_rests_on_the_newer_token() {
    let (sessions, _) = sessions_of(two_issuers());
    let client = Arc::new(Client::default());
    let register = |exp: u64, marks: &[Mark]| {
        let subject = subject(&sessions, A, &json!({"sub": "1", "sid": "s", "exp": exp}), marks);
        sessions.register(&subject, Arc::downgrade(&client)).unwrap()
    };
    let mut old = register(100, &[key("old")]);
    let mut new = register(200, &[key("new")]);
    old.renew(&new).unwrap();
    new.renew(&old).unwrap();
    assert!(!old.has_marks() && new.has_marks());
    assert_eq!(disconnect(&sessions, A, "key", "old"), 0, "its key has retired");
    let expired = register(300, &[key("third")]);
    drop(old);
    assert_eq!(sessions.counts().connections, 2);
    // A token that expires earlier renews nothing: the connection lasts by the other one.
    let mut short = register(50, &[key("short")]);
    new.renew(&short).unwrap();
    short.renew(&new).unwrap();
    assert!(new.has_marks());
    assert!(!short.has_marks());
    drop(expired);
    assert_eq!(disconnect(&sessions, A, "key", "new"), 1);
    assert_eq!(new.renew(&short), Err(Ended));
}

#[test]
fn a_token_with_nothing_but_a_mark_expires() {
    let (sessions, hand) = sessions_of(two_issuers());
    let (client, mut guard) = connect(&sessions, A, &json!({"exp": 100}), &[key("k")]);
    let (_newer, newer) = connect(&sessions, A, &json!({"exp": 200}), &[key("l")]);
    guard.renew(&newer).unwrap();
    assert!(!guard.has_marks());
    hand.forward(Duration::from_secs(150));
    drop(sessions.sweep());
    assert_eq!(client.times(), 0, "it was renewed");
    hand.forward(Duration::from_secs(50));
    drop(sessions.sweep());
    assert_eq!(client.times(), 1);
}

/// Among 3000 marks, some are behind the same lock as the first key.
#[test]
fn a_token_that_has_lost_its_mark_expires_wherever_that_was() {
    let (sessions, hand) = sessions_of(two_issuers());
    let claims = |n: usize, exp: u64| json!({"sub": n, "exp": exp});
    let mut guards: Vec<_> = (0..3000).map(|n| connect(&sessions, A, &claims(n, 100), &[key("k")])).collect();
    for (n, (_, guard)) in guards.iter_mut().enumerate() {
        let (_newer, newer) = connect(&sessions, A, &claims(n, 200), &[key("l")]);
        guard.renew(&newer).unwrap();
    }
    hand.forward(Duration::from_secs(200));
    drop(sessions.sweep());
    assert_eq!(guards.iter().filter(|(client, _)| client.times() != 1).count(), 0);
}

#[test]
fn traces_carry_the_marks() {
    let (here, there) = (sessions_of(two_issuers()).0, sessions_of(two_issuers()).0);
    for claims in [json!({"sub": "1", "sid": "2"}), json!({})] {
        let mut subject = subject(&here, A, &claims, &[key("k")]);
        let (_client, guard) = connect(&here, A, &claims, &[key("k")]);
        assert!(guard.is_that_of(&subject));
        let poll = Arc::new(Client::default());
        let elsewhere = there.subject_elsewhere(subject.traces(), None);
        let _guard = there.register(&elsewhere, Arc::downgrade(&poll)).unwrap();
        assert_eq!(disconnect(&there, A, "key", "k"), 1, "{claims}");
        subject.drop_marks();
        assert!(subject.traces().marks.is_empty());
        let elsewhere = there.subject_elsewhere(subject.traces(), None);
        let _guard = there.register(&elsewhere, Arc::downgrade(&poll)).unwrap();
        assert_eq!(disconnect(&there, A, "key", "k"), 0, "{claims}");
    }
}

#[test]
fn a_mark_that_cannot_be_a_name_is_an_error_that_names_it() {
    let (sessions, _) = sessions_of(two_issuers());
    let marks = [("status", "x".repeat(SessionName::MAX + 1).into_boxed_str())];
    let claims = serde_json::Map::new();
    let token = Verified { claims: &claims, issuer: Some(A), marks: &marks };
    let error = sessions.subject(token).unwrap_err().to_string();
    assert_eq!(error, "the claim status cannot be revoked by: it is longer than 1024 bytes");
}

#[test]
fn what_selects_by_a_mark_stays_at_its_node() {
    let log = Kept::default();
    let sessions = Sessions::new(two_issuers(), log.clone()).unwrap();
    let (_client, _guard) = connect(&sessions, A, &json!({"sid": "1"}), &[key("k")]);
    assert_eq!(disconnect(&sessions, A, "key", "k"), 1);
    assert_eq!(log.page(None, 9).unwrap().len(), 1, "it has a record");
    assert_eq!((log.unshared_count(), log.states(None, 9).unwrap()), (0, StatePage::default()));
}
