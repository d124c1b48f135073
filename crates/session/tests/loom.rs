//! Every interleaving of connecting and revoking, explored by loom.
#![cfg(feature = "loom")]

use std::sync::{Arc, Weak};
use std::time::Duration;

use loom::sync::Mutex;
use loom::thread;
use rig_session::{Config, Connection, SessionName, Sessions};

const MINUTE: Duration = Duration::from_secs(60);

/// A writer as the connection room has it: deliveries and the kill take the same small lock.
#[derive(Default)]
struct State {
    killed: bool,
    /// Payload written.
    written: usize,
}

struct Client(Mutex<State>);

impl Client {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State::default())))
    }

    fn deliver(&self) {
        let mut state = self.0.lock().unwrap();
        if !state.killed {
            state.written += 1;
        }
    }

    fn is_killed(&self) -> bool {
        self.0.lock().unwrap().killed
    }

    fn written(&self) -> usize {
        self.0.lock().unwrap().written
    }
}

impl Connection for Client {
    fn session_killed(&self, _: &SessionName) {
        self.0.lock().unwrap().killed = true;
    }
}

fn name() -> SessionName {
    "s".parse().unwrap()
}

fn weak(client: &Arc<Client>) -> Weak<Client> {
    Arc::downgrade(client)
}

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(model);
}

#[test]
fn no_gap_between_connecting_and_revoking() {
    explore(|| {
        let sessions = Sessions::in_memory(Config::default());
        let client = Client::new();
        let connecting = thread::spawn({
            let (sessions, client) = (sessions.clone(), client.clone());
            move || {
                let registration = sessions.register_connection(&name(), weak(&client));
                if registration.is_ok() {
                    client.deliver();
                }
                registration
            }
        });
        sessions.blacklist(&name(), MINUTE).unwrap();
        let written = client.written();
        let killed = client.is_killed();
        let registration = connecting.join().unwrap();
        assert_eq!(
            registration.is_ok(),
            client.is_killed(),
            "let in and not killed, or killed and not let in"
        );
        if killed {
            assert_eq!(client.written(), written, "payload after the revocation had returned");
        }
        assert!(sessions.is_blacklisted(&name()));
    });
}

#[test]
fn nothing_is_delivered_after_the_revocation_has_returned() {
    explore(|| {
        let sessions = Sessions::in_memory(Config::default());
        let client = Client::new();
        let _registration = sessions.register_connection(&name(), weak(&client)).unwrap();
        let publishing = thread::spawn({
            let client = client.clone();
            move || {
                client.deliver();
                client.deliver();
            }
        });
        sessions.blacklist(&name(), MINUTE).unwrap();
        let written = client.written();
        publishing.join().unwrap();
        assert_eq!(client.written(), written);
    });
}

#[test]
fn two_revocations_and_a_connect() {
    explore(|| {
        let sessions = Sessions::in_memory(Config::default());
        let client = Client::new();
        let revoking = thread::spawn({
            let sessions = sessions.clone();
            move || sessions.blacklist(&name(), MINUTE).unwrap()
        });
        let connecting = thread::spawn({
            let (sessions, client) = (sessions.clone(), client.clone());
            move || sessions.register_connection(&name(), weak(&client))
        });
        sessions.blacklist(&name(), MINUTE).unwrap();
        revoking.join().unwrap();
        let registration = connecting.join().unwrap();
        assert_eq!(registration.is_ok(), client.is_killed());
    });
}

#[test]
fn leaving_and_revoking_leave_nothing_behind() {
    explore(|| {
        let sessions = Sessions::in_memory(Config::default());
        let client = Client::new();
        let registration = sessions.register_connection(&name(), weak(&client)).unwrap();
        let leaving = thread::spawn(move || drop(registration));
        sessions.blacklist(&name(), MINUTE).unwrap();
        leaving.join().unwrap();
        assert_eq!(sessions.counts().connections, 0);
        assert!(sessions.is_blacklisted(&name()));
    });
}
