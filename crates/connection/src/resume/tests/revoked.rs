//! Revocations, and clients that come back after them.

use session::Revocation;

use super::*;

fn revoke(world: &World, session: &str) -> session::RevocationId {
    let revocation = Revocation::blacklist(&session.parse().unwrap(), Duration::from_secs(60));
    world.sessions.revoke(&revocation, true).unwrap();
    revocation.id
}

fn open_as(world: &World, session: &str, cursor: Option<&str>) -> Result<Arc<Connection>, String> {
    let mut opening = world.opening(&["a"], cursor);
    opening.subjects = vec![world.sessions.subject_of_session(&session.parse().unwrap())];
    let opened = world.hub.open_stream(opening, Encoding::SsePlain, Bytes::new());
    opened.map_err(|error| error.to_string())
}

#[test]
fn r17_a_revoked_session_does_not_come_back() {
    let world = World::new();
    let (_, cursor) = begin(&open_as(&world, "s", None).unwrap());
    world.publish("a", 0..3);
    revoke(&world, "s");
    let refused = open_as(&world, "s", Some(&cursor)).err().unwrap();
    assert_eq!(refused, "the session is blacklisted");
}

#[test]
fn r18_r21_nothing_from_before_a_revocation_even_if_it_was_lifted() {
    let world = World::new();
    let (_, cursor) = begin(&open_as(&world, "s", None).unwrap());
    world.publish("a", 0..3);
    let revocation = revoke(&world, "s");
    world.publish("a", 3..5);
    world.sessions.lift(&revocation, None).unwrap().expect("it was in force");
    let (rest, _) = begin(&open_as(&world, "s", Some(&cursor)).unwrap());
    assert!(rest.len() == 1 && rest[0].what.contains("revoked"), "{rest:?}");
    let id = rest[0].id.clone().unwrap();
    // Another session is not concerned, and after the revocation there is a place to come back to.
    let (rest, _) = begin(&open_as(&world, "other", Some(&cursor)).unwrap());
    assert_eq!(whats(&rest), ["0", "1", "2", "3", "4", r#"{"events":5}"#]);
    world.publish("a", 5..6);
    let (rest, _) = begin(&open_as(&world, "s", Some(&id)).unwrap());
    assert_eq!(whats(&rest), ["5", r#"{"events":1}"#]);
}

#[test]
fn r19_a_connection_that_is_behind_gets_nothing_after_its_revocation() {
    let world = World::new();
    let (_, cursor) = begin(&open_as(&world, "s", None).unwrap());
    world.publish("a", 0..900);
    let back = open_as(&world, "s", Some(&cursor)).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..100 {
        assert!(back.poll_pop(&mut cx).is_ready());
    }
    revoke(&world, "s");
    let rest = read(&back);
    assert_eq!(rest.len(), 1);
    assert_eq!((&*rest[0].event_type, rest[0].id.as_deref()), ("rig.session_killed", Some("")));
}
