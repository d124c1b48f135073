//! Every interleaving of connecting, publishing, leaving, renewing and revoking, explored by loom.
//!
//! `cargo test -p rig-session --features loom --test loom --release`
#![cfg(feature = "loom")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use loom::sync::{Mutex, MutexGuard};
use loom::thread::{self, JoinHandle};
use rig_session::{
    Blacklisted, Clock, Config, Connection, Ending, Expiry, IssuerField, MemoryLog, Notified, Registration,
    Revocation, RevocationId, SessionName, Sessions, Subject, Verified,
};

const MINUTE: Duration = Duration::from_secs(60);

/// A connection as the gateway has it: deliveries and the kill take the same small lock of its
/// writer.
struct Client(Mutex<Writer>);

#[derive(Clone, Copy, Default)]
struct Writer {
    open: bool,
    killed: bool,
    /// Payloads that reached the client.
    written: usize,
}

impl Client {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Writer::default())))
    }

    /// Registers the connection. If that succeeds, opens the writer and sends the client its first
    /// payload.
    fn connect(self: &Arc<Self>, sessions: &Sessions) -> Result<Registration, Blacklisted> {
        let registration = sessions.register_connection(&name(), Arc::downgrade(self))?;
        self.lock().open = true;
        self.deliver();
        Ok(registration)
    }

    fn deliver(&self) {
        let mut writer = self.lock();
        if writer.open && !writer.killed {
            writer.written += 1;
        }
    }

    fn writer(&self) -> Writer {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.0.lock().expect("no thread of the model panics with the lock held")
    }
}

impl Connection for Client {
    fn session_killed(&self, _: &Arc<Ending>) -> Notified {
        self.lock().killed = true;
        Notified::ended()
    }
}

fn name() -> SessionName {
    "s".parse().expect("it is a name")
}

/// Revokes the session and returns how much had been written when that returned.
fn revoke(sessions: &Sessions, client: &Client) -> usize {
    sessions.blacklist(&name(), MINUTE).expect("the log in memory cannot fail");
    client.writer().written
}

fn publisher(client: &Arc<Client>) -> JoinHandle<()> {
    let client = client.clone();
    thread::spawn(move || client.deliver())
}

/// Checks the model in all interleavings with up to three preemptions, and that there were many.
fn explore(model: impl Fn() + Sync + Send + 'static) {
    let explored = Arc::new(AtomicUsize::new(0));
    let counted = explored.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let explored = explored.load(Ordering::Relaxed);
    assert!(explored > 10, "only {explored} interleavings: the model no longer sees the locks");
}

#[test]
fn no_gap_between_connecting_and_revoking() {
    explore(|| {
        let sessions = Sessions::in_memory(Config::default());
        let client = Client::new();
        let publishing = publisher(&client);
        let connecting = thread::spawn({
            let (sessions, client) = (sessions.clone(), client.clone());
            move || client.connect(&sessions)
        });
        let written = revoke(&sessions, &client);
        publishing.join().unwrap();
        let registration = connecting.join().unwrap();
        let writer = client.writer();
        assert_eq!(registration.is_ok(), writer.killed, "let in and not killed, or killed and not let in");
        assert_eq!(writer.written, written, "payload after the revocation had returned");
        assert_eq!(sessions.counts().connections, 0);
        assert!(sessions.is_blacklisted(&name()));
    });
}

#[test]
fn each_of_two_revocations_returns_after_the_kill() {
    explore(|| {
        let sessions = Sessions::in_memory(Config::default());
        let client = Client::new();
        let _registration = client.connect(&sessions).unwrap();
        let publishing = publisher(&client);
        let revoking = thread::spawn({
            let (sessions, client) = (sessions.clone(), client.clone());
            move || revoke(&sessions, &client)
        });
        let mine = revoke(&sessions, &client);
        let theirs = revoking.join().unwrap();
        publishing.join().unwrap();
        assert_eq!((mine, theirs), (client.writer().written, client.writer().written));
    });
}

#[test]
fn two_revocations_and_a_connect() {
    explore(|| {
        let sessions = Sessions::in_memory(Config::default());
        let client = Client::new();
        let revoking = thread::spawn({
            let (sessions, client) = (sessions.clone(), client.clone());
            move || revoke(&sessions, &client)
        });
        let connecting = thread::spawn({
            let (sessions, client) = (sessions.clone(), client.clone());
            move || client.connect(&sessions)
        });
        let mine = revoke(&sessions, &client);
        let theirs = revoking.join().unwrap();
        let registration = connecting.join().unwrap();
        let writer = client.writer();
        assert_eq!(registration.is_ok(), writer.killed);
        assert_eq!((mine, theirs), (writer.written, writer.written));
    });
}

#[test]
fn leaving_and_revoking_leave_nothing_behind() {
    explore(|| {
        let sessions = Sessions::in_memory(Config::default());
        let (leaver, stayer) = (Client::new(), Client::new());
        let leaving = leaver.connect(&sessions).unwrap();
        let _staying = stayer.connect(&sessions).unwrap();
        let publishing = publisher(&stayer);
        let leaving = thread::spawn(move || drop(leaving));
        let written = revoke(&sessions, &stayer);
        leaving.join().unwrap();
        publishing.join().unwrap();
        let writer = stayer.writer();
        assert!(writer.killed);
        assert_eq!(writer.written, written);
        assert_eq!(sessions.counts().connections, 0);
        assert!(sessions.is_blacklisted(&name()));
    });
}

#[test]
fn leaving_removes_no_other_connection() {
    explore(|| {
        let sessions = Sessions::in_memory(Config::default());
        let (leaver, comer) = (Client::new(), Client::new());
        let leaving = leaver.connect(&sessions).unwrap();
        let leaving = thread::spawn(move || drop(leaving));
        let coming = thread::spawn({
            let (sessions, comer) = (sessions.clone(), comer.clone());
            move || comer.connect(&sessions).unwrap()
        });
        leaving.join().unwrap();
        let _registration = coming.join().unwrap();
        assert_eq!(sessions.counts().connections, 1);
        revoke(&sessions, &comer);
        assert!(comer.writer().killed);
        assert!(!leaver.writer().killed);
    });
}

/// A clock that the model moves between its races, and the seconds it shows.
#[derive(Clone)]
struct Hand(Instant, Arc<AtomicUsize>);

impl Clock for Hand {
    fn now(&self) -> Instant {
        self.0 + Duration::from_secs(self.1.load(Ordering::SeqCst) as u64)
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.1.load(Ordering::SeqCst) as u64)
    }
}

fn with_tokens() -> (Sessions, Hand) {
    let expiry = Expiry::Ends { warning: Duration::ZERO, leeway: Duration::ZERO };
    let config = Config::default().with_revocation_claims(["/sub"]).unwrap().with_expiry(expiry);
    let hand = Hand(Instant::now(), Arc::default());
    (Sessions::with_clock(config, MemoryLog::with_clock(hand.clone()), hand.clone()).unwrap(), hand)
}

fn token(sessions: &Sessions, jti: &str, exp: u64) -> Subject {
    let claims = serde_json::json!({ "sub": "alice", "jti": jti, "exp": exp });
    sessions.subject(claims.as_object().unwrap()).unwrap()
}

fn of_alice(sessions: &Sessions, id: &str) -> Revocation {
    Revocation {
        id: RevocationId::new(id).unwrap(),
        selector: sessions.config().selector(None, "/sub", "alice".parse().unwrap()).unwrap(),
        extends: false,
        ..Revocation::blacklist(&name(), MINUTE)
    }
}

impl Client {
    fn connect_as(
        self: &Arc<Self>,
        sessions: &Sessions,
        subject: &Subject,
    ) -> Result<Registration, Blacklisted> {
        let registration = sessions.register(subject, Arc::downgrade(self))?;
        self.lock().open = true;
        self.deliver();
        Ok(registration)
    }
}

#[test]
fn no_gap_between_connecting_and_revoking_by_another_claim() {
    explore(|| {
        let (sessions, _) = with_tokens();
        let client = Client::new();
        let publishing = publisher(&client);
        let connecting = thread::spawn({
            let (sessions, client) = (sessions.clone(), client.clone());
            move || client.connect_as(&sessions, &token(&sessions, "s", 100))
        });
        sessions.revoke(&of_alice(&sessions, "r"), true).unwrap();
        let written = client.writer().written;
        publishing.join().unwrap();
        let registration = connecting.join().unwrap();
        let writer = client.writer();
        assert_eq!(registration.is_ok(), writer.killed, "let in and not killed, or killed and not let in");
        assert_eq!(writer.written, written, "payload after the revocation had returned");
    });
}

#[test]
fn revocations_by_two_selectors_each_return_after_the_kill() {
    explore(|| {
        let (sessions, _) = with_tokens();
        let client = Client::new();
        let _registration = client.connect_as(&sessions, &token(&sessions, "s", 100)).unwrap();
        let publishing = publisher(&client);
        let revoking = thread::spawn({
            let (sessions, client) = (sessions.clone(), client.clone());
            move || revoke(&sessions, &client)
        });
        sessions.revoke(&of_alice(&sessions, "r"), true).unwrap();
        let mine = client.writer().written;
        let theirs = revoking.join().unwrap();
        publishing.join().unwrap();
        assert_eq!((mine, theirs), (client.writer().written, client.writer().written));
    });
}

#[test]
fn a_renewal_comes_before_the_end_of_the_token_or_the_connection_ends() {
    explore(|| {
        let (sessions, hand) = with_tokens();
        let client = Client::new();
        let mut old = client.connect_as(&sessions, &token(&sessions, "old", 10)).unwrap();
        hand.1.store(10, Ordering::SeqCst);
        let sweeping = thread::spawn({
            let sessions = sessions.clone();
            move || drop(sessions.sweep())
        });
        let new = sessions.register(&token(&sessions, "new", 100), Arc::downgrade(&client)).unwrap();
        let renewed = old.renew(&new);
        sweeping.join().unwrap();
        assert_eq!(renewed.is_ok(), !client.writer().killed, "renewed and ended, or neither");
        hand.1.store(100, Ordering::SeqCst);
        drop(sessions.sweep());
        assert!(client.writer().killed, "a renewed token ends too");
    });
}

#[test]
fn a_renewal_does_not_outlive_a_revocation() {
    explore(|| {
        let (sessions, _) = with_tokens();
        let client = Client::new();
        let mut old = client.connect_as(&sessions, &token(&sessions, "s", 10)).unwrap();
        let revoking = thread::spawn({
            let (sessions, client) = (sessions.clone(), client.clone());
            move || revoke(&sessions, &client)
        });
        // The new token is of another session, the connection still belongs to the old one too.
        let new = sessions.register(&token(&sessions, "new", 100), Arc::downgrade(&client)).unwrap();
        let _ = old.renew(&new);
        client.deliver();
        let written = revoking.join().unwrap();
        let writer = client.writer();
        assert!(writer.killed);
        assert_eq!(writer.written, written);
    });
}

#[test]
fn lifting_takes_back_nothing_of_another_revocation() {
    explore(|| {
        let (sessions, _) = with_tokens();
        sessions.revoke(&of_alice(&sessions, "first"), true).unwrap();
        let lifting = thread::spawn({
            let sessions = sessions.clone();
            move || sessions.lift(&RevocationId::new("first").unwrap(), None).unwrap()
        });
        sessions.revoke(&of_alice(&sessions, "second"), true).unwrap();
        assert!(lifting.join().unwrap().is_some());
        assert!(sessions.bars(&token(&sessions, "s", 100)), "the second stands");
        sessions.lift(&RevocationId::new("second").unwrap(), None).unwrap();
        assert!(!sessions.bars(&token(&sessions, "s", 100)));
    });
}

#[test]
fn a_revocation_that_is_lifted_while_it_is_applied_is_lifted() {
    explore(|| {
        let (sessions, _) = with_tokens();
        let lifting = thread::spawn({
            let sessions = sessions.clone();
            move || sessions.lift(&RevocationId::new("r").unwrap(), None).unwrap().is_some()
        });
        sessions.revoke(&of_alice(&sessions, "r"), true).unwrap();
        let lifted = lifting.join().unwrap();
        assert_eq!(sessions.bars(&token(&sessions, "s", 100)), !lifted);
    });
}

/// The standing revocation of alice, of the tokens that one issuer has issued up to this second.
fn statement(sessions: &Sessions, issued_up_to: u64) -> Revocation {
    let selector = sessions.config().selector(Some(ISSUER), "/sub", "alice".parse().unwrap()).unwrap();
    let (by, reason) = ("issuer:i".to_owned(), "logout".to_owned());
    Revocation::standing("i", "/sub", selector, issued_up_to, MINUTE, by, reason)
}

const ISSUER: &str = "https://id.example";

fn with_issuer() -> Sessions {
    let issuer =
        IssuerField { issuer: ISSUER.into(), session_field: "/jti".to_owned(), ..IssuerField::default() };
    let config = Config::default().with_issuers(vec![issuer], true).unwrap();
    let hand = Hand(Instant::now(), Arc::new(AtomicUsize::new(1000)));
    Sessions::with_clock(config, MemoryLog::with_clock(hand.clone()), hand).unwrap()
}

fn issued_at(sessions: &Sessions, iat: u64) -> Subject {
    let claims = serde_json::json!({ "sub": "alice", "jti": "s", "iat": iat });
    let claims = claims.as_object().unwrap();
    sessions.subject(Verified { claims, issuer: Some(ISSUER), marks: &[] }).unwrap()
}

#[test]
fn of_two_statements_the_later_bound_is_left_in_one_entry() {
    explore(|| {
        let sessions = with_issuer();
        let client = Client::new();
        let connecting = thread::spawn({
            let (sessions, client) = (sessions.clone(), client.clone());
            move || client.connect_as(&sessions, &issued_at(&sessions, 150))
        });
        let moving = thread::spawn({
            let sessions = sessions.clone();
            move || sessions.revoke(&statement(&sessions, 200), true).unwrap()
        });
        sessions.revoke(&statement(&sessions, 100), true).unwrap();
        moving.join().unwrap();
        let registration = connecting.join().unwrap();
        assert_eq!(registration.is_ok(), client.writer().killed);
        assert!(sessions.bars(&issued_at(&sessions, 200)) && !sessions.bars(&issued_at(&sessions, 201)));
        assert_eq!(sessions.counts().blacklisted, 1);
        sessions.lift(&statement(&sessions, 0).id, None).unwrap();
        assert!(!sessions.bars(&issued_at(&sessions, 1)), "an entry that no lift can remove is left");
    });
}

#[test]
fn of_two_that_extend_each_other_one_entry_is_left() {
    explore(|| {
        let (sessions, _) = with_tokens();
        let extending = thread::spawn({
            let sessions = sessions.clone();
            move || sessions.blacklist(&name(), 3 * MINUTE).unwrap()
        });
        sessions.blacklist(&name(), 2 * MINUTE).unwrap();
        extending.join().unwrap();
        assert!(sessions.is_blacklisted(&name()));
        sessions.lift(&RevocationId::new("session-blacklist/s").unwrap(), None).unwrap();
        assert!(!sessions.is_blacklisted(&name()), "an entry that no lift can remove is left");
    });
}
