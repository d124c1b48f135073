//! Entries of `API_ACCESS`.

use std::fmt;
use std::sync::Arc;

use auth::Claims;
use listener::CertificateName;
use serde_json::Value;

use super::{Right, TokenFile};

/// A caller, or a group of them, with its rights.
#[derive(Debug)]
pub struct AccessEntry {
    /// Its name, for the audit log: unique, 1 to 64 characters without control characters.
    pub name: Arc<str>,
    /// What it may do.
    pub rights: Vec<Right>,
    /// How it proves who it is.
    pub proof: Proof,
}

/// How a caller proves who it is.
pub enum Proof {
    /// A bearer token.
    Token(TokenFile),
    /// A bearer token that is a JWT.
    Jwt {
        /// `iss` of a configured issuer, which has signed it: the main text, not an alias.
        issuer: Arc<str>,
        /// A JSON Pointer (RFC 6901) to a claim.
        claim: String,
        /// The value of the claim, or one that its list contains.
        value: Value,
    },
    /// A client certificate with this subject alternative name.
    Certificate(CertificateName),
}

impl AccessEntry {
    /// Returns whether the claims of a valid token prove that its bearer is this caller.
    pub(super) fn is_proved_by(&self, claims: &Claims) -> bool {
        let Proof::Jwt { issuer, claim, value } = &self.proof else { return false };
        claims.issuer.as_deref() == Some(&**issuer) && claims.has(claim, value)
    }
}

/// Shows no value of a claim.
impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(file) => f.debug_tuple("Token").field(file).finish(),
            Self::Jwt { issuer, claim, .. } => {
                f.debug_struct("Jwt").field("issuer", issuer).field("claim", claim).finish_non_exhaustive()
            }
            Self::Certificate(name) => f.debug_tuple("Certificate").field(name).finish(),
        }
    }
}
