//! Why the internal port refuses a caller.

use std::sync::Arc;

use auth::TokenError;
use http::{HeaderValue, StatusCode};
use session::ClaimError;

use super::Right;

/// Why a request is refused that names a caller, or should. No text has a part of a token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    /// It names no caller.
    #[error(
        "missing: Authorization: Bearer with a token of the internal port (API_TOKEN, API_ACCESS), or over HTTPS a \
         client certificate that API_ACCESS names"
    )]
    Missing,
    /// It names several.
    #[error("Authorization is given more than once")]
    Repeated,
    /// The token is none of those that are configured.
    #[error("the Authorization header has no bearer token of the internal port")]
    Token,
    /// The token is a JWT, and not valid.
    #[error("the token is not valid: {0}")]
    Jwt(TokenError),
    /// A claim of the token cannot be used.
    #[error("the token is not valid: {0}")]
    Name(#[from] ClaimError),
    /// The token has none of the claims that give rights.
    #[error("the token has none of the claims that API_ACCESS names")]
    Claim,
    /// `sub` of the token cannot stand in the audit log.
    #[error(
        "the claim /sub of the token is no text of up to {} bytes without control characters",
        super::check::MAX_SUB
    )]
    Subject,
    /// The token is revoked.
    #[error("the token is revoked")]
    Revoked,
    /// The certificate has none of the names that give rights, or is not valid any more.
    #[error("the client certificate has none of the names in API_ACCESS, or is not valid any more")]
    Certificate,
    /// The token cannot be checked now.
    #[error("the keys of the token's issuer are not available")]
    Unavailable,
    /// As many tokens are checked as may be.
    #[error("too many tokens are being checked")]
    Busy,
    /// The caller is known, and has not this right.
    #[error("missing right: {missing}")]
    Right {
        /// The name of its entry.
        name: Arc<str>,
        /// What the route needs.
        missing: Right,
    },
}

metric::labels! {
    /// Why a caller is refused, as a label.
    pub(crate) enum DeniedReason {
        /// No token and no certificate.
        Missing = "missing",
        /// A token that is not configured.
        Token = "token",
        /// A JWT that is not valid, or revoked.
        Jwt = "jwt",
        /// A JWT without the claim.
        Claim = "claim",
        /// A certificate without the name.
        Certificate = "certificate",
        /// It cannot be checked now.
        Unavailable = "unavailable",
        /// The right is missing.
        Right = "right",
    }
}

impl Denied {
    pub(crate) fn reason(&self) -> DeniedReason {
        match self {
            Self::Missing => DeniedReason::Missing,
            Self::Repeated | Self::Token => DeniedReason::Token,
            Self::Jwt(_) | Self::Name(_) | Self::Subject | Self::Revoked => DeniedReason::Jwt,
            Self::Claim => DeniedReason::Claim,
            Self::Certificate => DeniedReason::Certificate,
            Self::Unavailable | Self::Busy => DeniedReason::Unavailable,
            Self::Right { .. } => DeniedReason::Right,
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Right { .. } => StatusCode::FORBIDDEN,
            Self::Unavailable | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// Returns the challenge of the answer (RFC 6750, section 3). A request that names no caller
    /// gets no error code.
    pub(crate) fn challenge(&self) -> Option<HeaderValue> {
        let challenge = match self {
            Self::Unavailable | Self::Busy => return None,
            Self::Missing | Self::Certificate => "Bearer",
            Self::Right { missing, .. } => match missing {
                Right::Read => r#"Bearer error="insufficient_scope", scope="read""#,
                Right::Revoke => r#"Bearer error="insufficient_scope", scope="revoke""#,
                Right::Publish => r#"Bearer error="insufficient_scope", scope="publish""#,
                Right::Admin => r#"Bearer error="insufficient_scope", scope="admin""#,
            },
            _ => r#"Bearer error="invalid_token""#,
        };
        Some(HeaderValue::from_static(challenge))
    }

    /// Returns the right that the caller has not.
    pub(crate) fn missing_right(&self) -> Option<Right> {
        match self {
            Self::Right { missing, .. } => Some(*missing),
            _ => None,
        }
    }

    /// Returns after how many seconds another attempt may succeed.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Unavailable => Some(5),
            Self::Busy => Some(1),
            _ => None,
        }
    }
}
