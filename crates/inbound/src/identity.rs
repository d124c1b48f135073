//! Who asks: the tokens of a request, as claims and sessions.

use auth::{Claims, Verifier};
use session::{ClaimError, SessionName, Sessions};
use subscription::{Extractors, Subscription};

use crate::error::IdentityError;

/// The verified tokens of one request.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    claims: Vec<Claims>,
    /// The sessions the tokens belong to; a token without the session claim belongs to none (RIG).
    pub(crate) sessions: Vec<SessionName>,
}

impl Identity {
    /// Verifies every token; one bad token spoils the request.
    ///
    /// The look at the blacklist gives an early answer. The one that counts is made when the connection is bound.
    pub(crate) fn verify(
        tokens: &[impl AsRef<str>],
        verifier: &Verifier,
        sessions: &Sessions,
    ) -> Result<Self, IdentityError> {
        let mut identity = Self::default();
        for token in tokens {
            let claims = verifier.verify(token.as_ref())?;
            match sessions.from_claims(&claims.map) {
                Ok(name) if sessions.is_blacklisted(&name) => {
                    return Err(IdentityError::SessionBlacklisted(name));
                }
                Ok(name) => identity.sessions.push(name),
                Err(ClaimError::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            identity.claims.push(claims);
        }
        Ok(identity)
    }

    /// The subscriptions that the tokens themselves bring (RIG: `jwt` in the extractors).
    pub(crate) fn subscriptions(&self, extractors: &Extractors) -> Vec<Subscription> {
        self.claims.iter().flat_map(|claims| extractors.subscriptions_for(&claims.map)).collect()
    }

    /// Whether at least one token was presented.
    pub(crate) fn is_known(&self) -> bool {
        !self.claims.is_empty()
    }
}
