//! Verifies tokens and returns their claims (RFC 7519, RFC 7515).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use document::JsonError;
use jsonwebtoken::{Header, decode_header};
use serde_json::{Map, Value};

use crate::claims::{Claims, check_times, is_one_of, now};
use crate::issuers::{Issuers, MAX_TOKEN, Recognized};
use crate::key::Algorithms;
use crate::keys::Keys;
use crate::token_error::TokenError;

#[cfg(test)]
mod tests;

/// The requirements for tokens of the static key, in addition to a valid signature.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// The allowed algorithms; the header of a token can only choose among these.
    pub algorithms: Algorithms,
    /// The required `iss`, if any.
    pub issuer: Option<String>,
    /// The accepted audiences: `aud` must contain one of them, if there are any.
    pub audience: Vec<String>,
    /// Allowed difference of clocks, for `exp` and `nbf`.
    pub leeway: Duration,
}

/// Verifies tokens with the current keys.
pub struct Verifier {
    keys: Arc<dyn Keys>,
    config: TokenConfig,
    issuers: Issuers,
}

impl Verifier {
    /// Creates a verifier with the static key. Each of the algorithms must be compatible with the
    /// `keys`.
    pub fn new(keys: Arc<dyn Keys>, config: TokenConfig) -> Self {
        Self { keys, config, issuers: Issuers::default() }
    }

    /// Also accepts the tokens of these issuers. A token whose `iss` names one of them is verified
    /// with that issuer's keys alone, any other with the static key alone.
    pub fn with_issuers(self, issuers: Issuers) -> Self {
        Self { issuers, ..self }
    }

    /// Returns the issuers whose tokens are accepted in addition to those of the static key.
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// Returns the generation of the keys: results from earlier generations are void.
    pub fn generation(&self) -> u64 {
        // Wraps: a generation only has to differ from the one before.
        self.keys.generation().wrapping_add(self.issuers.epoch())
    }

    /// Counts a token that was accepted, but names no session.
    pub fn count_without_session(&self, claims: &Claims) {
        if let Some(issuer) = claims.issuer.as_deref().and_then(|issuer| self.issuers.get(issuer)) {
            issuer.count_without_session();
        }
    }

    /// Verifies a token and returns its claims. Never waits.
    ///
    /// # Errors
    /// See [`TokenError`]. [`TokenError::Unasked`], which is not counted, if the issuer must be
    /// asked: [`verify_fetching`](Self::verify_fetching) then decides.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if self.issuers.is_empty() {
            return self.verify_with_static_key(token);
        }
        match self.issuers.recognize(token)? {
            Recognized::Jwt(issuer, jwt) => issuer.accept(jwt),
            Recognized::Opaque(issuer) => issuer.accept_opaque(token),
            Recognized::Other => self.verify_with_static_key(token),
        }
    }

    /// Verifies a token as [`verify`](Self::verify) does. If its issuer has no such key, the
    /// issuer's keys are fetched, for at most five seconds, and the token is verified once more. If
    /// only the issuer can read the token or knows its status, it is asked, for as long.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn verify_fetching(&self, token: &str) -> Result<Claims, TokenError> {
        if self.issuers.is_empty() {
            return self.verify_with_static_key(token);
        }
        match self.issuers.recognize(token)? {
            Recognized::Jwt(issuer, jwt) => issuer.accept_fetching(jwt).await,
            // Boxed, so that JWTs do not have the space for it.
            Recognized::Opaque(issuer) => Box::pin(issuer.accept_opaque_asking(token)).await,
            Recognized::Other => self.verify_with_static_key(token),
        }
    }

    fn verify_with_static_key(&self, token: &str) -> Result<Claims, TokenError> {
        let signed = self.signed(token).ok_or(TokenError::Signature)?;
        let claims = match document::from_slice(&signed) {
            Ok(Value::Object(claims)) => claims,
            Err(JsonError::Duplicate { .. }) => return Err(TokenError::Duplicate),
            Ok(_) | Err(JsonError::Syntax(_)) => return Err(TokenError::Malformed),
        };
        let expires_at = self.check(&claims)?;
        let leeway = self.config.leeway;
        Ok(Claims { map: claims, expires_at, issuer: None, marks: Vec::new(), leeway, checked_until: None })
    }

    /// Returns the signed payload of a token (RFC 7515, section 5.2); `None` if the signature is
    /// invalid. The library's `decode` would also parse the claims, and refuse some valid ones
    /// without a reason.
    fn signed(&self, token: &str) -> Option<Vec<u8>> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let header = decode_header(token).ok()?;
        let key = self.keys.key(header.kid.as_deref())?;
        let (message, signature) = token.rsplit_once('.')?;
        let (_, payload) = message.split_once('.')?;
        if !self.config.algorithms.0.contains(&header.alg) || !is_understood(&header) {
            return None;
        }
        let is_good = key.verifies(message, signature, header.alg);
        is_good.then(|| URL_SAFE_NO_PAD.decode(payload).ok())?
    }

    /// Checks the registered claims (RFC 7519, section 4.1) and returns `exp`. A claim that is null
    /// counts as missing.
    fn check(&self, claims: &Map<String, Value>) -> Result<u64, TokenError> {
        let expires_at = check_times(claims, self.config.leeway.as_secs_f64(), now())?;
        if let Some(issuer) = &self.config.issuer
            && claims.get("iss").is_none_or(|given| given.as_str() != Some(issuer))
        {
            return Err(TokenError::Issuer);
        }
        let audience = &self.config.audience;
        let is_for_us = audience.is_empty() || is_one_of(claims.get("aud"), audience);
        if is_for_us { Ok(expires_at as u64) } else { Err(TokenError::Audience) }
    }
}

/// Returns false if the header has critical extensions: none is supported, so the token is invalid
/// (RFC 7515, section 4.1.11).
fn is_understood(header: &Header) -> bool {
    header.crit.as_ref().is_none_or(Vec::is_empty)
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}
