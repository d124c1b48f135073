//! Who may use an endpoint: the tokens of a request, their claims, and the place of the request in
//! its sessions.
//!
//! A token that was verified once is not verified again, but its end is looked at for every
//! request. Whether its session is legal is never remembered: the request enters the registry of
//! sessions, and that refuses it.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use auth::{Claims, TokenError, TokenPlace, TokenSources, Verifier, cookies, strip_cookies};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::Value;
use session::{Blacklisted, ClaimError, Registration, SessionName, Sessions, Subject};

use crate::definition::RequiredClaim;
use crate::in_flight::InFlight;
use crate::metrics::{Metrics, TokenCacheResult};
use crate::relay::InSession;

/// What verified tokens may take, in bytes of their texts; with their claims it is about four times
/// as much.
const CACHE_BYTES: u64 = 8 << 20;

/// Number of tokens that the cache is laid out for.
const CACHE_TOKENS: usize = 16 << 10;

/// Longest token that is remembered, in bytes.
const LONGEST: usize = 4 << 10;

/// Verifies the tokens of requests.
pub(crate) struct Access {
    verifier: Arc<Verifier>,
    sessions: Sessions,
    verified: Cache<Box<str>, Arc<Token>, ByLength>,
    metrics: Arc<Metrics>,
}

/// A token that was valid when it was verified.
pub(crate) struct Token {
    claims: Claims,
    subject: Subject,
    /// That of the key it was verified with.
    generation: u64,
}

/// The tokens that a request was let in by.
pub(crate) struct AdmittedTokens {
    /// Says whose request it is.
    first: Arc<Token>,
    others: Vec<Arc<Token>>,
}

/// Why the tokens of a request do not let it in. No text shows anything of a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unauthenticated {
    /// The request has no token.
    #[error("no token")]
    Missing,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error(transparent)]
    Session(#[from] Blacklisted),
}

#[derive(Clone)]
struct ByLength;

impl Weighter<Box<str>, Arc<Token>> for ByLength {
    fn weight(&self, text: &Box<str>, _: &Arc<Token>) -> u64 {
        text.len() as u64
    }
}

impl Access {
    pub(crate) fn new(verifier: Arc<Verifier>, sessions: Sessions, metrics: Arc<Metrics>) -> Self {
        let verified = Cache::with_weighter(CACHE_TOKENS, CACHE_BYTES, ByLength);
        Self { verifier, sessions, verified, metrics }
    }

    /// Enters a request into the sessions of its tokens. The service may read any of several, so
    /// all must be valid (RFC 6750, section 2); a cookie that did not count is not handed on.
    ///
    /// # Errors
    /// Fails if there is no token, or one of them is not valid or not of a legal session.
    pub(crate) fn admit(
        &self,
        sources: &TokenSources,
        head: &mut Parts,
        in_flight: Arc<InFlight>,
    ) -> Result<(AdmittedTokens, InSession), Unauthenticated> {
        let mut credentials = sources.credentials(&head.headers, head.uri.query());
        let first = credentials.next().ok_or(Unauthenticated::Missing)?;
        let (token, registration) = self.enter(&first.token, &in_flight)?;
        let (mut texts, mut others, mut registrations) = (Vec::new(), Vec::new(), Vec::new());
        for other in credentials.filter(|other| other.token != first.token) {
            if !texts.contains(&other.token) {
                let (token, registration) = self.enter(&other.token, &in_flight)?;
                texts.push(other.token);
                others.push(token);
                registrations.push(registration);
            }
        }
        if let Some(name) = sources.cookie.as_deref().filter(|_| first.place != TokenPlace::Cookie)
            && cookies(&head.headers, name).next().is_some()
        {
            let verified: Vec<_> = texts.iter().chain([&first.token]).map(|text| text.to_string()).collect();
            strip_cookies(&mut head.headers, name, &verified);
        }
        let session = InSession { in_flight, _registration: registration, _others: registrations };
        Ok((AdmittedTokens { first: token, others }, session))
    }

    fn enter(
        &self,
        text: &str,
        in_flight: &Arc<InFlight>,
    ) -> Result<(Arc<Token>, Registration), Unauthenticated> {
        let token = self.verify(text)?;
        let registration = self.sessions.register(&token.subject, Arc::downgrade(in_flight))?;
        Ok((token, registration))
    }

    fn verify(&self, text: &str) -> Result<Arc<Token>, Unauthenticated> {
        // Before the key is used: what was verified with an older one is verified again.
        let generation = self.verifier.generation();
        if let Some(token) = self.verified.get(text).filter(|token| token.generation == generation) {
            let ended = self.has_ended(&token);
            let result = if ended { TokenCacheResult::Ended } else { TokenCacheResult::Hit };
            self.metrics.token_cache(result);
            return if ended { Err(TokenError::Expired.into()) } else { Ok(token) };
        }
        self.metrics.token_cache(TokenCacheResult::Miss);
        let claims = self.verifier.verify(text)?;
        let subject = self.sessions.subject(&claims.map)?;
        let token = Arc::new(Token { claims, subject, generation });
        if text.len() <= LONGEST {
            self.verified.insert(text.into(), token.clone());
        }
        Ok(token)
    }

    fn has_ended(&self, token: &Token) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.as_secs() >= token.claims.expires_at.saturating_add(self.verifier.leeway().as_secs())
    }
}

impl AdmittedTokens {
    /// The session of the first token, where it names one.
    pub(crate) fn session(&self) -> Option<&SessionName> {
        self.first.subject.session()
    }

    /// Whether each token satisfies what is required: the service may read any of them.
    pub(crate) fn satisfy(&self, required: &[RequiredClaim]) -> bool {
        [&self.first].into_iter().chain(&self.others).all(|token| token.satisfies(required))
    }

    /// Hands claims of the first token to the service.
    pub(crate) fn forward(&self, claims: &[(HeaderName, String)], headers: &mut HeaderMap) {
        self.first.forward(claims, headers);
    }
}

impl Token {
    /// Whether the claims say all that is required: the value itself, or a list that contains it.
    /// Numbers are equal by value, and exactly.
    fn satisfies(&self, required: &[RequiredClaim]) -> bool {
        required.iter().all(|RequiredClaim { pointer, value }| match self.claims.pointer(pointer) {
            Some(Value::Array(list)) if list.iter().any(|claim| json::equal(claim, value)) => true,
            claim => claim.is_some_and(|claim| json::equal(claim, value)),
        })
    }

    /// Hands claims to the service: texts as they are, all else as JSON. A claim that is not there,
    /// or cannot stand in a header, is not handed over.
    fn forward(&self, claims: &[(HeaderName, String)], headers: &mut HeaderMap) {
        for (name, pointer) in claims {
            let value = self.claims.pointer(pointer).and_then(|claim| match claim {
                Value::String(text) => HeaderValue::from_bytes(text.as_bytes()).ok(),
                other => HeaderValue::from_bytes(other.to_string().as_bytes()).ok(),
            });
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("verified", &self.verified.len()).finish_non_exhaustive()
    }
}
