//! Reads the claims that all statements have in common. A claim that is null counts as missing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use session::SessionName;

use crate::config::FeedConfig;
use crate::refused::{Fault, Refused};

/// How far the clock of a provider may be ahead.
pub(crate) const AHEAD: Duration = Duration::from_secs(60);

/// The claims of a statement, with the type in its header.
#[derive(Clone, Copy)]
pub(crate) struct Statement<'s> {
    pub(crate) claims: &'s Map<String, Value>,
    pub(crate) header_type: Option<&'s str>,
    /// The present second.
    pub(crate) now: f64,
}

impl<'s> Statement<'s> {
    pub(crate) fn new(claims: &'s Map<String, Value>, header_type: Option<&'s str>, now: SystemTime) -> Self {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Self { claims, header_type, now }
    }

    /// Returns a claim; `None` if it is missing or null.
    pub(crate) fn claim(&self, name: &str) -> Option<&'s Value> {
        self.claims.get(name).filter(|claim| !claim.is_null())
    }

    /// Checks the type in the header, without case and without `application/` (RFC 7515, section
    /// 4.1.9). Without a type, it is `default`.
    pub(crate) fn check_type(&self, default: &str, types: &[&str]) -> Result<(), Refused> {
        let given = self.header_type.unwrap_or(default).to_ascii_lowercase();
        let given = given.strip_prefix("application/").unwrap_or(&given);
        if types.contains(&given) { Ok(()) } else { Err(Fault::Type.of("typ")) }
    }

    /// Checks that the issuer is the one whose keys have verified the statement.
    pub(crate) fn check_issuer(&self, config: &FeedConfig) -> Result<(), Refused> {
        match self.claim("iss") {
            Some(Value::String(iss)) if config.is_issuer(iss) => Ok(()),
            Some(_) => Err(Fault::Issuer.of("iss")),
            None => Err(Fault::Missing.of("iss")),
        }
    }

    /// Checks that `aud`, a text or a list (RFC 7519, section 4.1.3), contains one of these.
    pub(crate) fn check_audience(&self, ours: impl Fn(&str) -> bool) -> Result<(), Refused> {
        let is_ours = |one: &Value| one.as_str().is_some_and(&ours);
        let is_for_us = match self.claim("aud").ok_or(Fault::Missing.of("aud"))? {
            Value::Array(list) => list.iter().any(is_ours),
            one => is_ours(one),
        };
        if is_for_us { Ok(()) } else { Err(Fault::Audience.of("aud")) }
    }

    /// Returns `iat`, which is required, and later than now by no more than [`AHEAD`].
    pub(crate) fn issued_at(&self) -> Result<f64, Refused> {
        let issued_at = self.seconds("iat")?.ok_or(Fault::Missing.of("iat"))?;
        if issued_at > self.now + AHEAD.as_secs_f64() { Err(Fault::Future.of("iat")) } else { Ok(issued_at) }
    }

    /// Returns `exp`, if it is there. It must not be in the past by more than `leeway`.
    pub(crate) fn expires_at(&self, leeway: Duration) -> Result<Option<f64>, Refused> {
        let expires_at = self.seconds("exp")?;
        match expires_at {
            Some(at) if at + leeway.as_secs_f64() <= self.now => Err(Fault::Past.of("exp")),
            expires_at => Ok(expires_at),
        }
    }

    /// Returns a claim that is a text of 1 to [`SessionName::MAX`] bytes, if it is there.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<SessionName>, Refused> {
        self.claim(name).map(|claim| name_of(claim).ok_or(Fault::Text.of(name))).transpose()
    }

    /// Returns `jti`, which is required.
    pub(crate) fn id(&self) -> Result<SessionName, Refused> {
        self.text("jti")?.ok_or(Fault::Missing.of("jti"))
    }

    /// Returns `events`, which is required.
    pub(crate) fn events(&self) -> Result<&'s Map<String, Value>, Refused> {
        let events = self.claim("events").ok_or(Fault::Missing.of("events"))?;
        events.as_object().ok_or(Fault::Object.of("events"))
    }

    /// Returns a claim that is a time, in seconds since 1970 (RFC 7519, section 2), with its
    /// fraction.
    pub(crate) fn seconds(&self, name: &'static str) -> Result<Option<f64>, Refused> {
        seconds(self.claims, name)
    }
}

/// Returns a member that is a time, in seconds since 1970. A number beyond the range of a double is
/// none; callers limit how late it may be.
pub(crate) fn seconds(of: &Map<String, Value>, name: &'static str) -> Result<Option<f64>, Refused> {
    let Some(member) = of.get(name).filter(|member| !member.is_null()) else { return Ok(None) };
    member.as_f64().map(Some).ok_or(Fault::Time.of(name))
}

/// Returns a text as a value to select by. Numbers are none: these claims are texts (OpenID Connect
/// Core, section 2; RFC 9493, section 3).
pub(crate) fn name_of(value: &Value) -> Option<SessionName> {
    SessionName::try_from(value.as_str()?).ok()
}
