//! Global Token Revocation (draft-parecki-oauth-global-token-revocation-04), which Okta calls
//! Universal Logout: an assertion of the issuer, and a subject whose tokens are to be revoked.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::claims::Statement;
use crate::config::FeedConfig;
use crate::ordered::{Happened, Ordered};
use crate::refused::{Fault, Refused};
use crate::subject::{Reader, Subject};

/// Limit of the life of an assertion.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// A request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GtrRefused {
    /// The assertion is not valid (401).
    #[error("{0}")]
    Assertion(Refused),
    /// The assertion is valid, but of a client that is not configured (403).
    #[error("{0}")]
    Client(Refused),
    /// The request is malformed, or its subject is of a format that is unknown or not configured
    /// (400).
    #[error("{0}")]
    Request(Refused),
}

/// Returns what a request asks to revoke. The signature and the issuer of its assertion have been
/// verified; the body is `None` if it is not JSON. Empty if all tokens that it means have expired.
///
/// # Errors
/// See [`GtrRefused`]; the assertion is checked before the body.
pub fn global_revocation(
    assertion: &Map<String, Value>,
    header_type: Option<&str>,
    body: Option<&Value>,
    config: &FeedConfig,
    now: SystemTime,
) -> Result<Vec<Ordered>, GtrRefused> {
    let assertion = Statement::new(assertion, header_type, now);
    let issued_at = check(&assertion, config).map_err(GtrRefused::Assertion)?;
    match assertion.text("sub").map_err(GtrRefused::Assertion)? {
        Some(client) if config.client_ids.iter().any(|ours| ours == client.as_str()) => {}
        Some(_) => return Err(GtrRefused::Client(Fault::Client.of("sub"))),
        None => return Err(GtrRefused::Assertion(Fault::Missing.of("sub"))),
    }
    // The draft does not require it.
    let id = assertion.text("jti").map_err(GtrRefused::Assertion)?;
    let body = body.and_then(Value::as_object).ok_or(GtrRefused::Request(Fault::Json.of("body")))?;
    // The first drafts had another name.
    let subject = body.get("sub_id").or_else(|| body.get("subject"));
    let subject = subject.ok_or(GtrRefused::Request(Fault::Missing.of("sub_id")))?;
    let subject = Reader { config, place: "sub_id" }.read(subject).map_err(GtrRefused::Request)?;
    let selected = match subject {
        Subject::Selected(selected) if !selected.is_empty() => selected,
        Subject::Selected(_) | Subject::Critical => {
            return Err(GtrRefused::Request(Fault::Format.of("sub_id")));
        }
    };
    let what = format_args!("global token revocation");
    let happened = Happened::new(what, id, issued_at, assertion.now);
    let orders = selected.into_iter().filter_map(|one| happened.order(one.tokens, one.claim, one.value));
    Ok(orders.collect())
}

/// Checks an assertion, and returns when it was issued.
fn check(assertion: &Statement<'_>, config: &FeedConfig) -> Result<f64, Refused> {
    assertion.check_type("", &["global-token-revocation+jwt"])?;
    assertion.check_issuer(config)?;
    let url = config.global_revocation_url();
    assertion.check_audience(|one| url.as_deref() == Some(one))?;
    let issued_at = assertion.issued_at()?;
    let expires_at = assertion.expires_at(config.leeway)?.ok_or(Fault::Missing.of("exp"))?;
    if expires_at - issued_at > LONGEST.as_secs_f64() { Err(Fault::Late.of("exp")) } else { Ok(issued_at) }
}
