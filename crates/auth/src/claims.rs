//! The claims of a verified token (RFC 7519, section 4).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::token_error::TokenError;

/// The claims of a valid token.
#[derive(Clone)]
pub struct Claims {
    /// All claims.
    pub map: Map<String, Value>,
    /// `exp`, in seconds since 1970.
    pub expires_at: u64,
    /// The main text of the issuer whose key verified the token. `None` for the static key.
    pub issuer: Option<Arc<str>>,
    /// What tokens are selected by in addition to their claims, each with its kind: `key`, the RFC
    /// 7638 thumbprint, in base64url, of the issuer's key that verified the token; and those of
    /// [`Mark`](crate::Mark).
    pub marks: Vec<(&'static str, Box<str>)>,
    /// The difference of clocks that the token's `exp` was checked with.
    pub(crate) leeway: Duration,
    /// Until when what the issuer says about the token counts; then it is to be verified again.
    /// `None` if the issuer is not asked about it.
    pub(crate) checked_until: Option<Instant>,
}

impl Claims {
    /// Returns the claim at a JSON Pointer (RFC 6901); `None` if there is none.
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        find(&self.map, pointer)
    }

    /// Returns `true` if the claim at a JSON Pointer is this value, or a list that contains it.
    /// Numbers are compared by value, exactly.
    pub fn has(&self, pointer: &str, value: &Value) -> bool {
        has(&self.map, pointer, value)
    }

    /// Returns how long the token stays valid after its `exp`.
    pub fn leeway(&self) -> Duration {
        self.leeway
    }

    /// Returns `true` if the issuer must be asked about the token before it can be used again.
    pub fn must_be_checked(&self) -> bool {
        self.checked_until.is_some_and(|until| Instant::now() >= until)
    }

    /// Returns how long, from `now`, the token stays valid.
    pub fn valid_for(&self, now: SystemTime) -> Duration {
        // `expires_at` is in whole seconds, rounded down.
        let end = Duration::from_secs(self.expires_at).saturating_add(Duration::from_secs(1));
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        end.saturating_add(self.leeway).saturating_sub(since)
    }
}

/// Returns the claim at a JSON Pointer (RFC 6901); `None` if there is none.
pub(crate) fn find<'c>(claims: &'c Map<String, Value>, pointer: &str) -> Option<&'c Value> {
    let pointer = pointer.strip_prefix('/')?;
    let (first, rest) = pointer.split_at(pointer.find('/').unwrap_or(pointer.len()));
    claims.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
}

/// Returns `true` if the claim at a JSON Pointer is this value, or a list that contains it.
pub(crate) fn has(claims: &Map<String, Value>, pointer: &str, value: &Value) -> bool {
    match find(claims, pointer) {
        Some(Value::Array(list)) if list.iter().any(|claim| json::equal(claim, value)) => true,
        claim => claim.is_some_and(|claim| json::equal(claim, value)),
    }
}

/// Returns `true` if a claim is one of these texts, or a list that contains one (RFC 7519, section
/// 4.1.3).
pub(crate) fn is_one_of(claim: Option<&Value>, texts: &[String]) -> bool {
    let is_one = |value: &Value| value.as_str().is_some_and(|text| texts.iter().any(|one| one == text));
    match claim {
        Some(Value::Array(list)) => list.iter().any(is_one),
        Some(one) => is_one(one),
        None => false,
    }
}

/// Returns a claim that is a time, in seconds since 1970 (RFC 7519, section 2), with its fraction.
/// A claim that is null counts as missing.
pub(crate) fn seconds(claims: &Map<String, Value>, name: &'static str) -> Result<Option<f64>, TokenError> {
    let Some(claim) = claims.get(name).filter(|claim| !claim.is_null()) else { return Ok(None) };
    let in_range = |seconds: &f64| seconds.abs() < u64::MAX as f64;
    claim.as_f64().filter(in_range).map(Some).ok_or(TokenError::Time(name))
}

/// Checks `exp` and `nbf` (RFC 7519, sections 4.1.4 and 4.1.5) and returns `exp`.
pub(crate) fn check_times(claims: &Map<String, Value>, leeway: f64, now: f64) -> Result<f64, TokenError> {
    let expires_at = seconds(claims, "exp")?.ok_or(TokenError::Expired)?;
    if expires_at + leeway <= now {
        return Err(TokenError::Expired);
    }
    if seconds(claims, "nbf")?.is_some_and(|from| from > now + leeway) {
        return Err(TokenError::NotYetValid);
    }
    Ok(expires_at)
}

/// Returns the time in seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claims")
    }
}
