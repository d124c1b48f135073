//! What the observer of revocations learns, and when.

use super::issuers::{A, B, config_of, issuer, two_issuers};
use super::*;
use crate::config::IssuerField;
use crate::subject::Verified;

/// Selectors as the observer gets them: issuer, claim or an empty text, value.
type Seen = Arc<Mutex<Vec<(Option<String>, String, String)>>>;

fn observe(sessions: &Sessions) -> Seen {
    let seen = Seen::default();
    let record = seen.clone();
    sessions.on_revocation(Arc::new(move |selector| {
        let claim = selector.claim().unwrap_or_default().to_owned();
        let issuer = selector.issuer.as_deref().map(str::to_owned);
        record.lock().push((issuer, claim, selector.value().to_string()));
    }));
    seen
}

/// Returns the values of what was seen since the last call.
fn values(seen: &Seen) -> Vec<String> {
    seen.lock().drain(..).map(|(_, _, value)| value).collect()
}

fn revocation(id: &str, selector: Selector, mode: Mode) -> Revocation {
    let id = RevocationId::new(id).expect("an id");
    Revocation { id, selector, mode, extends: false, ..Revocation::blacklist(&name("unused"), MINUTE) }
}

fn of_session(session: &str, mode: Mode) -> Revocation {
    revocation(session, Selector::session(name(session)), mode)
}

fn nth(revision: u32) -> Place {
    Place { position: Position { epoch: Epoch(1), sequence: revision.into() }, revision }
}

#[test]
fn it_learns_of_each_revocation_and_disconnect_whatever_brings_it() {
    let log = Kept::default();
    let sessions = Sessions::new(Config::default(), log.clone()).unwrap();
    let seen = observe(&sessions);
    // The second observer does not count.
    let second = observe(&sessions);
    sessions.blacklist(&name("new"), MINUTE).unwrap();
    assert_eq!(values(&seen), ["new"]);
    sessions.blacklist(&name("new"), 2 * MINUTE).unwrap();
    assert_eq!(values(&seen), ["new"], "extended");
    sessions.blacklist(&name("new"), MINUTE).unwrap();
    assert_eq!(values(&seen), ["new"], "it terminates connections again");
    sessions.revoke(&of_session("once", Mode::Revoke), false).unwrap();
    sessions.revoke(&of_session("once", Mode::Revoke), false).unwrap();
    assert_eq!(values(&seen), ["once"], "what was accepted before has no effect");
    sessions.revoke(&of_session("left", Mode::Disconnect), false).unwrap();
    assert_eq!(values(&seen), ["left"]);
    log.fail(true);
    sessions.blacklist(&name("unstored"), MINUTE).unwrap_err();
    assert_eq!(values(&seen), ["unstored"]);
    log.fail(false);
    let of_peer = of_session("peer", Mode::Revoke);
    sessions.enforce(&of_peer, 1).finish();
    assert_eq!(values(&seen), ["peer"]);
    let lift = Operation::Lift { id: of_peer.id.clone(), by: None };
    let operations = [
        (Operation::Revoke(of_peer), nth(1)),
        (lift, nth(2)),
        (Operation::Revoke(of_session("streamed", Mode::Revoke)), nth(1)),
        (Operation::Revoke(of_session("streamed and left", Mode::Disconnect)), nth(1)),
    ];
    sessions.record(&operations).unwrap();
    assert_eq!(values(&seen), ["peer", "streamed", "streamed and left"]);
    assert_eq!(values(&second), [""; 0]);
}

#[test]
fn it_learns_nothing_of_marks_lifts_and_expired_tokens() {
    let (sessions, hand) = sessions_of(two_issuers());
    let seen = observe(&sessions);
    let client = Arc::new(Client::default());
    let claims = json!({"sid": "s", "exp": 10});
    let claims = claims.as_object().unwrap();
    let marks = [("key", "k".into())];
    let token = || Verified { claims, issuer: Some(A), marks: &marks };
    let register = || {
        let subject = sessions.subject(token()).unwrap();
        sessions.register(&subject, Arc::downgrade(&client)).unwrap()
    };
    let _guard = register();
    let of_mark = Selector::mark("key", name("k")).issued_by(Some(A.into()));
    sessions.revoke(&revocation("r", of_mark, Mode::Disconnect), true).unwrap();
    assert_eq!(client.times(), 1);
    let _guard = register();
    hand.forward(MINUTE);
    drop(sessions.sweep());
    assert!(client.times() > 1, "its token has expired");
    assert_eq!(values(&seen), [""; 0]);
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    values(&seen);
    sessions.lift(&RevocationId::new("session-blacklist/s").unwrap(), None).unwrap();
    assert_eq!(values(&seen), [""; 0]);
}

#[test]
fn it_learns_nothing_of_the_log_that_is_loaded() {
    let log = Kept::default();
    Sessions::new(Config::default(), log.clone()).unwrap().blacklist(&name("s"), MINUTE).unwrap();
    let sessions = Sessions::new(Config::default(), log).unwrap();
    let seen = observe(&sessions);
    assert!(sessions.is_blacklisted(&name("s")));
    assert_eq!(values(&seen), [""; 0]);
}

/// Whatever the observer notes down precedes the revocation, and it may use the sessions.
#[test]
fn it_learns_before_the_revocation_is_in_force_and_without_a_lock() {
    let log = Kept::default();
    let sessions = Sessions::new(Config::default(), log.clone()).unwrap();
    let client = Arc::new(Client::default());
    let calls = Arc::new(AtomicUsize::new(0));
    let (sessions_too, client_too, counter) = (sessions.clone(), client.clone(), calls.clone());
    sessions.on_revocation(Arc::new(move |selector| {
        let shards = &sessions_too.0.shards;
        assert!(shards.iter().all(|shard| shard.try_lock().is_some()));
        assert!(sessions_too.0.unrecorded_by_id.try_lock().is_some());
        assert!(!sessions_too.is_blacklisted(selector.value()));
        assert_eq!(client_too.times(), counter.load(Ordering::SeqCst));
        counter.fetch_add(1, Ordering::SeqCst);
    }));
    let register = |session| sessions.register_connection(&name(session), Arc::downgrade(&client)).unwrap();
    let guards: Vec<_> = ["a", "b", "c", "d", "e"].into_iter().map(register).collect();
    sessions.blacklist(&name("a"), MINUTE).unwrap();
    sessions.enforce(&of_session("b", Mode::Revoke), 1).finish();
    sessions.record(&[(Operation::Revoke(of_session("c", Mode::Revoke)), nth(1))]).unwrap();
    sessions.revoke(&of_session("d", Mode::Disconnect), false).unwrap();
    log.fail(true);
    sessions.blacklist(&name("e"), MINUTE).unwrap_err();
    assert_eq!((calls.load(Ordering::SeqCst), client.times()), (5, 5));
    drop(guards);
}

#[test]
fn its_panic_does_not_stop_a_revocation() {
    let (sessions, _) = sessions();
    sessions.on_revocation(Arc::new(|_| panic!("a broken observer")));
    let client = Arc::new(Client::default());
    let _guard = sessions.register_connection(&name("s"), Arc::downgrade(&client)).unwrap();
    assert_eq!(sessions.blacklist(&name("s"), MINUTE).unwrap(), 1);
    assert!(sessions.is_blacklisted(&name("s")));
    assert_eq!(client.times(), 1);
}

fn subject(sessions: &Sessions, issuer: Option<&str>, claims: &serde_json::Value) -> Subject {
    let claims = claims.as_object().expect("claims are an object");
    let marks = [("key", "k".into())];
    sessions.subject(Verified { claims, issuer, marks: &marks }).expect("names")
}

#[test]
fn a_token_has_each_selector_with_and_without_its_issuer() {
    let (sessions, _) = sessions_of(two_issuers());
    let claims = json!({"sub": 1, "sid": "s", "jti": "j"});
    let of_a = subject(&sessions, Some(A), &claims);
    let expected = [(None, "", "s"), (Some(A), "", "s"), (None, "/sub", "1"), (Some(A), "/sub", "1")];
    assert!(of_a.selectors().eq(expected));
    assert!(
        subject(&sessions, None, &json!({"jti": "j", "sub": "1"}))
            .selectors()
            .eq([(None, "", "j"), (None, "/sub", "1")])
    );
    assert_eq!(subject(&sessions, Some(A), &json!({"aud": "x"})).selectors().count(), 0);
}

/// A revocation that bars a token must be seen by its reader, in every form and configuration.
#[test]
fn what_bars_a_token_is_among_its_selectors() {
    let alias = IssuerField { aliases: vec!["alias of a".into()], ..issuer(A, "/sid") };
    let configs = [
        Config::default().with_revocation_claims(["/sub", "/sid"]).unwrap(),
        Config::new("/sid").unwrap().with_revocation_claims(["/sub"]).unwrap(),
        two_issuers(),
        config_of(vec![issuer(A, "/sid")], false),
        config_of(vec![issuer(A, "/sid"), issuer(B, "/jti")], false),
        config_of(vec![issuer(A, "/sid")], true),
        config_of(vec![issuer(A, "/jti")], true),
        config_of(vec![alias.clone()], false),
        config_of(vec![alias, issuer(B, "/sid")], true),
    ];
    let claims = json!({"sub": "1", "sid": "2", "jti": "3"});
    let issuers = [None, Some(A), Some("alias of a"), Some(B), Some("unknown")];
    let selected = ["/sub", "/sid", "/jti"].map(Some).into_iter().chain([None]);
    let selected: Vec<_> = selected.flat_map(|claim| ["1", "2", "3"].map(|value| (claim, value))).collect();
    let (mut barred, mut elsewhere) = (0, 0);
    for config in configs {
        for by in issuers {
            for (claim, value) in &selected {
                let selector = match claim {
                    Some(claim) => Selector::of_claim(*claim, name(value)),
                    None => Selector::session(name(value)),
                };
                let selector = selector.issued_by(by.map(Arc::from));
                let sessions = Sessions::in_memory(config.clone());
                let seen = observe(&sessions);
                sessions.revoke(&revocation("r", selector.clone(), Mode::Revoke), true).unwrap();
                let seen = seen.lock().pop().unwrap();
                let seen = (seen.0.as_deref(), &*seen.1, &*seen.2);
                for issuer in issuers {
                    let verified = subject(&sessions, issuer, &claims);
                    let mut traces = verified.traces();
                    traces.issuer = issuer.map(Arc::from);
                    let traced = sessions.subject_elsewhere(traces, None);
                    for subject in [&verified, &traced] {
                        let has = subject.selectors().any(|one| one == seen);
                        let bars = sessions.bars(subject);
                        assert!(has || !bars, "{selector:?} {value} of {issuer:?} with {config:?}");
                        barred += usize::from(bars);
                        elsewhere += usize::from(has && !bars);
                    }
                }
            }
        }
    }
    // Else the test would say nothing.
    assert!(barred > 500 && elsewhere < barred / 10, "{barred} {elsewhere}");
}
