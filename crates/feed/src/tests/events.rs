use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use identity::{Action, EventName, FeedConfig};
use serde_json::{Value, json};
use session::{Cause, MemoryLog};

use super::logouts::FullLog;
use super::world::*;

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type/";

/// Returns the claims of an event about a user, which has happened in this second.
pub(super) fn claims(id: &str, kind: &str, user: &str, at: u64) -> Value {
    json!({
        "iss": ISSUER, "aud": "rig", "iat": now(), "jti": id,
        "sub_id": { "format": "iss_sub", "iss": ISSUER, "sub": user },
        "events": { format!("{CAEP}{kind}"): { "event_timestamp": at } },
    })
}

pub(super) fn set(claims: &Value) -> String {
    sign("secevent+jwt", claims)
}

#[tokio::test]
async fn i31_a_pushed_event_revokes_up_to_its_second() {
    let world = World::new();
    let at = now() - 30;
    let open = |iat: u64| world.open(json!({ "sub": "alice", "sid": "s", "iat": iat }));
    let older = open(at - 30).unwrap();
    let answered = world.push(&set(&claims("e-1", "session-revoked", "alice", at))).await;
    assert_eq!((answered.status.as_u16(), answered.body.as_str()), (202, ""));
    assert_eq!(older.cause(), Some(Cause::Revoked));
    assert!(open(at + 2).is_none() && open(at + 3).is_some());
    let [record] = &world.records().await[..] else { panic!("one record") };
    assert_eq!(record.revocation.reason.as_deref(), Some("security event session-revoked, jti e-1"));
    assert_eq!(record.revocation.by.as_deref(), Some("issuer:kc"));
    assert_eq!(world.count("events", "revoked"), 1);
}

#[tokio::test]
async fn i32_errors_have_codes_and_what_is_unknown_is_accepted() {
    let world = World::new();
    let good = claims("e-1", "session-revoked", "alice", now());
    let change = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        set(&claims)
    };
    let forged = format!("{}x", set(&good));
    let cases = [
        (sign("JWT", &good), "invalid_request", "typ: not the type of this statement"),
        (change("iat", json!("x")), "invalid_request", "iat: expected a number of seconds since 1970"),
        (change("jti", Value::Null), "invalid_request", "jti: missing"),
        (change("events", json!([])), "invalid_request", "events: expected an object"),
        (change("exp", json!(1)), "invalid_request", "exp: in the past"),
        (change("iss", json!(SECOND)), "invalid_issuer", "wrong issuer"),
        (change("aud", json!("other")), "invalid_audience", "aud: not an audience that is configured"),
        (forged, "invalid_key", "Invalid signature"),
        ("a.b.c.d.e".to_owned(), "invalid_key", "Invalid signature"),
        ("not a token".to_owned(), "invalid_request", "expected a signed JWT in its compact form"),
        (String::new(), "invalid_request", "expected a signed JWT in its compact form"),
    ];
    let count = cases.len() as u64;
    for (set, err, description) in cases {
        let answered = world.push(&set).await;
        assert_eq!(answered.status, 400, "{description}");
        assert_eq!(answered.json(), json!({ "err": err, "description": description }));
        assert_eq!(answered.header("content-language"), Some("en"));
        assert_eq!(answered.header("content-type"), Some("application/json"));
    }
    assert_eq!(world.count("events", "invalid"), count);
    assert!(world.records().await.is_empty());
    for (set, result) in [
        (change("events", json!({ "urn:example:unknown": {} })), "ignored"),
        (change("sub_id", json!({ "format": "did", "url": "did:example:1" })), "unmapped"),
    ] {
        assert_eq!(world.push(&set).await.status, 202);
        assert_eq!(world.count("events", result), 1, "{result}");
    }
    // Twice the same.
    let open = world.open(json!({ "sub": "alice", "sid": "s", "iat": now() - 60 })).unwrap();
    assert_eq!(world.push(&set(&good)).await.status, 202);
    let before = world.records().await;
    assert_eq!(world.push(&format!(" {}\n", set(&good))).await.status, 202);
    let after = world.records().await;
    assert_eq!((open.cause(), before.len(), after.len()), (Some(Cause::Revoked), 1, 1));
    assert_eq!(before[0].revocation.issued_up_to, after[0].revocation.issued_up_to);
    assert_eq!((world.count("events", "revoked"), world.count("events", "repeated")), (1, 1));
}

#[tokio::test]
async fn i32_an_event_that_disconnects_does_so_once() {
    let mut config = config();
    config.events.as_mut().unwrap().actions.insert(EventName::SessionRevoked, Action::Disconnect);
    let world = World::with(config, MemoryLog::new());
    let token = || json!({ "sub": "alice", "sid": "s", "iat": now() - 60 });
    let first = world.open(token()).unwrap();
    let event = set(&claims("e-1", "session-revoked", "alice", now() - 30));
    assert_eq!(world.push(&event).await.status, 202);
    assert_eq!(first.cause(), Some(Cause::Disconnected));
    // The token is valid, and the same statement terminates nothing a second time.
    let second = world.open(token()).expect("the token is valid");
    assert_eq!(world.push(&event).await.status, 202);
    assert!(second.cause().is_none());
    let results = ["revoked", "repeated"].map(|result| world.count("events", result));
    assert_eq!((results, world.records().await.len()), ([1, 1], 1));
    // Another event does, even if its transmitter gives it the same id.
    assert_eq!(world.push(&set(&claims("e-1", "session-revoked", "alice", now() - 20))).await.status, 202);
    assert_eq!(second.cause(), Some(Cause::Disconnected));
    let newer = world.open(json!({ "sub": "alice", "sid": "s", "iat": now() - 5 })).unwrap();
    assert_eq!(world.push(&set(&claims("e-2", "session-revoked", "alice", now() - 20))).await.status, 202);
    assert!(newer.cause().is_none(), "its token is newer than the event");
}

#[tokio::test]
async fn i32_a_transmitter_presents_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "t0ken\n").unwrap();
    let mut config = config();
    config.events.as_mut().unwrap().bearer_file = Some(file.clone());
    let world = World::with(config, MemoryLog::new());
    let event = set(&claims("e-1", "session-revoked", "alice", now()));
    let push = async |authorization: Option<&str>| {
        let mut headers = vec![("content-type", "application/secevent+jwt")];
        headers.extend(authorization.map(|value| ("authorization", value)));
        let answered = world.post("kc/events", &headers, event.clone()).await;
        (answered.status.as_u16(), answered.json()["err"].as_str().unwrap_or_default().to_owned())
    };
    let failed = (400, "authentication_failed".to_owned());
    for wrong in [None, Some("Bearer other"), Some("Basic dDBrZW4="), Some("Bearer t0ken2"), Some("t0ken")] {
        assert_eq!(push(wrong).await, failed, "{wrong:?}");
    }
    assert!(world.records().await.is_empty());
    assert_eq!(push(Some("bearer t0ken")).await, (202, String::new()));
    std::fs::write(&file, "another").unwrap();
    world.feeds.refresh(false);
    assert_eq!(push(Some("Bearer t0ken")).await, failed);
    assert_eq!(push(Some("Bearer another")).await, (202, String::new()));
}

/// Transmitters do not repeat what is refused with 400.
#[tokio::test]
async fn events_are_not_refused_while_the_token_of_transmitters_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let mut config = config();
    config.events.as_mut().unwrap().bearer_file = Some(file.clone());
    let world = World::with(config, MemoryLog::new());
    let event = set(&claims("e-1", "session-revoked", "alice", now()));
    let headers = [("content-type", "application/secevent+jwt"), ("authorization", "Bearer t0ken")];
    assert_eq!(world.post("kc/events", &headers, event.clone()).await.status, 503);
    assert_eq!(world.count("events", "unavailable"), 1);
    std::fs::write(&file, "t0ken").unwrap();
    world.feeds.refresh(false);
    assert_eq!(world.post("kc/events", &headers, event).await.status, 202);
}

#[tokio::test]
async fn i34_events_about_the_stream() {
    let mut with_state = config();
    with_state.events.as_mut().unwrap().verification_state = Some("asked".to_owned());
    let world = World::with(with_state, MemoryLog::new());
    let event = |kind: &str, event: Value| {
        let mut claims = claims("v", "session-revoked", "alice", now());
        claims["sub_id"] = json!({ "format": "opaque", "id": "stream-1" });
        claims["events"] = json!({ format!("{SSF}{kind}"): event });
        set(&claims)
    };
    assert_eq!(world.push(&event("verification", json!({ "state": "asked" }))).await.status, 202);
    let answered = world.push(&event("verification", json!({ "state": "other" }))).await;
    assert_eq!(
        answered.json(),
        json!({ "err": "invalid_state", "description": "state: not what was asked for" })
    );
    assert_eq!(world.push(&event("verification", json!({}))).await.status, 202);
    let stopped = r#"rig_feed_streams_stopped_total{issuer="kc"}"#;
    for (status, count) in [("enabled", 0), ("paused", 1), ("disabled", 2)] {
        assert_eq!(world.push(&event("stream-updated", json!({ "status": status }))).await.status, 202);
        assert_eq!(world.metric(stopped), count, "{status}");
    }
    assert!(world.records().await.is_empty());
}

#[tokio::test]
async fn each_alias_of_a_subject_is_revoked() {
    let world = World::new();
    let by_sub = world.open(json!({ "sub": "alice", "sid": "1", "iat": now() - 60 })).unwrap();
    let by_email =
        world.open(json!({ "sub": "b", "sid": "2", "email": "a@b.c", "iat": now() - 60 })).unwrap();
    let mut claims = claims("e", "session-revoked", "alice", now());
    claims["sub_id"] = json!({ "format": "aliases", "identifiers": [
        { "format": "iss_sub", "iss": ISSUER, "sub": "alice" }, { "format": "email", "email": "a@b.c" },
    ] });
    assert_eq!(world.push(&set(&claims)).await.status, 202);
    assert_eq!([by_sub.cause(), by_email.cause()], [Some(Cause::Revoked); 2]);
    assert_eq!((world.count("events", "revoked"), world.records().await.len()), (1, 2));
    // What counts is the most that one of them has done.
    let identifiers = claims["sub_id"]["identifiers"].as_array_mut().unwrap();
    identifiers.push(json!({ "format": "iss_sub", "iss": ISSUER, "sub": "bob" }));
    let carol = world.open(json!({ "sub": "carol", "sid": "3", "iat": now() - 60 })).unwrap();
    assert_eq!(world.push(&set(&claims)).await.status, 202);
    assert_eq!(world.count("events", "matched_nobody"), 1);
    let identifiers = claims["sub_id"]["identifiers"].as_array_mut().unwrap();
    identifiers.insert(0, json!({ "format": "iss_sub", "iss": ISSUER, "sub": "dave" }));
    identifiers.push(json!({ "format": "iss_sub", "iss": ISSUER, "sub": "carol" }));
    assert_eq!(world.push(&set(&claims)).await.status, 202);
    assert_eq!((world.count("events", "revoked"), carol.cause()), (2, Some(Cause::Revoked)));
}

/// The claims of an event about a user and about an email address.
fn of_aliases() -> Value {
    let mut claims = claims("e", "session-revoked", "alice", now() - 30);
    claims["sub_id"] = json!({ "format": "aliases", "identifiers": [
        { "format": "iss_sub", "iss": ISSUER, "sub": "alice" }, { "format": "email", "email": "a@b.c" },
    ] });
    claims
}

/// Opens a connection of each alias.
fn open_aliases(world: &World) -> [Open; 2] {
    let by_sub = json!({ "sub": "alice", "sid": "1", "iat": now() - 60 });
    let by_email = json!({ "sub": "b", "sid": "2", "email": "a@b.c", "iat": now() - 60 });
    [by_sub, by_email].map(|token| world.open(token).expect("the token is valid"))
}

#[tokio::test]
async fn i25_an_alias_that_cannot_be_kept_does_not_spare_the_next() {
    let full = Arc::new(AtomicBool::new(true));
    let world = World::with(config(), FullLog(MemoryLog::new(), full));
    let open = open_aliases(&world);
    let answered = world.push(&set(&of_aliases())).await;
    assert_eq!((answered.status.as_u16(), answered.header("retry-after")), (503, Some("5")));
    assert_eq!(open.map(|open| open.cause()), [Some(Cause::Revoked); 2]);
}

#[tokio::test]
async fn i32_an_event_that_disconnects_each_alias_does_so_once() {
    let mut config = config();
    config.events.as_mut().unwrap().actions.insert(EventName::SessionRevoked, Action::Disconnect);
    let world = World::with(config, MemoryLog::new());
    let (first, event) = (open_aliases(&world), set(&of_aliases()));
    assert_eq!(world.push(&event).await.status, 202);
    assert_eq!(first.map(|open| open.cause()), [Some(Cause::Disconnected); 2]);
    let second = open_aliases(&world);
    assert_eq!(world.push(&event).await.status, 202);
    assert_eq!(second.map(|open| open.cause()), [None; 2]);
    assert_eq!((world.count("events", "repeated"), world.records().await.len()), (1, 2));
}

#[tokio::test]
async fn i32_an_event_under_a_used_id_leaves_a_newer_token_alone() {
    let mut config = config();
    config.events.as_mut().unwrap().actions.insert(EventName::SessionRevoked, Action::Disconnect);
    let world = World::with(config, MemoryLog::new());
    let open = |iat: u64| world.open(json!({ "sub": "alice", "sid": "s", "iat": iat })).unwrap();
    assert_eq!(world.push(&set(&claims("e", "session-revoked", "alice", now() - 40))).await.status, 202);
    let (older, newer) = (open(now() - 60), open(now() - 5));
    assert_eq!(world.push(&set(&claims("e", "session-revoked", "alice", now() - 20))).await.status, 202);
    assert_eq!([older, newer].map(|open| open.cause()), [Some(Cause::Disconnected), None]);
}

#[tokio::test]
async fn statements_about_another_issuer_have_its_id() {
    let mut both = config();
    both.events.as_mut().unwrap().subject_issuers.push(identity::SubjectIssuer {
        id: "second".into(),
        issuer: SECOND.into(),
        aliases: Vec::new(),
        max_token_life: both.max_token_life,
        leeway: both.leeway,
    });
    let world = World::with(FeedConfig { ..both }, MemoryLog::new());
    let of = |issuer: &str| world.open_of(issuer, json!({ "sub": "1", "sid": issuer, "iat": now() - 60 }));
    let (first, second) = (of(ISSUER).unwrap(), of(SECOND).unwrap());
    let mut about = claims("e", "session-revoked", "1", now());
    about["sub_id"]["iss"] = SECOND.into();
    assert_eq!(world.push(&set(&about)).await.status, 202);
    assert_eq!((first.cause(), second.cause()), (None, Some(Cause::Revoked)));
    assert_eq!(world.push(&set(&claims("f", "session-revoked", "1", now()))).await.status, 202);
    let ids: Vec<_> = world.records().await.iter().map(|record| record.revocation.id.to_string()).collect();
    assert_eq!(ids, ["issuer/kc/sub/1", "issuer/second/sub/1"], "neither replaces the other");
    assert!(of(ISSUER).is_none() && of(SECOND).is_none());
}
