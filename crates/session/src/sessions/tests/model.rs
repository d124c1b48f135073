//! After any sequence of operations, the registry agrees with a model that keeps lists and scans
//! them.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// A connection of these sessions, which may be the same one.
    Connect(u8, u8),
    Leave(usize),
    Blacklist(u8, u64),
    /// A revocation from elsewhere.
    Apply(u8, u64),
    Forward(u64),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let session = 0u8..4;
    prop_oneof![
        4 => (session.clone(), session.clone()).prop_map(|(m, n)| Step::Connect(m, n)),
        2 => (0usize..8).prop_map(Step::Leave),
        1 => (session.clone(), 0u64..5).prop_map(|(n, s)| Step::Blacklist(n, s)),
        1 => (session, 0u64..5).prop_map(|(n, s)| Step::Apply(n, s)),
        2 => (0u64..4).prop_map(Step::Forward),
        1 => Just(Step::Sweep),
    ]
}

/// A registration as the model sees it.
struct Place {
    session: u8,
    connection: Arc<Client>,
    guard: Registration,
    /// A revocation has taken it out.
    ended: bool,
}

#[derive(Default)]
struct Model {
    now: u64,
    /// By session, and whether it came from elsewhere: revocations of different origin have entries
    /// of their own.
    until: HashMap<(u8, bool), u64>,
    ever: u64,
    places: Vec<Place>,
    /// How often each connection should have been notified.
    told: Vec<(Arc<Client>, usize)>,
}

impl Model {
    fn is_blacklisted(&self, session: u8) -> bool {
        [true, false].iter().any(|origin| self.is_in_force(session, *origin))
    }

    fn is_in_force(&self, session: u8, elsewhere: bool) -> bool {
        self.until.get(&(session, elsewhere)).is_some_and(|until| self.now < *until)
    }

    /// Returns how many connections are terminated.
    fn revoke(&mut self, session: u8, seconds: u64, elsewhere: bool) -> usize {
        self.ever += u64::from(seconds > 0 && !self.is_blacklisted(session));
        let until = self.until.entry((session, elsewhere)).or_default();
        *until = (*until).max(self.now + seconds);
        let mut ended = 0;
        for place in self.places.iter_mut().filter(|place| place.session == session && !place.ended) {
            place.ended = true;
            for (_, told) in self.told.iter_mut().filter(|(c, _)| Arc::ptr_eq(c, &place.connection)) {
                ended += usize::from(*told == 0);
                *told += 1;
            }
        }
        ended
    }

    /// After a sweep.
    fn counts(&self) -> Counts {
        let open = || self.places.iter().filter(|place| !place.ended);
        Counts {
            sessions: open().map(|place| place.session).collect::<HashSet<_>>().len(),
            connections: open().count(),
            blacklisted: self.until.keys().filter(|key| self.is_in_force(key.0, key.1)).count(),
            blacklisted_ever: self.ever,
        }
    }
}

fn numbered(session: u8) -> SessionName {
    name(&session.to_string())
}

proptest! {
    #[test]
    fn agrees_with_a_naive_model(steps in prop::collection::vec(step(), 1..80)) {
        let (sessions, hand) = sessions();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Connect(m, n) => {
                    let connection = Arc::new(Client::default());
                    model.told.push((connection.clone(), 0));
                    for session in [m, n] {
                        let place = sessions.register_connection(&numbered(session), Arc::downgrade(&connection));
                        prop_assert_eq!(place.is_err(), model.is_blacklisted(session));
                        let place = place.map(|guard| Place { session, connection: connection.clone(), guard, ended: false });
                        model.places.extend(place.ok());
                    }
                }
                Step::Leave(at) if at < model.places.len() => drop(model.places.swap_remove(at).guard),
                Step::Leave(_) => {}
                Step::Blacklist(n, seconds) => {
                    let applied = sessions.blacklist(&numbered(n), Duration::from_secs(seconds)).unwrap();
                    let ended = if seconds == 0 { 0 } else { model.revoke(n, seconds, false) };
                    prop_assert_eq!(applied, ended as u64);
                }
                Step::Apply(n, seconds) => {
                    let revocation = Revocation::blacklist(&numbered(n), Duration::from_secs(seconds));
                    let seq = (1 << 32) + u64::from(n);
                    let applied = sessions.apply(&Entry::Revoked { seq, revocation, replaces: None }).finish();
                    prop_assert_eq!(applied.connections, model.revoke(n, seconds, true) as u64);
                }
                Step::Forward(seconds) => {
                    model.now += seconds;
                    hand.forward(Duration::from_secs(seconds));
                }
                Step::Sweep => {
                    sweep(&sessions);
                    prop_assert_eq!(sessions.counts(), model.counts());
                }
            }
            for n in 0..4 {
                prop_assert_eq!(sessions.is_blacklisted(&numbered(n)), model.is_blacklisted(n));
            }
            for (connection, told) in &model.told {
                prop_assert_eq!(connection.times(), *told);
            }
        }
        drop(std::mem::take(&mut model.places));
        sweep(&sessions);
        prop_assert_eq!(sessions.counts(), model.counts());
    }
}
