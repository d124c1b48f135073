//! The identity of a caller: the tokens of a request, as claims and sessions.

use auth::{Check, Claims, Credential, TokenError, Verifier, is_opaque};
use session::{Sessions, Subject, Verified};
use subscription::{Extractors, Subscription};

use crate::error::IdentityError;

/// The verified tokens of one request.
#[derive(Debug, Default)]
pub(crate) struct VerifiedTokens {
    claims: Vec<Claims>,
    /// The subject of each token; a token without the session claim belongs to no session (RIG).
    pub(crate) subjects: Vec<Subject>,
    /// `true` if there is a token that only the service of the check can read. It names no session
    /// here.
    pub(crate) has_opaque: bool,
}

impl VerifiedTokens {
    /// Verifies every token; repeated ones are verified once. One invalid token refuses the
    /// request.
    ///
    /// A token that names an unknown key of its issuer waits until the issuer's keys are fetched.
    /// Tokens that the gateway cannot read are left to the service of `check`, if there is one
    /// (RIG).
    ///
    /// The check for revocations here only refuses early. The check that decides is made when the
    /// connection is bound.
    pub(crate) async fn verify(
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
            let claims = match verifier.verify_fetching(&credential.token).await {
                Err(TokenError::Signature | TokenError::Encrypted)
                    if check.is_external() && is_opaque(&credential.token) =>
                {
                    identity.has_opaque = true;
                    continue;
                }
                verified => verified?,
            };
            let (issuer, marks) = (claims.issuer.as_deref(), &claims.marks[..]);
            let subject = sessions.subject(Verified { claims: &claims.map, issuer, marks })?;
            if subject.session().is_none() {
                verifier.count_without_session(&claims);
            }
            if sessions.bars(&subject) {
                return Err(IdentityError::SessionBlacklisted(subject.session().cloned()));
            }
            identity.subjects.push(subject);
            identity.claims.push(claims);
        }
        Ok(identity)
    }

    /// Returns the subscriptions that the tokens themselves contain (RIG: `jwt` in the extractors).
    pub(crate) fn subscriptions(&self, extractors: &Extractors) -> Vec<Subscription> {
        self.claims.iter().flat_map(|claims| extractors.subscriptions_for(&claims.map)).collect()
    }

    /// Returns `true` if at least one valid token was presented.
    pub(crate) fn is_known(&self) -> bool {
        !self.claims.is_empty()
    }
}
