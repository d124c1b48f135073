//! Parses a request to revoke. Nothing is looked up here, so that the same bytes are valid or
//! invalid at every gateway.

use std::time::{Duration, SystemTime};

use node::{Issued, Lasts};
use serde_json::{Number, Value};
use session::{Mode, NameError, RevocationId, SessionName};
use utoipa::ToSchema;

use super::fields::Fields;
use super::problem::Problem;
use super::time;

/// Limit of an id chosen by a caller, in bytes.
const MAX_ID: usize = 128;

/// Limit of the text of an issuer, in bytes.
const MAX_ISSUER: usize = 1024;

/// Limit of a text about a revocation, in bytes.
const MAX_REMARK: usize = 1000;

/// Limit of a validity: JSON numbers are exact up to here (RFC 8259, section 6).
const MAX_SECONDS: u64 = (1 << 53) - 1;

/// Whose tokens to revoke (`session`, or `claim` with `value`, or `jwt`: one of these), for how
/// long, and why.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "describes the body for the OpenAPI document; the parser names each fault itself"
)]
#[schema(
    as = RevocationRequest,
    example = json!({ "claim": "/sub", "value": "alice", "issuedUpTo": "now", "validityInSeconds": 3600,
                      "reason": "stolen laptop", "by": "bob" })
)]
pub(crate) struct RevocationRequest {
    /// The id of the revocation: 1 to 128 letters, digits and `.` `_` `:` `-`. A repeated request
    /// with the same id has no further effect. A UUID by default.
    id: Option<String>,
    /// All tokens of this session: the value of the claim that `JWT_SESSION_FIELD` points to. An
    /// integer is its decimal digits.
    session: Option<String>,
    /// All tokens with the `value` of this claim: a JSON Pointer that `REVOCATION_CLAIMS` (or
    /// `JWT_SESSION_FIELD`) names, such as `/sub`.
    claim: Option<String>,
    /// The value of the claim, a string or an integer.
    value: Option<String>,
    /// The session of this token, which must be valid, for at least as long as the token is valid.
    /// Only tokens of its issuer.
    jwt: Option<String>,
    /// Only tokens of this issuer: the exact text of its `iss`. By default, of every issuer, and of
    /// the static key. Not with `jwt`.
    #[schema(max_length = 1024)]
    issuer: Option<String>,
    /// Only tokens issued (`iat`) up to this time: seconds since 1970, RFC 3339, or `now`. Tokens
    /// without `iat` count as older. All tokens by default.
    #[schema(rename = "issuedUpTo")]
    issued_up_to: Option<String>,
    /// `revoke` (refuses the tokens, and terminates their connections) or `disconnect` (terminates
    /// only).
    #[schema(default = "revoke")]
    mode: Option<String>,
    /// For how many seconds; a numeric string is accepted too. This or `until` is required to
    /// revoke without a `jwt`.
    #[schema(rename = "validityInSeconds", minimum = 1)]
    validity_in_seconds: Option<u64>,
    /// Until when: RFC 3339, in the future.
    until: Option<String>,
    /// Why, up to 1000 bytes without control characters.
    reason: Option<String>,
    /// Who asks, likewise.
    by: Option<String>,
    /// Accepts a revocation that expires before the token of an open connection, which can then
    /// open connections again.
    #[schema(default = false)]
    force: Option<bool>,
}

/// Whose tokens.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Those of a session.
    Session(SessionName),
    /// Those with this value of a claim.
    Claim { claim: String, value: SessionName },
    /// Those of the session of this token.
    Jwt(String),
}

/// A valid request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Requested {
    pub(crate) id: Option<RevocationId>,
    pub(crate) whom: Whom,
    pub(crate) issuer: Option<String>,
    pub(crate) issued: Option<Issued>,
    pub(crate) mode: Mode,
    pub(crate) lasts: Option<Lasts>,
    pub(crate) reason: Option<String>,
    pub(crate) by: Option<String>,
    pub(crate) force: bool,
}

impl Requested {
    /// Parses a body.
    ///
    /// # Errors
    /// Fails with all faults.
    pub(crate) fn parse(body: &[u8], now: SystemTime) -> Result<Self, Problem> {
        let mut fields = Fields::parse(body)?;
        let id = fields.take("id", |id| chosen_id(&text(id)?));
        let issuer = issuer(&mut fields);
        let whom = whom(&mut fields);
        let issued = fields.take("issuedUpTo", issued);
        let mode = mode(&mut fields);
        let by_token = matches!(whom, Some(Whom::Jwt(_)) | None);
        let lasts = lasts(&mut fields, mode, by_token, now);
        let reason = fields.take("reason", |reason| remark(&text(reason)?).map(str::to_owned));
        let by = fields.take("by", |by| remark(&text(by)?).map(str::to_owned));
        let force = fields.take("force", |force| force.as_bool().ok_or("expected true or false".to_owned()));
        let (faults, mode) = (fields.faults(), mode.unwrap_or(Mode::Revoke));
        match whom {
            Some(whom) if faults.is_empty() => {
                Ok(Self { id, whom, issuer, issued, mode, lasts, reason, by, force: force.unwrap_or(false) })
            }
            _ => Err(Problem::Faults(faults)),
        }
    }
}

fn text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err("expected a string".to_owned()),
    }
}

/// Parses a name like a claim: a string, or an integer as its decimal digits.
fn name(value: Value) -> Result<SessionName, String> {
    SessionName::try_from(&value).map_err(|error| match error {
        NameError::Type | NameError::Fraction => "expected a string or an integer".to_owned(),
        error => error.to_string(),
    })
}

fn chosen_id(text: &str) -> Result<RevocationId, String> {
    if matches!(text, "." | "..") {
        return Err("a URL cannot name it (RFC 3986, section 5.2.4)".to_owned());
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    let fits = text.len() <= MAX_ID && text.bytes().all(allowed);
    let id = fits.then(|| RevocationId::new(text).ok()).flatten();
    id.ok_or_else(|| format!("expected 1 to {MAX_ID} letters, digits and . _ : -"))
}

/// Checks that a text about a revocation is a single line of limited length.
///
/// # Errors
/// Fails with the expected form.
pub(crate) fn remark(text: &str) -> Result<&str, String> {
    let fits = text.len() <= MAX_REMARK && !text.chars().any(char::is_control);
    fits.then_some(text)
        .ok_or_else(|| format!("expected up to {MAX_REMARK} bytes without control characters"))
}

/// Takes the issuer. Which ones there are is not known here.
fn issuer(fields: &mut Fields) -> Option<String> {
    let by_token = fields.has("jwt");
    let given = fields.take("issuer", |issuer| issuer_text(&text(issuer)?).map(str::to_owned))?;
    if by_token {
        fields.fault("issuer", "jwt is given: the issuer of the token counts");
    }
    Some(given)
}

/// Checks that a text may be an issuer.
///
/// # Errors
/// Fails with the expected form.
pub(super) fn issuer_text(text: &str) -> Result<&str, String> {
    let fits = (1..=MAX_ISSUER).contains(&text.len());
    fits.then_some(text).ok_or_else(|| format!("expected 1 to {MAX_ISSUER} bytes"))
}

/// Takes the selector, which is given in one of three ways. `None` if a fault was noted.
fn whom(fields: &mut Fields) -> Option<Whom> {
    let given: Vec<_> = ["session", "claim", "jwt"].into_iter().filter(|name| fields.has(name)).collect();
    let has_value = fields.has("value");
    let session = fields.take("session", name).map(Whom::Session);
    let claim = fields.take("claim", text);
    let value = fields.take("value", name);
    let jwt = fields.take("jwt", text).map(Whom::Jwt);
    match given[..] {
        [] if has_value => fields.fault("claim", "missing: the JSON Pointer of a claim, such as /sub"),
        [] => fields.fault_of_all("missing: session, or claim and value, or jwt"),
        ["claim"] if !has_value => fields.fault("value", "missing: the value of the claim"),
        ["claim"] => {}
        [one] if has_value => fields.fault("value", format!("{one} is given: only a claim has a value")),
        [_] => {}
        [one, ref others @ ..] => {
            for other in others {
                fields.fault(other, format!("{one} is given as well: one or the other"));
            }
        }
    }
    session.or(jwt).or_else(|| Some(Whom::Claim { claim: claim?, value: value? }))
}

fn whole(number: &Number) -> Option<u64> {
    json::whole(number).and_then(|number| number.try_into().ok())
}

fn issued(value: Value) -> Result<Issued, String> {
    let known = match &value {
        Value::Number(number) => whole(number).map(Issued::UpTo),
        Value::String(text) if text == "now" => Some(Issued::Now),
        Value::String(text) => time::parse(text).map(|at| Issued::UpTo(time::seconds(at))),
        _ => None,
    };
    match known {
        // Later than any token: probably milliseconds instead of seconds.
        Some(Issued::UpTo(second)) if second >= u64::from(u32::MAX) => {
            Err("expected a time before 2106; a number is in seconds, not in milliseconds".to_owned())
        }
        Some(known) => Ok(known),
        None => Err("expected whole seconds since 1970, an RFC 3339 date and time, or \"now\"".to_owned()),
    }
}

/// Takes the mode. `None` if a fault was noted.
fn mode(fields: &mut Fields) -> Option<Mode> {
    if !fields.has("mode") {
        return Some(Mode::Revoke);
    }
    fields.take("mode", |mode| match mode.as_str() {
        Some("revoke") => Ok(Mode::Revoke),
        Some("disconnect") => Ok(Mode::Disconnect),
        _ => Err("expected \"revoke\" or \"disconnect\"".to_owned()),
    })
}

/// Takes the validity. `by_token` if the token in the request gives the default.
fn lasts(fields: &mut Fields, mode: Option<Mode>, by_token: bool, now: SystemTime) -> Option<Lasts> {
    let given: Vec<_> = ["validityInSeconds", "until"].into_iter().filter(|name| fields.has(name)).collect();
    let validity = fields.take("validityInSeconds", validity).map(Lasts::For);
    let until = fields.take("until", |until| {
        let at = time::parse(&text(until)?).ok_or("expected an RFC 3339 date and time, with its offset")?;
        if at > now { Ok(Lasts::Until(at)) } else { Err("expected a time in the future".to_owned()) }
    });
    match (mode, &given[..]) {
        (Some(Mode::Disconnect), names) => {
            for name in names {
                fields.fault(name, "mode is disconnect: nothing lasts");
            }
        }
        (_, [_, other]) => fields.fault(other, "validityInSeconds is given as well: one or the other"),
        (Some(Mode::Revoke), []) if !by_token => {
            fields.fault("validityInSeconds", "missing: the validity, here or as until");
        }
        _ => {}
    }
    validity.or(until)
}

fn validity(value: Value) -> Result<Duration, String> {
    let seconds = match &value {
        Value::Number(number) => whole(number),
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    let seconds = seconds.filter(|seconds| (1..=MAX_SECONDS).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| format!("expected whole seconds from 1 to {MAX_SECONDS}"))
}

#[cfg(test)]
mod tests;
