//! Settings of access: tokens, checks, and the fields that subscriptions select by.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use auth::{Check, ConfiguredKey, Issuers, KeyError, KeySource, TokenConfig, Verifier};
use document::WatchedFiles;
use session::{Expiry, IssuerField, NodeName};
use subscription::Extractors;

use super::NamedFile;
use super::kind::ValueKind;
use super::reader::{Reader, unreadable};

/// Returns the verifier of tokens, those of `issuers` included, and the static key, loaded.
pub(super) fn read_verifier(reader: &mut Reader, issuers: Issuers) -> (Arc<Verifier>, Arc<ConfiguredKey>) {
    let before = reader.mistakes();
    let source = read_key(reader);
    let config = TokenConfig {
        algorithms: reader.value("JWT_ALG", |text, _| text.parse().ok()),
        issuer: reader.text("JWT_ISSUER"),
        audience: reader.optional("JWT_AUDIENCE", |text, kind| list(text, &kind)).unwrap_or_default(),
        leeway: reader.time("JWT_LEEWAY"),
    };
    // If the algorithms are wrong, the key is not loaded: it cannot be checked against them.
    let source = source.filter(|_| reader.mistakes() == before);
    let key = ConfiguredKey::load(source.as_ref(), &config.algorithms).or_else(|error| {
        let of_file = reader.is_set("JWT_SECRET_KEY_FILE");
        let name = if of_file { "JWT_SECRET_KEY_FILE" } else { "JWT_SECRET_KEY" };
        // A mistyped path of a public key fails here; it would be accepted as a secret.
        let is_no_file = source.as_ref().is_some_and(KeySource::looks_like_a_path);
        let hint = if is_no_file { "; it begins like a path, but there is no such file" } else { "" };
        reader.mistake(name, key_mistake(&error) + hint);
        ConfiguredKey::load(None, &config.algorithms)
    });
    let key = Arc::new(key.expect("without a key nothing is loaded"));
    if let Some(issuer) = config.issuer.as_deref().and_then(|text| issuers.get(text))
        && source.is_some()
    {
        let id = &issuer.config.id;
        reader.warn(format!(
            "JWT_ISSUER is that of the issuer {id}, whose tokens are verified by its own keys only: JWT_SECRET_KEY verifies none"
        ));
    }
    (Arc::new(Verifier::new(key.clone(), config).with_issuers(issuers)), key)
}

/// Reads the key of tokens, from one of its two settings.
fn read_key(reader: &mut Reader) -> Option<KeySource> {
    let text = reader.text("JWT_SECRET_KEY");
    let file = reader.file("JWT_SECRET_KEY_FILE");
    if text.is_some() && reader.is_set("JWT_SECRET_KEY_FILE") {
        reader.mistake("JWT_SECRET_KEY_FILE", "JWT_SECRET_KEY is set: one or the other");
        return None;
    }
    let source = file.map(KeySource::File).or_else(|| KeySource::parse(&text?));
    if source.as_ref().is_some_and(KeySource::looks_like_a_path) {
        reader.warn(
            "JWT_SECRET_KEY begins like a path, but there is no such file: its text is the secret; \
             JWT_SECRET_KEY_FILE names a file"
                .to_owned(),
        );
    }
    source
}

/// Reads where a token's claims name its session.
pub(super) fn read_session_field(reader: &mut Reader) -> String {
    reader.value("JWT_SESSION_FIELD", |text, _| session::Config::new(text).ok().map(|_| text.to_owned()))
}

/// Reads the claims that select tokens, and what an expired token means to its connections.
/// `session_field` names the session, unless the token is of one of the `issuers`.
pub(super) fn read_sessions(
    reader: &mut Reader,
    session_field: &str,
    issuers: Vec<IssuerField>,
) -> session::Config {
    let claims = reader.fallible("REVOCATION_CLAIMS", |text, kind| {
        let pointers = if text == "none" { Vec::new() } else { list(text, &kind)? };
        let checked = session::Config::default().with_revocation_claims(pointers.iter().map(String::as_str));
        checked.map(|_| pointers).map_err(|error| error.to_string())
    });
    let warning = reader.time("TOKEN_EXPIRY_WARNING");
    let leeway = reader.time("JWT_LEEWAY");
    let expiry = reader.word("TOKEN_EXPIRY", |text| match text {
        "close" => Some(Expiry::Ends { warning, leeway }),
        "ignore" => Some(Expiry::Ignored),
        _ => None,
    });
    let has_static_key = ["JWT_SECRET_KEY", "JWT_SECRET_KEY_FILE"].iter().any(|name| reader.is_set(name));
    let config = session::Config::new(session_field)
        .and_then(|config| config.with_revocation_claims(claims.iter().map(String::as_str)))
        .and_then(|config| config.with_issuers(issuers, has_static_key));
    config.expect("each pointer has been read before").with_expiry(expiry)
}

/// Reads where revocations are persisted, and how their values appear in the audit log.
pub(super) fn read_data(reader: &mut Reader, node: NodeName) -> Option<journal::Config> {
    let audit_key = reader.optional("AUDIT_KEY", |text, kind| {
        if text.len() >= 16 { Ok(text.to_owned()) } else { Err(format!("expected {kind}")) }
    });
    let is_path = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    let folder = reader.value("DATA_DIR", |text, _| is_path(text).then(|| text.to_owned()));
    (folder != "memory").then(|| journal::Config {
        folder: folder.into(),
        audit_key,
        node,
        clustered: false,
        outlets: Vec::new(),
    })
}

/// Returns the error without the path: it may be a secret that begins with a slash.
fn key_mistake(error: &KeyError) -> String {
    match error {
        KeyError::Read { source, .. } => {
            format!("names a file, which cannot be read: {source}")
        }
        error => error.to_string(),
    }
}

/// Reads the cookie that may carry a token. Its name is a token of RFC 9110, section 5.6.2 (RFC
/// 6265, section 4.1.1).
pub(super) fn read_cookie(reader: &mut Reader) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    reader.optional("JWT_COOKIE", |text, kind| {
        if text.bytes().all(allowed) { Ok(text.to_owned()) } else { Err(format!("expected {kind}")) }
    })
}

/// Reads `SUBSCRIPTION_CHECK` or `SUBMISSION_CHECK`.
pub(super) fn read_check(reader: &mut Reader, name: &str, within: Duration) -> Check {
    reader.value(name, |text, _| Check::parse(text, within).ok())
}

/// Returns the file that a setting names, unless the value is JSON itself, with its current state.
/// Must be called before the file is read.
pub(super) fn file_of(reader: &mut Reader, name: &str) -> Option<NamedFile> {
    let path = reader.text(name).filter(|text| !is_json(text)).map(PathBuf::from)?;
    Some((path.clone(), WatchedFiles::new([path])))
}

/// Reads the extractors, from the value itself or from the file that it names.
pub(super) fn read_extractors(reader: &mut Reader) -> (Arc<Extractors>, Option<NamedFile>) {
    let file = file_of(reader, "EXTRACTORS");
    let extractors = reader.optional("EXTRACTORS", |text, kind| {
        let json = json_or_file(text, &kind)?;
        Extractors::from_json(&json).map_err(|error| error.to_string())
    });
    (Arc::new(extractors.unwrap_or_default()), file)
}

/// Returns whether a text begins like JSON, and is therefore not a path.
pub(super) fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// Returns the text itself if it begins like JSON, otherwise the content of the file that it names.
pub(super) fn json_or_file(text: &str, kind: &ValueKind) -> Result<String, String> {
    if is_json(text) {
        return Ok(text.to_owned());
    }
    document::read_text(Path::new(text))
        .map_err(|error| format!("{}; expected {kind}", unreadable(text, &error)))
}

pub(super) fn list(text: &str, kind: &ValueKind) -> Result<Vec<String>, String> {
    let parts: Vec<_> = text.split(',').map(|part| part.trim().to_owned()).collect();
    if parts.iter().any(String::is_empty) { Err(format!("expected {kind}")) } else { Ok(parts) }
}
