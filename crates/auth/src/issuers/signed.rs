//! Checks who signed a JWT, whatever it states.

use std::time::Duration;

use document::JsonError;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::demand::Refetched;
use super::status::MAX_LIST;
use super::token::{JwtHeader, Unreadable, UnverifiedJwt, media_type};
use super::{Issuer, MAX_TOKEN};
use crate::key_set::PublicKey;
use crate::token_error::TokenError;

/// How long a request waits for the keys of an issuer.
pub(super) const FETCH_WITHIN: Duration = Duration::from_secs(5);

/// What kind of JWT is needed. One that is valid as one kind is not valid as another (RFC 8725,
/// section 3.12): they differ in `typ`, and in claims where issuers give no `typ` of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An access token.
    Access,
    /// A logout token (OpenID Connect Back-Channel Logout 1.0, section 2.4). `JWT` and no type are
    /// allowed as well, since some issuers do not use its own.
    Logout,
    /// A security event token (RFC 8417; Shared Signals Framework 1.0, section 4.1.1).
    SecurityEvent,
    /// A token status list.
    StatusList,
    /// The assertion of a global token revocation.
    RevocationAssertion,
}

/// A JWT with the signature of its issuer. Its times and its audience have not been checked.
#[derive(Clone)]
pub struct SignedJwt {
    /// All claims; `iss` is the issuer's.
    pub claims: Map<String, Value>,
    /// `typ` of the header.
    pub header_type: Option<String>,
}

impl Kind {
    /// Returns `true` if a JWT of this kind may have this `typ`; `own` are the types of access
    /// tokens in the settings.
    fn allows(self, typ: Option<&str>, own: &[String]) -> bool {
        let typ = typ.map(media_type);
        let is_one_of = |types: &[&str]| {
            typ.is_some_and(|typ| types.iter().any(|one| media_type(one).eq_ignore_ascii_case(typ)))
        };
        match self {
            Self::Access if own.is_empty() => typ.is_none() || is_one_of(&["JWT", "at+jwt"]),
            Self::Access => own.iter().any(|one| is_one_of(&[one])),
            Self::Logout => typ.is_none() || is_one_of(&["JWT", "logout+jwt"]),
            Self::SecurityEvent => is_one_of(&["secevent+jwt"]),
            Self::StatusList => is_one_of(&["statuslist+jwt"]),
            Self::RevocationAssertion => is_one_of(&["global-token-revocation+jwt"]),
        }
    }
}

impl Issuer {
    /// Checks the header, `iss` and the signature of a JWT that is not an access token. Never
    /// waits.
    ///
    /// # Errors
    /// Fails if this issuer has not signed it as this kind of JWT.
    pub fn signed(&self, token: &str, kind: Kind) -> Result<SignedJwt, TokenError> {
        let jwt = self.parse(token, kind)?;
        let header = jwt.header()?;
        self.authenticate(&jwt, &header, kind)?;
        Ok(SignedJwt { claims: jwt.claims, header_type: header.typ })
    }

    /// Checks a JWT as [`signed`](Self::signed) does. If this issuer has no such key, its keys are
    /// fetched first.
    ///
    /// # Errors
    /// Fails as [`signed`](Self::signed) does, and with [`TokenError::Unavailable`] if the keys
    /// could not be fetched `within` this time.
    pub async fn signed_fetching(
        &self,
        token: &str,
        kind: Kind,
        within: Duration,
    ) -> Result<SignedJwt, TokenError> {
        let jwt = self.parse(token, kind)?;
        let header = jwt.header()?;
        self.authenticate_fetching(&jwt, &header, kind, within).await?;
        Ok(SignedJwt { claims: jwt.claims, header_type: header.typ })
    }

    fn parse<'t>(&self, token: &'t str, kind: Kind) -> Result<UnverifiedJwt<'t>, TokenError> {
        let limit = if kind == Kind::StatusList { MAX_LIST } else { MAX_TOKEN };
        let jwt = UnverifiedJwt::parse(token, limit).map_err(|unreadable| match unreadable {
            Unreadable::Parts => TokenError::Signature,
            Unreadable::Encrypted => TokenError::Encrypted,
            Unreadable::Claims { error: JsonError::Duplicate { .. }, .. } => TokenError::Duplicate,
            Unreadable::Claims { .. } | Unreadable::NoObject => TokenError::Malformed,
        })?;
        let texts = || [&self.config.issuer].into_iter().chain(&self.config.aliases);
        match jwt.claims.get("iss").and_then(Value::as_str) {
            Some(iss) if texts().any(|text| **text == *iss) => Ok(jwt),
            _ => Err(TokenError::Issuer),
        }
    }

    /// Returns the thumbprint of the key that signed a JWT with the `iss` of this issuer.
    ///
    /// # Errors
    /// Fails if the header does not allow this kind, or no key of this issuer signed it. All errors
    /// that depend on the keys have the same text, so that the answers reveal nothing about them.
    pub(super) fn authenticate(
        &self,
        jwt: &UnverifiedJwt<'_>,
        header: &JwtHeader,
        kind: Kind,
    ) -> Result<Box<str>, TokenError> {
        let is_allowed = |algorithm: &_| self.config.algorithms.0.contains(algorithm);
        let algorithm = header.algorithm.filter(is_allowed).ok_or(TokenError::Signature)?;
        if !kind.allows(header.typ.as_deref(), &self.config.types) {
            return Err(TokenError::Type);
        }
        let keys = self.keys.current().ok_or(TokenError::Unavailable)?;
        let kid = header.kid.as_deref();
        if kid.is_some_and(|kid| !keys.has_kid(kid)) {
            return Err(TokenError::UnknownKey);
        }
        let verifies = |key: &&PublicKey| key.key().verifies(jwt.message, jwt.signature, algorithm);
        let signer = keys.choose(kid, algorithm).find(verifies);
        // Without a kid, a new key shows only in signatures that no old one verifies.
        let unsigned = if kid.is_none() { TokenError::UnknownKey } else { TokenError::Signature };
        signer.map(|key| key.thumbprint().into()).ok_or(unsigned)
    }

    /// Returns the thumbprint as [`authenticate`](Self::authenticate) does. If this issuer has no
    /// such key, its keys are fetched first, for at most `within` this time. So is the first fetch
    /// after the start waited for.
    pub(super) async fn authenticate_fetching(
        &self,
        jwt: &UnverifiedJwt<'_>,
        header: &JwtHeader,
        kind: Kind,
        within: Duration,
    ) -> Result<Box<str>, TokenError> {
        let deadline = Instant::now() + within;
        let mut verdict = self.authenticate(jwt, header, kind);
        if verdict == Err(TokenError::Unavailable) {
            // The gateway may just have started. A logout that is refused may not be sent again.
            Box::pin(self.keys.demand.first_ended(deadline)).await;
            verdict = self.authenticate(jwt, header, kind);
        }
        if verdict != Err(TokenError::UnknownKey) {
            return verdict;
        }
        let within = deadline.saturating_duration_since(Instant::now());
        // Boxed, since hardly any token comes this far, and each would have the space for it.
        match Box::pin(self.refetched(header.kid.as_deref(), within)).await {
            Refetched::Missing => self.authenticate(jwt, header, kind),
            // The issuer, or a cache before it, may publish a new key a moment after its use.
            Refetched::Fetched => match self.authenticate(jwt, header, kind) {
                Err(TokenError::UnknownKey) if kind != Kind::Access => Err(TokenError::Unavailable),
                verdict => verdict,
            },
            // For an access token, the key most likely does not exist, and a client need not try
            // again. Issuers repeat a statement after a 503, but not after a 400; and anyone can
            // use up the fetches, or cause one before the issuer has published its new key.
            Refetched::Failed | Refetched::Absent | Refetched::Limited if kind != Kind::Access => {
                Err(TokenError::Unavailable)
            }
            Refetched::Failed | Refetched::Absent | Refetched::Limited => verdict,
        }
    }
}
