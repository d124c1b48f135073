//! Who asks: the tokens of a request, as claims and sessions.

use auth::{Check, Claims, Credential, TokenError, Verifier, is_opaque};
use session::{Sessions, Subject};
use subscription::{Extractors, Subscription};

use crate::error::IdentityError;

/// The verified tokens of one request.
#[derive(Debug, Default)]
pub(crate) struct VerifiedTokens {
    claims: Vec<Claims>,
    /// What each token says of whom it belongs to; one without the session claim belongs to no session (RIG).
    pub(crate) subjects: Vec<Subject>,
    /// Whether there is a token that only the service of the check can judge. It says nothing here: it names no session.
    pub(crate) has_opaque: bool,
}

impl VerifiedTokens {
    /// Verifies every token, the same one once; one bad token spoils the request.
    ///
    /// Where a service decides, a token that the gateway cannot read is that service's to judge (RIG).
    ///
    /// The look at the blacklist gives an early answer. The one that counts is made when the connection is bound.
    pub(crate) fn verify(
        credentials: &[Credential<'_>],
        verifier: &Verifier,
        sessions: &Sessions,
        check: &Check,
    ) -> Result<Self, IdentityError> {
        let mut identity = Self::default();
        for (n, credential) in credentials.iter().enumerate() {
            if credentials[..n].iter().any(|before| before.token == credential.token) {
                continue;
            }
            let claims = match verifier.verify(&credential.token) {
                Err(TokenError::Signature) if check.is_external() && is_opaque(&credential.token) => {
                    identity.has_opaque = true;
                    continue;
                }
                verified => verified?,
            };
            let subject = sessions.subject(&claims.map)?;
            if sessions.bars(&subject) {
                return Err(IdentityError::SessionBlacklisted(subject.session().cloned()));
            }
            identity.subjects.push(subject);
            identity.claims.push(claims);
        }
        Ok(identity)
    }

    /// The subscriptions that the tokens themselves bring (RIG: `jwt` in the extractors).
    pub(crate) fn subscriptions(&self, extractors: &Extractors) -> Vec<Subscription> {
        self.claims.iter().flat_map(|claims| extractors.subscriptions_for(&claims.map)).collect()
    }

    /// Whether at least one valid token was presented.
    pub(crate) fn is_known(&self) -> bool {
        !self.claims.is_empty()
    }
}
