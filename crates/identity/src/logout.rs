//! Logout tokens (OpenID Connect Back-Channel Logout 1.0 with errata 1, sections 2.4 and 2.6).

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::claims::Statement;
use crate::config::{FeedConfig, LogoutEnds, SUB};
use crate::ordered::{Happened, Ordered};
use crate::refused::{Fault, Refused};

/// The member of `events` that makes a token a logout token.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// How old a logout token without `exp` may be. The errata require `exp`, but Ory Hydra, LemonLDAP
/// and older versions of Keycloak do not send it.
const WITHOUT_EXP: Duration = Duration::from_secs(3600);

/// Returns what a logout token asks to revoke. Its signature and issuer have been verified, with
/// the algorithms and keys for tokens. Empty if all tokens that it means have expired.
///
/// A repeated token has the old bound (`issued_up_to`), so nothing needs to be stored to detect a
/// replay.
///
/// # Errors
/// Fails if a check of section 2.6 does. The error names the claim.
pub fn logout(
    claims: &Map<String, Value>,
    header_type: Option<&str>,
    config: &FeedConfig,
    now: SystemTime,
) -> Result<Vec<Ordered>, Refused> {
    let token = Statement::new(claims, header_type, now);
    // Auth0, Hydra and older versions of Keycloak send `JWT` or no type (section 4.1).
    token.check_type("jwt", &["logout+jwt", "jwt"])?;
    token.check_issuer(config)?;
    token.check_audience(|one| config.client_ids.iter().any(|client| client == one))?;
    let issued_at = token.issued_at()?;
    let expires_at = token.expires_at(config.leeway)?;
    if expires_at.is_none() && issued_at < token.now - WITHOUT_EXP.as_secs_f64() {
        return Err(Fault::Old.of("iat"));
    }
    // The member must be an object. Keycloak has members in it, of any value.
    match token.events()?.get(EVENT) {
        Some(Value::Object(_)) => {}
        Some(_) => return Err(Fault::Object.of("events")),
        None => return Err(Fault::Member(EVENT).of("events")),
    }
    // Even a null: an ID token must never pass for a logout token.
    if claims.contains_key("nonce") {
        return Err(Fault::Present.of("nonce"));
    }
    let id = token.id()?;
    let (claim, value) = match (token.text("sid")?, token.text("sub")?, config.logout_ends) {
        (_, Some(sub), LogoutEnds::User) | (None, Some(sub), LogoutEnds::Session) => (SUB, sub),
        (Some(sid), ..) => (&*config.sid_at, sid),
        (None, None, _) => return Err(Fault::Missing.of("sid, sub")),
    };
    let happened = Happened::new(format_args!("back-channel logout"), Some(id), issued_at, token.now);
    Ok(happened.order(config.own(), claim, value).into_iter().collect())
}
