//! What a verified token says of whom it belongs to, and its place in the registry.

use std::fmt;
use std::sync::Weak;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::age::ALL;
use crate::clock::Tick;
use crate::config::{ClaimError, Expiry};
use crate::connection::{Blacklisted, Connection, Ended};
use crate::members::{Id, Member};
use crate::name::SessionName;
use crate::selector::{Fingerprint, Key};
use crate::sessions::Sessions;

/// A token, as far as the registry needs it: its session, what else it can be revoked by, its age
/// and its end.
#[derive(Clone)]
pub struct Subject {
    session: Option<SessionName>,
    pub(crate) keys: Vec<Key>,
    user: Option<Fingerprint>,
    pub(crate) issued_at: u32,
    expires: Tick,
}

impl Sessions {
    /// Reads verified claims: the session, the claims that can be revoked by, `sub`, `iat` and
    /// `exp` (RFC 7519, section 4.1). A token without the session claim belongs to no session
    /// (RIG).
    ///
    /// # Errors
    /// A claim is there and cannot be a name.
    pub fn subject(&self, claims: &Map<String, Value>) -> Result<Subject, ClaimError> {
        let session = match self.from_claims(claims) {
            Ok(name) => Some(name),
            Err(ClaimError::Missing { .. }) => None,
            Err(error) => return Err(error),
        };
        let prints = self.fingerprints();
        let mut keys: Vec<_> = session.iter().map(|name| prints.of_session(name)).collect();
        for revocable in self.config().revocable_claims(claims) {
            let (claim, value) = revocable?;
            keys.push(prints.of_claim(claim, value.as_str()));
        }
        let user = claims.get("sub").and_then(|sub| SessionName::try_from(sub).ok());
        let user = user.map(|user| prints.of_claim("/sub", user.as_str()).fingerprint());
        let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
        // Below the first second of 1970, no number, or not there: older than every bound.
        let issued_at = seconds("iat").map_or(0, |iat| (iat as u32).min(ALL - 1));
        Ok(Subject { session, keys, user, issued_at, expires: self.expiry(seconds("exp")) })
    }

    /// The subject of a token of which nothing but the session is known.
    pub fn subject_of_session(&self, name: &SessionName) -> Subject {
        let keys = vec![self.fingerprints().of_session(name)];
        Subject { session: Some(name.clone()), keys, user: None, issued_at: 0, expires: Tick::NEVER }
    }

    /// When a token with this `exp` expires, on the monotonic clock: what is left of it is read off
    /// the wall clock once.
    fn expiry(&self, exp: Option<f64>) -> Tick {
        let (Expiry::Ends { leeway, .. }, Some(exp)) = (self.config().expiry(), exp) else {
            return Tick::NEVER;
        };
        let now = self.clock().wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let end = Duration::try_from_secs_f64(exp.max(0.0)).unwrap_or(Duration::MAX);
        let left = end.saturating_add(leeway).saturating_sub(now);
        self.tick_after(left)
    }
}

impl Subject {
    /// The session, where the token names one.
    pub fn session(&self) -> Option<&SessionName> {
        self.session.as_ref()
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").finish_non_exhaustive()
    }
}

/// A connection's place in the registry for one of its tokens, given up when dropped.
#[must_use = "dropping it unregisters the connection"]
pub struct Registration {
    sessions: Sessions,
    session: Option<SessionName>,
    keys: Box<[Key]>,
    user: Option<Fingerprint>,
    issued_at: u32,
    id: Id,
    /// When the token itself expires.
    token_ends: Tick,
    /// When the connection is terminated, because of this token and those that have renewed it.
    expires: Tick,
}

impl Registration {
    /// Enters the connection under each key, or, where one is barred, under none.
    pub(crate) fn new(
        sessions: Sessions,
        subject: &Subject,
        id: Id,
        connection: Weak<impl Connection + 'static>,
    ) -> Result<Self, Blacklisted> {
        let mut keys = subject.keys.clone();
        if keys.is_empty() {
            keys.push(sessions.fingerprints().of_nobody(id));
        }
        // Undoes what has been entered so far on every way out.
        let mut registration = Self {
            sessions,
            session: subject.session.clone(),
            keys: Box::default(),
            user: subject.user,
            issued_at: subject.issued_at,
            id,
            token_ends: subject.expires,
            expires: subject.expires,
        };
        let Self { sessions, .. } = &registration;
        let member = Member { connection, issued_at: subject.issued_at, expires: subject.expires };
        let (now, age) = (sessions.now(), sessions.moment().earliest(subject.issued_at));
        let register = |key: &Key| sessions.shard(*key).lock().register(*key, id, member.clone(), age, now);
        let entered = keys.iter().position(|key| register(key).is_err());
        if let Some(barred) = entered {
            keys.truncate(barred);
            registration.keys = keys.into();
            return Err(Blacklisted);
        }
        if let Some(warning) = sessions.warning() {
            sessions.shard(keys[0]).lock().watch(keys[0], id, warning);
        }
        registration.keys = keys.into();
        Ok(registration)
    }

    /// Makes the registration last as long as this token does, if it would expire before.
    ///
    /// # Errors
    /// A revocation, or the expiry of the old token, came first: the connection is terminated.
    pub fn renew(&mut self, newer: &Self) -> Result<(), Ended> {
        self.expires = self.expires.max(newer.expires);
        let warning = self.sessions.warning();
        for (n, key) in self.keys.iter().enumerate() {
            let warning = warning.filter(|_| n == 0);
            if !self.sessions.shard(*key).lock().renew(*key, self.id, self.expires, warning) {
                return Err(Ended);
            }
        }
        Ok(())
    }

    /// The session, where the token names one.
    pub fn session(&self) -> Option<&SessionName> {
        self.session.as_ref()
    }

    /// Whether both tokens can be held by one connection: they name the same user (`sub`), or both
    /// name none (RIG).
    pub fn goes_with(&self, subject: &Subject) -> bool {
        self.user == subject.user
    }

    /// Whether both tokens are of the same user, so that one renews the other. Of tokens that name
    /// none, those of one session are.
    pub fn is_of_user(&self, subject: &Subject) -> bool {
        match (self.user, subject.user) {
            (None, None) => self.session.is_some() && self.session == subject.session,
            (own, other) => own == other,
        }
    }

    /// Whether the token itself has not ended: one that was renewed may have.
    pub fn is_good(&self) -> bool {
        self.token_ends == Tick::NEVER || self.sessions.now() < self.token_ends
    }

    /// Whether both are selected by the same revocations: the younger can stand for both.
    pub fn is_same(&self, other: &Self) -> bool {
        self.keys == other.keys && self.issued_at == other.issued_at && self.session.is_some()
    }

    /// How long the token is good, or one that has renewed it; `None`: it never expires, or does
    /// not matter.
    pub fn left(&self) -> Option<Duration> {
        (self.expires != Tick::NEVER).then(|| self.expires.time().saturating_sub(self.sessions.now().time()))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let warning = self.sessions.warning().unwrap_or_default();
        for key in &self.keys {
            self.sessions.shard(*key).lock().unregister(*key, self.id, warning);
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("id", &self.id).finish_non_exhaustive()
    }
}
