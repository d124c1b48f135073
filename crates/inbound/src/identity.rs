//! Who asks: the tokens of a request, as claims and sessions.

use auth::{Claims, Credential, Verifier};
use session::{Sessions, Subject};
use subscription::{Extractors, Subscription};

use crate::error::IdentityError;

/// The verified tokens of one request.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    claims: Vec<Claims>,
    /// What each token says of whom it belongs to; one without the session claim belongs to no session (RIG).
    pub(crate) subjects: Vec<Subject>,
}

impl Identity {
    /// Verifies every token, the same one once; one bad token spoils the request.
    ///
    /// The look at the blacklist gives an early answer. The one that counts is made when the connection is bound.
    pub(crate) fn verify(
        credentials: &[Credential<'_>],
        verifier: &Verifier,
        sessions: &Sessions,
    ) -> Result<Self, IdentityError> {
        let mut identity = Self::default();
        for (n, credential) in credentials.iter().enumerate() {
            if credentials[..n].iter().any(|before| before.token == credential.token) {
                continue;
            }
            let claims = verifier.verify(&credential.token)?;
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

    /// Whether at least one token was presented.
    pub(crate) fn is_known(&self) -> bool {
        !self.claims.is_empty()
    }
}
