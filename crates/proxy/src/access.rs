//! Who may use an endpoint: the token of a request, its claims, and the place of the request in its session.
//!
//! A token that was verified once is not verified again, but its end is looked at for every request. Whether its session
//! is legal is never remembered: the request enters the registry of sessions, and that refuses it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use auth::{Claims, Verifier, bearer_tokens, cookie_token};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::Value;
use session::{Registration, Sessions, Subject};
use telemetry::{Metrics, TokenCacheResult};

use crate::definition::{RequiredClaim, TokenSources};
use crate::in_flight::InFlight;

/// What verified tokens may take, in bytes of their texts; with their claims it is about four times as much.
const CACHE_BYTES: u64 = 8 << 20;

/// Tokens that the cache is laid out for.
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
}

/// The request shows no token that is valid and of a legal session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unauthenticated;

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

    /// Enters a request into the session of its token: of several, the first that is valid and legal (RIG).
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn admit(
        &self,
        sources: &TokenSources,
        head: &Parts,
        in_flight: &Arc<InFlight>,
    ) -> Result<(Arc<Token>, Registration), Unauthenticated> {
        let in_header = sources.header.iter().flat_map(|name| bearer_tokens(&head.headers, name));
        let in_query = sources.query.iter().flat_map(|name| query_values(head, name));
        let in_cookie = sources.cookie.iter().filter_map(|name| cookie_token(&head.headers, name));
        in_header
            .map(Cow::Borrowed)
            .chain(in_query)
            .chain(in_cookie.map(Cow::Borrowed))
            .find_map(|text| {
                let token = self.verify(&text)?;
                let registration = self.sessions.register(&token.subject, Arc::downgrade(in_flight)).ok()?;
                Some((token, registration))
            })
            .ok_or(Unauthenticated)
    }

    fn verify(&self, text: &str) -> Option<Arc<Token>> {
        if let Some(token) = self.verified.get(text) {
            let ended = self.has_ended(&token);
            let result = if ended { TokenCacheResult::Ended } else { TokenCacheResult::Hit };
            self.metrics.proxy.token_cache(result);
            return (!ended).then_some(token);
        }
        self.metrics.proxy.token_cache(TokenCacheResult::Miss);
        let claims = self.verifier.verify(text).ok()?;
        let subject = self.sessions.subject(&claims.map).ok()?;
        let token = Arc::new(Token { claims, subject });
        if text.len() <= LONGEST {
            self.verified.insert(text.into(), token.clone());
        }
        Some(token)
    }

    fn has_ended(&self, token: &Token) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.as_secs() >= token.claims.expires_at.saturating_add(self.verifier.leeway().as_secs())
    }
}

impl Token {
    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Whether the claims say all that is required: the value itself, or a list that contains it.
    pub(crate) fn satisfies(&self, required: &[RequiredClaim]) -> bool {
        required.iter().all(|RequiredClaim { pointer, value }| match self.claims.pointer(pointer) {
            Some(Value::Array(list)) if list.contains(value) => true,
            claim => claim == Some(value),
        })
    }

    /// Hands claims to the service: texts as they are, all else as JSON. A claim that is not there, or cannot stand in a
    /// header, is not handed over.
    pub(crate) fn forward(&self, claims: &[(HeaderName, String)], headers: &mut HeaderMap) {
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

/// All values of a parameter of the query.
fn query_values<'a>(head: &'a Parts, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    let query = head.uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .filter(move |(key, value)| key == name && !value.is_empty())
        .map(|(_, value)| value)
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("verified", &self.verified.len()).finish_non_exhaustive()
    }
}
