//! What a verified token says about its session and its user, and the place of a connection in the
//! registry.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::age::ALL;
use crate::clock::Tick;
use crate::config::ClaimError;
use crate::connection::{Blacklisted, Connection, Ended};
use crate::members::{Id, Member};
use crate::name::SessionName;
use crate::selector::{Fingerprint, Key};
use crate::sessions::Sessions;

/// What was verified of a token.
///
/// Claims alone are those of a token of the static key.
#[derive(Clone, Copy)]
pub struct Verified<'t> {
    /// Its claims.
    pub claims: &'t Map<String, Value>,
    /// Its issuer: the text that is configured, not one of its aliases. `None`: the static key.
    pub issuer: Option<&'t str>,
    /// What only the gateway itself selects it by: a kind, which never begins with `/`, and a value
    /// of at most [`SessionName::MAX`] bytes. Such as `key` with the thumbprint of the key that has
    /// signed it (RFC 7638).
    pub marks: &'t [(&'static str, Box<str>)],
}

impl<'t> From<&'t Map<String, Value>> for Verified<'t> {
    fn from(claims: &'t Map<String, Value>) -> Self {
        Self { claims, issuer: None, marks: &[] }
    }
}

/// Does not show the claims.
impl fmt::Debug for Verified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// What the registry needs to know about a token: its session, the other claims and the marks that
/// can select it, when it was issued and when it expires.
#[derive(Clone)]
pub struct Subject {
    traces: TokenTraces,
    pub(crate) keys: Vec<Key>,
    user: Option<Fingerprint>,
    pub(crate) issued_at: u32,
    expires: Tick,
}

/// What another node needs to know about a token, to terminate there what belongs to it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TokenTraces {
    /// Its issuer; `None`: the static key.
    pub issuer: Option<Arc<str>>,
    /// The session, if the token names one.
    pub session: Option<SessionName>,
    /// The other claims that revocations can select by, as JSON Pointers, with their values.
    pub claims: Vec<(Arc<str>, SessionName)>,
    /// The marks that the gateway selects by: their kinds, and their values.
    pub marks: Vec<(Arc<str>, SessionName)>,
    /// When it was issued, in seconds since 1970; 0 if it does not say.
    pub issued_at: u32,
}

impl Sessions {
    /// Reads what was verified of a token: the session, the claims that revocations can select by,
    /// `sub`, `iat` and `exp` (RFC 7519, section 4.1), and its marks. A token without the session
    /// claim of its issuer belongs to no session (RIG).
    ///
    /// # Errors
    /// Fails if one of these claims is present but cannot be a name.
    pub fn subject<'t>(&self, token: impl Into<Verified<'t>>) -> Result<Subject, ClaimError> {
        let token = token.into();
        let Verified { claims, issuer, marks } = token;
        let session = match self.session_of(token) {
            Ok(name) => Some(name),
            Err(ClaimError::Missing { .. }) => None,
            Err(error) => return Err(error),
        };
        let of_claims = self.config().revocable_claims(claims);
        let of_claims = of_claims.map(|claim| claim.map(|(claim, value)| (claim.clone(), value)));
        let mark = |(kind, value): &(&'static str, Box<str>)| match SessionName::try_from(&**value) {
            Ok(value) => Ok((Arc::from(*kind), value)),
            Err(reason) => Err(ClaimError::Irrevocable { field: (*kind).to_owned(), reason }),
        };
        let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
        let traces = TokenTraces {
            issuer: issuer.map(Arc::from),
            session,
            claims: of_claims.collect::<Result<_, _>>()?,
            marks: marks.iter().map(mark).collect::<Result<_, _>>()?,
            // An `iat` that is missing, not a number, or before 1970 is older than every bound.
            issued_at: seconds("iat").map_or(0, |iat| (iat as u32).min(ALL - 1)),
        };
        let (scope, sub) = (self.config().scope(issuer), claims.get("sub"));
        let sub = sub.and_then(|sub| SessionName::try_from(sub).ok());
        // Users without a name are the same everywhere, but for their issuer.
        let user = (sub.is_some() || scope.is_some())
            .then(|| self.fingerprints().of_user(scope, sub.as_ref().map(SessionName::as_str)));
        Ok(Subject { user, ..self.subject_of(traces, self.expiry(issuer, seconds("exp"))) })
    }

    /// Returns the subject of a token of which only the session is known.
    pub fn subject_of_session(&self, name: &SessionName) -> Subject {
        let traces = TokenTraces { session: Some(name.clone()), ..TokenTraces::default() };
        self.subject_elsewhere(traces, None)
    }

    /// Returns the subject of a token that another node has verified, and that expires after
    /// `left`, if it does.
    pub fn subject_elsewhere(&self, traces: TokenTraces, left: Option<Duration>) -> Subject {
        self.subject_of(traces, left.map_or(Tick::NEVER, |left| self.tick_after(left)))
    }

    fn subject_of(&self, mut traces: TokenTraces, expires: Tick) -> Subject {
        let known = |issuer: Arc<str>| self.config().known_issuer(&issuer).unwrap_or(issuer);
        traces.issuer = traces.issuer.map(known);
        let (config, prints, issuer) = (self.config(), self.fingerprints(), traces.issuer.as_deref());
        let scope = config.scope(issuer);
        let mut keys = Vec::with_capacity(traces.claims.len() + 2);
        if let Some(name) = &traces.session {
            keys.push(prints.of_session(None, name));
            keys.extend(scope.map(|_| prints.of_session(scope, name)));
        }
        for (claim, value) in &traces.claims {
            keys.push(prints.of_claim(None, claim, value.as_str()));
            // Selected as the session, if the issuer is named.
            let scope = scope.filter(|_| !config.names_session(issuer, claim));
            keys.extend(scope.map(|_| prints.of_claim(scope, claim, value.as_str())));
        }
        keys.extend(traces.marks.iter().map(|(kind, value)| prints.of_mark(scope, kind, value.as_str())));
        let issued_at = traces.issued_at.min(ALL - 1);
        Subject { traces, keys, user: None, issued_at, expires }
    }

    /// Returns when a token with this `exp` expires, on the monotonic clock. The wall clock is read
    /// once, to compute the time left.
    fn expiry(&self, issuer: Option<&str>, exp: Option<f64>) -> Tick {
        let (Some(leeway), Some(exp)) = (self.config().leeway(issuer), exp) else { return Tick::NEVER };
        let now = self.clock().wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let end = Duration::try_from_secs_f64(exp.max(0.0)).unwrap_or(Duration::MAX);
        let left = end.saturating_add(leeway).saturating_sub(now);
        self.tick_after(left)
    }
}

impl Subject {
    /// Returns the session, if the token names one.
    pub fn session(&self) -> Option<&SessionName> {
        self.traces.session.as_ref()
    }

    /// Returns what revocations can select the token by: the issuer, or `None` for every source of
    /// tokens; the JSON Pointer of a claim, or an empty text for the session; and its value. The
    /// marks are left out.
    pub fn selectors(&self) -> impl Iterator<Item = (Option<&str>, &str, &str)> {
        let session = self.traces.session.iter().map(|name| ("", name.as_str()));
        let claims = self.traces.claims.iter().map(|(claim, value)| (&**claim, value.as_str()));
        let issuer = self.traces.issuer.as_deref();
        session.chain(claims).flat_map(move |(of, value)| {
            let of_every_source = std::iter::once((None, of, value));
            of_every_source.chain(issuer.map(|issuer| (Some(issuer), of, value)))
        })
    }

    /// Returns `true` if revocations by the session or a claim select both or neither.
    pub fn is_same(&self, other: &Self) -> bool {
        selectable(&self.keys).eq(selectable(&other.keys)) && self.issued_at == other.issued_at
    }

    /// Forgets the [marks](Verified::marks).
    pub fn drop_marks(&mut self) {
        self.keys.retain(|key| !key.is_mark());
        self.traces.marks.clear();
    }

    /// Returns what another node needs to know about the token.
    pub fn traces(&self) -> TokenTraces {
        self.traces.clone()
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

/// Returns the keys of the session and the claims of a token.
fn selectable(keys: &[Key]) -> impl Iterator<Item = &Key> {
    keys.iter().filter(|key| key.is_selectable())
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
        let mut keys: Vec<Key> = subject.keys.iter().map(|key| key.at_place(id)).collect();
        // The first key also has to last until the token expires.
        if keys.first().is_none_or(|key| key.is_mark()) {
            keys.insert(0, sessions.fingerprints().of_unselectable(id));
        }
        // Dropping it undoes the registrations made so far, however this function returns.
        let mut registration = Self {
            sessions,
            session: subject.session().cloned(),
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

    /// Extends the registration to the expiry of `newer`, if that is later. From then on, the
    /// connection rests on the newer token: it does not end any more with the key that has signed
    /// the older one, or with another of its [marks](Verified::marks).
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
        if newer.token_expires > self.token_expires && self.has_marks() {
            let (marks, others): (Vec<Key>, Vec<Key>) = self.keys.iter().partition(|key| key.is_mark());
            self.keys = others.into();
            for key in marks {
                self.sessions.shard(key).lock().unregister(key, self.id, None);
            }
        }
        Ok(())
    }

    /// Returns `true` if the token has marks, and no newer one has renewed it.
    pub fn has_marks(&self) -> bool {
        self.keys.iter().any(|key| key.is_mark())
    }

    /// Returns the session, if the token names one.
    pub fn session(&self) -> Option<&SessionName> {
        self.session.as_ref()
    }

    /// Returns `true` if one connection may hold both tokens: they have the same issuer, and name
    /// the same user (`sub`), or neither names a user (RIG).
    pub fn goes_with(&self, subject: &Subject) -> bool {
        self.user == subject.user
    }

    /// Returns `true` if both tokens belong to the same user of the same issuer, so that one renews
    /// the other. Tokens that name no user belong together if they share a session.
    pub fn is_of_user(&self, subject: &Subject) -> bool {
        let has_name = self.user.is_some_and(Fingerprint::names_a_user);
        let is_of_session = || self.session.is_some() && self.session.as_ref() == subject.session();
        self.user == subject.user && (has_name || is_of_session())
    }

    /// Returns `true` if the token itself has not expired. The token of a renewed registration may
    /// have.
    pub fn is_good(&self) -> bool {
        self.token_expires == Tick::NEVER || self.sessions.now() < self.token_expires
    }

    /// Returns `true` if revocations by the session or a claim select both or neither, so that the
    /// newer can replace the older.
    pub fn is_same(&self, other: &Self) -> bool {
        let is_same = selectable(&self.keys).eq(selectable(&other.keys));
        is_same && self.issued_at == other.issued_at && self.session.is_some()
    }

    /// Returns `true` if it is that of this token.
    pub fn is_that_of(&self, subject: &Subject) -> bool {
        selectable(&self.keys).eq(selectable(&subject.keys)) && self.issued_at == subject.issued_at
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
        for (n, key) in self.keys.iter().enumerate() {
            let warning = (n == 0).then_some(warning);
            self.sessions.shard(*key).lock().unregister(*key, self.id, warning);
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("id", &self.id).finish_non_exhaustive()
    }
}
