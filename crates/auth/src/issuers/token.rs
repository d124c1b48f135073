//! A token in its compact form (RFC 7515, section 7.1): its parts, read strictly before anything is
//! verified.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use document::JsonError;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::token_error::TokenError;

/// A token whose signature has not been verified.
pub(crate) struct UnverifiedJwt<'t> {
    /// Header and payload, both in base64url: what is signed.
    pub(super) message: &'t str,
    pub(super) header: &'t str,
    /// In base64url.
    pub(super) signature: &'t str,
    pub(super) claims: Map<String, Value>,
}

/// Why a token cannot be read.
pub(super) enum Unreadable {
    /// Larger than the limit, or not three parts in base64url.
    Parts,
    /// Five parts (RFC 7516, section 7.1).
    Encrypted,
    /// The payload is not a JSON object, or has a member twice.
    Claims { payload: Vec<u8>, error: JsonError },
    /// The payload is JSON, but not an object.
    NoObject,
}

impl<'t> UnverifiedJwt<'t> {
    /// Parses a token of at most this number of bytes.
    pub(super) fn parse(token: &'t str, limit: usize) -> Result<Self, Unreadable> {
        // First of all, so that nothing else grows with the token.
        if token.len() > limit {
            return Err(Unreadable::Parts);
        }
        if memchr::memchr_iter(b'.', token.as_bytes()).count() == 4 {
            return Err(Unreadable::Encrypted);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Unreadable::Parts)?;
        // A further point is not of the alphabet of base64url.
        let (header, payload) = message.split_once('.').ok_or(Unreadable::Parts)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| Unreadable::Parts)?;
        match document::from_slice(&payload) {
            Ok(Value::Object(claims)) => Ok(Self { message, header, signature, claims }),
            Ok(_) => Err(Unreadable::NoObject),
            Err(error) => Err(Unreadable::Claims { payload, error }),
        }
    }

    /// Parses the header (RFC 7515, section 4). `jku`, `jwk`, `x5u` and `x5c` are not used: the
    /// keys are the issuer's, wherever the token says that its key is (RFC 8725, section 3.10).
    ///
    /// # Errors
    /// Fails if the header is not an object whose members are unique and of their types, if it has
    /// extensions that must be understood, or if the payload is another token.
    pub(super) fn header(&self) -> Result<JwtHeader, TokenError> {
        let json = URL_SAFE_NO_PAD.decode(self.header).map_err(|_| TokenError::Signature)?;
        let Ok(Value::Object(mut header)) = document::from_slice(&json) else {
            return Err(TokenError::Signature);
        };
        let mut text = |name: &str| match header.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(TokenError::Signature),
        };
        let algorithm = text("alg")?.and_then(|name| name.parse().ok());
        let (kid, typ, cty) = (text("kid")?, text("typ")?, text("cty")?);
        // None is supported (RFC 7515, section 4.1.11), not even b64 (RFC 7797).
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(TokenError::Signature);
        }
        // A nested token (RFC 7519, section 5.2).
        if cty.is_some_and(|cty| media_type(&cty).eq_ignore_ascii_case("jwt")) {
            return Err(TokenError::Type);
        }
        Ok(JwtHeader { algorithm, kid, typ })
    }
}

/// The members of a header that decide whether a token is valid.
pub(crate) struct JwtHeader {
    /// `None` for "none" and every other algorithm that is not supported.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) kid: Option<String>,
    pub(super) typ: Option<String>,
}

/// Returns a media type without `application/`, which is to be left out (RFC 7515, section 4.1.9).
pub(super) fn media_type(typ: &str) -> &str {
    const APPLICATION: &str = "application/";
    match typ.split_at_checked(APPLICATION.len()) {
        Some((top, rest)) if top.eq_ignore_ascii_case(APPLICATION) => rest,
        _ => typ,
    }
}

/// Returns the issuer that a payload names that has some member twice; `None` if that is `iss`.
pub(super) fn named_issuer(payload: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        iss: String,
    }
    let named: Named = serde_json::from_slice(json::without_mark(payload)).ok()?;
    Some(named.iss)
}
