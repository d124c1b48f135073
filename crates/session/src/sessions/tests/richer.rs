//! What RIG does not have: selectors, ages, modes, ids, lifting, and the expiry of tokens.

use super::*;

const LEEWAY: Duration = Duration::from_secs(5);

fn config() -> Config {
    let expiry = Expiry::Ends { warning: Duration::from_secs(30), leeway: LEEWAY };
    Config::default().with_revocation_claims(["/sub", "/sid"]).expect("pointers").with_expiry(expiry)
}

fn subject(sessions: &Sessions, claims: serde_json::Value) -> Subject {
    sessions.subject(claims.as_object().expect("claims are an object")).expect("names")
}

fn connect(
    sessions: &Sessions,
    claims: serde_json::Value,
) -> Result<(Arc<Client>, Registration), Blacklisted> {
    let client = Arc::new(Client::default());
    let registration = sessions.register(&subject(sessions, claims), Arc::downgrade(&client))?;
    Ok((client, registration))
}

fn of_user(id: &str, validity: Duration) -> Revocation {
    Revocation {
        id: RevocationId::new(id).expect("an id"),
        selector: config().selector(None, "/sub", name("alice")).expect("a claim of ours"),
        extends: false,
        ..Revocation::blacklist(&name("unused"), validity)
    }
}

#[test]
fn a_user_is_revoked_with_all_sessions() {
    let (sessions, _) = sessions_of(config());
    let (laptop, _laptop) = connect(&sessions, json!({"sub": "alice", "jti": "laptop"})).unwrap();
    let (phone, _phone) = connect(&sessions, json!({"sub": "alice", "jti": "phone"})).unwrap();
    let (bob, _bob) = connect(&sessions, json!({"sub": "bob", "jti": "bobs"})).unwrap();
    let (anonymous, _anonymous) = connect(&sessions, json!({})).unwrap();
    let receipt = sessions.revoke(&of_user("r", MINUTE), true).unwrap().unwrap();
    assert_eq!(receipt.connections, 2);
    let notified = [&laptop, &phone, &bob, &anonymous].map(|client| client.times());
    assert_eq!(notified, [1, 1, 0, 0]);
    assert!(connect(&sessions, json!({"sub": "alice", "jti": "new"})).is_err());
    assert!(connect(&sessions, json!({"sub": "alice"})).is_err(), "a token without a session too");
    assert!(connect(&sessions, json!({"sub": "bob", "jti": "alice"})).is_ok(), "a session is not a user");
    assert!(!sessions.is_blacklisted(&name("laptop")));
    assert_eq!(sessions.counts().connections, 3, "they are in their sessions until they are dropped");
}

#[test]
fn a_refused_connection_is_left_nowhere() {
    let (sessions, hand) = sessions_of(config());
    sessions.revoke(&of_user("r", MINUTE), true).unwrap();
    assert!(connect(&sessions, json!({"sub": "alice", "jti": "s", "exp": 100})).is_err());
    assert_eq!(sessions.counts().connections, 0);
    hand.forward(2 * MINUTE);
    sweep(&sessions);
    assert_eq!(sessions.blacklist(&name("s"), MINUTE).unwrap(), 0);
    assert!(room(&sessions) < SHARDS * 8);
}

#[test]
fn only_tokens_of_before_are_revoked_and_the_new_login_goes_through() {
    let (sessions, hand) = sessions_of(config());
    hand.forward(Duration::from_secs(2000));
    let claims = |iat: u64| json!({"sub": "alice", "jti": format!("s{iat}"), "iat": iat});
    let (old, _old) = connect(&sessions, claims(999)).unwrap();
    let (ageless, _ageless) = connect(&sessions, json!({"sub": "alice", "jti": "ageless"})).unwrap();
    let (new, _new) = connect(&sessions, claims(1001)).unwrap();
    let revocation = Revocation { issued_up_to: Some(1000), ..of_user("r", MINUTE) };
    assert_eq!(sessions.affected(&revocation.selector, Some(1000)).connections, 2);
    assert_eq!(sessions.revoke(&revocation, true).unwrap().unwrap().connections, 2);
    assert_eq!([&old, &ageless, &new].map(|client| client.times()), [1, 1, 0]);
    assert!(connect(&sessions, claims(1000)).is_err());
    assert!(connect(&sessions, claims(1001)).is_ok());
    assert!(connect(&sessions, json!({"sub": "alice", "iat": -5.5})).is_err());
    assert!(connect(&sessions, json!({"sub": "alice", "iat": 1e300})).is_err());
}

#[test]
fn f40_an_iat_ahead_of_the_clock_outruns_no_revocation() {
    let (sessions, hand) = sessions_of(config());
    hand.forward(Duration::from_secs(10_000));
    let claims = |iat: serde_json::Value| json!({"sub": "alice", "jti": "s", "iat": iat, "exp": 1_000_000});
    let ahead = [
        json!(10_005),
        json!(10_060),
        json!(10_061),
        json!(96_400),
        json!(10_000_000),
        json!(1_700_000_000_000_u64),
        json!(1e300),
    ];
    let of_before = [json!(10_000), json!(10_000.9), json!(-7), json!("10005"), json!(null), json!([])];
    let clients: Vec<_> =
        ahead.iter().chain(&of_before).map(|iat| connect(&sessions, claims(iat.clone())).unwrap()).collect();
    let selector = of_user("r", MINUTE).selector;
    let now = sessions.issued_up_to_now(&selector);
    assert_eq!(now, 10_060, "what is within the skew of clocks is covered");
    let old = Revocation { issued_up_to: Some(9_000), ..of_user("old", MINUTE) };
    assert_eq!(sessions.affected(&selector, old.issued_up_to).connections, 9, "what is ageless, no more");
    for explicit in [10_000, 10_010, now] {
        assert_eq!(sessions.affected(&selector, Some(explicit)).connections, clients.len(), "{explicit}");
    }
    let revocation = Revocation { issued_up_to: Some(now), ..of_user("r", 100 * MINUTE) };
    sessions.revoke(&revocation, true).unwrap();
    assert!(clients.iter().all(|(client, _)| client.times() == 1));
    for seconds in [0, 1, 30] {
        hand.forward(Duration::from_secs(seconds));
        for iat in ahead.iter().chain(&of_before) {
            assert!(connect(&sessions, claims(iat.clone())).is_err(), "{iat} after {seconds} s");
        }
    }
    hand.forward(Duration::from_secs(100));
    assert!(connect(&sessions, claims(json!(10_005))).is_err(), "the token that was thrown out stays out");
    assert!(connect(&sessions, claims(json!(96_400))).is_err());
    assert!(connect(&sessions, claims(json!(10_100))).is_ok(), "a newer login gets through");
}

#[test]
fn f40_without_skewed_connections_now_is_now() {
    let (sessions, hand) = sessions_of(config());
    hand.forward(Duration::from_millis(10_000_500));
    let claims = |iat: u64| json!({"sub": "alice", "jti": "s", "iat": iat});
    let (_old, _guard) = connect(&sessions, claims(9_000)).unwrap();
    let (_odd, _guard) = connect(&sessions, claims(96_400)).unwrap();
    let now = sessions.issued_up_to_now(&of_user("r", MINUTE).selector);
    assert_eq!(now, 10_000);
    sessions.revoke(&Revocation { issued_up_to: Some(now), ..of_user("r", MINUTE) }, true).unwrap();
    assert!(connect(&sessions, claims(10_001)).is_err(), "ahead of the clock: it may be older");
    hand.forward(Duration::from_secs(1));
    assert!(connect(&sessions, claims(10_001)).is_ok());
}

#[test]
fn disconnecting_lets_the_same_token_in_again() {
    let (sessions, _) = sessions_of(config());
    let claims = || json!({"sub": "alice", "jti": "s"});
    let (client, _guard) = connect(&sessions, claims()).unwrap();
    let disconnect = Revocation { mode: Mode::Disconnect, ..of_user("d", Duration::ZERO) };
    assert_eq!(sessions.revoke(&disconnect, false).unwrap().unwrap().connections, 1);
    assert_eq!(client.times(), 1);
    let (again, _guard) = connect(&sessions, claims()).unwrap();
    let repeated = sessions.revoke(&disconnect, false).unwrap().unwrap();
    assert_eq!((repeated.connections, again.times()), (1, 0), "the same request again does nothing again");
}

#[test]
fn an_id_means_one_revocation() {
    let (sessions, _) = sessions_of(config());
    sessions.revoke(&of_user("r", MINUTE), true).unwrap();
    assert!(sessions.revoke(&of_user("r", 2 * MINUTE), true).unwrap().is_some());
    let other = Revocation { issued_up_to: Some(5), ..of_user("r", MINUTE) };
    assert!(matches!(sessions.revoke(&other, true), Err(RevokeError::Conflict)));
    assert_eq!(sessions.counts().blacklisted, 1);
}

#[test]
fn lifting_one_revocation_leaves_the_others() {
    let (sessions, _) = sessions_of(config());
    let claims = || json!({"sub": "alice", "jti": "s"});
    let id = |text| RevocationId::new(text).unwrap();
    sessions.revoke(&of_user("first", MINUTE), true).unwrap();
    sessions.revoke(&of_user("second", 2 * MINUTE), true).unwrap();
    assert_eq!(sessions.lift(&id("second"), None).unwrap().unwrap().revocation.validity, 2 * MINUTE);
    assert!(connect(&sessions, claims()).is_err());
    assert!(sessions.lift(&id("first"), None).unwrap().is_some());
    assert!(connect(&sessions, claims()).is_ok());
    assert!(sessions.lift(&id("first"), None).unwrap().is_none());
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    sessions.blacklist(&name("s"), 2 * MINUTE).unwrap();
    assert_eq!(sessions.counts().blacklisted, 1, "RIG's blacklist has one entry for a session");
    assert!(sessions.lift(&id("session-blacklist/s"), None).unwrap().is_some());
    assert!(!sessions.is_blacklisted(&name("s")));
}

#[test]
fn a_revocation_that_tokens_outlive_is_refused_unless_forced() {
    let (sessions, hand) = sessions_of(config());
    let (_client, _guard) = connect(&sessions, json!({"sub": "alice", "jti": "s", "exp": 600})).unwrap();
    hand.forward(MINUTE);
    let needed = Duration::from_secs(540) + LEEWAY;
    match sessions.revoke(&of_user("r", needed - Duration::from_millis(500)), false) {
        Err(RevokeError::TooShort { needed: told }) => assert_eq!(told, needed),
        other => panic!("{other:?}"),
    }
    assert_eq!(sessions.counts().blacklisted, 0, "nothing has happened");
    assert_eq!(sessions.revoke(&of_user("r", needed), false).unwrap().unwrap().connections, 1);
    assert!(sessions.revoke(&of_user("r2", Duration::from_secs(1)), true).is_ok());
}

#[test]
fn one_selector_has_a_bounded_number_of_revocations() {
    let (sessions, _) = sessions_of(config());
    for n in 0..Sessions::MOST {
        sessions.revoke(&of_user(&n.to_string(), MINUTE), true).unwrap();
    }
    assert!(matches!(sessions.revoke(&of_user("more", MINUTE), true), Err(RevokeError::TooMany)));
    assert!(sessions.blacklist(&name("alice"), MINUTE).is_ok(), "another selector");
}

#[test]
fn d05_a_connection_is_warned_and_ends_with_its_token() {
    let (sessions, hand) = sessions_of(config());
    let (client, guard) = connect(&sessions, json!({"jti": "s", "exp": 100})).unwrap();
    assert_eq!(guard.left(), Some(Duration::from_secs(105)));
    let seen = |seconds: u64| {
        hand.forward(Duration::from_secs(seconds));
        drop(sessions.sweep());
        (client.warnings(), client.times())
    };
    assert_eq!(seen(74), (0, 0));
    assert_eq!(seen(1), (1, 0));
    assert_eq!(seen(29), (1, 0));
    assert_eq!(seen(1), (1, 1));
    assert_eq!(seen(100), (1, 1));
    assert!(!sessions.is_blacklisted(&name("s")));
    drop(guard);
    assert_eq!(room(&sessions) / SHARDS, 0);
}

#[test]
fn d05_a_token_that_nothing_selects_expires_too() {
    let (sessions, hand) = sessions_of(config());
    let (client, _guard) = connect(&sessions, json!({"exp": 10})).unwrap();
    hand.forward(Duration::from_secs(15));
    drop(sessions.sweep());
    assert_eq!(
        (client.warnings(), client.times()),
        (0, 1),
        "there was no time to warn it between two sweeps"
    );
}

#[test]
fn d05_a_newer_token_renews_a_registration_in_place() {
    let (sessions, hand) = sessions_of(config());
    let client = Arc::new(Client::default());
    let register = |claims| sessions.register(&subject(&sessions, claims), Arc::downgrade(&client)).unwrap();
    let mut old = register(json!({"sub": "alice", "jti": "old", "exp": 100}));
    hand.forward(Duration::from_secs(80));
    drop(sessions.sweep());
    assert_eq!(client.warnings(), 1);
    let new = register(json!({"sub": "alice", "jti": "new", "exp": 200}));
    old.renew(&new).unwrap();
    hand.forward(Duration::from_secs(60));
    drop(sessions.sweep());
    assert_eq!((client.warnings(), client.times()), (1, 0));
    sessions.blacklist(&name("old"), MINUTE).unwrap();
    assert_eq!(client.times(), 1, "the old session still counts");
    assert_eq!(old.renew(&new), Err(Ended));
}

#[test]
fn d05_with_rigs_behaviour_a_connection_outlives_its_token() {
    let (sessions, hand) = sessions_of(config().with_expiry(Expiry::Ignored));
    let (client, _guard) = connect(&sessions, json!({"jti": "s", "exp": 100})).unwrap();
    hand.forward(Duration::from_secs(1000));
    drop(sessions.sweep());
    assert_eq!((client.warnings(), client.times()), (0, 0));
    assert!(sessions.revoke(&of_user("r", MINUTE), false).is_ok());
}

#[test]
fn a_storm_of_tokens_leaves_nothing_to_look_at() {
    let (sessions, _) = sessions_of(config());
    for n in 0..10_000 {
        drop(connect(&sessions, json!({"sub": "alice", "jti": n, "exp": 100_000 + n})).unwrap());
    }
    assert!(room(&sessions) <= SHARDS * 160, "room for {} entries is left", room(&sessions));
}

#[test]
fn the_time_to_kill_runs_until_the_last_connection_is_closed() {
    struct Slow(Mutex<Option<Arc<Ending>>>);
    impl Connection for Slow {
        fn session_killed(&self, ending: &Arc<Ending>) -> Notified {
            *self.0.lock() = Some(ending.clone());
            Notified { ended: true, requests: 2, last_payload: Some(Instant::now()) }
        }
    }
    let sessions = Sessions::in_memory(config());
    let closed = Arc::new(AtomicUsize::new(0));
    let count = closed.clone();
    sessions.on_closed(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let slow = [Arc::new(Slow(Mutex::default())), Arc::new(Slow(Mutex::default()))];
    let _guards =
        [&slow[0], &slow[1]].map(|s| sessions.register_connection(&name("s"), Arc::downgrade(s)).unwrap());
    let Accepted::Begun(mut kill) =
        sessions.accept(&Revocation::blacklist(&name("s"), MINUTE), true).unwrap()
    else {
        panic!("it is new");
    };
    assert!(kill.step(1), "one is left");
    assert!(slow[0].0.lock().is_some() && slow[1].0.lock().is_none(), "in the order they came");
    let receipt = kill.finish();
    assert_eq!((receipt.connections, receipt.requests, receipt.last_payload_at.is_some()), (2, 4, true));
    let record = sessions.log().find(&RevocationId::new("session-blacklist/s").unwrap()).unwrap().unwrap();
    assert_eq!(record.receipt(sessions.config().node()), Some(receipt));
    assert_eq!(slow[0].0.lock().take().unwrap().cause(), crate::Cause::Revoked);
    assert_eq!(closed.load(Ordering::SeqCst), 0);
    slow[1].0.lock().take();
    assert_eq!(closed.load(Ordering::SeqCst), 1);
}

#[test]
fn a_kill_that_is_dropped_is_carried_out() {
    let (sessions, _) = sessions_of(config());
    let (client, _guard) = connect(&sessions, json!({"jti": "s"})).unwrap();
    drop(sessions.accept(&Revocation::blacklist(&name("s"), MINUTE), true).unwrap());
    assert_eq!(client.times(), 1);
}
