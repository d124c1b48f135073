//! Who may do what: tokens, checks, and the fields that subscriptions select by.

use std::str::FromStr;
use std::time::Duration;

use event::Pointer;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::Secret;
use super::kind::Kind;
use super::reader::Reader;

/// What a valid token is.
#[derive(Clone, Debug)]
pub(crate) struct Jwt {
    /// A secret, a PEM, or a path. `None`: no token is valid.
    pub(crate) key: Option<Secret>,
    /// At least one.
    pub(crate) algorithms: Vec<Algorithm>,
    /// Where the claims name the session (RFC 6901).
    pub(crate) session_field: Pointer,
    /// The `iss` that a token must have.
    pub(crate) issuer: Option<String>,
    /// The `aud` that a token must have.
    pub(crate) audience: Option<String>,
    /// How far the issuer's clock may be off.
    pub(crate) leeway: Duration,
    /// The cookie that may carry a token.
    pub(crate) cookie: Option<String>,
}

/// Who may subscribe, who may publish.
#[derive(Clone, Debug)]
pub(crate) struct Checks {
    /// `no_check`, `jwt_validation` or a URL.
    pub(crate) subscription: String,
    /// `no_check`, `jwt_validation` or a URL.
    pub(crate) submission: String,
    /// For an external one.
    pub(crate) timeout: Duration,
}

pub(super) fn read_jwt(reader: &mut Reader) -> Jwt {
    Jwt {
        key: reader.text("JWT_SECRET_KEY").map(Secret),
        algorithms: reader.value("JWT_ALG", |text, _| algorithms(text)),
        session_field: reader.fallible("JWT_SESSION_FIELD", |text, kind| {
            Pointer::parse(text).map_err(|error| format!("{error}; allowed: {kind}"))
        }),
        issuer: reader.text("JWT_ISSUER"),
        audience: reader.text("JWT_AUDIENCE"),
        leeway: reader.time("JWT_LEEWAY"),
        cookie: reader.optional("JWT_COOKIE", |text, kind| cookie_name(text, &kind)),
    }
}

pub(super) fn read_checks(reader: &mut Reader) -> Checks {
    Checks {
        subscription: reader.value("SUBSCRIPTION_CHECK", |text, _| check(text)),
        submission: reader.value("SUBMISSION_CHECK", |text, _| check(text)),
        timeout: reader.time("CHECK_TIMEOUT"),
    }
}

pub(super) fn read_extractors(reader: &mut Reader) -> Map<String, Value> {
    let extractors = reader.optional("EXTRACTORS", |text, kind| {
        let json = json_or_file(text, &kind)?;
        serde_json::from_str(&json).map_err(|error| format!("{error}; allowed: {kind}"))
    });
    extractors.unwrap_or_default()
}

/// The text itself where it begins like an object, else that of the file it names.
fn json_or_file(text: &str, kind: &Kind) -> Result<String, String> {
    if text.trim_start().starts_with('{') {
        return Ok(text.to_owned());
    }
    std::fs::read_to_string(text).map_err(|error| format!("{error}; allowed: {kind}"))
}

fn algorithms(text: &str) -> Option<Vec<Algorithm>> {
    text.split(',').map(|name| Algorithm::from_str(name.trim()).ok()).collect()
}

fn check(text: &str) -> Option<String> {
    let known = matches!(text, "no_check" | "jwt_validation")
        || ["http://", "https://"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
    known.then(|| text.to_owned())
}

/// RFC 6265, section 4.1.1: a token of RFC 9110, section 5.6.2.
fn cookie_name(text: &str, kind: &Kind) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.bytes().all(allowed) { Ok(text.to_owned()) } else { Err(format!("allowed: {kind}")) }
}
