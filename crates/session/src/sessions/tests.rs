use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::log::LogError;

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
}

/// Counts how often it was told.
#[derive(Default)]
struct Told(AtomicUsize);

impl Told {
    fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Connection for Told {
    fn session_killed(&self, _: &SessionName) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn name(text: &str) -> SessionName {
    text.parse().expect("a test name is a name")
}

fn sessions() -> (Sessions, Hand) {
    let hand = Hand::new();
    (Sessions::with_clock(Config::default(), MemoryLog, hand.clone()).expect("the memory log loads"), hand)
}

const MINUTE: Duration = Duration::from_secs(60);

// RIG's own three.

#[test]
fn zero_validity_is_a_no_op() {
    let (sessions, _) = sessions();
    let connection = Arc::new(Told::default());
    let _registration = sessions.register_connection(&name("s"), Arc::downgrade(&connection)).unwrap();
    assert_eq!(sessions.blacklist(&name("s"), Duration::ZERO).unwrap(), Applied { connections: 0 });
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
fn a_registered_connection_is_told() {
    let (sessions, _) = sessions();
    let (mine, other) = (Arc::new(Told::default()), Arc::new(Told::default()));
    let _mine = sessions.register_connection(&name("s"), Arc::downgrade(&mine)).unwrap();
    let _other = sessions.register_connection(&name("t"), Arc::downgrade(&other)).unwrap();
    assert_eq!(sessions.blacklist(&name("s"), MINUTE).unwrap(), Applied { connections: 1 });
    assert_eq!((mine.times(), other.times()), (1, 0));
}

#[test]
fn d01_the_claim_that_names_a_session_is_the_one_that_is_checked() {
    let sessions = Sessions::in_memory(Config::new("/username").unwrap());
    let claims = serde_json::json!({"jti": "j1", "username": "bob"});
    let named = sessions.from_claims(claims.as_object().unwrap()).unwrap();
    sessions.blacklist(&name("j1"), MINUTE).unwrap();
    assert!(!sessions.is_blacklisted(&named));
    sessions.blacklist(&name("bob"), MINUTE).unwrap();
    assert!(sessions.is_blacklisted(&named));
}

#[test]
fn d04_a_connection_of_a_blacklisted_session_is_refused() {
    let (sessions, _) = sessions();
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    let connection = Arc::new(Told::default());
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
    sessions.sweep();
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
fn a_validity_beyond_the_clock_is_for_ever() {
    let (sessions, hand) = sessions();
    sessions.blacklist(&name("s"), Duration::MAX).unwrap();
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    hand.forward(100 * 365 * 24 * 60 * MINUTE);
    sessions.sweep();
    assert!(sessions.is_blacklisted(&name("s")));
}

#[test]
fn d11_nothing_is_left_of_sessions_that_are_over() {
    let (sessions, hand) = sessions();
    let connection = Arc::new(Told::default());
    let registrations: Vec<_> = (0..100_000)
        .map(|n| sessions.register_connection(&name(&n.to_string()), Arc::downgrade(&connection)).unwrap())
        .collect();
    for n in 100_000..150_000 {
        sessions.blacklist(&name(&n.to_string()), MINUTE).unwrap();
    }
    assert_eq!(sessions.counts().sessions, 100_000);
    drop(registrations);
    hand.forward(MINUTE);
    sessions.sweep();
    let counts = sessions.counts();
    assert_eq!((counts.sessions, counts.connections, counts.blacklisted), (0, 0, 0));
    let room: usize = sessions.0.shards.iter().map(|shard| shard.lock().capacity()).sum();
    assert!(room <= SHARDS * 256, "room for {room} entries is left");
}

#[test]
fn a_guard_undoes_its_own_registration_only() {
    let (sessions, hand) = sessions();
    let connection = Arc::new(Told::default());
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
fn a_connection_of_two_sessions_is_told_by_either() {
    let (sessions, _) = sessions();
    let connection = Arc::new(Told::default());
    let both =
        ["s", "t"].map(|n| sessions.register_connection(&name(n), Arc::downgrade(&connection)).unwrap());
    sessions.blacklist(&name("t"), MINUTE).unwrap();
    assert_eq!(connection.times(), 1);
    drop(both);
    assert_eq!(sessions.counts().connections, 0);
}

#[test]
fn a_panic_of_one_connection_spares_no_other() {
    struct Panics;
    impl Connection for Panics {
        fn session_killed(&self, _: &SessionName) {
            panic!("a broken connection");
        }
    }
    let (sessions, _) = sessions();
    let (broken, sound) = (Arc::new(Panics), Arc::new(Told::default()));
    let _broken = sessions.register_connection(&name("s"), Arc::downgrade(&broken)).unwrap();
    let _sound = sessions.register_connection(&name("s"), Arc::downgrade(&sound)).unwrap();
    sessions.blacklist(&name("s"), MINUTE).unwrap();
    assert_eq!(sound.times(), 1);
}

/// A log that fails, or that remembers.
struct TestLog(Option<Vec<Revocation>>);

impl Log for TestLog {
    fn load(&self) -> Result<Vec<Revocation>, LogError> {
        Ok(self.0.clone().unwrap_or_default())
    }

    fn append(&self, _: &Revocation) -> Result<(), LogError> {
        self.0.as_ref().map(|_| ()).ok_or_else(|| LogError("disk full".into()))
    }
}

#[test]
fn what_the_log_does_not_keep_is_not_applied() {
    let sessions = Sessions::new(Config::default(), TestLog(None)).unwrap();
    assert!(sessions.blacklist(&name("s"), MINUTE).is_err());
    assert!(!sessions.is_blacklisted(&name("s")));
}

#[test]
fn what_the_log_has_kept_is_in_force_from_the_start() {
    let kept = vec![Revocation { session: name("s"), validity: MINUTE }];
    let sessions = Sessions::new(Config::default(), TestLog(Some(kept))).unwrap();
    assert!(sessions.is_blacklisted(&name("s")));
}

#[derive(Clone, Debug)]
enum Step {
    Register(u8),
    Drop(usize),
    Blacklist(u8, u64),
    Forward(u64),
    Sweep,
}

proptest! {
    /// Whatever happens in whatever order, the registry agrees with a model that scans.
    #[test]
    fn agrees_with_a_naive_model(steps in prop::collection::vec(prop_oneof![
        (0u8..4).prop_map(Step::Register),
        (0usize..8).prop_map(Step::Drop),
        (0u8..4, 0u64..5).prop_map(|(n, s)| Step::Blacklist(n, s)),
        (0u64..4).prop_map(Step::Forward),
        Just(Step::Sweep),
    ], 1..80)) {
        let (sessions, hand) = sessions();
        let mut now = 0;
        let mut blacklisted_until: HashMap<u8, u64> = HashMap::new();
        let mut open = Vec::new();
        for step in steps {
            match step {
                Step::Register(n) => {
                    let connection = Arc::new(Told::default());
                    let registered = sessions.register_connection(&name(&n.to_string()), Arc::downgrade(&connection));
                    let illegal = blacklisted_until.get(&n).is_some_and(|until| now < *until);
                    prop_assert_eq!(registered.is_err(), illegal);
                    open.extend(registered.ok().map(|guard| (n, connection, guard, 0)));
                }
                Step::Drop(at) if at < open.len() => drop(open.swap_remove(at)),
                Step::Drop(_) => {}
                Step::Blacklist(n, seconds) => {
                    sessions.blacklist(&name(&n.to_string()), Duration::from_secs(seconds)).unwrap();
                    if seconds > 0 {
                        let until = blacklisted_until.entry(n).or_default();
                        *until = (*until).max(now + seconds);
                        for (_, _, _, told) in open.iter_mut().filter(|(m, ..)| *m == n) {
                            *told = 1;
                        }
                    }
                }
                Step::Forward(seconds) => {
                    now += seconds;
                    hand.forward(Duration::from_secs(seconds));
                }
                Step::Sweep => sessions.sweep(),
            }
            for (_, connection, _, told) in &open {
                prop_assert_eq!(connection.times(), *told);
            }
            let alive: HashSet<u8> = open.iter().filter(|(.., told)| *told == 0).map(|(n, ..)| *n).collect();
            prop_assert_eq!(sessions.counts().sessions, alive.len());
        }
    }
}
