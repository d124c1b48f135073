//! Where an issuer's key set is, by its metadata (OpenID Connect Discovery 1.0, section 4; RFC
//! 8414, section 3).

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, Uri};
use serde_json::Value;
use tokio::time::Instant;

use super::fetch::{Failure, TIME_LIMIT, shown, unexpected};
use super::metrics::FetchResult;
use crate::provider_client::{ProviderClient, RequestLimits};

/// How long metadata is used.
pub(super) const LIFE: Duration = Duration::from_secs(24 * 3600);

/// The largest metadata, in bytes.
const MAX_METADATA: usize = 1 << 20;

/// The longest `jwks_uri`, in bytes.
const MAX_URI: usize = 2048;

/// The longest part of a foreign text in an error, in characters.
const SHOWN: usize = 200;

/// What is used of an issuer's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    /// Where it was found.
    pub(super) place: Uri,
    /// Where the key set is.
    pub(super) jwks_uri: Uri,
}

/// Why metadata is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum MetadataError {
    #[error("not JSON: {0}")]
    Json(String),
    #[error("not a JSON object")]
    NoObject,
    #[error("no text in the member {0}")]
    Missing(&'static str),
    #[error("it is the metadata of the issuer {found:?}, not of {expected:?} (each character counts)")]
    Issuer { found: String, expected: String },
    #[error("the member jwks_uri is not an http or https URI of at most {MAX_URI} bytes")]
    JwksUri,
}

/// Returns where metadata may be: first the place of OpenID Connect Discovery 1.0 (section 4.1),
/// then that of RFC 8414 (section 3.1).
///
/// # Errors
/// Fails if the issuer is not an http or https URI.
pub(super) fn places(issuer: &str) -> Result<[Uri; 2], Failure> {
    let invalid = || Failure::new(FetchResult::Invalid, format!("the issuer {} is no URI", Quoted(issuer)));
    let uri: Uri = issuer.parse().map_err(|_| invalid())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(invalid()) };
    let path = uri.path();
    let path = path.strip_suffix('/').unwrap_or(path);
    let at = |path: String| format!("{scheme}://{authority}{path}").parse().map_err(|_| invalid());
    Ok([
        at(format!("{path}/.well-known/openid-configuration"))?,
        at(format!("/.well-known/oauth-authorization-server{path}"))?,
    ])
}

/// Fetches the metadata of an issuer. The second place is asked only if the first answers 404.
pub(super) async fn metadata(client: &ProviderClient, issuer: &str) -> Result<Metadata, Failure> {
    let [first, second] = places(issuer)?;
    let deadline = Instant::now() + TIME_LIMIT;
    let answer = ask(client, &first, deadline).await?;
    if answer.status() != StatusCode::NOT_FOUND {
        return used(first, issuer, &answer);
    }
    let answer = ask(client, &second, deadline).await?;
    if answer.status() == StatusCode::NOT_FOUND {
        let reason = format!("{} and {}: 404 Not Found", shown(&first), shown(&second));
        return Err(Failure::new(FetchResult::Status, reason));
    }
    used(second, issuer, &answer)
}

async fn ask(client: &ProviderClient, place: &Uri, deadline: Instant) -> Result<Response<Bytes>, Failure> {
    let within = deadline.saturating_duration_since(Instant::now());
    let limits = RequestLimits { within, bytes: MAX_METADATA };
    client.get(place, "application/json", None, limits).await.map_err(|error| Failure::request(place, error))
}

/// Returns the metadata of an answer.
fn used(place: Uri, issuer: &str, answer: &Response<Bytes>) -> Result<Metadata, Failure> {
    if answer.status() != StatusCode::OK {
        return Err(unexpected(&place, answer));
    }
    match parse(answer.body(), issuer) {
        Ok(jwks_uri) => Ok(Metadata { place, jwks_uri }),
        Err(error) => Err(Failure::new(FetchResult::Invalid, format!("{}: {error}", shown(&place)))),
    }
}

/// Returns the `jwks_uri`. Nothing is used of metadata that names another issuer (OpenID Connect
/// Discovery 1.0, section 4.3; RFC 8414, section 3.3).
fn parse(json: &[u8], issuer: &str) -> Result<Uri, MetadataError> {
    let document =
        document::from_slice(json).map_err(|error| MetadataError::Json(cut(&error.to_string())))?;
    let Value::Object(members) = document else { return Err(MetadataError::NoObject) };
    let text = |name| members.get(name).and_then(Value::as_str).ok_or(MetadataError::Missing(name));
    let found = text("issuer")?;
    if found != issuer {
        return Err(MetadataError::Issuer { found: cut(found), expected: cut(issuer) });
    }
    let uri: Uri = Some(text("jwks_uri")?)
        .filter(|text| text.len() <= MAX_URI)
        .and_then(|text| text.parse().ok())
        .ok_or(MetadataError::JwksUri)?;
    let is_absolute = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    is_absolute.then_some(uri).ok_or(MetadataError::JwksUri)
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// A foreign text in an error: cut, and with control characters escaped.
struct Quoted<'t>(&'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", cut(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://id.example/realms/main";

    #[test]
    fn metadata_is_looked_for_in_two_places() {
        let found = |issuer| places(issuer).unwrap().map(|place| place.to_string());
        assert_eq!(
            found(ISSUER),
            [
                "https://id.example/realms/main/.well-known/openid-configuration",
                "https://id.example/.well-known/oauth-authorization-server/realms/main"
            ]
        );
        assert_eq!(
            found("https://id.example:8443/"),
            [
                "https://id.example:8443/.well-known/openid-configuration",
                "https://id.example:8443/.well-known/oauth-authorization-server"
            ]
        );
        assert_eq!(
            found("https://id.example/t/"),
            [
                "https://id.example/t/.well-known/openid-configuration",
                "https://id.example/.well-known/oauth-authorization-server/t"
            ]
        );
        for wrong in ["", "accounts.example", "/path", "https://", "not a uri"] {
            assert!(places(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn i02_metadata_of_another_issuer_is_not_used() {
        let json = |issuer: &str| format!(r#"{{"issuer":"{issuer}","jwks_uri":"https://id.example/keys"}}"#);
        let parsed = |issuer: &str| parse(json(issuer).as_bytes(), ISSUER);
        assert_eq!(parsed(ISSUER).unwrap(), "https://id.example/keys");
        for other in [
            "https://id.example/realms/main/",
            "https://ID.example/realms/main",
            "https://id.example:443/realms/main",
            "http://id.example/realms/main",
            "",
        ] {
            let error = parsed(other).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{other:?}")) && error.contains(&format!("{ISSUER:?}")),
                "{error}"
            );
        }
        let long = parsed(&"x".repeat(100_000)).unwrap_err().to_string();
        assert!(long.len() < 600, "{}", long.len());
    }

    #[test]
    fn metadata_in_another_form_is_an_error_that_names_the_member() {
        for (json, expected) in [
            ("", "not JSON: EOF while parsing a value at line 1 column 0"),
            ("<html>", "not JSON: expected value at line 1 column 1"),
            ("[]", "not a JSON object"),
            ("{}", "no text in the member issuer"),
            (r#"{"issuer":["ISSUER"]}"#, "no text in the member issuer"),
            (r#"{"issuer":"ISSUER"}"#, "no text in the member jwks_uri"),
            (r#"{"issuer":"ISSUER","jwks_uri":1}"#, "no text in the member jwks_uri"),
            (
                r#"{"issuer":"ISSUER","issuer":"ISSUER"}"#,
                "not JSON: /issuer: given more than once (line 1, column 51)",
            ),
        ] {
            let error = parse(json.replace("ISSUER", ISSUER).as_bytes(), ISSUER).unwrap_err();
            assert_eq!(error.to_string(), expected, "{json}");
        }
        let long = format!("https://id.example/{}", "k".repeat(MAX_URI));
        for uri in [
            "",
            "/keys",
            "keys",
            "ftp://id.example/",
            "file:///etc/passwd",
            "https://",
            "https://a b/",
            &long,
        ] {
            let json = serde_json::json!({"issuer": ISSUER, "jwks_uri": uri}).to_string();
            assert_eq!(parse(json.as_bytes(), ISSUER), Err(MetadataError::JwksUri), "{uri}");
        }
        assert!(parse(b"\xff\xfe", ISSUER).is_err());
    }
}
