//! Who may do what: tokens, checks, and the fields that subscriptions select by.

use std::sync::Arc;
use std::time::Duration;

use auth::{Check, KeyError, KeySource, TokenConfig, Verifier};
use subscription::Extractors;

use super::kind::Kind;
use super::reader::Reader;

/// The verifier of tokens, with its key loaded.
pub(super) fn read_verifier(reader: &mut Reader) -> Arc<Verifier> {
    let before = reader.mistakes();
    let mut config = TokenConfig {
        key: reader.text("JWT_SECRET_KEY").and_then(|value| KeySource::parse(&value)),
        algorithms: reader.value("JWT_ALG", |text, _| text.parse().ok()),
        issuer: reader.text("JWT_ISSUER"),
        audience: reader.optional("JWT_AUDIENCE", |text, kind| list(text, &kind)).unwrap_or_default(),
        leeway: reader.time("JWT_LEEWAY"),
    };
    if reader.mistakes() > before {
        // Whether the key fits algorithms that are wrong is no question.
        config.key = None;
    }
    let verifier = Verifier::new(&config).or_else(|error| {
        reader.mistake("JWT_SECRET_KEY", key_mistake(&error));
        Verifier::new(&TokenConfig { key: None, ..config })
    });
    Arc::new(verifier.expect("without a key nothing is loaded"))
}

/// The error without its path: the "path" may be a secret that begins with a slash.
fn key_mistake(error: &KeyError) -> String {
    match error {
        KeyError::Read { source, .. } => {
            format!("begins with / or ./ and so names a file, which cannot be read: {source}")
        }
        error => error.to_string(),
    }
}

/// The cookie that may carry a token. RFC 6265, section 4.1.1: a token of RFC 9110, section 5.6.2.
pub(super) fn read_cookie(reader: &mut Reader) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    reader.optional("JWT_COOKIE", |text, kind| {
        if text.bytes().all(allowed) { Ok(text.to_owned()) } else { Err(format!("allowed: {kind}")) }
    })
}

/// `SUBSCRIPTION_CHECK` or `SUBMISSION_CHECK`.
pub(super) fn read_check(reader: &mut Reader, name: &str, within: Duration) -> Check {
    reader.value(name, |text, _| Check::parse(text, within).ok())
}

/// The extractors, from the setting itself or from the file it names.
pub(super) fn read_extractors(reader: &mut Reader) -> Arc<Extractors> {
    let extractors = reader.optional("EXTRACTORS", |text, kind| {
        let json = json_or_file(text, &kind)?;
        Extractors::from_json(&json).map_err(|error| error.to_string())
    });
    Arc::new(extractors.unwrap_or_default())
}

/// The text itself where it begins like JSON, else that of the file it names.
fn json_or_file(text: &str, kind: &Kind) -> Result<String, String> {
    if text.trim_start().starts_with(['{', '[']) {
        return Ok(text.to_owned());
    }
    std::fs::read_to_string(text).map_err(|error| format!("{error}; allowed: {kind}"))
}

fn list(text: &str, kind: &Kind) -> Result<Vec<String>, String> {
    let parts: Vec<_> = text.split(',').map(|part| part.trim().to_owned()).collect();
    if parts.iter().any(String::is_empty) { Err(format!("allowed: {kind}")) } else { Ok(parts) }
}
