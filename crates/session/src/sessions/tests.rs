use std::sync::atomic::AtomicUsize;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::*;
use crate::connection::{Ended, Ending, Notified};
use crate::log::{Appended, Operation, StateCursor, StatePage};
use crate::node_name::NodeName;
use crate::place::{Epoch, Place};
use crate::revocation::{Mode, Receipt, Record, RevocationId};

mod issuers;
mod logs;
mod marks;
mod model;
mod observer;
mod peers;
mod richer;
mod standing;

use logs::{Broken, Kept};

/// A clock that a test moves.
#[derive(Clone)]
struct Hand(Arc<Mutex<Duration>>, Instant);

impl Hand {
    fn new() -> Self {
        Self(Arc::default(), Instant::now())
    }

    fn forward(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl Clock for Hand {
    fn now(&self) -> Instant {
        self.1 + *self.0.lock()
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + *self.0.lock()
    }
}

/// Counts how often it was notified.
#[derive(Default)]
struct Client {
    killed: AtomicUsize,
    warned: AtomicUsize,
}

impl Client {
    fn times(&self) -> usize {
        self.killed.load(Ordering::SeqCst)
    }

    fn warnings(&self) -> usize {
        self.warned.load(Ordering::SeqCst)
    }
}

impl Connection for Client {
    fn session_killed(&self, _: &Arc<Ending>) -> Notified {
        match self.killed.fetch_add(1, Ordering::SeqCst) {
            0 => Notified::ended(),
            _ => Notified::default(),
        }
    }

    fn session_expiring(&self, _: Duration) {
        self.warned.fetch_add(1, Ordering::SeqCst);
    }
}

fn name(text: &str) -> SessionName {
    text.parse().expect("a test name is a name")
}

fn sessions() -> (Sessions, Hand) {
    sessions_of(Config::default())
}

fn sessions_of(config: Config) -> (Sessions, Hand) {
    let hand = Hand::new();
    let log = MemoryLog::with_clock(hand.clone());
    (Sessions::with_clock(config, log, hand.clone()).expect("the memory log loads"), hand)
}

/// Sweeps every shard.
fn sweep(sessions: &Sessions) {
    (0..SHARDS).for_each(|_| drop(sessions.sweep()));
}

/// Returns the capacity for entries in all shards.
fn room(sessions: &Sessions) -> usize {
    sessions.0.shards.iter().map(|shard| shard.lock().capacity()).sum()
}

const MINUTE: Duration = Duration::from_secs(60);

// The three tests of RIG itself.

#[test]
fn zero_validity_is_a_no_op() {
    let (sessions, _) = sessions();
    let connection = Arc::new(Client::default());
    let _registration = sessions.register_connection(&name("s"), Arc::downgrade(&connection)).unwrap();
    assert_eq!(sessions.blacklist(&name("s"), Duration::ZERO).unwrap(), 0);
    assert!(!sessions.is_blacklisted(&name("s")));
    assert_eq!(connection.times(), 0);
}

#[test]
fn positive_validity_blacklists() {
    let (sessions, _) = sessions();
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    assert!(sessions.is_blacklisted(&name("s")));
    assert!(!sessions.is_blacklisted(&name("t")));
}

#[test]
fn a_registered_connection_is_notified() {
    let (sessions, _) = sessions();
    let (mine, other) = (Arc::new(Client::default()), Arc::new(Client::default()));
    let _mine = sessions.register_connection(&name("s"), Arc::downgrade(&mine)).unwrap();
    let _other = sessions.register_connection(&name("t"), Arc::downgrade(&other)).unwrap();
    assert_eq!(sessions.blacklist(&name("s"), MINUTE).unwrap(), 1);
    assert_eq!((mine.times(), other.times()), (1, 0));
}

#[test]
fn d01_the_claim_that_names_a_session_is_the_one_that_is_checked() {
    let sessions = Sessions::in_memory(Config::new("/username").unwrap());
    let claims = serde_json::json!({"jti": "j1", "username": "bob"});
    let named = sessions.session_of(claims.as_object().unwrap()).unwrap();
    sessions.blacklist(&name("j1"), MINUTE).unwrap();
    assert!(!sessions.is_blacklisted(&named));
    sessions.blacklist(&name("bob"), MINUTE).unwrap();
    assert!(sessions.is_blacklisted(&named));
}

#[test]
fn d04_a_connection_of_a_blacklisted_session_is_refused() {
    let (sessions, _) = sessions();
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    let connection = Arc::new(Client::default());
    assert_eq!(
        sessions.register_connection(&name("s"), Arc::downgrade(&connection)).err(),
        Some(Blacklisted)
    );
    assert_eq!(sessions.counts().connections, 0);
}

#[test]
fn d08_validity_counts_down_on_the_given_clock() {
    let (sessions, hand) = sessions();
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    hand.forward(MINUTE - Duration::from_nanos(1));
    assert!(sessions.is_blacklisted(&name("s")));
    hand.forward(Duration::from_nanos(1));
    assert!(!sessions.is_blacklisted(&name("s")));
    sweep(&sessions);
    assert_eq!(sessions.counts().blacklisted, 0);
    assert_eq!(sessions.counts().blacklisted_ever, 1);
}

#[test]
fn a_later_revocation_never_shortens_an_earlier_one() {
    let (sessions, hand) = sessions();
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    sessions.blacklist(&name("s"), Duration::from_secs(1)).unwrap();
    hand.forward(Duration::from_secs(30));
    assert!(sessions.is_blacklisted(&name("s")));
}

#[test]
fn a_validity_beyond_the_clock_never_expires() {
    let (sessions, hand) = sessions();
    sessions.blacklist(&name("s"), Duration::MAX).unwrap();
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    hand.forward(100 * 365 * 24 * 60 * MINUTE);
    sweep(&sessions);
    assert!(sessions.is_blacklisted(&name("s")));
}

#[test]
fn a_revocation_that_was_long_on_its_way_still_ends_the_connections() {
    let (sessions, _) = sessions();
    let connection = Arc::new(Client::default());
    let _before = sessions.register_connection(&name("s"), Arc::downgrade(&connection)).unwrap();
    let late = Revocation::blacklist(&name("s"), Duration::ZERO);
    let late = Entry::Revoked { seq: 1, revocation: late, replaces: None };
    assert_eq!(sessions.apply(&late).finish().connections, 1);
    assert_eq!(connection.times(), 1);
    assert!(!sessions.is_blacklisted(&name("s")));
    assert_eq!(sessions.counts(), Counts::default());
}

#[test]
fn a_session_that_is_legal_again_can_be_used_and_blacklisted_again() {
    let (sessions, hand) = sessions();
    let connection = Arc::new(Client::default());
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    assert_eq!(sessions.counts().blacklisted_ever, 1, "it was illegal already");
    hand.forward(MINUTE);
    let _unswept = sessions.register_connection(&name("s"), Arc::downgrade(&connection)).unwrap();
    assert_eq!(sessions.blacklist(&name("s"), MINUTE).unwrap(), 1);
    assert_eq!(connection.times(), 1);
    assert_eq!(sessions.counts().blacklisted_ever, 2);
}

#[test]
fn d11_nothing_is_left_of_closed_sessions() {
    let (sessions, hand) = sessions();
    let connection = Arc::new(Client::default());
    let registrations: Vec<_> = (0..100_000)
        .map(|n| sessions.register_connection(&name(&n.to_string()), Arc::downgrade(&connection)).unwrap())
        .collect();
    for n in 100_000..150_000 {
        sessions.blacklist(&name(&n.to_string()), MINUTE).unwrap();
    }
    assert_eq!(sessions.counts().sessions, 100_000);
    drop(registrations);
    hand.forward(MINUTE);
    sweep(&sessions);
    let counts = sessions.counts();
    assert_eq!((counts.sessions, counts.connections, counts.blacklisted), (0, 0, 0));
    assert!(room(&sessions) <= SHARDS * 160, "room for {} entries is left", room(&sessions));
}

#[test]
fn d11_nothing_is_left_of_sessions_that_were_revoked() {
    struct Other;
    impl Connection for Other {
        fn session_killed(&self, _: &Arc<Ending>) -> Notified {
            Notified::ended()
        }
    }
    let (sessions, hand) = sessions();
    let connection = Arc::new(Other);
    let names: Vec<_> = (0..100_000).map(|n| name(&n.to_string())).collect();
    let register = |name| sessions.register_connection(name, Arc::downgrade(&connection)).unwrap();
    let registrations: Vec<_> = names.iter().chain(&names).map(register).collect();
    assert_eq!(sessions.counts().connections, 200_000);
    for name in &names {
        assert_eq!(sessions.blacklist(name, MINUTE).unwrap(), 2);
    }
    hand.forward(MINUTE);
    sweep(&sessions);
    let ever = Counts { blacklisted_ever: 100_000, ..Counts::default() };
    assert_eq!(sessions.counts(), ever);
    assert!(room(&sessions) <= SHARDS * 160, "room for {} entries is left", room(&sessions));
    drop(registrations);
    assert_eq!(sessions.counts(), ever, "what was taken out is not taken out twice");
}

#[test]
fn a_guard_undoes_its_own_registration_only() {
    let (sessions, hand) = sessions();
    let connection = Arc::new(Client::default());
    let old = sessions.register_connection(&name("s"), Arc::downgrade(&connection)).unwrap();
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    hand.forward(MINUTE);
    let new = sessions.register_connection(&name("s"), Arc::downgrade(&connection)).unwrap();
    drop(old);
    assert_eq!(sessions.counts().connections, 1);
    drop(new);
    assert_eq!(sessions.counts().connections, 0);
}

#[test]
fn all_devices_of_a_session_are_notified() {
    let (sessions, _) = sessions();
    let devices: Vec<_> = (0..100).map(|_| Arc::new(Client::default())).collect();
    let register = |device| sessions.register_connection(&name("s"), Arc::downgrade(device)).unwrap();
    let mut registrations: Vec<_> = devices.iter().map(register).collect();
    let left = registrations.remove(50);
    drop(left);
    assert_eq!((sessions.counts().sessions, sessions.counts().connections), (1, 99));
    assert_eq!(sessions.blacklist(&name("s"), MINUTE).unwrap(), 99);
    assert!(devices.iter().enumerate().all(|(n, device)| device.times() == usize::from(n != 50)));
}

#[test]
fn a_connection_of_two_sessions_is_notified_by_either() {
    let (sessions, _) = sessions();
    let connection = Arc::new(Client::default());
    let both =
        ["s", "t"].map(|n| sessions.register_connection(&name(n), Arc::downgrade(&connection)).unwrap());
    sessions.blacklist(&name("t"), MINUTE).unwrap();
    assert_eq!(connection.times(), 1);
    assert_eq!(sessions.counts().sessions, 1, "it has its place in the other until it is dropped");
    drop(both);
    assert_eq!(sessions.counts().connections, 0);
}

/// A connection that drops its registrations when it is notified, like one that closes at once.
#[derive(Default)]
struct EndsAtOnce(Mutex<Vec<Registration>>);

impl Connection for EndsAtOnce {
    fn session_killed(&self, _: &Arc<Ending>) -> Notified {
        self.0.lock().clear();
        Notified::ended()
    }
}

#[test]
fn a_connection_may_drop_its_registrations_when_it_is_notified() {
    let (sessions, _) = sessions();
    let connection = Arc::new(EndsAtOnce::default());
    for n in ["s", "t"] {
        let registration = sessions.register_connection(&name(n), Arc::downgrade(&connection)).unwrap();
        connection.0.lock().push(registration);
    }
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    assert_eq!(sessions.counts().connections, 0);
    assert!(!sessions.is_blacklisted(&name("t")));
}

#[test]
fn a_panic_of_one_connection_spares_no_other() {
    struct Panics;
    impl Connection for Panics {
        fn session_killed(&self, _: &Arc<Ending>) -> Notified {
            panic!("a broken connection");
        }
    }
    let (sessions, _) = sessions();
    let (broken, sound) = (Arc::new(Panics), Arc::new(Client::default()));
    let _broken = sessions.register_connection(&name("s"), Arc::downgrade(&broken)).unwrap();
    let _sound = sessions.register_connection(&name("s"), Arc::downgrade(&sound)).unwrap();
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    assert_eq!(sound.times(), 1);
}

#[test]
fn what_the_log_does_not_keep_is_in_force_and_reported() {
    let sessions = Sessions::new(Config::default(), Broken { empty: true }).unwrap();
    let connection = Arc::new(Client::default());
    let _registration = sessions.register_connection(&name("s"), Arc::downgrade(&connection)).unwrap();
    let error = sessions.blacklist(&name("s"), MINUTE).unwrap_err();
    assert_eq!(error.to_string(), "the revocation log failed: disk full");
    assert!(sessions.is_blacklisted(&name("s")));
    assert_eq!(connection.times(), 1);
}

#[test]
fn what_the_log_has_kept_is_in_force_from_the_start() {
    let log = Kept::default();
    let before = Sessions::new(Config::default(), log.clone()).unwrap();
    before.blacklist(&name("s"), MINUTE).unwrap();
    before.blacklist(&name("t"), Duration::ZERO).unwrap();
    let after = Sessions::new(Config::default(), log.clone()).unwrap();
    assert!(after.is_blacklisted(&name("s")));
    assert_eq!(log.page(None, 10).unwrap().len(), 1, "neither zero nor what was loaded is appended");
}

#[test]
fn without_its_log_no_node_starts() {
    assert!(Sessions::new(Config::default(), Broken { empty: false }).is_err());
}

#[test]
fn what_the_log_did_not_keep_can_be_lifted_and_is_replaced_by_what_it_keeps() {
    let log = Kept::default();
    log.fail(true);
    let sessions = Sessions::new(Config::default(), log.clone()).unwrap();
    let id = RevocationId::new("session-blacklist/s").unwrap();
    sessions.blacklist(&name("s"), MINUTE).unwrap_err();
    sessions.blacklist(&name("s"), MINUTE).unwrap_err();
    assert!(sessions.lift(&id, None).unwrap().is_some());
    assert!(!sessions.is_blacklisted(&name("s")), "each try took the place of the one before");
    sessions.blacklist(&name("s"), MINUTE).unwrap_err();
    log.fail(false);
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    assert!(sessions.is_blacklisted(&name("s")));
    assert_eq!(sessions.counts().blacklisted, 1);
    assert!(sessions.lift(&id, None).unwrap().is_some());
    assert!(!sessions.is_blacklisted(&name("s")));
}

#[test]
fn a_revocation_by_a_claim_that_is_gone_from_the_settings_ends_the_start() {
    let log = Kept::default();
    let by_user = || Config::default().with_revocation_claims(["/sub"]).expect("a pointer");
    let before = Sessions::new(by_user(), log.clone()).unwrap();
    let selector = by_user().selector(None, "/sub", name("alice")).unwrap();
    before.revoke(&Revocation { selector, ..Revocation::blacklist(&name("x"), MINUTE) }, true).unwrap();
    let error = Sessions::new(Config::default(), log.clone()).unwrap_err().to_string();
    assert!(error.contains("revocations by /sub,") && error.contains("REVOCATION_CLAIMS"), "{error}");
    let by_session = Sessions::new(Config::new("/sub").unwrap(), log).unwrap();
    assert!(by_session.is_blacklisted(&name("alice")), "the claim names the session now");
}
