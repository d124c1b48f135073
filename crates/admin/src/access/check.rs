//! Finds the caller of a request, and whether it has the right that the route needs.
//!
//! A request proves one thing: if it has `Authorization`, that alone counts, and a certificate of
//! its connection is ignored. So a wrong token is always an error, and a proxy that presents a
//! certificate of its own does not lend it to requests whose token is refused.

use std::sync::Arc;
use std::time::Duration;

use auth::{Claims, TokenError, Verifier};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use listener::{ClientCertificate, LogLimiter, Peer};
use serde_json::Value;
use session::{Sessions, Verified};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::needs::{self, Need};
use super::{Access, AccessEntry, Caller, Denied, Proof};
use crate::metrics::Metrics;
use crate::wording::Unhandled;

/// Limit of `sub` of a token in the audit log, in bytes.
pub(crate) const MAX_SUB: usize = 256;

/// Limit of a JWT, in bytes. Longer texts are not looked at.
const MAX_JWT: usize = 16 << 10;

/// Limit of JWTs that are checked at once. A check takes a signature, and for a new key the time of
/// a fetch; others wait for [`PATIENCE`].
const CHECKS: usize = 64;

/// How long a request waits to be checked.
const PATIENCE: Duration = Duration::from_secs(5);

static UNKNOWN: LogLimiter = LogLimiter::new();
/// Separate, so that a flood of unknown callers does not hide what a known one tries.
static WITHOUT_RIGHT: LogLimiter = LogLimiter::new();

/// Checks requests against [`Access`].
pub(crate) struct AccessCheck {
    access: Access,
    verifier: Arc<Verifier>,
    sessions: Sessions,
    checks: Semaphore,
    metrics: Metrics,
}

/// The connection of a request, as its extension.
#[derive(Clone)]
pub(crate) struct Connected(pub(crate) Peer);

impl AccessCheck {
    pub(crate) fn new(access: Access, verifier: Arc<Verifier>, sessions: Sessions, metrics: Metrics) -> Self {
        Self { access, verifier, sessions, checks: Semaphore::new(CHECKS), metrics }
    }

    /// Returns the caller of a request; `certificate` is that of its connection.
    ///
    /// # Errors
    /// Fails if the request does not prove what it needs.
    pub(super) async fn admit(
        &self,
        need: Need,
        headers: &HeaderMap,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Caller, Denied> {
        if need == Need::Nothing || self.access.is_open() {
            return Ok(Caller::default());
        }
        let mut given = headers.get_all(AUTHORIZATION).iter();
        match (given.next(), given.next(), certificate) {
            (Some(_), Some(_), _) => Err(Denied::Repeated),
            (Some(given), None, _) => self.by_token(need, given.as_bytes()).await,
            (None, _, Some(certificate)) => self.by_certificate(need, certificate),
            (None, _, None) => Err(Denied::Missing),
        }
    }

    async fn by_token(&self, need: Need, authorization: &[u8]) -> Result<Caller, Denied> {
        let (scheme, token) = authorization.split_at_checked(7).ok_or(Denied::Token)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Err(Denied::Token);
        }
        let callers = &*self.access.0;
        if callers.token.as_ref().is_some_and(|known| known.admits(token)) {
            return Ok(Caller::default());
        }
        let of_file = |entry: &&AccessEntry| match &entry.proof {
            Proof::Token(file) => file.admits(token),
            Proof::Jwt { .. } | Proof::Certificate(_) => false,
        };
        if let Some(entry) = callers.entries.iter().find(of_file) {
            return one_with(need, [entry], Denied::Token).map(|entry| Caller::named(entry.name.clone()));
        }
        let takes_jwts = callers.entries.iter().any(|entry| matches!(entry.proof, Proof::Jwt { .. }));
        let token = str::from_utf8(token).ok().filter(|token| takes_jwts && is_like_jwt(token));
        let claims = self.verified(token.ok_or(Denied::Token)?).await?;
        let proved = callers.entries.iter().filter(|entry| entry.is_proved_by(&claims));
        let entry = one_with(need, proved, Denied::Claim)?;
        match claims.map.get("sub") {
            None | Some(Value::Null) => Ok(Caller::named(entry.name.clone())),
            Some(Value::String(sub)) if sub.len() <= MAX_SUB && !sub.chars().any(char::is_control) => {
                Ok(Caller::named(format!("{}/{sub}", entry.name)))
            }
            Some(_) => Err(Denied::Subject),
        }
    }

    /// Returns the claims of a JWT that is valid and not revoked.
    async fn verified(&self, token: &str) -> Result<Claims, Denied> {
        let permit = timeout(PATIENCE, self.checks.acquire()).await.map_err(|_| Denied::Busy)?;
        let _permit = permit.expect("the semaphore is never closed");
        let claims = self.verifier.verify_fetching(token).await.map_err(|error| match error {
            TokenError::Unavailable => Denied::Unavailable,
            error => Denied::Jwt(error),
        })?;
        let marks = &claims.marks;
        let verified = Verified { claims: &claims.map, issuer: claims.issuer.as_deref(), marks };
        if self.sessions.bars(&self.sessions.subject(verified)?) {
            return Err(Denied::Revoked);
        }
        Ok(claims)
    }

    fn by_certificate(&self, need: Need, certificate: &ClientCertificate) -> Result<Caller, Denied> {
        let named = self.access.0.entries.iter().filter(|entry| match &entry.proof {
            Proof::Certificate(name) => certificate.has(name),
            Proof::Token(_) | Proof::Jwt { .. } => false,
        });
        let entry = one_with(need, named, Denied::Certificate)?;
        match certificate.is_valid() {
            true => Ok(Caller::named(entry.name.clone())),
            false => Err(Denied::Certificate),
        }
    }

    /// Counts and logs a refusal.
    fn note(&self, denied: &Denied, request: &Request) {
        self.metrics.denied(denied.reason());
        let (log, name) = match denied {
            Denied::Right { name, .. } => (&WITHOUT_RIGHT, Some(&**name)),
            _ => (&UNKNOWN, None),
        };
        if log.allows() {
            let client = request.extensions().get::<Connected>().map(|Connected(peer)| peer.address);
            let client = client.map(tracing::field::display);
            let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
            let method = request.method().as_str();
            tracing::warn!(client, name, method, route, reason = %denied, "caller refused by the internal port");
        }
    }
}

/// Returns the first of the callers that has the needed right. A certificate or a JWT may prove
/// several, such as the groups of a user.
///
/// # Errors
/// Fails with the missing right if none has it, and with `without` if there is no caller.
fn one_with<'e>(
    need: Need,
    callers: impl IntoIterator<Item = &'e AccessEntry>,
    without: Denied,
) -> Result<&'e AccessEntry, Denied> {
    let mut denied = without;
    for entry in callers {
        match need {
            Need::Right(missing) if !entry.rights.contains(&missing) => {
                denied = Denied::Right { name: entry.name.clone(), missing };
            }
            Need::Nothing | Need::Caller | Need::Right(_) => return Ok(entry),
        }
    }
    Err(denied)
}

/// Returns whether a text may be a signed JWT (RFC 7515, section 3.1): one that cannot is not
/// checked, so that a guess of another token costs nothing.
fn is_like_jwt(token: &str) -> bool {
    token.len() <= MAX_JWT && token.bytes().filter(|byte| *byte == b'.').count() >= 2
}

/// Lets requests pass that have the right of their route, with their caller as an extension.
pub(crate) async fn require(
    State(check): State<Arc<AccessCheck>>,
    mut request: Request,
    next: Next,
) -> Response {
    let extensions = request.extensions();
    let need = needs::of(request.method(), extensions.get());
    let peer = extensions.get::<Connected>().map(|Connected(peer)| peer.clone());
    let certificate = peer.as_ref().and_then(|peer| peer.certificate.as_deref());
    match check.admit(need, request.headers(), certificate).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(denied) => {
            check.note(&denied, &request);
            Unhandled::Denied(denied).answer(request.uri().path())
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use session::Config;
    use tokio::time::Instant;

    use super::*;
    use crate::access::Right;
    use crate::testing;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_not_checked_while_too_many_are_and_costs_nothing_if_it_is_no_jwt() {
        let entry = AccessEntry {
            name: "ops".into(),
            rights: vec![Right::Read],
            proof: Proof::Jwt {
                issuer: "https://id.example".into(),
                claim: "/a".to_owned(),
                value: 1.into(),
            },
        };
        let access = Access::new(None, vec![entry]);
        let sessions = Sessions::in_memory(Config::default());
        let check = AccessCheck::new(access, Arc::new(testing::verifier()), sessions, Metrics::default());
        let ask = async |token: &str| {
            let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
            let begin = Instant::now();
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
            let denied = check.admit(Need::Right(Right::Read), &headers, None).await.unwrap_err();
            (denied.reason().as_str(), denied.status().as_u16(), begin.elapsed())
        };
        assert_eq!(ask("a.b.c").await, ("jwt", 401, Duration::ZERO));
        let permits = check.checks.acquire_many(CHECKS as u32).await.unwrap();
        assert_eq!(ask("a.b.c").await, ("unavailable", 503, PATIENCE));
        for other in ["a-token-of-another-kind", "a.b", &format!("a.b.{}", "c".repeat(MAX_JWT))] {
            assert_eq!(ask(other).await, ("token", 401, Duration::ZERO));
        }
        drop(permits);
        assert_eq!(ask("a.b.c").await, ("jwt", 401, Duration::ZERO));
    }
}
