//! Every interleaving of connecting, publishing, leaving and revoking, explored by loom.
//!
//! `cargo test -p rig-session --features loom --test loom --release`
#![cfg(feature = "loom")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loom::sync::{Mutex, MutexGuard};
use loom::thread::{self, JoinHandle};
use rig_session::{Blacklisted, Config, Connection, Registration, SessionName, Sessions};

const MINUTE: Duration = Duration::from_secs(60);

/// A connection as the gateway has it: deliveries and the kill take the same small lock of its writer.
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

    /// Registers, opens the writer where that is granted, and sends the client its first payload.
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
    fn session_killed(&self, _: &SessionName) {
        self.lock().killed = true;
    }
}

fn name() -> SessionName {
    "s".parse().expect("it is a name")
}

/// Revokes the session, and tells how much had been written when that returned.
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
fn leaving_takes_nobody_else_along() {
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
