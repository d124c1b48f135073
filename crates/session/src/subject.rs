//! What a verified token says about its session and its user, and the place of a connection in the
//! registry.

use std::fmt;
use std::sync::{Arc, Weak};
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

/// What the registry needs to know about a token: its session, the other claims that can select it,
/// when it was issued and when it expires.
#[derive(Clone)]
pub struct Subject {
    session: Option<SessionName>,
    /// The other claims that revocations can select by, with their values.
    claims: Vec<(Arc<str>, SessionName)>,
    pub(crate) keys: Vec<Key>,
    user: Option<Fingerprint>,
    pub(crate) issued_at: u32,
    expires: Tick,
}

/// What another node needs to know about a token, to terminate there what belongs to it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenTraces {
    /// The session, if the token names one.
    pub session: Option<SessionName>,
    /// The other claims that revocations can select by, as JSON Pointers, with their values.
    pub claims: Vec<(Arc<str>, SessionName)>,
    /// When it was issued, in seconds since 1970; 0 if it does not say.
    pub issued_at: u32,
}

impl Sessions {
    /// Reads verified claims: the session, the claims that revocations can select by, `sub`, `iat`
    /// and `exp` (RFC 7519, section 4.1). A token without the session claim belongs to no session
    /// (RIG).
    ///
    /// # Errors
    /// Fails if one of these claims is present but cannot be a name.
    pub fn subject(&self, claims: &Map<String, Value>) -> Result<Subject, ClaimError> {
        let session = match self.from_claims(claims) {
            Ok(name) => Some(name),
            Err(ClaimError::Missing { .. }) => None,
            Err(error) => return Err(error),
        };
        let prints = self.fingerprints();
        let mut keys: Vec<_> = session.iter().map(|name| prints.of_session(name)).collect();
        let mut others = Vec::new();
        for revocable in self.config().revocable_claims(claims) {
            let (claim, value) = revocable?;
            keys.push(prints.of_claim(claim, value.as_str()));
            others.push((claim.clone(), value));
        }
        let user = claims.get("sub").and_then(|sub| SessionName::try_from(sub).ok());
        let user = user.map(|user| prints.of_claim("/sub", user.as_str()).fingerprint());
        let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
        // An `iat` that is missing, not a number, or before 1970 is older than every bound.
        let issued_at = seconds("iat").map_or(0, |iat| (iat as u32).min(ALL - 1));
        Ok(Subject { session, claims: others, keys, user, issued_at, expires: self.expiry(seconds("exp")) })
    }

    /// Returns the subject of a token of which only the session is known.
    pub fn subject_of_session(&self, name: &SessionName) -> Subject {
        let traces = TokenTraces { session: Some(name.clone()), claims: Vec::new(), issued_at: 0 };
        self.subject_elsewhere(traces, None)
    }

    /// Returns the subject of a token that another node has verified, and that expires after
    /// `left`, if it does.
    pub fn subject_elsewhere(&self, traces: TokenTraces, left: Option<Duration>) -> Subject {
        let TokenTraces { session, claims, issued_at } = traces;
        let prints = self.fingerprints();
        let of_session = session.iter().map(|name| prints.of_session(name));
        let of_claims = claims.iter().map(|(claim, value)| prints.of_claim(claim, value.as_str()));
        let keys = of_session.chain(of_claims).collect();
        let expires = left.map_or(Tick::NEVER, |left| self.tick_after(left));
        Subject { session, claims, keys, user: None, issued_at: issued_at.min(ALL - 1), expires }
    }

    /// Returns when a token with this `exp` expires, on the monotonic clock. The wall clock is read
    /// once, to compute the time left.
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
    /// Returns the session, if the token names one.
    pub fn session(&self) -> Option<&SessionName> {
        self.session.as_ref()
    }

    /// Returns `true` if the same revocations select both.
    pub fn is_same(&self, other: &Self) -> bool {
        self.keys == other.keys && self.issued_at == other.issued_at
    }

    /// Returns what another node needs to know about the token.
    pub fn traces(&self) -> TokenTraces {
        let Self { session, claims, issued_at, .. } = self;
        TokenTraces { session: session.clone(), claims: claims.clone(), issued_at: *issued_at }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").finish_non_exhaustive()
    }
}

/// Does not show the values of claims.
impl fmt::Debug for TokenTraces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenTraces").finish_non_exhaustive()
    }
}

/// A connection's place in the registry for one of its tokens. Dropping it unregisters the
/// connection.
#[must_use = "dropping it unregisters the connection"]
pub struct Registration {
    sessions: Sessions,
    session: Option<SessionName>,
    keys: Box<[Key]>,
    user: Option<Fingerprint>,
    issued_at: u32,
    id: Id,
    /// When the token itself expires.
    token_expires: Tick,
    /// When the connection is terminated: the latest expiry of this token and those that have
    /// renewed it.
    expires: Tick,
}

impl Registration {
    /// Registers the connection under every key, or under none if one of them is barred.
    pub(crate) fn new(
        sessions: Sessions,
        subject: &Subject,
        id: Id,
        connection: Weak<impl Connection + 'static>,
    ) -> Result<Self, Blacklisted> {
        let mut keys = subject.keys.clone();
        if keys.is_empty() {
            keys.push(sessions.fingerprints().of_unselectable(id));
        }
        // Dropping it undoes the registrations made so far, however this function returns.
        let mut registration = Self {
            sessions,
            session: subject.session.clone(),
            keys: Box::default(),
            user: subject.user,
            issued_at: subject.issued_at,
            id,
            token_expires: subject.expires,
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

    /// Extends the registration to the expiry of `newer`, if that is later.
    ///
    /// # Errors
    /// Fails if a revocation or the expiry of the old token came first: the connection is
    /// terminated.
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

    /// Returns the session, if the token names one.
    pub fn session(&self) -> Option<&SessionName> {
        self.session.as_ref()
    }

    /// Returns `true` if one connection may hold both tokens: they name the same user (`sub`), or
    /// neither names a user (RIG).
    pub fn goes_with(&self, subject: &Subject) -> bool {
        self.user == subject.user
    }

    /// Returns `true` if both tokens belong to the same user, so that one renews the other. Tokens
    /// that name no user belong together if they share a session.
    pub fn is_of_user(&self, subject: &Subject) -> bool {
        match (self.user, subject.user) {
            (None, None) => self.session.is_some() && self.session == subject.session,
            (own, other) => own == other,
        }
    }

    /// Returns `true` if the token itself has not expired. The token of a renewed registration may
    /// have.
    pub fn is_good(&self) -> bool {
        self.token_expires == Tick::NEVER || self.sessions.now() < self.token_expires
    }

    /// Returns `true` if the same revocations select both, so that the newer can replace the
    /// older.
    pub fn is_same(&self, other: &Self) -> bool {
        self.keys == other.keys && self.issued_at == other.issued_at && self.session.is_some()
    }

    /// Returns `true` if it is that of this token.
    pub fn is_that_of(&self, subject: &Subject) -> bool {
        *self.keys == *subject.keys && self.issued_at == subject.issued_at
    }

    /// Returns how long the token, or one that has renewed it, is still valid; `None` if it never
    /// expires, or if expiry is ignored.
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
