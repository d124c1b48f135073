//! A status list token (draft-ietf-oauth-status-list-20, section 5.1): its list, and for how long
//! the list counts. Who has signed it is checked elsewhere.

use std::time::Duration;

use serde_json::{Map, Value};

use super::list::{ListFlaw, StatusList};
use crate::claims::seconds;

/// How long a list without `ttl` is fresh.
pub(super) const DEFAULT_TTL: Duration = Duration::from_secs(300);

/// Limits of `ttl`: one list is fetched at most this often, and a revoked token takes effect after
/// at most an hour.
const TTL: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(3600)];

/// The longest time to `exp` that counts. All later ones are as good.
const MAX_LIFE: f64 = 366.0 * 86400.0;

/// A status list with its times.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusListToken {
    /// The list.
    pub list: StatusList,
    /// `iat`, in seconds since 1970.
    pub issued_at: f64,
    /// The time that is left until `exp`; `None` if it has none.
    pub expires_in: Option<Duration>,
    /// How long the list may be used before it is fetched again, from 10 s to 1 h.
    pub ttl: Duration,
}

impl StatusListToken {
    /// Parses the claims of the status list token at a URI. `now` is in seconds since 1970;
    /// `leeway` is the allowed difference of clocks, for `iat` and `nbf`.
    ///
    /// # Errors
    /// Fails if a claim that must be there is missing or wrong, or the list cannot be unpacked.
    pub fn parse(
        claims: &Map<String, Value>,
        uri: &str,
        leeway: Duration,
        now: f64,
    ) -> Result<Self, ListFlaw> {
        if claims.get("sub").and_then(Value::as_str) != Some(uri) {
            return Err(ListFlaw::Subject);
        }
        let time = |name| seconds(claims, name).map_err(|_| ListFlaw::Time(name));
        let latest = now + leeway.as_secs_f64();
        let issued_at = time("iat")?.ok_or(ListFlaw::Time("iat"))?;
        if issued_at > latest {
            return Err(ListFlaw::Future("iat"));
        }
        if time("nbf")?.is_some_and(|from| from > latest) {
            return Err(ListFlaw::Future("nbf"));
        }
        let expires_in = match time("exp")? {
            Some(expires_at) if expires_at <= now => return Err(ListFlaw::Expired),
            Some(expires_at) => Some(Duration::from_secs_f64((expires_at - now).min(MAX_LIFE))),
            None => None,
        };
        let ttl = match time("ttl")? {
            Some(ttl) if ttl <= 0.0 => return Err(ListFlaw::Time("ttl")),
            Some(ttl) => Duration::from_secs_f64(ttl.min(MAX_LIFE)).clamp(TTL[0], TTL[1]),
            None => DEFAULT_TTL,
        };
        Ok(Self { list: StatusList::parse(claims)?, issued_at, expires_in, ttl })
    }
}
