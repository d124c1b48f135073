//! Clients that come back while they are revoked.

use std::time::{SystemTime, UNIX_EPOCH};

use session::{Clock, Config as SessionConfig, IssuerField, MemoryLog, Revocation, SessionName, Verified};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const ISSUER: &str = "https://id.example";

fn name() -> SessionName {
    "s".parse().unwrap()
}

/// Nothing comes after the revocation has returned, but the farewell.
fn assert_silent(world: &World, connection: &Connection) {
    let mut blocks = Vec::new();
    world.read(connection, &mut blocks);
    let is_farewell = |block: &Block| block.is_own("rig.session_killed") && block.id.is_none();
    assert!(blocks.iter().all(is_farewell), "after the revocation had returned: {blocks:?}");
}

#[test]
fn r19_nothing_comes_after_a_revocation_to_a_client_that_comes_back() {
    explore(None, || {
        let world = World::new();
        let cursor = world.sequencer.head();
        drop(world.open(&["a"], None));
        world.publish("a", 0);
        let opened = Arc::new(Mutex::new(None::<Arc<Connection>>));
        let revoking = loom::thread::spawn({
            let (world, opened) = (world.clone(), opened.clone());
            move || {
                world.sessions.blacklist(&name(), MINUTE).unwrap();
                let opened = opened.lock().clone();
                opened.inspect(|connection| assert_silent(&world, connection));
            }
        });
        let is_revoked = world.sessions.is_blacklisted(&name());
        let subject = world.sessions.subject_of_session(&name());
        let connection = world.open_as(subject, Some(cursor)).ok();
        assert!(!is_revoked || connection.is_none(), "it was refused before");
        *opened.lock() = connection.clone();
        let mut blocks = Vec::new();
        if let Some(connection) = &connection {
            world.read(connection, &mut blocks);
        }
        revoking.join().unwrap();
        connection.inspect(|connection| {
            assert!(connection.close_reason().is_some(), "let in and not terminated");
            assert_silent(&world, connection);
        });
        assert_eq!(world.sessions.counts().connections, 0);
    });
}

#[test]
fn r19_nor_to_one_that_is_behind_while_events_are_published() {
    explore(Some(4), || {
        let world = World::new();
        let cursor = world.sequencer.head();
        drop(world.open(&["a"], None));
        world.publish("a", 0);
        let subject = world.sessions.subject_of_session(&name());
        let connection = world.open_as(subject, Some(cursor)).unwrap();
        let publishing = world.publisher("a", 1..2);
        let revoking = loom::thread::spawn({
            let (world, connection) = (world.clone(), connection.clone());
            move || {
                world.sessions.blacklist(&name(), MINUTE).unwrap();
                assert_silent(&world, &connection);
            }
        });
        world.read(&connection, &mut Vec::new());
        revoking.join().unwrap();
        assert_silent(&world, &connection);
        publishing.join().unwrap();
        assert_silent(&world, &connection);
    });
}

/// A clock that stands still.
#[derive(Clone)]
struct Still(Instant);

impl Clock for Still {
    fn now(&self) -> Instant {
        self.0
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1000)
    }
}

fn with_issuer() -> Sessions {
    let field = IssuerField { issuer: ISSUER.into(), session_field: "/jti".into(), ..IssuerField::default() };
    let config = SessionConfig::default().with_issuers(vec![field], true).unwrap();
    let clock = Still(Instant::now());
    Sessions::with_clock(config, MemoryLog::with_clock(clock.clone()), clock).unwrap()
}

fn issued_at(sessions: &Sessions, iat: u64) -> Subject {
    let claims = json!({ "sub": "alice", "jti": format!("s{iat}"), "iat": iat });
    let claims = claims.as_object().unwrap();
    sessions.subject(Verified { claims, issuer: Some(ISSUER), marks: &[] }).unwrap()
}

/// The revocation of the tokens of alice that were issued up to this second.
fn statement(sessions: &Sessions, issued_up_to: u64) -> Revocation {
    let selector = sessions.config().selector(Some(ISSUER), "/sub", "alice".parse().unwrap()).unwrap();
    let (by, reason) = ("issuer:i".to_owned(), "logout".to_owned());
    Revocation::standing("i", "/sub", selector, issued_up_to, MINUTE, by, reason)
}

/// Its token is newer than those that are revoked, its cursor is older than the revocation.
#[test]
fn r19_a_newer_token_does_not_bridge_the_revocation() {
    explore(None, || {
        let world = World::with(with_issuer());
        let (old, new) = (issued_at(&world.sessions, 100), issued_at(&world.sessions, 200));
        let cursor = world.sequencer.head();
        drop(world.open(&["a"], None));
        world.publish("a", 0);
        let revoking = loom::thread::spawn({
            let world = world.clone();
            move || {
                world.sessions.revoke(&statement(&world.sessions, 100), true).unwrap();
            }
        });
        let is_in_force = world.sessions.bars(&old);
        let connection = world.open_as(new, Some(cursor)).unwrap();
        let mut blocks = Vec::new();
        world.read(&connection, &mut blocks);
        revoking.join().unwrap();
        world.read(&connection, &mut blocks);
        let resumed = blocks.iter().any(|block| block.is_own("rig.resumed"));
        let gap = blocks.iter().any(|block| block.is_own("rig.gap revoked"));
        assert!(resumed != gap, "one of both: {blocks:?}");
        assert!(!is_in_force || gap, "bridged: {blocks:?}");
        let numbers: Vec<_> = blocks.iter().filter_map(Block::number).collect();
        assert_eq!(numbers, if resumed { vec![0] } else { vec![] });
        // What it was given is a place after the revocation, or one that does not bridge it.
        let again = world.open_as(issued_at(&world.sessions, 300), Some(cursor)).unwrap();
        blocks.clear();
        world.read(&again, &mut blocks);
        assert!(blocks.last().unwrap().is_own("rig.gap revoked"), "{blocks:?}");
    });
}
