//! Decides who may use an endpoint: verifies the tokens of a request, checks their claims, and
//! registers the request with its sessions.
//!
//! A verified token is cached and not verified again, but its expiry is checked for every request.
//! Whether its session is legal is never cached: each request is registered with the registry of
//! sessions, which refuses revoked ones.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use auth::{Claims, TokenError, TokenSources, Verifier, stripped_cookies};
use http::header::COOKIE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::{Map, Value};
use session::{Blacklisted, ClaimError, Registration, SessionName, Sessions, Subject, Verified};

use crate::definition::RequiredClaim;
use crate::in_flight::{InFlight, InSession};
use crate::metrics::{Metrics, TokenCacheResult};

/// Capacity of the cache of verified tokens, in bytes of token text. With their claims, tokens take
/// about four times as much memory.
const CACHE_BYTES: u64 = 8 << 20;

/// Estimated number of items, from which the cache sizes its tables.
const CACHE_TOKENS: usize = 16 << 10;

/// Tokens longer than this, in bytes, are not cached.
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
    /// The generation of the key that verified the token.
    generation: u64,
}

/// The verified tokens of a request.
pub(crate) struct AdmittedTokens {
    /// Determines the session of the request.
    first: Arc<Token>,
    others: Vec<Arc<Token>>,
}

/// Why the tokens of a request do not authorize it. The text never contains any part of a token.
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

    /// Registers a request with the sessions of its tokens. If it has several tokens, all must be
    /// valid, since the service may read any of them (RFC 6750, section 2). A cookie that was not
    /// considered, and that a service may read as the token, is removed before the request is
    /// forwarded.
    ///
    /// Never waits: fails with [`TokenError::Unasked`] if the issuer of a token is to be
    /// [asked](Self::ask) first.
    ///
    /// # Errors
    /// Fails if there is no token, or one of them is invalid or revoked.
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
        let is_verified =
            |token: &[u8]| texts.iter().chain([&first.token]).any(|text| text.as_bytes() == token);
        if let Some(name) = &sources.cookie
            && let Some(stripped) = stripped_cookies(&head.headers, name, is_verified)
        {
            head.headers.remove(COOKIE);
            for field in stripped {
                head.headers.append(COOKIE, field);
            }
        }
        let session = InSession { in_flight, _registration: registration, _others: registrations };
        Ok((AdmittedTokens { first: token, others }, session))
    }

    /// Asks the issuers of tokens, as far as they must be asked. Afterwards, [`admit`](Self::admit)
    /// decides.
    ///
    /// # Errors
    /// Fails if a token is not valid, such as because its key does not exist.
    pub(crate) async fn ask(&self, sources: &TokenSources, head: &Parts) -> Result<(), TokenError> {
        for credential in sources.credentials(&head.headers, head.uri.query()) {
            self.verifier.verify_fetching(&credential.token).await?;
        }
        Ok(())
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
        // Read before the key is used: tokens verified with an older key are verified again.
        let generation = self.verifier.generation();
        if let Some(token) = self.verified.get(text).filter(|token| token.is_of(generation)) {
            let ended = token.has_ended();
            let result = if ended { TokenCacheResult::Ended } else { TokenCacheResult::Hit };
            self.metrics.token_cache(result);
            return if ended { Err(TokenError::Expired.into()) } else { Ok(token) };
        }
        self.metrics.token_cache(TokenCacheResult::Miss);
        let claims = self.verifier.verify(text)?;
        let (issuer, marks) = (claims.issuer.as_deref(), &claims.marks[..]);
        let subject = self.sessions.subject(Verified { claims: &claims.map, issuer, marks })?;
        if subject.session().is_none() {
            self.verifier.count_without_session(&claims);
        }
        let token = Arc::new(Token { claims, subject, generation });
        if text.len() <= LONGEST {
            self.verified.insert(text.into(), token.clone());
        }
        Ok(token)
    }
}

impl AdmittedTokens {
    /// Returns the session of the first token, if it names one.
    pub(crate) fn session(&self) -> Option<&SessionName> {
        self.first.subject.session()
    }

    /// Returns whether every token has the required claims: the service may read any of them.
    pub(crate) fn satisfy(&self, required: &[RequiredClaim]) -> bool {
        [&self.first].into_iter().chain(&self.others).all(|token| token.satisfies(required))
    }

    /// Returns claims of the first token, by the names of their headers; those that are missing are
    /// left out.
    pub(crate) fn claims(&self, claims: &[(HeaderName, String)]) -> Map<String, Value> {
        let found = claims.iter().filter_map(|(name, pointer)| {
            Some((name.as_str().to_owned(), self.first.claims.pointer(pointer)?.clone()))
        });
        found.collect()
    }

    /// Adds claims of the first token to the headers for the service.
    pub(crate) fn forward(&self, claims: &[(HeaderName, String)], headers: &mut HeaderMap) {
        self.first.forward(claims, headers);
    }
}

impl Token {
    /// Returns `true` if it was verified with the keys of this generation, and its issuer need not
    /// be asked again.
    fn is_of(&self, generation: u64) -> bool {
        self.generation == generation && !self.claims.must_be_checked()
    }

    fn has_ended(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.as_secs() >= self.claims.expires_at.saturating_add(self.claims.leeway().as_secs())
    }

    /// Returns whether the token has all required claims: each is the value itself, or a list that
    /// contains it.
    fn satisfies(&self, required: &[RequiredClaim]) -> bool {
        required.iter().all(|RequiredClaim { pointer, value }| self.claims.has(pointer, value))
    }

    /// Adds claims to the headers for the service: strings unchanged, everything else as JSON.
    /// Claims that are missing or not valid as a header value are skipped.
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
