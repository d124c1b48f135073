//! The claims of an access token of an issuer.

use serde_json::{Map, Value};

use super::{Audience, Issuer};
use crate::claims::{Claims, check_times, find, has, is_one_of, now, seconds};
use crate::token_error::TokenError;

impl Issuer {
    /// Checks the claims of an access token that the issuer has signed, or stated when it was
    /// asked. A claim that is null counts as missing.
    pub(super) fn check_access(
        &self,
        claims: Map<String, Value>,
        marks: Vec<(&'static str, Box<str>)>,
    ) -> Result<Claims, TokenError> {
        let expires_at = self.check_life(&claims, now())?;
        let config = &self.config;
        if let Audience::OneOf(audience) = &config.audience
            && !is_one_of(find(&claims, &config.audience_at), audience)
        {
            return Err(TokenError::Audience);
        }
        if !config.required.iter().all(|(pointer, value)| has(&claims, pointer, value)) {
            return Err(TokenError::Required);
        }
        let is_there = |name| claims.get(name).is_some_and(|claim: &Value| !claim.is_null());
        // A logout token has no further type with some issuers (BCL, section 2.4).
        if is_there("events") {
            return Err(TokenError::Statement);
        }
        if is_there("cnf") {
            return Err(TokenError::Binding);
        }
        let claims = Claims {
            map: claims,
            expires_at: expires_at as u64,
            issuer: Some(config.issuer.clone()),
            marks,
            leeway: config.leeway,
            checked_until: None,
        };
        if let Some(observer) = self.observer.get() {
            observer(&claims);
        }
        Ok(claims)
    }

    /// Checks when the token is valid, and for how long, and returns `exp`. The bound of its life
    /// is also that of the revocations of the issuer, so that none expires before a token that it
    /// means.
    fn check_life(&self, claims: &Map<String, Value>, now: f64) -> Result<f64, TokenError> {
        let leeway = self.config.leeway.as_secs_f64();
        let expires_at = check_times(claims, leeway, now)?;
        let issued_at = seconds(claims, "iat")?.ok_or(TokenError::IssuedAt)?;
        if issued_at > now + leeway {
            return Err(TokenError::IssuedAt);
        }
        if expires_at - issued_at > self.config.max_token_life.as_secs_f64() {
            return Err(TokenError::Lifetime);
        }
        Ok(expires_at)
    }
}
