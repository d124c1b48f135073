use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use identity::LogoutEnds;
use serde_json::{Value, json};
use session::{
    Appended, Cause, Entry, Log, LogError, MemoryLog, NodeName, Operation, Place, Position, Receipt,
};
use session::{Record, Revocation, RevocationId, Seq, StateCursor, StatePage};
use tokio::time::Instant;

use super::world::*;
use crate::{FeedName, StatementResult};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Returns the claims of a logout that was stated in this second.
pub(super) fn claims(at: u64, who: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": "gateway", "iat": at, "exp": now() + 120, "jti": "j-1", "events": { EVENT: {} },
    });
    for (name, value) in who.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn logout(at: u64, who: Value) -> String {
    sign("logout+jwt", &claims(at, who))
}

#[tokio::test]
async fn i19_a_logout_ends_the_session_and_no_other() {
    let world = World::new();
    let open = |sid: &str| world.open(json!({ "sub": "alice", "sid": sid, "iat": now() - 60 })).unwrap();
    let (one, other) = (open("s-1"), open("s-2"));
    let second = world.open_of(SECOND, json!({ "sub": "alice", "sid": "s-1", "iat": now() - 60 })).unwrap();
    let answered = world.log_out(&logout(now(), json!({ "sub": "alice", "sid": "s-1" }))).await;
    assert_eq!((answered.status.as_u16(), answered.body.as_str()), (200, ""));
    assert_eq!((one.cause(), other.cause(), second.cause()), (Some(Cause::Revoked), None, None));
    assert!(world.open(json!({ "sub": "alice", "sid": "s-1", "iat": now() - 60 })).is_none());
    assert_eq!(world.count("logout", "revoked"), 1);
    let [record] = &world.records().await[..] else { panic!("one record") };
    assert_eq!(record.revocation.by.as_deref(), Some("issuer:kc"));
    assert_eq!(record.revocation.reason.as_deref(), Some("back-channel logout, jti j-1"));
    assert_eq!(record.revocation.id.as_str(), "issuer/kc/sid/s-1");
    // Three seconds longer than a day and the leeway: for tokens that were issued after the logout.
    let day = 24 * 3600 + 5 + 3;
    assert!((day - 5..=day + 2).contains(&record.left.as_secs()), "{:?}", record.left);
    let delays = r#"rig_feed_delay_seconds_count{issuer="kc",feed="logout"}"#;
    assert_eq!(world.metric(delays), 1);
    let last = world.feeds.last_statements("kc");
    assert_eq!((last.len(), last[0].feed, last[0].result), (1, FeedName::Logout, StatementResult::Revoked));
    assert!(world.feeds.last_statements("other").is_empty());
}

#[tokio::test]
async fn a_logout_that_cuts_a_request_has_revoked() {
    let world = World::new();
    let open = world.open(json!({ "sub": "alice", "sid": "s-1", "iat": now() - 60 })).unwrap();
    open.be_a_request();
    assert_eq!(world.log_out(&logout(now(), json!({ "sid": "s-1" }))).await.status, 200);
    assert_eq!((world.count("logout", "revoked"), world.count("logout", "matched_nobody")), (1, 0));
}

#[tokio::test]
async fn i20_a_logout_by_sub_ends_all_of_the_user_and_lets_a_later_login_in() {
    let world = World::new();
    let at = now() - 10;
    let open = |sid: &str, iat: u64| world.open(json!({ "sub": "alice", "sid": sid, "iat": iat }));
    let all = [open("s-1", at - 50).unwrap(), open("s-2", at - 500).unwrap()];
    let bob = world.open(json!({ "sub": "bob", "sid": "s-3", "iat": at - 50 })).unwrap();
    let answered = world.log_out(&logout(at, json!({ "sub": "alice" }))).await;
    assert_eq!(answered.status, 200);
    assert!(all.iter().all(|one| one.cause() == Some(Cause::Revoked)) && bob.cause().is_none());
    assert!(open("s-4", at + 2).is_none(), "issued within two seconds of it");
    assert!(open("s-4", at + 3).is_some(), "issued three seconds after it");
}

#[tokio::test]
async fn i22_a_refused_logout_revokes_nothing_and_names_the_claim() {
    let world = World::new();
    let open = world.open(json!({ "sub": "alice", "sid": "s-1", "iat": now() - 60 })).unwrap();
    let who = || json!({ "sub": "alice", "sid": "s-1" });
    let change = |name: &str, value: Value| {
        let mut claims = claims(now(), who());
        claims[name] = value;
        sign("logout+jwt", &claims)
    };
    let forged = format!("{}x", logout(now(), who()));
    let at = sign("at+jwt", &claims(now(), who()));
    for (token, text) in [
        (change("nonce", json!("n")), "nonce: must not be present"),
        (change("aud", json!("other")), "aud: not an audience that is configured"),
        (change("events", json!([EVENT])), "events: expected an object"),
        (change("exp", json!(now() - 60)), "exp: in the past"),
        (change("iss", json!(SECOND)), "logout_token: wrong issuer"),
        (at, "typ: not the type of this statement"),
        (forged, "logout_token: Invalid signature"),
        ("a.b".to_owned(), "logout_token: Invalid signature"),
        ("".to_owned(), "logout_token: Invalid signature"),
    ] {
        let answered = world.log_out(&token).await;
        assert_eq!(answered.status, 400, "{text}");
        assert_eq!(answered.header("content-type"), Some("application/json"));
        assert_eq!(answered.json(), json!({ "error": "invalid_request", "error_description": text }));
    }
    assert!(open.cause().is_none() && world.records().await.is_empty());
    assert_eq!(world.count("logout", "invalid"), 9);
    assert_eq!(world.feeds.last_statements("kc")[0].result, StatementResult::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i23_a_logout_that_is_repeated_a_thousand_times_has_one_effect() {
    let world = World::new();
    let open = world.open(json!({ "sub": "alice", "sid": "s-1", "iat": now() - 60 })).unwrap();
    let token = logout(now(), json!({ "sid": "s-1" }));
    let all = stream::iter(0..1000).map(|_| world.log_out(&token)).buffer_unordered(50);
    let statuses: Vec<u16> = all.map(|answered| answered.status.as_u16()).collect().await;
    assert!(statuses.len() == 1000 && statuses.iter().all(|status| *status == 200));
    assert_eq!(open.cause(), Some(Cause::Revoked));
    assert_eq!(world.records().await.len(), 1);
    assert_eq!(world.count("logout", "revoked"), 1);
    assert_eq!(world.count("logout", "repeated"), 999);
}

#[tokio::test]
async fn i23_many_logouts_of_a_user_are_one_revocation_with_the_latest_bound() {
    let world = World::new();
    let last = now();
    // In the order of their statements, and then the oldest again.
    for ago in (0..200).rev().chain([199]) {
        assert_eq!(world.log_out(&logout(last - ago, json!({ "sub": "alice" }))).await.status, 200, "{ago}");
    }
    let [record] = &world.records().await[..] else { panic!("one record") };
    assert_eq!(record.revocation.issued_up_to, Some(last + 2));
    assert_eq!(world.count("logout", "repeated"), 1);
    assert_eq!(world.count("logout", "matched_nobody"), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i23_the_audit_log_has_a_line_for_each_change() {
    let folder = tempfile::tempdir().unwrap();
    let on_disk = journal::Config {
        folder: folder.path().to_owned(),
        audit_key: None,
        node: NodeName::default(),
        clustered: false,
        outlets: Vec::new(),
    };
    let world = World::with(config(), journal::Journal::open(&on_disk).unwrap());
    let at = now() - 60;
    let tokens: Vec<_> = [0, 20, 40].map(|later| logout(at + later, json!({ "sub": "alice" }))).into();
    for token in &tokens {
        let all = stream::iter(0..100).map(|_| world.log_out(token)).buffer_unordered(50);
        let statuses: Vec<u16> = all.map(|answered| answered.status.as_u16()).collect().await;
        assert!(statuses.iter().all(|status| *status == 200));
    }
    // The first one again moves nothing back.
    assert_eq!(world.log_out(&tokens[0]).await.status, 200);
    let [record] = &world.records().await[..] else { panic!("one record") };
    assert_eq!(record.revocation.issued_up_to, Some(at + 42));
    let audit = std::fs::read_to_string(folder.path().join("audit.log")).unwrap();
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let by_issuer: Vec<_> = lines.iter().filter(|line| line["by"] == "issuer:kc").collect();
    assert_eq!(by_issuer.len(), 3, "{audit}");
    for line in by_issuer {
        assert_eq!(
            (&line["issuer"], &line["reason"]),
            (&json!(ISSUER), &json!("back-channel logout, jti j-1"))
        );
    }
}

#[tokio::test]
async fn i24_a_replayed_logout_leaves_a_newer_login_alone() {
    let world = World::new();
    let token = logout(now() - 30, json!({ "sub": "alice" }));
    assert_eq!(world.log_out(&token).await.status, 200);
    let newer = world.open(json!({ "sub": "alice", "sid": "s-9", "iat": now() - 10 })).unwrap();
    assert_eq!(world.log_out(&token).await.status, 200);
    assert!(newer.cause().is_none());
    assert_eq!((world.count("logout", "matched_nobody"), world.count("logout", "repeated")), (1, 1));
}

/// A log whose disk is full while the flag is set.
pub(super) struct FullLog(pub(super) MemoryLog, pub(super) Arc<AtomicBool>);

impl Log for FullLog {
    fn load(&self, each: &mut dyn FnMut(Entry)) -> Result<Position, LogError> {
        self.0.load(each)
    }

    fn append(&self, revocation: &Revocation) -> Result<Appended, LogError> {
        match self.1.load(SeqCst) {
            true => Err(LogError("no space left on device".into())),
            false => self.0.append(revocation),
        }
    }

    fn unshare(&self, id: &RevocationId) -> Result<(), LogError> {
        self.0.unshare(id)
    }

    fn lift(&self, id: &RevocationId, by: Option<&str>) -> Result<Option<Record>, LogError> {
        self.0.lift(id, by)
    }

    fn record(&self, operations: &[(Operation, Place)]) -> Result<Vec<Option<Entry>>, LogError> {
        self.0.record(operations)
    }

    fn advance(&self, position: Position) {
        self.0.advance(position);
    }

    fn unshared(&self, after: Seq, limit: usize) -> Result<Vec<Record>, LogError> {
        self.0.unshared(after, limit)
    }

    fn unshared_count(&self) -> u64 {
        self.0.unshared_count()
    }

    fn states(&self, after: Option<&StateCursor>, limit: usize) -> Result<StatePage, LogError> {
        self.0.states(after, limit)
    }

    fn lifted(&self, id: &RevocationId) -> Result<Option<u32>, LogError> {
        self.0.lifted(id)
    }

    fn receipt(&self, seq: Seq, node: &NodeName, receipt: Receipt) {
        self.0.receipt(seq, node, receipt);
    }

    fn find(&self, id: &RevocationId) -> Result<Option<Record>, LogError> {
        self.0.find(id)
    }

    fn page(&self, before: Option<Seq>, limit: usize) -> Result<Vec<Record>, LogError> {
        self.0.page(before, limit)
    }
}

#[tokio::test]
async fn i25_a_logout_that_is_not_kept_is_in_force_and_may_be_repeated() {
    let full = Arc::new(AtomicBool::new(true));
    let world = World::with(config(), FullLog(MemoryLog::new(), full.clone()));
    let open = world.open(json!({ "sub": "alice", "sid": "s-1", "iat": now() - 60 })).unwrap();
    let token = logout(now(), json!({ "sid": "s-1" }));
    let answered = world.log_out(&token).await;
    assert_eq!((answered.status.as_u16(), answered.header("retry-after")), (503, Some("5")));
    assert_eq!(open.cause(), Some(Cause::Revoked));
    assert_eq!(world.count("logout", "unavailable"), 1);
    full.store(false, SeqCst);
    assert_eq!(world.log_out(&token).await.status, 200);
    assert_eq!(world.records().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn i26_a_new_key_is_fetched_and_one_that_cannot_be_had_is_503_within_two_seconds() {
    let world = World::new();
    let known = logout(now(), json!({ "sid": "s-1" }));
    let new = sign_anew("logout+jwt", &claims(now(), json!({ "sid": "s-1" })));
    for (keys, token, seconds) in [(Keys::Away, &known, 0), (Keys::Away, &new, 0), (Keys::Hanging, &new, 2)] {
        *world.keys.keys.lock() = keys;
        let began = Instant::now();
        let answered = world.log_out(token).await;
        assert_eq!((answered.status.as_u16(), answered.header("retry-after")), (503, Some("5")));
        assert_eq!(answered.json()["error"], "temporarily_unavailable");
        assert_eq!(began.elapsed().as_secs(), seconds);
    }
    assert_eq!(world.count("logout", "unavailable"), 3);
    *world.keys.keys.lock() = Keys::There;
    assert_eq!(world.log_out(&new).await.status, 200);
    assert_eq!(world.records().await.len(), 1);
}

#[tokio::test]
async fn i28_a_logout_before_the_client_connects() {
    let world = World::new();
    assert_eq!(world.log_out(&logout(now(), json!({ "sid": "s-1" }))).await.status, 200);
    assert_eq!(world.count("logout", "matched_nobody"), 1);
    assert!(world.open(json!({ "sub": "alice", "sid": "s-1", "iat": now() - 1 })).is_none());
}

#[tokio::test]
async fn i29_tokens_without_sid_and_logout_ends_user() {
    let world = World::new();
    let open = world.open(json!({ "sub": "alice", "iat": now() - 60 })).unwrap();
    world.seen.note(false);
    let who = || json!({ "sub": "alice", "sid": "s-1" });
    assert_eq!(world.log_out(&logout(now(), who())).await.status, 200);
    assert_eq!((world.count("logout", "matched_nobody"), open.cause()), (1, None));
    assert!(!world.seen.reports_missing(), "it was reported");

    let world =
        World::with(identity::FeedConfig { logout_ends: LogoutEnds::User, ..config() }, MemoryLog::new());
    let open = world.open(json!({ "sub": "alice", "iat": now() - 60 })).unwrap();
    world.seen.note(false);
    assert_eq!(world.log_out(&logout(now(), who())).await.status, 200);
    assert_eq!((world.count("logout", "revoked"), open.cause()), (1, Some(Cause::Revoked)));
    assert!(world.seen.reports_missing(), "the logout was not by session");
}

#[tokio::test]
async fn an_old_logout_that_means_no_living_token_changes_nothing() {
    let world = World::new();
    assert_eq!(world.log_out(&logout(now() - 2 * 86_400, json!({ "sub": "alice" }))).await.status, 200);
    assert!(world.records().await.is_empty());
    assert_eq!(world.count("logout", "ignored"), 1);
}

#[tokio::test]
async fn what_a_logout_asks_for_is_done_although_its_sender_leaves() {
    let world = World::new();
    let open = world.open(json!({ "sub": "alice", "sid": "s-1", "iat": now() - 60 })).unwrap();
    let token = logout(now(), json!({ "sid": "s-1" }));
    // Polled until it waits for the log, and then dropped.
    drop(tokio::time::timeout(Duration::ZERO, world.log_out(&token)).await);
    let done = async {
        while open.cause().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), done).await.expect("it is carried out");
}
